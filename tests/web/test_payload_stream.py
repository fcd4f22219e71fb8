"""A payload of aiohttp, read as a Stream."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BytesPayload, MultipartWriter, Payload, payload
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from aiostreams import ByteStream, FileStream, IterStream, Stream, StreamClosed
from aiostreams.testing import LAWS
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream, prompt
from tests.waiting import turns

DATA = bytes(range(256)) * 40


def stream_of(value: Any) -> PayloadStream:
    return PayloadStream(payload.PAYLOAD_REGISTRY.get(value))


class Pushing(Payload):
    """Writes pieces of every kind, and then fails if it is told to."""

    def __init__(self, *pieces: Any, error: Exception | None = None) -> None:
        super().__init__(pieces)
        self.pieces = pieces
        self.error = error
        self.closed = 0

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError

    async def write(self, writer: AbstractStreamWriter) -> None:
        for piece in self.pieces:
            await writer.write(piece)
        await writer.drain()
        if self.error is not None:
            raise self.error
        await writer.write_eof(b"eof")

    def _close(self) -> None:
        self.closed += 1


async def test_what_is_ready_comes_together() -> None:
    mutable = bytearray(b"mutable")
    stream = PayloadStream(Pushing(b"one", b"", mutable, memoryview(b"two")))
    assert await stream.readany() == b"onemutabletwoeof"
    assert await stream.readany() == b""
    assert await stream.readany() == b""
    await stream.close()


async def test_a_piece_does_not_wait_for_the_next() -> None:
    go = asyncio.Event()

    async def generator() -> AsyncIterator[bytes]:
        for n in range(3):
            yield b"%d" % n
            await go.wait()
            go.clear()

    async with stream_of(generator()) as stream:
        assert stream.live
        for n in range(3):
            assert await stream.readany() == b"%d" % n
            go.set()
        assert await stream.readany() == b""


async def test_what_can_change_is_copied() -> None:
    class Reusing(Pushing):
        async def write(self, writer: AbstractStreamWriter) -> None:
            buffer = bytearray(40_000)
            for n in range(4):
                buffer[:] = bytes([n]) * len(buffer)
                await writer.write(buffer)

    async with PayloadStream(Reusing()) as stream:
        data = await stream.read()
    assert data == b"".join(bytes([n]) * 40_000 for n in range(4))


async def test_no_more_is_made_than_64_kib_ahead() -> None:
    asked = 0

    async def generator() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(10_000)

    async with stream_of(generator()) as stream:
        assert asked == 0
        assert len(await stream.readany()) == 70_000
        await asyncio.sleep(0.01)
        assert asked == 14


def test_prompt_leaves_what_needs_no_help() -> None:
    class Live(Stream):
        live = True

    for stream in (ByteStream(b"x"), Live(), FileStream("x"), IterStream([], size=0)):
        assert prompt(stream) is stream
    assert prompt(IterStream([])).live


@pytest.mark.parametrize("kind", ["bytes", "text", "BytesIO", "file", "multipart"])
async def test_payloads_of_every_kind(kind: str, tmp_path: Path) -> None:
    if kind == "multipart":
        writer = MultipartWriter("mixed", boundary="b")
        writer.append("text")
        writer.append_json({"a": 1})
        stream = stream_of(writer)
        data = await stream.read()
        assert data.startswith(b"--b\r\nContent-Type: text/plain")
        assert data.endswith(b'{"a": 1}\r\n--b--\r\n')
        assert stream.content_type == "multipart/mixed; boundary=b"
        await stream.close()
        return
    path = tmp_path / "data"
    await asyncio.to_thread(path.write_bytes, DATA)
    values: dict[str, Any] = {
        "bytes": lambda: DATA,
        "text": lambda: "text" * 1000,
        "BytesIO": lambda: io.BytesIO(DATA),
        "file": lambda: path.open("rb"),
    }
    stream = stream_of(await asyncio.to_thread(values[kind]))
    expected = b"text" * 1000 if kind == "text" else DATA
    assert stream.live == (stream.size is None)
    assert stream.size in {len(expected), None}
    assert await stream.read() == expected
    await stream.close()


async def test_an_error_comes_after_the_bytes() -> None:
    pushing = Pushing(b"data", error=OSError("gone"))
    stream = PayloadStream(pushing)
    assert await stream.readany() == b"data"
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await stream.readany()
    await stream.close()
    assert pushing.closed == 1


async def test_a_cancelled_read_loses_nothing() -> None:
    go = asyncio.Event()

    async def generator() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"data"

    async with stream_of(generator()) as stream:
        assert stream.live
        reading = asyncio.create_task(stream.readany())
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go.set()
        assert await stream.read() == b"data"


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_close_closes_the_generator_wherever_it_is(read: int) -> None:
    ended = []

    async def generator() -> AsyncIterator[bytes]:
        try:
            for _ in range(3):
                yield b"data"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    stream = stream_of(generator())
    if read:
        assert await stream.readany() == b"data" * 3
    if read > 1:
        reading = asyncio.create_task(stream.readany())
        await turns()
        await stream.close()
        with pytest.raises(StreamClosed):
            await reading
    await stream.close()
    await stream.close()
    assert ended == (["closed"] if read else [])


async def test_close_closes_the_payload_even_when_the_generator_fails() -> None:
    async def generator() -> AsyncIterator[bytes]:
        try:
            yield b"data"
        finally:
            raise OSError("cannot end")

    source = payload.PAYLOAD_REGISTRY.get(generator())
    closed = []

    async def close() -> None:
        closed.append(True)

    source.close = close  # type: ignore[method-assign]
    stream = PayloadStream(source)
    assert await stream.readany() == b"data"
    # It fails in the task that runs it, or in aclose(): told, or not, but closed.
    try:
        await stream.close()
    except OSError:
        pass
    assert closed == [True]


async def test_close_while_a_write_fails() -> None:
    class Stubborn(Pushing):
        async def write(self, writer: AbstractStreamWriter) -> None:
            await writer.write(b"data")
            try:
                await asyncio.Event().wait()
            finally:
                raise ZeroDivisionError

    pushing = Stubborn()
    stream = PayloadStream(pushing)
    assert await stream.readany() == b"data"
    await stream.close()
    assert pushing.closed == 1


async def test_a_payload_cannot_write_a_response() -> None:
    class Wrong(Pushing):
        def __init__(self, call: Any) -> None:
            super().__init__()
            self.call = call

        async def write(self, writer: AbstractStreamWriter) -> None:
            result = self.call(writer)
            if result is not None:
                await result

    for call in (
        lambda writer: writer.enable_compression(),
        lambda writer: writer.enable_chunking(),
        lambda writer: writer.write_headers("HTTP/1.1 200 OK", CIMultiDict()),
    ):
        async with PayloadStream(Wrong(call)) as stream:
            with pytest.raises(NotImplementedError, match="a payload"):
                await stream.readany()


async def through_bytes() -> Stream:
    return PayloadStream(BytesPayload(DATA))


def through_stream(source: Stream) -> Stream:
    return PayloadStream(StreamPayload(source))


def through_generator(source: Stream) -> Stream:
    async def generator() -> AsyncIterator[bytes]:
        try:
            while piece := await source.readany():
                yield piece
        finally:
            await source.close()

    return stream_of(generator())


@pytest.mark.parametrize("make", [through_bytes, through_stream, through_generator])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: object, make: object) -> None:
    await law(make)  # type: ignore[operator]
