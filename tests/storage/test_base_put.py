"""Storage.put(): an object at once, by whatever way the storage has."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from aiostreams import (
    DiskStorage,
    InvalidKey,
    KiB,
    MemoryStorage,
    ObjectExists,
    ObjectStorage,
    Storage,
    StorageError,
)
from aiostreams.storage import disk as disk_module
from aiostreams.storage import disk as diskattributes
from aiostreams.storage import disk_draft as folders
from aiostreams.storage import disk_draft as objectdraft
from tests.files import disks
from tests.files.disks import Disk, Suspensions, no_leak
from tests.waiting import turns

DATA = os.urandom(10 * KiB)


@pytest.fixture(params=["memory", "disk", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return DiskStorage(tmp_path / "root", sweep_after=None)
    if request.param == "objects":
        stores = pytest.importorskip("obstore.store", reason="needs the extra s3")
        return ObjectStorage(stores.MemoryStore())
    return MemoryStorage()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    more = {"mkdir", "rmdir", "setxattr", "getxattr"}
    monkeypatch.setattr(disks, "CALLS", disks.CALLS | more)
    installed = disks.install(monkeypatch)
    for module in (disk_module, diskattributes, folders, objectdraft):
        monkeypatch.setattr(module, "os", installed)
    return installed


async def content(storage: Storage, key: str) -> bytes:
    async with await storage.open(key) as stream:
        return await stream.read()


@pytest.mark.parametrize(
    "data", [b"", b"x", DATA, bytearray(DATA), memoryview(DATA)[3:]]
)
async def test_what_is_put_can_be_had(
    storage: Storage, data: bytes | bytearray | memoryview
) -> None:
    await storage.put("a/b.bin", data, content_type="image/png", metadata={"of": "me"})
    assert await content(storage, "a/b.bin") == bytes(data)
    found = await storage.stat("a/b.bin")
    assert (found.size, found.content_type) == (len(data), "image/png")
    assert found.metadata == {"of": "me"}


async def test_nothing_is_replaced_unless_asked(storage: Storage) -> None:
    await storage.put("a", b"one")
    with pytest.raises(ObjectExists):
        await storage.put("a", b"two")
    assert await content(storage, "a") == b"one"
    await storage.put("a", b"three", overwrite=True)
    assert await content(storage, "a") == b"three"
    with pytest.raises(InvalidKey):
        await storage.put("../a", b"four")


async def test_two_at_once_and_one_wins(storage: Storage) -> None:
    results = await asyncio.gather(
        *(storage.put("a/b", b"%d" % n) for n in range(20)), return_exceptions=True
    )
    won = [n for n, result in enumerate(results) if result is None]
    assert len(won) == 1
    assert {type(r) for r in results if r is not None} == {ObjectExists}
    assert await content(storage, "a/b") == b"%d" % won[0]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_mode_is_that_of_the_umask_or_of_what_is_replaced(
    tmp_path: Path, overwrite: bool
) -> None:
    storage = DiskStorage(tmp_path, sweep_after=None)
    for umask in (0o022, 0o077, 0o002):
        before = os.umask(umask)
        try:
            await storage.put(f"{umask}", DATA, overwrite=overwrite)
        finally:
            os.umask(before)
        mode = stat.S_IMODE((tmp_path / f"{umask}").stat().st_mode)
        assert mode == 0o666 & ~umask
    (tmp_path / "private").write_bytes(b"")
    (tmp_path / "private").chmod(0o604)
    await storage.put("private", DATA, overwrite=True)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o604


async def test_links_and_what_is_no_file_are_not_replaced(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path, sweep_after=None)
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for key in ("link", "fifo"):
        for overwrite in (False, True):
            with pytest.raises((StorageError, ObjectExists)):
                await storage.put(key, DATA, overwrite=overwrite)
    assert (tmp_path / "target").read_bytes() == b"old"


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
async def test_disk_that_fails_at_any_call_keeps_what_it_had(
    tmp_path: Path, disk: Disk, fsync: bool, old: bytes | None, number: int
) -> None:
    disk.error = number
    root = tmp_path / "root"
    for k in range(1, 60):
        storage = DiskStorage(root, fsync=fsync, sweep_after=None)
        disk.fail_at = lambda _k: False
        await storage.delete("a/b")
        if old is not None:
            await storage.put("a/b", old)
        disk.calls.clear()
        disk.fail_at = k.__eq__
        failed = False
        try:
            await storage.put("a/b", DATA, overwrite=True)
        except StorageError:
            failed = True
        done = len(disk.calls)
        disk.fail_at = lambda _k: False
        files = sorted(path.name for path in root.rglob("*") if path.is_file())
        if failed:
            # A directory that cannot be synced is told when the old one is gone.
            known = {old, DATA} if fsync else {old}
            there = (root / "a/b").read_bytes() if files else None
            assert there in known, (k, disk.calls)
            assert files in ([], ["b"])
        else:
            assert (root / "a/b").read_bytes() == DATA
        if done < k:
            break
    assert 9 < k < 60


async def test_cancel_at_every_wait_stores_nothing(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path, sweep_after=None)
    for k in range(1, 10):
        run = Suspensions(k)
        with no_leak(tmp_path):
            try:
                await asyncio.create_task(run.run(storage.put("a/b", DATA)))
            except asyncio.CancelledError:
                assert list(tmp_path.iterdir()) == []
            else:
                break
    assert k > 1


async def test_cancel_while_the_thread_works_takes_the_object_back(
    tmp_path: Path, disk: Disk
) -> None:
    storage = DiskStorage(tmp_path, sweep_after=None)
    for call in ("open", "writev", "link", "unlink"):
        gate = disk.gate(call)
        task = asyncio.create_task(storage.put("a", DATA))
        await disk.arrive(call)
        task.cancel()
        await turns()
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(tmp_path.iterdir()) == []
        del disk.gates[call]
