"""Bytes to write first and read later: in memory while they are few, then on disk.

Small ones never cause a file call. Beyond ``max_memory`` all of them go to a file
without a name, in batches written behind like ``FileStream``'s and read ahead like
its; the file vanishes with its descriptor, also when the process is killed.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from typing import TYPE_CHECKING

from aiostreams.errors import StorageError
from aiostreams.files.draft import REFUSALS, TEMPORARY_PREFIX
from aiostreams.files.file import FileStream
from aiostreams.files.reading import PIECE, OpenFile, ReadAhead
from aiostreams.files.writing import ChunkList, WriteBehind, write_all
from aiostreams.limits import MiB
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from aiostreams.streams.iterable import BytesLike

__all__ = ["Spool", "SpooledStream"]

_FLAGS = os.O_RDWR | os.O_CLOEXEC
_UNNAMED = getattr(os, "O_TMPFILE", 0)
# What a file system, or an old kernel, answers that has no O_TMPFILE.
_NO_UNNAMED = REFUSALS | {errno.EISDIR, errno.ENOENT}


class SpooledStream(Stream):
    """Write, then read; more than ``max_memory`` bytes are kept on disk.

    Reading begins at byte 0, however much was written, and :meth:`rewind` begins
    again. ``size`` is the number of bytes written so far. The end that a reader has
    seen stays the end until ``rewind()``, also when more is written. ``close()`` and
    ``abort()`` free everything; slices taken before go on to work.

    Args:
        max_memory: how many bytes may be held in memory.
        dir: the directory for the file; the system's for temporary files if
            ``None``.
        content_type: the media type.

    Raises:
        ValueError: ``max_memory`` is negative.
    """

    def __init__(
        self,
        *,
        max_memory: int = 1 * MiB,
        dir: str | os.PathLike[str] | None = None,  # noqa: A002 - as in tempfile
        content_type: str | None = None,
    ) -> None:
        super().__init__(content_type=content_type)
        if max_memory < 0:
            raise ValueError(f"max_memory must not be negative: {max_memory}")
        self._max_memory = max_memory
        self._memory = ChunkList()
        self._spool = Spool(None if dir is None else os.fspath(dir))
        self._behind: WriteBehind | None = None
        self._ahead: ReadAhead | None = None

    @property
    def size(self) -> int:
        """How many bytes have been written."""
        return self._memory.held if self._behind is None else self._behind.taken

    @property
    def rolled(self) -> bool:
        """Whether the bytes are on disk."""
        return self._behind is not None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``, or nothing of it when cancelled or failing.

        Raises:
            StorageError: the temporary file could not be written; every later
                call, reading too, raises it again.
        """
        if type(data) is not bytes:
            # Kept for long: a view would keep all of the buffer it is cut from.
            data = bytes(memoryview(data))
        if self._behind is None:
            if self._memory.held + len(data) <= self._max_memory:
                self._memory.add(data)
                return
            self._behind = WriteBehind(self._spool.write, self._memory)
            self._memory = ChunkList()
        await self._behind.write(data)

    async def readany(self) -> bytes:
        """Return the next bytes of what was written so far."""
        start = self.received
        if self._behind is None:
            data = self._memory.join()
            return data[start : start + PIECE]
        file = await self._flush(self._behind)
        if self._ahead is None:
            self._ahead = ReadAhead(file)
        return await self._ahead.next(start, self.size)

    async def rewind(self) -> None:
        """Begin to read at byte 0 again, up to what is written by then.

        Raises:
            StreamBusy: another task is reading.
            StreamClosed: the stream was closed.
        """
        self._life.check_idle()
        if self._ahead is not None:
            await self._ahead.drop()
        self._life.restart()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return an independent stream over a part of what was written so far.

        Raises:
            StorageError: the temporary file could not be written.
        """
        if self._behind is None:
            whole = ByteStream(self._memory.join(), content_type=self.content_type)
            return await whole.slice(offset, length)
        end = self.size
        file = await self._flush(self._behind)
        self.check_open()
        return FileStream.over(
            file, min(offset, end), length, end=end, content_type=self.content_type
        )

    async def close(self) -> None:
        """Free the memory, and the file."""
        self._memory = ChunkList()
        behind, ahead = self._behind, self._ahead
        if behind is None:
            return
        try:
            await behind.stop()
        finally:
            file = self._spool.file
            if file is not None:
                if behind.busy:
                    file.abandon()
                elif ahead is not None:
                    await ahead.close()
                else:
                    await file.release()

    async def _flush(self, behind: WriteBehind) -> OpenFile:
        """Write all that is held in memory to the file."""
        if behind.held:
            await behind.flush()
        else:
            await behind.settle()
        assert self._spool.file is not None
        return self._spool.file


class Spool:
    """The unnamed file, made by the first batch. Its methods are blocking.

    Args:
        folder: where it is made; in the system's if ``None``.
        kind: what holds its descriptor.

    Attributes:
        file: the file, once there is one.
    """

    def __init__(self, folder: str | None, kind: type[OpenFile] = OpenFile) -> None:
        self._folder = folder
        self._kind = kind
        self.file: OpenFile | None = None

    def write(self, chunks: list[BytesLike]) -> None:
        """Append ``chunks``.

        Raises:
            StorageError: the file could not be made or written.
        """
        try:
            if self.file is None:
                self.file = self._kind(self._create(), "temporary file")
            write_all(self.file.fileno(), chunks)
        except OSError as error:
            raise StorageError(
                f"cannot write a temporary file: {error.strerror}", error
            ) from error

    def _create(self) -> int:
        folder = tempfile.gettempdir() if self._folder is None else self._folder
        if _UNNAMED:
            try:
                return os.open(folder, _FLAGS | _UNNAMED, 0o600)
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        path = f"{folder}/{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.unlink(path)  # noqa: PTH108 - beside the other calls of os
        except BaseException:
            os.close(fd)
            raise
        return fd
