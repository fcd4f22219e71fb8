"""Calls for a middleware to wrap, keep or verify a body before the handler reads it.

All of it holds for whoever reads afterwards, by the helpers of this package or by
aiohttp's own calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, Self, overload

from aiostreams.errors import exceeded
from aiostreams.files.spooled import SpooledStream
from aiostreams.limits import MiB
from aiostreams.sansio.webhooks import SIGNATURE_SCHEMES, read_signed, signing_key
from aiostreams.streams.base import Stream
from aiostreams.streams.hashing import SignedStream
from aiostreams.streams.iterable import IterStream
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aiohttp import web

    from aiostreams.sansio.webhooks import SignatureScheme
    from aiostreams.web.state import RequestState

__all__ = ["KeptBody", "keep_body", "signed_body", "wrap_body"]

_CALL: Final = "keep_body()"


def wrap_body(request: web.BaseRequest, make: Callable[[Stream], Stream]) -> None:
    """Put a stream around the body that everybody will read.

        @web.middleware
        async def decrypted(request, handler):
            wrap_body(request, lambda body: DecryptedStream(body, key))
            return await handler(request)

    ``make`` gets the decoded body and gives a stream over it, such as a
    :class:`Transform`. It is called when the body is first read, and so not at all for
    one that is not read, as that of a WebSocket's request. A later wrap stands around
    the earlier ones. Content-Length, ``max_body`` and the client's pace are held
    against what arrives, below; ``max_body`` once more against what comes out, above.
    What was made is closed at the end of the request, and so is what it stands on.

    What the stream raises is answered like an error of the body: a ``StreamError`` by
    its status, an ``HTTPException`` as itself, anything else by 500.

    Args:
        request: whose body.
        make: gives a stream over the one that it gets; no coroutine.

    Raises:
        RuntimeError: the body was opened, or read, before.
        TypeError: while reading: ``make`` gave no Stream.
    """
    body_of(request).wrap(make)


async def keep_body(request: web.BaseRequest, *, max_size: int | None = None) -> Stream:
    """Read all of the body now, and keep it: a stream from its beginning.

        body = await keep_body(request, max_size=10 * MiB)
        digest = await digest_of(body)
        return await handler(request)  # which reads the same again

    Up to ``max_memory`` bytes are kept in memory, more of them in a temporary file
    without a name, until the end of the request. Every call gives another stream,
    which can seek, and every other reader begins at the beginning, too. They are the
    bytes that :func:`wrap_body` made of the body.

    Args:
        request: whose body.
        max_size: the most bytes that are kept; ``max_body`` holds anyway.

    Raises:
        LimitExceeded: the body is larger; it can still be read, as it comes.
        StorageError: the temporary file could not be written.
        RuntimeError: some of the body was read before, and is gone.
        StreamError: as raised by the stream.
    """
    body = body_of(request)
    kept = body.again()
    if kept is None:
        await _keep(body, max_size)
        kept = body.again()
        assert kept is not None
        await kept.open()
    assert kept.size is not None
    if max_size is not None and kept.size > max_size:
        raise exceeded("the body", kept.size, max_size, exact=True)
    return kept


async def _keep(body: RequestState, max_size: int | None) -> None:
    memory = body.limits.max_memory
    ceiling = memory if max_size is None else min(memory, max_size)
    if body.take_arrived(_CALL, ceiling) is not None:
        return
    stream = body.source(_CALL, whole=True)
    if max_size is not None and stream.size is not None and stream.size > max_size:
        raise exceeded("the body", stream.size, max_size, exact=True)
    spool = SpooledStream(max_memory=memory, content_type=stream.content_type)
    body.call_on_close(spool.close)
    piece = b""
    try:
        while piece := await stream.readany():
            size = spool.size + len(piece)
            if max_size is not None and size > max_size:
                raise exceeded("the body", size, max_size)  # noqa: TRY301 - as others
            await spool.write(piece)
            piece = b""
    except BaseException:
        if not stream.closed:
            # Whoever goes on without keeping it, or after a timeout, has all of it.
            stream.unread(piece)
            if spool.size:
                body.replace(_all_of(spool, stream))
        raise
    if not spool.rolled:
        body.remember(await spool.read(), stream)
        return

    def again() -> Stream:
        kept = KeptBody(spool)
        body.call_on_close(kept.close)
        return kept

    body.replay(again)


def _all_of(spool: SpooledStream, rest: Stream) -> Stream:
    """Return what ``spool`` holds, then the rest of the stream it came from."""

    async def pieces() -> AsyncIterator[bytes]:
        async with KeptBody(spool) as kept:
            async for piece in kept.iter_any():
                yield piece
        async for piece in rest.iter_any():
            yield piece

    return IterStream(pieces(), size=rest.size, content_type=rest.content_type)


class KeptBody(Stream):
    """What ``spool`` holds, from its beginning; opened by the first read.

    Args:
        spool: written to its end; not owned.
    """

    def __init__(self, spool: SpooledStream) -> None:
        super().__init__(size=spool.size, content_type=spool.content_type)
        self._spool = spool
        self._part: Stream | None = None

    async def open(self) -> Self:
        """Read all of it into the file.

        Raises:
            StorageError: it could not be written.
        """
        await super().open()
        if self._part is None:
            self._part = await self._spool.slice(0)
        return self

    async def readany(self) -> bytes:
        """Return the next piece."""
        if self._part is None:
            self._part = await self._spool.slice(0)
        return await self._part.readany()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a stream over a part of it, which lives on its own."""
        await super().open()
        return await self._spool.slice(offset, length)

    async def close(self) -> None:
        """Close what was opened; the spool is for others, too."""
        if self._part is not None:
            await self._part.close()


# GitHub sends up to 25 MB, others less.
_MAX_SIZE: Final = 32 * MiB
# What Stripe and Standard Webhooks allow, in seconds.
_TOLERANCE: Final = 300.0


@overload
async def signed_body(
    request: web.BaseRequest,
    key: str | bytes | Iterable[str | bytes],
    *,
    scheme: SignatureScheme = "github",
    max_size: int = _MAX_SIZE,
    tolerance: float | None = _TOLERANCE,
    keep: Literal[True] = True,
) -> Stream: ...
@overload
async def signed_body(
    request: web.BaseRequest,
    key: str | bytes | Iterable[str | bytes],
    *,
    scheme: SignatureScheme = "github",
    max_size: int = _MAX_SIZE,
    tolerance: float | None = _TOLERANCE,
    keep: bool,
) -> Stream | None: ...
async def signed_body(
    request: web.BaseRequest,
    key: str | bytes | Iterable[str | bytes],
    *,
    scheme: SignatureScheme = "github",
    max_size: int = _MAX_SIZE,
    tolerance: float | None = _TOLERANCE,
    keep: bool = True,
) -> Stream | None:
    """Hold the body to the signature that its sender has made with ``key``.

        @web.middleware
        async def signed(request, handler):
            await signed_body(request, [NEW_SECRET, OLD_SECRET], scheme="stripe")
            return await handler(request)

    The body is read, hashed while it arrives, and kept as :func:`keep_body` keeps it:
    whoever reads after this call gets bytes that are signed, and no others.

    A large upload that is not to be kept twice is read with ``keep=False``. Then this
    reads nothing, and the signature is judged by the read that meets the end: whoever
    reads sees bytes that may be wrong, and an error in place of the end. That is for
    readers that act on nothing before the end, as :func:`receive`, ``read_json`` and
    the others that take all of a body do, and not for those that stream it.

    What is signed is the decoded body, with what wraps before this one have made of
    it. A captured request stays rightly signed while its timestamp is in tolerance,
    and with ``github`` for ever: remember the ids of deliveries where that matters.

    Args:
        request: whose body.
        key: the secret, or several, of which one has to be right: the new one and
            the old one while they change. Text is taken as the scheme writes it.
        scheme: ``"github"`` (``X-Hub-Signature-256``), ``"stripe"``
            (``Stripe-Signature``) or ``"standard"`` (Standard Webhooks).
        max_size: the most bytes that are kept for a sender who may be anybody.
        tolerance: by how many seconds a signed timestamp may be off; ``None`` for any.
        keep: whether to read and keep the body now.

    Returns:
        The body from its beginning; ``None`` without ``keep``.

    Raises:
        InvalidSignature: the signature is missing, of another body or key, or too
            old; without ``keep`` the last read raises what concerns the body.
        LimitExceeded: the body is larger than ``max_size``.
        ValueError: a key is empty, or none is given, or the scheme is not known.
        RuntimeError: another call has read the body, and its bytes are gone.
        StreamError: as raised by the stream.
    """
    if scheme not in SIGNATURE_SCHEMES:
        known = ", ".join(SIGNATURE_SCHEMES)
        raise ValueError(
            f"unknown signature scheme {scheme!r}; expected one of {known}"
        )
    given = [key] if isinstance(key, str | bytes) else list(key)
    keys = [signing_key(scheme, one) for one in given]
    if not keys:
        raise ValueError("there is no key to verify with")
    signed = read_signed(scheme, request.headers, now=time.time(), tolerance=tolerance)

    def verified(body: Stream) -> Stream:
        return SignedStream(body, keys, signed.signatures, prefix=signed.prefix)

    body = body_of(request)
    kept = body.again()
    if kept is not None:
        # Somebody has kept it before: it is read once more, and stays.
        async for _ in verified(kept).iter_any():
            pass
        return await keep_body(request, max_size=max_size)
    wrap_body(request, verified)
    return await keep_body(request, max_size=max_size) if keep else None
