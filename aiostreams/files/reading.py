"""A regular file that is open for reading, and the piece that is read ahead of it.

Everything reads with ``pread``, so any number of streams share one descriptor
without a common position: the slices of a file all see the same version of it, also
when another file has meanwhile been renamed to its path. The descriptor is closed
by the last of them.

``OpenFile``'s reading and closing are blocking and run in a ``ThreadCall``; leases are
counted on the event loop.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import warnings
from typing import Any, Self

from aiostreams.errors import StorageError
from aiostreams.limits import KiB
from aiostreams.streams.threads import ThreadCall

__all__ = ["PIECE", "OpenFile", "ReadAhead"]

# The bytes of one pread, and so of one readany(): what is compressed or hashed next
# on the event loop should not take long. _MOST is how many one trip may read.
PIECE = 256 * KiB
_MOST = 4

# O_NONBLOCK: opening a FIFO must not wait for a writer. It means nothing for the
# regular files that are let through.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

# What a caller's own path can be wrong about; their built-in names say it best.
_CALLERS_ERRORS = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class OpenFile:
    """A descriptor with a count of its users, closed when it is dropped.

    Attributes:
        path: as it was opened; messages tell only its last component.
        stat_result: of the opened file; ``None`` for a temporary one.
    """

    __slots__ = ("_fd", "_leases", "path", "stat_result")

    def __init__(
        self, fd: int, path: str, stat_result: os.stat_result | None = None
    ) -> None:
        self._fd = fd
        self._leases = 1
        self.path: str = path
        self.stat_result: os.stat_result | None = stat_result

    @classmethod
    def open(
        cls, path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> Self:
        """Open ``path``, which must be a regular file. Blocking, but never for long.

        Raises:
            FileNotFoundError, NotADirectoryError, PermissionError: as ``open()``.
                FileNotFoundError also for a name that no file can have.
            IsADirectoryError: it is a directory.
            StorageError: it is something else, or opening failed.
        """
        flags = _READ if follow_symlinks else _READ | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags, dir_fd=dir_fd)
            try:
                return cls(fd, path, _check_regular(fd, path))
            except BaseException:
                os.close(fd)
                raise
        except _CALLERS_ERRORS:
            raise
        except ValueError as error:
            # A NUL, or a surrogate that stands for no byte: no file has such a name.
            missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            raise missing from error
        except OSError as error:
            raise StorageError(
                f"cannot open {os.path.split(path)[1]!r}: {error.strerror}", error
            ) from error

    @property
    def name(self) -> str:
        """For messages."""
        return os.path.split(self.path)[1]

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            ValueError: it was closed.
        """
        if self._fd < 0:
            raise ValueError(f"{self.name!r} is closed")
        return self._fd

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``, ``b""`` at the end. Blocking.

        Raises:
            StorageError: the disk failed.
        """
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise StorageError(
                f"cannot read {self.name!r} at byte {offset}: {error.strerror}", error
            ) from error

    def check_same(self) -> None:
        """Refuse a file that was written to since it was opened. Quick.

        One that has grown is let pass, since logs do, and what was there stays.

        Raises:
            StorageError: its size is the same, and its modification time is not.
        """
        before = self.stat_result
        if before is not None:
            try:
                now = os.fstat(self._fd)
            except OSError as error:
                raise StorageError(
                    f"cannot look at {self.name!r}: {error.strerror}", error
                ) from error
            if now.st_size == before.st_size and now.st_mtime_ns != before.st_mtime_ns:
                raise StorageError(f"{self.name!r} was written to while it was read")

    def lease(self) -> Self:
        """Count one user more."""
        self._leases += 1
        return self

    async def release(self, job: ThreadCall[Any] | None = None) -> None:
        """Count one user less, when its job has ended; the last one closes.

        Waits through cancellations and raises them afterwards.
        """
        try:
            if job is not None:
                await job.finish()
        finally:
            if job is not None and not job.done:
                self.abandon()
            else:
                self._leases -= 1
                if not self._leases:
                    await ThreadCall(self.close).finish()

    def abandon(self) -> None:
        """Count one user less, whose thread hangs; closed by whoever drops it last."""
        self._leases -= 1

    def close(self) -> None:
        """Close it, whoever still uses it. Blocking."""
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError:
            pass  # nothing was written, so nothing can be lost

    def __del__(self) -> None:
        if self._fd >= 0:
            self.close()
            if self._leases > 0:
                warnings.warn(
                    f"unclosed file {self.name!r}", ResourceWarning, 2, source=self
                )


def _check_regular(fd: int, path: str) -> os.stat_result:
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if found.st_size > PIECE and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return found


@functools.cache
def _keep_memory() -> None:
    """Make the C library keep what is freed, as far as one trip needs it again.

    glibc gives it back to the system when twice the largest block that it has seen
    freed is free: with pieces of 256 KiB that is after each trip, and every page is a
    fault again, 57,000 of them for 256 MiB and three quarters of the CPU time. Seeing
    one block of the size of a trip is enough. It is never touched, so it costs nothing;
    elsewhere it does nothing.
    """
    bytes(_MOST * PIECE)


class ReadAhead:
    """The pieces of a file in order, the next being read while one is used.

    One trip to a thread reads one piece as long as each is there before it is asked
    for. When the reader is faster than that, a trip reads up to four.
    """

    __slots__ = ("_count", "_error", "_job", "_pieces", "file")

    def __init__(self, file: OpenFile) -> None:
        self.file: OpenFile = file
        self._count = 1
        self._job: ThreadCall[tuple[list[bytes], StorageError | None]] | None = None
        # Read and not yet asked for, the next one last; then comes the error.
        self._pieces: list[bytes] = []
        self._error: StorageError | None = None

    async def next(self, offset: int, end: int) -> bytes:
        """Return the piece at ``offset``; ``b""`` at ``end``, or where the file ends.

        Call it with the offset that follows the last piece. Cancelled, it keeps
        the piece for the next call.

        Raises:
            StorageError: the disk failed.
        """
        if not self._pieces and self._error is None:
            if self._job is None:
                self.start(offset, end)
            job = self._job
            if job is None:
                return b""
            if job.done:
                self._count = max(1, self._count // 2)
            else:
                self._count = min(_MOST, self._count * 2)
                _keep_memory()
                await job.wait()
            self._job = None
            self._pieces, self._error = job.result()
            if not self._pieces and self._error is None:
                return b""
        if not self._pieces:
            assert self._error is not None
            error, self._error = self._error, None
            raise error
        piece = self._pieces.pop()
        if not self._pieces and self._error is None:
            self.start(offset + len(piece), end)
        return piece

    def start(self, offset: int, end: int) -> None:
        """Read the pieces at ``offset`` in a thread, unless that is the end."""
        if offset < end:
            self._job = ThreadCall(
                functools.partial(self._read, offset, end, self._count)
            )

    def _read(
        self, offset: int, end: int, count: int
    ) -> tuple[list[bytes], StorageError | None]:
        pieces: list[bytes] = []
        error = None
        try:
            while len(pieces) < count and offset < end:
                piece = self.file.read(offset, min(PIECE, end - offset))
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
            if offset >= end:
                self.file.check_same()
        except StorageError as failed:
            error = failed
        pieces.reverse()
        return pieces, error

    async def drop(self) -> None:
        """Forget what was read ahead."""
        self._pieces = []
        self._error = None
        job, self._job = self._job, None
        if job is not None:
            await job.finish()

    async def close(self) -> None:
        """Release the file."""
        self._pieces = []
        job, self._job = self._job, None
        await self.file.release(job)
