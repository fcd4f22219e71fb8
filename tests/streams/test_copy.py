"""copy: every byte once and in order, reading while writing, nothing lost on failure."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Generator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    FileStream,
    IterStream,
    KiB,
    MiB,
    SpooledStream,
    StorageError,
    Stream,
    StreamClosed,
    copy,
)
from aiostreams.testing import DripStream, FailStream, SpyStream
from tests.files.disks import Suspensions, no_leak

BIG = os.urandom(2 * MiB + 123)


class Sink(Stream):
    """Keeps what it is given; waits a few turns for each piece if told to."""

    def __init__(self, turns: int = 0) -> None:
        self.turns = turns
        self.pieces: list[bytes] = []
        self.writing = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writing = True
        for _ in range(self.turns):
            await asyncio.sleep(0)
        self.pieces.append(bytes(data))
        self.writing = False

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("pause", [0, 1, 4])
@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
async def test_copies_every_byte_in_order(piece: int, pause: int, turns: int) -> None:
    data = BIG[: piece * 30 + 5]
    sink = Sink(turns)
    source = DripStream(data, piece, turns=pause)
    assert await copy(source, sink) == len(data)
    assert sink.data == data
    assert await source.read() == b""
    assert not source.closed
    assert not sink.closed


async def test_copies_nothing_from_an_empty_stream() -> None:
    sink = Sink()
    assert await copy(ByteStream(), sink) == 0
    assert sink.pieces == []


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize("chunk_size", [1, 3, 4, 10, 11, 1000])
async def test_pieces_are_no_larger_than_chunk_size(
    chunk_size: int, turns: int
) -> None:
    sink = Sink(turns)
    source = IterStream([b"0123456789", b"a", b"bcdefghijkl"])
    assert await copy(source, sink, chunk_size=chunk_size) == 22
    assert sink.data == b"0123456789abcdefghijkl"
    assert max(map(len, sink.pieces)) == min(chunk_size, 11)


@pytest.mark.parametrize("chunk_size", [0, -1])
async def test_chunk_size_is_positive(chunk_size: int) -> None:
    with pytest.raises(ValueError, match=f"chunk_size is {chunk_size}, expected"):
        await copy(ByteStream(), Sink(), chunk_size=chunk_size)


async def test_reads_the_next_bytes_while_writing_the_last() -> None:
    overlaps = 0
    sink = Sink(turns=5)

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal overlaps
        for _ in range(10):
            overlaps += sink.writing
            await asyncio.sleep(0)
            yield b"abc"

    async with IterStream(pieces()) as source:
        assert await copy(source, sink) == 30
    assert overlaps == 9


async def test_reads_no_further_ahead_than_one_piece() -> None:
    released = asyncio.Event()

    class Stalled(Sink):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await released.wait()
            await super().write(data)

    given = 0

    def pieces() -> Generator[bytes]:
        nonlocal given
        for _ in range(10):
            given += 1
            yield b"abc"

    copying = asyncio.create_task(copy(IterStream(pieces()), Stalled()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert given == 2
    released.set()
    assert await copying == 30


async def test_sink_that_does_not_wait_costs_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(coroutine: object) -> None:
        raise AssertionError("a task was made")

    monkeypatch.setattr(asyncio, "create_task", refuse)
    assert await copy(IterStream([b"abc"] * 1000), Sink()) == 3000


@pytest.mark.parametrize("piece", [1, 64 * KiB])
async def test_other_tasks_get_their_turn(piece: int) -> None:
    """Also when neither side ever waits, however small the pieces are."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await copy(IterStream(itertools.repeat(bytes(piece), 3200)), Sink())
    counting.cancel()
    assert turns >= 3200 // 64 - 1


async def test_awaitables_other_than_coroutines_will_do() -> None:
    class Eager(Sink):
        def write(self, data: bytes | bytearray | memoryview) -> Any:
            self.pieces.append(bytes(data))
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, None)
            return future

    class Unguarded:
        """Only the method that copy calls."""

        def __init__(self) -> None:
            self.write: Any = Eager.write.__wrapped__.__get__(self)  # type: ignore[attr-defined]
            self.pieces: list[bytes] = []

    sink: Any = Unguarded()
    assert await copy(IterStream([b"abc"] * 5), sink) == 15
    assert b"".join(sink.pieces) == b"abc" * 5


# -- failures ----------------------------------------------------------------------


class Full(Sink):
    """Fails once it has taken ``room`` bytes."""

    def __init__(self, room: int, turns: int) -> None:
        super().__init__(turns)
        self.room = room

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if len(self.data) + len(data) > self.room:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            raise StorageError("full")
        await super().write(data)


@pytest.mark.parametrize("turns", [0, 1, 5])
@pytest.mark.parametrize("pause", [0, 1, 9])
@pytest.mark.parametrize("chunk_size", [4, 10, 1000])
async def test_failing_sink_leaves_the_rest_in_the_source(
    chunk_size: int, pause: int, turns: int
) -> None:
    data = BIG[:100]
    for room in range(0, 100, 7):
        sink = Full(room, turns)
        source = DripStream(data, 10, turns=pause)
        with pytest.raises(StorageError, match="full"):
            await copy(source, sink, chunk_size=chunk_size)
        rest = await source.read()
        # All but the one piece that was being written.
        lost = data[len(sink.data) : len(data) - len(rest)]
        assert 0 < len(lost) <= chunk_size
        assert sink.data + lost + rest == data


@pytest.mark.parametrize("turns", [0, 3])
async def test_failing_source_raises_after_its_data(turns: int) -> None:
    sink = Sink(turns)
    source = FailStream(BIG[:1000], 500, ZeroDivisionError(), pieces=100)
    with pytest.raises(ZeroDivisionError):
        await copy(source, sink)
    assert sink.data == BIG[:500]
    with pytest.raises(ZeroDivisionError):
        await source.read()


async def test_source_fails_while_the_sink_does() -> None:
    source = FailStream(BIG[:1000], 500, ZeroDivisionError(), pieces=100)
    with pytest.raises(StorageError, match="full"):
        await copy(source, Full(450, 5))
    with pytest.raises(ZeroDivisionError):
        await source.read()


async def test_source_closed_by_another_task() -> None:
    sink = Sink(turns=10)
    source = DripStream(BIG[:1000], 10, turns=1)
    copying = asyncio.create_task(copy(source, sink))
    for _ in range(5):
        await asyncio.sleep(0)
    await source.close()
    with pytest.raises(StreamClosed):
        await copying


async def test_sink_fails_after_the_source_was_closed() -> None:
    source = DripStream(BIG[:1000], 10)
    copying = asyncio.create_task(copy(source, Full(0, 10), chunk_size=3))
    for _ in range(5):
        await asyncio.sleep(0)
    await source.close()
    with pytest.raises(StorageError, match="full"):
        await copying


# -- cancellation ------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 4])
@pytest.mark.parametrize("pause", [0, 1, 3])
@pytest.mark.parametrize("chunk_size", [4, 1000])
async def test_cancelled_at_every_wait_nothing_is_lost(
    chunk_size: int, pause: int, turns: int
) -> None:
    data = BIG[:100]
    k = 0
    for k in itertools.count(1):
        sink = Sink(turns)
        source = DripStream(data, 10, turns=pause)
        suspensions = Suspensions(k)
        task = asyncio.create_task(
            suspensions.run(copy(source, sink, chunk_size=chunk_size))
        )
        await asyncio.wait([task])
        rest = await source.read()
        lost = data[len(sink.data) : len(data) - len(rest)]
        assert len(lost) <= chunk_size
        assert sink.data + lost + rest == data
        if suspensions.count < k:
            assert not lost
            break
        assert task.cancelled()


async def test_cancelled_again_while_the_read_ahead_ends() -> None:
    class Stubborn(Stream):
        """Takes its time to be cancelled, however often it is."""

        def __init__(self) -> None:
            self.first = True

        async def readany(self) -> bytes:
            if self.first:
                self.first = False
                return b"abc"
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                for _ in range(5):
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)
                raise
            return b""

    source = Stubborn()
    copying = asyncio.create_task(copy(source, Sink(turns=1000)))
    for n in range(8):
        await asyncio.sleep(0)
        if n >= 4:
            copying.cancel()
    assert not copying.done()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancellation_that_the_sink_swallows() -> None:
    """What a write does about its cancellation is its own affair."""

    class Deaf(Sink):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
            self.pieces.append(bytes(data))

    sink = Deaf()
    copying = asyncio.create_task(copy(IterStream([b"abc"] * 3), sink))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    copying.cancel()
    assert await copying == 9
    assert sink.data == b"abc" * 3


async def test_cancellation_that_a_write_ends_at_once() -> None:
    class Final(Sink):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            self.pieces.append(bytes(data))
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                return

    sink = Final()
    copying = asyncio.create_task(copy(IterStream([b"abc"]), sink))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    copying.cancel()
    assert await copying == 3


def test_copy_that_is_thrown_away_closes_its_write() -> None:
    """As when the interpreter drops a coroutine that never ended."""
    ended: list[type[BaseException]] = []

    class Dropped(Sink):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            try:
                await Pending()
            except BaseException as error:
                ended.append(type(error))
                raise

    class Pending(Awaitable[None]):
        def __await__(self) -> Generator[None]:
            yield

    async def main() -> None:
        source = ByteStream(b"abc")
        coroutine = copy(source, Dropped(), chunk_size=2)
        coroutine.send(None)
        coroutine.close()
        assert await source.read() == b"c"

    asyncio.run(main())
    assert ended == [GeneratorExit]


# -- with real files ---------------------------------------------------------------


async def test_from_file_to_spool_to_file(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(BIG)
    with no_leak(tmp_path):
        async with (
            FileStream(tmp_path / "from") as source,
            SpooledStream(max_memory=100 * KiB, dir=tmp_path) as spool,
            FileStream(tmp_path / "to", "wb") as sink,
        ):
            assert await copy(source, spool) == len(BIG)
            assert await copy(spool, sink, chunk_size=50_000) == len(BIG)
    assert (tmp_path / "to").read_bytes() == BIG


async def test_cancelled_copy_into_a_file_leaves_nothing(tmp_path: Path) -> None:
    async def save() -> None:
        async with FileStream(tmp_path / "to", "wb") as sink:
            await copy(source, sink)

    k = 0
    for k in itertools.count(1):
        source = IterStream([BIG[:999]] * 999)
        suspensions = Suspensions(k)
        with no_leak(tmp_path):
            task = asyncio.create_task(suspensions.run(save()))
            await asyncio.wait([task])
        if suspensions.count < k:
            break
        assert task.cancelled()
        (tmp_path / "to").unlink(missing_ok=True)
    assert k > 2
    assert (tmp_path / "to").stat().st_size == 999 * 999


async def test_spy_is_read_only_once() -> None:
    source = SpyStream(ByteStream(BIG))
    sink = Sink(turns=1)
    assert await copy(source, sink) == len(BIG)
    assert sink.data == BIG
