"""Objects as files below a folder: a key is a path, the bytes are the file's.

What makes a file appear complete or not at all is ``Draft``'s, and what
keeps keys below the root is ``SafeDirectory``'s; here the two meet. A draft of an
object makes its folders together with its temporary file, puts the media type and
the metadata into an extended attribute of that file, so that they appear with it,
and leaves no folder behind that it made in vain.

Temporary files of a process that was killed are swept when they are a day old. All
calls to the file system run in threads (``ThreadCall``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import json
import logging
import os
import re
import secrets
import stat
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiostreams.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StreamError,
)
from aiostreams.files.draft import (
    REFUSALS,
    TEMPORARY_PREFIX,
    link_new,
    rename_new,
    sync_directory,
)
from aiostreams.files.file import FileStream
from aiostreams.files.reading import OpenFile
from aiostreams.storage.base import (
    StagedObject,
    Storage,
    StoredObject,
    check_attributes,
    check_key,
    check_prefix,
    is_listed,
)
from aiostreams.storage.disk_draft import (
    ATTRIBUTE,
    AdoptedDraft,
    DiskWriter,
    ObjectDraft,
    SafeDirectory,
    close,
    version_of,
)
from aiostreams.streams.threads import ThreadCall, call_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from aiostreams.storage.base import SmallObject
    from aiostreams.streams.base import Stream

    # A name, and the descriptor of the folder that it is in.
    _Name: TypeAlias = tuple[str, int]

__all__ = [
    "Attributes",
    "DiskStorage",
    "decode_attributes",
    "encode_attributes",
]

T = TypeVar("T")

# Where resumable uploads grow.
_UPLOADS = f"{TEMPORARY_PREFIX}uploads"
# How many objects one trip to a thread lists.
_BATCH = 256
# How often a folder may vanish before something is in it.
_TRIES = 100
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

_logger = logging.getLogger("aiostreams.files")


class DiskStorage(Storage):
    """Objects as files below ``root``.

    No key leaves the root, and no symbolic link below it is followed, also when it
    is made while somebody writes. Files and folders that others put there are
    objects too. Folders are private (0700), files have the mode that the umask
    gives them, 0600 while they are being written.

    The content type, the metadata and the digests that ``receive`` has computed are
    kept in the extended attribute ``user.aiostreams`` of the file, as JSON; ``cp -a``,
    ``rsync -X`` and ``tar --xattrs`` keep it. On a file system without such attributes
    (and on macOS) the content type and the digests are lost, which is logged once, and
    metadata are refused with ``StorageError``. Digests of a file that was written to
    since are not given out.

    Other file systems keep less. Without hard links (exFAT, SMB, folders shared with a
    virtual machine) a new object takes its name by a rename that replaces nothing;
    where the kernel cannot do that in one step either, a lock on the folder keeps other
    writers of this package away, but not another program. Modes that are not kept, and
    folders that cannot be synced, are passed over: ``fsync=True`` promises there what
    the file system promises.

    No object can be where a folder is, or below another object (``ObjectExists``).

    Args:
        root: the folder; made with the first object.
        fsync: whether an object that was stored survives a power failure.
        sweep_after: how many seconds a temporary file must not have been written
            to, before the first ``create`` removes it as what a killed process has
            left. ``None`` leaves them all.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        fsync: bool = False,
        sweep_after: float | None = 86400.0,
    ) -> None:
        self._root = os.fspath(root)
        self._fsync = fsync
        self._sweep_after = sweep_after
        self._sweeping: ThreadCall[None] | None = None
        self._folders = SafeDirectory(self._root, fsync=fsync)

    @property
    def root(self) -> str:
        """The folder, as it was given."""
        return self._root

    @property
    def fsync(self) -> bool:
        """Whether an object that was stored survives a power failure."""
        return self._fsync

    @property
    def hidden(self) -> DiskStorage:
        """A storage next to this one, for what no key of this one can name."""
        path = os.path.join(self._root, _UPLOADS)  # noqa: PTH118 - beside the others
        return DiskStorage(path, fsync=self._fsync, sweep_after=None)

    async def create(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stream:
        """Open a writable stream, see :meth:`Storage.create`.

        The disk is first touched by a ``write``, or by ``open()`` of the stream.
        """
        del size
        draft = self._draft(key, content_type, metadata, overwrite=overwrite)
        return DiskWriter(draft, content_type)

    async def stage(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> StagedObject:
        """Begin an object that gets its key later, see :meth:`Storage.stage`.

        It is a complete temporary file, which costs one more trip to a thread.
        """
        if type(self).create is not DiskStorage.create:
            # What a subclass does with the bytes is not passed by.
            return await super().stage(
                key,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
                size=size,
            )
        draft = self._draft(key, content_type, metadata, overwrite=overwrite)
        draft.staging = True
        return _StagedOnDisk(self, key, draft, content_type, overwrite=overwrite)

    async def adopt(
        self,
        path: str,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> StagedObject | None:
        """Make an object of a file that is there, which gets one more name.

        Whoever owns the file removes its other name, and changes it no more. An object
        that is that file already is no obstacle.

        Args:
            path: of the file, absolute; on the file system of the root.
            key: the object's.
            content_type: its media type.
            metadata: a few words about it.
            overwrite: whether an object that is there is replaced.

        Returns:
            The object, to be published; ``None`` where a file cannot have two names.

        Raises:
            InvalidKey, ValueError, ObjectExists, StorageError: as :meth:`create`.
        """
        segments = check_key(key)
        metadata = check_attributes(content_type, metadata)
        draft = AdoptedDraft(
            path,
            self._folders,
            segments,
            functools.partial(encode_attributes, content_type, metadata),
            needed=bool(metadata),
            overwrite=overwrite,
            fsync=self._fsync,
        )
        if not await _run(draft.adopt):
            return None
        return _StagedOnDisk(self, key, draft, content_type, overwrite=overwrite)

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object at once, see :meth:`Storage.put`: one trip to a thread."""
        draft = self._draft(key, content_type, metadata, overwrite=overwrite)
        await self._store(draft, data)

    async def put_known(
        self,
        key: str,
        data: bytes,
        digests: Mapping[str, str],
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Store an object and its digests, see :meth:`Storage.put_known`."""
        if type(self).put is not DiskStorage.put:
            # What a subclass does with the bytes is not passed by.
            await super().put_known(
                key,
                data,
                digests,
                content_type=content_type,
                metadata=metadata,
                overwrite=overwrite,
            )
            return
        draft = self._draft(key, content_type, metadata, overwrite=overwrite)
        draft.digests = digests
        await self._store(draft, data)

    @property
    def takes_several(self) -> bool:
        """Whether :meth:`put_several` passes nothing by that a subclass does."""
        kind = type(self)
        return kind.put is DiskStorage.put and kind.put_known is DiskStorage.put_known

    async def put_several(self, objects: Sequence[SmallObject]) -> None:
        """Store several new objects in one trip to a thread.

        Should it fail, or be cancelled, some are stored and others are not: whoever
        calls it removes all.

        Raises:
            StorageError, ObjectExists: as :meth:`put`.
        """
        drafts = []
        for key, _, digests, content_type, metadata in objects:
            draft = self._draft(key, content_type, metadata, overwrite=True)
            draft.digests = digests
            draft.new = True
            drafts.append(draft)

        def store() -> None:
            for draft, known in zip(drafts, objects, strict=True):
                if draft.abandoned:
                    return
                draft.store(known.data)

        job = ThreadCall(store, waits=self._fsync)
        try:
            await job.wait()
        except asyncio.CancelledError:
            for draft in drafts:
                draft.abandoned = True
            await job.finish()
            raise
        job.result()

    async def _store(
        self, draft: ObjectDraft, data: bytes | bytearray | memoryview
    ) -> None:
        job = ThreadCall(functools.partial(draft.store, bytes(data)), waits=draft.waits)
        try:
            await job.wait()
        except asyncio.CancelledError:
            draft.abandoned = True
            try:
                await job.finish()
            finally:
                if job.done and draft.published:
                    await ThreadCall(draft.retract).finish()
            raise
        job.result()

    def _draft(
        self,
        key: str,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        *,
        overwrite: bool,
    ) -> ObjectDraft:
        segments = check_key(key)
        metadata = check_attributes(content_type, metadata)
        if self._sweep_after is not None and self._sweeping is None:
            self._sweeping = ThreadCall(self._sweep_quietly)
        return ObjectDraft(
            self._folders,
            segments,
            functools.partial(encode_attributes, content_type, metadata),
            needed=bool(metadata),
            overwrite=overwrite,
            fsync=self._fsync,
        )

    async def open(self, key: str) -> Stream:
        """Open a readable stream over the file, see :meth:`Storage.open`."""
        file, attributes = await _run(
            functools.partial(self._open, key), undo=lambda opened: opened[0].close()
        )
        found = file.stat_result
        assert found is not None
        stream = FileStream.over(
            file, end=found.st_size, content_type=attributes.content_type
        )
        await file.release()  # the stream has a lease of its own
        stream.known_digests = attributes.digests_of(found)
        return stream

    async def stat(self, key: str) -> StoredObject:
        return await _run(functools.partial(self._stat, key))

    async def delete(self, key: str) -> None:
        await _run(functools.partial(self._delete, key))

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give the file a second name, see :meth:`Storage.copy`: a hard link.

        Objects never change, so both may have one file; the time when it was stored
        is the same. Without hard links the bytes are copied.
        """
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        names = functools.partial(self._names, source, target, overwrite=overwrite)
        if not await _run(lambda: _again(names, _link, overwrite=overwrite)):
            await super().copy(source, target, overwrite=overwrite)

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Rename the file, see :meth:`Storage.move`."""
        if await self._is_itself(source, target, overwrite=overwrite):
            return
        names = functools.partial(self._names, source, target, overwrite=overwrite)
        await _run(lambda: _again(names, _rename, overwrite=overwrite))
        await _run(lambda: self._folders.prune(check_key(source)[:-1]))

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        found = self._list(*check_prefix(prefix))
        take = functools.partial(itertools.islice, found, _BATCH)
        try:
            while batch := await _run(lambda: list(take())):
                for stored in batch:
                    if is_listed(stored.key, prefix):
                        yield stored
        finally:
            await ThreadCall(found.close).finish()

    async def sweep(self, older_than: float = 86400.0, *, limit: int = 100_000) -> int:
        """Remove temporary files that are no longer written to.

        Args:
            older_than: how many seconds ago they must have been written last.
            limit: how many files at most are looked at.

        Returns:
            How many were removed.

        Raises:
            StorageError: a folder cannot be read.
        """
        removed = await _run(functools.partial(self._sweep, older_than, limit))
        return removed + await super().sweep(older_than)

    async def close(self) -> None:
        """Wait for the sweep, if it is under way."""
        if self._sweeping is not None:
            await self._sweeping.finish()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._root!r}>"

    # -- blocking ------------------------------------------------------------------

    def _open(self, key: str) -> tuple[OpenFile, Attributes]:
        *parents, name = check_key(key)
        try:
            folder = self._folders.open(parents)
            try:
                file = OpenFile.open(name, dir_fd=folder, follow_symlinks=False)
            finally:
                close(folder)
        except _ABSENT:
            raise ObjectNotFound(f"no object {key!r}") from None
        try:
            return file, decode_attributes(file.fileno())
        except BaseException:
            file.close()
            raise

    def _stat(self, key: str) -> StoredObject:
        file, attributes = self._open(key)
        found = file.stat_result
        assert found is not None
        file.close()
        return _describe(key, found, attributes)

    def _delete(self, key: str) -> None:
        *parents, name = check_key(key)
        try:
            folder = self._folders.open(parents)
        except _ABSENT:
            return
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            os.unlink(name, dir_fd=folder)
            if self._fsync:
                sync_directory(folder)
        except FileNotFoundError:
            return
        finally:
            close(folder)
        self._folders.prune(parents)

    @contextlib.contextmanager
    def _names(
        self, source: str, target: str, *, overwrite: bool
    ) -> Generator[tuple[_Name, _Name]]:
        """Two names, each with its open folder. The target's is made.

        Raises:
            ObjectNotFound: the source is no object.
            ObjectExists: the target is none, and cannot become one.
        """
        *old_parents, old = check_key(source)
        *new_parents, new = check_key(target)
        with contextlib.ExitStack() as stack:
            try:
                old_fd = self._folders.open(old_parents)
                stack.callback(close, old_fd)
                found = os.stat(old, dir_fd=old_fd, follow_symlinks=False)
            except _ABSENT:
                raise ObjectNotFound(f"no object {source!r}") from None
            if not stat.S_ISREG(found.st_mode):
                raise ObjectNotFound(f"no object {source!r}")
            try:
                new_fd = self._folders.open(new_parents, make=True)
                stack.callback(close, new_fd)
                if overwrite:
                    _check_replaceable(new, new_fd)
                yield (old, old_fd), (new, new_fd)
                if self._fsync:
                    sync_directory(new_fd)
                    sync_directory(old_fd)
            except FileExistsError as error:
                raise ObjectExists(f"{target!r} exists already") from error
            except IsADirectoryError as error:
                raise ObjectExists(
                    f"{target!r} is a folder with objects in it"
                ) from error
            except NotADirectoryError as error:
                raise ObjectExists(
                    f"there is an object where {target!r} needs a folder"
                ) from error
            finally:
                self._folders.prune(new_parents)

    def _list(self, parents: tuple[str, ...], start: str) -> Generator[StoredObject]:
        for fd, path, names in self._folders.walk(parents, start):
            for name in names:
                key = "/".join((*path, name))
                try:
                    check_key(key)
                    file = OpenFile.open(name, dir_fd=fd, follow_symlinks=False)
                except (InvalidKey, OSError):
                    continue  # a temporary file, gone by now, or not ours
                try:
                    found = file.stat_result
                    assert found is not None
                    attributes = decode_attributes(file.fileno())
                finally:
                    file.close()
                yield _describe(key, found, attributes)

    def _sweep_quietly(self) -> None:
        assert self._sweep_after is not None
        try:
            self._sweep(self._sweep_after, 100_000)
        except OSError as error:
            _logger.warning("sweep of temporary files failed: %s", error.strerror)

    def _sweep(self, older_than: float, limit: int) -> int:
        before = time.time() - older_than
        removed = 0
        emptied = set()
        with contextlib.closing(self._folders.walk()) as folders:
            for fd, path, names in folders:
                old = os.fstat(fd).st_mtime < before
                here = 0
                for name in names:
                    limit -= 1
                    if name.startswith(TEMPORARY_PREFIX):
                        here += _remove_old(fd, name, before)
                removed += here
                # An empty folder that is new is about to be used.
                if here or (old and not names):
                    emptied.add(path)
                if limit <= 0:
                    break
        for path in emptied:
            self._folders.prune(path)
        return removed


class _StagedOnDisk(StagedObject):
    """A temporary file that is complete."""

    def __init__(
        self,
        storage: DiskStorage,
        key: str,
        draft: ObjectDraft,
        content_type: str | None,
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(storage, key, overwrite=overwrite)
        self._draft = draft
        self._content_type = content_type

    async def create(self) -> Stream:
        return DiskWriter(self._draft, self._content_type)

    async def open(self) -> Stream:
        try:
            file = await _run(self._draft.open_staged, undo=OpenFile.close)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            raise ObjectNotFound("the bytes are not staged any more") from error
        found = file.stat_result
        assert found is not None
        stream = FileStream.over(
            file, end=found.st_size, content_type=self._content_type
        )
        await file.release()  # the stream has a lease of its own
        return stream

    async def _publish(self) -> None:
        release = functools.partial(
            self._draft.release, check_key(self.key), self.digests
        )
        await _run(release)

    async def _discard(self) -> None:
        await _run(self._draft.drop)


def _remove_old(fd: int, name: str, before: float) -> bool:
    try:
        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime >= before:
            return False
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return False  # it became an object, or another sweep was faster
    return True


def _again(
    names: Callable[[], contextlib.AbstractContextManager[tuple[_Name, _Name]]],
    step: Callable[..., bool],
    *,
    overwrite: bool,
) -> bool:
    """Do a step that fails when a folder was pruned on the way, until it does not."""
    for _ in range(_TRIES):
        try:
            with names() as (old, new):
                return step(*old, *new, overwrite=overwrite)
        except ObjectNotFound:
            raise
        except FileNotFoundError:
            continue
    raise OSError(errno.ESTALE, "its folder vanishes again and again")


def _link(old: str, old_fd: int, new: str, new_fd: int, *, overwrite: bool) -> bool:
    """Make a hard link; ``False``: there are none."""
    if not overwrite:
        return link_new(old, old_fd, new, new_fd)
    temporary = TEMPORARY_PREFIX + secrets.token_hex(16)
    if not link_new(old, old_fd, temporary, new_fd):
        return False
    try:
        os.replace(temporary, new, src_dir_fd=new_fd, dst_dir_fd=new_fd)
    finally:
        # It is there still when the target was the same file already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=new_fd)
    return True


def _rename(old: str, old_fd: int, new: str, new_fd: int, *, overwrite: bool) -> bool:
    if not overwrite:
        rename_new(old, old_fd, new, new_fd)
        return True
    os.replace(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
    # A rename onto another name of the same file does nothing.
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(
            os.stat(old, dir_fd=old_fd, follow_symlinks=False),
            os.stat(new, dir_fd=new_fd, follow_symlinks=False),
        ):
            os.unlink(old, dir_fd=old_fd)
    return True


def _check_replaceable(name: str, folder: int) -> None:
    """Only a file is replaced: a rename would replace even a device."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "the target is not a regular file")


async def _run(function: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Call it in a thread. A cancelled call is waited for, and undone."""
    try:
        return await call_in_thread(function, undo)
    except StreamError:
        raise
    except OSError as error:
        raise StorageError(f"storage failed: {error.strerror}", error) from error


def _describe(key: str, found: os.stat_result, attributes: Attributes) -> StoredObject:
    return StoredObject(
        key,
        found.st_size,
        attributes.content_type,
        found.st_mtime,
        version_of(found),
        attributes.metadata,
    )


# json.dumps() makes an encoder for each call that is not as usual.
_write_json = json.JSONEncoder(ensure_ascii=False).encode
_DIGEST = re.compile("(?:[0-9a-f]{2})+")
# What a file system says that keeps no attributes, or none of this file.
_NO_ATTRIBUTES = REFUSALS | {errno.ENODATA, errno.EACCES}


class Attributes(NamedTuple):
    """What is kept with the bytes."""

    content_type: str | None = None
    metadata: Mapping[str, str] = {}
    digests: Mapping[str, str] = {}
    # What the digests are of: a file that was written to since has another one.
    version: str = ""

    def digests_of(self, found: os.stat_result) -> Mapping[str, str]:
        """Return the digests, if they are of this version."""
        return self.digests if self.version == version_of(found) else {}


def encode_attributes(
    content_type: str | None,
    metadata: Mapping[str, str],
    digests: Mapping[str, str],
    version: str,
) -> bytes:
    """Return the attribute's value; empty when there is nothing to keep."""
    kept: dict[str, object] = {}
    if content_type is not None:
        kept["content_type"] = content_type
    if metadata:
        kept["metadata"] = metadata
    if digests:
        kept["digests"] = digests
        kept["version"] = version
    return _write_json(kept).encode() if kept else b""


def decode_attributes(fd: int) -> Attributes:
    """Read the attribute; others may have written it, so all of it is checked."""
    try:
        kept = json.loads(os.getxattr(fd, ATTRIBUTE))
        content_type = kept.get("content_type")
        metadata = check_attributes(content_type, kept.get("metadata"))
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
    except (AttributeError, ValueError, TypeError):
        pass
    else:
        return Attributes(content_type, metadata, *_decode_digests(kept))
    return Attributes()


def _decode_digests(kept: Mapping[str, Any]) -> tuple[Mapping[str, str], str]:
    digests, version = kept.get("digests"), kept.get("version")
    if not isinstance(digests, dict) or not isinstance(version, str):
        return {}, ""
    if not all(_DIGEST.fullmatch(str(value)) for value in digests.values()):
        return {}, ""
    return digests, version
