"""Folders below a root, walked without ever following a symbolic link.

Every step opens one component relative to the descriptor of the last one, with
``O_NOFOLLOW``: whatever is swapped for a link meanwhile, no step leaves the root.
Only the root itself is opened by its path, which is the operator's own.

Empty folders are removed as soon as nothing is in them; a folder may so vanish
between being made and being used, and whoever uses one makes it again. All of this
is blocking and runs in a ``Job``.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["Folders", "close"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How many names are held in memory.
_BATCH = 1000
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def close(fd: int) -> None:
    """Close a folder; nothing was written to it, so nothing can be lost."""
    with contextlib.suppress(OSError):
        os.close(fd)


class Folders:
    """The folders below ``root``, which is made, once, if it is missing.

    Args:
        root: a path; a relative one is relative to the working directory of the
            first use.
        fsync: whether a new folder survives a power failure.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root
        self._absolute = root.startswith("/")
        self._fsync = fsync
        self._made_root = False

    def open(self, segments: Sequence[str], *, make: bool = False) -> int:
        """The descriptor of a folder; the caller closes it.

        Args:
            segments: the way from the root.
            make: whether missing folders are made, with mode 0700.

        Raises:
            OSError: as ``os.open``; ``ENOTDIR`` or ``ELOOP`` for a link.
        """
        if not self._absolute:
            self._root = os.path.abspath(self._root)  # noqa: PTH100 - keeps links
            self._absolute = True
        if make and not self._made_root:
            # Once: were it made again, a root that was unmounted or moved away
            # would silently begin anew in another place.
            os.makedirs(self._root, 0o700, exist_ok=True)  # noqa: PTH103 - beside the others
            self._made_root = True
        fd = os.open(self._root, _ROOT)
        for segment in segments:
            try:
                inner = self._enter(fd, segment, make=make)
            finally:
                close(fd)
            fd = inner
        return fd

    def _enter(self, fd: int, segment: str, *, make: bool) -> int:
        try:
            return os.open(segment, _FOLDER, dir_fd=fd)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(segment, 0o700, dir_fd=fd)
            if self._fsync:
                os.fsync(fd)
        except FileExistsError:
            pass  # somebody else was faster
        return os.open(segment, _FOLDER, dir_fd=fd)

    def prune(self, segments: Sequence[str]) -> None:
        """Remove the folder, and those it is in, as far as they are empty."""
        for depth in range(len(segments), 0, -1):
            try:
                fd = self.open(segments[: depth - 1])
            except OSError:
                return
            try:
                os.rmdir(segments[depth - 1], dir_fd=fd)
            except OSError:
                return  # not empty, or already gone
            finally:
                close(fd)

    def walk(
        self, segments: tuple[str, ...] = (), start: str = ""
    ) -> Generator[tuple[int, tuple[str, ...], list[str]]]:
        """Every folder from this one on, with the regular files in it.

        Args:
            segments: the first folder.
            start: what names directly in it must begin with.

        Yields:
            An open descriptor, valid until the next step; the way there; names. A
            folder with many files comes several times.

        Raises:
            OSError: a folder cannot be read. One that is gone is passed over.
        """
        pending = [segments]
        while pending:
            path = pending.pop()
            try:
                fd = self.open(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                names: list[str] = []
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if path == segments and not entry.name.startswith(start):
                            continue
                        if entry.is_file(follow_symlinks=False):
                            names.append(entry.name)
                            if len(names) == _BATCH:
                                yield fd, path, names
                                names = []
                        elif entry.is_dir(follow_symlinks=False):
                            pending.append((*path, entry.name))
                yield fd, path, names
            finally:
                close(fd)
