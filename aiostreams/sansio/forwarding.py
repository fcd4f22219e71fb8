"""The header fields that a gateway passes on (RFC 9110 section 7.6).

Fields that concern one connection only are left out, and those that ``Connection``
names; framing is each connection's own. What a gateway must add (``Via``, and who
asked) is added. What a client says of who has forwarded its request counts where the
client is a gateway that is trusted: anybody can write it.

A file of its own: the rules of RFC 9110 for gateways, without any I/O.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Final, TypeAlias

from aiostreams.sansio.headers import carried_text
from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CLAIMS", "end_to_end", "forwarded_for", "is_trusted"]

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# What a gateway says of those before it, but for X-Forwarded-For, which each of them
# adds a line or a word to.
CLAIMS: Final = (
    "Forwarded",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Real-IP",
)

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
    """Return the fields that may pass, in order, with values that can be written.

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
    return (
        (name, carried_text(value))
        for name, value in fields
        if name.lower() not in dropped
    )


def forwarded_for(earlier: Iterable[str], address: str | None) -> str:
    """Return the value of ``X-Forwarded-For`` with one more client.

    Args:
        earlier: the lines of it that came.
        address: who has sent them.
    """
    address = address or "unknown"
    before = join_lines(earlier)
    return address if before is None else f"{before}, {address}"


def is_trusted(address: str | None, trusted: bool | Iterable[str]) -> bool:  # noqa: FBT001
    """Return whether the client at ``address`` is a gateway that tells the truth.

    Args:
        address: an IP address, or ``None`` where there is none (a Unix socket).
        trusted: all clients are, or none; or addresses and networks of those who are.

    Raises:
        ValueError: one of these is neither.
    """
    if isinstance(trusted, bool):
        return trusted
    networks = _networks((trusted,) if isinstance(trusted, str) else tuple(trusted))
    try:
        # An IPv6 address may name its interface.
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


@functools.lru_cache(maxsize=16)
def _networks(trusted: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in trusted)
