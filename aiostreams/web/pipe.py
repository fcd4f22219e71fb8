"""A Stream over an aiohttp payload: what pushes becomes what is pulled.

aiohttp's payloads know only how to write themselves to a connection. Here a task runs
that, against a writer that takes one piece at a time and waits until it is read. One
task from begin to end, because an async generator may hold a timeout or a cancel
scope over its yields.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import AsyncIterablePayload
from aiohttp.abc import AbstractStreamWriter

from aiostreams.streams.base import Stream

if TYPE_CHECKING:
    from aiohttp import Payload
    from multidict import CIMultiDict

__all__ = ["PayloadStream"]


class PayloadStream(Stream):
    """The bytes that ``payload`` writes.

    Args:
        payload: what is read; owned.
    """

    def __init__(self, payload: Payload) -> None:
        super().__init__(size=payload.size, content_type=payload.content_type)
        self._payload = payload
        self._pipe = _Pipe()
        self._writing: asyncio.Task[None] | None = None

    @property
    def live(self) -> bool:
        """Whether it is an async iterable.

        Without a coding aiohttp sends each piece of one at once, too.
        """
        return isinstance(self._payload, AsyncIterablePayload)

    async def readany(self) -> bytes:
        """The next piece that the payload writes."""
        pipe = self._pipe
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        while not pipe.piece:
            if self._writing.done():
                self._writing.result()
                return b""
            await pipe.changed.wait()
            pipe.changed.clear()
        return pipe.take()

    async def _write(self) -> None:
        try:
            await self._payload.write(self._pipe)
        finally:
            # The task is done one turn of the event loop later.
            asyncio.get_running_loop().call_soon(self._pipe.changed.set)

    async def close(self) -> None:
        """Stop the payload where it is, and close it."""
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.cancel()
                await asyncio.wait([writing])
                if not writing.cancelled():
                    writing.exception()  # mark as seen: nobody reads any more
            # aiohttp leaves a generator that was not exhausted to the garbage
            # collector, and has no public way to it.
            aclose = getattr(getattr(self._payload, "_value", None), "aclose", None)
            if aclose is not None:
                await aclose()
        finally:
            await self._payload.close()


class _Pipe(AbstractStreamWriter):
    """Takes one piece, and the next one when that has been read."""

    def __init__(self) -> None:
        self.length = None
        self.piece = b""
        self.changed = asyncio.Event()
        self._room = asyncio.Event()

    def take(self) -> bytes:
        piece, self.piece = self.piece, b""
        self._room.set()
        return piece

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        if not len(chunk):
            return
        self._room.clear()
        # A copy of what can change: it is read later.
        self.piece = bytes(chunk)
        self.changed.set()
        await self._room.wait()

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
