"""The bytes that a coded stream has read of its source and not worked on yet.

Reading and working overlap: while a worker thread has one piece, the source is read
for the next one. Nothing is read when nobody reads the coded stream: a read that is
under way when its caller leaves is cancelled, which loses no bytes (law 9), so the
source is free for others, say to skip to the next part of a form.

An error of the source waits here until the bytes before it have been delivered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiostreams.errors import StreamBusy
from aiostreams.streams.guards import Buffer
from aiostreams.streams.tasks import end

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream
    from aiostreams.streams.threads import ThreadCall

__all__ = ["SourceReader"]


class SourceReader:
    """Bytes of ``source``, in order.

    Args:
        source: what is read; not owned.
        live: whether each piece is urgent; when ``None``, the source says so by an
            attribute ``live``, looked at after each piece.

    Attributes:
        ended: the source has ended or failed, no more bytes will come.
        error: why it failed.
        urgent: among the bytes held is a piece that must not wait for more.
    """

    def __init__(self, source: Stream, *, live: bool | None = None) -> None:
        self._source = source
        self._live = live
        self._buffer = Buffer()
        self._waiting: asyncio.Task[Any] | None = None
        self._interrupted = False
        self.ended: bool = False
        self.error: Exception | None = None
        self.urgent: bool = False

    @property
    def held(self) -> int:
        """How many bytes there are."""
        return self._buffer.held

    @property
    def live(self) -> bool:
        """Whether a piece that arrives now is urgent."""
        return (
            getattr(self._source, "live", False) if self._live is None else self._live
        )

    def take(self, size: int) -> bytes:
        """Take ``size`` bytes, or all of them if there are fewer."""
        held = self._buffer.held
        if size < held:
            return self._buffer.take(size)
        self.urgent = False
        return self._buffer.take(held) if held else b""

    def take_chunk(self) -> bytes:
        """Take a piece as it came."""
        return self._buffer.take_chunk()

    def clear(self) -> None:
        """Forget the bytes."""
        self._buffer.clear()

    async def fill(self, size: int) -> None:
        """Read until ``size`` bytes are held, or one is urgent, or no more come.

        Raises:
            StreamBusy: somebody else reads the source.
        """
        task = self._waiting = asyncio.current_task()
        try:
            await self._fill(size)
            if self._interrupted:
                # The cancellation may be on its way still, or was swallowed.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            assert task is not None
            if not self._interrupted or task.uncancel():
                raise
        else:
            if self._interrupted:
                assert task is not None
                task.uncancel()
        finally:
            self._waiting = None
            self._interrupted = False

    def interrupt(self) -> None:
        """Let a ``fill`` that waits in another task return with what it has.

        A cancelled read of the source loses nothing, so cancelling is all it takes.
        """
        if self._waiting is asyncio.current_task():
            self.urgent = True  # the source itself asks, before it gives a piece
        elif self._waiting is not None and not self._interrupted:
            self._interrupted = self._waiting.cancel()

    async def fill_during(self, job: ThreadCall[Any], size: int) -> None:
        """Wait for ``job``, and meanwhile do as ``fill`` does."""
        if self.ended or self._buffer.held >= size or self.urgent:
            await job.wait()
            return
        reading = asyncio.create_task(self._fill(size))
        try:
            await job.wait()
        finally:
            await end(reading)  # StreamBusy is met again by the next fill()

    async def _fill(self, size: int) -> None:
        while not self.ended and self._buffer.held < size and not self.urgent:
            try:
                piece = await self._source.readany()
            except StreamBusy:
                raise
            except Exception as error:  # noqa: BLE001 - raised when its turn comes
                self.error = error
                piece = b""
            if not piece:
                self.ended = True
            else:
                self._buffer.put(piece)
                if self.live:
                    self.urgent = True
