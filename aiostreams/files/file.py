"""Files on disk: read ahead, written behind, saved completely or not at all.

``FileStream`` is the Stream. Reading and writing share nothing but the name, so each
has its own class. No call here blocks; blocking calls run in a ``ThreadCall``.

``FileReader`` opens a file when it is first read, and reads ahead. Opening and reading
the first piece are one trip to a thread, so that a small file costs no more than that;
``open()`` alone reads nothing, since a HEAD request or a 304 needs no bytes. From then
on the size is fixed, and ``ReadAhead`` has the bytes.

``FileWriter`` collects chunks into batches for a ``Draft``. The draft knows how a file
takes its place; the writer decides whether it does, and decides nothing before the
thread that writes has ended.
"""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from aiostreams.errors import StreamBusy
from aiostreams.files.draft import Draft
from aiostreams.files.reading import PIECE, OpenFile, ReadAhead
from aiostreams.files.writing import WriteBehind
from aiostreams.streams.base import Stream
from aiostreams.streams.guards import check_range
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FileReader", "FileStream", "FileWriter"]


class FileWriter:
    """A draft, the bytes on their way into it, and its end."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.behind: WriteBehind = WriteBehind(draft.write)
        self._begun = False
        self._ended = False

    async def open(self) -> None:
        if self._begun or self.behind.taken:
            await self.behind.settle()
        else:
            self._begun = True
            await self.behind.flush()

    async def commit(self) -> None:
        committing: ThreadCall[None] | None = None
        try:
            await self.behind.settle()
            committing = ThreadCall(
                functools.partial(self._draft.commit, self.behind.take()),
                waits=self._draft.waits,
            )
            await committing.wait()
            committing.result()
        finally:
            await self.discard(committing)

    async def discard(self, committing: ThreadCall[None] | None = None) -> None:
        """Remove what is left: after a commit, nothing.

        Waits through cancellations and raises them afterwards.
        """
        self._ended = True
        try:
            await self.behind.stop()
            if committing is not None and not committing.done:
                self._draft.abandoned = True
                await committing.finish()
        finally:
            # A thread that still hangs takes the draft with it when it ends.
            busy = self.behind.busy or (committing is not None and not committing.done)
            if not busy and not self._draft.empty:
                await ThreadCall(self._draft.discard).finish()

    def __del__(self) -> None:
        if (self._begun or self.behind.taken) and not self._ended:
            warnings.warn(
                f"unclosed file {self._draft.name!r}: what was written is discarded",
                ResourceWarning,
                2,
                source=self,
            )


class FileStream(Stream):
    """A regular file, to read (``"rb"``) or to save (``"wb"``, ``"xb"``).

    **Reading.** The file is opened by the first read, or by :meth:`open`; from then
    on ``size`` is known and fixed. A file that shrinks meanwhile raises
    ``SizeMismatch``, one that is written to ``StorageError``; of one that grows,
    ``size`` bytes are delivered. Ranges come
    from :meth:`slice`, all from the file as it was opened, also when another one
    has taken its path.

    **Writing.** ``close()`` puts the file at ``path``, complete; until then, and for
    ever after ``abort()`` or any failure, ``path`` is what it was. The bytes go to a
    temporary file next to it (mode 0600, its name begins with ``.aiostreams-``) in
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
            writing, or a path to write to names no file or contains a NUL byte.
        TypeError: ``path`` is not a path.
    """

    _source: FileReader | None = None
    _target: FileWriter | None = None
    _reopened: Callable[[], FileStream] | None = None

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
        if mode == "rb":
            check_range(offset, length)
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
            if "\0" in self._path:
                raise ValueError(f"the path {self._path!r} contains a NUL byte")
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
        """Return a stream over part of an open file, of which ``end`` bytes count.

        For sources that keep such a file, like :class:`SpooledStream`; the stream
        takes a lease of its own.
        """
        check_range(offset, length)
        stream = cls(file.path, offset=offset, length=length, content_type=content_type)
        assert stream._source is not None
        stream._source.adopt(file.lease(), end)
        stream._reopened = None  # nothing need be at that path
        return stream

    def reopened(self) -> FileStream | None:
        """Return a stream of what is at the path then, to be read from the beginning.

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

    def measure(self) -> int | None:
        """Return the bytes to read, by what is at the path if it is not open yet."""
        source = self._source
        if source is None or source.size is not None or self._reopened is None:
            return self.size
        return source.left_of(Path(self._path).stat().st_size)

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

        Of modification time in nanoseconds and size: machines that have the same
        files, with their times, give the same tags. Who replaces a file by one of
        the same size, and gives that the time of the old one, is not noticed.
        """
        stat = self.stat_result
        if stat is None:
            return None
        return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"

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
        """Return the descriptor of the file being read, for ``sendfile``.

        Slices share it: it has no position of its own. It is open as long as the
        stream is.

        Raises:
            ValueError: the stream is not open, or writes.
        """
        self.check_open()
        if self._source is None or self._source.file is None:
            raise ValueError(f"{self!r} has no open file")
        return self._source.file.fileno()

    async def open(self) -> Self:
        """Open the file now. Opening again does nothing.

        For reading: ``size``, ``stat_result`` and ``fileno()`` are known then. For
        writing: the temporary file is made, so that a wrong path or a full disk
        shows before the data comes.

        Raises:
            FileNotFoundError: nothing is there to read, or nothing can be: the path
                contains a NUL byte or a lone surrogate.
            IsADirectoryError: the path is a directory.
            NotADirectoryError: a file stands where the path has a directory.
            PermissionError: the path may not be read.
            StorageError: it is not a regular file, or the disk failed.
            ObjectExists: the mode is ``"xb"`` and the path exists.
            StreamClosed: the stream was closed.
        """
        self.check_open()
        if self._source is not None:
            await self._source.open()
        else:
            assert self._target is not None
            await self._target.open()
        self.check_open()
        return self

    async def readany(self) -> bytes:
        """Return the next piece of the file; opens it first, see :meth:`open`."""
        if self._source is None:
            raise NotImplementedError("this FileStream was opened for writing")
        return await self._source.next(self.received)

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
            if self.busy:
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
        """Return a stream over a part of the same open file, whatever is at ``path``.

        Raises:
            NotImplementedError: the stream writes.
            Exception: what :meth:`open` raises.
        """
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


class FileReader:
    """A file's bytes from ``offset`` on, opened when they are first asked for."""

    def __init__(
        self, opener: Callable[[], OpenFile], offset: int, length: int | None
    ) -> None:
        self._opener = opener
        self._length = length
        self._opening: ThreadCall[tuple[OpenFile, bytes]] | None = None
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
        self.size = self.left_of(end)

    def left_of(self, end: int) -> int:
        """Return how many of ``end`` bytes are to be read."""
        rest = max(0, end - self.offset)
        return rest if self._length is None else min(self._length, rest)

    async def open(self, *, read: bool = False) -> None:
        """Open the file, unless it is, or somebody closes meanwhile."""
        while self._ahead is None and not self._closed:
            job = self._opening
            if job is None:
                job = self._opening = ThreadCall(functools.partial(self._open, read))
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
