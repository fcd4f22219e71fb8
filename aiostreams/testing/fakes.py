"""Streams that drip, fail, stall, spy and sink: the sources that tests need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiostreams.streams.base import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DripStream", "FailStream", "SinkStream", "SpyStream", "StallStream"]


class DripStream(Stream):
    """``data`` in pieces, with turns of the event loop in between.

    Args:
        data: all the bytes.
        pieces: the size of a piece, or the sizes in turn (used again and again).
        turns: how often each read lets other tasks run before it has its bytes.
        known_size: whether ``size`` is known.
        content_type: the media type.
    """

    def __init__(
        self,
        data: bytes,
        pieces: int | Sequence[int] = 1,
        *,
        turns: int = 1,
        known_size: bool = False,
        content_type: str | None = None,
    ) -> None:
        super().__init__(
            size=len(data) if known_size else None, content_type=content_type
        )
        self._data = data
        self._at = 0
        self._pieces = (pieces,) if isinstance(pieces, int) else tuple(pieces)
        self._turn = 0
        self._turns = turns

    async def readany(self) -> bytes:
        """Return the next piece; cancelled while it waits, it loses nothing."""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        size = self._pieces[self._turn % len(self._pieces)]
        self._turn += 1
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece


class FailStream(DripStream):
    """A drip that raises ``error`` after ``after`` bytes, at every later read too.

    Args:
        data: the bytes, of which the first ``after`` come.
        after: how many bytes come before the error.
        error: what is raised; a ``RuntimeError`` unless given.
        pieces: the size of a piece, or the sizes in turn.
        turns: how often each read lets other tasks run first.
    """

    def __init__(
        self,
        data: bytes,
        after: int,
        error: Exception | None = None,
        *,
        pieces: int | Sequence[int] = 1,
        turns: int = 0,
    ) -> None:
        super().__init__(data[:after], pieces, turns=turns)
        self._failure = error or RuntimeError(f"failed after {after} bytes")

    async def readany(self) -> bytes:
        """Return the next piece, or the error."""
        return await super().readany() or self._raise()

    def _raise(self) -> bytes:
        raise self._failure


class StallStream(DripStream):
    """A drip that never ends: after ``data`` it waits until it is cancelled."""

    async def readany(self) -> bytes:
        """Return the next piece, or nothing for ever."""
        piece = await super().readany()
        if not piece:
            await asyncio.get_running_loop().create_future()
        return piece


class SpyStream(Stream):
    """Counts what is taken out of ``source``.

    Args:
        source: what is read; owned.

    Attributes:
        reads: how many pieces were asked for.
        pulled: how many bytes were handed out.
        closings: how often ``close()`` reached this stream (1 is right).
    """

    def __init__(self, source: Stream) -> None:
        super().__init__(size=source.size, content_type=source.content_type)
        self.source = source
        self.reads: int = 0
        self.pulled: int = 0
        self.closings: int = 0

    async def readany(self) -> bytes:
        """Return the next piece of the source, counted."""
        self.reads += 1
        piece = await self.source.readany()
        self.pulled += len(piece)
        return piece

    async def close(self) -> None:
        """Close the source, counted."""
        self.closings += 1
        await self.source.close()


class SinkStream(Stream):
    """A writable stream that keeps what it gets.

    Args:
        turns: how often each write lets other tasks run first.
        fail_at: raise ``error`` when this many bytes would be passed.
        error: what to raise then.

    Attributes:
        written: the bytes so far.
        committed: whether it was closed, and not aborted.
        aborted: whether it was aborted.
    """

    def __init__(
        self,
        *,
        turns: int = 0,
        fail_at: int | None = None,
        error: Exception | None = None,
    ) -> None:
        super().__init__()
        self.written: bytearray = bytearray()
        self.committed: bool = False
        self.aborted: bool = False
        self._turns = turns
        self._fail_at = fail_at
        self._failure = error or RuntimeError(f"sink failed at {fail_at} bytes")

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep ``data``."""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if self._fail_at is not None and len(self.written) + len(data) > self._fail_at:
            raise self._failure
        self.written += data

    async def close(self) -> None:
        """Commit."""
        self.committed = True

    async def abort(self) -> None:
        """Discard."""
        self.aborted = True
        self.written.clear()
