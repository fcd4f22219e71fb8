"""The choice of a coding or media type for a client: RFC 9110 sections 12.5 and 8.4.

``choose_coding`` answers ``Accept-Encoding``, ``choose_type`` answers ``Accept``,
``merge_vary`` tells caches that either was asked, ``parse_content_encoding`` reads
what a body went through. All of them are functions of the field's lines, given as

    None              the field is absent
    a string          its value, or several lines joined by the caller
    several strings   its lines in order, as ``headers.getall()`` gives them

Preferences never raise: an element that is not understood is dropped and the others
count, because a preference is a wish, and a broken wish must not break a response.
A ``Content-Encoding`` is a statement about bytes, so there a bad token is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from aiostreams.errors import UnsupportedContent
from aiostreams.sansio.headers import is_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "FieldLines",
    "choose_coding",
    "choose_type",
    "join_lines",
    "merge_vary",
    "parse_content_encoding",
]

FieldLines: TypeAlias = str | Iterable[str] | None

_OWS: Final = " \t"

# Section 12.4.2 has three digits after the point and one before it. More digits, and
# none before (Java's URLConnection sends "*; q=.2"), are common enough to be read.
_qvalue = re.compile(r"(?:0?\.[0-9]{1,9}|0\.?|1(?:\.0{0,9})?)").fullmatch
# Possessive, so that no input makes it look twice at a byte: see the timing test.
_quoted_list = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.?)*+"?)++', re.DOTALL).findall
_quoted_parameters = re.compile(
    r'(?:[^;"]++|"(?:[^"\\]++|\\.?)*+"?)++', re.DOTALL
).findall
# Browsers send one of a dozen values, so the answer is remembered; long values are
# not, or a client could make the memory hold 512 headers of any size.
_CACHED_LENGTH: Final = 128


def join_lines(lines: FieldLines) -> str | None:
    """Join the lines of one list-based field to its value (section 5.3)."""
    if lines is None or isinstance(lines, str):
        return lines
    lines = list(lines)
    return ", ".join(lines) if lines else None


def choose_coding(
    accept_encoding: FieldLines, supported: Sequence[str], aliases: Mapping[str, str]
) -> str | None:
    """Choose the content coding of a response (section 12.5.3).

    The highest weight wins; among equals, the first of ``supported``. Identity needs
    no listing: it is the last resort unless the client refuses it.

    Args:
        accept_encoding: the lines of ``Accept-Encoding``.
        supported: lower-case codings the server can produce, best first. Identity
            is understood to stand last when it is not among them.
        aliases: other names of codings, in lower case, and what they stand for.

    Returns:
        A coding of ``supported``; ``"identity"``: send the bytes as they are;
        ``None``: nothing is acceptable, answer 406 (section 15.5.7).
    """
    value = join_lines(accept_encoding)
    if value is None:
        # Anything is acceptable then, but who does not ask may well not decode.
        return "identity"
    choose = _choose_coding if len(value) > _CACHED_LENGTH else _choose_coding_cached
    return choose(value, tuple(supported), tuple(aliases.items()))


def _choose_coding(
    value: str, supported: tuple[str, ...], aliases: tuple[tuple[str, str], ...]
) -> str | None:
    names = dict(aliases)
    weights: dict[str, float] = {}
    for element in value.split(","):
        coding, _, parameters = element.partition(";")
        coding = coding.strip(_OWS)
        weight = _weight(parameters.split(";")) if parameters else 1.0
        # Asked before lower(), which turns a Kelvin sign into an ASCII k.
        if weight is None or not is_token(coding):
            continue
        coding = names.get(coding.lower(), coding.lower())
        # Said twice: the lower one, so that a refusal is never overruled.
        weights[coding] = min(weight, weights.get(coding, 1.0))
    others = weights.get("*", 0.0)
    best = "identity" if weights.get("identity", weights.get("*", 1.0)) > 0 else None
    # Unlisted, identity is acceptable yet wished for less than whatever is listed.
    best_weight = weights.get("identity", others)
    for coding in reversed(supported):
        weight = weights.get(coding, others)
        # Going backwards, an equal weight replaces: the earlier one is preferred.
        if weight > 0 and weight >= best_weight:
            best, best_weight = coding, weight
    return best


_choose_coding_cached = lru_cache(maxsize=512)(_choose_coding)


def _weight(parameters: Iterable[str]) -> float | None:
    """Return the q of an element's parameters: 1 when absent, None for no qvalue."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(_OWS) in {"q", "Q"}:
            value = value.strip(_OWS)
            return float(value) if _qvalue(value) else None
    return 1.0


def choose_type(accept: FieldLines, offers: Sequence[str]) -> str | None:
    """Choose a media type for a response (section 12.5.1).

    Each offer has the weight of the most specific range that matches it; the highest
    weight wins, among equals the first of ``offers``.

    Args:
        accept: the lines of ``Accept``. Absent, empty, or without one element that
            can be understood, it accepts everything.
        offers: media types, best first; they may have parameters.

    Returns:
        One of ``offers``, or ``None``: none of them is acceptable.
    """
    ranges = _parse_accept(join_lines(accept) or "")
    best: str | None = None
    best_weight = 0.0
    for offer in offers:
        weight = _weight_of(_split_type(offer), ranges) if ranges else 1.0
        if weight > best_weight:
            best, best_weight = offer, weight
    return best


_MediaRange: TypeAlias = tuple[str, frozenset[tuple[str, str]]]


def _parse_accept(value: str) -> dict[_MediaRange, float]:
    ranges: dict[_MediaRange, float] = {}
    for element in _quoted_list(value) if '"' in value else value.split(","):
        media_range = _split_type(element)
        weight = _weight(_quoted_parameters(element)[1:]) if ";" in element else 1.0
        if weight is not None and media_range[0]:
            ranges[media_range] = min(weight, ranges.get(media_range, 1.0))
    return ranges


def _split_type(text: str) -> _MediaRange:
    """Split to ``type/subtype`` in lower case ("" if it is none), and parameters."""
    essence, semicolon, _ = text.partition(";")
    essence = essence.strip(_OWS)
    if essence == "*":  # Java again, and wget before 2010
        essence = "*/*"
    kind, _, subtype = essence.partition("/")
    if not (is_token(kind) and is_token(subtype)) or (kind == "*" != subtype):
        return "", frozenset()
    essence = essence.lower()
    if not semicolon:
        return essence, frozenset()
    pairs = (one.partition("=") for one in _quoted_parameters(text)[1:])
    return essence, frozenset(
        (name.strip(_OWS).lower(), value.strip(_OWS).strip('"').lower())
        for name, equals, value in pairs
        if equals and name.strip(_OWS) not in {"q", "Q"}
    )


def _weight_of(offer: _MediaRange, ranges: dict[_MediaRange, float]) -> float:
    """Return the weight of the most specific of ``ranges`` that covers ``offer``."""
    essence, parameters = offer
    covering = (essence, essence.partition("/")[0] + "/*", "*/*")
    # The key orders by section 12.5.1: exact type, then subtype wildcard, then any;
    # within one type, the range with more parameters.
    fits = [
        (-covering.index(kind), len(wanted), weight)
        for (kind, wanted), weight in ranges.items()
        if kind in covering and wanted <= parameters
    ]
    return max(fits)[2] if fits else 0.0


def merge_vary(current: FieldLines, *names: str) -> str:
    """Add field names to a ``Vary`` value, each at most once (section 12.5.5).

    Args:
        current: the lines of ``Vary`` so far.
        names: the request fields that the response depended on.

    Returns:
        The value to send: names keep their order and spelling; ``*`` (anything at
        all may have mattered) swallows every name. Empty when there is no name.

    Raises:
        ValueError: one of ``names`` is not a token.
    """
    merged: dict[str, str] = {}
    for name in (join_lines(current) or "").split(","):
        name = name.strip(_OWS)  # noqa: PLW2901 - the same name, trimmed
        if name:
            merged.setdefault(name.lower(), name)
    for name in names:
        if not is_token(name):
            raise ValueError(f"the field name {name!r} is not a token")
        merged.setdefault(name.lower(), name)
    return "*" if "*" in merged else ", ".join(merged.values())


def parse_content_encoding(
    lines: FieldLines,
    aliases: Mapping[str, str],
    *,
    accept_encoding: str | None = None,
) -> tuple[str, ...]:
    """Read ``Content-Encoding`` (section 8.4).

    Args:
        lines: the lines of the field.
        aliases: other names of codings, in lower case, and what they stand for.
        accept_encoding: passed on to the error, for the answer's ``Accept-Encoding``.

    Returns:
        The codings in the order they were applied, so to be undone from the right:
        in lower case, none by an alias, without ``identity``. Whether each is
        known, and how many are allowed, is for the decoder to say.

    Raises:
        UnsupportedContent: an element is not a token, so it names no coding.
    """
    codings = []
    elements = (join_lines(lines) or "").split(",")
    for number, element in enumerate(elements, 1):
        coding = element.strip(_OWS)
        if coding and not is_token(coding):
            raise UnsupportedContent(
                f"element {number} of Content-Encoding is not the name of a coding",
                accept_encoding=accept_encoding,
            )
        coding = coding.lower()
        if coding not in {"", "identity"}:
            codings.append(aliases.get(coding, coding))
    return tuple(codings)
