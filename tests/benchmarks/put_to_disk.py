"""A body to a file, beside the loop of blocking writes that handlers usually have.

That loop spends the least CPU that there can be, and holds up the event loop for as
long as the disk takes. Both sides of that are measured.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp import web

from aiostreams import FileStream, MiB, copy, open_stream
from tests.benchmarks.client import put
from tests.benchmarks.contestants import (
    FOLDER,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS", "blocking_writes"]


@aiostreams_app()
async def copied(request: web.Request) -> web.Response:
    async with FileStream(FOLDER / "copied", "wb") as file:
        size = await copy(open_stream(request), file)
    return web.Response(text=str(size))


@aiohttp_app()
async def blocking_writes(request: web.Request) -> web.Response:
    size = 0
    with open(FOLDER / "blocking", "wb") as file:
        async for chunk in request.content.iter_any():
            size += file.write(chunk)
    return web.Response(text=str(size))


@aiohttp_app()
async def writes_in_threads(request: web.Request) -> web.Response:
    size = 0
    with open(FOLDER / "threads", "wb") as file:
        async for chunk in request.content.iter_any():
            size += await asyncio.to_thread(file.write, chunk)
    return web.Response(text=str(size))


@starlette_app()
async def starlette_writes(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    size = 0
    with open(FOLDER / "starlette", "wb") as file:
        async for chunk in request.stream():
            size += file.write(chunk)
    return PlainTextResponse(str(size))


_REQUEST = put(lambda: os.urandom(MiB) * 256, answer=str(256 * MiB).encode())

ROWS = [
    Row(
        "PUT 256 MiB to disk",
        2,
        Entry("copy() into FileStream", copied, _REQUEST),
        [
            Peer(Entry("blocking writes", blocking_writes, _REQUEST), at_most(1.3)),
            Peer(Entry("asyncio.to_thread a chunk", writes_in_threads, _REQUEST)),
            Peer(Entry("Starlette, blocking writes", starlette_writes, _REQUEST)),
        ],
        stall=0.020,
    )
]
