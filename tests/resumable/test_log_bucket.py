"""Uploads that grow in a real bucket, each of whose requests goes wrong in turn."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Any

import pytest

from aiostreams import (
    IterStream,
    MiB,
    ObjectNotFound,
    ObjectStorage,
    StorageError,
    StreamError,
    copy,
)
from aiostreams.resumable import engine
from aiostreams.resumable.engine import Uploads
from aiostreams.resumable.log import LogStaging
from aiostreams.resumable.state import Answer, UploadBusy
from tests.storage.buckets import Bucket, store_of
from tests.storage.faults import Fault, FaultProxy

from .stagings import add, anyone, bytes_of, info_of, offset_of
from .test_engine_kills import FINAL, Witness, check, live, store

# So that a request that is never answered costs little.
RETRY: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {
        "init_backoff": timedelta(milliseconds=5),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    },
}


def uploads_in(port: int) -> Uploads:
    store = store_of(port, retry_config=RETRY, client_options={"timeout": "2s"})
    storage = ObjectStorage(store, "some")
    return Uploads(LogStaging(storage.hidden), claim=0.05)


async def life(port: int, witness: Witness) -> None:
    """An upload, whose client goes on whatever goes wrong."""
    uploads = uploads_in(port)
    try:
        await live(uploads, witness)
    except (StreamError, AssertionError):
        # What was told is held against what is there.
        await check(uploads, witness)
        return
    assert witness.upload_id is not None
    try:
        await uploads.cancel(witness.upload_id, anyone)
    except StorageError:
        await uploads.cancel(witness.upload_id, anyone)


def at(number: int, fault: Fault, k: int, _line: str) -> Fault | None:
    return fault if k == number else None


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL):
        yield


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["lost", "refuse"])
async def test_each_request_goes_wrong(
    bucket: Bucket, proxy: FaultProxy, fault: Fault, quiet: None
) -> None:
    """``lost`` is the worst: it was done, and is tried again."""
    del quiet
    witness = Witness()
    await life(proxy.port, witness)
    count = len(proxy.lines)
    assert count > 30
    ran_twice = 0
    for number in range(1, count + 1):
        proxy.lines.clear()
        proxy.fault = functools.partial(at, number, fault)
        witness = Witness()
        await life(proxy.port, witness)
        proxy.fault = lambda _, __: None
        ran_twice += len(witness.ran) == 2
        await uploads_in(bucket.port).sweep(-1)
        left = bucket.names()
        # One whose creation was not answered goes when it has expired.
        assert len(left) <= (witness.upload_id is None), (number, left)
        bucket.clear()
    # The handler reads what is staged, and fails where that is refused.
    assert ran_twice <= (0 if fault == "lost" else 6)


def dead_after(number: int, k: int, _line: str) -> Fault | None:
    """Its ``number``-th request is done, and the process is not there any more."""
    return None if k < number else "lost" if k == number else "drop"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("sizes", [(1000,), (5 * MiB, 1)])
async def test_killed_at_each_request_of_the_end(
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    sizes: Sequence[int],
    quiet: None,
) -> None:
    """One segment is copied by the store, more than a part are a multipart upload."""
    del quiet
    monkeypatch.setattr(engine, "_PAUSE", 0.01)
    data = random.Random(0).randbytes(sum(sizes))
    healthy = ObjectStorage(store_of(bucket.port))
    storage = ObjectStorage(
        store_of(proxy.port, retry_config=RETRY, client_options={"timeout": "2s"}),
        part_size=5 * MiB,
    )
    dead = True
    number = 0
    while dead:
        number += 1
        uploads = Uploads(LogStaging(healthy.hidden))
        upload = await uploads.create(info_of(length=len(data)))
        for at, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
            await add(uploads, upload, data[at : at + size], at=at)
        killed = Uploads(LogStaging(storage.hidden), claim=0.05)
        proxy.lines.clear()
        proxy.fault = functools.partial(dead_after, number)
        dead = not await has_run(killed, upload.info.id, storage)
        proxy.fault = lambda _, __: None
        try:
            async with await healthy.open(FINAL) as stream:
                assert await stream.read() == data
        except ObjectNotFound:
            assert dead
        while not await has_run(uploads, upload.info.id, healthy):
            pass
        async with await healthy.open(FINAL) as stream:
            assert await stream.read() == data
        await uploads.cancel(upload.info.id, anyone)
        await uploads.sweep(-1)
        await healthy.sweep(-60)
        assert bucket.names() == [FINAL]
        assert bucket.uploads() == []
        bucket.clear()
    assert number > 5


async def has_run(uploads: Uploads, upload_id: str, storage: ObjectStorage) -> bool:
    """Have the handler run, unless its process dies, or another had begun."""

    async def run(staged: Any) -> Answer:
        await store(uploads, staged, storage)
        return Answer(201, (), b"")

    try:
        await uploads.process(await uploads.find(upload_id, anyone), run)
        # An answer that could not be kept was not given by one who is dead.
        return (await uploads.find(upload_id, anyone)).state.answer is not None
    except UploadBusy as busy:
        await asyncio.sleep(busy.retry_after or 0)
        return False
    except StorageError:
        return False


async def test_offset_is_told_while_the_store_fails_for_a_second(
    bucket: Bucket, proxy: FaultProxy
) -> None:
    uploads = uploads_in(proxy.port)
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"12345", at=0)
    proxy.lines.clear()
    proxy.fault = lambda k, _: "error" if k < 6 else None
    assert (await uploads.fence(upload.info.id, anyone)).state.offset == 5
    proxy.fault = lambda _, __: "error"
    with pytest.raises(UploadBusy):
        await uploads.fence(upload.info.id, anyone)
    assert (
        await uploads_in(bucket.port).find(upload.info.id, anyone)
    ).state.offset == 5


async def test_one_segment_is_copied_by_the_store(
    bucket: Bucket, proxy: FaultProxy
) -> None:
    """No byte of it passes this process."""
    store = store_of(proxy.port)
    storage = ObjectStorage(store)
    uploads = Uploads(LogStaging(storage.hidden))
    data = bytes(range(256)) * (9 * MiB // 256)  # more than a part
    upload = await uploads.create(info_of(length=len(data)))
    added = await add(uploads, upload, data, at=0)
    assert added.upload.state.complete
    proxy.lines.clear()
    async with await uploads.open(added.upload) as stream:
        assert stream.fits(storage)
        staged = await stream.stage(
            storage,
            "final",
            content_type="application/octet-stream",
            metadata={},
            overwrite=False,
        )
        assert staged is not None
        await staged.publish()
    assert not [
        line for line in proxy.lines if line.startswith("GET") and "data" in line
    ]
    async with await storage.open("final") as stored:
        assert await stored.read() == data


async def test_several_segments_are_read_back_in_order(bucket: Bucket) -> None:
    storage = ObjectStorage(store_of(bucket.port))
    uploads = Uploads(LogStaging(storage.hidden))
    data = bytes(range(256)) * 400
    upload = await uploads.create(info_of(length=len(data)))
    for at in range(0, len(data), 10_000):
        added = await add(uploads, upload, data[at : at + 10_000], at=at)
    assert await bytes_of(uploads, added.upload) == data
    async with await uploads.open(added.upload) as stream:
        sink = await storage.create("final")
        async with sink:
            await copy(stream, sink)
    async with await storage.open("final") as stored:
        assert await stored.read() == data


async def test_an_object_whose_parts_the_store_has_thrown_away(bucket: Bucket) -> None:
    """A lifecycle rule does that. Then nothing of it counts, and all can be resent."""
    storage = ObjectStorage(store_of(bucket.port), part_size=5 * MiB)
    uploads = Uploads(LogStaging(storage.hidden))
    data = random.Random(0).randbytes(12 * MiB)
    upload = await uploads.create(info_of(length=len(data) + 3))
    await add(uploads, upload, b"abc", at=0)
    pieces = [data[at : at + MiB] for at in range(0, len(data), MiB)]

    async def thrown_away() -> AsyncIterator[bytes]:
        for piece in pieces[:-1]:
            yield piece
        assert await asyncio.to_thread(bucket.uploads)
        await asyncio.to_thread(bucket.clear_uploads)
        yield pieces[-1]

    with pytest.raises(StorageError):
        await add(uploads, upload, IterStream(thrown_away()), at=3)
    other = Uploads(LogStaging(storage.hidden))
    assert await offset_of(other, upload) == 3
    added = await add(other, upload, pieces, at=3)
    assert added.upload.state.complete
    assert await bytes_of(other, added.upload) == b"abc" + data
