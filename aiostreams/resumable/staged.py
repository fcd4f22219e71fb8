"""The bytes of a finished upload, as a stream over the objects that they are in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiostreams.errors import ObjectNotFound
from aiostreams.resumable.state import UploadGone
from aiostreams.streams.base import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiostreams.storage.base import Storage

__all__ = ["Segment", "SegmentStream"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One object of an upload.

    Attributes:
        storage: where it is.
        key: under which key.
        size: its bytes.
    """

    storage: Storage
    key: str
    size: int


class SegmentStream(Stream):
    """Objects one after the other, of which one is open at a time.

    Args:
        segments: the objects.
        offset: the first byte.
        length: how many bytes; to the end when ``None``.
    """

    def __init__(
        self, segments: Sequence[Segment], offset: int = 0, length: int | None = None
    ) -> None:
        whole = sum(segment.size for segment in segments)
        rest = max(0, whole - offset)
        super().__init__(size=rest if length is None else min(rest, length))
        self.segments: tuple[Segment, ...] = tuple(segments)
        self._offset = offset
        self._ranges = self._cut(offset, self.size or 0)
        self._following = next(self._ranges, None)
        self._current: Stream | None = None

    def _cut(self, offset: int, length: int) -> Iterator[tuple[Segment, int, int]]:
        """Each segment that is touched, with the range of it that is."""
        at, end = 0, offset + length
        for segment in self.segments:
            start, stop = max(offset, at), min(end, at + segment.size)
            if start < stop:
                yield segment, start - at, stop - start
            at += segment.size

    async def readany(self) -> bytes:
        """The next piece.

        Raises:
            UploadGone: an object is missing, or is another one.
            StorageError: the storage failed.
        """
        while True:
            if self._current is None:
                if self._following is None:
                    return b""
                # Taken when it is open: a read that is cancelled here loses nothing.
                self._current = await _open(*self._following)
                self._following = next(self._ranges, None)
            if piece := await self._current.readany():
                return piece
            current, self._current = self._current, None
            await current.close()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """A part of the same objects."""
        self._life.check_open()
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(
                f"offset and length must not be negative: {offset}, {length}"
            )
        rest = max(0, (self.size or 0) - offset)
        return SegmentStream(
            self.segments,
            self._offset + offset,
            rest if length is None else min(rest, length),
        )

    async def close(self) -> None:
        """Close the object that is open."""
        current, self._current = self._current, None
        if current is not None:
            await current.close()


async def _open(segment: Segment, offset: int, length: int) -> Stream:
    try:
        stream = await segment.storage.open(segment.key)
    except ObjectNotFound as error:
        raise UploadGone("some bytes of the upload are lost") from error
    if stream.size == length == segment.size:
        return stream
    async with stream:
        if stream.size != segment.size:
            raise UploadGone("some bytes of the upload are lost")
        return await stream.slice(offset, length)
