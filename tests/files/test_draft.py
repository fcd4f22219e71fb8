"""Drafts on file systems that lack something: hard links, modes, synced directories.

Such a file system cannot be mounted everywhere, so the calls answer as it would.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from aiostreams import (
    JSON,
    DiskStorage,
    FileStream,
    ObjectExists,
    StorageError,
    receive,
    setup,
)
from aiostreams.files import draft, writing
from aiostreams.storage import disk, disk_draft
from aiostreams.testing import check_storage

LACKING = sorted({
    errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL,
})  # fmt: skip


class Poor:
    """The ``os`` module on a file system that refuses some calls."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused

    def __getattr__(self, name: str) -> Any:
        number = self.refused.get(name)
        if number is None:
            return getattr(os, name)

        def refuse(*_args: object, **_options: object) -> None:
            raise OSError(number, os.strerror(number))

        return refuse

    def fsync(self, fd: int) -> None:
        number = self.refused.get("fsync_directory")
        if number is not None and stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        os.fsync(fd)


def rename_in_one_step() -> Callable[..., int] | None:
    return draft._renameat2()


def no_rename_in_one_step() -> None:
    return None


def rename_refused_by_the_file_system() -> Callable[..., int]:
    return lambda *_names: errno.EINVAL


RENAMES = [
    pytest.param(
        rename_in_one_step,
        marks=pytest.mark.skipif(
            draft._renameat2() is None, reason="this system has no renameat2"
        ),
    ),
    no_rename_in_one_step,
    rename_refused_by_the_file_system,
]


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(renames: Callable[[], Any] = draft._renameat2, **refused: int) -> None:
        found = renames()
        fake = Poor(**refused)
        for module in (draft, writing, disk, disk_draft):
            monkeypatch.setattr(module, "os", fake)
        monkeypatch.setattr(draft, "_renameat2", lambda: found)

    return install


async def write_new(path: Path, data: bytes, *, fsync: bool = False) -> None:
    async with FileStream(path, "xb", fsync=fsync) as stream:
        await stream.write(data)


@pytest.mark.parametrize("renames", RENAMES)
@pytest.mark.parametrize("number", [*LACKING, errno.EMLINK], ids=errno.errorcode.get)
async def test_a_new_file_takes_its_name_without_hard_links(
    poor: Callable[..., None], tmp_path: Path, number: int, renames: Callable[[], Any]
) -> None:
    poor(renames, link=number)
    await write_new(tmp_path / "file", b"first", fsync=True)
    with pytest.raises(ObjectExists):
        await write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("renames", RENAMES)
def test_one_of_many_takes_the_name(
    poor: Callable[..., None], tmp_path: Path, renames: Callable[[], Any]
) -> None:
    """Never is an empty or half file seen under it, and never is one replaced."""
    poor(renames, link=errno.EPERM)
    data = [bytes([number]) * 10_000 for number in range(8)]

    def take(number: int) -> bool:
        new = draft.Draft(str(path), overwrite=False, fsync=False, dir_fd=None)
        try:
            new.commit([data[number]])
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        for round_ in range(50):
            path = tmp_path / f"file {round_}"
            running = [threads.submit(take, number) for number in range(8)]
            while not all(one.done() for one in running):
                if path.exists():
                    assert path.read_bytes() in data
            winners = [number for number, one in enumerate(running) if one.result()]
            assert len(winners) == 1
            assert path.read_bytes() == data[winners[0]]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("number", LACKING, ids=errno.errorcode.get)
async def test_modes_that_are_not_kept_are_no_failure(
    poor: Callable[..., None], tmp_path: Path, number: int
) -> None:
    poor(fchmod=number)
    await write_new(tmp_path / "file", b"new")
    async with FileStream(tmp_path / "file", "wb") as stream:
        await stream.write(b"replaced")
    assert (tmp_path / "file").read_bytes() == b"replaced"


@pytest.mark.parametrize("number", [*LACKING, errno.EBADF], ids=errno.errorcode.get)
async def test_directories_that_cannot_be_synced_are_no_failure(
    poor: Callable[..., None], tmp_path: Path, number: int
) -> None:
    poor(fsync_directory=number)
    storage = DiskStorage(tmp_path / "objects", fsync=True)
    await storage.put("a/b/c", b"kept")
    await storage.delete("a/b/c")
    assert [stored async for stored in storage.list()] == []


@pytest.mark.parametrize("renames", RENAMES)
async def test_a_storage_keeps_its_promises_there(
    poor: Callable[..., None], tmp_path: Path, renames: Callable[[], Any]
) -> None:
    poor(
        renames,
        link=errno.EPERM,
        fchmod=errno.EPERM,
        fsync_directory=errno.EINVAL,
    )
    await check_storage(lambda: DiskStorage(tmp_path / "objects", fsync=True))


@pytest.mark.parametrize("number", [*LACKING, errno.EACCES], ids=errno.errorcode.get)
async def test_attributes_that_cannot_be_read_are_none(
    poor: Callable[..., None], tmp_path: Path, number: int
) -> None:
    storage = DiskStorage(tmp_path)
    await storage.put("key", b"data", content_type="text/plain")
    poor(getxattr=number)
    assert (await storage.stat("key")).content_type is None


@pytest.mark.parametrize("number", LACKING, ids=errno.errorcode.get)
async def test_attributes_that_cannot_be_written_are_refused_or_lost(
    poor: Callable[..., None], tmp_path: Path, number: int
) -> None:
    poor(setxattr=number)
    storage = DiskStorage(tmp_path)
    await storage.put("key", b"data", content_type="text/plain")
    with pytest.raises(StorageError, match="keeps no attributes"):
        await storage.put("other", b"data", metadata={"who": "me"})
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize(
    ("call", "number", "status"),
    [
        ("link", errno.EIO, 500),
        ("link", errno.ENOSPC, 507),
        ("link", errno.EDQUOT, 507),
        ("fchmod", errno.EIO, 500),
        ("fsync_directory", errno.EIO, 500),
        ("open", errno.EROFS, 500),
        ("writev", errno.EDQUOT, 507),
    ],
)
async def test_a_real_failure_is_one(
    poor: Callable[..., None], tmp_path: Path, call: str, number: int, status: int
) -> None:
    poor(**{call: number})
    with pytest.raises(StorageError) as failed:
        await write_new(tmp_path / "file", b"data", fsync=True)
    assert (failed.value.status, failed.value.errno) == (status, number)


async def test_an_upload_under_a_chosen_key_is_stored(
    poor: Callable[..., None], tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    poor(link=errno.EPERM, fchmod=errno.EPERM)

    async def upload(request: web.Request) -> Any:
        async with receive(request, key=lambda _file: "chosen") as received:
            return JSON({"key": received.files["file"].key})

    app = setup(web.Application(), storage=DiskStorage(tmp_path / "objects"))
    app.router.add_put("/", upload)
    client = await aiohttp_client(app)
    answers = await asyncio.gather(
        *(client.put("/", data=os.urandom(100_000)) for _ in range(5))
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    assert os.listdir(tmp_path / "objects") == ["chosen"]
