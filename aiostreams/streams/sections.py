"""Several streams as one, and a part of one."""

from __future__ import annotations

from typing import Self

from aiostreams.streams.base import Stream
from aiostreams.streams.guards import check_range
from aiostreams.streams.transforms import Transform

__all__ = ["ChainStream", "SliceStream"]


class ChainStream(Stream):
    """``sources`` one after the other.

    ``size`` is known when all sizes are; ``content_type`` when all agree. Where it
    cannot seek (because files were not opened beforehand, say), a source is closed when
    it has been read, so that of many one is open at a time.

    Args:
        sources: what is read, in this order; owned.
    """

    def __init__(self, *sources: Stream) -> None:
        super().__init__()
        self._sources = sources
        self._index = 0
        # Whether sources that were read stay open, to be read again by a slice.
        self._keeps: bool | None = None

    @property
    def size(self) -> int | None:
        """The sum of all sizes, or ``None`` when one is unknown."""
        total = 0
        for source in self._sources:
            size = source.size
            if size is None:
                return None
            total += size
        return total

    @property
    def content_type(self) -> str | None:
        """The content type, if all sources have the same one."""
        types = {source.content_type for source in self._sources}
        return types.pop() if len(types) == 1 else None

    @property
    def seekable(self) -> bool:
        """Whether all sources can seek and know their sizes."""
        return (
            self._keeps is not False
            and self.size is not None
            and all(s.seekable for s in self._sources)
        )

    async def open(self) -> Self:
        """Open every source."""
        for source in self._sources:
            await source.open()
        return self

    async def readany(self) -> bytes:
        """Return the next piece of the first source that is not at its end."""
        while self._index < len(self._sources):
            source = self._sources[self._index]
            if piece := await source.readany():
                return piece
            self._index += 1
            if self._keeps is None:
                self._keeps = self.seekable
            if not self._keeps:
                await source.close()
        return b""

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part, out of slices of the sources it touches."""
        total = self.size
        if total is None or self._keeps is False:
            raise NotImplementedError("a chain of unknown size cannot seek")
        end = total if length is None else min(total, offset + length)
        parts: list[Stream] = []
        at = 0
        try:
            for source in self._sources:
                size = source.size or 0
                start, stop = max(offset, at), min(end, at + size)
                if start < stop:
                    parts.append(await source.slice(start - at, stop - start))
                at += size
        except BaseException:
            await ChainStream(*parts).close()
            raise
        return ChainStream(*parts)

    async def close(self) -> None:
        """Close every source, also when one of them fails to, or is cancelled."""
        errors: list[BaseException] = []
        for source in self._sources:
            try:
                await source.close()
            except BaseException as error:  # noqa: BLE001 (raised below)
                errors.append(error)
        if errors:
            # A cancellation first: it must not get lost.
            raise next((e for e in errors if not isinstance(e, Exception)), errors[0])


class SliceStream(Transform):
    """``length`` bytes of ``source`` from ``offset`` on.

    A source that can seek is not read before ``offset``; another one is, and the
    bytes are dropped. ``size`` is known when the source's is.

    Args:
        source: what is read; owned.
        offset: the first byte, counted from the start of the source.
        length: how many bytes; to the end when ``None``. Cut at the end.

    Raises:
        ValueError: ``offset`` or ``length`` is negative.
    """

    def __init__(self, source: Stream, offset: int, length: int | None = None) -> None:
        check_range(offset, length)
        super().__init__(source)
        self._offset = offset
        self._length = length
        self._skipped = 0
        self._part: Stream | None = None

    @property
    def size(self) -> int | None:
        """What the source's size leaves for this part."""
        whole = self.source.size
        if whole is None:
            return None
        rest = max(0, whole - self._offset)
        return rest if self._length is None else min(rest, self._length)

    async def readany(self) -> bytes:
        """Return the next piece that lies within the part."""
        if self._length is not None and self.received >= self._length:
            return b""
        if self.source.seekable:
            if self._part is None:
                self._part = await self.source.slice(self._offset, self._length)
            return await self._part.readany()
        while self._skipped < self._offset:
            piece = await self.source.readany()
            if not piece:
                return b""
            missing = self._offset - self._skipped
            self._skipped += min(len(piece), missing)
            if len(piece) > missing:
                return self._cut(piece[missing:])
        return self._cut(await self.source.readany())

    def _cut(self, piece: bytes) -> bytes:
        if self._length is None:
            return piece
        return piece[: self._length - self.received]

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part of this part."""
        rest = None if self._length is None else max(0, self._length - offset)
        if length is None or (rest is not None and rest < length):
            length = rest
        return await self.source.slice(self._offset + offset, length)

    async def close(self) -> None:
        """Close the source."""
        try:
            if self._part is not None:
                await self._part.close()
        finally:
            await super().close()
