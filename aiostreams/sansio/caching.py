"""The rules of a shared cache: what it may keep, how long, for whom (RFC 9111).

The rules that apply to one that keeps whole answers to GET, and no others:

* Kept is a 200, 301, 308, 404 or 410 that came whole and says for how long it is
  fresh, or what it is known by: no lifetime is guessed (section 4.2.2).
* Never one that says ``no-store`` or ``private``, with fields named or not, nor one to
  a request that says ``no-store`` (3, 5.2.1.5, 5.2.2); never with ``Vary: *``, and no
  part (206).
* Of a request with ``Authorization`` only what says ``public``, ``s-maxage`` or
  ``must-revalidate`` (3.5). Stricter than the RFC: of one with ``Cookie`` as well, and
  nothing that sets one; and what was kept without saying so is not for such requests.
* Given is what matches in all fields that ``Vary`` names (4.1), and is fresh by
  ``s-maxage``, else ``max-age``, else ``Expires`` (4.2.1), its age counted from what
  ``Date`` and ``Age`` tell and since it came (4.2.3); the request may ask for more by
  ``no-cache``, ``max-age``, ``min-fresh`` and ``Pragma`` (5.2.1, 5.4).
* What is stale, or says ``no-cache``, is asked for again with its validators (4.3.1); a
  304 renews its fields (3.2, 4.3.4). Nothing stale is given (4.2.4).
* What was changed by an unsafe method is forgotten (4.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from multidict import CIMultiDict

from aiostreams.sansio.negotiation import join_lines
from aiostreams.sansio.validators import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import MultiMapping

__all__ = [
    "KeptAnswer",
    "cache_directives",
    "is_somebodys",
    "may_keep",
    "may_use_cache",
]

_STATUSES: Final = frozenset({200, 301, 308, 404, 410})
# Whoever sends these may be given what is for him alone.
_OF_SOMEBODY: Final = ("Authorization", "Cookie")
# Of an answer that they frame, of one connection, or not to be kept (section 3.1).
_NOT_KEPT: Final = frozenset({"content-length", "transfer-encoding", "age"})
# A 304 says nothing of the bytes that are there (section 3.2).
_OF_THE_BYTES: Final = frozenset(
    {"content-length", "content-encoding", "content-range", "content-type"}
)
# What a lifetime is at most, in seconds: so large means for ever (1.2.2).
_MOST: Final = 2**31


def cache_directives(lines: Iterable[str]) -> dict[str, str | None]:
    """Return the directives of ``Cache-Control``, lower case, with their arguments."""
    found: dict[str, str | None] = {}
    for match in _directives(join_lines(lines) or ""):
        argument = match[2]
        # The first counts, if there are several (4.2.1).
        found.setdefault(
            match[1].lower(), None if argument is None else argument.strip(' \t"')
        )
    return found


# A list of field names may have commas between its quotes; a quote without an end hides
# nothing.
_directives: Final = re.compile(r'([^\s,=]+)[ \t]*(?:=[ \t]*("[^"]*"|[^,]*))?').finditer


def _seconds(directives: dict[str, str | None], name: str) -> int | None:
    """Return the argument of a directive in seconds; 0 for one that is none."""
    if name not in directives:
        return None
    text = directives[name] or ""
    return min(int(text[:12]), _MOST) if text.isascii() and text.isdigit() else 0


def is_somebodys(request: MultiMapping[str]) -> bool:
    """Return whether the answer to a request may be for the one alone who sends it."""
    return any(name in request for name in _OF_SOMEBODY)


def may_use_cache(method: str, request: MultiMapping[str]) -> bool:
    """Return whether the cache is asked, or told, of a request at all."""
    directives = cache_directives(request.getall("Cache-Control", ()))
    return method in {"GET", "HEAD"} and "no-store" not in directives


def may_keep(
    request: MultiMapping[str], status: int, response: MultiMapping[str]
) -> bool:
    """Return whether the answer to a GET may be kept; see the rules of this module.

    Args:
        request: the fields of the request.
        status: of the answer.
        response: its fields.
    """
    directives = cache_directives(response.getall("Cache-Control", ()))
    if (
        status not in _STATUSES
        or "no-store" in directives
        or "private" in directives
        or "Set-Cookie" in response
        or "*" in _varies(response)
        or "Content-Range" in response
    ):
        return False
    if is_somebodys(request) and not _is_shared(directives):
        return False
    return "ETag" in response or "Last-Modified" in response or _lifetime(response) > 0


def _is_shared(directives: dict[str, str | None]) -> bool:
    return not directives.keys().isdisjoint({"public", "s-maxage", "must-revalidate"})


def _varies(response: MultiMapping[str]) -> list[str]:
    value = join_lines(response.getall("Vary", ())) or ""
    return [name for one in value.split(",") if (name := one.strip().lower())]


def _lifetime(response: MultiMapping[str]) -> int:
    """For how many seconds the answer is fresh (section 4.2.1)."""
    directives = cache_directives(response.getall("Cache-Control", ()))
    for name in ("s-maxage", "max-age"):
        if (seconds := _seconds(directives, name)) is not None:
            return seconds
    expires = parse_http_date(response.get("Expires", ""))
    date = parse_http_date(response.get("Date", ""))
    if expires is None or date is None:
        return 0
    return max(0, expires - date)


class KeptAnswer(NamedTuple):
    """An answer that is kept, without its bytes.

    Attributes:
        status: of the answer.
        reason: the phrase of it.
        fields: its fields, in order.
        varied: the fields of the request that it depends on, as they were.
        requested: when it was asked for, in POSIX seconds.
        received: when it came.
        body: the key that its bytes are kept under.
        size: how many they are.
    """

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    varied: tuple[tuple[str, str | None], ...]
    requested: float
    received: float
    body: str
    size: int

    @classmethod
    def of(
        cls,
        request: MultiMapping[str],
        status: int,
        reason: str,
        response: MultiMapping[str],
        *,
        requested: float,
        received: float,
        body: str,
        size: int,
    ) -> Self:
        """Make one that may be kept, of the fields as they came."""
        age = ("Age", response.get("Age", "0"))
        fields = [f for f in response.items() if f[0].lower() not in _NOT_KEPT]
        return cls(
            status,
            reason,
            (*fields, age),
            tuple((name, _value(request, name)) for name in _varies(response)),
            requested,
            received,
            body,
            size,
        )

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` made.

        Raises:
            TypeError, ValueError, KeyError: it is something else.
        """
        value = dict(value)
        for name in ("fields", "varied"):
            value[name] = tuple((key, text) for key, text in value[name])
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Return a value that JSON can carry."""
        return self._asdict()

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields."""
        return CIMultiDict(self.fields)

    def matches(self, request: MultiMapping[str]) -> bool:
        """Return whether it is for requests like this one (sections 3.5 and 4.1)."""
        if is_somebodys(request):
            control = self.headers.getall("Cache-Control", ())
            if not _is_shared(cache_directives(control)):
                return False
        return all(_value(request, name) == value for name, value in self.varied)

    def age(self, now: float) -> int:
        """Return how many seconds ago the upstream made it (section 4.2.3)."""
        headers = self.headers
        date = parse_http_date(headers.get("Date", ""))
        apparent = 0.0 if date is None else max(0.0, self.received - date)
        said = headers.get("Age", "")
        told = int(said[:12]) if said.isascii() and said.isdigit() else 0
        corrected = told + self.received - self.requested
        return int(max(apparent, corrected) + max(0.0, now - self.received))

    def is_fresh(self, request: MultiMapping[str], now: float) -> bool:
        """Return whether it may be given without asking the upstream (section 4.2)."""
        headers = self.headers
        control = cache_directives(headers.getall("Cache-Control", ()))
        asked = cache_directives(request.getall("Cache-Control", ()))
        if not asked and "no-cache" in request.get("Pragma", "").lower():
            return False
        if "no-cache" in control or "no-cache" in asked:
            return False
        age = self.age(now)
        most = _seconds(asked, "max-age")
        if most is not None and age > most:
            return False
        return _lifetime(headers) > age + (_seconds(asked, "min-fresh") or 0)

    @property
    def conditions(self) -> dict[str, str]:
        """What asks whether it is still the same (section 4.3.1)."""
        headers = self.headers
        found = {}
        if "ETag" in headers:
            found["If-None-Match"] = headers["ETag"]
        if "Last-Modified" in headers:
            found["If-Modified-Since"] = headers["Last-Modified"]
        return found

    def renewed(
        self, response: MultiMapping[str], *, requested: float, received: float
    ) -> KeptAnswer:
        """Return the same, with what a 304 says of it (sections 3.2 and 4.3.4)."""
        said = [
            field
            for field in response.items()
            if field[0].lower() not in _NOT_KEPT | _OF_THE_BYTES
        ]
        names = {name.lower() for name, _ in said} | {"age"}
        kept = [field for field in self.fields if field[0].lower() not in names]
        age = ("Age", response.get("Age", "0"))
        return self._replace(
            fields=(*kept, *said, age), requested=requested, received=received
        )


def _value(request: MultiMapping[str], name: str) -> str | None:
    value = join_lines(request.getall(name, ()))
    # Blanks around list members mean nothing (section 4.1).
    return value and ",".join(one.strip() for one in value.split(","))
