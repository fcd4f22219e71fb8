"""Uploads on a disk: one file for each, appended to under a lock that nobody keeps.

The folder of an upload (``yyyymmdd/<id>``):

    info    what was said at its creation
    lock    locked (``flock``) for each step; holds the epoch, a number
    state   the state; replaced as a whole
    data    the bytes
    limit   how many of them count, if that may be fewer than there are

A lock is held over one step, by a thread that does nothing else: it reads the epoch and
writes a state, or a batch of bytes. A change raises the epoch; an appender that finds
it raised has been overtaken and stops. A process that is killed loses its locks
with its descriptors, so there is none to break, no lease and no clock. One that is
stopped in the middle of a step is waited for, some seconds; then others are refused.

The offset is the size of the file: what a killed process has written of a batch are
bytes of the upload in their place. With ``fsync`` it is what ``limit`` says, written
when the bytes are on the disk; so is that of an appender whose bytes don't count yet.

A file of its own, as each of the two kinds of staging has one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from aiostreams.errors import StorageError, StreamError
from aiostreams.files.draft import TEMPORARY_PREFIX
from aiostreams.files.file import FileStream
from aiostreams.files.reading import OpenFile
from aiostreams.files.writing import WriteBehind, write_all
from aiostreams.limits import MiB
from aiostreams.resumable.staging import Appender, StagedUpload, Staging, Unsuitable
from aiostreams.resumable.state import (
    Fenced,
    UploadBusy,
    UploadGone,
    UploadInfo,
    UploadNotFound,
    UploadState,
    folder_of,
    is_id,
)
from aiostreams.storage.disk import DiskStorage
from aiostreams.streams.threads import ThreadCall, call_in_thread
from aiostreams.uploads.staged import StagedStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from aiostreams.resumable.staging import Step
    from aiostreams.storage.base import StagedObject, Storage
    from aiostreams.streams.base import Stream
    from aiostreams.streams.hashing import Hashes
    from aiostreams.streams.iterable import BytesLike

__all__ = ["DiskStaging"]

T = TypeVar("T")

# How long a step waits for the lock, in seconds: nobody needs it for a hundredth of
# that who is not stopped, or at a disk that hangs.
_PATIENCE: Final = 3.0
_PAUSE: Final = 0.005
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)
_MAX_STATE: Final = 1 * MiB
_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


class DiskStaging(Staging):
    """Uploads as files below a folder, which is made with the first one.

    Args:
        root: the folder; on the file system of the storage, so that a file moves there
            without a copy.
        fsync: whether bytes that count, and a state, survive a power failure.
    """

    def __init__(self, root: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self.root: Path = Path(root)
        self.fsync: bool = fsync

    async def create(self, info: UploadInfo) -> StagedUpload:
        """Make the folder elsewhere, and move it into its place."""
        return await _run(functools.partial(self._create, info))

    async def change(self, upload_id: str, step: Step) -> StagedUpload:
        """Make the step under the lock."""
        return await _run(functools.partial(self._change, upload_id, step))

    async def append(self, upload: StagedUpload, *, held: bool = False) -> Appender:
        """Raise the epoch, so that whoever appended before does so no more."""
        appender = _DiskAppender(self, upload, held=held)
        try:
            await _run(appender.begin)
        except BaseException:
            await appender.discard()
            raise
        return appender

    async def open(self, upload: StagedUpload) -> StagedStream:
        """Return a stream over the file, which a ``DiskStorage`` can adopt."""
        path = self.path(upload.info.id) / "data"
        try:
            file = await _run(
                functools.partial(OpenFile.open, str(path), follow_symlinks=False),
                undo=OpenFile.close,
            )
        except _ABSENT:
            raise UploadGone("the bytes of the upload are lost") from None
        found = file.stat_result
        assert found is not None
        try:
            if found.st_size < upload.state.offset:
                raise UploadGone("some bytes of the upload are lost")
            stream = FileStream.over(file, end=upload.state.offset)
            return _StagedFile(stream, str(path), upload)
        finally:
            await file.release()  # the stream has a lease of its own

    async def clear(self, upload: StagedUpload) -> None:
        """Remove the file."""
        path = self.path(upload.info.id)
        await _run(functools.partial(_unlink, path / "data", path / "limit"))

    async def remove(self, upload_id: str, *, swept: bool = False) -> None:
        """Move the folder away, and remove it there; the epoch fences others."""
        del swept
        await _run(functools.partial(self._remove, upload_id))

    async def ids(self) -> AsyncGenerator[str, None]:
        """Yield the names of folders."""
        for day in await _run(functools.partial(_names, self.root)):
            for name in await _run(functools.partial(_names, self.root / day)):
                if is_id(name):
                    yield name

    async def check(self) -> None:
        """Lock a file twice."""
        await _run(self._check)

    async def tidy(self, older_than: float) -> None:
        """Remove folders that never got to their places, and days without any."""
        await _run(functools.partial(self._tidy, older_than))

    # -- blocking ------------------------------------------------------------------

    def path(self, upload_id: str) -> Path:
        """Return the folder of an upload."""
        return self.root / folder_of(upload_id)

    def _create(self, info: UploadInfo) -> StagedUpload:
        target = self.path(info.id)
        self._make_root()
        target.parent.mkdir(0o700, exist_ok=True)
        made = self.root / f"{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        made.mkdir(0o700)
        try:
            self._put(made / "info", info.encode())
            # A lock that is never longer takes no room on a disk that is full.
            self._put(made / "lock", b"%020d" % 0)
            self._put(made / "data", b"")
            if self.fsync:
                self._put(made / "limit", b"0")
            self._sync(made)
            try:
                made.rename(target)
            except FileNotFoundError:
                # An empty day was tidied away meanwhile.
                target.parent.mkdir(0o700, exist_ok=True)
                made.rename(target)
            self._sync(target.parent)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return StagedUpload(info, info.begin(), 0)

    def _make_root(self) -> None:
        # As a storage has it: by the working directory of the first use.
        self.root = self.root.absolute()
        self.root.parent.mkdir(0o700, parents=True, exist_ok=True)
        self.root.mkdir(0o700, exist_ok=True)

    def _change(self, upload_id: str, step: Step) -> StagedUpload:
        folder = self.path(upload_id)
        with _Lock.open(folder) as lock:
            info, state = self.load(folder)
            following = step(info, state)
            if following is not state:
                try:
                    self.store(folder, lock, following)
                except OSError as error:
                    # A disk that is full shall not hinder anybody from asking.
                    if error.errno not in _FULL or not _same(state, following):
                        raise
            return StagedUpload(info, following, lock.epoch)

    def load(self, folder: Path) -> tuple[UploadInfo, UploadState]:
        """Return what is known of an upload; under its lock.

        Raises:
            UploadNotFound: nothing.
            UploadGone: less than there was.
        """
        kept = _read(folder / "info")
        if kept is None:
            raise UploadNotFound("there is no such upload")
        info = UploadInfo.decode(kept)
        state = info.begin()
        if (kept := _read(folder / "state")) is not None:
            try:
                state = UploadState.load(json.loads(kept))
            except ValueError as error:
                raise UploadGone("the state of the upload is lost") from error
        if not state.open:
            return info, state
        offset = _size(folder / "data")
        if (limit := _limit(folder)) is not None:
            offset = min(offset, limit)
        if offset < state.offset:
            raise UploadGone("some bytes of the upload are lost")
        if offset > state.offset:
            state = state.appended(offset - state.offset)
        return info, state

    def store(self, folder: Path, lock: _Lock, state: UploadState) -> None:
        """Keep a state, and fence whoever appends; under the lock."""
        # First the epoch: should this be killed in between, nobody is misled.
        lock.raise_epoch()
        data = json.dumps(state.dump(), separators=(",", ":")).encode()
        temporary = folder / "state.new"
        self._put(temporary, data)
        temporary.rename(folder / "state")
        self._sync(folder)

    def _put(self, path: Path, data: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            if self.fsync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _sync(self, folder: Path) -> None:
        if not self.fsync:
            return
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _remove(self, upload_id: str) -> None:
        folder = self.path(upload_id)
        away = self.root / f"{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        with contextlib.suppress(*_ABSENT):
            with contextlib.suppress(UploadNotFound), _Lock.open(folder) as lock:
                lock.raise_epoch()
                folder.rename(away)
            # One without a lock is a part of one.
            if folder.exists():
                folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()

    def _tidy(self, older_than: float) -> None:
        before = time.time() - older_than
        for name in _names(self.root):
            path = self.root / name
            with contextlib.suppress(OSError):
                if name.startswith(TEMPORARY_PREFIX):
                    if path.stat().st_mtime < before:
                        shutil.rmtree(path, ignore_errors=True)
                else:
                    path.rmdir()  # a day without uploads; others are not empty

    def _check(self) -> None:
        self._make_root()
        path = self.root / f"{TEMPORARY_PREFIX}{secrets.token_hex(16)}"
        fds: list[int] = []
        try:
            fds.extend(os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
            fcntl.flock(fds[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fds[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                raise Unsuitable(
                    "this file system gives one lock (flock) to two processes"
                )
        finally:
            for fd in fds:
                os.close(fd)
            _unlink(path)


class _StagedFile(StagedStream):
    """The file of an upload, which gets the name of an object as well."""

    def __init__(self, source: Stream, path: str, upload: StagedUpload) -> None:
        super().__init__(
            source,
            content_type=upload.info.fields.get("Content-Type"),
            digests=upload.state.digests,
        )
        self._path = path

    def fits(self, storage: Storage) -> bool:
        """Return whether it is on a disk as well."""
        return isinstance(storage, DiskStorage)

    async def stage(
        self,
        storage: Storage,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        overwrite: bool,
    ) -> StagedObject | None:
        """Give the file one more name."""
        assert isinstance(storage, DiskStorage)
        return await storage.adopt(
            self._path,
            key,
            content_type=content_type,
            metadata=metadata,
            overwrite=overwrite,
        )


class _Lock:
    """The lock of an upload, held."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.epoch: int = 0

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path) -> Iterator[_Lock]:
        """Take the lock of the upload in ``folder``.

        Raises:
            UploadNotFound: there is none.
            UploadBusy: somebody holds the lock, and is stopped.
        """
        try:
            fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except _ABSENT:
            raise UploadNotFound("there is no such upload") from None
        try:
            lock = cls(fd)
            with lock.held():
                yield lock
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, and know the epoch."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UploadBusy("the upload is used by another process", 1) from (
                        None
                    )
                time.sleep(_PAUSE)
            else:
                break
        try:
            self.epoch = int(os.pread(self._fd, 20, 0) or b"0")
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def raise_epoch(self) -> None:
        """Fence whoever knows the epoch."""
        self.epoch += 1
        os.pwrite(self._fd, b"%020d" % self.epoch, 0)


class _DiskAppender(Appender):
    """Writes behind, each batch under the lock."""

    def __init__(
        self, staging: DiskStaging, upload: StagedUpload, *, held: bool
    ) -> None:
        self.upload = upload
        self._staging = staging
        self._held = held
        self._folder = staging.path(upload.info.id)
        self._behind = WriteBehind(self._write)
        self._lock: _Lock | None = None
        self._fds: list[int] = []
        self._hashes: Hashes | None = None

    def hash_with(self, hashes: Hashes) -> bool:
        """Hash in the thread that writes."""
        self._hashes = hashes
        return True

    async def write(self, data: bytes) -> None:
        """Take ``data``; a thread writes it soon."""
        await self._behind.write(data)

    async def commit(self, step: Step) -> StagedUpload:
        """Write everything, and make the step."""
        try:
            await self._behind.settle()
        except StreamError:
            raise
        except OSError as error:
            raise _failed(error) from error
        chunks = self._behind.take()
        self.upload = await _run(functools.partial(self._commit, chunks, step))
        return self.upload

    async def discard(self) -> None:
        """Close the files. What was held back never counted."""
        try:
            await self._behind.stop()
        finally:
            if not self._behind.busy:
                await ThreadCall(self._close).finish()

    def __del__(self) -> None:
        self._close()

    # -- blocking ------------------------------------------------------------------

    def begin(self) -> None:
        """Make this the one appender."""
        folder = self._folder
        try:
            self._fds.append(os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC))
            self._fds.append(os.open(folder / "data", os.O_WRONLY | os.O_CLOEXEC))
        except _ABSENT:
            raise UploadNotFound("there is no such upload") from None
        lock = self._lock = _Lock(self._fds[0])
        with lock.held():
            if lock.epoch != self.upload.version:
                raise _overtaken()
            _, state = self._staging.load(folder)
            if state.offset != self.upload.state.offset:
                raise _overtaken()
            lock.raise_epoch()
            self.upload = replace(self.upload, version=lock.epoch)
            if self._held and not self._staging.fsync:
                self._set_limit(state.offset)
            # What others have written and never counted goes.
            os.ftruncate(self._fds[1], state.offset)
            if not self._held and not self._staging.fsync:
                _unlink(folder / "limit")
            os.lseek(self._fds[1], state.offset, os.SEEK_SET)

    def _write(self, chunks: list[BytesLike]) -> None:
        lock = self._lock
        assert lock is not None
        if self._hashes is not None:
            self._hashes.update(chunks)
        with lock.held():
            self._check_epoch(lock)
            write_all(self._fds[1], chunks)

    def _commit(self, chunks: list[BytesLike], step: Step) -> StagedUpload:
        if chunks:
            self._write(chunks)
        if self._staging.fsync:
            os.fdatasync(self._fds[1])
        lock = self._lock
        assert lock is not None
        with lock.held():
            self._check_epoch(lock)
            end = os.lseek(self._fds[1], 0, os.SEEK_CUR)
            info, state = self._staging.load(self._folder)
            added = state.appended(end - state.offset) if end > state.offset else state
            if not self._held:
                self._count(end)
            following = step(info, added)
            self._count(end)
            if following is not state:
                self._staging.store(self._folder, lock, following)
            return StagedUpload(info, following, lock.epoch)

    def _count(self, end: int) -> None:
        """Count all bytes up to ``end``."""
        if self._staging.fsync:
            self._set_limit(end)
        elif self._held:
            _unlink(self._folder / "limit")

    def _set_limit(self, limit: int) -> None:
        """Set how many bytes count; one write of a small block, which is never torn."""
        fd = os.open(
            self._folder / "limit", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            os.pwrite(fd, b"%020d" % limit, 0)
            if self._staging.fsync:
                os.fdatasync(fd)
        finally:
            os.close(fd)

    def _check_epoch(self, lock: _Lock) -> None:
        if lock.epoch != self.upload.version:
            raise _overtaken()

    def _close(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def _same(one: UploadState, other: UploadState) -> bool:
    """Return whether they differ by nothing but how the upload was used."""
    return replace(other, expires=one.expires, fences=one.fences) == one


def _overtaken() -> Fenced:
    return Fenced("another request has gone on with the upload meanwhile")


def _limit(folder: Path) -> int | None:
    kept = _read(folder / "limit")
    # An empty one was just being made, by an appender that had written nothing yet.
    return None if not kept else int(kept)


def _read(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except _ABSENT:
        return None
    try:
        return os.read(fd, _MAX_STATE)
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        raise UploadGone("the bytes of the upload are lost") from None


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are what is wanted
    except _ABSENT:
        return []


def _unlink(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _failed(error: OSError) -> StorageError:
    return StorageError(f"storage failed: {error.strerror}", error)


async def _run(function: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Call it in a thread. A cancelled call is waited for, and undone."""
    try:
        return await call_in_thread(function, undo)
    except StreamError:
        raise
    except _ABSENT:
        raise
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise UploadGone("the state of the upload is lost") from error
        raise _failed(error) from error
