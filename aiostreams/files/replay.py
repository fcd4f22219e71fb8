"""Bytes that are written once and read by any number, while they come and afterwards.

    Replay (the writer's side) -> _Log <- _Reader, one for each that reads

The log has the last bytes in memory, and once there are more than ``max_memory`` all
of them in a file without a name, written behind. A reader takes its next bytes from
memory if they are there still, else from the file, and waits when it has them all. So
whoever keeps up costs no file call, whoever does not reads the file at its own pace,
and neither costs memory that grows.

Nothing that reads is known to the writer but who waits. The file goes with the last
reference to the log: that of the ``Replay`` or of a reader.

It is for applications, and stands by itself for that; of the package the proxy's cache
alone uses it.

A file of its own: applications import it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Self

from aiostreams.errors import StreamBusy, StreamClosed, StreamError, exceeded
from aiostreams.files.file import FileStream
from aiostreams.files.reading import PIECE, OpenFile
from aiostreams.files.spooled import Spool
from aiostreams.files.writing import ChunkList, WriteBehind
from aiostreams.limits import KiB, MiB
from aiostreams.streams.base import Stream
from aiostreams.streams.threads import finalize

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from aiostreams.streams.iterable import BytesLike

__all__ = ["Replay"]

# Shorter writes are copied together: each object costs some 50 bytes.
_SMALL: Final = 8 * KiB


class Replay:
    """One producer, and any number of readers of what it has written and will write.

        replay = Replay()
        async with replay:              # closes; aborts when left by an exception
            async for token in model:
                await replay.write(token)

        return replay.open()            # in as many handlers as there are requests

    Up to ``max_memory`` bytes are kept in memory, more in a file without a name. A slow
    reader stops no other. One that is dropped without ``close()`` aborts; its file goes
    with the last of it and its readers.

    Args:
        max_memory: how many bytes are held in memory; some 4 MiB more while they are
            on their way to the file.
        max_size: how many bytes may be written; any number when ``None``.
        dir: the directory for the file; the system's for temporary files if ``None``.
        content_type: the media type that readers have.

    Raises:
        ValueError: a number is negative.
    """

    _log: _Log | None = None  # also where __init__ has failed

    def __init__(
        self,
        *,
        max_memory: int = 1 * MiB,
        max_size: int | None = None,
        dir: str | os.PathLike[str] | None = None,  # noqa: A002 - as in tempfile
        content_type: str | None = None,
    ) -> None:
        for name, number in (("max_memory", max_memory), ("max_size", max_size)):
            if number is not None and number < 0:
                raise ValueError(f"{name} must not be negative: {number}")
        folder = None if dir is None else os.fspath(dir)
        self._log = _Log(max_memory, folder, content_type)
        self._max_size = max_size
        self._writing = False
        self._closed = False

    @property
    def size(self) -> int:
        """How many bytes have been written."""
        assert self._log is not None
        return self._log.size

    @property
    def closed(self) -> bool:
        """Whether no more will be written."""
        return self._closed

    def __repr__(self) -> str:
        assert self._log is not None
        return f"<Replay of {self._log.size} bytes, {self._log.state}>"

    # -- writing -------------------------------------------------------------------

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data``, or nothing of it when cancelled or failing.

        Waits only for a disk that is slower than the producer.

        Raises:
            LimitExceeded: it would be more than ``max_size``; nothing else happens.
            StorageError: the file could not be written, which ends the replay.
            StreamClosed: it was closed or aborted.
            StreamBusy: another task is writing.
        """
        log = self._log
        assert log is not None
        self._check_open()
        if self._writing:
            raise StreamBusy("another task is writing this Replay")
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        size = log.size + len(data)
        if self._max_size is not None and size > self._max_size:
            raise exceeded("the replay", size, self._max_size)
        if not data:
            return
        self._writing = True
        try:
            await log.add(data)
        finally:
            self._writing = False
        if self._closed:  # by abort(), meanwhile
            self._check_open()

    async def close(self) -> None:
        """Say that this is all; readers end with the last byte. Again: nothing.

        Raises:
            StreamBusy: another task is writing; nothing else happens.
        """
        if self._writing:
            raise StreamBusy("another task is writing this Replay")
        if not self._closed:
            self._closed = True
            assert self._log is not None
            await self._log.end()

    async def abort(self, error: BaseException | None = None) -> None:
        """Say that no more will come: readers get ``error`` behind the last byte.

        After ``close()`` it does nothing.

        Args:
            error: what has happened; a ``StreamError`` when ``None``. A cancellation
                is not passed on: who reads was not cancelled.
        """
        if not self._closed:
            self._closed = True
            assert self._log is not None
            await self._log.stop(_given_up(error))

    def _check_open(self) -> None:
        if self._closed:
            raise StreamClosed("the Replay is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self.close()
        else:
            await self.abort(exc)

    def __del__(self) -> None:
        log = self._log
        if log is not None and not self._closed:
            log.abandon(_given_up(None))

    # -- reading -------------------------------------------------------------------

    def open(self, offset: int = 0) -> Stream:
        """Open a stream of the bytes from ``offset`` on, and of those to come.

        Opened after ``close()`` it has a size and can seek. Opened before, it has
        neither, is ``live``, and waits for more at the end; it ends with ``close()``.
        All have one ``etag``. ``await replay.open()`` gives the same.

        Args:
            offset: where to begin, in bytes; beyond what there is, it waits for that.

        Raises:
            ValueError: ``offset`` is negative.
        """
        if offset < 0:
            raise ValueError(f"offset must not be negative: {offset}")
        assert self._log is not None
        return _Reader(self._log, offset)


def _given_up(error: BaseException | None) -> Exception:
    if isinstance(error, Exception):
        return error
    return StreamError("what was replayed was given up before its end")


class _Log:
    """What was written, how it ended, and who waits for more.

    Attributes:
        size: how many bytes were written.
        ended: whether these are all.
        error: why no more will come, if they are not.
        trace: its traceback by then.
        etag: what the bytes are known by.
    """

    def __init__(
        self, max_memory: int, folder: str | None, content_type: str | None
    ) -> None:
        self.size = 0
        self.ended = False
        self.error: Exception | None = None
        self.trace: TracebackType | None = None
        self.etag = secrets.token_hex(12)
        self.content_type = content_type
        self._max_memory = max_memory
        # The last bytes, in chunks, and where each of these begins. The first is
        # dropped only when the file has it.
        self._chunks: list[bytes | bytearray] = []
        self._starts: list[int] = []
        self._spool = _CountingSpool(folder)
        self._behind: WriteBehind | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "aborted"
        return "complete" if self.ended else "open"

    # -- for the writer ------------------------------------------------------------

    async def add(self, data: bytes) -> None:
        if self._behind is None and self.size + len(data) > self._max_memory:
            batch = ChunkList()
            for chunk in self._chunks:
                batch.add(chunk)
            self._behind = WriteBehind(self._spool.write, batch)
        if self._behind is not None:
            try:
                await self._behind.write(data)
            except Exception as error:
                self.fail(error)
                raise
            if self.error is not None:
                return
        last = self._chunks[-1] if self._chunks else b""
        if len(data) < _SMALL and len(last) < _SMALL and isinstance(last, bytearray):
            last += data
        else:
            self._starts.append(self.size)
            self._chunks.append(bytearray(data) if len(data) < _SMALL else data)
        self.size += len(data)
        self._trim()
        self._wake()

    def _trim(self) -> None:
        """Drop what the file has and ``max_memory`` has no room for."""
        end = min(self._spool.written, self.size - self._max_memory)
        if end > 0:
            # The chunk that has byte `end` stays.
            count = bisect_right(self._starts, end) - 1
            if self._starts and end == self.size:
                count += 1
            if count > 0:
                del self._chunks[:count], self._starts[:count]

    async def end(self) -> None:
        self.ended = True
        self._wake()
        if self._behind is not None:
            try:
                await self._behind.flush()
            except Exception:  # noqa: BLE001 - what cannot be written stays in memory
                return
            self._trim()

    async def stop(self, error: Exception) -> None:
        self.fail(error)
        if self._behind is not None:
            await self._behind.stop()

    def fail(self, error: Exception) -> None:
        if not self.ended and self.error is None:
            self.error = error
            self.trace = error.__traceback__
            self._wake()

    def abandon(self, error: Exception) -> None:
        """``fail`` from any thread, as ``__del__`` is called."""
        loop = self._loop
        if loop is None or loop.is_closed():
            self.fail(error)  # nobody waits
        else:
            loop.call_soon_threadsafe(self.fail, error)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # -- for readers ---------------------------------------------------------------

    def take(self, offset: int, end: int) -> bytes | None:
        """Bytes at ``offset``, before ``end``; ``None`` if only the file has them."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return None
        chunk = self._chunks[index]
        start = offset - self._starts[index]
        stop = min(start + PIECE, end - self._starts[index])
        if not start and stop >= len(chunk) and type(chunk) is bytes:
            return chunk
        return bytes(memoryview(chunk)[start:stop])

    def part(self, offset: int, end: int) -> FileStream:
        """Return a stream of what the file has from ``offset`` on, before ``end``."""
        assert self._spool.file is not None
        end = min(self._spool.written, end)
        return FileStream.over(self._spool.file, offset, end=end)

    async def news(self) -> None:
        """Wait until more was written, or something has ended."""
        self._loop = asyncio.get_running_loop()
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class _CountingSpool(Spool):
    """The file, of which it is known how much of it can be read.

    Attributes:
        written: that many bytes; counted in the thread that writes.
    """

    def __init__(self, folder: str | None) -> None:
        super().__init__(folder, _KeptFile)
        self.written = 0

    def write(self, chunks: list[BytesLike]) -> None:
        super().write(chunks)
        self.written += sum(map(len, chunks))


class _KeptFile(OpenFile):
    """One that is open as long as somebody refers to it."""

    __slots__ = ()

    def __del__(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # To free a large file takes its time.
            finalize(functools.partial(os.close, fd))


class _Reader(Stream):
    """The bytes of a log from ``start`` to ``stop``."""

    def __init__(self, log: _Log, start: int, stop: int | None = None) -> None:
        if stop is None and log.ended:
            stop = max(start, log.size)
        size = None if stop is None else stop - start
        super().__init__(size=size, content_type=log.content_type)
        self._log = log
        self._start = start
        self._stop = stop
        self._part: FileStream | None = None

    @property
    def etag(self) -> str | None:
        """What the bytes are known by, while they are being written as well."""
        return None if self._log.error is not None else self._log.etag

    @property
    def live(self) -> bool:  # type: ignore[override] # it ends to be
        """Whether more is to come."""
        log = self._log
        return self._stop is None and not log.ended and log.error is None

    @property
    def seekable(self) -> bool:
        """Whether it was opened after the last byte was written."""
        return self._stop is not None

    def __await__(self) -> Generator[None, None, Self]:
        # As every other `open` in this package is awaited.
        yield from ()
        return self

    async def readany(self) -> bytes:
        """Return the next bytes there are, or the first of those that come."""
        log = self._log
        while True:
            offset = self._start + self.received
            if self._part is not None:
                if piece := await self._part.readany():
                    return piece
                await self._end_part()
                continue
            end = log.size if self._stop is None else self._stop
            if offset < end:
                chunk = log.take(offset, end)
                if chunk is not None:
                    return chunk
                self._part = log.part(offset, end)
            elif log.error is not None:
                # With its first traceback: it must not grow with each reader.
                raise log.error.with_traceback(log.trace)
            elif log.ended:
                return b""
            else:
                await log.news()

    async def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            await part.close()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part, independent of this stream and of the ``Replay``."""
        self.check_open()
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(
                f"offset and length must not be negative: {offset}, {length}"
            )
        if self._stop is None:
            raise NotImplementedError("a Replay cannot seek before it is complete")
        start = min(self._start + offset, self._stop)
        stop = self._stop if length is None else min(start + length, self._stop)
        return _Reader(self._log, start, stop)

    async def close(self) -> None:
        """Let go of the file."""
        await self._end_part()
