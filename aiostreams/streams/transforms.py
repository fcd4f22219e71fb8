"""Streams that pass another stream through: limited, watched, copied.

Each wraps one source and owns it: closing the transform closes the source. What
passes through is not changed, so ``size`` and ``content_type`` carry through.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import TYPE_CHECKING, Final, Self

from aiostreams.errors import exceeded
from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import PendingCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from aiostreams.errors import LimitExceeded
    from aiostreams.streams.base import Sink

    # Gets (done, total) in bytes; total is None when unknown. Plain or async.
    ProgressCallback: TypeAlias = "Callable[[int, int | None], Awaitable[None] | None]"

__all__ = ["LimitStream", "ProgressStream", "RateStream", "TeeStream", "Transform"]

# A throttled stream gives as much at once as it may in so many seconds, and makes up
# for no longer a delay: shorter sleeps than this are not exact.
_TICK: Final = 0.05


class Transform(Stream):
    """The base of a stream that passes another one through.

        class Upper(Transform):
            async def readany(self):
                return (await self.source.readany()).upper()

    ``size``, ``content_type``, ``live``, ``open()`` and ``close()`` are those of the
    source; a subclass overrides :meth:`readany`, and what is different. It can seek
    when it overrides :meth:`slice` and its source can seek.

    Args:
        source: what is read; owned, and closed by ``close()``.
        keeps_size: whether it gives as many bytes as the source; if not, ``size`` is
            ``None``.

    Attributes:
        source: the same.
    """

    def __init__(self, source: Stream, *, keeps_size: bool = True) -> None:
        super().__init__()
        self.source: Stream = source
        self.__keeps_size = keeps_size

    @property
    def size(self) -> int | None:
        """The size of the source, or ``None`` where that is changed."""
        return self.source.size if self.__keeps_size else None

    def measure(self) -> int | None:
        """Return that of the source, if the size is the source's."""
        if type(self).size is Transform.size and self.__keeps_size:
            return self.source.measure()
        return self.size

    @property
    def content_type(self) -> str | None:
        """The content type of the source."""
        return self.source.content_type

    @property
    def live(self) -> bool:  # type: ignore[override] # a source may say it plainly
        """Whether the source is."""
        return self.source.live

    @property
    def seekable(self) -> bool:
        """Whether ``slice`` is overridden, and the source can seek."""
        return super().seekable and self.source.seekable

    async def open(self) -> Self:
        """Open the source."""
        await self.source.open()
        return self

    async def readany(self) -> bytes:
        """Return the source's next piece."""
        return await self.source.readany()

    async def close(self) -> None:
        """Close the source."""
        await self.source.close()


class LimitStream(Transform):
    """``source``, refused when it is longer than ``max_bytes``.

    A source that knows its size is refused at the first read, before any byte is
    taken. Otherwise the first ``max_bytes`` bytes pass, then the error comes.

    Args:
        source: what is read; owned.
        max_bytes: how many bytes may pass.
        what: how the error calls the thing that is too large.

    Raises:
        LimitExceeded: by the read that would go beyond.
        ValueError: ``max_bytes`` is negative.
    """

    def __init__(
        self, source: Stream, max_bytes: int, *, what: str = "the body"
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative: {max_bytes}")
        super().__init__(source)
        self._max_bytes = max_bytes
        self._what = what
        self._passed = 0

    async def readany(self) -> bytes:
        """Return the source's next piece, unless it goes beyond the limit."""
        if not self._passed:
            size = self.source.size
            if size is not None and size > self._max_bytes:
                raise self._exceeded(size)
        if self._passed > self._max_bytes:
            raise self._exceeded(self._passed)
        piece = await self.source.readany()
        room = self._max_bytes - self._passed
        self._passed += len(piece)
        if len(piece) > room:
            if not room:
                raise self._exceeded(self._passed)
            return piece[:room]
        return piece

    def _exceeded(self, seen: int) -> LimitExceeded:
        return exceeded(self._what, seen, self._max_bytes)


class ProgressStream(Transform):
    """``source``, with ``callback(done, total)`` after each piece.

    Args:
        source: what is read; owned.
        callback: gets the bytes done, and the size or ``None``; plain or async. It
            is awaited before the piece is handed out, and may slow the reader.
    """

    def __init__(self, source: Stream, callback: ProgressCallback) -> None:
        super().__init__(source)
        self._callback = callback
        self._done = 0
        self._piece: bytes | None = None
        self._waiting: Awaitable[None] | None = None
        self._call: PendingCall[None] = PendingCall()

    async def readany(self) -> bytes:
        """Return the source's next piece, once the callback has seen its count."""
        # A reader cancelled in the callback comes back for the same piece.
        if self._piece is None:
            piece = await self.source.readany()
            if not piece:
                return b""
            self._done += len(piece)
            self._piece = piece
            called = self._callback(self._done, self.size)
            if not inspect.isawaitable(called):
                self._piece = None
                return piece
            self._waiting = called
        piece = self._piece
        await self._call.run(self._await_callback)
        self._piece = None
        return piece

    async def _await_callback(self) -> None:
        assert self._waiting is not None
        await self._waiting

    async def close(self) -> None:
        """End a callback under way, and close the source."""
        try:
            await self._call.cancel()
        finally:
            # One that had not begun to run would complain that it never did.
            if inspect.iscoroutine(self._waiting):
                self._waiting.close()
            await super().close()


class RateStream(Transform):
    """``source``, at no more than so many bytes a second on average.

    Pieces that are larger come in parts. A source that is slower is not held up, and
    gathers no right to be faster later.

    Args:
        source: what is read; owned.
        bytes_per_second: the rate.

    Raises:
        ValueError: the rate is not positive and finite.
    """

    def __init__(self, source: Stream, bytes_per_second: float) -> None:
        if not 0 < bytes_per_second < math.inf:
            raise ValueError(
                f"bytes_per_second must be positive and finite: {bytes_per_second}"
            )
        super().__init__(source)
        self._rate = bytes_per_second
        self._step = max(1, int(bytes_per_second * _TICK))
        # When the next bytes may go, by the loop's clock.
        self._due = 0.0
        # What a reader that was cancelled while it slept comes back for.
        self._piece = b""
        self._offset = 0

    async def readany(self) -> bytes:
        """Return the source's next bytes, when it is their time."""
        if self._offset == len(self._piece):
            piece = await self.source.readany()
            if not piece:
                return b""
            self._piece, self._offset = piece, 0
        loop = asyncio.get_running_loop()
        early = self._due - loop.time()
        if early > 0:
            await asyncio.sleep(early)
        piece = self._piece[self._offset : self._offset + self._step]
        self._offset += len(piece)
        self._due = max(self._due, loop.time() - _TICK) + len(piece) / self._rate
        return piece


class TeeStream(Transform):
    """``source``, and a copy of every piece to each of ``sinks``.

    A piece is handed out when all sinks have taken it, so the slowest one sets the
    pace. The sinks are not closed: their owner decides whether they commit. When
    a sink fails, reading fails.

    Args:
        source: what is read; owned.
        sinks: writable streams, or a ``Replay``.
    """

    def __init__(self, source: Stream, *sinks: Sink) -> None:
        super().__init__(source)
        self._sinks = sinks
        self._piece = b""
        self._writing: PendingCall[None] = PendingCall()

    async def readany(self) -> bytes:
        """Return the source's next piece, once every sink has it."""
        # A reader cancelled while sinks write comes back for the same piece.
        piece = self._piece
        if not piece:
            piece = self._piece = await self.source.readany()
            if not piece:
                return b""
        await self._writing.run(self._write_all)
        self._piece = b""
        return piece

    async def _write_all(self) -> None:
        for sink in self._sinks:
            await sink.write(self._piece)

    async def close(self) -> None:
        """End a write under way, and close the source."""
        try:
            await self._writing.cancel()
        finally:
            await super().close()
