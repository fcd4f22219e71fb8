"""Live bodies over a connection: each piece arrives before the next one is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from aiohttp import web

from aiostreams import NDJSON, Event, EventStream, IterStream, respond, setup
from tests.servers import connected, post, serving

MAKES: dict[str, tuple[Callable[[Any], Any], list[bytes]]] = {
    "EventStream": (EventStream, [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]),
    "NDJSON": (NDJSON, [b"0\n", b"1\n", b"2\n"]),
}


@pytest.mark.parametrize(("make", "pieces"), list(MAKES.values()), ids=list(MAKES))
async def test_a_value_arrives_before_the_next_one_is_made(
    make: Callable[[Any], Any], pieces: list[bytes]
) -> None:
    going_on = asyncio.Semaphore(0)
    ended = asyncio.Event()

    async def values() -> AsyncIterator[int]:
        try:
            for number in range(3):
                await going_on.acquire()
                yield number
        finally:
            ended.set()

    async def handler(_request: web.Request) -> Any:
        return make(values())

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        # The head comes at once: a browser's EventSource is open then.
        head = (await raw.reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "\r\nx-accel-buffering: no\r\n" in head
        assert ("\r\ncache-control: no-store\r\n" in head) == (make is EventStream)
        for piece in pieces:
            assert not ended.is_set()
            going_on.release()
            size = int(await raw.reader.readline(), 16)
            assert await raw.reader.readexactly(size + 2) == piece + b"\r\n"
        assert await raw.reader.readline() == b"0\r\n"
    assert ended.is_set()


async def test_a_client_that_leaves_ends_the_events() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[Event]:
        try:
            while True:
                yield Event(data="x")
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async def handler(_request: web.Request) -> Any:
        return EventStream(endless())

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address:
        async with connected(address) as raw:
            await raw.send(post(None, method="GET"))
            await raw.reader.readuntil(b"data: x\n")
            raw.reset()
        await asyncio.wait_for(ended.wait(), 20)


async def test_what_the_handler_says_of_caches_counts() -> None:
    async def handler(_request: web.Request) -> Any:
        more = {"Cache-Control": "no-cache", "X-Accel-Buffering": "yes"}
        return respond(EventStream([1]), headers=more)

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        _, headers, body = await raw.response()
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "yes"
    assert body == b"data: 1\n\n"


@pytest.mark.parametrize("make", [EventStream, NDJSON, IterStream])
async def test_a_stream_of_anyio_learns_that_the_client_has_left(
    make: Callable[[Any], Any],
) -> None:
    """It is no generator: only by being closed does it tell whoever sends into it."""
    sends, receives = anyio.create_memory_object_stream[Any](8)
    value = b"x" if make is IterStream else "x"

    async def handler(_request: web.Request) -> Any:
        return make(receives)

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address:
        async with connected(address) as raw:
            await raw.send(post(None, method="GET"))
            await sends.send(value)
            await raw.reader.readuntil(b"x")
            raw.reset()
        async with asyncio.timeout(20):
            with pytest.raises(anyio.BrokenResourceError):
                while True:
                    await sends.send(value)
                    await asyncio.sleep(0)
    sends.close()
