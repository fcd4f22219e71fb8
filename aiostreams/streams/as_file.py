"""A blocking file over a stream, for code that runs in a worker thread.

Each call sends one coroutine to the event loop and waits for it there. A call from
the loop's own thread would wait for itself; it raises instead.

A file of its own: the only blocking code over a stream.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from aiostreams.errors import StreamBusy, StreamClosed

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["BlockingFile"]

T = TypeVar("T")


class _Source(Protocol):
    """The part of a Stream that a file needs; ``base`` imports this module."""

    @property
    def size(self) -> int | None: ...
    @property
    def seekable(self) -> bool: ...
    @property
    def position(self) -> int: ...
    async def readany(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...
    async def slice(self, offset: int, length: int | None = None) -> Any: ...
    def unread(self, data: bytes) -> None: ...


# Slices that a file dropped on the loop has left: nobody else holds their tasks.
_CLOSING: Final[set[asyncio.Task[None]]] = set()


class BlockingFile(io.RawIOBase):
    """What :meth:`Stream.as_file` returns.

    Readable and writable as the stream is; seekable when the stream is. Wrap it
    in ``io.BufferedReader`` or ``io.TextIOWrapper`` where a library asks for one.
    """

    def __init__(self, stream: _Source) -> None:
        super().__init__()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            super().close()  # or the garbage collector closes what is half made
            raise RuntimeError(
                "call as_file() on the event loop, and hand the file to the thread"
            ) from None
        self._loop_thread = threading.get_ident()
        self._stream = stream
        # After a seek the bytes come from a slice of the stream, not from it.
        self._source = stream
        self._ahead = memoryview(b"")
        self._position = stream.position

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if threading.get_ident() == self._loop_thread:
            coroutine.close()
            raise RuntimeError(
                "as_file() blocks: use it in a worker thread (asyncio.to_thread), "
                "not on the event loop"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def readable(self) -> bool:
        """Return true: a stream that cannot be read raises when that is tried."""
        return True

    def writable(self) -> bool:
        """Return true: likewise."""
        return True

    def seekable(self) -> bool:
        """Return whether the stream can seek."""
        return self._stream.seekable

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as fit; 0 at the end."""
        self._check()
        target = memoryview(buffer).cast("B")
        if not target:
            return 0
        if not self._ahead:
            self._ahead = memoryview(self._run(self._source.readany()))
        n = min(len(target), len(self._ahead))
        target[:n] = self._ahead[:n]
        self._ahead = self._ahead[n:]
        self._position += n
        return n

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        self._check()
        piece = bytes(data)  # the caller may reuse its buffer at once
        self._run(self._stream.write(piece))
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return the position in bytes from the start of the stream."""
        self._check()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to ``offset``; the next read comes from there.

        Raises:
            io.UnsupportedOperation: the stream cannot seek, or its end is unknown.
        """
        self._check()
        if not self._stream.seekable:
            raise io.UnsupportedOperation("this stream cannot seek")
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            size = self._stream.size
            if size is None:
                size = self._run(self._measure())
            offset += size
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        if offset == self._position:
            return offset
        if 0 < offset - self._position <= len(self._ahead):
            self._ahead = self._ahead[offset - self._position :]
        else:
            self._run(self._reopen(offset))
        self._position = offset
        return offset

    async def _measure(self) -> int:
        whole = await self._stream.slice(0)
        try:
            size: int | None = whole.size
        finally:
            await whole.close()
        if size is None:
            raise io.UnsupportedOperation("the end of this stream is unknown")
        return size

    async def _reopen(self, offset: int) -> None:
        source = await self._stream.slice(offset)
        self._ahead = memoryview(b"")
        if self._source is not self._stream:
            await self._source.close()
        self._source = source

    def close(self) -> None:
        """Give back what was read ahead; the stream itself stays open."""
        if self.closed:
            return
        super().close()
        ahead, self._ahead = bytes(self._ahead), memoryview(b"")
        if threading.get_ident() == self._loop_thread:
            self._give_back_here(ahead)
        elif (ahead or self._source is not self._stream) and not self._loop.is_closed():
            # Cancelled by a loop that ends: nobody reads the stream there any more.
            with contextlib.suppress(concurrent.futures.CancelledError):
                self._run(self._give_back(ahead))

    def _give_back_here(self, ahead: bytes) -> None:
        """As ``_give_back``, on the loop (of the garbage collector too): no waiting."""
        if self._source is self._stream:
            with contextlib.suppress(StreamClosed, StreamBusy):
                self._stream.unread(ahead)
        elif self._loop.is_running():
            task = self._loop.create_task(self._source.close())
            _CLOSING.add(task)
            task.add_done_callback(_CLOSING.discard)

    async def _give_back(self, ahead: bytes) -> None:
        if self._source is not self._stream:
            await self._source.close()
        elif ahead:
            self._stream.unread(ahead)

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
