"""Uploads on a disk: what is special there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiostreams import DiskStorage, StorageError, StreamError
from aiostreams.resumable import disk
from aiostreams.resumable.disk import DiskStaging
from aiostreams.resumable.engine import Uploads
from aiostreams.resumable.state import UploadBusy, UploadGone, UploadNotFound

from .die import STEPS, application, names
from .stagings import Stalled, add, anyone, bytes_of, info_of, offset_of
from .test_engine_kills import FINAL, Witness, check, end, live

DATA = bytes(range(256)) * 8192


def folder_of(root: Path) -> Path:
    [folder] = root.glob("2*/*")
    return folder


async def test_files_are_private(tmp_path: Path) -> None:
    uploads = Uploads(DiskStaging(tmp_path / "root"))
    upload = await uploads.create(info_of(length=4))
    await add(uploads, upload, b"data", at=0)
    for path in tmp_path.rglob("*"):
        assert not path.stat().st_mode & 0o077, path


async def test_the_offset_is_the_size_of_the_file(tmp_path: Path) -> None:
    """What a killed process has written counts."""
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"123", at=0)
    with (folder_of(tmp_path) / "data").open("ab") as file:
        file.write(b"45")
    assert await offset_of(uploads, upload) == 5
    added = await add(uploads, upload, b"67890", at=5)
    assert await bytes_of(uploads, added.upload) == b"1234567890"


async def test_with_fsync_the_offset_is_what_is_on_the_disk(tmp_path: Path) -> None:
    uploads = Uploads(DiskStaging(tmp_path, fsync=True))
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"123", at=0)
    with (folder_of(tmp_path) / "data").open("ab") as file:
        file.write(b"zz")
    assert await offset_of(uploads, upload) == 3
    added = await add(uploads, upload, b"4567890", at=3)
    assert await bytes_of(uploads, added.upload) == b"1234567890"


async def test_held_bytes_of_a_killed_process_go(tmp_path: Path) -> None:
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=len(DATA)))
    await add(uploads, upload, DATA[:100], at=0)
    appender = await uploads.staging.append(
        await uploads.find(upload.info.id, anyone), held=True
    )
    await appender.write(DATA[: 1024 * 1024])
    await appender.discard()  # the same as a kill: nothing is tidied
    assert (folder_of(tmp_path) / "limit").exists()
    assert await offset_of(uploads, upload) == 100
    added = await add(uploads, upload, DATA[100:], at=100)
    assert not (folder_of(tmp_path) / "limit").exists()
    assert await bytes_of(uploads, added.upload) == DATA


@pytest.mark.parametrize("how", ["shorter", "away", "state", "lock"])
async def test_a_file_that_somebody_has_touched_ends_the_upload(
    tmp_path: Path, how: str
) -> None:
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"12345", at=0)
    folder = folder_of(tmp_path)
    if how == "shorter":
        os.truncate(folder / "data", 4)
    elif how == "away":
        (folder / "data").unlink()
    elif how == "lock":
        (folder / "lock").unlink()
    else:
        (folder / "state").write_bytes(b"{")
    with pytest.raises((UploadGone, UploadNotFound)):
        await offset_of(uploads, upload)
    with pytest.raises((UploadGone, UploadNotFound)):
        await add(uploads, upload, b"6", at=5)
    await uploads.sweep(-1)
    assert list(tmp_path.iterdir()) == []


async def test_bytes_lost_after_the_end_are_noticed(tmp_path: Path) -> None:
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=5))
    upload = (await add(uploads, upload, b"12345", at=0)).upload
    os.truncate(folder_of(tmp_path) / "data", 4)
    with pytest.raises(UploadGone):
        await uploads.open(upload)
    (folder_of(tmp_path) / "data").unlink()
    with pytest.raises(UploadGone):
        await uploads.open(upload)


async def test_a_full_disk_keeps_what_is_there_and_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=len(DATA)))
    await add(uploads, upload, DATA[:1000], at=0)

    def full(*args: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError) as caught:
            await add(uploads, upload, DATA[1000:], at=1000)
        assert caught.value.status == 507
        assert await offset_of(uploads, upload) == 1000
    added = await add(uploads, upload, DATA[1000:], at=1000)
    assert await bytes_of(uploads, added.upload) == DATA


async def test_a_disk_that_fails_is_no_upload_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=10))

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageError):
            await uploads.find(upload.info.id, anyone)
        with pytest.raises(StorageError):
            await uploads.create(info_of(length=10))
    assert await offset_of(uploads, upload) == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("code", "fsync"), [(errno.ENOSPC, False), (errno.EIO, True), (errno.ESTALE, False)]
)
async def test_each_call_of_a_file_system_fails(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    code: int,
    fsync: bool,
) -> None:
    """Once; the process goes on, and so does its client."""
    caplog.set_level(logging.CRITICAL)
    memory = Path("/dev/shm")  # where fsync takes no time
    number, failed = 0, True
    while failed:
        number += 1
        root = memory / tmp_path.name / str(number) if memory.exists() else (
            tmp_path / str(number)
        )  # fmt: skip
        try:
            failed = await life_that_fails(monkeypatch, root, number, code, fsync)
        finally:
            shutil.rmtree(root.parent, ignore_errors=True)
    assert number > (180 if fsync else 130)


async def life_that_fails(
    monkeypatch: pytest.MonkeyPatch, root: Path, number: int, code: int, fsync: bool
) -> bool:
    """Have the ``number``-th call fail; gives whether there are as many."""
    storage, uploads = application(root, fsync)
    witness = Witness()
    calls = 0

    def wrap(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if function is os_open and not (
                str(args[0]).startswith(str(root)) and args[1] & os.O_CREAT
            ):
                return function(*args, **kwargs)
            calls += 1
            if calls == number:
                raise OSError(code, os.strerror(code))
            return function(*args, **kwargs)

        return call

    os_open = os.open
    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, wrap(getattr(os, name)))
        patch.setattr(fcntl, "flock", wrap(fcntl.flock))
        # What a client does goes wrong, or what it expects does not come.
        with contextlib.suppress(StreamError, OSError, AssertionError):
            await live(uploads, witness, storage)
            await end(uploads, witness)
    await check(uploads, witness, storage)
    await storage.sweep(-1)
    if witness.upload_id is not None:
        assert names(root) == {"staging", "files", FINAL}
    return calls >= number


async def test_a_lock_that_a_stopped_process_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait for a while and are refused; when it is killed, the lock is free."""
    monkeypatch.setattr(disk, "_PATIENCE", 0.2)
    uploads = Uploads(DiskStaging(tmp_path))
    upload = await uploads.create(info_of(length=10))
    code = (
        "import fcntl, sys, signal, os\n"
        "file = open(sys.argv[1], 'r+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", code, str(folder_of(tmp_path) / "lock")],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        with pytest.raises(UploadBusy) as caught:
            await offset_of(uploads, upload)
        assert caught.value.status == 423
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.communicate)
    assert await offset_of(uploads, upload) == 0


async def test_a_file_system_without_locks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(StorageError, match="flock"):
        await DiskStaging(tmp_path / "new").check()
    assert list((tmp_path / "new").iterdir()) == []


async def test_what_a_killed_process_left_half_made_goes(tmp_path: Path) -> None:
    staging = DiskStaging(tmp_path)
    half = tmp_path / ".aiostreams-0123"
    half.mkdir()
    (half / "info").write_bytes(b"x")
    (tmp_path / "20200101").mkdir()
    await Uploads(staging).sweep(3600)
    assert [path.name for path in tmp_path.iterdir()] == [half.name]
    os.utime(half, (0, 0))
    await Uploads(staging).sweep(3600)
    assert list(tmp_path.iterdir()) == []


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    uploads = Uploads(DiskStaging(tmp_path))

    async def life() -> None:
        upload = await uploads.create(info_of(length=10))
        stalled = Stalled(b"1")
        older = asyncio.create_task(add(uploads, upload, stalled, at=0))
        await stalled.waiting.wait()
        await offset_of(uploads, upload)
        await older
        added = await add(uploads, upload, b"234567890", at=1)
        assert await bytes_of(uploads, added.upload) == b"1234567890"
        await uploads.cancel(upload.info.id, anyone)

    await life()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await life()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_staging_is_no_object_of_the_storage(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    await storage.put("a", b"1")
    uploads = Uploads(DiskStaging(tmp_path / ".aiostreams-uploads"))
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"12", at=0)
    assert [found.key async for found in storage.list()] == ["a"]
    await storage.sweep(-1)
    assert await offset_of(uploads, upload) == 2
