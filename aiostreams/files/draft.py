"""A file that is being written: a temporary one, renamed when complete or discarded.

At every instant, and after a crash at any point, the path holds what it held before
or the complete new file. The order of the calls is what makes it so: create next to
the target, write, set the mode, sync the file, close and check, rename, sync the
directory. Syncing before renaming matters: some file systems may make the rename
durable first, and leave a well-named file of zeros after a power failure.

File systems differ, and what one refuses is done otherwise: without hard links (exFAT,
SMB, folders shared with a virtual machine) a new file takes its name by a rename that
replaces nothing; a mode that is not kept, and a directory that cannot be synced, are
no failures.

All names are relative to the directory that was opened first: if that is moved or
replaced meanwhile, nothing is written elsewhere. Every method is blocking and runs in
a ``ThreadCall``, one at a time.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
import threading
from typing import TYPE_CHECKING

from aiostreams.errors import ObjectExists, StorageError
from aiostreams.files.writing import write_all
from aiostreams.streams.threads import finalize

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.streams.hashing import Hashes
    from aiostreams.streams.iterable import BytesLike

__all__ = [
    "REFUSALS",
    "TEMPORARY_PREFIX",
    "Draft",
    "link_new",
    "rename_new",
    "set_mode",
    "sync_directory",
]

# What a crash (kill -9) leaves behind begins with this, so that it can be swept.
TEMPORARY_PREFIX = ".aiostreams-"

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_PATH: a directory that one may write to but not list will do.
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC
_SEARCH = _DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)

# What a call answers that the file system, the kernel or a sandbox does not have.
REFUSALS = frozenset({
    errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP,
})  # fmt: skip
_RENAME_NOREPLACE = 1

_logger = logging.getLogger("aiostreams.files")
_umask_lock = threading.Lock()


class Draft:
    """What will be at ``path``.

    Args:
        path: the target.
        overwrite: whether a file that is there may be replaced.
        fsync: whether the commit survives a power failure.
        dir_fd: the directory that a relative path starts from.

    Attributes:
        abandoned: set it to keep a commit under way from taking place.
        hashes: what hashes every byte before it is written, if anything does.
    """

    __slots__ = (
        "_dir_fd",
        "_directory",
        "_fd",
        "_folder",
        "_fsync",
        "_overwrite",
        "_temporary",
        "abandoned",
        "hashes",
        "name",
    )

    def __init__(
        self, path: str, *, overwrite: bool, fsync: bool, dir_fd: int | None
    ) -> None:
        self._fd = -1
        self._directory = -1
        self._temporary: str | None = None
        # As most are, a name: split() takes longer than all the rest of this.
        self._folder, name = os.path.split(path) if "/" in path else ("", path)
        self.name: str = name
        self._overwrite = overwrite
        self._fsync = fsync
        self._dir_fd = dir_fd
        self.abandoned: bool = False
        self.hashes: Hashes | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to discard."""
        return self._directory < 0

    @property
    def waits(self) -> bool:
        """Whether a commit waits for the disk."""
        return self._fsync

    def write(self, chunks: list[BytesLike]) -> None:
        """Append the chunks; the first call makes the temporary file.

        Raises:
            StorageError: the disk failed, or the target is no regular file. The
                temporary file is gone then, so that a full disk gets room again.
            ObjectExists: the target exists and may not be replaced.
        """
        try:
            self._write(chunks)
        except OSError as error:
            self.discard()
            raise self._explain(error) from error
        except BaseException:
            self.discard()
            raise

    def commit(self, chunks: list[BytesLike]) -> None:
        """Append the chunks and put the file in its place, unless abandoned.

        Raises:
            StorageError: the disk failed, or the target is no regular file. The
                target is as it was, unless it was the last step that failed,
                syncing the directory.
            ObjectExists: the target exists and may not be replaced.
        """
        try:
            self._write(chunks)
            self._set_mode()
            if self._fsync:
                # Should this fail, a second fsync could succeed although the
                # kernel has dropped the pages: the draft is given up.
                os.fsync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
            if not self.abandoned:
                self._publish()
        except OSError as error:
            raise self._explain(error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove every trace. What cannot be removed is logged."""
        fd, self._fd = self._fd, -1
        directory, self._directory = self._directory, -1
        temporary, self._temporary = self._temporary, None
        _remove(fd, directory, temporary)

    def __del__(self) -> None:
        if self._directory >= 0:
            finalize(
                functools.partial(_remove, self._fd, self._directory, self._temporary)
            )

    def _write(self, chunks: list[BytesLike]) -> None:
        if self._fd < 0:
            self._create()
        if self.hashes is not None:
            self.hashes.update(chunks)
        write_all(self._fd, chunks)

    def _create(self) -> None:
        self._directory = self._open_directory()
        self._replaced()
        temporary = TEMPORARY_PREFIX + os.urandom(16).hex()
        self._fd = self._open(temporary)
        self._temporary = temporary

    def _open_directory(self) -> int:
        return os.open(
            self._folder or ".",
            # Only a directory that was opened for reading can be synced.
            _DIRECTORY | os.O_RDONLY if self._fsync else _SEARCH,
            dir_fd=self._dir_fd,
        )

    def _open(self, temporary: str) -> int:
        mode = self._first_mode()
        return os.open(temporary, _CREATE, mode, dir_fd=self._directory)

    def _replaced(self) -> os.stat_result | None:
        """Return the file to be replaced, if there is one and it may be."""
        try:
            found = os.stat(self.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not self._overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if not stat.S_ISREG(found.st_mode):
            # A rename would replace even /dev/null.
            number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
            raise OSError(number, "the target is not a regular file")
        return found

    def _first_mode(self) -> int:
        """Return the mode of the temporary file: private until it is complete."""
        return 0o600

    def _set_mode(self) -> None:
        set_mode(self._fd, self._mode())

    def _mode(self) -> int:
        replaced = self._replaced()
        if replaced is not None:
            return replaced.st_mode & 0o777
        return 0o666 & ~_umask()

    def _publish(self) -> None:
        assert self._temporary is not None
        if self._overwrite:
            os.replace(
                self._temporary,
                self.name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
            self._temporary = None
        else:
            here = self._directory
            # discard() removes the temporary name.
            if not link_new(self._temporary, here, self.name, here):
                rename_new(self._temporary, here, self.name, here)
                self._temporary = None
        if self._fsync:
            sync_directory(self._directory)

    def _explain(self, error: OSError) -> OSError:
        if isinstance(error, FileExistsError) and not self._overwrite:
            return ObjectExists(f"{self.name!r} exists already")
        return StorageError(f"cannot write {self.name!r}: {error.strerror}", error)


def _remove(fd: int, directory: int, temporary: str | None) -> None:
    if fd >= 0:
        _close(fd)
    if temporary is not None:
        try:
            os.unlink(temporary, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.warning(
                "temporary file left behind: %s: %s", temporary, error.strerror
            )
    if directory >= 0:
        _close(directory)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # nothing of it counts any more


def set_mode(fd: int, mode: int) -> None:
    """Change the mode of a file, where the file system keeps modes.

    Raises:
        OSError: the call failed for another reason.
    """
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise


def sync_directory(fd: int) -> None:
    """Make new names in a directory survive a power failure, where that can be asked.

    Raises:
        OSError: the disk failed.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in REFUSALS | {errno.EBADF}:
            raise


def link_new(old: str, old_fd: int, new: str, new_fd: int) -> bool:
    """Give a file a second name, unless it is taken; ``False``: there are no links.

    ``link`` refuses an existing name, which a rename replaces.

    Args:
        old: the name that the file has.
        old_fd: the directory that this is in.
        new: the second name.
        new_fd: the directory that this will be in.

    Raises:
        FileExistsError: the second name is taken.
        OSError: the call failed for another reason.
    """
    try:
        os.link(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in REFUSALS | {errno.EMLINK}:
            raise
        return False
    return True


def rename_new(old: str, old_fd: int, new: str, new_fd: int) -> None:
    """Rename a file, unless the new name is taken.

    The kernel does it in one step where it and the file system can. Elsewhere a lock
    on the directory keeps other writers of this package away meanwhile; it ends with
    its process. Another program may still make a file of that name in between.

    Args:
        old: the name that the file has.
        old_fd: the directory that this is in.
        new: the name that it gets.
        new_fd: the directory that this will be in.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the call failed for another reason.
    """
    renameat2 = _renameat2()
    if renameat2 is not None:
        number = renameat2(old_fd, old, new_fd, new, _RENAME_NOREPLACE)
        if not number:
            return
        if number not in REFUSALS:
            raise OSError(number, os.strerror(number))
    import fcntl  # noqa: PLC0415 - POSIX has it, and so have all without links

    locked = os.open(".", _DIRECTORY | os.O_RDONLY, dir_fd=new_fd)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        try:
            os.stat(new, dir_fd=new_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.replace(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    finally:
        os.close(locked)


@functools.cache
def _renameat2() -> Callable[[int, str, int, str, int], int] | None:
    """Linux's rename with flags, which ``os`` does not have; its errno, or 0."""
    try:
        import ctypes  # noqa: PLC0415 - few need it

        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, OSError, AttributeError):
        return None
    name = ctypes.c_char_p
    number = ctypes.c_int
    function.argtypes = (number, name, number, name, ctypes.c_uint)
    function.restype = number

    def rename(old_fd: int, old: str, new_fd: int, new: str, flags: int) -> int:
        names = os.fsencode(old), os.fsencode(new)
        failed = function(old_fd, names[0], new_fd, names[1], flags)
        return ctypes.get_errno() if failed else 0

    return rename


def _umask() -> int:
    """Return the process's umask, which can be read only by changing it.

    Changing it would race with other threads' new files, so Linux's listing of the
    process is asked first.
    """
    try:
        with open("/proc/thread-self/status", "rb") as status:  # noqa: PTH123
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line[6:], 8)
    except OSError:
        pass
    with _umask_lock:
        # 0o077: what another thread creates just now is private, not public.
        mask = os.umask(0o077)
        os.umask(mask)
        return mask
