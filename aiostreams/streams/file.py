"""Files on disk: read ahead, written behind, saved whole or not at all.

Reading and writing share nothing but the name, so each has its own half:
``FileReader`` opens a file and reads ahead; ``FileWriter`` collects chunks into
batches for a ``Draft`` and has it take its place, or be forgotten. ``FileStream`` is
the Stream around either of them. No call here blocks; all that does runs in a
``Job``.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Literal, Self

from aiostreams.errors import StreamBusy
from aiostreams.streams.base import Stream
from aiostreams.streams.draft import Draft
from aiostreams.streams.filereader import FileReader
from aiostreams.streams.filewriter import FileWriter
from aiostreams.streams.openfile import OpenFile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FileStream"]

# The name that ``uploads`` knows the writing half by.
_Target = FileWriter


class FileStream(Stream):
    """A regular file, to read (``"rb"``) or to save (``"wb"``, ``"xb"``).

    **Reading.** The file is opened by the first read, or by :meth:`open`; from then
    on ``size`` is known and fixed. A file that shrinks meanwhile raises
    ``SizeMismatch``, one that is written to ``StorageError``; of one that grows,
    ``size`` bytes are delivered. Ranges come
    from :meth:`slice`, all from the file as it was opened, also when another one
    has taken its path.

    **Writing.** ``close()`` puts the file at ``path``, whole; until then, and for
    ever after ``abort()`` or any failure, ``path`` is what it was. The bytes go to a
    temporary file beside it (mode 0600, its name begins with ``.aiostreams-``) in
    large batches, so an error shows up in a later ``write()`` or in ``close()``,
    after which nothing of it is left. A new file gets its permissions from the
    umask, a replaced one keeps those it had. A ``write()`` that is cancelled has
    taken nothing, and the stream may still be used; a ``close()`` that is cancelled
    discards, unless the file had just taken its place. ``close()`` during another
    task's ``write()`` discards and raises ``StreamBusy``: the file is incomplete.

    Args:
        path: where the file is, or will be.
        mode: ``"rb"`` reads; ``"wb"`` writes, replacing a file that is there;
            ``"xb"`` writes, and never replaces.
        offset: where to begin reading, in bytes.
        length: how many bytes to read; to the end when ``None``. Cut at the end.
        content_type: the media type; it is not guessed from the name.
        fsync: whether what is saved survives a power failure: the file and its
            directory are synced before ``close()`` returns.
        dir_fd: a directory's descriptor that a relative ``path`` starts from, as
            for ``os.open``. It must stay open until the stream is open.
        follow_symlinks: whether reading may go through a symbolic link as the last
            component. Writing never does.

    Raises:
        ValueError: the mode is none of these, a number is negative or given for
            writing, or the path names no file.
        TypeError: ``path`` is not a path.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        mode: Literal["rb", "wb", "xb"] = "rb",
        *,
        offset: int = 0,
        length: int | None = None,
        content_type: str | None = None,
        fsync: bool = False,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        super().__init__(content_type=content_type)
        self._path = os.fsdecode(path)
        self._source: FileReader | None = None
        self._target: FileWriter | None = None
        self._reopened: Callable[[], FileStream] | None = None
        if "\0" in self._path:
            raise ValueError("a path contains no NUL")
        if mode == "rb":
            _check_range(offset, length)
            self._source = FileReader(
                functools.partial(
                    OpenFile.open,
                    self._path,
                    dir_fd=dir_fd,
                    follow_symlinks=follow_symlinks,
                ),
                offset,
                length,
            )
            if dir_fd is None:  # which may be another directory by then
                self._reopened = functools.partial(
                    FileStream,
                    self._path,
                    offset=offset,
                    length=length,
                    content_type=content_type,
                    follow_symlinks=follow_symlinks,
                )
        elif mode in {"wb", "xb"}:
            if offset or length is not None:
                raise ValueError("offset and length are for reading")
            if os.path.split(self._path)[1] in {"", ".", ".."}:
                raise ValueError(f"{self._path!r} does not name a file")
            self._target = FileWriter(
                Draft(
                    self._path,
                    overwrite=mode == "wb",
                    fsync=fsync,
                    dir_fd=dir_fd,
                )
            )
        else:
            raise ValueError(f"mode must be 'rb', 'wb' or 'xb', not {mode!r}")

    @classmethod
    def over(
        cls,
        file: OpenFile,
        offset: int = 0,
        length: int | None = None,
        *,
        end: int,
        content_type: str | None = None,
    ) -> Self:
        """A stream over part of an open file, of which ``end`` bytes count.

        For sources that keep such a file, like :class:`SpooledStream`; the stream
        takes a lease of its own.
        """
        _check_range(offset, length)
        stream = cls(file.path, offset=offset, length=length, content_type=content_type)
        assert stream._source is not None
        stream._source.adopt(file.lease(), end)
        stream._reopened = None  # nothing need be at that path
        return stream

    def reopened(self) -> FileStream | None:
        """A stream of what is at the path then, to be read from the beginning.

        Also of a closed one; ``None`` if there is no such path to go by.
        """
        return None if self._reopened is None else self._reopened()

    @property
    def path(self) -> str:
        """The path as given."""
        return self._path

    @property
    def size(self) -> int | None:
        """The bytes to read, once open; ``None`` when writing."""
        return None if self._source is None else self._source.size

    @property
    def position(self) -> int:
        """How many bytes have been read, or written."""
        return super().position if self._target is None else self._target.behind.taken

    @property
    def seekable(self) -> bool:
        """Whether it reads."""
        return self._source is not None

    @property
    def stat_result(self) -> os.stat_result | None:
        """Of the file being read, as it was when opened; ``None`` before that.

        It describes the bytes that are delivered, not what is at ``path`` by now,
        so validators (RFC 9110 section 8.8) are made from it.
        """
        return None if self._source is None else self._source.stat_result

    @property
    def offset(self) -> int:
        """Where in the file reading begins."""
        return 0 if self._source is None else self._source.offset

    @property
    def etag(self) -> str | None:
        """A strong entity tag of the file as it was opened; ``None`` before that.

        Of inode, size and modification time in nanoseconds: another file at the
        same path has another tag, also within the same second.
        """
        stat = self.stat_result
        if stat is None:
            return None
        return f"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"

    @property
    def last_modified(self) -> float | None:
        """When the file was written last, in POSIX seconds; ``None`` before open."""
        stat = self.stat_result
        return None if stat is None else stat.st_mtime

    def check_same(self) -> None:
        """Refuse the file if it was written to since it was opened. Quick.

        Reading to the end does that by itself; whoever sends it by ``sendfile`` has
        to ask.

        Raises:
            StorageError: the same size, and another modification time.
            ValueError: the stream is not open, or writes.
        """
        self.fileno()
        assert self._source is not None
        assert self._source.file is not None
        self._source.file.check_same()

    def fileno(self) -> int:
        """The descriptor of the file being read, for ``sendfile``.

        Slices share it: it has no position of its own. It is open as long as the
        stream is.

        Raises:
            ValueError: the stream is not open, or writes.
        """
        self._life.check_open()
        if self._source is None or self._source.file is None:
            raise ValueError(f"{self!r} has no open file")
        return self._source.file.fileno()

    async def open(self) -> Self:
        """Open the file now. Opening again does nothing.

        For reading: ``size``, ``stat_result`` and ``fileno()`` are known then. For
        writing: the temporary file is made, so that a wrong path or a full disk
        shows before the data comes.

        Raises:
            FileNotFoundError: nothing is there to read.
            IsADirectoryError: the path is a directory.
            NotADirectoryError: a file stands where the path has a directory.
            PermissionError: the path may not be read.
            StorageError: it is not a regular file, or the disk failed.
            ObjectExists: the mode is ``"xb"`` and the path exists.
            StreamClosed: the stream was closed.
        """
        self._life.check_open()
        if self._source is not None:
            await self._source.open()
        else:
            assert self._target is not None
            await self._target.open()
        self._life.check_open()
        return self

    async def readany(self) -> bytes:
        """The next piece of the file; opens it first, see :meth:`open`."""
        if self._source is None:
            raise NotImplementedError("this FileStream was opened for writing")
        return await self._source.next(self._life.received)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take ``data``, or nothing of it when cancelled or failing.

        Raises:
            StorageError: an earlier batch could not be written, or the path cannot
                be written to. Every later call raises it again.
            ObjectExists: the mode is ``"xb"`` and the path exists.
        """
        if self._target is None:
            raise NotImplementedError("this FileStream was opened for reading")
        await self._target.behind.write(data)

    async def close(self) -> None:
        """Close what was read; put what was written in its place.

        Raises:
            StorageError, ObjectExists: see :meth:`write`; the path is as it was.
                Only a failure to sync the directory comes after the replacement.
            StreamBusy: another task was writing; the path is as it was.
        """
        if self._source is not None:
            await self._source.close()
        else:
            assert self._target is not None
            if self._life.writer is not None:
                await self._target.discard()
                raise StreamBusy("the file was closed during a write: discarded")
            await self._target.commit()

    async def abort(self) -> None:
        """Close; leave no trace of what was written."""
        if self._source is not None:
            await self._source.close()
        else:
            assert self._target is not None
            await self._target.discard()

    async def slice(self, offset: int, length: int | None = None) -> FileStream:
        """A stream over a part of the same open file, whatever is at ``path`` now.

        Raises:
            NotImplementedError: the stream writes.
            ValueError: ``offset`` or ``length`` is negative.
            Exception: what :meth:`open` raises.
        """
        _check_range(offset, length)
        source = self._source
        if source is None:
            raise NotImplementedError("this FileStream was opened for writing")
        await self.open()
        assert source.file is not None
        assert source.size is not None
        begin = source.offset + min(offset, source.size)
        return self.over(
            source.file,
            begin,
            length,
            end=source.offset + source.size,
            content_type=self.content_type,
        )


def _check_range(offset: int, length: int | None) -> None:
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("offset and length must not be negative")
