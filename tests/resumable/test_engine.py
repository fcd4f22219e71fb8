"""Uploads that grow, in every kind of staging."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiostreams import (
    ClientGone,
    KiB,
    LimitExceeded,
    MemoryStorage,
    MiB,
    StorageError,
    Stream,
)
from aiostreams.resumable import engine, log
from aiostreams.resumable.engine import TooLong, Uploads
from aiostreams.resumable.log import LogStaging
from aiostreams.resumable.staging import StagedUpload, Staging
from aiostreams.resumable.state import (
    Answer,
    Fenced,
    LengthDiffers,
    OffsetDiffers,
    UploadBusy,
    UploadGone,
    UploadInfo,
    UploadNotFound,
    UploadState,
    folder_of,
)
from aiostreams.testing import check_stream

from .stagings import (
    Dropped,
    Stalled,
    add,
    anyone,
    bytes_of,
    info_of,
    offset_of,
    stream_of,
)

Make = Callable[[], Staging]
DATA = random.Random(7).randbytes(3 * MiB + 17)


async def left(staging: Staging) -> list[str]:
    return [upload_id async for upload_id in staging.ids()]


@pytest.mark.parametrize("size", [0, 1, 70 * KiB, len(DATA)])
async def test_an_upload_in_one_request(make_staging: Make, size: int) -> None:
    uploads = Uploads(make_staging())
    data = DATA[:size]
    upload = await uploads.create(info_of(length=size))
    added = await add(uploads, upload, data, at=0)
    assert (added.error, added.received) == (None, size)
    assert added.upload.state.complete
    assert added.upload.state.digests == {"sha256": hashlib.sha256(data).hexdigest()}
    assert await bytes_of(uploads, added.upload) == data
    found = await Uploads(make_staging()).find(upload.info.id, anyone)
    assert found.state == added.upload.state
    assert found.info == upload.info
    assert await bytes_of(uploads, found) == data


async def test_an_upload_in_many_requests_of_several_workers(
    make_staging: Make,
) -> None:
    workers = [Uploads(make_staging()) for _ in range(3)]
    rng = random.Random(1)
    upload = await workers[0].create(info_of(length=len(DATA)))
    at = 0
    told = [0]
    while at < len(DATA):
        worker = rng.choice(workers)
        piece = DATA[at : at + rng.randrange(1, 256 * KiB)]
        added = await add(worker, upload, piece, at=at)
        at += len(piece)
        assert added.upload.state.offset == at
        if rng.random() < 0.3:
            told.append(await offset_of(rng.choice(workers), upload))
            assert told[-1] == at
    assert told == sorted(told)
    done = await workers[1].find(upload.info.id, anyone)
    assert done.state.complete
    assert await bytes_of(workers[2], done) == DATA


async def test_bytes_of_a_finished_upload_keep_the_laws(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    sample = bytes(range(256)) * 40
    upload = await uploads.create(info_of(length=len(sample)))
    for start in range(0, len(sample), 3000):
        await add(uploads, upload, sample[start : start + 3000], at=start)
    done = await uploads.find(upload.info.id, anyone)

    async def make() -> Stream:
        return await uploads.open(done)

    await check_stream(make)
    async with await make() as stream:
        part = await stream.slice(2990, 20)
        async with part, await part.slice(5, 10) as inner:
            assert await part.read() == sample[2990:3010]
            assert await inner.read() == sample[2995:3005]


async def test_more_requests_than_a_record_names(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of())
    count = 150
    for number in range(count):
        await add(uploads, upload, b"%03d" % number, at=3 * number)
    added = await add(uploads, upload, b"", at=3 * count, complete=True)
    want = b"".join(b"%03d" % number for number in range(count))
    assert await bytes_of(Uploads(make_staging()), added.upload) == want


@pytest.mark.slow
async def test_more_requests_than_a_store_has_parts() -> None:
    """That is 10,000; here each request costs what the first one does, and counts."""
    uploads = Uploads(LogStaging(MemoryStorage()))
    data = bytes(n % 251 for n in range(10_001))
    upload = await uploads.create(info_of(length=len(data)))
    for at in range(len(data)):
        added = await add(uploads, upload, data[at : at + 1], at=at)
    assert added.upload.state.complete
    assert await bytes_of(uploads, added.upload) == data


async def test_another_offset_is_refused_and_changes_nothing(
    make_staging: Make,
) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=100))
    await add(uploads, upload, DATA[:10], at=0)
    for at in (0, 9, 11, 100):
        stream = stream_of(DATA[:5])
        with pytest.raises(OffsetDiffers) as caught:
            await add(uploads, upload, stream, at=at)
        assert (caught.value.expected, caught.value.provided) == (10, at)
        assert stream.position == 0
    assert await offset_of(uploads, upload) == 10


async def test_what_arrived_before_the_client_left_is_kept(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    at = 0
    for size in (1, 100, 300 * KiB):
        pieces = [DATA[at : at + size], DATA[at + size : at + 2 * size]]
        added = await add(uploads, upload, Dropped(*pieces), at=at)
        at += 2 * size
        assert isinstance(added.error, ClientGone)
        assert added.upload.state.offset == at
        assert await offset_of(Uploads(make_staging()), upload) == at
    added = await add(uploads, upload, DATA[at:], at=at)
    assert await bytes_of(uploads, added.upload) == DATA


async def test_a_second_worker_fences_the_first(make_staging: Make) -> None:
    """Of two at one offset, the bytes of exactly one count."""
    one, two = Uploads(make_staging()), Uploads(make_staging())
    upload = await one.create(info_of(length=20))
    stalled = Stalled(b"a" * 5)
    first = asyncio.create_task(add(one, upload, stalled, at=0))
    await stalled.waiting.wait()
    second = await add(two, upload, b"b" * 10, at=0)
    assert second.upload.state.offset == 10
    await one.shutdown()  # wakes the first, which commits
    with pytest.raises(Fenced):
        await first
    added = await add(two, upload, b"c" * 10, at=10)
    assert await bytes_of(two, added.upload) == b"b" * 10 + b"c" * 10


async def test_asking_for_the_offset_fences_other_workers(make_staging: Make) -> None:
    """The offset that was told is taken by the next append."""
    one, two = Uploads(make_staging()), Uploads(make_staging())
    upload = await one.create(info_of(length=len(DATA)))
    await add(one, upload, DATA[:1000], at=0)
    stalled = Stalled(DATA[1000:3000])
    zombie = asyncio.create_task(add(one, upload, stalled, at=1000))
    await stalled.waiting.wait()
    told = await offset_of(two, upload)
    assert told in {1000, 3000}
    await one.shutdown()
    with pytest.raises(Fenced):
        await zombie
    assert await offset_of(two, upload) == told
    added = await add(two, upload, DATA[told:], at=told)
    assert await bytes_of(two, added.upload) == DATA


async def test_a_stalled_request_is_taken_over_and_loses_nothing(
    make_staging: Make,
) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    stalled = Stalled(DATA[:7000])
    older = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()
    begun = time.monotonic()
    assert await offset_of(uploads, upload) == 7000
    assert time.monotonic() - begun < 5
    ended = await older
    assert isinstance(ended.error, Fenced)
    assert ended.received == 7000
    stalled = Stalled(DATA[7000:9000])
    older = asyncio.create_task(add(uploads, upload, stalled, at=7000))
    await stalled.waiting.wait()
    with pytest.raises(OffsetDiffers):  # the older one has committed its bytes
        await add(uploads, upload, DATA[7000:], at=7000)
    added = await add(uploads, upload, DATA[9000:], at=9000)
    assert await bytes_of(uploads, added.upload) == DATA
    assert isinstance((await older).error, Fenced)


async def test_another_owner_takes_nothing_over(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=100))
    stalled = Stalled(b"mine")
    older = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()

    def stranger(info: UploadInfo, state: UploadState) -> None:
        raise UploadNotFound("not yours")

    for call in (uploads.fence, uploads.cancel, uploads.find):
        with pytest.raises(UploadNotFound):
            await call(upload.info.id, stranger)
    assert not older.done()
    assert await offset_of(uploads, upload) == 4
    await older


async def test_many_in_one_process_at_one_offset(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=4))
    bodies = [bytes([65 + n]) * 4 for n in range(6)]
    results = await asyncio.gather(
        *(add(uploads, upload, body, at=0) for body in bodies), return_exceptions=True
    )
    won = [
        body
        for body, result in zip(bodies, results, strict=True)
        if not isinstance(result, BaseException) and result.error is None
    ]
    assert len(won) == 1
    done = await uploads.find(upload.info.id, anyone)
    assert await bytes_of(uploads, done) == won[0]


async def test_a_hundred_ask_for_the_offset_of_a_busy_upload(
    make_staging: Make,
) -> None:
    workers = [Uploads(make_staging()) for _ in range(2)]
    upload = await workers[0].create(info_of(length=len(DATA)))
    told: list[int] = []

    async def ask() -> None:
        told.append(await offset_of(random.choice(workers), upload))

    at = 0
    while at < len(DATA):
        asking = [asyncio.create_task(ask()) for _ in range(10)]
        try:
            added = await add(
                workers[0],
                upload,
                [DATA[i : i + 64 * KiB] for i in range(at, len(DATA), 64 * KiB)],
                at=at,
            )
            at = added.upload.state.offset
        except (Fenced, OffsetDiffers):
            pass
        await asyncio.gather(*asking)
        at = await offset_of(workers[1], upload)
        if len(told) > 60 and at < len(DATA):
            await add(workers[1], upload, DATA[at:], at=at)
            break
    assert told == sorted(told)
    done = await workers[0].find(upload.info.id, anyone)
    assert await bytes_of(workers[1], done) == DATA


# -- lengths -----------------------------------------------------------------------


async def test_content_beyond_the_length_is_refused_unread(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=10))
    await add(uploads, upload, b"12345", at=0)
    stream = stream_of(b"123456")
    with pytest.raises(TooLong, match="5 of 10"):
        await add(uploads, upload, stream, at=5, content_length=6)
    assert stream.position == 0
    assert await offset_of(uploads, upload) == 5


@pytest.mark.parametrize("pieces", [(b"123", b"4567"), (b"1234567",), (b"12345", b"6")])
async def test_chunked_content_beyond_the_length_never_completes(
    make_staging: Make, pieces: tuple[bytes, ...]
) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=5))
    added = await add(uploads, upload, stream_of(*pieces), at=0)
    assert isinstance(added.error, TooLong)
    offset = await offset_of(uploads, upload)
    assert offset < 5
    assert b"".join(pieces).startswith(b"12345"[:offset])
    added = await add(uploads, upload, b"12345"[offset:], at=offset)
    assert added.upload.state.complete
    assert await bytes_of(uploads, added.upload) == b"12345"


async def test_an_empty_upload_takes_no_bytes(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=0, max_size=10))
    added = await add(uploads, upload, stream_of(b"x"), at=0)
    assert isinstance(added.error, TooLong)


async def test_the_largest_size_holds_without_a_length(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(max_size=10))
    with pytest.raises(LimitExceeded, match="limit 10"):
        await add(uploads, upload, b"x" * 11, at=0)
    added = await add(uploads, upload, stream_of(b"x" * 8, b"x" * 3), at=0)
    assert isinstance(added.error, LimitExceeded)
    at = await offset_of(uploads, upload)
    with pytest.raises(LimitExceeded):
        await add(uploads, upload, b"", at=at, length=11)
    added = await add(uploads, upload, stream_of(b"x" * (10 - at)), at=at)
    assert added.error is None
    assert (await offset_of(uploads, upload)) == 10


async def test_a_deferred_length_is_said_once(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of())
    await add(uploads, upload, b"12345", at=0)
    with pytest.raises(LengthDiffers):
        await add(uploads, upload, b"", at=5, length=4)
    added = await add(uploads, upload, b"6", at=5, length=10)
    assert (added.upload.state.length, added.upload.state.complete) == (10, False)
    with pytest.raises(LengthDiffers):
        await add(uploads, upload, b"7", at=6, length=11)
    added = await add(uploads, upload, b"7890", at=6, length=10)
    assert added.upload.state.complete


async def test_a_deferred_length_may_end_the_upload(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of())
    await add(uploads, upload, b"12345", at=0)
    added = await add(uploads, upload, b"", at=5, length=5)
    assert added.upload.state.complete


async def test_a_last_request_that_is_too_short(make_staging: Make) -> None:
    """The bytes count; the upload is not complete."""
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=10, protocol="rufh"))
    with pytest.raises(LengthDiffers):
        await add(uploads, upload, stream_of(b"123"), at=0, complete=True)
    assert await offset_of(uploads, upload) == 3
    added = await add(uploads, upload, b"4567890", at=3, complete=True)
    assert added.upload.state.complete


async def test_the_last_byte_does_not_complete_an_ietf_upload(
    make_staging: Make,
) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=3, protocol="rufh"))
    added = await add(uploads, upload, b"123", at=0, complete=False)
    assert not added.upload.state.complete
    found = await uploads.fence(upload.info.id, anyone)
    assert not found.state.complete
    added = await add(uploads, upload, b"", at=3, complete=True)
    assert added.upload.state.complete


async def test_an_invalid_upload_is_no_more(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=3, protocol="rufh"))
    await uploads.invalidate(upload.info.id)
    for call in (uploads.find, uploads.fence, uploads.cancel):
        with pytest.raises(UploadGone, match="invalid"):
            await call(upload.info.id, anyone)
    with pytest.raises(UploadGone):
        await add(uploads, upload, b"1", at=0)


# -- bytes that count later ----------------------------------------------------------


async def test_held_bytes_count_all_or_none(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    await add(uploads, upload, DATA[:100], at=0)
    added = await add(uploads, upload, Dropped(DATA[100 : 2 * MiB]), at=100, held=True)
    assert (added.received, added.upload.state.offset) == (0, 100)
    assert await offset_of(uploads, upload) == 100
    added = await add(uploads, upload, DATA[100:200], at=100)
    added = await add(uploads, upload, DATA[200 : 2 * MiB], at=200, held=True)
    assert added.upload.state.offset == 2 * MiB
    added = await add(uploads, upload, DATA[2 * MiB :], at=2 * MiB)
    assert await bytes_of(uploads, added.upload) == DATA


async def test_held_bytes_of_a_worker_that_is_stopped_never_count(
    make_staging: Make,
) -> None:
    one, two = Uploads(make_staging()), Uploads(make_staging())
    upload = await one.create(info_of(length=len(DATA)))
    stalled = Stalled(DATA[: 2 * MiB])
    zombie = asyncio.create_task(add(one, upload, stalled, at=0, held=True))
    await stalled.waiting.wait()
    assert await offset_of(two, upload) == 0
    added = await add(two, upload, DATA[:1000], at=0)
    assert added.upload.state.offset == 1000
    await one.shutdown()
    assert (await zombie).received == 0
    assert await offset_of(two, upload) == 1000
    added = await add(two, upload, DATA[1000:], at=1000)
    assert await bytes_of(two, added.upload) == DATA


# -- the handler -----------------------------------------------------------------------


async def complete(uploads: Uploads, data: bytes = b"data", **kwargs: Any) -> Any:
    upload = await uploads.create(info_of(length=len(data), **kwargs))
    return (await add(uploads, upload, data, at=0)).upload


async def test_the_handler_runs_once(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await complete(uploads)
    ran: list[str] = []

    async def run(staged: Any) -> Answer:
        ran.append(staged.info.id)
        assert await bytes_of(uploads, staged) == b"data"
        return Answer(201, (("X-Key", "k"),), b"body\xff")

    answer = await uploads.process(upload, run)
    assert answer == Answer(201, (("X-Key", "k"),), b"body\xff")
    for worker in (uploads, Uploads(make_staging())):
        found = await worker.find(upload.info.id, anyone)
        assert found.state.complete
        assert await worker.process(found, run) == answer
        # As found before it was answered.
        assert await worker.process(upload, run) == answer
    assert ran == [upload.info.id]
    await uploads.clear(upload.info.id)
    assert await uploads.process(found, run) == answer
    with pytest.raises(UploadGone):
        await bytes_of(uploads, found)


async def test_the_handler_runs_once_at_a_time(make_staging: Make) -> None:
    workers = [Uploads(make_staging()) for _ in range(3)]
    upload = await complete(workers[0])
    going = asyncio.Event()
    ran = 0

    async def run(staged: Any) -> Answer:
        nonlocal ran
        ran += 1
        await going.wait()
        return Answer(204)

    racing = [asyncio.create_task(w.process(upload, run)) for w in workers]
    done, pending = await asyncio.wait(racing, return_when="FIRST_COMPLETED")
    while len(done) < 2:
        more, pending = await asyncio.wait(pending, return_when="FIRST_COMPLETED")
        done |= more
    for task in done:
        assert isinstance(task.exception(), UploadBusy)
    going.set()
    assert await pending.pop() == Answer(204)
    assert ran == 1
    assert await workers[2].process(upload, run) == Answer(204)


async def test_the_handler_of_a_killed_process_runs_again(make_staging: Make) -> None:
    """When its claim has lapsed, and not before; with the same id."""
    one = Uploads(make_staging(), claim=0.3)
    upload = await one.create(info_of(length=4))
    # Killed after the bytes, before it ran anything: as `append` leaves it.
    added = await add(one, upload, b"data", at=0, process=True)
    assert added.token is not None
    two = Uploads(make_staging(), claim=0.3)

    async def run(staged: Any) -> Answer:
        assert staged.info.id == upload.info.id
        assert staged.state.runs == 2
        return Answer(201)

    with pytest.raises(UploadBusy) as caught:
        await two.process(added.upload, run)
    assert 0 < (caught.value.retry_after or 0) <= 0.3
    # The offset is told all the time.
    assert await offset_of(two, upload) == 4
    await asyncio.sleep(caught.value.retry_after or 0)
    assert (await two.process(added.upload, run)).status == 201


async def test_a_handler_that_takes_long_keeps_its_claim(make_staging: Make) -> None:
    one, two = (Uploads(make_staging(), claim=1.0) for _ in range(2))
    upload = await complete(one)
    until = time.monotonic() + 1.3

    async def run(staged: Any) -> Answer:
        while time.monotonic() < until:
            with pytest.raises(UploadBusy):
                await two.process(upload, run)
            await asyncio.sleep(0.02)
        return Answer(201)

    assert (await one.process(upload, run)).status == 201


async def stopped(*_: Any) -> None:
    """A process that is stopped renews no claim."""


async def once_free(uploads: Uploads, upload: StagedUpload, run: Any) -> Answer:
    """Run the handler when the claim of another has lapsed."""
    while True:
        try:
            return await uploads.process(upload, run)
        except UploadBusy as busy:
            await asyncio.sleep(busy.retry_after or 0)


async def test_a_handler_that_took_too_long_leaves_the_bytes_to_the_next(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was stopped, say. Its answer is the first, so it stays."""
    one, two = (Uploads(make_staging(), claim=1.0) for _ in range(2))
    monkeypatch.setattr(one, "_renew", stopped)
    upload = await complete(one)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def early(staged: Any) -> Answer:
        begun.set()
        await goes_on.wait()
        return Answer(201, (), b"early")

    async def late(staged: Any) -> Answer:
        goes_on.set()
        assert await first == Answer(201, (), b"early")
        await one.clear(upload.info.id)
        await one.sweep(0)
        # It renews its claim, whatever was answered.
        await asyncio.sleep(1.2)
        await one.clear(upload.info.id)
        assert await bytes_of(two, staged) == b"data"
        return Answer(500, (), b"late")

    first = asyncio.create_task(one.process(upload, early))
    await begun.wait()
    answer = await once_free(two, upload, late)
    assert answer == Answer(201, (), b"early")
    await two.clear(upload.info.id)
    with pytest.raises(UploadGone):
        await bytes_of(two, upload)


async def test_a_failure_that_took_too_long_counts_for_nothing(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Uploads(make_staging(), claim=0.2) for _ in range(2))
    monkeypatch.setattr(one, "_renew", stopped)
    upload = await complete(one)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def early(staged: Any) -> Answer:
        begun.set()
        await goes_on.wait()
        return Answer(500)

    async def late(staged: Any) -> Answer:
        goes_on.set()
        assert await first == Answer(500)
        return Answer(201)

    first = asyncio.create_task(one.process(upload, early))
    await begun.wait()
    assert await once_free(two, upload, late) == Answer(201)
    assert await one.process(upload, early) == Answer(201)


async def test_bytes_stay_when_the_answer_could_not_be_kept(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the handler runs again, and needs them."""
    monkeypatch.setattr(engine, "_PAUSE", 0.001)
    uploads = Uploads(make_staging(), claim=0.1)
    upload = await complete(uploads)

    async def fail(*_: Any) -> Any:
        raise StorageError("no")

    async def run(staged: Any) -> Answer:
        monkeypatch.setattr(uploads.staging, "change", fail)
        return Answer(201)

    assert await uploads.process(upload, run) == Answer(201)
    await uploads.clear(upload.info.id)
    monkeypatch.undo()
    await uploads.clear(upload.info.id)

    async def again(staged: Any) -> Answer:
        assert await bytes_of(uploads, staged) == b"data"
        return Answer(201)

    assert await once_free(uploads, upload, again) == Answer(201)


async def test_a_handler_that_is_cancelled_gives_its_claim_back(
    make_staging: Make,
) -> None:
    uploads = Uploads(make_staging())
    upload = await complete(uploads)
    begun = asyncio.Event()

    async def hang(staged: Any) -> Answer:
        begun.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    running = asyncio.create_task(uploads.process(upload, hang))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async def run(staged: Any) -> Answer:
        return Answer(200)

    assert (await Uploads(make_staging()).process(upload, run)).status == 200


async def test_an_answer_too_long_to_keep(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await complete(uploads)

    async def run(staged: Any) -> Answer:
        return Answer(200, (), None)

    await uploads.process(upload, run)
    found = await Uploads(make_staging()).find(upload.info.id, anyone)
    assert found.state.answer == Answer(200, (), None)


async def test_an_upload_deleted_while_its_handler_runs(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await complete(uploads)

    async def run(staged: Any) -> Answer:
        await uploads.cancel(upload.info.id, anyone)
        return Answer(201)

    assert (await uploads.process(upload, run)).status == 201
    with pytest.raises(UploadNotFound):
        await uploads.find(upload.info.id, anyone)


# -- the end ---------------------------------------------------------------------------


async def test_a_deleted_upload_is_no_more(make_staging: Make) -> None:
    staging = make_staging()
    uploads, other = Uploads(staging), Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    await add(uploads, upload, DATA[:1000], at=0)
    await other.find(upload.info.id, anyone)  # remembers
    stalled = Stalled(DATA[1000:2000])
    zombie = asyncio.create_task(add(other, upload, stalled, at=1000))
    await stalled.waiting.wait()
    await uploads.cancel(upload.info.id, anyone)
    for worker in (uploads, other):
        with pytest.raises((UploadNotFound, UploadGone)):
            await worker.fence(upload.info.id, anyone)
        with pytest.raises((UploadNotFound, UploadGone)):
            await add(worker, upload, b"x", at=1000)
        with pytest.raises((UploadNotFound, UploadGone)):
            await worker.cancel(upload.info.id, anyone)
    await other.shutdown()
    with pytest.raises((Fenced, UploadNotFound, UploadGone)):
        await zombie
    await uploads.sweep(0)
    assert await left(staging) == []


async def test_the_request_of_a_deleted_upload_is_ended(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=10))
    stalled = Stalled(b"12")
    older = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()
    await uploads.cancel(upload.info.id, anyone)
    assert isinstance((await older).error, Fenced)
    await uploads.sweep(1e9)
    assert await left(uploads.staging) == []


async def test_uploads_expire_when_they_are_not_used(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock)
    staging = make_staging()
    uploads = Uploads(staging)
    old = await uploads.create(info_of(length=10, expires=100, max_age=250))
    used = await uploads.create(info_of(length=10, expires=100, max_age=250))
    clock += 60
    await add(uploads, used, b"1", at=0)
    assert await uploads.sweep(1e9) == 0
    clock += 60
    with pytest.raises(UploadGone, match="expired"):
        await uploads.find(old.info.id, anyone)
    assert await offset_of(uploads, used) == 1
    assert await uploads.sweep(1e9) == 1
    assert await left(staging) == [used.info.id]
    with pytest.raises(UploadNotFound):
        await uploads.find(old.info.id, anyone)
    # Never longer than max_age, however often it is used.
    clock += 90
    found = await uploads.fence(used.info.id, anyone)
    assert found.state.expires == used.info.created + 250
    clock += 41
    with pytest.raises(UploadGone):
        await uploads.fence(used.info.id, anyone)
    assert await uploads.sweep(1e9) == 1
    assert await left(staging) == []


async def test_a_clock_that_jumps_moves_no_offset(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day ahead and back, between any two steps, of two machines that disagree."""
    real = time.time
    ahead = 0.0
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    workers = [Uploads(make_staging()) for _ in range(2)]
    upload = await workers[0].create(info_of(length=100, expires=1e6, max_age=1e6))
    for at in range(0, 100, 10):
        for k, worker in enumerate(workers):
            ahead = (at // 10 + k) % 3 * 86400 - 86400
            assert await offset_of(worker, upload) == at
            assert await worker.sweep(1e9) == 0
        ahead = -ahead
        await add(workers[at // 10 % 2], upload, DATA[at : at + 10], at=at)
    found = await workers[0].find(upload.info.id, anyone)
    assert found.state.complete
    assert await bytes_of(workers[0], found) == DATA[:100]


async def test_sweeps_of_several_workers_at_once(make_staging: Make) -> None:
    workers = [Uploads(make_staging()) for _ in range(4)]
    for number in range(10):
        upload = await workers[0].create(info_of(length=10, expires=number % 2 * 1e6))
        if number % 2:
            await add(workers[1], upload, b"12", at=0)
    await asyncio.gather(*(worker.sweep(0) for worker in workers))
    assert len(await left(workers[0].staging)) == 5


async def test_an_upload_that_is_being_processed_is_not_swept(
    make_staging: Make,
) -> None:
    uploads = Uploads(make_staging())
    upload = await complete(uploads, expires=1e6)

    async def run(staged: Any) -> Answer:
        assert await Uploads(make_staging()).sweep(0) == 0
        assert await bytes_of(uploads, staged) == b"data"
        return Answer(201)

    await uploads.process(upload, run)


async def test_nothing_is_left_when_all_has_expired(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = make_staging()
    uploads = Uploads(staging)
    upload = await uploads.create(info_of(length=len(DATA), expires=1000))
    stalled = Stalled(DATA[: MiB + 1])
    writing = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()
    await uploads.shutdown()
    await asyncio.wait([writing])
    writing.exception()
    later = time.time() + 2000
    monkeypatch.setattr(time, "time", lambda: later)
    await uploads.sweep(0)
    if isinstance(staging, LogStaging):
        assert [found.key async for found in staging.storage.list()] == []
    else:
        assert list(staging.root.iterdir()) == []  # type: ignore[attr-defined]


async def test_a_request_is_cancelled(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    stalled = Stalled(DATA[:5000])
    writing = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await offset_of(uploads, upload) == 5000


async def test_a_server_that_stops_commits(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    upload = await uploads.create(info_of(length=len(DATA)))
    stalled = Stalled(DATA[:5000])
    writing = asyncio.create_task(add(uploads, upload, stalled, at=0))
    await stalled.waiting.wait()
    await uploads.shutdown()
    error = (await writing).error
    assert isinstance(error, UploadBusy)
    assert error.status == 503
    with pytest.raises(UploadBusy):
        await add(uploads, upload, b"x", at=5000)
    assert await offset_of(Uploads(make_staging()), upload) == 5000


async def test_bytes_count_while_they_arrive(
    make_staging: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many bytes, and after so much time."""
    monkeypatch.setattr(engine, "_COMMIT_BYTES", 100)
    monkeypatch.setattr(engine, "_COMMIT_SECONDS", 0.05)
    one, two = Uploads(make_staging()), Uploads(make_staging())
    upload = await one.create(info_of(length=1000))
    told: list[int] = []
    reached = asyncio.Event()

    async def tell(offset: int) -> None:
        told.append(offset)
        if offset == 155:
            reached.set()

    stalled = Stalled(b"x" * 50, b"x" * 60, b"x" * 45)
    writing = asyncio.create_task(
        one.append(
            upload.info.id,
            anyone,
            engine.Append(offset=0, content_length=None),
            stalled,
            tell,
        )
    )
    await reached.wait()
    assert told == [110, 155]
    assert (await two.find(upload.info.id, anyone)).state.offset == 155
    await one.shutdown()
    await writing


# -- parts -----------------------------------------------------------------------------


async def test_an_upload_of_parts(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    parts = []
    for data in (DATA[:1000], b"", DATA[1000:]):
        part = await uploads.create(info_of(length=len(data), concat="partial"))
        await add(uploads, part, data, at=0)
        parts.append(part.info.id)
    order = (parts[2], parts[0], parts[1], parts[0])
    whole = await uploads.create(info_of(concat="final;...", parts=order))
    done = await uploads.assemble(whole)
    assert done.state.complete
    want = DATA[1000:] + DATA[:1000] * 2
    assert done.state.length == done.state.offset == len(want)
    assert await bytes_of(Uploads(make_staging()), done) == want
    assert (await Uploads(make_staging()).assemble(done)).state == done.state


async def test_an_upload_of_parts_waits_for_them(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    part = await uploads.create(info_of(length=10, concat="partial"))
    whole = await uploads.create(
        info_of(concat="f", parts=(part.info.id,), max_size=10)
    )
    assert not (await uploads.assemble(whole)).state.complete
    await uploads.await_part(part.info.id, whole.info.id)
    await uploads.await_part(part.info.id, whole.info.id)
    await add(uploads, part, b"12345", at=0)
    assert not (await uploads.assemble(whole)).state.complete
    added = await add(uploads, part, b"67890", at=5)
    assert added.upload.state.waiting == (whole.info.id,)
    assert (await uploads.assemble(whole)).state.complete


async def test_parts_that_are_too_long_together(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    part = await complete(uploads, concat="partial")
    whole = await uploads.create(
        info_of(concat="f", parts=(part.info.id,) * 2, max_size=7)
    )
    with pytest.raises(UploadGone, match="too long"):
        await uploads.assemble(whole)


async def test_a_part_that_is_gone(make_staging: Make) -> None:
    uploads = Uploads(make_staging())
    part = await complete(uploads, concat="partial")
    whole = await uploads.create(info_of(concat="f", parts=(part.info.id,)))
    await uploads.cancel(part.info.id, anyone)
    with pytest.raises(UploadGone):
        await uploads.assemble(whole)


# -- storages that fail ------------------------------------------------------------------


class Flaky(MemoryStorage):
    """Fails each ``every``-th ``put``, before or after doing it."""

    def __init__(self, every: int, *, after: bool) -> None:
        super().__init__()
        self.every = every
        self.after = after
        self.count = 0

    async def put(self, key: str, data: Any, **kwargs: Any) -> None:
        self.count += 1
        fails = self.count % self.every == 0
        if not fails or self.after:
            await super().put(key, data, **kwargs)
        if fails:
            raise StorageError("the answer was lost")


@pytest.mark.parametrize("every", [2, 3])
async def test_answers_of_the_storage_are_lost(every: int) -> None:
    """What was done all the same is found, and counts once."""
    storage = Flaky(every, after=True)
    uploads = Uploads(LogStaging(storage))
    storage.count = 0
    upload = await uploads.create(info_of(length=30))
    for number in range(10):
        added = await add(uploads, upload, b"%03d" % number, at=3 * number)
        assert added.error is None
    assert await offset_of(uploads, upload) == 30
    want = b"".join(b"%03d" % n for n in range(10))
    assert await bytes_of(uploads, added.upload) == want


async def test_a_storage_that_did_nothing() -> None:
    storage = Flaky(10**9, after=False)
    uploads = Uploads(LogStaging(storage))
    upload = await uploads.create(info_of(length=30))
    storage.every, storage.count = 2, 1
    with pytest.raises(StorageError):
        await add(uploads, upload, b"123", at=0)
    # Asked again, it does.
    assert await offset_of(uploads, upload) == 0
    storage.count = 0
    added = await add(uploads, upload, b"123", at=0)
    assert added.upload.state.offset == 3


async def test_asking_for_the_offset_outlives_a_storage_that_fails_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_PAUSE", 0.001)
    storage = Flaky(10**9, after=False)
    uploads = Uploads(LogStaging(storage))
    upload = await uploads.create(info_of(length=30))
    storage.every = 1
    with pytest.raises(UploadBusy) as caught:
        await offset_of(uploads, upload)
    assert caught.value.status == 423
    assert (caught.value.retry_after or 0) > 0


async def test_a_store_that_ignores_conditions_is_found() -> None:
    class Careless(MemoryStorage):
        async def put(self, key: str, data: Any, **kwargs: Any) -> None:
            await super().put(key, data, **{**kwargs, "overwrite": True})

    staging = LogStaging(Careless())
    with pytest.raises(StorageError, match="If-None-Match"):
        await staging.check()
    assert [found async for found in staging.storage.list()] == []


async def test_a_storage_that_keeps_its_promises_passes(make_staging: Make) -> None:
    staging = make_staging()
    await staging.check()
    assert await left(staging) == []


async def test_state_that_is_lost_ends_an_upload() -> None:
    """Never is an offset told that might be another one."""
    storage = MemoryStorage()
    uploads = Uploads(LogStaging(storage))
    upload = await uploads.create(info_of(length=30))
    for at in range(0, 9, 3):
        await add(uploads, upload, b"123", at=at)
    folder = folder_of(upload.info.id)
    await storage.put(f"{folder}/log/00000003", b"{", overwrite=True)
    with pytest.raises(UploadGone):
        await offset_of(Uploads(LogStaging(storage)), upload)
    await storage.delete(f"{folder}/info")
    with pytest.raises(UploadNotFound):
        await offset_of(uploads, upload)


async def test_data_that_is_lost_is_noticed() -> None:
    storage = MemoryStorage()
    uploads = Uploads(LogStaging(storage))
    upload = await complete(uploads, b"12345")
    [data] = [o.key async for o in storage.list(f"{folder_of(upload.info.id)}/data/")]
    await storage.put(data, b"1234", overwrite=True)
    with pytest.raises(UploadGone):
        await bytes_of(uploads, upload)
    await storage.delete(data)
    with pytest.raises(UploadGone):
        await bytes_of(uploads, upload)


async def test_the_offset_is_asked_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time takes a record, so there is a ceiling; progress lifts it."""
    monkeypatch.setattr(log, "_MAX_FENCES", 20)
    uploads = Uploads(LogStaging(MemoryStorage()))
    upload = await uploads.create(info_of(length=30))
    for _ in range(20):
        await offset_of(uploads, upload)
    with pytest.raises(UploadBusy) as caught:
        await offset_of(uploads, upload)
    assert caught.value.status == 429
    await add(uploads, upload, b"1", at=0)
    assert await offset_of(uploads, upload) == 1
