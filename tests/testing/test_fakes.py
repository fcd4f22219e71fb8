"""The fakes do what their names say, since other people's tests rely on them."""

from __future__ import annotations

import asyncio

import pytest

from aiostreams import ByteStream
from aiostreams.testing import (
    DripStream,
    FailStream,
    SinkStream,
    SpyStream,
    StallStream,
    check_stream,
)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (1, [b"a", b"b", b"c", b"d", b"e"]),
        (2, [b"ab", b"cd", b"e"]),
        ((1, 3), [b"a", b"bcd", b"e"]),
        (9, [b"abcde"]),
    ],
)
async def test_a_drip_comes_in_pieces(
    pieces: int | tuple[int, ...], expected: list[bytes]
) -> None:
    drip = DripStream(b"abcde", pieces)
    assert [piece async for piece in drip.iter_any()] == expected


async def test_a_drip_lets_others_run() -> None:
    order = []

    async def read() -> None:
        async for piece in DripStream(b"ab", turns=2).iter_any():
            order.append(piece)

    async def count() -> None:
        for n in range(4):
            order.append(b"%d" % n)
            await asyncio.sleep(0)

    await asyncio.gather(read(), count())
    assert order == [b"0", b"1", b"a", b"2", b"3", b"b"]


async def test_a_drip_says_its_size_if_asked_to() -> None:
    assert DripStream(b"abc").size is None
    assert DripStream(b"abc", known_size=True).size == 3
    assert DripStream(b"", content_type="text/plain").content_type == "text/plain"
    await check_stream(lambda: DripStream(b"abc" * 99, 7, known_size=True))


async def test_a_failing_stream_gives_so_much_and_then_its_error() -> None:
    stream = FailStream(b"abcdef", 4, OSError("gone"), pieces=3)
    assert [await stream.readany(), await stream.readany()] == [b"abc", b"d"]
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await stream.readany()
    with pytest.raises(RuntimeError, match="failed after 0 bytes"):
        await FailStream(b"", 0).read()


async def test_a_stalled_stream_waits_until_it_is_cancelled() -> None:
    stream = StallStream(b"ab", 2)
    assert await stream.readany() == b"ab"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.readany(), 0.01)


async def test_a_spy_counts() -> None:
    spy = SpyStream(ByteStream(b"abc", content_type="text/plain"))
    assert (spy.size, spy.content_type, spy.reads) == (3, "text/plain", 0)
    assert await spy.read() == b"abc"
    assert (spy.reads, spy.pulled) == (2, 3)
    await spy.close()
    await spy.close()
    assert (spy.closings, spy.source.closed) == (1, True)


async def test_a_sink_keeps_what_it_gets_until_it_is_aborted() -> None:
    async with SinkStream(turns=1) as sink:
        await sink.write(b"ab")
        await sink.write(memoryview(b"c"))
    assert bytes(sink.written) == b"abc"
    assert (sink.committed, sink.aborted) == (True, False)
    other = SinkStream()
    await other.write(b"ab")
    await other.abort()
    assert bytes(other.written) == b""
    assert (other.committed, other.aborted) == (False, True)


async def test_a_sink_fails_where_it_was_told_to() -> None:
    sink = SinkStream(fail_at=3, error=OSError("full"))
    await sink.write(b"abc")
    with pytest.raises(OSError, match="full"):
        await sink.write(b"d")
    with pytest.raises(RuntimeError, match="sink failed at 0 bytes"):
        await SinkStream(fail_at=0).write(b"x")
    assert sink.written == b"abc"
