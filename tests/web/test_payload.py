"""Streams as payloads: who closes them, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession, web

from aiostreams import NDJSON, IterStream, KiB, iter_ndjson, setup
from aiostreams.web.payload import StreamPayload
from tests.servers import serving


def _echo() -> web.Application:
    async def echo(request: web.Request) -> Any:
        return NDJSON({"got": line} async for line in iter_ndjson(request))

    app = web.Application()
    app.router.add_post("/", echo)
    return setup(app)


async def test_an_upload_goes_on_after_its_answer_has_begun() -> None:
    # aiohttp's client closes the body of its request when a response begins.
    answered = asyncio.Event()

    async def lines() -> AsyncIterator[int]:
        yield 1
        for number in (2, 3):
            await answered.wait()
            answered.clear()
            yield number

    got = []
    async with (
        serving(_echo(), auto_decompress=False) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
        session.post("/", data=NDJSON(lines())) as response,
    ):
        async for line in response.content:
            got.append(line)
            answered.set()
    assert got == [b'{"got":1}\n', b'{"got":2}\n', b'{"got":3}\n']


async def test_an_upload_that_is_left_is_closed() -> None:
    closed = asyncio.Event()

    async def lines() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with (
        serving(_echo(), auto_decompress=False) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        async with session.post("/", data=NDJSON(lines())) as response:
            assert await response.content.readline() == b'{"got":1}\n'
        async with asyncio.timeout(5):
            await closed.wait()


async def test_what_waits_for_a_payload_to_close_is_told_once_after_the_write() -> None:
    told = []

    class Writer:
        length = None
        chunked = True

        def __init__(self, payload: StreamPayload) -> None:
            self.payload = payload

        async def write(self, _piece: bytes) -> None:
            await self.payload.close()
            told.append("written")

    async def tell() -> None:
        told.append("closed")

    payload = StreamPayload(IterStream([b"one", b"two"]))
    payload.closing(tell)
    writer: Any = Writer(payload)
    await payload.write(writer)
    await payload.close()
    assert told == ["written", "written", "closed"]
    assert payload.stream.closed


async def test_a_payload_whose_stream_fails_is_closed_as_well() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"x" * KiB
        raise OSError("the disk is gone")

    payload = StreamPayload(IterStream(source()))

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with serving(handler) as (host, port), ClientSession() as session:
        with pytest.raises(ClientConnectionError, match="Can not write"):
            await session.post(f"http://{host}:{port}/", data=payload)
    assert payload.stream.closed
