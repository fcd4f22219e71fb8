"""One producer and many readers: of bytes in one process, of events over connections.

``python -m tests.benchmarks.fanout [--subscribers 500] [--events 200]`` measures the
events: so many clients, in a process of their own, each get every event; told are the
server's CPU, its memory, and how many events it has sent in a second, all clients
together. The peers are as their documentation has them, with a queue for each client.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import web

from aiostreams import Channel, KiB, MiB, Replay
from tests.benchmarks.client import get
from tests.benchmarks.contestants import (
    Contestant,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.rows import Entry, Peer, Row
from tests.benchmarks.server import Server

__all__ = ["ROWS"]

_READERS = 100
_PIECE = bytes(16 * KiB)
_PIECES = 64
_EVENT = {"text": "x" * 100}


# -- bytes, within one process ---------------------------------------------------------


@aiostreams_app("Replay")
async def replayed(request: web.Request) -> web.Response:
    replay = Replay(max_memory=4 * MiB)

    async def read() -> int:
        size = 0
        async with replay.open() as stream:
            async for piece in stream.iter_any():
                size += len(piece)
        return size

    readers = [asyncio.create_task(read()) for _ in range(_READERS)]
    async with replay:
        for _ in range(_PIECES):
            await replay.write(_PIECE)
            await asyncio.sleep(0)
    return web.Response(text=str(sum(await asyncio.gather(*readers))))


@aiohttp_app()
async def queued(request: web.Request) -> web.Response:
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(_READERS)]

    async def read(queue: asyncio.Queue[bytes]) -> int:
        size = 0
        while piece := await queue.get():
            size += len(piece)
        return size

    readers = [asyncio.create_task(read(queue)) for queue in queues]
    for piece in [*[_PIECE] * _PIECES, b""]:
        for queue in queues:
            queue.put_nowait(piece)
        await asyncio.sleep(0)
    return web.Response(text=str(sum(await asyncio.gather(*readers))))


_ALL = str(_READERS * _PIECES * len(_PIECE))

ROWS = [
    Row(
        "1 MiB to 100 readers",
        17,
        Entry("Replay", replayed, get(length=len(_ALL))),
        [Peer(Entry("100 asyncio.Queues", queued, get(length=len(_ALL))))],
    ),
]


# -- events, over connections ----------------------------------------------------------


async def _publish(request: Any, publish: Any) -> int:
    count = int(request.query.get("events", "1"))
    for _ in range(count):
        publish()
        await asyncio.sleep(0)
    return count


_channel = Channel(history=0, max_behind=10_000)


@aiostreams_app("Channel", compression=None)
async def by_channel(request: web.Request) -> Any:
    if request.path == "/events":
        return _channel.subscribe(request)
    await _publish(request, lambda: _channel.publish(_EVENT))
    return web.Response()


_queues: set[asyncio.Queue[str]] = set()


def _put() -> None:
    import json

    text = json.dumps(_EVENT)
    for queue in _queues:
        queue.put_nowait(text)


@aiohttp_app("aiohttp_sse")
async def by_aiohttp_sse(request: web.Request) -> web.StreamResponse:
    from aiohttp_sse import sse_response

    if request.path != "/events":
        await _publish(request, _put)
        return web.Response()
    queue: asyncio.Queue[str] = asyncio.Queue()
    _queues.add(queue)
    async with sse_response(request) as response:
        while response.is_connected():
            await response.send(await queue.get())
    return response


@starlette_app("sse_starlette")
async def by_sse_starlette(request: Any) -> Any:
    from sse_starlette.sse import EventSourceResponse
    from starlette.responses import Response

    if request.url.path != "/events":
        for _ in range(int(request.query_params.get("events", "1"))):
            _put()
            await asyncio.sleep(0)
        return Response()
    queue: asyncio.Queue[str] = asyncio.Queue()
    _queues.add(queue)

    async def events() -> Any:
        while True:
            yield {"data": await queue.get()}

    return EventSourceResponse(events())


def _clients(pipe: Connection, port: int, count: int, events: int) -> None:
    """Connect, say so, and tell when each has had so many events."""

    async def follow(connected: asyncio.Semaphore) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: bench\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        connected.release()
        seen = 0
        while seen < events:
            piece = await reader.read(MiB)
            assert piece
            seen += piece.count(b"data: ")
        writer.close()

    async def run() -> None:
        connected = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(follow(connected)) for _ in range(count)]
        for _ in range(count):
            await connected.acquire()
        pipe.send("here")
        await asyncio.gather(*tasks)
        pipe.send("done")

    asyncio.run(run())


def measure_events(contestant: Contestant, count: int, events: int) -> str:
    """The numbers of one contestant, as a line."""
    if contestant.missing is not None:
        return contestant.missing
    with tempfile.TemporaryDirectory() as folder:
        server = Server(contestant, folder)
        try:
            server.client.exchange(get().prepare())
            server.ask("memory")
            pipe, theirs = multiprocessing.get_context("spawn").Pipe()
            clients = multiprocessing.get_context("spawn").Process(
                target=_clients, args=(theirs, server.port, count, events)
            )
            clients.start()
            pipe.recv()
            before = server.ask("usage")[0]
            started = time.perf_counter()
            server.client.exchange(get(f"/?events={events}").prepare())
            pipe.recv()
            seconds = time.perf_counter() - started
            cpu = server.ask("usage")[0] - before
            memory = server.ask("memory") or 0
        finally:
            server.close()
        clients.join()
    rate = count * events / seconds
    each = cpu / (count * events) * 1e6
    return f"{rate:,.0f} a second, {each:.1f} us of CPU each, {memory / MiB:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fanout")
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--events", type=int, default=200)
    flags = parser.parse_args()
    for title, contestant in (
        ("Channel", by_channel),
        ("aiohttp-sse", by_aiohttp_sse),
        ("sse-starlette", by_sse_starlette),
    ):
        found = measure_events(contestant, flags.subscribers, flags.events)
        print(f"{title:<16} {found}", flush=True)


if __name__ == "__main__":
    # By its own name, which the server process imports it by.
    from tests.benchmarks import fanout

    fanout.main()
