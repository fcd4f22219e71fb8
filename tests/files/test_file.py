"""FileStream: reading, saving whole or not at all, and every way a disk can fail."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import itertools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from aiostreams import (
    FileStream,
    KiB,
    ObjectExists,
    SizeMismatch,
    StorageError,
    StreamBusy,
    StreamClosed,
)
from aiostreams.files import draft
from aiostreams.files import file as filereader
from aiostreams.files import reading as openfile
from aiostreams.files import writing as writebehind
from aiostreams.files.reading import PIECE, OpenFile
from aiostreams.files.writing import BATCH, MOST
from aiostreams.streams import threads as worker
from aiostreams.streams.threads import ThreadCall, Threads
from aiostreams.testing import LAWS
from aiostreams.testing.laws import SAMPLE
from tests.files.disks import (
    Disk,
    Suspensions,
    descriptors,
    install,
    no_leak,
    temporaries,
)
from tests.forks import forks
from tests.waiting import turns, until

OLD = b"old content"
BIG = os.urandom(2 * MOST + 256 * KiB + 123)
STATUS = {errno.ENOSPC: 507, errno.EDQUOT: 507, errno.EMFILE: 503}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return install(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.bin"


def chunks(data: bytes, size: int = 64 * KiB) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def tag(path: Path) -> str:
    found = path.stat()
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


async def save(
    path: Path,
    data: bytes,
    mode: Literal["wb", "xb"] = "wb",
    *,
    fsync: bool = False,
    size: int = 64 * KiB,
) -> None:
    async with FileStream(path, mode, fsync=fsync) as stream:
        for chunk in chunks(data, size):
            await stream.write(chunk)


# -- the laws ----------------------------------------------------------------------


@pytest.mark.parametrize("piece", [100, PIECE])
@pytest.mark.parametrize("data", [SAMPLE, b""], ids=["sample", "empty"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(
    law: object, data: bytes, piece: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(data)
    monkeypatch.setattr(openfile, "PIECE", piece)
    monkeypatch.setattr(filereader, "PIECE", piece)
    await law(lambda: FileStream(path))  # type: ignore[operator]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law_of_a_slice(law: object, path: Path) -> None:
    path.write_bytes(b"before" + SAMPLE + b"after")

    async def make() -> FileStream:
        async with FileStream(path) as whole:
            return await whole.slice(6, len(SAMPLE))

    await law(make)  # type: ignore[operator]


# -- reading -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 9 * PIECE + 7]
)
async def test_reads_the_file_of_every_size(size: int, path: Path) -> None:
    data = os.urandom(size)
    path.write_bytes(data)
    with no_leak(path.parent):
        async with FileStream(path) as stream:
            assert stream.stat_result is None
            assert await stream.read() == data
            assert stream.size == size
            assert await stream.readany() == b""


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (3, 100, b"3456789"),
        (10, None, b""),
        (11, 5, b""),
        (0, 0, b""),
    ],
)
async def test_offset_and_length_cut_at_the_end(
    offset: int, length: int | None, expected: bytes, path: Path
) -> None:
    path.write_bytes(b"0123456789")
    async with FileStream(path, offset=offset, length=length) as stream:
        assert await stream.read() == expected
        assert stream.size == len(expected)


async def test_open_tells_size_and_stat_before_reading(path: Path) -> None:
    path.write_bytes(b"0123456789")
    async with FileStream(path, content_type="text/plain") as stream:
        assert stream.etag is None
        assert stream.last_modified is None
        assert repr(stream) == "<FileStream 0 bytes open>"
        stream = await stream.open()
        assert await stream.open() is stream
        assert await stream.open() is stream
        assert stream.size == 10
        assert stream.stat_result == path.stat()
        assert os.pread(stream.fileno(), 3, 2) == b"234"
        assert stream.last_modified == path.stat().st_mtime
        assert stream.etag == tag(path)
        assert stream.path == str(path)
        assert stream.content_type == "text/plain"
        assert stream.seekable
        assert repr(stream) == "<FileStream 0/10 bytes open>"
    with pytest.raises(StreamClosed):
        stream.fileno()
    with pytest.raises(StreamClosed):
        await stream.open()


async def test_two_tasks_may_open(path: Path) -> None:
    path.write_bytes(b"abc")
    async with FileStream(path) as stream:
        data, *_ = await asyncio.gather(stream.read(), stream.open(), stream.open())
        assert data == b"abc"


async def test_reads_ahead_while_the_reader_is_busy(disk: Disk, path: Path) -> None:
    path.write_bytes(bytes(3 * PIECE))
    async with FileStream(path) as stream:
        await stream.open()
        assert disk.calls.count("pread") == 0
        await stream.readany()
        await until(lambda: disk.calls.count("pread") >= 2)


async def test_reader_that_is_slow_gets_single_pieces(disk: Disk, path: Path) -> None:
    """No more than one piece is held ahead of whoever does not hurry."""

    async def take() -> None:
        await stream.readany()
        assert stream._source is not None
        assert stream._source._ahead is not None
        job = stream._source._ahead._job
        await until(lambda: job is None or job.done)

    path.write_bytes(bytes(40 * PIECE))
    async with FileStream(path) as stream:
        for _ in range(10):  # catch up with what haste at the start has read
            await take()
        for _ in range(10):
            before = disk.calls.count("pread")
            await take()
            assert disk.calls.count("pread") - before <= 1


async def test_slices_share_the_open_file(path: Path) -> None:
    """A file replaced between two ranges is never mixed with the new one."""
    path.write_bytes(b"0123456789")
    before = descriptors()
    stream = FileStream(path, offset=2, length=7, content_type="text/plain")
    old_tag = tag(path)
    first = await stream.slice(1, 3)
    await save(path, b"ABCDEFGHIJ")
    os.utime(path, ns=(1, 1))  # the clock of a file system may stand still for 4 ms
    second = await stream.slice(4)
    third = await second.slice(1, 1)
    beyond = await stream.slice(100, 5)
    assert len(descriptors() - before) == 1
    await stream.close()
    assert [await s.read() for s in (second, first, third, beyond)] == [
        b"678",
        b"345",
        b"7",
        b"",
    ]
    assert (first.size, first.content_type) == (3, "text/plain")
    assert (stream.offset, first.offset, third.offset) == (2, 3, 7)
    assert first.etag == third.etag == old_tag != tag(path)
    for each in (first, second, third):
        await each.close()
    assert len(descriptors() - before) == 1
    await beyond.close()
    assert descriptors() == before


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
async def test_negative_range_is_refused(
    offset: int, length: int | None, path: Path
) -> None:
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="must not be negative"):
        FileStream(path, offset=offset, length=length)
    async with FileStream(path) as stream:
        with pytest.raises(ValueError, match="must not be negative"):
            await stream.slice(offset, length)


async def test_file_that_shrinks_is_a_mismatch(path: Path) -> None:
    path.write_bytes(bytes(20 * PIECE))
    async with FileStream(path) as stream:
        await stream.readany()
        os.truncate(path, 10 * PIECE + 5)
        seen = PIECE
        with pytest.raises(SizeMismatch) as caught:
            while True:
                seen += len(await stream.readany())
        assert seen == caught.value.seen == 10 * PIECE + 5
        assert caught.value.expected == 20 * PIECE


async def test_file_that_grows_gives_what_was_promised(path: Path) -> None:
    path.write_bytes(b"x" * (PIECE + 1))
    async with FileStream(path) as stream:
        await stream.open()
        with path.open("ab") as appending:
            appending.write(b"more")
        assert await stream.read() == b"x" * (PIECE + 1)


async def test_missing_file_is_file_not_found(path: Path) -> None:
    async with FileStream(path) as stream:
        with pytest.raises(FileNotFoundError):
            await stream.open()
        path.write_bytes(b"there now")
        assert await stream.read() == b"there now"
    path.unlink()
    async with FileStream(path) as stream:
        with pytest.raises(FileNotFoundError):
            await stream.read()


@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800"])
async def test_a_name_that_no_file_can_have_is_file_not_found(
    tmp_path: Path, name: str
) -> None:
    async with FileStream(tmp_path / name) as stream:
        with pytest.raises(FileNotFoundError):
            await stream.open()
        with pytest.raises(FileNotFoundError):
            await stream.read()


async def test_both_who_wait_for_a_missing_file_hear_of_it(path: Path) -> None:
    async with FileStream(path) as stream:
        errors = await asyncio.gather(
            stream.open(), stream.open(), return_exceptions=True
        )
        assert [type(error) for error in errors] == [FileNotFoundError] * 2


async def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with no_leak(tmp_path):
        for path, expected in [
            (tmp_path, IsADirectoryError),
            (tmp_path / "fifo", StorageError),
            (Path("/dev/null"), StorageError),
            (tmp_path / "fifo" / "x", NotADirectoryError),
            (tmp_path / ("x" * 300), StorageError),
        ]:
            async with FileStream(path) as stream:
                with pytest.raises(expected):
                    await stream.read()


async def test_links_are_followed_unless_told_not_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    async with FileStream(tmp_path / "link") as stream:
        assert await stream.read() == b"abc"
    async with FileStream(tmp_path / "link", follow_symlinks=False) as stream:
        with pytest.raises(StorageError, match="cannot open 'link'"):
            await stream.read()


async def test_dir_fd_holds_to_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    folder.rename(tmp_path / "moved")
    async with FileStream("file", "wb", dir_fd=fd) as stream:
        await stream.write(b"abc")
    async with FileStream("file", dir_fd=fd) as stream:
        assert await stream.read() == b"abc"
    os.close(fd)
    assert (tmp_path / "moved" / "file").read_bytes() == b"abc"
    assert not folder.exists()


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, errno.EINTR])
@pytest.mark.parametrize("opened", [False, True])
async def test_reading_fails_at_every_call(
    opened: bool, code: int, disk: Disk, path: Path
) -> None:
    path.write_bytes(BIG)
    k = 0
    for k in itertools.count(1):
        disk.calls.clear()
        disk.error = code
        disk.fail_at = k.__eq__
        data = b""
        raised: OSError | None = None
        with no_leak(path.parent):
            async with FileStream(path) as stream:
                try:
                    if opened:
                        await stream.open()
                    while piece := await stream.readany():
                        data += piece
                except OSError as error:
                    raised = error
        assert BIG.startswith(data)
        if raised is None:
            assert data == BIG
            # Nothing is lost by a failure to close.
            assert len(disk.calls) < k or disk.calls[k - 1] == "close"
        else:
            assert isinstance(raised, StorageError | PermissionError)
            assert raised.errno == code
        if len(disk.calls) < k:
            break
    assert k > 10


async def test_error_comes_after_the_pieces_read_before_it(
    disk: Disk, path: Path
) -> None:
    path.write_bytes(BIG)
    disk.fail_at = lambda _k: disk.calls.count("pread") >= 4
    async with FileStream(path) as stream:
        data = b""
        with pytest.raises(StorageError, match=r"cannot read 'target.bin' at byte"):
            while True:
                data += await stream.readany()
        assert data == BIG[: 3 * PIECE]


async def test_cancelled_read_loses_nothing(disk: Disk, path: Path) -> None:
    path.write_bytes(BIG)
    k = 0
    for k in itertools.count(1):
        disk.delay = 0.0005
        with no_leak(path.parent):
            async with FileStream(path) as stream:
                suspensions = Suspensions(k)
                data = b""
                cancelled = False
                while True:
                    try:
                        piece = await suspensions.run(stream.readany())
                    except asyncio.CancelledError:
                        cancelled = True
                        continue
                    if not piece:
                        break
                    data += piece
                assert data == BIG
        if not cancelled:
            break
    assert k > 2


async def test_close_wakes_a_waiting_reader(disk: Disk, path: Path) -> None:
    path.write_bytes(BIG)
    gate = disk.gate("pread")
    with no_leak(path.parent):
        stream = FileStream(path)
        reading = asyncio.create_task(stream.read())
        await disk.arrive("pread")
        closing = asyncio.create_task(stream.close())
        with pytest.raises(StreamClosed):
            await reading
        assert not closing.done()  # the thread still uses the descriptor
        gate.set()
        await closing


async def test_close_while_another_task_opens(disk: Disk, path: Path) -> None:
    path.write_bytes(b"abc")
    gate = disk.gate("open")
    with no_leak(path.parent):
        stream = FileStream(path)
        opening = asyncio.create_task(stream.open())
        await disk.arrive("open")
        closing = asyncio.create_task(stream.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
        with pytest.raises(StreamClosed):
            await opening


async def test_close_after_a_cancelled_open_that_fails(disk: Disk, path: Path) -> None:
    gate = disk.gate("open")
    stream = FileStream(path)
    opening = asyncio.create_task(stream.open())
    await disk.arrive("open")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    gate.set()
    await stream.close()


async def test_source_closed_between_opening_and_reading(path: Path) -> None:
    """The half under the guards, which would have said StreamClosed."""
    path.write_bytes(b"abc")
    stream = FileStream(path)
    assert stream._source is not None
    await stream._source.close()
    assert await stream._source.next(0) == b""
    await stream.close()


async def test_cancelled_close_still_closes(disk: Disk, path: Path) -> None:
    path.write_bytes(BIG)
    for k in (1, 2):
        gate = disk.gate("pread")
        with no_leak(path.parent):
            stream = FileStream(path)
            await stream.open()
            reading = asyncio.create_task(stream.readany())
            await disk.arrive("pread")
            closing = asyncio.create_task(stream.close())
            await asyncio.sleep(0)
            for _ in range(k):
                closing.cancel()
                await asyncio.sleep(0)
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await closing
            with pytest.raises(StreamClosed):
                await reading


async def test_hanging_read_is_left_to_its_thread(
    disk: Disk,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cancelled close does not wait for ever; the descriptor is not forgotten."""
    monkeypatch.setattr(worker, "_PATIENCE", 0.01)
    path.write_bytes(BIG)
    before = descriptors()
    gate = disk.gate("pread")
    stream = FileStream(path)
    await stream.open()
    reading = asyncio.create_task(stream.readany())
    await disk.arrive("pread")
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(StreamClosed):
        await reading
    assert "hangs" in caplog.text
    assert descriptors() > before
    del stream, reading, closing
    gate.set()
    await until(lambda: descriptors() == before)


async def test_dropped_reader_warns_and_frees_its_descriptor(path: Path) -> None:
    path.write_bytes(b"abc")
    with no_leak(path.parent):
        stream = FileStream(path)
        await stream.open()
        with pytest.warns(ResourceWarning, match=r"unclosed file 'target.bin'"):  # noqa: PT031
            del stream
            gc.collect()


def test_unused_stream_owns_nothing(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FileStream(path)
        FileStream(path, "wb")
        gc.collect()
    assert not path.exists()


# -- what may be asked for ---------------------------------------------------------


def test_arguments_that_make_no_sense(path: Path) -> None:
    for mode in ("ab", "r", "w", "rb+", ""):
        with pytest.raises(ValueError, match="mode must be"):
            FileStream(path, mode)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for reading"):
        FileStream(path, "wb", offset=1)
    with pytest.raises(ValueError, match="for reading"):
        FileStream(path, "wb", length=0)
    for name in ("", ".", "..", "a/", "a/.."):
        with pytest.raises(ValueError, match="does not name a file"):
            FileStream(name, "wb")
    with pytest.raises(ValueError, match="'a\\\\x00b' contains a NUL byte"):
        FileStream("a\0b", "wb")
    with pytest.raises(TypeError):
        FileStream(3)  # type: ignore[arg-type]
    assert FileStream(os.fsencode(path)).path == str(path)


async def test_reader_cannot_write_nor_writer_read(path: Path) -> None:
    path.write_bytes(OLD)
    async with FileStream(path) as stream:
        with pytest.raises(NotImplementedError):
            await stream.write(b"x")
        with pytest.raises(ValueError, match="no open file"):
            stream.fileno()
    async with FileStream(path, "wb") as stream:
        with pytest.raises(NotImplementedError):
            await stream.read()
        with pytest.raises(NotImplementedError):
            await stream.slice(0)
        with pytest.raises(ValueError, match="no open file"):
            stream.fileno()
        assert not stream.seekable
        assert stream.offset == 0
        assert stream.size is None
        assert stream.stat_result is None
        await stream.write(b"abc")
        assert repr(stream) == "<FileStream 3 bytes failed>"
    assert path.read_bytes() == b"abc"


# -- saving ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "size"),
    [
        (0, 1),
        (1, 1),
        (5000, 1),
        (64 * KiB, 7),
        (BATCH - 1, 1000),
        (BATCH, 64 * KiB),
        (MOST * 2 + 5, 64 * KiB),
        (MOST * 2 + 5, 8 * KiB - 1),
        (MOST * 2 + 5, MOST * 4),
    ],
)
async def test_saves_the_bytes_however_they_come(
    total: int, size: int, path: Path
) -> None:
    with no_leak(path.parent):
        await save(path, BIG[:total], size=size)
    assert path.read_bytes() == BIG[:total]


async def test_saves_every_kind_of_buffer(path: Path) -> None:
    import array

    numbers = array.array("I", range(5000))
    async with FileStream(path, "wb") as stream:
        await stream.write(bytearray(b"a" * 10_000))
        await stream.write(b"")
        await stream.write(memoryview(b"bcd")[::2])
        await stream.write(memoryview(numbers))
        await stream.write(memoryview(b"e"))
        with pytest.raises(TypeError):
            await stream.write("text")  # type: ignore[arg-type]
        assert stream.position == 10_000 + 2 + 20_000 + 1
    assert path.read_bytes() == b"a" * 10_000 + b"bd" + numbers.tobytes() + b"e"


async def test_small_file_costs_one_trip(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = 0
    run = ThreadCall._run

    def count(self: ThreadCall[None]) -> None:
        nonlocal trips
        trips += 1
        run(self)

    monkeypatch.setattr(ThreadCall, "_run", count)
    await save(path, BIG[: 60 * KiB], fsync=True, size=1000)
    assert trips == 1


async def test_short_writes_are_completed(disk: Disk, path: Path) -> None:
    disk.write_most = 7_777
    await save(path, BIG)
    assert path.read_bytes() == BIG


async def test_more_buffers_than_one_call_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writebehind, "_IOV_MAX", 2)
    await save(path, BIG, size=10_000)
    assert path.read_bytes() == BIG


async def test_write_of_nothing_does_not_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, chunks: 0)
    with no_leak(path.parent), pytest.raises(StorageError) as caught:
        await save(path, b"abc")
    assert caught.value.errno == errno.EIO


async def test_synced_in_the_order_that_survives(disk: Disk, path: Path) -> None:
    await save(path, b"abc", fsync=True)
    calls = [call for call in disk.calls if call in {"writev", "fsync", "replace"}]
    assert calls == ["writev", "fsync", "replace", "fsync"]
    disk.calls.clear()
    await save(path, b"abc")
    assert "fsync" not in disk.calls


async def test_open_makes_the_temporary_file(path: Path) -> None:
    path.write_bytes(OLD)
    async with FileStream(path, "wb") as stream:
        await stream.open()
        await stream.open()
        (name,) = temporaries(path.parent)
        found = (path.parent / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert path.read_bytes() == OLD
        await stream.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o000])
@pytest.mark.parametrize("proc", ["read", "unreadable", "silent"])
async def test_new_file_has_the_permissions_of_the_umask(
    proc: str, umask: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proc == "unreadable":

        def unreadable(*args: object) -> None:
            raise FileNotFoundError

        monkeypatch.setattr(draft, "open", unreadable, raising=False)
    elif proc == "silent":
        devnull = functools.partial(open, os.devnull)
        monkeypatch.setattr(
            draft, "open", lambda path, mode: devnull(mode), raising=False
        )
    before = os.umask(umask)
    try:
        await save(path, b"abc")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


async def test_replaced_file_keeps_its_permissions(path: Path) -> None:
    path.write_bytes(OLD)
    path.chmod(0o4604)
    await save(path, b"abc")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


async def test_exclusive_mode_never_replaces(path: Path) -> None:
    with no_leak(path.parent):
        await save(path, OLD, "xb", fsync=True)
        assert path.stat().st_nlink == 1
        with pytest.raises(ObjectExists, match="exists already"):
            await save(path, BIG, "xb")
        with pytest.raises(FileExistsError):
            async with FileStream(path, "xb") as stream:
                await stream.open()
    assert path.read_bytes() == OLD


async def test_exactly_one_exclusive_save_wins(path: Path) -> None:
    async def attempt(number: int) -> int | None:
        try:
            async with FileStream(path, "xb") as stream:
                await stream.open()
                await barrier.wait()
                await stream.write(b"%d" % number)
        except ObjectExists:
            return None
        return number

    barrier = asyncio.Barrier(5)
    with no_leak(path.parent):
        results = await asyncio.gather(*map(attempt, range(5)))
    (winner,) = (result for result in results if result is not None)
    assert path.read_bytes() == b"%d" % winner


async def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    """A rename would replace the link, the FIFO, even the device."""
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "directory").mkdir()
    (tmp_path / "to directory").symlink_to("directory")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "directory", "to directory", "fifo"):
        with no_leak(tmp_path), pytest.raises(StorageError, match="not a regular file"):
            await save(tmp_path / name, b"new")
    assert (tmp_path / "file").read_bytes() == OLD
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "nowhere").exists()
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


async def test_hard_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    os.link(tmp_path / "file", tmp_path / "other name")
    await save(tmp_path / "file", b"new")
    assert (tmp_path / "other name").read_bytes() == OLD


async def test_link_planted_during_the_save_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(OLD)
    async with FileStream(tmp_path / "target", "wb") as stream:
        await stream.open()
        (tmp_path / "target").symlink_to("precious")
        await stream.write(b"new")
        with pytest.raises(StorageError):
            await stream.close()
    assert (tmp_path / "precious").read_bytes() == OLD


async def test_directory_swapped_during_the_save(tmp_path: Path) -> None:
    """The file stays in the directory it was begun in."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    async with FileStream(inside / "file", "wb") as stream:
        await stream.open()
        inside.rename(tmp_path / "moved")
        inside.symlink_to(outside)
        await stream.write(b"new")
    assert (tmp_path / "moved" / "file").read_bytes() == b"new"
    assert list(outside.iterdir()) == []


async def test_directory_that_is_missing_or_removed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        await save(tmp_path / "missing" / "file", b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    with no_leak(tmp_path), pytest.raises(StorageError, match="No such file"):
        async with FileStream(folder / "file", "wb") as stream:
            await stream.open()
            for leftover in folder.iterdir():
                leftover.unlink()
            folder.rmdir()
    assert list(tmp_path.iterdir()) == []


async def test_left_by_an_exception_nothing_was_there(path: Path) -> None:
    path.write_bytes(OLD)
    for size in (10, len(BIG)):
        with no_leak(path.parent), pytest.raises(ZeroDivisionError):
            async with FileStream(path, "wb") as stream:
                for chunk in chunks(BIG[:size]):
                    await stream.write(chunk)
                raise ZeroDivisionError
        assert path.read_bytes() == OLD
    stream = FileStream(path)
    await stream.abort()
    assert stream.closed


# -- a disk that fails -------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "mode", "for_good", "code"),
    [
        *itertools.product(
            [100, len(BIG)], ["wb", "xb"], [False, True], [errno.ENOSPC]
        ),
        *itertools.product(
            [100], ["wb"], [False], [errno.EDQUOT, errno.EIO, errno.EMFILE, errno.EINTR]
        ),
    ],
)
async def test_every_call_fails(
    size: int,
    mode: Literal["wb", "xb"],
    for_good: bool,
    code: int,
    disk: Disk,
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The target is old or new, never between; nothing else is left."""
    disk.error = code
    new = BIG[:size]
    k = 0
    for k in itertools.count(1):
        disk.calls.clear()
        if mode == "wb":
            path.write_bytes(OLD)
        else:
            path.unlink(missing_ok=True)
        before = descriptors()
        disk.fail_at = k.__le__ if for_good else k.__eq__
        raised = None
        try:
            await save(path, new, mode, fsync=True)
        except StorageError as error:
            raised = error
        if raised is not None:
            assert raised.errno == code
            assert raised.status == STATUS.get(code, 500)
            assert isinstance(raised.__cause__, OSError)
            assert raised.__cause__.errno == code
        done = disk.calls[: k - 1]
        placed = "replace" in done or "link" in done
        if raised is not None or len(disk.calls) >= k:
            assert path.exists() == (mode == "wb" or placed)
        if path.exists():
            assert path.read_bytes() == (new if placed or raised is None else OLD)
        if raised is None:
            assert path.read_bytes() == new
            # Only calls of the clean-up may fail unnoticed; then they are logged
            # or the kernel has done its part.
            assert len(disk.calls) < k or disk.calls[k - 1] in {"close", "unlink"}
        assert descriptors() == before
        left = temporaries(path.parent)
        if left:
            assert "unlink" in disk.calls[k - 1 :]
            assert left[0] in caplog.text
            (path.parent / left[0]).unlink()
        if len(disk.calls) < k:
            break
    assert k > 8


async def test_failed_sync_is_not_tried_again(disk: Disk, path: Path) -> None:
    disk.fail_at = lambda k: disk.calls[k - 1] == "fsync"
    with no_leak(path.parent), pytest.raises(StorageError):
        await save(path, b"abc", fsync=True)
    assert disk.calls.count("fsync") == 1
    assert not path.exists()


async def test_error_behind_a_write_is_raised_by_the_next(
    disk: Disk, path: Path
) -> None:
    disk.error = errno.ENOSPC
    disk.fail_at = lambda k: disk.calls[k - 1] == "writev"
    with no_leak(path.parent):
        stream = FileStream(path, "wb")
        await stream.write(BIG[:BATCH])
        assert stream._target is not None
        target = stream._target
        await until(lambda: not target.behind.busy)
        depths = set()
        for _ in range(3):
            with pytest.raises(StorageError, match="No space left") as caught:
                await stream.write(b"x")
            depths.add(len(caught.traceback))
        assert len(depths) == 1  # the traceback does not grow
        with pytest.raises(StorageError):
            await stream.open()
        with pytest.raises(StorageError):
            await stream.close()
        await stream.close()


async def test_memory_is_made_to_stay_once_and_for_files_that_are_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = functools.cache(openfile._keep_memory.__wrapped__)
    monkeypatch.setattr(openfile, "_keep_memory", kept)
    path = tmp_path / "large"
    path.write_bytes(BIG * 2)
    for _ in range(2):
        async with FileStream(path) as stream:
            assert await stream.read() == BIG * 2
    assert kept.cache_info().misses == 1


async def test_other_errors_leave_nothing_either(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(draft, "write_all", fail)
    for size in (10, len(BIG)):
        with no_leak(path.parent), pytest.raises(MemoryError):
            await save(path, BIG[:size])


async def test_temporary_file_that_somebody_removed(path: Path) -> None:
    stream = FileStream(path, "wb")
    await stream.open()
    (name,) = temporaries(path.parent)
    (path.parent / name).unlink()
    await stream.abort()


# -- cancellation ------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 0.002])
@pytest.mark.parametrize("size", [100, len(BIG)], ids=["small", "big"])
async def test_save_cancelled_at_every_wait(
    size: int, delay: float, disk: Disk, path: Path
) -> None:
    new = BIG[:size]
    disk.delay = delay
    k = 0
    for k in itertools.count(1):
        path.write_bytes(OLD)
        suspensions = Suspensions(k)
        with no_leak(path.parent):
            task = asyncio.create_task(suspensions.run(save(path, new, fsync=True)))
            await asyncio.wait([task])
            # At once, without waiting for any thread:
            content = path.read_bytes()
            assert temporaries(path.parent) == []
        assert content == path.read_bytes()
        if suspensions.count < k:
            assert content == new
            assert task.exception() is None
            break
        assert task.cancelled()
        # A rename cannot be called back; with slow calls it has not begun.
        assert content == OLD or (content == new and not delay)
    assert k > 1


async def test_cancelled_write_has_taken_nothing(disk: Disk, path: Path) -> None:
    gate = disk.gate("writev")
    with no_leak(path.parent):
        async with FileStream(path, "wb") as stream:
            await stream.write(BIG[:BATCH])
            writing = asyncio.create_task(stream.write(BIG[BATCH : BATCH + MOST]))
            await disk.arrive("writev")
            await asyncio.sleep(0)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert stream.position == BATCH
            gate.set()
            await stream.write(BIG[BATCH:])
    assert path.read_bytes() == BIG


async def test_close_during_a_write_discards(disk: Disk, path: Path) -> None:
    path.write_bytes(OLD)
    gate = disk.gate("writev")
    with no_leak(path.parent):
        stream = FileStream(path, "wb")
        await stream.write(BIG[:BATCH])
        writing = asyncio.create_task(stream.write(BIG))
        await disk.arrive("writev")
        closing = asyncio.create_task(stream.close())
        with pytest.raises(StreamClosed):
            await writing
        gate.set()
        with pytest.raises(StreamBusy, match="discarded"):
            await closing
    assert path.read_bytes() == OLD


async def test_commit_cancelled_before_the_rename(disk: Disk, path: Path) -> None:
    path.write_bytes(OLD)
    gate = disk.gate("fsync")
    with no_leak(path.parent):
        stream = FileStream(path, "wb", fsync=True)
        await stream.write(b"new")
        closing = asyncio.create_task(stream.close())
        await disk.arrive("fsync")
        for _ in range(3):
            closing.cancel()
            await asyncio.sleep(0)
        assert not closing.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("call", ["writev", "fsync"])
async def test_hanging_save_is_left_to_its_thread(
    call: str,
    disk: Disk,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(worker, "_PATIENCE", 0.01)
    path.write_bytes(OLD)
    before = descriptors()
    gate = disk.gate(call)
    stream = FileStream(path, "wb", fsync=True)
    await stream.write(BIG[: BATCH if call == "writev" else 10])
    closing = asyncio.create_task(stream.close())
    await disk.arrive(call)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert "hangs" in caplog.text
    del stream, closing
    gate.set()
    await until(lambda: not temporaries(path.parent) and descriptors() == before)
    assert path.read_bytes() == OLD


async def cleaned_up(path: Path, before: set[str]) -> None:
    """By the thread that had the last reference, in its own time."""
    await until(lambda: not temporaries(path.parent) and descriptors() <= before)


@pytest.mark.parametrize("size", [10, len(BIG)])
async def test_dropped_writer_warns_and_leaves_nothing(size: int, path: Path) -> None:
    before = descriptors()
    stream = FileStream(path, "wb")
    await stream.write(BIG[:size])
    await asyncio.sleep(0.05)
    with pytest.warns(ResourceWarning, match="is discarded"):  # noqa: PT031
        del stream
        gc.collect()
    await cleaned_up(path, before)
    assert not path.exists()


@pytest.mark.parametrize("size", [10, len(BIG)])
def test_dropped_without_a_loop_leaves_nothing_either(size: int, path: Path) -> None:
    async def write() -> FileStream:
        stream = FileStream(path, "wb")
        await stream.write(BIG[:size])
        await asyncio.sleep(0.05)
        return stream

    before = descriptors()
    stream = asyncio.run(write())
    with pytest.warns(ResourceWarning, match="is discarded"):  # noqa: PT031
        del stream
        gc.collect()
    asyncio.run(cleaned_up(path, before))
    assert not path.exists()


# -- atomicity, threads, the event loop --------------------------------------------


async def test_readers_see_old_or_new_and_nothing_between(path: Path) -> None:
    versions = [bytes([n]) * (n * 40 * KiB) for n in range(1, 9)]
    path.write_bytes(versions[0])
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(25):
        for version in versions:
            await save(path, version)
    stop.set()
    watcher.join()
    assert len(seen) > 1
    assert seen <= set(versions)


KILLED = """
import asyncio
from aiostreams.files.file import FileStream
def main(path):
    asyncio.run(write(path))
async def write(path):
    n = 0
    while True:
        n = n % 9 + 1
        async with FileStream(path, "wb", fsync=n % 2 == 0) as stream:
            for _ in range(n * 20):
                await stream.write(bytes([n]) * 30_000)
        print(n, flush=True)
"""


def test_killed_at_any_point_leaves_a_whole_file(path: Path) -> None:
    with forks(KILLED) as writers:
        for n in range(8):
            writer = writers.start(path)
            assert writers.line() == "1\n"
            time.sleep(0.0137 * n)
            os.kill(writer, signal.SIGKILL)
            assert writers.ended() == -signal.SIGKILL
            data = path.read_bytes()
            assert data == bytes([data[0]]) * (data[0] * 600_000)
            others = {p.name for p in path.parent.iterdir()} - {path.name}
            assert others == set(temporaries(path.parent))


FORKED = """
import asyncio, os, sys
from aiostreams.files.file import FileStream
async def read():
    async with FileStream(sys.argv[1]) as stream:
        assert await stream.read() == b"abc"
asyncio.run(read())
pid = os.fork()
asyncio.run(asyncio.wait_for(read(), 10))
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_forked_child_has_threads_of_its_own(path: Path) -> None:
    path.write_bytes(b"abc")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(path)],
        check=True,
        timeout=25,
    )


async def test_slow_disk_does_not_hold_the_loop(disk: Disk, path: Path) -> None:
    disk.delay = 0.03
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start)

    beating = asyncio.create_task(beat())
    start = time.perf_counter()
    await save(path, BIG, fsync=True)
    async with FileStream(path) as stream:
        assert await stream.read() == BIG
    elapsed = time.perf_counter() - start
    beating.cancel()
    assert elapsed > 20 * disk.delay
    assert longest < elapsed / 4


async def test_threads_stay_few(path: Path) -> None:
    await asyncio.gather(*(save(path, b"x" * 100_000) for _ in range(100)))
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("aiostreams") for name in names) <= 32


async def test_as_file_works_in_more_threads_than_the_default_pool_has(
    path: Path,
) -> None:
    """Threads that wait for a stream must not take the places it needs."""
    path.write_bytes(BIG)
    streams = [FileStream(path) for _ in range(40)]
    sizes = await asyncio.gather(
        *(asyncio.to_thread(_drain, stream.as_file().readall) for stream in streams)
    )
    assert sizes == [len(BIG)] * 40
    for stream in streams:
        await stream.close()


def _drain(read: Callable[[], bytes | None]) -> int:
    return len(read() or b"")


# -- the parts that no stream can reach alone --------------------------------------


async def test_job_has_many_waiters() -> None:
    gate = threading.Event()
    job = ThreadCall(gate.wait)
    waiters = [asyncio.create_task(job.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    waiters[1].cancel()
    await asyncio.sleep(0)
    gate.set()
    await waiters[2]
    assert job.result() is True
    assert not job.failed
    await job.wait()
    await job.finish()


async def test_job_woken_with_a_waiter_that_was_just_cancelled() -> None:
    gate = threading.Event()
    job = ThreadCall(gate.wait)
    waiting = asyncio.create_task(job.wait())
    other = asyncio.create_task(job.wait())
    await asyncio.sleep(0)
    gate.set()
    while not job.done:
        time.sleep(0.001)
    time.sleep(0.01)  # the wake-up is on its way to the loop, behind this task
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await other


def test_job_outlives_its_loop() -> None:
    gate = threading.Event()
    jobs: list[ThreadCall[bool]] = []

    async def main() -> None:
        jobs.append(ThreadCall(gate.wait))
        waiting = asyncio.create_task(jobs[0].wait())
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    gate.set()
    while not jobs[0].done:
        time.sleep(0.001)
    assert jobs[0].result() is True


async def test_open_file_tells_when_it_was_closed(path: Path) -> None:
    path.write_bytes(b"abc")
    opened = OpenFile.open(str(path))
    opened.close()
    with pytest.raises(ValueError, match="is closed"):
        opened.fileno()


async def test_file_of_a_system_without_advice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(BIG)

    class Plain:
        def __getattr__(self, name: str) -> object:
            if name == "posix_fadvise":
                raise AttributeError(name)
            return getattr(os, name)

    monkeypatch.setattr(openfile, "os", Plain())
    async with FileStream(path) as stream:
        assert await stream.read() == BIG


async def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    for change, allowed in (("r+b", False), ("ab", True)):
        await asyncio.to_thread(path.write_bytes, b"old" * 1_000_000)
        async with FileStream(path) as stream:
            await stream.open()
            stream.check_same()
            await asyncio.to_thread(_write, path, change)
            if allowed:
                stream.check_same()
                assert await stream.read() == b"old" * 1_000_000
            else:
                with pytest.raises(StorageError, match="written to"):
                    stream.check_same()
                with pytest.raises(StorageError, match="written to"):
                    await stream.read()


def _write(path: Path, mode: str) -> None:
    with path.open(mode) as file:
        file.write(b"new")
    os.utime(path, ns=(1, 1))


async def test_writer_waits_where_its_batch_waits_for_a_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many upload at once then, so each of them holds little."""
    threads = Threads(1, 1, "test")
    monkeypatch.setattr(worker, "_pool", lambda: threads)
    gate = threading.Event()
    threads.submit(functools.partial(gate.wait, 10))
    async with FileStream(path, "wb") as stream:
        await stream.write(BIG[:BATCH])
        await stream.write(BIG[BATCH : 2 * BATCH - 1])
        writing = asyncio.create_task(stream.write(BIG[2 * BATCH - 1 :]))
        await turns()
        assert not writing.done()
        assert stream.position == 2 * BATCH - 1
        gate.set()
        await writing
    assert path.read_bytes() == BIG


async def test_writer_goes_on_while_its_batch_is_written(
    disk: Disk, path: Path
) -> None:
    gate = disk.gate("writev")
    async with FileStream(path, "wb") as stream:
        await stream.write(BIG[:BATCH])
        await disk.arrive("writev")
        async with asyncio.timeout(20):
            await stream.write(BIG[BATCH : BATCH + MOST - 1])
        gate.set()
        await stream.write(BIG[BATCH + MOST - 1 :])
    assert path.read_bytes() == BIG


async def test_save_that_syncs_is_no_obstacle_to_others(
    disk: Disk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(1, 2, "test")
    monkeypatch.setattr(worker, "_pool", lambda: threads)
    monkeypatch.setattr("aiostreams.streams.threads._LONG", 10.0)
    gate = disk.gate("fsync")
    stream = FileStream(path, "wb", fsync=True)
    await stream.write(b"new")
    closing = asyncio.create_task(stream.close())
    await disk.arrive("fsync")
    async with asyncio.timeout(20):
        await save(path.with_name("other"), b"quick")
    gate.set()
    await closing
    assert path.read_bytes() == b"new"
