"""SpooledStream: memory first, an unnamed file then, and nothing left of either."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    FileStream,
    KiB,
    MiB,
    SpooledStream,
    StorageError,
    Stream,
    StreamBusy,
    StreamClosed,
)
from aiostreams.files import reading as openfile
from aiostreams.files import spooled
from aiostreams.files.reading import PIECE
from aiostreams.files.writing import BATCH, MOST
from aiostreams.streams import threads as worker
from aiostreams.testing import LAWS
from aiostreams.testing.laws import SAMPLE
from tests.files.disks import Disk, Suspensions, descriptors, install, no_leak
from tests.waiting import until

BIG = os.urandom(2 * MOST + 256 * KiB + 123)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return install(monkeypatch)


async def filled(
    folder: Path, data: bytes, *, size: int = 64 * KiB, max_memory: int = 1 * MiB
) -> SpooledStream:
    stream = SpooledStream(max_memory=max_memory, dir=folder)
    await fill(stream, data, size)
    return stream


async def fill(stream: Stream, data: bytes, size: int = 64 * KiB) -> None:
    for start in range(0, len(data), size):
        await stream.write(data[start : start + size])


@pytest.mark.parametrize("max_memory", [0, 1 * MiB], ids=["on disk", "in memory"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(
    law: Any, max_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openfile, "PIECE", 100)
    monkeypatch.setattr(spooled, "PIECE", 100)
    await law(lambda: filled(tmp_path, SAMPLE, size=50, max_memory=max_memory))


@pytest.mark.parametrize("max_memory", [0, 1, 1000, 10**9])
@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 20_000])
async def test_gives_back_what_was_written(
    total: int, size: int, max_memory: int, tmp_path: Path
) -> None:
    data = BIG[:total]
    with no_leak(tmp_path):
        async with await filled(
            tmp_path, data, size=size, max_memory=max_memory
        ) as stream:
            assert stream.size == total
            assert stream.rolled == (total > max_memory)
            assert await stream.read(3) == data[:3]
            assert await stream.read() == data[3:]
            assert await stream.read() == b""
            await stream.rewind()
            assert await stream.read() == data
            assert stream.seekable
        with pytest.raises(StreamClosed):
            await stream.rewind()
        with pytest.raises(StreamClosed):
            await stream.slice(0)
        with pytest.raises(StreamClosed):
            await stream.write(b"x")


async def test_big_content_in_pieces(tmp_path: Path) -> None:
    for max_memory in (0, 1 * MiB, 4 * MiB):
        async with await filled(tmp_path, BIG, max_memory=max_memory) as stream:
            pieces = [piece async for piece in stream.iter_any()]
            assert b"".join(pieces) == BIG
            assert max(map(len, pieces)) <= PIECE
            assert list(tmp_path.iterdir()) == []  # the file has no name


async def test_small_content_never_touches_the_disk(disk: Disk, tmp_path: Path) -> None:
    async with await filled(tmp_path, BIG[: 1 * MiB]) as stream:
        assert await stream.read() == BIG[: 1 * MiB]
    assert disk.calls == []


@pytest.mark.parametrize("max_memory", [0, 10**6])
async def test_writing_goes_on_while_reading(max_memory: int, tmp_path: Path) -> None:
    async with SpooledStream(max_memory=max_memory, dir=tmp_path) as stream:
        await stream.write(b"abc")
        assert await stream.read(2) == b"ab"
        await stream.write(b"def")
        assert stream.position == 2
        assert await stream.read(3) == b"cde"
        assert await stream.read() == b"f"
        await stream.write(b"ghi")
        assert stream.size == 9
        assert await stream.read() == b""  # the end is sticky
        await stream.rewind()
        assert await stream.read() == b"abcdefghi"


async def test_buffers_may_be_reused_and_are_not_pinned(tmp_path: Path) -> None:
    async with SpooledStream(dir=tmp_path, content_type="text/plain") as stream:
        buffer = bytearray(b"abc" * 10_000)
        await stream.write(memoryview(buffer))
        buffer.clear()
        assert await stream.read() == b"abc" * 10_000
        assert stream.content_type == "text/plain"


@pytest.mark.parametrize("max_memory", [0, 10**6])
async def test_slices_live_on_their_own(max_memory: int, tmp_path: Path) -> None:
    before = descriptors()
    stream = await filled(tmp_path, b"0123456789", max_memory=max_memory)
    await stream.read(5)
    part = await stream.slice(2, 4)
    rest = await stream.slice(7)
    beyond = await stream.slice(20, 1)
    again = await part.slice(1, 2)
    assert isinstance(part, ByteStream if max_memory else FileStream)
    await stream.write(b"more")
    with pytest.raises(ValueError, match="must not be negative"):
        await stream.slice(-1)
    await stream.close()
    slices = [part, rest, beyond, again]
    assert [s.size for s in slices] == [4, 3, 0, 2]
    assert [await s.read() for s in slices] == [b"2345", b"789", b"", b"34"]
    if isinstance(part, FileStream):
        assert part.stat_result is None
        assert part.etag is None
    for each in slices:
        await each.close()
    assert descriptors() == before


async def test_rewind_is_refused_during_a_read(disk: Disk, tmp_path: Path) -> None:
    gate = disk.gate("pread")
    async with await filled(tmp_path, BIG, max_memory=0) as stream:
        reading = asyncio.create_task(stream.read())
        await disk.arrive("pread")
        with pytest.raises(StreamBusy):
            await stream.rewind()
        gate.set()
        assert await reading == BIG


async def test_rewind_waits_for_the_read_ahead(tmp_path: Path) -> None:
    async with await filled(tmp_path, BIG, max_memory=0) as stream:
        for _ in range(3):
            assert await stream.readany() == BIG[:PIECE]
            await stream.rewind()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
async def test_every_call_fails(code: int, disk: Disk, tmp_path: Path) -> None:
    disk.error = code
    k = 0
    for k in itertools.count(1):
        disk.calls.clear()
        disk.fail_at = k.__eq__
        raised: StorageError | None = None
        with no_leak(tmp_path):
            try:
                async with SpooledStream(max_memory=9, dir=tmp_path) as stream:
                    await fill(stream, BIG)
                    assert await stream.read() == BIG
            except StorageError as error:
                raised = error
        if raised is not None:
            assert raised.errno == code
            assert raised.status == (500 if code == errno.EIO else 507)
        else:
            assert len(disk.calls) < k or disk.calls[k - 1] == "close"
        if len(disk.calls) < k:
            break
    assert k > 5


async def test_error_is_raised_by_the_next_write_and_every_read(
    disk: Disk, tmp_path: Path
) -> None:
    disk.error = errno.ENOSPC
    disk.fail_at = lambda k: disk.calls[k - 1] == "writev"
    async with SpooledStream(max_memory=0, dir=tmp_path) as stream:
        await stream.write(BIG)
        for _ in range(2):
            with pytest.raises(StorageError, match="No space left"):
                await stream.read()
        with pytest.raises(StorageError, match="No space left"):
            await stream.write(b"x")
        with pytest.raises(StorageError, match="No space left"):
            await stream.slice(0)


async def test_closed_while_full_of_an_error_nobody_saw(
    disk: Disk, tmp_path: Path
) -> None:
    disk.fail_at = lambda k: disk.calls[k - 1] == "open"
    with no_leak(tmp_path):
        async with SpooledStream(max_memory=0, dir=tmp_path) as stream:
            await stream.write(BIG)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, None])
async def test_where_there_are_no_unnamed_files(
    code: int | None, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is None:
        monkeypatch.setattr(spooled, "_UNNAMED", 0)
    else:
        disk.error = code
        disk.fail_at = (1).__eq__
    with no_leak(tmp_path):
        async with await filled(tmp_path, BIG, max_memory=0) as stream:
            assert await stream.read() == BIG
            assert "unlink" in disk.calls
            assert list(tmp_path.iterdir()) == []


async def test_named_file_that_cannot_be_unlinked(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooled, "_UNNAMED", 0)
    disk.fail_at = lambda k: disk.calls[k - 1] == "unlink"
    before = descriptors()
    async with await filled(tmp_path, b"abc", max_memory=0) as stream:
        with pytest.raises(StorageError):
            await stream.read()
    assert descriptors() == before


async def test_the_system_chooses_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    async with SpooledStream(max_memory=0) as stream:
        await stream.write(b"abc")
        with pytest.raises(StorageError, match="No such file"):
            await stream.read()


async def test_cancelled_at_every_wait(disk: Disk, tmp_path: Path) -> None:
    disk.delay = 0.001

    async def use() -> bytes:
        async with SpooledStream(max_memory=9, dir=tmp_path) as stream:
            await fill(stream, BIG)
            await stream.readany()
            await stream.rewind()
            async with await stream.slice(5) as part:
                return await part.read()

    k = 0
    for k in itertools.count(1):
        suspensions = Suspensions(k)
        with no_leak(tmp_path):
            task = asyncio.create_task(suspensions.run(use()))
            await asyncio.wait([task])
            done = not task.cancelled()
            del task
        if done:
            break
    assert k > 3


async def test_close_wakes_writer_and_reader(disk: Disk, tmp_path: Path) -> None:
    gate = disk.gate("writev")
    with no_leak(tmp_path):
        stream = SpooledStream(max_memory=0, dir=tmp_path)
        await stream.write(BIG[:BATCH])
        writing = asyncio.create_task(stream.write(BIG))
        reading = asyncio.create_task(stream.read())
        slicing = asyncio.create_task(stream.slice(0))
        await disk.arrive("writev")
        closing = asyncio.create_task(stream.close())
        for task in (writing, reading):
            with pytest.raises(StreamClosed):
                await task
        assert not closing.done()
        gate.set()
        await closing
        with pytest.raises(StreamClosed):
            await slicing


async def test_reader_and_writer_wait_for_the_same_batch(
    disk: Disk, tmp_path: Path
) -> None:
    gate = disk.gate("writev")
    async with SpooledStream(max_memory=0, dir=tmp_path) as stream:
        await stream.write(BIG[:BATCH])
        writing = asyncio.create_task(stream.write(BIG[BATCH:]))
        reading = asyncio.create_task(stream.read(BATCH))
        slicing = asyncio.create_task(stream.slice(0))
        await disk.arrive("writev")
        gate.set()
        await writing
        assert await reading == BIG[:BATCH]
        part = await slicing
        assert await part.read() == BIG[:BATCH]
        await part.close()
        await stream.rewind()
        assert await stream.read() == BIG


async def test_hanging_write_is_left_to_its_thread(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PATIENCE", 0.01)
    before = descriptors()
    gate = disk.gate("writev")
    stream = SpooledStream(max_memory=0, dir=tmp_path)
    await stream.write(BIG)
    await disk.arrive("writev")
    await stream.close()
    del stream
    gate.set()
    await until(lambda: descriptors() == before)


async def test_dropped_stream_warns_and_frees_its_file(tmp_path: Path) -> None:
    with no_leak(tmp_path):
        stream = await filled(tmp_path, b"abc", max_memory=0)
        assert await stream.read() == b"abc"
        with pytest.warns(ResourceWarning, match="unclosed file 'temporary file'"):  # noqa: PT031
            del stream
            gc.collect()


def test_negative_max_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative: -1"):
        SpooledStream(max_memory=-1)


async def test_abort_frees_everything(tmp_path: Path) -> None:
    with no_leak(tmp_path), pytest.raises(ZeroDivisionError):
        async with await filled(tmp_path, BIG):
            raise ZeroDivisionError
