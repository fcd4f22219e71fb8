"""Encoding: readable by everybody, deterministic, live when asked, never in the way."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import statistics
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    DecodedStream,
    EncodedStream,
    GZipStream,
    IterStream,
    KiB,
    MalformedBody,
    MiB,
    Stream,
    StreamClosed,
    UnsupportedContent,
)
from aiostreams.codings import encoded
from aiostreams.codings.encoded import encode_whole
from aiostreams.codings.registry import make_decoder
from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.testing import DripStream, FailStream, SpyStream
from aiostreams.testing.laws import LAWS
from tests.codings.bodies import CODINGS, LOOSE, MIXED, TEXT, on_all_backends
from tests.waiting import turns


class Feed(Stream):
    """Gives what ``put`` was given, then waits; ``None`` ends it."""

    live = False

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, piece: bytes | None) -> None:
        self.pieces.put_nowait(piece)

    async def readany(self) -> bytes:
        return await self.pieces.get() or b""


class Reader:
    """Decodes what has come out so far, as a client that never waits for the end."""

    def __init__(self, coding: str) -> None:
        self.decoders = [make_decoder(name) for name in reversed(coding.split(", "))]

    def __call__(self, data: bytes) -> bytes:
        for decoder in self.decoders:
            decoder.feed(data)
            data = b"".join(iter(lambda: decoder.decode(MiB), None))  # noqa: B023
        return data


async def decoded(encoded: bytes, coding: str) -> bytes:
    return await DecodedStream(ByteStream(encoded), coding, limits=LOOSE).read()


# -- what is written ---------------------------------------------------------------


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, br", "deflate, X-GZip"])
@pytest.mark.parametrize("data", [b"", b"x", MIXED])
async def test_output_does_not_depend_on_how_the_bytes_came(
    coding: str, data: bytes
) -> None:
    encoded = await EncodedStream(ByteStream(data), coding).read()
    assert await decoded(encoded, coding) == data
    for sizes in (999, (1, 70_000, 3), 64 * KiB, 10**9):
        source = DripStream(data, sizes, turns=0)
        assert await EncodedStream(source, coding).read() == encoded
    if len(data) == 1:
        assert await EncodedStream(DripStream(data, 1), coding).read() == encoded


@pytest.mark.parametrize(
    ("coding", "command", "suffix"),
    [
        ("gzip", ["gzip", "-dc"], ".gz"),
        ("zstd", ["zstd", "-q", "-dc"], ".zst"),
        ("br", ["brotli", "-dc"], ".br"),
    ],
)
async def test_what_is_written_is_read_by_the_command_line(
    coding: str, command: list[str], suffix: str, tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    file = tmp_path / f"encoded{suffix}"
    for data in (b"", MIXED):
        stream = EncodedStream(DripStream(data, 30_000), coding)
        await stream.flush()
        file.write_bytes(await stream.read())
        run = await asyncio.to_thread(
            subprocess.run, [*command, str(file)], capture_output=True, check=True
        )
        assert run.stdout == data


def test_size_and_type() -> None:
    source = ByteStream(TEXT, content_type="text/plain")
    stream = EncodedStream(source, "gzip")
    assert stream.size is None
    assert stream.content_type == "text/plain"
    assert EncodedStream(source, "identity").size == len(TEXT)


async def test_identity_passes_through() -> None:
    stream = EncodedStream(ByteStream(TEXT), "identity")
    await stream.flush()
    assert await stream.read() == TEXT


def test_coding_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown content coding 'lzma'"):
        EncodedStream(ByteStream(), "lzma")
    with pytest.raises(UnsupportedContent):
        EncodedStream(ByteStream(), "gz ip")
    with pytest.raises(ValueError, match="levels 0 to 9, not 11"):
        GZipStream(ByteStream(), level=11)


# -- live --------------------------------------------------------------------------


@on_all_backends
@pytest.mark.parametrize("coding", [*CODINGS, "gzip, zstd"])
@pytest.mark.parametrize("by", ["argument", "attribute"])
async def test_live_pieces_come_out_at_once(coding: str, by: str) -> None:
    feed = Feed()
    feed.live = by == "attribute"
    stream = EncodedStream(feed, coding, live=True if by == "argument" else None)
    assert stream.live
    read = Reader(coding)
    for event in (b"data: 1\n\n", b"data: 2\n\n", os.urandom(300_000), b"data: 3\n\n"):
        feed.put(event)
        got = b""
        while len(got) < len(event):
            got += read(await asyncio.wait_for(stream.readany(), 20))
        assert got == event
    feed.put(None)
    assert read(await stream.readany()) == b""
    assert await stream.readany() == b""
    for decoder in read.decoders:
        decoder.finish()


async def test_live_event_comes_out_within_50_ms() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip", live=True)
    read = Reader("gzip")
    waits = []
    for n in range(20):
        reader = asyncio.create_task(stream.readany())
        await turns()
        started = time.perf_counter()
        feed.put(b"event %d\n" % n)
        assert read(await reader) == b"event %d\n" % n
        waits.append(time.perf_counter() - started)
    # Now and then a busy machine has no time for it.
    assert statistics.median(waits) < 0.05


async def test_live_is_looked_at_after_each_piece() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    assert not stream.live
    reader = asyncio.create_task(stream.readany())
    feed.put(b"not now, ")
    await turns()
    assert not reader.done()
    feed.live = True
    feed.put(b"now")
    assert Reader("gzip")(await reader) == b"not now, now"


@pytest.mark.needs_codings("br")
async def test_live_carries_through_encodings() -> None:
    feed = Feed()
    feed.live = True
    stream = EncodedStream(EncodedStream(feed, "gzip"), "br")
    feed.put(b"event")
    assert Reader("gzip, br")(await stream.readany()) == b"event"


@on_all_backends
@pytest.mark.parametrize("coding", [*CODINGS, "gzip, br"])
async def test_flush_lets_out_what_went_in_while_a_read_waits(coding: str) -> None:
    feed = Feed()
    stream = EncodedStream(feed, coding)
    read = Reader(coding)
    for n in range(5):
        reader = asyncio.create_task(stream.readany())
        feed.put(b"a%d " % n)
        await turns()
        feed.put(b"b%d " % n)
        await stream.flush()  # the second piece is on its way only
        got = read(await reader)
        if got == b"a%d " % n:
            got += read(await stream.readany())
        assert got == b"a%d b%d " % (n, n)
    feed.put(None)
    assert read(await stream.read()) == b""


async def test_flush_before_the_piece_came() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    read = Reader("gzip")
    await stream.flush()
    feed.put(b"event")
    feed.put(b"more")
    assert read(await stream.readany()) == b"event"
    reader = asyncio.create_task(stream.readany())
    await turns()
    assert not reader.done()  # one flush for one flush()
    reader.cancel()


async def test_flush_while_a_read_waits_for_the_first_piece() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    reader = asyncio.create_task(stream.readany())
    await turns()
    await stream.flush()
    await turns()
    feed.put(b"event")
    assert Reader("gzip")(await asyncio.wait_for(reader, 20)) == b"event"


async def test_flush_after_a_cancelled_read() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    feed.put(b"gathered")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.readany(), 0.01)
    await stream.flush()
    assert Reader("gzip")(await stream.readany()) == b"gathered"


async def test_flush_of_what_the_encoder_keeps() -> None:
    """After a block has come out, its end is still inside."""
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    data = os.urandom(64 * KiB)
    feed.put(data)
    read = Reader("gzip")
    got = b""
    reader = asyncio.create_task(stream.readany())
    for _ in range(3):
        await asyncio.wait([reader], timeout=0.02)
        if reader.done():
            got += read(await reader)
            reader = asyncio.create_task(stream.readany())
        else:
            await stream.flush()
    assert got == data
    reader.cancel()


async def test_flush_while_the_worker_has_a_block() -> None:
    set_zlib_backend(zlib)
    feed = Feed()
    stream = EncodedStream(feed, "gzip", level=9)
    read = Reader("gzip")
    feed.put(TEXT[: 128 * KiB])
    reader = asyncio.create_task(stream.readany())
    while stream._job is None:
        await asyncio.sleep(0)
    await stream.flush()
    got = read(await reader)
    while len(got) < 128 * KiB:
        got += read(await stream.readany())
    assert got == TEXT[: 128 * KiB]


async def test_flush_asked_for_by_the_source_itself() -> None:
    """In its generator, on every way a generator is stepped."""

    async def events() -> AsyncIterator[bytes]:
        for n in range(3):
            yield b"a"
            await stream.flush()
            yield b"b%d" % n
            await turns()

    class Direct(Stream):
        def __init__(self) -> None:
            self.left = 4

        async def readany(self) -> bytes:
            await stream.flush()
            self.left -= 1
            return b"x" if self.left else b""

    stream = EncodedStream(IterStream(events()), "gzip")
    assert gzip.decompress(await stream.read()) == b"ab0ab1ab2"
    stream = EncodedStream(Direct(), "gzip")
    read = Reader("gzip")
    for _ in range(3):
        assert read(await stream.readany()) == b"x"


async def test_flush_of_a_source_that_swallows_the_interruption() -> None:
    class Deaf(Stream):
        def __init__(self) -> None:
            self.pieces = [b"one", b"two"]

        async def readany(self) -> bytes:
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                pass
            return self.pieces.pop(0) if self.pieces else b""

    stream = EncodedStream(Deaf(), "gzip")
    reader = asyncio.create_task(stream.readany())
    await asyncio.sleep(0.03)
    await stream.flush()
    await stream.flush()
    assert Reader("gzip")(await reader) == b"onetwo"
    assert reader.cancelling() == 0


async def test_cancellation_is_not_taken_for_a_flush() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    reader = asyncio.create_task(stream.readany())
    feed.put(b"kept")
    await turns()
    await stream.flush()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert Reader("gzip")(await stream.readany()) == b"kept"


async def test_closing_during_a_flush_is_not_taken_for_one() -> None:
    feed = Feed()
    stream = EncodedStream(feed, "gzip")
    reader = asyncio.create_task(stream.readany())
    feed.put(b"lost")
    await turns()
    await stream.flush()
    await stream.close()
    with pytest.raises(StreamClosed):
        await reader
    with pytest.raises(StreamClosed):
        await stream.flush()


# -- failures, closing, the loop ---------------------------------------------------


@on_all_backends
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("after", [0, 1, 5000, 400_000])
async def test_failing_source_gives_its_bytes_and_no_end(
    coding: str, after: int
) -> None:
    stream = EncodedStream(
        FailStream(MIXED, after, OSError("gone"), pieces=9999), coding
    )
    got = b""
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            while piece := await stream.readany():
                got += piece
    assert Reader(coding)(got) == MIXED[:after]
    if got:
        with pytest.raises(MalformedBody):
            await decoded(got, coding)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_leaving_midway_writes_no_end(coding: str, how: str) -> None:
    spy = SpyStream(ByteStream(MIXED))
    stream = EncodedStream(spy, coding)
    got = await stream.readany()
    await getattr(stream, how)()
    await getattr(stream, how)()
    assert spy.closings == 1
    with pytest.raises(StreamClosed):
        await stream.readany()
    with pytest.raises(MalformedBody):
        await decoded(got, coding)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("coding", ["identity", *CODINGS])
async def test_laws(law: Any, coding: str) -> None:
    await law(lambda: EncodedStream(DripStream(TEXT, 30_000), coding))


@on_all_backends
@pytest.mark.parametrize("level", [None, 9])
async def test_event_loop_is_not_held_by_100_mib(level: int | None) -> None:
    await _not_held("gzip", level, 100 if level is None else 10)


@pytest.mark.parametrize(
    ("coding", "level", "mib"),
    [("zstd", None, 100), ("br", None, 50), ("br", 9, 10), ("zstd", 15, 10)],
)
async def test_event_loop_is_not_held(coding: str, level: int | None, mib: int) -> None:
    await _not_held(coding, level, mib)


async def _not_held(coding: str, level: int | None, mib: int) -> None:
    block = os.urandom(10_000) + TEXT[:240_000]
    stalls = [0.0]

    async def heartbeat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    beating = asyncio.create_task(heartbeat())
    source = IterStream(block for _ in range(mib * 4))
    async with EncodedStream(source, coding, level=level) as stream:
        while await stream.readany():
            pass
    beating.cancel()
    # One outlier may be the garbage collector's.
    assert sorted(stalls)[-2] < 0.2


async def test_memory_is_bounded() -> None:
    stream = GZipStream(IterStream(os.urandom(200_000) for _ in range(200)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        while await stream.readany():
            pass
        assert tracemalloc.get_traced_memory()[1] - before < 2 * MiB
    finally:
        tracemalloc.stop()


@pytest.mark.needs_codings("br")
async def test_cancelled_reads_lose_nothing_while_the_worker_encodes() -> None:
    stream = EncodedStream(DripStream(MIXED, 50_000, turns=2), "br")
    got = b""
    turn = 0
    while True:
        reader = asyncio.create_task(stream.readany())
        turn += 1
        if turn % 2:
            await asyncio.sleep(0.0005 * (turn % 11))
            reader.cancel()
        try:
            piece = await reader
        except asyncio.CancelledError:
            continue
        if not piece:
            break
        got += piece
    assert await decoded(got, "br") == MIXED


# -- bodies in memory --------------------------------------------------------------

BODY = os.urandom(300_000) + bytes(MiB)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [0, 10, 100_000, len(BODY)])
async def test_a_body_is_encoded_whole(coding: str, size: int) -> None:
    data = BODY[:size]
    assert await decoded(await encode_whole(data, coding, None), coding) == data


@pytest.mark.parametrize("turn", [0.0, 10.0])
async def test_a_quick_encoder_gives_others_a_turn_when_theirs_is_due(
    turn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_QUICK", 0)
    monkeypatch.setattr(encoded, "_TURN", turn)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    data = await encode_whole(BODY, "gzip", 9)
    counting.cancel()
    assert await decoded(data, "gzip") == BODY
    if turn:
        assert turns <= 1
    else:
        assert turns >= len(BODY) // encoded._PIECE


async def test_a_slow_encoder_works_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    class Slow:
        inline = 0

        def encode(self, data: bytes) -> bytes:
            assert released.wait(10), "the event loop had no turn"
            return data

        def finish(self) -> bytes:
            return b"."

    monkeypatch.setattr(encoded, "make_encoder", lambda coding, level: Slow())
    encoding = asyncio.create_task(encode_whole(b"slow", "br", None))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not encoding.done()
    released.set()
    assert await encoding == b"slow."
