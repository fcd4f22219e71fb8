"""A Stream over an aiohttp payload: adapts a push-style Payload to a pull-style Stream.

aiohttp's payloads can only write themselves to a connection. Here a task does that,
to a writer that holds 64 KiB: one task from begin to end, because an async
generator may hold a timeout or a cancel scope over its yields. The reader gets all
that is there as soon as the payload waits for anything, so rows from memory cost no
turn of the event loop each, and a feed stays live.

That is also what a body needs that is encoded while somebody makes it: without a
coding its pieces would reach the client at once, and so they must with one, but not
each by itself when they come by the thousand. See ``prompt``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import AsyncIterablePayload

from aiostreams.limits import KiB
from aiostreams.streams.iterable import ProducedStream, close_iterable
from aiostreams.streams.tasks import Producer
from aiostreams.web.payload import StreamPayload

if TYPE_CHECKING:
    from aiohttp import Payload
    from multidict import CIMultiDict

    from aiostreams.streams.base import Stream

__all__ = ["PayloadStream", "prompt"]

_AHEAD: Final = 64 * KiB


def prompt(stream: Stream) -> Stream:
    """``stream`` made fit for an encoder: one that is fed while it is read is live.

    A source that knows its size, or can seek, has its bytes already.
    """
    if stream.live or stream.seekable or stream.size is not None:
        return stream
    return PayloadStream(StreamPayload(stream))


class PayloadStream(ProducedStream):
    """The bytes that ``payload`` writes.

    Args:
        payload: what is read; owned.
    """

    def __init__(self, payload: Payload) -> None:
        super().__init__(size=payload.size, content_type=payload.content_type)
        self._payload = payload
        self._producer = _Writing(payload)

    @property
    def live(self) -> bool:  # type: ignore[override] # a source may say it plainly
        """Whether it may be fed while it is read: its size is not known."""
        return self.size is None

    async def close(self) -> None:
        """Stop the payload where it is, and close it."""
        try:
            await super().close()
            # aiohttp leaves what was not exhausted to the garbage collector, and has
            # no public way to it.
            if isinstance(self._payload, AsyncIterablePayload):
                await close_iterable(
                    getattr(self._payload, "_iter", None),
                    getattr(self._payload, "_value", None),
                )
        finally:
            await self._payload.close()


class _Writing(Producer, AbstractStreamWriter):
    """The writing of a payload, and what it is written to."""

    def __init__(self, payload: Payload) -> None:
        super().__init__(ahead=_AHEAD)
        self.length = None
        self._payload = payload

    async def _run(self) -> None:
        await self._payload.write(self)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        # A copy of what can change: it is read later.
        await self.put(bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None:
        await self.write(chunk)

    async def drain(self) -> None:
        pass

    def enable_compression(
        self, encoding: str = "deflate", strategy: int | None = None
    ) -> None:
        raise NotImplementedError("a payload does not encode itself")

    def enable_chunking(self) -> None:
        raise NotImplementedError("a payload does not frame itself")

    async def write_headers(
        self, status_line: str, headers: CIMultiDict[str] | Any
    ) -> None:
        raise NotImplementedError("a payload has no header section")
