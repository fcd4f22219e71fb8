"""The draft of an object on disk, and the folders below a root that it goes through.

``ObjectDraft`` is a ``Draft`` that makes its folders. It adds, all of it in the thread
that the draft works in:

* the folder is reached without following links, and made if it is missing, by the
  first write and not before; if it is pruned in between, it is made again;
* the attributes are set on the temporary file, so they take their place with it, and
  with the digests, where these are known by then;
* before it takes its place, the folder must still be where the key says;
* an object that had just been stored when its ``close()`` failed or was cancelled
  is taken back;
* folders that were made in vain are removed.

``SafeDirectory`` walks the folders below a root without following a symbolic link.
Each step opens one component relative to the descriptor of the last one, with
``O_NOFOLLOW``: whatever is swapped for a link meanwhile, no step leaves the root.
Only the root itself is opened by its path, which is the operator's own.

Empty folders are removed as soon as nothing is in them; a folder may so vanish
between being made and being used; then its user makes it again. All of this is
blocking and runs in a ``ThreadCall``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from typing import TYPE_CHECKING

from aiostreams.errors import ObjectExists, StorageError
from aiostreams.files.draft import (
    REFUSALS,
    TEMPORARY_PREFIX,
    Draft,
    link_new,
    rename_new,
    set_mode,
    sync_directory,
)
from aiostreams.files.file import FileStream, FileWriter
from aiostreams.files.reading import OpenFile
from aiostreams.files.writing import write_new
from aiostreams.streams.base import Stream
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from aiostreams.streams.hashing import Hashes
    from aiostreams.streams.iterable import BytesLike

    AttributesMaker: TypeAlias = Callable[[Mapping[str, str], str], bytes]

__all__ = [
    "ATTRIBUTE",
    "AdoptedDraft",
    "DiskWriter",
    "ObjectDraft",
    "SafeDirectory",
    "close",
    "version_of",
]

ATTRIBUTE = "user.aiostreams"

# What a file system says that has no room for so large an attribute.
_NO_ROOM = frozenset({errno.ENOSPC, errno.E2BIG, errno.ERANGE})
# How often a folder may vanish before the temporary file is in it.
_TRIES = 100

_logger = logging.getLogger("aiostreams.files")


class ObjectDraft(Draft):
    """What will be the object.

    Args:
        folders: where it will be.
        segments: its key.
        attributes: makes the value of the extended attribute, of digests and of the
            version that these are of; none is set if empty.
        needed: whether it is an error when attributes cannot be kept.
        overwrite: whether an object that is there is replaced.
        fsync: whether the commit survives a power failure.

    Attributes:
        digests: of all its bytes, where somebody knows them; else those of ``hashes``.
        new: set it where nothing can be at the key, which is random: nothing is looked
            for there.
        published: whether it is in its place, and nothing failed afterwards.
        staging: set it to have a commit make the file complete and leave it under its
            temporary name, until :meth:`release` or :meth:`drop`.
    """

    __slots__ = ("_at_once", "_attributes", "_folders", "_found", "_identity",
                 "_needed", "_parents", "_staged", "digests", "new", "published",
                 "staging")  # fmt: skip

    # Said once in a process, not with each object.
    _warned = False

    def __init__(
        self,
        folders: SafeDirectory,
        segments: tuple[str, ...],
        attributes: AttributesMaker,
        *,
        needed: bool,
        overwrite: bool,
        fsync: bool,
    ) -> None:
        super().__init__(segments[-1], overwrite=overwrite, fsync=fsync, dir_fd=None)
        self._folders = folders
        self._parents = segments[:-1]
        self._attributes = attributes
        self._needed = needed
        self._identity: os.stat_result | None = None
        self._at_once = False
        self._found: os.stat_result | None = None
        self._staged: str | None = None
        self.digests: Mapping[str, str] = {}
        self.new: bool = False
        self.published: bool = False
        self.staging: bool = False

    def open_staged(self) -> OpenFile:
        """Open the complete file that waits. Blocking.

        Raises:
            FileNotFoundError: none does.
            OSError: it can't be opened.
        """
        staged = self._staged
        if staged is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        folder = self._folders.open(self._parents)
        try:
            return OpenFile.open(staged, dir_fd=folder, follow_symlinks=False)
        finally:
            close(folder)

    def store(self, data: BytesLike) -> None:
        """Do all of it at once: nothing can change meanwhile that could not after.

        So nothing is looked at twice, which is a third of the calls, and a new file
        has its mode from the start: it is complete a few microseconds later. It is no
        draft that hashes what it writes.

        Raises:
            StorageError, ObjectExists: as :meth:`commit`.
        """
        self._at_once = True
        self.commit([data] if data else [])

    def _replaced(self) -> os.stat_result | None:
        if self.new:
            return None
        found = self._found = super()._replaced()
        return found

    def _first_mode(self) -> int:
        new = self._at_once and self._found is None
        return 0o666 if new else super()._first_mode()

    def _set_mode(self) -> None:
        if not self._at_once:
            super()._set_mode()
        elif self._found is not None:
            set_mode(self._fd, self._found.st_mode & 0o777)
        # All bytes are written, and the file is open still.
        if self.hashes is not None:
            self.digests = self.hashes.digests
        if self.digests:
            self._keep_digests(self._fd)

    def _create(self) -> None:
        tries = 0
        while True:
            try:
                super()._create()
            except FileNotFoundError:
                # A folder was pruned while we were on the way. Make it again.
                super().discard()
                tries += 1
                if tries == _TRIES:
                    raise
            else:
                break
        # Once is enough, unless it has to fail early.
        digests = bool(self.digests) or self.hashes is not None
        if not digests or (self._needed and not self._at_once):
            self._set_attributes(self._fd, self._attributes({}, ""))

    def _open_directory(self) -> int:
        return self._folders.open(self._parents, make=True)

    def _write(self, chunks: list[BytesLike]) -> None:
        if not self._at_once:
            super()._write(chunks)
            return
        self._create()
        for chunk in chunks:  # one, or none
            write_new(self._fd, chunk)

    def _keep_digests(self, fd: int) -> None:
        version = version_of(os.fstat(fd))
        try:
            self._set_attributes(fd, self._attributes(self.digests, version))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # They can be computed again.
            self._set_attributes(fd, self._attributes({}, ""))

    def _set_attributes(self, fd: int, value: bytes) -> None:
        if not value:
            return
        try:
            os.setxattr(fd, ATTRIBUTE, value)
        except (AttributeError, OSError) as error:
            number = getattr(error, "errno", errno.ENOTSUP)
            if number not in REFUSALS:
                raise
            if self._needed:
                raise OSError(
                    errno.ENOTSUP, "the file system keeps no attributes"
                ) from error
            if not ObjectDraft._warned:
                ObjectDraft._warned = True
                _logger.warning("content types are lost: no extended attributes here")

    def _explain(self, error: OSError) -> OSError:
        # Nothing has failed: keys that clients choose can ask for this.
        if isinstance(error, NotADirectoryError):
            key = "/".join((*self._parents, self.name))
            return ObjectExists(f"there is an object where {key!r} needs a folder")
        if isinstance(error, IsADirectoryError):
            return ObjectExists(f"{self.name!r} is a folder with objects in it")
        return super()._explain(error)

    def _publish(self) -> None:
        if not self._at_once:
            self._check_folder()
        assert self._temporary is not None
        if not self._overwrite:
            self._identity = os.stat(
                self._temporary, dir_fd=self._directory, follow_symlinks=False
            )
        if self.staging:
            self._staged, self._temporary = self._temporary, None
            return
        try:
            super()._publish()
        except BaseException:
            self._remove_own(self._directory)
            raise
        self.published = True

    def release(
        self, segments: tuple[str, ...], digests: Mapping[str, str] | None = None
    ) -> None:
        """Give the file that was staged its name. Blocking.

        Args:
            segments: the key; not necessarily that of the beginning.
            digests: of all its bytes, where they have become known by now.

        Raises:
            StorageError: the disk failed; the file is gone.
            ObjectExists: the key is taken; likewise.
        """
        staged, self._staged = self._staged, None
        assert staged is not None
        old, new = self._parents, segments[:-1]
        here = -1
        try:
            here = self._folders.open(old)
            if digests and not self.digests:
                self.digests = digests
                self._keep_digests_of(staged, here)
            self._parents = new
            self.name: str = segments[-1]
            self._link_staged(staged, here, same=old == new)
            self.published = True
        except OSError as error:
            raise self._explain(error) from error
        finally:
            if here < 0:
                _logger.warning("temporary file left behind: %s", staged)
            else:
                self._directory, self._temporary = here, staged
                super().discard()
            if old != new or not self.published:
                self._folders.prune(old)
            if not self.published:
                self._folders.prune(new)

    def _keep_digests_of(self, staged: str, here: int) -> None:
        fd = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        try:
            self._keep_digests(fd)
        finally:
            close(fd)

    def _link_staged(self, staged: str, here: int, *, same: bool) -> None:
        for _ in range(_TRIES):
            there = here if same else self._folders.open(self._parents, make=True)
            self._directory = there
            try:
                if self._overwrite:
                    self._replaced()
                    os.replace(staged, self.name, src_dir_fd=here, dst_dir_fd=there)
                elif not link_new(staged, here, self.name, there):
                    rename_new(staged, here, self.name, there)
                if self._fsync:
                    self._sync(there)
            except FileNotFoundError:
                if same:
                    raise
                # The folder was pruned before the file was in it.
            else:
                return
            finally:
                self._directory = -1
                if not same:
                    close(there)
        raise OSError(errno.ESTALE, "its folder vanishes again and again")

    def _sync(self, folder: int) -> None:
        try:
            sync_directory(folder)
        except BaseException:
            self._remove_own(folder)
            raise

    def drop(self) -> None:
        """Remove the file that was staged. Blocking."""
        staged, self._staged = self._staged, None
        if staged is None:
            return
        try:
            self._directory = self._folders.open(self._parents)
        except OSError as error:
            _logger.warning("file left behind: %s: %s", staged, error.strerror)
            return
        self._temporary = staged
        self.discard()

    def _check_folder(self) -> None:
        folder = self._folders.open(self._parents)
        try:
            if not os.path.samestat(os.fstat(folder), os.fstat(self._directory)):
                raise OSError(errno.ESTALE, "its folder was moved")
        finally:
            close(folder)

    def retract(self) -> None:
        """Take back an object that was published, if it is a new one. Blocking."""
        self.published = False
        try:
            folder = self._folders.open(self._parents)
        except OSError:
            return
        try:
            self._remove_own(folder)
        finally:
            close(folder)
        self._prune()

    def _remove_own(self, folder: int) -> None:
        """Remove the object, unless it has replaced one, or is not ours by now."""
        if self._overwrite:
            return
        assert self._identity is not None
        try:
            found = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
            if _same_file(found, self._identity):
                os.unlink(self.name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.warning("object left behind: %r: %s", self.name, error.strerror)

    def discard(self) -> None:
        """Remove every trace, also the folders that are empty now."""
        super().discard()
        if not self.published and self._staged is None:
            self._prune()

    def _prune(self) -> None:
        self._folders.prune(self._parents)


class AdoptedDraft(ObjectDraft):
    """An object whose bytes are in a file already, which gets one more name.

    Args:
        source: the path of the file, absolute.
        folders: as of an :class:`ObjectDraft`, and so are the others.
        segments: likewise.
        attributes: likewise.
        needed: likewise.
        overwrite: likewise.
        fsync: likewise.
    """

    __slots__ = ("_source",)

    def __init__(
        self,
        source: str,
        folders: SafeDirectory,
        segments: tuple[str, ...],
        attributes: AttributesMaker,
        *,
        needed: bool,
        overwrite: bool,
        fsync: bool,
    ) -> None:
        super().__init__(
            folders,
            segments,
            attributes,
            needed=needed,
            overwrite=overwrite,
            fsync=fsync,
        )
        self._source = source
        self.staging = True

    def adopt(self) -> bool:
        """Give the file a temporary name; ``False`` where it cannot have two. Blocking.

        Raises:
            StorageError, ObjectExists: as :meth:`commit`.
        """
        try:
            self.commit([])
        except _NoLinkError:
            return False
        except StorageError as error:
            if error.errno == errno.EXDEV:  # on another file system
                return False
            raise
        return True

    def _open(self, temporary: str) -> int:
        here = self._directory
        # The path is absolute, so it starts from no directory.
        if not link_new(self._source, here, temporary, here):
            raise _NoLinkError
        self._temporary = temporary
        return os.open(
            temporary, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here
        )

    def _replaced(self) -> os.stat_result | None:
        # An earlier try may have got so far.
        return None if self._is_there(self._directory) else super()._replaced()

    def _link_staged(self, staged: str, here: int, *, same: bool) -> None:
        folder = here if same else self._folders.open(self._parents, make=True)
        try:
            there = self._is_there(folder)
        finally:
            if not same:
                close(folder)
        if not there:
            super()._link_staged(staged, here, same=same)

    def _is_there(self, folder: int) -> bool:
        try:
            found = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.lstat(self._source))


def version_of(found: os.stat_result) -> str:
    """Return the opaque validator of a file, as ``FileStream.etag`` has it."""
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


class _NoLinkError(Exception):
    """The file system has no hard links."""


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    # The number alone is soon given to another file.
    return os.path.samestat(one, other) and (
        (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    )


class DiskWriter(FileStream):
    """Writes an object; ``close()`` stores it."""

    def __init__(self, draft: ObjectDraft, content_type: str | None) -> None:
        # Not the one of FileStream, which makes a draft of its own.
        Stream.__init__(self, content_type=content_type)
        self._path = draft.name
        self._draft = draft
        self._target = FileWriter(draft)

    def hash_with(self, hashes: Hashes) -> None:
        """Give ``hashes`` every byte, in the thread that writes it.

        They are complete when the object is stored.
        """
        self._draft.hashes = hashes

    async def close(self) -> None:
        """Store the object.

        Raises:
            StorageError, ObjectExists, StreamBusy: the key is what it was.
        """
        try:
            await super().close()
        except asyncio.CancelledError:
            if self._draft.published:
                await ThreadCall(self._draft.retract).finish()
            await ThreadCall(self._draft.drop).finish()
            raise


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How many names are held in memory.
_BATCH = 1000
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def close(fd: int) -> None:
    """Close a folder; nothing was written to it, so nothing can be lost."""
    try:
        os.close(fd)
    except OSError:
        pass


class SafeDirectory:
    """The folders below ``root``, which is made, once, if it is missing.

    Args:
        root: a path; a relative one is relative to the working directory of the
            first use.
        fsync: whether a new folder survives a power failure.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root
        self._absolute = root.startswith("/")
        # Threads come here at once: the one that is late must not find the root again,
        # of a working directory that has changed meanwhile.
        self._finding = threading.Lock()
        self._fsync = fsync
        self._made_root = False

    def open(self, segments: Sequence[str], *, make: bool = False) -> int:
        """Open the descriptor of a folder; the caller closes it.

        Args:
            segments: the way from the root.
            make: whether missing folders are made, with mode 0700.

        Raises:
            OSError: as ``os.open``; ``ENOTDIR`` or ``ELOOP`` for a link.
        """
        if not self._absolute:
            with self._finding:
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
                sync_directory(fd)
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
                        elif entry.name.startswith(TEMPORARY_PREFIX):
                            continue  # another's, such as uploads that grow
                        elif entry.is_dir(follow_symlinks=False):
                            pending.append((*path, entry.name))
                yield fd, path, names
            finally:
                close(fd)
