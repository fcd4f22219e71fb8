"""One writer, any number of readers, at any place and pace, then and later."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import random
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import (
    KiB,
    LimitExceeded,
    MemoryStorage,
    MiB,
    Replay,
    StorageError,
    Stream,
    StreamBusy,
    StreamClosed,
    StreamError,
    TeeStream,
    copy,
)
from aiostreams.files import reading, replay
from aiostreams.files.writing import BATCH, MOST
from aiostreams.streams import threads
from aiostreams.testing import LAWS, DripStream
from aiostreams.testing.laws import SAMPLE, Failure
from tests.files.disks import Disk, Suspensions, descriptors, install, no_leak
from tests.waiting import until

BIG = random.Random(2).randbytes(2 * MOST + 256 * KiB + 123)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return install(monkeypatch)


async def fill(target: Replay, data: bytes, size: int = 64 * KiB) -> None:
    for start in range(0, len(data), size):
        await target.write(data[start : start + size])


async def filled(
    data: bytes, *, size: int = 64 * KiB, close: bool = True, **options: Any
) -> Replay:
    made = Replay(**options)
    await fill(made, data, size)
    if close:
        await made.close()
    return made


async def read(stream: Stream) -> bytes:
    async with stream:
        return await stream.read()


async def drained() -> None:
    """Wait until no thread has anything to close."""
    await asyncio.to_thread(threads._pool().drain, 5)


# -- the laws --------------------------------------------------------------------------


@pytest.mark.parametrize("max_memory", [0, 50, 1 * MiB], ids=["disk", "both", "memory"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(
    law: Any, max_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE", 100)
    monkeypatch.setattr(replay, "PIECE", 100)
    options: dict[str, Any] = {"max_memory": max_memory, "dir": tmp_path}

    async def complete() -> Stream:
        return (await filled(SAMPLE, size=50, **options)).open()

    async def part() -> Stream:
        return await (await filled(SAMPLE, size=50, **options)).open().slice(10, 500)

    async def live() -> Stream:
        made = Replay(**options)

        async def write() -> None:
            async with made:
                for start in range(0, len(SAMPLE), 50):
                    await asyncio.sleep(0)
                    await made.write(SAMPLE[start : start + 50])

        stream = made.open()
        stream._feeder = asyncio.create_task(write())  # type: ignore[attr-defined]
        return stream

    for make in (complete, part, live):
        await law(make)


# -- readers at any place and pace -----------------------------------------------------


@pytest.mark.parametrize("max_memory", [0, 1, 1000, 10**9])
@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 20_000])
async def test_what_was_written_is_read_from_any_place(
    total: int, size: int, max_memory: int, tmp_path: Path
) -> None:
    data = BIG[:total]
    made = await filled(data, size=size, max_memory=max_memory, dir=tmp_path)
    assert made.size == total
    for offset in (0, 1, 500, total, total + 1):
        stream = made.open(offset)
        assert stream.size == len(data[offset:])
        assert stream.seekable
        assert await read(stream) == data[offset:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_memory", [0, 100_000, 10**9])
async def test_a_hundred_readers_of_all_kinds_while_it_is_written(
    max_memory: int, tmp_path: Path
) -> None:
    content = BIG[:1_000_000]
    made = Replay(max_memory=max_memory, dir=tmp_path, content_type="text/plain")
    draw = random.Random(4)

    async def reader(offset: int, size: int, wait: int) -> bytes:
        for _ in range(wait):
            await asyncio.sleep(0)
        async with made.open(offset) as stream:
            got = b""
            assert stream.content_type == "text/plain"
            while piece := await stream.read(size) if size else await stream.readany():
                got += piece
                if size:
                    await asyncio.sleep(0)
            return got

    offsets = [draw.choice([0, 0, 1, 1000, 200_000, len(content)]) for _ in range(100)]
    readers = [
        asyncio.create_task(
            reader(offset, draw.choice([0, 0, 30_000, 200_000]), draw.randrange(300))
        )
        for offset in offsets
    ]
    async with made:
        at = 0
        while at < len(content):
            piece = content[at : at + draw.choice([1, 100, 9000, 70_000])]
            await made.write(piece)
            at += len(piece)
            if draw.random() < 0.3:
                await asyncio.sleep(0)
    for offset, task in zip(offsets, readers, strict=True):
        assert await task == content[offset:]


@settings(max_examples=60)
@given(st.data())
def test_random_writes_and_reads_are_those_of_bytes(data: st.DataObject) -> None:
    async def run() -> None:
        made = Replay(max_memory=data.draw(st.sampled_from([0, 10, 100, 10**6])))
        model = b""
        readers: list[tuple[Stream, int]] = []
        for _ in range(data.draw(st.integers(0, 25))):
            step = data.draw(st.sampled_from(["write", "open", "read", "read"]))
            if step == "write":
                piece = data.draw(st.sampled_from([b"", b"x", b"ab" * 20, BIG[:9000]]))
                await made.write(memoryview(piece))
                model += piece
            elif step == "open":
                at = data.draw(st.integers(0, len(model)))
                readers.append((made.open(at), at))
            elif readers:
                number = data.draw(st.integers(0, len(readers) - 1))
                stream, at = readers[number]
                if at < len(model):
                    piece = await stream.readany()
                    assert model[at:].startswith(piece)
                    assert piece
                    readers[number] = stream, at + len(piece)
        await made.close()
        for stream, at in readers:
            assert await read(stream) == model[at:]
        assert await read(made.open()) == model

    asyncio.run(run())


async def test_a_byte_is_read_as_soon_as_it_is_written() -> None:
    made = Replay()
    stream = made.open(3)
    assert (stream.size, stream.seekable, stream.live) == (None, False, True)
    awaited: Any = made.open()
    assert await awaited is awaited, "for who takes it for a coroutine"
    reading = asyncio.create_task(stream.readany())
    for byte in (b"0", b"1", b"2"):
        await made.write(byte)
        await asyncio.sleep(0)
        assert not reading.done(), "it begins behind what there is"
    await made.write(b"34")
    assert await reading == b"34"
    reading = asyncio.create_task(stream.readany())
    await asyncio.sleep(0)
    await made.close()
    assert await reading == b""
    assert (stream.size, stream.seekable, stream.live) == (None, False, False)
    with pytest.raises(NotImplementedError):
        await stream.slice(0)
    with pytest.raises(ValueError, match="-1"):
        made.open(-1)


async def test_a_complete_one_can_be_read_in_parts(tmp_path: Path) -> None:
    made = await filled(BIG, max_memory=10_000, dir=tmp_path)
    stream = made.open(1000)
    part = await stream.slice(500, 5 * KiB)
    rest = await stream.slice(len(BIG))
    tail = await made.open().slice(len(BIG) - 100)
    etags = {each.etag for each in (stream, part, tail)}  # type: ignore[attr-defined]
    assert len(etags) == 1
    assert etags != {(await filled(b"x")).open().etag}  # type: ignore[attr-defined]
    await stream.close()
    assert [s.size for s in (part, rest, tail)] == [5 * KiB, 0, 100]
    assert await read(part) == BIG[1500 : 1500 + 5 * KiB]
    assert await read(rest) == b""
    assert await read(tail) == BIG[-100:]
    again = made.open()
    for wrong in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            await again.slice(*wrong)


async def test_a_slow_reader_stops_nobody(tmp_path: Path) -> None:
    made = Replay(max_memory=100_000, dir=tmp_path)
    never, slow, quick = made.open(), made.open(), made.open()
    got = 0
    for start in range(0, len(BIG), 50_000):
        await made.write(BIG[start : start + 50_000])
        async with asyncio.timeout(20):
            got += len(await quick.readany())
    await made.close()
    assert got == len(BIG)
    assert await read(slow) == BIG
    assert never.position == 0


async def test_memory_is_bounded_whatever_passes_and_whoever_reads(
    tmp_path: Path,
) -> None:
    piece = BIG[: 64 * KiB]
    made = Replay(max_memory=1 * MiB, dir=tmp_path)
    readers = [made.open() for _ in range(20)]

    async def follow(stream: Stream) -> int:
        async for _ in stream.iter_any():
            pass
        return stream.position

    async def lag(stream: Stream) -> int:
        await stream.read(1000)
        await closed.wait()
        return await follow(stream)

    closed = asyncio.Event()
    tasks = [asyncio.create_task(follow(stream)) for stream in readers[:15]]
    tasks += [asyncio.create_task(lag(stream)) for stream in readers[15:]]
    await asyncio.sleep(0)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(64 * MiB // len(piece)):
            await made.write(bytes(piece))
            await asyncio.sleep(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await made.close()
    closed.set()
    assert await asyncio.gather(*tasks) == [64 * MiB] * 20
    assert peak < 1 * MiB + 2 * MOST + 15 * MiB


async def test_small_content_never_touches_the_disk(disk: Disk, tmp_path: Path) -> None:
    made = await filled(BIG[: 1 * MiB], dir=tmp_path)
    assert await read(made.open()) == BIG[: 1 * MiB]
    assert disk.calls == []


async def test_whoever_keeps_up_reads_from_memory(disk: Disk, tmp_path: Path) -> None:
    made = Replay(max_memory=256 * KiB, dir=tmp_path)
    stream = made.open()
    for start in range(0, len(BIG), 10_000):
        await made.write(BIG[start : start + 10_000])
        assert await stream.readany() == BIG[start : start + 10_000]
    await made.close()
    assert "writev" in disk.calls
    assert "pread" not in disk.calls


# -- the writer ------------------------------------------------------------------------


async def test_no_more_than_max_size() -> None:
    made = Replay(max_size=10)
    await made.write(b"01234567")
    with pytest.raises(LimitExceeded, match="11 bytes, limit 10") as caught:
        await made.write(b"abc")
    assert (caught.value.limit, caught.value.seen) == (10, 11)
    await made.write(b"89")
    await made.write(b"")
    await made.close()
    assert await read(made.open()) == b"0123456789"
    async with Replay(max_size=0) as empty:
        pass
    assert await read(empty.open()) == b""


@pytest.mark.parametrize("name", ["max_memory", "max_size"])
def test_a_number_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must not be negative: -1"):
        Replay(**{name: -1})  # type: ignore[arg-type]


async def test_after_the_end_nothing_is_written() -> None:
    made = Replay()
    assert (made.closed, repr(made)) == (False, "<Replay of 0 bytes, open>")
    await made.write(b"abc")
    for _ in range(2):
        await made.close()
    await made.abort(Failure())
    assert (made.closed, repr(made)) == (True, "<Replay of 3 bytes, complete>")
    with pytest.raises(StreamClosed):
        await made.write(b"x")
    assert await read(made.open()) == b"abc"


async def test_the_bytes_come_before_the_error(tmp_path: Path) -> None:
    for max_memory in (0, 10**9):
        made = Replay(max_memory=max_memory, dir=tmp_path)
        streams = [made.open(), made.open(5)]
        await fill(made, BIG)
        waiting = asyncio.create_task(made.open(len(BIG)).readany())
        await asyncio.sleep(0)
        await made.abort(Failure("broken"))
        await made.close()
        assert repr(made).endswith("aborted>")
        with pytest.raises(Failure):
            await waiting
        with pytest.raises(StreamClosed):
            await made.write(b"x")
        for stream in (*streams, made.open(), made.open(len(BIG))):
            assert (stream.size, stream.seekable, stream.live) == (None, False, False)
            assert stream.etag is None  # type: ignore[attr-defined]
            got = b""
            with pytest.raises(Failure):
                while piece := await stream.readany():
                    got += piece
            assert BIG.endswith(got)
            assert len(got) in {0, len(BIG) - 5, len(BIG)}
            with pytest.raises(Failure):
                await stream.read()


async def test_left_by_an_exception_it_aborts() -> None:
    made = Replay()
    with pytest.raises(Failure):
        async with made:
            await made.write(b"abc")
            raise Failure
    stream = made.open()
    assert await stream.readany() == b"abc"
    with pytest.raises(Failure):
        await stream.readany()


async def test_a_cancelled_writer_cancels_no_reader() -> None:
    made = Replay()

    async def write() -> None:
        async with made:
            await made.write(b"abc")
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    stream = made.open()
    assert await stream.readany() == b"abc"
    task.cancel()
    with pytest.raises(StreamError, match="given up"):
        await stream.readany()


async def test_one_that_is_dropped_aborts() -> None:
    made = Replay()
    await made.write(b"abc")
    stream = made.open()
    assert await stream.readany() == b"abc"
    waiting = asyncio.create_task(stream.readany())
    await asyncio.sleep(0)
    await asyncio.to_thread(gc.collect)
    gone = weakref.ref(made)
    del made
    assert gone() is None
    with pytest.raises(StreamError, match="given up"):
        await asyncio.wait_for(waiting, 20)


def test_one_that_is_dropped_outside_of_a_loop() -> None:
    Replay()

    async def begin() -> tuple[Replay, asyncio.Task[bytes]]:
        made = Replay()
        task = asyncio.create_task(made.open().readany())
        await asyncio.sleep(0)
        return made, task

    made, _ = asyncio.run(begin())
    del made  # whose loop is closed


async def test_one_task_writes(disk: Disk, tmp_path: Path) -> None:
    gate = disk.gate("writev")
    made = Replay(max_memory=0, dir=tmp_path)
    await made.write(BIG[:BATCH])
    writing = asyncio.create_task(made.write(BIG))
    await disk.arrive("writev")
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await made.write(b"x")
    with pytest.raises(StreamBusy):
        await made.close()
    aborting = asyncio.create_task(made.abort(Failure()))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(StreamClosed):
        await writing
    await aborting
    stream = made.open()
    assert await stream.readany() == BIG[:BATCH][: len(await made.open().readany())]


async def test_a_cancelled_write_adds_nothing(disk: Disk, tmp_path: Path) -> None:
    gate = disk.gate("writev")
    made = Replay(max_memory=0, dir=tmp_path)
    await made.write(BIG[:BATCH])
    writing = asyncio.create_task(made.write(BIG))
    await disk.arrive("writev")
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    gate.set()
    await made.write(b"more")
    await made.close()
    assert await read(made.open()) == BIG[:BATCH] + b"more"


async def test_a_disk_that_is_full(disk: Disk, tmp_path: Path) -> None:
    """Readers get what was taken, then the error; the writer is told at once."""
    disk.error = errno.ENOSPC
    disk.fail_at = lambda k: disk.calls[k - 1] == "writev"
    made = Replay(max_memory=1000, dir=tmp_path)
    stream = made.open()
    written = 0
    with pytest.raises(StorageError) as caught:
        for start in range(0, len(BIG), 64 * KiB):
            await made.write(BIG[start : start + 64 * KiB])
            written = start + 64 * KiB
    assert caught.value.status == 507
    with pytest.raises(StorageError):
        await made.write(b"x")
    got = b""
    with pytest.raises(StorageError):
        while piece := await stream.readany():
            got += piece
    assert got == BIG[:written]
    await made.close()
    with pytest.raises(StorageError):
        await read(made.open())


async def test_a_disk_that_is_full_at_the_end(disk: Disk, tmp_path: Path) -> None:
    """What could not be written is in memory, and so nothing is lost."""
    disk.error = errno.ENOSPC
    disk.fail_at = lambda k: disk.calls[k - 1] == "writev"
    made = await filled(BIG[:5000], max_memory=1000, dir=tmp_path)
    assert "writev" in disk.calls
    assert await read(made.open()) == BIG[:5000]


async def test_every_call_fails(disk: Disk, tmp_path: Path) -> None:
    k = 0
    for k in itertools.count(1):
        disk.calls.clear()
        disk.fail_at = k.__eq__
        with no_leak(tmp_path):
            made = Replay(max_memory=9, dir=tmp_path)
            stream = made.open()
            try:
                await fill(made, BIG)
                await made.close()
                assert await read(stream) == BIG
            except StorageError:
                await stream.close()
            del made, stream
            gc.collect()  # an error refers to where it was raised
            await drained()
        if len(disk.calls) < k:
            break
    assert k > 5


async def test_cancelled_at_every_wait(disk: Disk, tmp_path: Path) -> None:
    disk.delay = 0.001

    async def use() -> None:
        made = Replay(max_memory=9, dir=tmp_path)
        async with made:
            await fill(made, BIG)
        async with made.open() as stream:
            assert await stream.read() == BIG

    k = 0
    for k in itertools.count(1):
        suspensions = Suspensions(k)
        with no_leak(tmp_path):
            task = asyncio.create_task(suspensions.run(use()))
            await asyncio.wait([task])
            done = not task.cancelled()
            del task
            gc.collect()
            await drained()
        if done:
            break
    assert k > 3


async def test_the_file_goes_with_the_last_of_them(tmp_path: Path) -> None:
    before = descriptors()
    made = await filled(BIG, max_memory=0, dir=tmp_path)
    stream, part = made.open(), await made.open(5).slice(5, 100_000)
    assert len(descriptors() - before) == 1
    del made
    assert await read(stream) == BIG
    assert len(descriptors() - before) == 1
    assert await read(part) == BIG[10:100_010]
    del stream, part
    await until(lambda: descriptors() == before)


# -- with other streams ----------------------------------------------------------------


async def test_it_is_what_copy_and_tee_write_to() -> None:
    made = Replay()
    async with made:
        assert await copy(DripStream(BIG[:5000], 100), made) == 5000
    assert await read(made.open()) == BIG[:5000]


async def test_it_writes_through_to_a_storage() -> None:
    """Readers have the bytes while they come, the storage has them when all are there."""
    storage = MemoryStorage()
    made = Replay()
    stream = made.open()
    async with made, await storage.create("key") as sink:
        await copy(TeeStream(DripStream(b"abcdef", 2), made), sink)
        assert await stream.read(2) == b"ab"
        assert [stored async for stored in storage.list()] == []
    assert await read(stream) == b"cdef"
    assert await read(await storage.open("key")) == b"abcdef"
