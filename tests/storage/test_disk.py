"""DiskStorage: links, races, full disks, and what is left after each of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import stat
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    DiskStorage,
    KiB,
    MiB,
    ObjectExists,
    ObjectNotFound,
    SizeMismatch,
    StorageError,
    StreamBusy,
    StreamError,
)
from aiostreams.files.draft import TEMPORARY_PREFIX
from aiostreams.storage import disk as disk_module
from aiostreams.storage import disk as diskattributes
from aiostreams.storage import disk_draft as folders
from aiostreams.storage import disk_draft as objectdraft
from aiostreams.storage.disk_draft import ATTRIBUTE, ObjectDraft
from tests.files import disks
from tests.files.disks import Disk, Suspensions, descriptors
from tests.forks import forks
from tests.waiting import turns

MEDIUM = os.urandom(300 * KiB)
LARGE = os.urandom(3 * MiB + 5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
async def storage(root: Path) -> AsyncIterator[DiskStorage]:
    async with DiskStorage(root, sweep_after=None) as made:
        yield made


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A say in every call that this package makes to the file system."""
    more = {"mkdir", "rmdir", "scandir", "setxattr", "getxattr"}
    monkeypatch.setattr(disks, "CALLS", disks.CALLS | more)
    installed = disks.install(monkeypatch)
    for module in (disk_module, diskattributes, folders, objectdraft):
        monkeypatch.setattr(module, "os", installed)
    return installed


async def store(
    storage: DiskStorage, key: str, data: bytes = b"x", **kwargs: Any
) -> None:
    async with await storage.create(key, **kwargs) as stream:
        for start in range(0, len(data), 256 * KiB):
            await stream.write(data[start : start + 256 * KiB])


async def load(storage: DiskStorage, key: str) -> bytes:
    async with await storage.open(key) as stream:
        return await stream.read()


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# -- what is on disk ---------------------------------------------------------------


async def test_object_is_a_plain_file_with_its_attributes(
    storage: DiskStorage, root: Path
) -> None:
    old = os.umask(0o027)
    try:
        await store(
            storage, "a/b", b"bytes", content_type="text/x", metadata={"k": "v"}
        )
    finally:
        os.umask(old)
    path = root / "a" / "b"
    assert path.read_bytes() == b"bytes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    shutil.copy2(path, root / "copy")
    found = await storage.stat("copy")
    assert (found.content_type, found.metadata) == ("text/x", {"k": "v"})
    assert repr(storage) == f"<DiskStorage {str(root)!r}>"


async def test_temporary_file_is_private_and_beside_the_object(
    storage: DiskStorage, root: Path
) -> None:
    stream = await storage.create("a/b", content_type="text/x")
    assert not root.exists()
    await stream.open()
    [path] = [p for p in root.rglob("*") if p.is_file()]
    assert path.parent == root / "a"
    assert path.name.startswith(TEMPORARY_PREFIX)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.getxattr(path, ATTRIBUTE) == b'{"content_type": "text/x"}'
    await stream.abort()
    assert everything(root) == []


async def test_relative_root_is_of_the_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = DiskStorage("some/root")
    await store(storage, "o")
    monkeypatch.chdir("/")
    await store(storage, "p")
    assert everything(tmp_path / "some" / "root") == ["o", "p"]


def test_relative_root_is_found_once_by_threads_that_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has seen that there is none when the first one finds it."""
    monkeypatch.chdir(tmp_path)
    folders_ = folders.SafeDirectory("root", fsync=False)
    arrived, go_on = threading.Semaphore(0), threading.Event()
    lock, abspath, calls = threading.Lock(), os.path.abspath, []

    class Door:
        def __enter__(self) -> None:
            arrived.release()
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    def slow(path: str) -> str:
        calls.append(path)
        assert go_on.wait(10)
        return abspath(path)

    monkeypatch.setattr(folders_, "_finding", Door())

    monkeypatch.setattr(os.path, "abspath", slow)
    with ThreadPoolExecutor(2) as pool:
        opened = [pool.submit(folders_.open, (), make=True) for _ in range(2)]
        both = [arrived.acquire(timeout=10) for _ in opened]
        go_on.set()
        for one in opened:
            os.close(one.result(10))
    assert (both, calls) == ([True, True], ["root"])


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b'"x"', b'{"content_type": 5}', b'{"metadata": 1}', b"\xff",
     b'{"content_type": "a\\nb"}', b'{"metadata": {"a": 1}}'],
)  # fmt: skip
async def test_foreign_attribute_is_none(
    value: bytes, storage: DiskStorage, root: Path
) -> None:
    await store(storage, "o")
    os.setxattr(root / "o", ATTRIBUTE, value)
    found = await storage.stat("o")
    assert (found.content_type, dict(found.metadata)) == (None, {})


async def test_stat_and_stream_tell_the_same(storage: DiskStorage) -> None:
    await store(storage, "o")
    found = await storage.stat("o")
    async with await storage.open("o") as stream:
        told: Any = stream
        assert told.etag == found.etag
        assert told.last_modified == found.modified
        assert told.fileno() >= 0


async def test_file_that_shrinks_is_a_size_mismatch(
    storage: DiskStorage, root: Path
) -> None:
    await store(storage, "o", LARGE)
    async with await storage.open("o") as stream:
        await stream.read(10)
        os.truncate(root / "o", 1 * MiB)
        with pytest.raises(SizeMismatch):
            await stream.read()


@pytest.mark.parametrize("overwrite", [False, True])
async def test_an_object_and_a_folder_of_one_name_are_a_conflict(
    storage: DiskStorage, root: Path, *, overwrite: bool
) -> None:
    """Clients choose keys: what these ask for is no failure of the disk."""
    await store(storage, "o")
    await store(storage, "folder/o")
    for key in ("o/below", "o/far/below", "folder"):
        with pytest.raises(ObjectExists) as stored:
            await store(storage, key, overwrite=overwrite)
        with pytest.raises(ObjectExists) as put:
            await storage.put(key, b"new", overwrite=overwrite)
        assert stored.value.status == put.value.status == 409
    with pytest.raises(ObjectExists, match="an object where 'o/far/below' needs a"):
        await storage.put("o/far/below", b"new", overwrite=overwrite)
    for key in ("o/below", "folder"):
        await storage.delete(key)
    assert everything(root) == ["folder", "folder/o", "o"]


# -- links and other things --------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


async def test_links_are_never_followed(
    storage: DiskStorage, root: Path, outside: Path
) -> None:
    await store(storage, "real/o")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")
    (root / "inner").symlink_to(root / "real")
    for key in ("folder/secret", "file", "dangling", "inner/o"):
        with pytest.raises((ObjectNotFound, StorageError)):
            await storage.open(key)
        with pytest.raises((ObjectNotFound, StorageError)):
            await storage.stat(key)
        for overwrite in (False, True):
            with pytest.raises((ObjectExists, StorageError)):
                await store(storage, key, b"evil", overwrite=overwrite)
        with contextlib.suppress(StorageError):
            await storage.delete(key)
    assert [o.key async for o in storage.list()] == ["real/o"]
    assert [o.key async for o in storage.list("folder/")] == []
    await storage.sweep(-10)
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (root / "file").is_symlink()


async def test_other_things_are_no_objects_and_never_block(
    storage: DiskStorage, root: Path
) -> None:
    await store(storage, "o")
    os.mkfifo(root / "fifo")
    os.mkfifo(root / f"{TEMPORARY_PREFIX}fifo")
    async with asyncio.timeout(20):
        with pytest.raises(StorageError, match="not a regular file"):
            await storage.open("fifo")
        with pytest.raises(StorageError, match="not a regular file"):
            await storage.delete("fifo")
        with pytest.raises(StorageError, match="not a regular file"):
            await store(storage, "fifo", overwrite=True)
        assert [o.key async for o in storage.list()] == ["o"]


async def test_hard_link_is_replaced_and_not_written_through(
    storage: DiskStorage, root: Path, outside: Path
) -> None:
    root.mkdir()
    os.link(outside / "secret", root / "o")
    with pytest.raises(ObjectExists):
        await store(storage, "o")
    await store(storage, "o", b"new", overwrite=True)
    assert (outside / "secret").read_bytes() == b"secret"


async def test_file_with_a_name_that_is_no_key_is_not_listed(
    storage: DiskStorage, root: Path
) -> None:
    await store(storage, "ok")
    (root / "a\\b").touch()
    (root / "new\nline").touch()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch()
    (root / f"{TEMPORARY_PREFIX}x").touch()
    assert [o.key async for o in storage.list()] == ["ok"]


async def test_swapping_folders_for_links_never_leads_outside(
    storage: DiskStorage, root: Path, outside: Path
) -> None:
    """A thread makes ``root/d`` a folder or a link to outside in turn."""
    await store(storage, "keep")
    stop = threading.Event()
    target = root / "d"

    def swap() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                target.mkdir()
            with contextlib.suppress(OSError):
                target.rename(root / f"old-{time.monotonic_ns()}")
            with contextlib.suppress(OSError):
                target.symlink_to(outside)
            with contextlib.suppress(OSError):
                target.unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for turn in range(1000):
            with contextlib.suppress(StreamError):
                await store(storage, f"d/{turn}", b"evil", overwrite=bool(turn % 2))
            with contextlib.suppress(StreamError):
                assert await load(storage, "d/secret") != b"secret"
            with contextlib.suppress(StreamError):
                await storage.delete("d/secret")
    finally:
        stop.set()
        thread.join()
    assert [p.name for p in outside.iterdir()] == ["secret"]


async def test_root_that_is_moved_or_removed_is_an_error(
    storage: DiskStorage, root: Path, tmp_path: Path
) -> None:
    for folder in ("", "a/"):
        stream = await storage.create(f"{folder}o")
        await stream.write(LARGE)
        await stream.open()
        root.rename(tmp_path / "moved")
        root.mkdir()
        (root / "a").mkdir()
        with pytest.raises(StorageError, match="folder was moved"):
            await stream.close()
        assert everything(tmp_path / "moved") in ([], ["a"])
        assert everything(root) in ([], ["a"])
        shutil.rmtree(tmp_path / "moved")
    stream = await storage.create("o")
    await stream.write(b"x")
    await stream.open()
    shutil.rmtree(root)
    with pytest.raises(StorageError):
        await stream.close()
    assert not root.exists()
    # It is not made a second time: it may have been unmounted.
    with pytest.raises(StorageError):
        await store(storage, "o")
    assert not root.exists()


# -- folders come and go -----------------------------------------------------------


async def test_folders_go_with_their_last_object(
    storage: DiskStorage, root: Path
) -> None:
    await store(storage, "a/b/c/o")
    await store(storage, "a/p")
    await storage.delete("a/b/c/o")
    assert everything(root) == ["a", "a/p"]
    await storage.delete("a/p")
    assert everything(root) == []


async def test_failed_upload_leaves_no_folders(
    storage: DiskStorage, root: Path
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await storage.create("a/b/o") as stream:
            await stream.write(LARGE)
            raise ZeroDivisionError
    assert everything(root) == []
    await store(storage, "a/o")
    with pytest.raises(ObjectExists):
        await store(storage, "a/o")
    assert everything(root) == ["a", "a/o"]


async def test_pruning_and_making_folders_at_once(
    storage: DiskStorage, root: Path
) -> None:
    async def turn(index: int) -> None:
        for _ in range(40):
            await store(storage, f"a/b/{index}")
            await storage.delete(f"a/b/{index}")

    await asyncio.gather(*map(turn, range(6)))
    assert everything(root) == []


async def test_folder_that_vanishes_for_ever_is_an_error(
    storage: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage._folders.open

    def vanish(segments: Any, *, make: bool = False) -> int:
        fd = real(segments, make=make)
        if make:
            storage._folders.prune(segments)
        return fd

    monkeypatch.setattr(storage._folders, "open", vanish)
    with pytest.raises(StorageError, match="No such file"):
        await store(storage, "a/o")
    assert everything(root) == []


async def test_folder_that_vanishes_during_a_listing_is_passed_over(
    storage: DiskStorage, root: Path
) -> None:
    for name in ("a/o", "b/o", "c/o"):
        await store(storage, name)

    def walk() -> list[tuple[str, ...]]:
        steps = storage._folders.walk()
        _, path, names = next(steps)
        assert (path, names) == ((), [])
        shutil.rmtree(root / "b")
        return sorted(path for _, path, _ in steps)

    assert await asyncio.to_thread(walk) == [("a",), ("c",)]


async def test_large_folder_is_listed_in_batches(
    storage: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_BATCH", 3)
    monkeypatch.setattr(disk_module, "_BATCH", 2)
    want = [f"a/{index}" for index in range(10)]
    for key in want:
        await store(storage, key)
    assert sorted([o.key async for o in storage.list()]) == want
    assert sorted([o.key async for o in storage.list("a/")]) == want
    assert [o.key async for o in storage.list("a/7")] == ["a/7"]


# -- the sweep ---------------------------------------------------------------------


def leave_behind(root: Path, *, age: float) -> None:
    (root / "old" / "er").mkdir(parents=True, exist_ok=True)
    for folder in (root, root / "old" / "er"):
        path = folder / f"{TEMPORARY_PREFIX}0123"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))


async def test_sweep_removes_old_temporaries_and_their_folders(
    storage: DiskStorage, root: Path
) -> None:
    await store(storage, "keep/o")
    (root / "empty").mkdir()
    (root / "fresh").mkdir()
    os.utime(root / "empty", (0, 0))
    leave_behind(root, age=90_000)
    assert await storage.sweep() == 2
    assert everything(root) == ["fresh", "keep", "keep/o"]
    leave_behind(root, age=80_000)
    assert await storage.sweep() == 0
    assert await storage.sweep(70_000, limit=1) < 2
    assert await storage.sweep(70_000) <= 2
    assert everything(root) == ["fresh", "keep", "keep/o"]


async def test_first_create_sweeps_in_the_background(root: Path) -> None:
    root.mkdir()
    leave_behind(root, age=90_000)
    async with DiskStorage(root) as storage:
        await store(storage, "o")
    assert everything(root) == ["o"]
    leave_behind(root, age=90_000)
    async with DiskStorage(root, sweep_after=100_000) as storage:
        await store(storage, "p")
        await store(storage, "q")
    assert f"{TEMPORARY_PREFIX}0123" in everything(root)


async def test_sweep_that_fails_is_logged(
    root: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    root.mkdir()
    disk.fail_at = lambda _k: disk.calls[-1] == "scandir"
    async with DiskStorage(root) as storage:
        await store(storage, "o")
    assert "sweep of temporary files failed" in caplog.text
    with pytest.raises(StorageError):
        await storage.sweep()


async def test_temporary_that_becomes_an_object_meanwhile_is_left(
    storage: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir()
    leave_behind(root, age=90_000)
    real = os.stat

    class Raced:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def stat(self, name: Any, **kwargs: Any) -> os.stat_result:
            found = real(name, **kwargs)
            os.rename(
                name, "o" + str(found.st_ino),
                src_dir_fd=kwargs["dir_fd"], dst_dir_fd=kwargs["dir_fd"],
            )  # fmt: skip
            return found

    monkeypatch.setattr(disk_module, "os", Raced())
    assert await storage.sweep() == 0
    assert len([p for p in root.rglob("o*") if p.is_file()]) == 2


# -- every call failing ------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "overwrite", "fsync"),
    [
        (errno.ENOSPC, False, False),
        (errno.EDQUOT, True, False),
        (errno.EIO, False, True),
        (errno.EIO, True, True),
        (errno.EMFILE, False, False),
    ],
)
@pytest.mark.parametrize("persistent", [False, True])
async def test_upload_is_whole_or_nothing_when_call_k_fails(
    error: int, overwrite: bool, fsync: bool, persistent: bool, root: Path, disk: Disk
) -> None:
    """Or every call from the k-th on."""
    disk.error = error
    disk.write_most = 100 * KiB
    before = descriptors()
    for k in range(1, 200):
        storage = DiskStorage(root, fsync=fsync, sweep_after=None)
        await store(storage, "keep")
        if overwrite:
            await store(storage, "a/o", b"old")
        disk.calls.clear()
        disk.fail_at = lambda n, k=k: n == k or (persistent and n > k)  # type: ignore[misc]
        failed: StorageError | None = None
        try:
            await store(
                storage, "a/o", MEDIUM, overwrite=overwrite, metadata={"a": "b"}
            )
        except StorageError as caught:
            failed = caught
        spoiled = disk.calls[k - 1 : k]
        disk.fail_at = lambda _n: False
        if failed is None:
            assert await load(storage, "a/o") == MEDIUM
        else:
            assert failed.errno == error
            assert failed.status == {errno.EIO: 500, errno.EMFILE: 503}.get(error, 507)
            if overwrite:
                assert await load(storage, "a/o") in {b"old", MEDIUM}
            elif not persistent:
                with pytest.raises(ObjectNotFound):
                    await load(storage, "a/o")
        if not persistent:
            # With a disk that fails for good, nothing can be removed either.
            files = [p.name for p in root.rglob("*") if p.is_file()]
            temporaries = [n for n in files if n.startswith(TEMPORARY_PREFIX)]
            assert len(temporaries) <= (spoiled == ["unlink"])
        shutil.rmtree(root)
        if not spoiled:
            break
    assert k > 8
    assert descriptors() <= before


async def test_a_listing_left_early_closes_its_folders(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiostreams.storage.disk._BATCH", 1)
    for name in ("a/b/c", "a/b/d", "a/e", "f"):
        await store(storage, name)
    before = descriptors()
    async with contextlib.aclosing(storage.list()) as listed:
        await anext(listed)
        assert descriptors() > before
    assert descriptors() == before


@pytest.mark.parametrize("call", ["stat", "open", "list", "delete"])
async def test_other_calls_are_storage_errors_when_call_k_fails(
    call: str, storage: DiskStorage, disk: Disk
) -> None:
    await store(storage, "a/o", metadata={"a": "b"})
    before = descriptors()
    for k in range(1, 50):
        disk.calls.clear()
        disk.fail_at = lambda n, k=k: n == k  # type: ignore[misc]
        try:
            if call == "list":
                async for _ in storage.list():
                    pass
            else:
                found = await getattr(storage, call)("a/o")
                if call == "open":
                    await found.close()
        except StorageError as error:
            assert error.errno == errno.EIO  # noqa: PT017
        reached = len(disk.calls) >= k
        disk.fail_at = lambda _n: False
        if call == "delete":
            await store(storage, "a/o", metadata={"a": "b"}, overwrite=True)
        if not reached:
            break
    assert k > 3
    assert descriptors() <= before


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.EIO])
async def test_file_system_without_attributes(
    number: int, storage: DiskStorage, root: Path, disk: Disk,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ObjectDraft, "_warned", False)
    disk.error = number
    disk.fail_at = lambda _k: disk.calls[-1].endswith("xattr")
    if number == errno.EIO:
        with pytest.raises(StorageError):
            await store(storage, "o", content_type="text/plain")
        return
    for key in ("o", "p"):
        await store(storage, key, content_type="text/plain")
    assert (await storage.stat("o")).content_type is None
    assert caplog.text.count("content types are lost") == 1
    with pytest.raises(StorageError, match="keeps no attributes"):
        await store(storage, "q", metadata={"a": "b"})
    assert everything(root) == ["o", "p"]


async def test_attributes_that_cannot_be_read_are_no_missing_ones(
    storage: DiskStorage, disk: Disk
) -> None:
    """Else a disk that fails would serve an upload as something that it is not."""
    await store(storage, "o", content_type="text/plain")
    before = descriptors()
    disk.error = errno.EIO
    disk.fail_at = lambda _k: disk.calls[-1] == "getxattr"
    for ask in (storage.stat, storage.open):
        with pytest.raises(StorageError):
            await ask("o")
    assert descriptors() <= before
    disk.fail_at = lambda _k: False
    assert (await storage.stat("o")).content_type == "text/plain"


DIGESTS = {"sha256": "00" * 32, "md5": "11" * 16}


async def test_digests_are_those_of_the_file_as_it_was(
    storage: DiskStorage, root: Path
) -> None:
    async def known(key: str) -> Any:
        async with await storage.open(key) as stream:
            return dict(stream.known_digests)

    await storage.put_known("o", b"abc", DIGESTS, metadata={"a": "b"})
    await storage.copy("o", "p")
    await storage.move("p", "q")
    assert await known("o") == await known("q") == DIGESTS
    assert (await storage.stat("o")).metadata == {"a": "b"}
    # Written to by another program: it has other bytes now, or may have.
    os.utime(root / "o", ns=(0, 0))
    assert await known("q") == {}
    assert (await storage.stat("o")).metadata == {"a": "b"}


@pytest.mark.parametrize("adopted", [True, False])
async def test_digests_that_become_known_after_the_bytes(
    storage: DiskStorage, tmp_path: Path, adopted: bool
) -> None:
    """As those of an upload that was resumed, which is hashed when it is complete."""
    if adopted:
        path = tmp_path / "grown"
        path.write_bytes(b"abc")
        staged = await storage.adopt(str(path), "a/o", content_type="text/x")
        assert staged is not None
    else:
        staged = await storage.stage("a/o", content_type="text/x")
        async with await staged.create() as sink:
            await sink.write(b"abc")
    staged.digests = DIGESTS
    staged.key = "b/o"
    await staged.publish()
    async with await storage.open("b/o") as stream:
        assert stream.known_digests == DIGESTS
        assert stream.content_type == "text/x"


@pytest.mark.parametrize(
    "kept",
    [
        b'{"digests": {"sha256": "xyz"}, "version": "V"}',
        b'{"digests": {"sha256": 1}, "version": "V"}',
        b'{"digests": ["sha256"], "version": "V"}',
        b'{"digests": {"sha256": "00"}, "version": 1}',
        b'{"digests": {"sha256": "00"}}',
    ],
)
async def test_digests_that_make_no_sense_are_none(
    storage: DiskStorage, root: Path, kept: bytes
) -> None:
    await storage.put("o", b"abc")
    version = (await storage.stat("o")).etag
    assert version is not None
    os.setxattr(root / "o", ATTRIBUTE, kept.replace(b"V", version.encode()))
    async with await storage.open("o") as stream:
        assert stream.known_digests == {}


async def test_digests_that_have_no_room_are_left_out(
    storage: DiskStorage, root: Path, disk: Disk
) -> None:
    disk.error = errno.ENOSPC
    calls = 0

    def full(_k: int) -> bool:
        nonlocal calls
        calls += disk.calls[-1] == "setxattr"
        return disk.calls[-1] == "setxattr" and calls == 1

    disk.fail_at = full
    await storage.put_known("o", b"abc", DIGESTS, content_type="text/x")
    assert (await storage.stat("o")).content_type == "text/x"
    async with await storage.open("o") as stream:
        assert stream.known_digests == {}
    assert everything(root) == ["o"]


async def test_system_without_attributes(
    storage: DiskStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectDraft, "_warned", True)
    monkeypatch.delattr(os, "setxattr")
    monkeypatch.delattr(os, "getxattr")
    await store(storage, "o", content_type="text/plain")
    assert (await storage.stat("o")).content_type is None


async def test_fsync_covers_new_folders(root: Path, disk: Disk) -> None:
    storage = DiskStorage(root, fsync=True, sweep_after=None)
    await store(storage, "a/b/o")
    assert [c for c in disk.calls if c in {"mkdir", "fsync", "link"}] == [
        "mkdir", "fsync", "mkdir", "fsync", "fsync", "link", "fsync",
    ]  # fmt: skip
    disk.calls.clear()
    await storage.delete("a/b/o")
    assert disk.calls[disk.calls.index("unlink") + 1] == "fsync"


# -- cancellation ------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
async def test_cancel_while_the_object_takes_its_place(
    overwrite: bool, storage: DiskStorage, root: Path, disk: Disk
) -> None:
    """Too late to stop it: a new object is taken back, a replacement is whole."""
    if overwrite:
        await store(storage, "a/o", b"old")
    name = "replace" if overwrite else "link"
    gate = disk.gate(name)
    stream = await storage.create("a/o", overwrite=overwrite)
    await stream.write(b"new")
    closing = asyncio.create_task(stream.close())
    await disk.arrive(name)
    closing.cancel()
    await turns()
    closing.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    if overwrite:
        assert await load(storage, "a/o") == b"new"
    else:
        assert everything(root) == []


async def test_cancelled_close_takes_back_only_its_own(
    storage: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await storage.create("a/o")
    await stream.write(b"new")
    draft: ObjectDraft = stream._draft  # type: ignore[attr-defined]
    await stream.close()
    (root / "a" / "o").unlink()
    (root / "a" / "o").write_bytes(b"another")
    await asyncio.to_thread(draft.retract)
    assert (root / "a" / "o").read_bytes() == b"another"
    (root / "a" / "o").unlink()
    await asyncio.to_thread(draft.retract)
    assert everything(root) == []
    await asyncio.to_thread(draft.retract)


async def test_object_that_cannot_be_taken_back_is_logged(
    storage: DiskStorage, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await storage.create("o")
    await stream.write(b"new")
    draft: ObjectDraft = stream._draft  # type: ignore[attr-defined]
    await stream.close()
    disk.fail_at = lambda _k: disk.calls[-1] == "unlink"
    await asyncio.to_thread(draft.retract)
    assert "object left behind" in caplog.text


@pytest.mark.parametrize("call", ["stat", "open", "delete", "list"])
async def test_cancelled_calls_leak_nothing(
    call: str, storage: DiskStorage, disk: Disk
) -> None:
    await store(storage, "a/o")

    async def use() -> None:
        if call == "list":
            async for _ in storage.list():
                pass
        else:
            found = await getattr(storage, call)("a/o")
            if call == "open":
                await found.close()

    before = descriptors()
    disk.delay = 0.002
    for k in range(1, 20):
        steps = Suspensions(k)

        async def run(steps: Suspensions = steps) -> None:
            await steps.run(use())

        task = asyncio.create_task(run())
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if not task.cancelled():
            break
        if call == "delete":
            await store(storage, "a/o", overwrite=True)
    assert k > 1
    assert descriptors() <= before


async def test_cancelled_open_that_failed_has_nothing_to_undo(
    storage: DiskStorage, disk: Disk
) -> None:
    gate = disk.gate("open")
    task = asyncio.create_task(storage.open("none"))
    await disk.arrive("open")
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_close_during_a_write_discards(
    storage: DiskStorage, root: Path, disk: Disk
) -> None:
    gate = disk.gate("writev")
    stream = await storage.create("o")
    await stream.write(LARGE)
    writing = asyncio.create_task(stream.write(LARGE))
    await disk.arrive("writev")
    await asyncio.sleep(0)
    closing = asyncio.create_task(stream.close())
    await turns()
    gate.set()
    with pytest.raises(StreamBusy):
        await closing
    with contextlib.suppress(StreamError):
        await writing
    assert everything(root) == []


# -- a writer that is killed -------------------------------------------------------


WRITER = """
import asyncio
from aiostreams import DiskStorage

def main(root):
    asyncio.run(use(root))

async def use(root):
    storage = DiskStorage(root, sweep_after=None)
    while True:
        for k in range(8):
            async with await storage.create(
                f"a/{k}/o", metadata={"k": str(k)}, overwrite=True
            ) as stream:
                for _ in range(5):
                    await stream.write(bytes([k]) * 70_000)
            print(k, flush=True)
"""


@pytest.mark.slow
async def test_killed_writer_leaves_whole_objects_and_sweepable_temporaries(
    root: Path,
) -> None:
    left = 0
    with forks(WRITER) as writers:
        for turn in range(25):
            writer = writers.start(root)
            # From then on it is writing all the time.
            assert writers.line() == "0\n"
            await asyncio.sleep(turn * 0.0013)
            os.kill(writer, signal.SIGKILL)
            assert writers.ended() == -signal.SIGKILL
            storage = DiskStorage(root, sweep_after=None)
            async for found in storage.list():
                k = int(found.metadata["k"])
                assert found.key == f"a/{k}/o"
                assert await load(storage, found.key) == bytes([k]) * 350_000
            left += await storage.sweep(-10)
            assert all(p.name == "o" for p in root.rglob("*") if p.is_file())
            assert all(any(p.iterdir()) for p in root.rglob("*") if p.is_dir())
    assert left > 0
