"""receive(): files take their places together, when the block ends well."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    DiskStorage,
    InvalidKey,
    MemoryStorage,
    ObjectExists,
    ObjectNotFound,
    Storage,
    StorageError,
    StoredObject,
    Stream,
    by_digest,
    receive,
)
from aiostreams.storage import disk
from aiostreams.storage.disk_draft import ObjectDraft
from aiostreams.streams.threads import ThreadCall
from aiostreams.uploads.receiver import Receiver
from tests.files.disks import descriptors
from tests.servers import post
from tests.web.test_receive import (
    FORM,
    PNG,
    Part,
    chunked,
    folder,
    keys,
    posted,
    run,
)

# One that is held in memory, and two that are not.
LARGE: list[Part] = [
    ("a", "a.png", None, PNG * 40),
    ("b", "b.txt", None, b"small"),
    ("c", "c.png", None, PNG * 50),
]
NAMES = ["a.png", "b.txt", "c.png"]


class Plain(Storage):
    """Another's storage, which knows no short ways."""

    def __init__(self) -> None:
        self.below = MemoryStorage()

    async def create(self, key: str, **attributes: Any) -> Stream:
        return await self.below.create(key, **attributes)

    async def open(self, key: str) -> Stream:
        return await self.below.open(key)

    async def stat(self, key: str) -> StoredObject:
        return await self.below.stat(key)

    async def delete(self, key: str) -> None:
        await self.below.delete(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        async for found in self.below.list(prefix):
            yield found


@pytest.fixture(params=["memory", "disk", "synced", "plain"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "plain":
        return Plain()
    return DiskStorage(tmp_path, fsync=request.param == "synced")


def by_name(file: Any) -> str:
    return f"deep/{file.safe_filename}"


named = functools.partial(receive, key=by_name)


async def nothing(storage: Storage, tmp_path: Path) -> None:
    assert await keys(storage) == []
    assert folder(tmp_path) == []


@pytest.mark.parametrize("sent", [posted(LARGE), *chunked(LARGE, 4000)])
@pytest.mark.parametrize("call", [receive, named])
async def test_files_are_staged_in_the_block_and_in_their_places_after_it(
    storage: Storage, call: Any, sent: bytes
) -> None:
    async def script(request: web.Request) -> Any:
        async with call(request, storage) as upload:
            files = list(upload.files.values())
            for file, part in zip(files, LARGE, strict=True):
                with pytest.raises(ObjectNotFound):
                    await storage.open(file.key)
                async with await file.open() as stream:
                    assert stream.content_type == file.content_type
                    assert await stream.read() == part[3]
        return files

    files = await run(script, sent)
    assert sorted(await keys(storage)) == sorted(file.key for file in files)
    for file, part in zip(files, LARGE, strict=True):
        async with await file.open() as stream:
            assert await stream.read() == part[3]
        stored = await storage.stat(file.key)
        assert (stored.size, stored.content_type) == (file.size, file.content_type)


@pytest.mark.parametrize("taken", NAMES)
async def test_a_key_that_is_taken_meanwhile_undoes_the_others(
    storage: Storage, tmp_path: Path, taken: str
) -> None:
    async def script(request: web.Request) -> Any:
        async with named(request, storage):
            await storage.put(f"deep/{taken}", b"another's")

    with pytest.raises(ObjectExists):
        await run(script, posted(LARGE))
    assert await keys(storage) == [f"deep/{taken}"]
    async with await storage.open(f"deep/{taken}") as stream:
        assert await stream.read() == b"another's"
    await storage.delete(f"deep/{taken}")
    await nothing(storage, tmp_path)


async def test_a_block_that_fails_leaves_nothing(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        async with named(request, storage) as upload:
            file = upload.files["a"]
            try:
                raise ZeroDivisionError
            finally:
                files.append(file)

    files: list[Any] = []
    before = descriptors()
    with pytest.raises(ZeroDivisionError):
        await run(script, posted(LARGE))
    await nothing(storage, tmp_path)
    with pytest.raises(ObjectNotFound):
        await files[0].open()
    assert descriptors() <= before


@pytest.mark.parametrize("fail_at", [1, 2, 3])
async def test_a_storage_that_fails_at_the_end_leaves_nothing(fail_at: int) -> None:
    class Failing(Plain):
        published = 0

        def step(self) -> None:
            self.published += 1
            if self.published == fail_at:
                raise StorageError("no", OSError(errno.ENOSPC, "full"))

        async def move(self, *args: Any, **kwargs: Any) -> None:
            self.step()
            await super().move(*args, **kwargs)

        async def put(self, *args: Any, **kwargs: Any) -> None:
            self.step()
            await super().put(*args, **kwargs)

    storage = Failing()

    async def script(request: web.Request) -> Any:
        async with receive(request, storage):
            pass

    with pytest.raises(StorageError) as failed:
        await run(script, posted(LARGE))
    assert failed.value.status == 507
    assert await keys(storage) == []


@pytest.mark.parametrize("call", [receive, named])
async def test_a_cancel_at_every_step_of_the_end_leaves_nothing_or_all(
    tmp_path: Path, call: Any
) -> None:
    storage = DiskStorage(tmp_path)
    outcomes = set()
    for steps in range(60):
        inside = asyncio.Event()

        async def work(request: web.Request, inside: Any = inside) -> None:
            async with call(request, storage):
                inside.set()

        async def script(
            request: web.Request, steps: int = steps, inside: Any = inside
        ) -> Any:
            task = asyncio.create_task(work(request))
            await inside.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        cancelled = await run(script, posted(LARGE))
        outcomes.add(cancelled)
        assert len(await keys(storage)) == (0 if cancelled else 3)
        for key in await keys(storage):
            await storage.delete(key)
        assert folder(tmp_path) == []
    assert True in outcomes


async def test_files_that_are_not_staged_are_in_their_places_at_once(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        async with named(request, storage, staged=False) as upload:
            assert len(await keys(storage)) == len(upload.files) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(script, posted(LARGE))
    await nothing(storage, tmp_path)


async def test_two_files_of_one_key_are_refused_before_the_block(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, key=lambda _: "one"):
            raise AssertionError("entered")

    with pytest.raises(ObjectExists):
        await run(script, posted(LARGE))
    await nothing(storage, tmp_path)


KILLED = """
import asyncio, os, signal, sys
from aiostreams import DiskStorage

async def main():
    storage = DiskStorage(sys.argv[1])
    for key in ("a", "deep/b"):
        staged = await storage.stage(key)
        async with await staged.create() as sink:
            await sink.write(bytes(100_000))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_process_leaves_staging_that_is_swept(tmp_path: Path) -> None:
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == -signal.SIGKILL
    storage = DiskStorage(tmp_path)
    assert await keys(storage) == []
    assert len(folder(tmp_path)) == 3
    assert await storage.sweep(older_than=-1) == 2
    assert folder(tmp_path) == []


async def test_staging_of_any_storage_is_swept() -> None:
    storage = Plain()
    await storage.put("kept", b"x")
    staged = await storage.stage("b")
    async with await staged.create() as sink:
        await sink.write(b"bytes")
    assert await storage.sweep() == 0
    assert await storage.sweep(older_than=-1) == 1
    assert await keys(storage) == ["kept"]


@pytest.mark.parametrize("base", [MemoryStorage, DiskStorage])
async def test_what_a_subclass_does_with_the_bytes_is_not_passed_by(
    base: Any, tmp_path: Path
) -> None:
    written = []

    class Own(base):  # type: ignore[misc]
        async def create(self, key: str, **kwargs: Any) -> Any:
            written.append(key)
            return await super().create(key, **kwargs)

    storage = Own() if base is MemoryStorage else Own(tmp_path)
    staged = await storage.stage("a")
    async with await staged.create() as sink:
        await sink.write(b"bytes")
    await staged.publish()
    assert len(written) >= 1
    async with await storage.open("a") as stream:
        assert await stream.read() == b"bytes"


# -- keys that are digests -----------------------------------------------------------


async def test_each_content_is_stored_once_and_what_is_shared_is_not_undone(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        key = by_digest("sha256", "blobs/")
        async with receive(request, storage, key=key, hash=()) as upload:
            files = list(upload.files.values())
            found = [key for key in await keys(storage) if key.startswith("blobs/")]
            assert len([key for key in found if len(key) == 70]) == kept
            for file in files:
                async with await file.open() as stream:
                    assert len(await stream.read()) == file.size
        for file in files:
            async with await file.open() as stream:
                assert len(await stream.read()) == file.size
        return [file.key for file in files]

    kept = 0
    twice = [*LARGE, ("d", "other.name", None, LARGE[0][3])]
    found = await run(script, posted(twice))
    names = ["blobs/" + hashlib.sha256(part[3]).hexdigest() for part in LARGE]
    assert found == [*names, names[0]]
    assert sorted(await keys(storage)) == sorted(names)
    kept = 3
    assert await run(script, posted(twice)) == found

    async def failing(request: web.Request) -> Any:
        async with receive(request, storage, key=by_digest(prefix="blobs/")):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(failing, posted(twice))
    assert sorted(await keys(storage)) == sorted(names)
    for name in names:
        await storage.delete(name)
    await nothing(storage, tmp_path)


def test_digests_that_can_be_forged_make_no_keys() -> None:
    for algorithm in ("md5", "sha1", "crc32", "none"):
        with pytest.raises(ValueError, match=algorithm):
            by_digest(algorithm)
    with pytest.raises(InvalidKey):
        by_digest(prefix="../")


async def test_keys_that_are_digests_come_last() -> None:
    async def script(request: web.Request) -> Any:
        with pytest.raises(ValueError, match="staged"):
            receive(request, MemoryStorage(), key=by_digest(), staged=False)

    await run(script, posted(FORM))


# -- metadata ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 300_000])
async def test_metadata_are_stored_with_each_file(storage: Storage, size: int) -> None:
    parts: list[Part] = [("a", "\u6771\u4eac \u00e9.bin", None, bytes(size))]

    async def words(file: Any) -> dict[str, str]:
        return {"filename": file.safe_filename, "field": file.name}

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, metadata=words) as upload:
            return upload.files["a"].key

    stored = await storage.stat(await run(script, posted(parts)))
    expected = {"filename": "\u6771\u4eac \u00e9.bin", "field": "a"}
    assert stored.metadata == expected


@pytest.mark.parametrize("size", [10, 300_000])
async def test_metadata_that_cannot_be_kept_are_refused_before_the_block(
    storage: Storage, tmp_path: Path, size: int
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, metadata={"a": "two\nlines"}):
            raise AssertionError("entered")

    with pytest.raises(ValueError, match="control"):
        await run(script, post(bytes(size), method="PUT"))
    await nothing(storage, tmp_path)


MANY: list[Part] = [("a", f"{n}.txt", None, b"%d" % n * 100) for n in range(40)]


@pytest.mark.parametrize(("sent", "expected"), [(MANY[:1], 1), (MANY, 2)])
async def test_many_small_files_take_few_trips_to_a_thread(
    sent: list[Part], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for 32 files."""
    trips = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal trips
        trips += 1
        return ThreadCall(*args, **kwargs)

    storage = DiskStorage(tmp_path, sweep_after=None)

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, hash=("sha256",)) as upload:
            monkeypatch.setattr(disk, "ThreadCall", counted)
        monkeypatch.undo()
        for file, part in zip(upload.files.values(), sent, strict=True):
            assert file.digests["sha256"] == hashlib.sha256(part[3]).hexdigest()
            stored = await storage.open(file.key)
            assert stored.content_type == file.content_type
            assert stored.known_digests == file.digests
            assert await stored.read() == part[3]
            await stored.close()
        return len(upload.files)

    assert await run(script, posted(sent)) == len(sent)
    assert trips == expected


@pytest.mark.parametrize("sent", [MANY[:1], MANY], ids=["one", "many"])
@pytest.mark.parametrize("how", [507, "cancelled"])
async def test_of_many_small_files_none_stays_when_one_is_not_stored(
    how: object, sent: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = DiskStorage(tmp_path, sweep_after=None)
    stored = 0
    real = ObjectDraft.store
    reached, go_on = threading.Event(), threading.Event()

    def store(draft: ObjectDraft, data: Any) -> None:
        nonlocal stored
        if stored == min(5, len(sent) - 1):
            reached.set()
            assert go_on.wait(10)
            if how == 507:
                raise StorageError("the disk is full", OSError(errno.ENOSPC, ""))
        real(draft, data)
        stored += 1

    monkeypatch.setattr(ObjectDraft, "store", store)

    async def script(request: web.Request) -> Any:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()

        async def meddle() -> None:
            await loop.run_in_executor(None, reached.wait, 10)
            if how == "cancelled":
                task.cancel()
                await asyncio.sleep(0)
            go_on.set()

        meddling = asyncio.create_task(meddle())
        try:
            async with receive(request, storage):
                pass
        except asyncio.CancelledError:
            task.uncancel()
            return "cancelled"
        except StorageError as error:
            return error.status
        finally:
            await meddling
        return "stored"

    assert await run(script, posted(sent)) == how
    await nothing(storage, tmp_path)


async def test_a_small_file_leaves_nothing_to_the_garbage_collector(
    tmp_path: Path,
) -> None:
    """All that one request makes is gone with it: a cycle would wait, and cost."""
    storage = DiskStorage(tmp_path, sweep_after=None)

    def receivers() -> int:
        return sum(isinstance(one, Receiver) for one in gc.get_objects())

    async def script(request: web.Request) -> Any:
        gc.collect()
        gc.disable()
        try:
            before = receivers()
            async with receive(request, storage):
                assert receivers() == before + 1
            return receivers() - before
        finally:
            gc.enable()

    assert await run(script, posted(FORM)) == 0


async def test_a_subclass_that_stores_in_its_own_way_gets_each_of_many_files(
    tmp_path: Path,
) -> None:
    class Upper(DiskStorage):
        async def put(self, key: str, data: Any, **attributes: Any) -> None:
            await super().put(key, bytes(data).upper(), **attributes)

    storage = Upper(tmp_path)
    sent: list[Part] = [("a", f"{n}.txt", None, b"abc") for n in range(3)]

    async def script(request: web.Request) -> Any:
        async with receive(request, storage) as upload:
            pass
        found = []
        for file in upload.files.values():
            stream = await storage.open(file.key)
            found.append((await stream.read()).decode())
            await stream.close()
        return found

    assert await run(script, posted(sent)) == ["ABC"] * 3
