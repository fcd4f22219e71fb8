"""What passes through: limits, callbacks, copies, digests, sections."""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    ChainStream,
    FileStream,
    HashStream,
    IterStream,
    LimitExceeded,
    LimitStream,
    ProgressStream,
    RateStream,
    SliceStream,
    Stream,
    StreamClosed,
    TeeStream,
    Transform,
)
from aiostreams.testing import (
    LAWS,
    DripStream,
    FailStream,
    SinkStream,
    SpyStream,
    StallStream,
)
from tests.waiting import turns


async def test_transforms_carry_size_type_and_liveness_through() -> None:
    class Live(ByteStream):
        live = True

    source = Live(b"abc", content_type="text/plain")
    stream = await Transform(LimitStream(source, 10)).open()
    assert (stream.size, stream.content_type, stream.live) == (3, "text/plain", True)


# -- limits ------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 100])
async def test_n_bytes_pass_and_one_more_does_not(pieces: int) -> None:
    assert await LimitStream(DripStream(b"12345", pieces), 5).read() == b"12345"
    stream = LimitStream(DripStream(b"123456", pieces), 5, what="thing")
    assert await stream.read(5) == b"12345"
    for _ in range(2):
        with pytest.raises(LimitExceeded, match="thing has at least 6 bytes, limit 5"):
            await stream.read(1)
    assert await LimitStream(ByteStream(b""), 0).read() == b""


async def test_a_source_that_says_its_size_is_refused_unread() -> None:
    spy = SpyStream(ByteStream(b"123456"))
    stream = LimitStream(spy, 5)
    with pytest.raises(LimitExceeded) as caught:
        await stream.read(1)
    assert (caught.value.limit, caught.value.seen, spy.reads) == (5, 6, 0)
    with pytest.raises(ValueError, match="negative"):
        LimitStream(spy, -1)


# -- callbacks ---------------------------------------------------------------------


async def test_progress_is_told_after_each_piece() -> None:
    told: list[tuple[int, int | None]] = []

    def plain(done: int, total: int | None) -> None:
        told.append((done, total))

    async def slow(done: int, total: int | None) -> None:
        await asyncio.sleep(0)
        told.append((done, total))

    for callback in (plain, slow):
        source = DripStream(b"12345", 2, known_size=True)
        assert await ProgressStream(source, callback).read() == b"12345"
    assert told == [(2, 5), (4, 5), (5, 5)] * 2


async def test_a_callback_that_fails_fails_the_read() -> None:
    def broken(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    stream = ProgressStream(ByteStream(b"abc"), broken)
    with pytest.raises(ZeroDivisionError):
        await stream.read()


async def test_a_callback_under_way_is_ended_by_close() -> None:
    ended = asyncio.Event()

    async def stuck(done: int, total: int | None) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stream = ProgressStream(ByteStream(b"abc"), stuck)
    reader = asyncio.create_task(stream.read())
    await turns()
    await stream.close()
    assert ended.is_set()
    with pytest.raises(StreamClosed):
        await reader


async def test_a_callback_that_has_not_begun_is_dropped_by_close() -> None:
    """Silently: asyncio would warn of a coroutine that nobody awaits."""

    async def late(done: int, total: int | None) -> None:
        raise AssertionError("called after all")

    stream = ProgressStream(ByteStream(b"abc"), late)
    reader = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await stream.close()
    with pytest.raises((StreamClosed, AssertionError)):
        await reader
    gc.collect()


@pytest.mark.parametrize("kind", ["progress", "tee"])
async def test_a_cancelled_close_closes_the_source(kind: str) -> None:
    class Slow(ByteStream):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.Event().wait()

    async def slow(done: int, total: int | None) -> None:
        await Slow().write(b"")

    source = ByteStream(b"abc")
    stream: Transform = TeeStream(source, Slow())
    if kind == "progress":
        stream = ProgressStream(source, slow)
    reader = asyncio.create_task(stream.read())
    await turns()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stream.close()
    assert source.closed
    with pytest.raises(StreamClosed):
        await reader


# -- copies ------------------------------------------------------------------------


async def test_every_sink_gets_every_piece_and_stays_open() -> None:
    sinks = [SinkStream(), SinkStream(turns=3)]
    async with TeeStream(DripStream(b"abcdef", 4), *sinks) as stream:
        assert await stream.read() == b"abcdef"
    for sink in sinks:
        assert bytes(sink.written) == b"abcdef"
        assert not sink.closed
    assert await TeeStream(ByteStream(b"x")).read() == b"x"


async def test_a_sink_that_fails_fails_the_read() -> None:
    stream = TeeStream(DripStream(b"abcdef", 2), SinkStream(fail_at=3))
    assert await stream.read(2) == b"ab"
    with pytest.raises(RuntimeError, match="sink failed"):
        await stream.read()


# -- digests -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 32 * 1024 + 1, 3_000_000])
@pytest.mark.parametrize("pieces", [1000, 400_000])
async def test_digests_of_what_passed(size: int, pieces: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stream = HashStream(DripStream(data, pieces, turns=0), "sha256", "md5")
    assert await stream.read() == data
    assert stream.digests == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
    }
    await stream.close()


async def test_sha256_unless_told_and_only_fixed_lengths() -> None:
    assert list(HashStream(ByteStream(b"")).digests) == ["sha256"]
    for name in ("shake_128", "nobody"):
        with pytest.raises(ValueError, match=name):
            HashStream(ByteStream(b""), name)


async def test_a_cancelled_reader_hashes_nothing_twice() -> None:
    data = bytes(range(256)) * 12_000
    stream = HashStream(DripStream(data, 200_000, turns=1))
    got = b""
    for turn in range(200):
        reader = asyncio.create_task(stream.readany())
        for _ in range(turn % 5):
            await asyncio.sleep(0)
        reader.cancel()
        try:
            got += await reader
        except asyncio.CancelledError:
            continue
    got += await stream.read()
    assert got == data
    assert stream.digests["sha256"] == hashlib.sha256(data).hexdigest()


async def test_a_failing_hash_fails_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(hashes: Any, pieces: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("aiostreams.streams.hashing.Hashes.update", broken)
    stream = HashStream(DripStream(bytes(2_000_000), 300_000))
    with pytest.raises(MemoryError):
        await stream.read()


# -- sections ----------------------------------------------------------------------


async def test_a_chain_knows_what_all_its_sources_know() -> None:
    chain = ChainStream(
        ByteStream(b"ab", content_type="a/b"), ByteStream(b"c", content_type="a/b")
    )
    assert (chain.size, chain.content_type, chain.seekable) == (3, "a/b", True)
    mixed = ChainStream(ByteStream(b"ab", content_type="a/b"), IterStream([b"c"]))
    assert (mixed.size, mixed.content_type, mixed.seekable) == (None, None, False)
    with pytest.raises(NotImplementedError):
        await mixed.slice(0)
    assert await (await mixed.open()).read() == b"abc"
    assert await ChainStream().read() == b""


@pytest.mark.parametrize("offset", range(8))
@pytest.mark.parametrize("length", [None, 0, 1, 3, 9])
async def test_slices_of_chains_and_slices(offset: int, length: int | None) -> None:
    data = b"abcdefg"
    expected = data[offset:] if length is None else data[offset : offset + length]
    chain = ChainStream(ByteStream(b"abc"), ByteStream(b""), ByteStream(b"defg"))
    assert await (await chain.slice(offset, length)).read() == expected
    inner = SliceStream(ByteStream(b"--" + data + b"--"), 2, 7)
    part = await inner.slice(offset, length)
    assert (part.size, await part.read()) == (len(expected), expected)
    for source in (ByteStream(data), DripStream(data, 2), IterStream([data])):
        async with SliceStream(source, offset, length) as stream:
            assert await stream.read() == expected
            assert stream.size in {None, len(expected)}
    open_end = SliceStream(ByteStream(b"--" + data), 2)
    assert await (await open_end.slice(offset, length)).read() == expected


async def test_a_slice_reads_no_further_than_it_must() -> None:
    spy = SpyStream(DripStream(b"0123456789", 2))
    assert await SliceStream(spy, 3, 4).read() == b"3456"
    assert spy.pulled == 8
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            SliceStream(spy, offset, length)


async def test_a_transform_that_changes_nothing_passes_everything() -> None:
    """The base class is one; its subclasses say what they do otherwise."""
    plain = Transform(ByteStream(b"abc", content_type="text/plain"))
    assert (plain.size, plain.content_type, plain.live) == (3, "text/plain", False)
    async with plain:
        assert await plain.readany() == b"abc"


class Upper(Transform):
    """What a user writes: one method, and one more to seek."""

    async def readany(self) -> bytes:
        return (await self.source.readany()).upper()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        return Upper(await self.source.slice(offset, length))


async def test_a_transform_seeks_if_it_can_and_its_source_can() -> None:
    assert not Transform(ByteStream(b"abc")).seekable
    assert not Upper(IterStream([b"abc"])).seekable
    upper = Upper(ByteStream(b"abcdef"))
    assert upper.seekable
    assert await (await upper.slice(1, 3)).read() == b"BCD"
    assert await SliceStream(upper, 4).read() == b"EF"
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            await upper.slice(offset, length)
    await upper.close()
    with pytest.raises(StreamClosed):
        await upper.slice(0)


async def test_a_transform_of_another_length_has_no_size() -> None:
    class Doubled(Transform):
        def __init__(self, source: Stream) -> None:
            super().__init__(source, keeps_size=False)

        async def readany(self) -> bytes:
            return 2 * await self.source.readany()

    doubled = Doubled(ByteStream(b"abc"))
    assert doubled.size is None
    assert await doubled.read() == b"abcabc"


async def test_a_transform_opens_and_closes_its_source(tmp_path: Path) -> None:
    path = tmp_path / "file"
    await asyncio.to_thread(path.write_bytes, b"abc")
    source = FileStream(path)
    async with Upper(source) as upper:
        sizes = [upper.size]
        await upper.open()
        assert [*sizes, upper.size] == [None, 3]
    assert source.closed


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law_of_a_transform_of_a_user(law: Any) -> None:
    class Same(Transform):
        async def readany(self) -> bytes:
            return await self.source.readany()

    await law(Same)


async def test_a_slice_behind_the_end_is_empty() -> None:
    for source in (ByteStream(b"abc"), IterStream([b"a", b"bc"])):
        for offset in (3, 4, 99):
            assert await SliceStream(source, offset).readany() == b""
    assert SliceStream(ByteStream(b"abc"), 1).seekable
    assert not SliceStream(IterStream([b"abc"]), 1).seekable


async def test_closing_a_chain_closes_all_although_one_fails() -> None:
    class Broken(ByteStream):
        async def close(self) -> None:
            raise OSError("cannot close")

    last = ByteStream(b"x")
    with pytest.raises(OSError, match="cannot close"):
        await ChainStream(Broken(b""), last).close()
    assert last.closed


async def test_a_cancelled_close_closes_the_rest_of_a_chain() -> None:
    class Slow(ByteStream):
        async def close(self) -> None:
            await asyncio.Event().wait()

    class Broken(ByteStream):
        async def close(self) -> None:
            raise OSError("cannot close")

    last = ByteStream(b"x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ChainStream(Broken(b""), Slow(b""), last).close()
    assert last.closed


async def test_a_slice_that_cannot_be_had_leaves_none_open() -> None:
    made: list[ByteStream] = []

    class Counting(ByteStream):
        async def slice(self, offset: int, length: int | None = None) -> ByteStream:
            made.append(await super().slice(offset, length))
            return made[-1]

    class Broken(ByteStream):
        async def slice(self, offset: int, length: int | None = None) -> ByteStream:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await ChainStream(Counting(b"ab"), Broken(b"cd")).slice(0)
    assert made[0].closed


async def test_errors_of_sources_pass_through_sections() -> None:
    chain = ChainStream(ByteStream(b"ab"), FailStream(b"cd", 1))
    assert await chain.read(3) == b"abc"
    with pytest.raises(RuntimeError):
        await chain.read()
    stalled = SliceStream(StallStream(b"abc"), 1)
    assert await stalled.read(2) == b"bc"
    await stalled.close()


# -- rates ---------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [7, 100, 1000])
async def test_a_rate_is_kept_however_the_bytes_come(pieces: int) -> None:
    data = bytes(range(250)) * 4
    loop = asyncio.get_running_loop()
    stream = RateStream(DripStream(data, pieces, known_size=True), 10_000)
    assert stream.size == 1000
    begun = loop.time()
    found = [piece async for piece in stream.iter_any()]
    took = loop.time() - begun
    assert b"".join(found) == data
    assert max(map(len, found)) <= 500
    # The last 50 ms are not waited for, and so much may be made up for.
    assert took >= 0.1 - 0.05 - 0.05 - 0.001
    if pieces <= 100:
        assert took >= 0.03


async def test_a_slow_source_gathers_no_right_to_be_fast() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a" * 10
        await asyncio.sleep(0.3)  # in which 30 bytes could have gone
        yield b"b" * 20

    loop = asyncio.get_running_loop()
    stream = RateStream(IterStream(pieces()), 100)
    await stream.read(11)
    begun = loop.time()
    assert await stream.read() == b"b" * 19
    assert loop.time() - begun >= 0.08


async def test_a_read_that_is_cancelled_while_it_is_held_up_loses_nothing() -> None:
    stream = RateStream(ByteStream(b"abcdefgh"), 20)
    assert await stream.read(2) == b"ab"
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await stream.readany()
    assert await stream.read(2) == b"cd"
    await stream.close()


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_is_positive_and_finite(rate: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        RateStream(ByteStream(b""), rate)
