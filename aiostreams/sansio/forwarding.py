"""Which header fields a gateway passes on (RFC 9110 section 7.6).

Fields that concern one connection only are left out, and those that ``Connection``
names; framing is each connection's own. What a gateway must add (``Via``, and who
asked) is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["end_to_end", "forwarded_for"]

# Section 7.6.1, and the obsolete ones that still do harm when passed on.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def end_to_end(
    fields: Iterable[tuple[str, str]], *without: str
) -> Iterator[tuple[str, str]]:
    """The fields that may pass, in order.

    Args:
        fields: name and value, as they arrived.
        without: names to leave out as well.
    """
    fields = list(fields)
    named = join_lines(value for name, value in fields if name.lower() == "connection")
    dropped = {
        *_HOP_BY_HOP,
        *(name.strip().lower() for name in (named or "").split(",")),
        *(name.lower() for name in without),
    }
    return ((name, value) for name, value in fields if name.lower() not in dropped)


def forwarded_for(earlier: str | None, address: str | None) -> str:
    """The value of ``X-Forwarded-For`` with one more client."""
    address = address or "unknown"
    return address if earlier is None else f"{earlier}, {address}"
