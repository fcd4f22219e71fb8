"""Streams over bytes: their own copy, in pieces, all at once, and in parts."""

from __future__ import annotations

import asyncio

import pytest

from aiostreams import ByteStream, StreamBusy, StreamClosed


async def test_byte_stream_of_mutable_bytes_is_a_copy() -> None:
    data = bytearray(b"abc")
    stream = ByteStream(data, content_type="text/plain")
    data[:] = b"xyz"
    assert stream.getvalue() == b"abc"
    assert await stream.read() == b"abc"
    part = await stream.slice(1, 1)
    assert (await part.read(), part.content_type) == (b"b", "text/plain")
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            await stream.slice(offset, length)
    await stream.close()
    with pytest.raises(StreamClosed):
        stream.getvalue()
    with pytest.raises(StreamClosed):
        await stream.slice(0)
    with pytest.raises(TypeError):
        ByteStream("text")  # type: ignore[arg-type]


async def test_a_large_byte_stream_comes_in_pieces() -> None:
    stream = ByteStream(bytes(600_000))
    sizes = [len(piece) async for piece in stream.iter_any()]
    assert sizes == [262_144, 262_144, 75_712]


async def test_all_at_once_is_the_same_object_as_it_came() -> None:
    data = bytes(600_000)
    for size in (-1, None):
        stream = ByteStream(data)
        assert await stream.read(size) is data
        assert await stream.read(size) == b""
        assert stream.position == len(data)


async def test_the_rest_after_whatever_was_read_before() -> None:
    stream = ByteStream(b"abcdef")
    assert await stream.read(2) == b"ab"
    assert await stream.read() == b"cdef"
    other = ByteStream(b"abc")
    other.unread(b"--")
    assert await other.read() == b"--abc"
    await other.close()
    with pytest.raises(StreamClosed):
        await other.read()


async def test_a_subclass_decides_what_is_read() -> None:
    class Shouting(ByteStream):
        async def readany(self) -> bytes:
            return (await super().readany()).upper()

    assert await Shouting(b"abc").read() == b"ABC"


async def test_a_second_reader_is_refused() -> None:
    class Slow(ByteStream):
        async def readany(self) -> bytes:
            await asyncio.sleep(0.01)
            return await super().readany()

    stream = Slow(b"abc")
    first = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await stream.read()
    assert await first == b"abc"
