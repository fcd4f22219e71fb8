"""Processes that are killed at each step that they take in a staging.

In a storage a step is one of its calls: the process dies before it, or right after it
when it has not heard of it; from then on nothing that it does reaches the storage, as
``SIGKILL`` has it. On a disk a step is a call to the file system: real processes are
forked and killed there.

After each kill another process looks: the offset is no less than one that was told, the
bytes are the source's, the upload goes on, its handler runs, and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    MemoryStorage,
    ObjectNotFound,
    Storage,
    StoredObject,
    Stream,
    copy,
)
from aiostreams.resumable.engine import Uploads
from aiostreams.resumable.log import LogStaging
from aiostreams.resumable.state import (
    Answer,
    UploadBusy,
    UploadGone,
    UploadNotFound,
)

from .stagings import Dropped, add, anyone, bytes_of, info_of

DATA = bytes(range(256)) * 12
FINAL = "final"


class Killed(BaseException):
    """The process is dead."""


class Mortal(Storage):
    """What one process sees of a storage: it dies at its ``fatal``-th call."""

    def __init__(self, storage: Storage, fatal: int, *, after: bool) -> None:
        self.storage = storage
        self.fatal = fatal
        self.after = after
        self.calls = 0

    @contextlib.asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        self.calls += 1
        if self.calls > self.fatal or (self.calls == self.fatal and not self.after):
            raise Killed
        yield
        if self.calls >= self.fatal:
            raise Killed

    async def create(self, key: str, **kwargs: Any) -> Stream:
        async with self.step():
            return MortalWriter(self, await self.storage.create(key, **kwargs))

    async def put(self, key: str, data: Any, **kwargs: Any) -> None:
        async with self.step():
            await self.storage.put(key, data, **kwargs)

    async def open(self, key: str) -> Stream:
        async with self.step():
            return await self.storage.open(key)

    async def stat(self, key: str) -> Any:
        async with self.step():
            return await self.storage.stat(key)

    async def delete(self, key: str) -> None:
        async with self.step():
            await self.storage.delete(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        async with self.step():
            found = [item async for item in self.storage.list(prefix)]
        for item in found:
            yield item


class MortalWriter(Stream):
    def __init__(self, storage: Mortal, sink: Stream) -> None:
        super().__init__()
        self._storage = storage
        self._sink = sink

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        async with self._storage.step():
            await self._sink.write(data)

    async def close(self) -> None:
        async with self._storage.step():
            await self._sink.close()

    async def abort(self) -> None:
        async with self._storage.step():
            await self._sink.abort()


class Decreased(Exception):
    """An offset was told that is less than an earlier one."""


class Witness:
    """What clients were told, and how often the handler ran."""

    def __init__(self) -> None:
        self.upload_id: str | None = None
        self.offset = 0
        self.ran: list[str] = []
        self.answered = False
        # Whether it is being deleted, or has been.
        self.ending = False

    def told(self, offset: int) -> None:
        if offset < self.offset:
            raise Decreased(f"{offset} after {self.offset}")
        self.offset = offset


async def live(
    uploads: Uploads, witness: Witness, storage: Storage | None = None
) -> None:
    """All that is done with one upload, by a client that is told of each step.

    Its handler stores it in ``storage``.
    """
    upload = await uploads.create(info_of(length=len(DATA)))
    witness.upload_id = upload.info.id
    added = await add(uploads, upload, DATA[:1000], at=0)
    witness.told(added.upload.state.offset)
    added = await add(uploads, upload, Dropped(DATA[1000:1500]), at=1000)
    witness.told((await uploads.fence(upload.info.id, anyone)).state.offset)
    assert witness.offset == 1500
    added = await add(uploads, upload, DATA[1500:2500], at=1500, held=True)
    witness.told(added.upload.state.offset)
    await go_on(uploads, witness, storage)


async def go_on(
    uploads: Uploads, witness: Witness, storage: Storage | None = None
) -> None:
    """What a client does after a failure."""
    assert witness.upload_id is not None

    async def run(staged: Any) -> Answer:
        witness.ran = [*witness.ran, staged.info.id]
        assert await bytes_of(uploads, staged) == DATA
        if storage is not None:
            await store(uploads, staged, storage)
        return Answer(201, (), b"done")

    upload = await uploads.fence(witness.upload_id, anyone)
    witness.told(upload.state.offset)
    token = None
    if not upload.state.complete:
        at = upload.state.offset
        added = await add(uploads, upload, DATA[at:], at=at, process=True)
        assert added.error is None
        upload, token = added.upload, added.token
    witness.told(upload.state.offset)
    answer = await uploads.process(upload, run, token=token)
    assert answer == Answer(201, (), b"done")
    witness.answered = True


async def store(uploads: Uploads, staged: Any, storage: Storage) -> None:
    """What ``receive`` does with one that may have been stored by a killed process."""
    async with await uploads.open(staged) as stream:
        if not stream.fits(storage):
            sink = await storage.create(FINAL, overwrite=True)
            async with sink:
                await copy(stream, sink)
            return
        adopted = await stream.stage(
            storage,
            FINAL,
            content_type="application/octet-stream",
            metadata={},
            overwrite=True,
        )
        assert adopted is not None
        await adopted.publish()


async def end(uploads: Uploads, witness: Witness) -> None:
    """Delete a finished upload, and sweep one that has expired."""
    assert witness.upload_id is not None
    await uploads.clear(witness.upload_id)
    witness.ending = True
    await uploads.cancel(witness.upload_id, anyone)
    expired = await uploads.create(info_of(length=10, now=1e9))
    await (await uploads.staging.append(expired)).discard()
    await uploads.sweep(-1)


async def check(
    uploads: Uploads, witness: Witness, storage: Storage | None = None
) -> None:
    """What another process finds; it finishes the upload, and everything ends."""
    if storage is not None:
        # Whenever one looks, the file is there as it shall be, or not at all.
        with contextlib.suppress(ObjectNotFound):
            async with await storage.open(FINAL) as stream:
                assert await stream.read() == DATA
                assert witness.ran
    if witness.ending:
        with contextlib.suppress(UploadNotFound, UploadGone):
            upload = await uploads.fence(witness.upload_id or "", anyone)
            witness.told(upload.state.offset)
            await uploads.cancel(upload.info.id, anyone)
    elif witness.upload_id is not None:
        while True:
            try:
                await go_on(uploads, witness, storage)
            except UploadBusy as busy:
                await asyncio.sleep(busy.retry_after or 0)
            else:
                break
        assert 1 <= len(witness.ran) <= 2
        assert set(witness.ran) == {witness.upload_id}
        await uploads.cancel(witness.upload_id, anyone)
    await uploads.sweep(-1)


async def steps_of_a_life() -> int:
    storage = Mortal(MemoryStorage(), 10**9, after=False)
    witness = Witness()
    uploads = Uploads(LogStaging(storage, "staging/"))
    await live(uploads, witness, storage)
    assert witness.answered
    await end(uploads, witness)
    assert len(witness.ran) == 1
    return storage.calls


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_each_call_of_a_storage(after: bool) -> None:
    count = await steps_of_a_life()
    assert count > 30
    ran_twice = 0
    for fatal in range(1, count + 1):
        memory = MemoryStorage()
        witness = Witness()
        mortal = Mortal(memory, fatal, after=after)
        killed = Uploads(LogStaging(mortal, "staging/"), claim=0.02)
        with contextlib.suppress(Killed):
            await live(killed, witness, mortal)
            await end(killed, witness)
        await check(
            Uploads(LogStaging(memory, "staging/"), claim=0.02), witness, memory
        )
        ran_twice += len(witness.ran) == 2
        left = [found.key async for found in memory.list()]
        if witness.upload_id is not None:
            assert left == [FINAL]
        else:
            # Nobody knows of it; it goes when it has expired.
            assert len(left) <= 1
    # Only those that were killed while it ran: it read what was staged, and stored it.
    assert 0 < ran_twice < 20


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_each_step_of_a_removal(after: bool) -> None:
    for fatal in range(1, 200):
        memory = MemoryStorage()
        healthy = Uploads(LogStaging(memory))
        upload = await healthy.create(info_of(length=len(DATA)))
        for at in range(0, 1000, 100):
            await add(healthy, upload, DATA[at : at + 100], at=at)
        mortal = Mortal(memory, fatal, after=after)
        dead = True
        try:
            await Uploads(LogStaging(mortal)).cancel(upload.info.id, anyone)
            dead = False
        except Killed:
            pass
        try:
            offset = (await healthy.fence(upload.info.id, anyone)).state.offset
        except (UploadNotFound, UploadGone):
            offset = None
        assert offset is None or (dead and offset == 1000)
        if offset is not None:
            await healthy.cancel(upload.info.id, anyone)
        await healthy.sweep(-1)
        assert [found.key async for found in memory.list()] == []
        if not dead:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_each_step_of_a_start(after: bool) -> None:
    for fatal in range(1, 10):
        memory = MemoryStorage()
        dead = True
        try:
            await LogStaging(Mortal(memory, fatal, after=after)).check()
            dead = False
        except Killed:
            pass
        await LogStaging(memory).tidy(60)
        left = [found.key async for found in memory.list()]
        assert dead or not left
        await Uploads(LogStaging(memory)).sweep(-1)
        assert [found.key async for found in memory.list()] == []
        if not dead:
            return
    raise AssertionError("it never ended")


async def test_killed_at_each_step_of_a_sweep() -> None:
    for fatal in range(1, 200):
        memory = MemoryStorage()
        healthy = Uploads(LogStaging(memory))
        old = await healthy.create(info_of(length=10, now=1e9))
        new = await healthy.create(info_of(length=10))
        await healthy.staging.append(old)
        await add(healthy, new, b"12", at=0)
        mortal = Mortal(memory, fatal, after=True)
        dead = True
        try:
            await Uploads(LogStaging(mortal)).sweep(0)
            dead = False
        except Killed:
            pass
        await healthy.sweep(0)
        keys = [found.key async for found in memory.list()]
        assert all(new.info.id in key for key in keys)
        assert (await healthy.fence(new.info.id, anyone)).state.offset == 2
        if not dead:
            return
    raise AssertionError("it never ended")


# -- on a disk ------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.timeout(120)
def test_killed_at_each_call_of_a_file_system(tmp_path: Path, fsync: bool) -> None:
    """A process without threads forks one after the other, each dies a step later."""
    memory = Path("/dev/shm")  # where fsync takes no time
    with tempfile.TemporaryDirectory(dir=memory if memory.exists() else tmp_path) as at:
        report = die_in(at, fsync)
    assert report["killed"] > (180 if fsync else 130), report


def die_in(folder: str, fsync: bool) -> Any:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.resumable.die", folder, str(int(fsync))],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
