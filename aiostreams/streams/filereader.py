"""The reading half of ``FileStream``: opened when it is first asked for, read ahead.

Opening and reading the first piece are one trip to a thread, so that a small file
costs no more than that; ``open()`` alone reads nothing, since a HEAD request or a 304
has no use for it. From then on the size is fixed, and ``ReadAhead`` has the bytes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from aiostreams.streams.openfile import PIECE, OpenFile, ReadAhead
from aiostreams.streams.worker import Job

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["FileReader"]


class FileReader:
    """A file's bytes from ``offset`` on, opened when they are first asked for."""

    def __init__(
        self, opener: Callable[[], OpenFile], offset: int, length: int | None
    ) -> None:
        self._opener = opener
        self._length = length
        self._opening: Job[tuple[OpenFile, bytes]] | None = None
        self._first = b""
        self._ahead: ReadAhead | None = None
        self._closed = False
        self.offset = offset
        self.size: int | None = None
        self.stat_result: os.stat_result | None = None

    @property
    def file(self) -> OpenFile | None:
        return None if self._ahead is None else self._ahead.file

    def adopt(self, file: OpenFile, end: int) -> None:
        """Read this file, of which ``end`` bytes count."""
        self._ahead = ReadAhead(file)
        self.stat_result = file.stat_result
        rest = max(0, end - self.offset)
        self.size = rest if self._length is None else min(self._length, rest)

    async def open(self, *, read: bool = False) -> None:
        """Open the file, unless it is, or somebody closes meanwhile."""
        while self._ahead is None and not self._closed:
            job = self._opening
            if job is None:
                job = self._opening = Job(functools.partial(self._open, read))
            await job.wait()
            if self._opening is job:
                self._opening = None
                file, self._first = job.result()
                assert file.stat_result is not None
                self.adopt(file, file.stat_result.st_size)

    def _open(self, read: bool) -> tuple[OpenFile, bytes]:  # noqa: FBT001
        """Open the file and read its first piece in the same trip."""
        file = self._opener()
        first = b""
        if read:
            assert file.stat_result is not None
            size = max(0, file.stat_result.st_size - self.offset)
            if self._length is not None:
                size = min(size, self._length)
            if size:
                try:
                    first = file.read(self.offset, min(size, PIECE))
                except BaseException:
                    file.close()
                    raise
        return file, first

    async def next(self, position: int) -> bytes:
        if self._ahead is None:
            await self.open(read=True)
            if self._ahead is None:
                return b""  # closed meanwhile
        assert self.size is not None
        end = self.offset + self.size
        if self._first:
            first, self._first = self._first, b""
            self._ahead.start(self.offset + len(first), end)
            return first
        return await self._ahead.next(self.offset + position, end)

    async def close(self) -> None:
        self._closed = True
        self._first = b""
        opening, self._opening = self._opening, None
        if opening is not None:
            try:
                await opening.finish()
            finally:
                if opening.done and not opening.failed:
                    await opening.result()[0].release()
        ahead = self._ahead
        if ahead is not None:
            await ahead.close()
