"""``copy``: from one stream into another, reading the next bytes meanwhile.

A task that reads ahead costs more than many a write, so it is made only for a write
that really waits: the first step of a write is made by hand, and only when that gives
control to the event loop is the reading started. A sink that takes its bytes at once
(``FileStream`` writes behind, memory never waits) costs no task at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from typing import TYPE_CHECKING, Any

from aiostreams.errors import StreamClosed
from aiostreams.limits import KiB, MiB
from aiostreams.streams.tasks import end

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiostreams.streams.base import Sink, Stream

__all__ = ["copy"]

# When neither side ever waits, other tasks get their turn after so many bytes, of
# which a small chunk counts as _LEAST: it costs a write as well.
_TURN = 1 * MiB
_LEAST = 16 * KiB


async def copy(source: Stream, sink: Sink, *, chunk_size: int = 256 * KiB) -> int:
    """Write all that can be read from ``source`` into ``sink``.

    Reading the next bytes overlaps writing the last; no more than one read is ahead.
    Nothing is closed: leave the sink by ``async with``, so that it commits or
    discards. After a failure or a cancellation what was read but not offered to the
    sink is back in the source; the one chunk being written may have been taken or
    not.

    Args:
        source: read to its end.
        sink: written to.
        chunk_size: the largest piece that is written at once, in bytes. Pieces are
            passed on as they come, so they may be smaller.

    Returns:
        How many bytes were copied.

    Raises:
        ValueError: ``chunk_size`` is not positive.
        Exception: what reading or writing raises.
    """
    if chunk_size <= 0:
        raise ValueError(f"chunk_size is {chunk_size}, expected at least 1")
    pump = _Pump(source, chunk_size)
    copied = 0
    turn = _TURN
    try:
        while chunk := await pump.read() if pump.loaded else await source.readany():
            size = len(chunk)
            if size > chunk_size:
                chunk = pump.cut(chunk)
                size = chunk_size
            # The usual ``await``, had we not to act when it first waits.
            write = sink.write(chunk).__await__()
            try:
                signal = next(write)
            except StopIteration:
                turn -= max(_LEAST, size)
                if turn <= 0:
                    turn = _TURN
                    await asyncio.sleep(0)
            else:
                turn = _TURN
                pump.read_ahead()
                await _resume(write, signal)
            copied += size
    except BaseException:
        await pump.give_back()
        raise
    return copied


@types.coroutine
def _resume(steps: Generator[Any, Any, None], signal: Any) -> Generator[Any, Any, None]:
    """Do as ``yield from``, for a generator that has already yielded once."""
    while True:
        sent = thrown = None
        try:
            sent = yield signal
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 - the write's to handle
            thrown = error
        try:
            signal = steps.send(sent) if thrown is None else steps.throw(thrown)
        except StopIteration:
            return
        finally:
            thrown = None  # no cycle of the error and this frame


class _Pump:
    """What was read and not yet written: the rest of a chunk, or a read ahead."""

    def __init__(self, source: Stream, chunk_size: int) -> None:
        self._source = source
        self._chunk_size = chunk_size
        # What is left of a chunk that is larger than chunk_size.
        self._chunk = b""
        self._offset = 0
        self._ahead: asyncio.Task[bytes] | None = None
        self.loaded = False

    def cut(self, chunk: bytes) -> bytes:
        """Return the first piece of ``chunk``; the rest is kept."""
        self._chunk = chunk
        self._offset = self._chunk_size
        self.loaded = True
        return chunk[: self._chunk_size]

    def read_ahead(self) -> None:
        """Begin to read, unless there is something to write next."""
        if not self.loaded:
            self._ahead = asyncio.create_task(self._source.readany())
            self.loaded = True

    async def read(self) -> bytes:
        """Return the bytes to be written next."""
        if self._ahead is not None:
            chunk = await self._ahead
            self._ahead = None
            self.loaded = False
            return chunk
        start = self._offset
        self._offset = end = start + self._chunk_size
        self.loaded = end < len(self._chunk)
        return self._chunk[start:end]

    async def give_back(self) -> None:
        """Return to the source what the sink was not offered.

        Waits through cancellations and raises them afterwards.
        """
        ahead, self._ahead = self._ahead, None
        try:
            if ahead is not None:
                await end(ahead)
        finally:
            with contextlib.suppress(StreamClosed):
                # An error of the read ahead is sticky: the next read raises it again.
                if ahead and not ahead.cancelled() and not ahead.exception():
                    self._source.unread(ahead.result())
                self._source.unread(self._chunk[self._offset :])
