"""``Content-Digest`` and ``Repr-Digest`` (RFC 9530) of requests and responses.

Both are of bytes as they are sent, after any content coding. They differ only where
a part of a representation is sent: ``Content-Digest`` is of that part, ``Repr-Digest``
of the whole. A digest that follows the body would need trailers, which aiohttp does
not send, so a body is hashed before it is sent, and has to be readable twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from aiostreams.sansio.digest import (
    DIGEST_ALGORITHMS,
    choose_digest,
    format_digest,
    parse_digest,
)
from aiostreams.streams.hashing import DigestStream, HashStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import CIMultiDict, CIMultiDictProxy

    from aiostreams.streams.base import Stream

__all__ = [
    "CONTENT_DIGEST",
    "REPR_DIGEST",
    "check_algorithms",
    "digest_field",
    "verified",
    "wanted_algorithms",
]

CONTENT_DIGEST: Final = "Content-Digest"
REPR_DIGEST: Final = "Repr-Digest"


def verified(wire: Stream, headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> Stream:
    """``wire``, held to the digests in a request's fields, if there are any.

    Args:
        wire: the body with its content codings.
        headers: of the request.

    Raises:
        MalformedBody: a digest field cannot be read.
    """
    for name in (CONTENT_DIGEST, REPR_DIGEST):
        # With Content-Range the whole is not at hand.
        if name in headers and not (
            name == REPR_DIGEST and hdrs.CONTENT_RANGE in headers
        ):
            expected = parse_digest(headers.getall(name))
            if expected:
                wire = DigestStream(wire, expected)
    return wire


def check_algorithms(algorithms: str | Iterable[str]) -> tuple[str, ...]:
    """Check the names of digests to send, and return them as ``"sha-256"``.

    Raises:
        ValueError: one is not sent here.
    """
    names = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms)
    for name in names:
        if name not in DIGEST_ALGORITHMS:
            known = ", ".join(DIGEST_ALGORITHMS)
            raise ValueError(f"unknown digest {name!r}; expected one of {known}")
    return names


def wanted_algorithms(
    headers: CIMultiDictProxy[str] | CIMultiDict[str],
    name: str,
    given: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the digest algorithms that a client wants; else those ``given``."""
    field = f"Want-{name}"
    if field not in headers:
        return given
    chosen = choose_digest(headers.getall(field))
    if chosen is None:
        return given
    return (chosen,) if chosen else ()


async def digest_field(stream: Stream, algorithms: tuple[str, ...]) -> str:
    """Compute a digest field for all bytes of ``stream``, which can seek.

    They are read, and hashed off the event loop, from a slice, unless the digests
    are known; ``stream`` stays where it is.
    """
    known = stream.known_digests
    if all(DIGEST_ALGORITHMS[name] in known for name in algorithms):
        return format_digest(
            {name: bytes.fromhex(known[DIGEST_ALGORITHMS[name]]) for name in algorithms}
        )
    names = {name: DIGEST_ALGORITHMS[name] for name in algorithms}
    async with HashStream(await stream.slice(0), *names.values()) as hashed:
        while await hashed.readany():
            pass
        digests = hashed.digests
    return format_digest(
        {name: bytes.fromhex(digests[plain]) for name, plain in names.items()}
    )
