from __future__ import annotations

import asyncio
import threading

import pytest

from aiostreams import (
    ByteStream,
    Content,
    IterStream,
    LimitExceeded,
    Limits,
    Stream,
    StreamClosed,
    Text,
)
from aiostreams.content.base import offload, read_all
from tests.content.ways import failing, ways

TEN = Limits(max_memory=10)


class Watched(Text):
    """Remembers how its streams ended."""

    def encode(self) -> ByteStream:
        self.ends: list[str] = getattr(self, "ends", [])
        ends = self.ends

        class Stream_(ByteStream):
            async def close(self) -> None:
                ends.append("closed")

            async def abort(self) -> None:
                ends.append("aborted")

        return Stream_(self.text.encode())


async def test_async_with_gives_the_stream_and_closes_it() -> None:
    content = Watched("abc")
    async with content as stream:
        assert await stream.read() == b"abc"
    assert stream.closed
    assert content.ends == ["closed"]


async def test_async_with_aborts_when_left_by_an_exception() -> None:
    content = Watched("abc")
    with pytest.raises(KeyError):
        async with content:
            raise KeyError
    assert content.ends == ["aborted"]


async def test_async_with_can_be_nested_and_used_again() -> None:
    content = Text("abc")
    async with content as outer:
        async with content as inner:
            assert await inner.read(1) == b"a"
        assert inner.closed
        assert not outer.closed
        assert await outer.read() == b"abc"
    async with content as again:
        assert await again.read() == b"abc"


async def test_async_with_in_two_tasks_closes_the_right_stream() -> None:
    """Left in the order they were entered, not in reverse."""
    content = Text("abc")
    first_in, second_in, first_out = (asyncio.Event() for _ in range(3))
    seen: list[bytes] = []

    async def first() -> None:
        async with content:
            first_in.set()
            await second_in.wait()
        first_out.set()

    async def second() -> None:
        await first_in.wait()
        async with content as stream:
            second_in.set()
            await first_out.wait()
            seen.append(await stream.read())

    await asyncio.gather(first(), second())
    assert seen == [b"abc"]


async def test_async_with_entered_for_another_task_is_closed_all_the_same() -> None:
    content = Text("abc")
    stream = await content.__aenter__()
    await asyncio.create_task(content.__aexit__(None, None, None))
    assert stream.closed


def test_content_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Content()  # type: ignore[abstract]


async def test_read_all_reads_whole_however_it_arrives() -> None:
    for data in (b"", b"x", b"0123456789"):
        for stream in ways(data):
            assert await read_all(stream, TEN) == data


async def test_read_all_takes_n_bytes_and_refuses_one_more() -> None:
    for stream in ways(b"0123456789x"):
        with pytest.raises(LimitExceeded, match=r"\b11 bytes.*\b10\b") as info:
            await read_all(stream, TEN)
        assert (info.value.limit, info.value.seen) == (10, 11)


async def test_read_all_refuses_a_declared_size_before_reading() -> None:
    stream = ByteStream(b"x" * 11)
    with pytest.raises(LimitExceeded):
        await read_all(stream, TEN)
    assert stream.position == 0


async def test_read_all_counts_what_is_left_of_a_stream_begun() -> None:
    stream = ByteStream(b"xx0123456789")
    await stream.read(2)
    assert await read_all(stream, TEN) == b"0123456789"


async def test_read_all_stops_an_endless_body_at_the_limit() -> None:
    """One piece beyond it is taken, and no more."""
    taken = 0

    def pieces() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield b"0123"

    with pytest.raises(LimitExceeded):
        await read_all(IterStream(pieces()), TEN)  # type: ignore[arg-type]
    assert taken == 3


async def test_read_all_gives_back_what_it_had_when_the_body_breaks() -> None:
    stream = failing(b"abc")
    with pytest.raises(ConnectionResetError):
        await read_all(stream)
    assert await stream.read(10) == b"abc"
    with pytest.raises(ConnectionResetError):
        await stream.read(10)


async def test_read_all_gives_back_what_it_had_when_cancelled() -> None:
    class Stalling(Stream):
        def __init__(self) -> None:
            self.pieces = [b"abc", b"def"]

        async def readany(self) -> bytes:
            if len(self.pieces) == 1:
                await asyncio.sleep(0.01)
            return self.pieces.pop(0) if self.pieces else b""

    stream = Stalling()
    task = asyncio.create_task(read_all(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await read_all(stream) == b"abcdef"


async def test_read_all_of_a_stream_closed_meanwhile_is_stream_closed() -> None:
    async def pieces() -> object:
        yield b"abc"
        await asyncio.Event().wait()

    stream = IterStream(pieces())  # type: ignore[arg-type]
    task = asyncio.create_task(read_all(stream))
    for _ in range(5):
        await asyncio.sleep(0)
    await stream.close()
    with pytest.raises(StreamClosed):
        await task


async def test_offload_uses_a_thread_above_256_kib() -> None:
    def where(_data: bytes | str) -> int:
        return threading.get_ident()

    here = threading.get_ident()
    assert await offload(where, b"x" * 256 * 1024) == here
    assert await offload(where, b"x" * (256 * 1024 + 1)) != here
    assert await offload(where, "x" * (256 * 1024 + 1)) != here
