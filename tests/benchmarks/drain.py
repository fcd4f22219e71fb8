"""Reading a body and throwing it away: what every other way of reading pays first."""

from __future__ import annotations

import os
from typing import Any

from aiohttp import web

from aiostreams import HTTPStream, MiB, open_stream
from tests.benchmarks.client import put
from tests.benchmarks.contestants import aiohttp_app, aiostreams_app, starlette_app
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS"]


@aiohttp_app()
async def of_aiohttp(request: web.Request) -> web.Response:
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


@aiohttp_app()
async def of_adapter(request: web.Request) -> web.Response:
    size = 0
    async for chunk in HTTPStream.from_request(request).iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


@aiostreams_app()
async def of_stream(request: web.Request) -> web.Response:
    size = 0
    async for chunk in open_stream(request).iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


@starlette_app()
async def of_starlette(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


def _row(size: int, name: str) -> Row:
    request = put(lambda: os.urandom(size), answer=str(size).encode())
    return Row(
        f"drain {name} through open_stream",
        2,
        Entry("open_stream", of_stream, request),
        [
            Peer(
                Entry("request.content.iter_any()", of_aiohttp, request), at_most(1.05)
            ),
            Peer(Entry("HTTPStream alone", of_adapter, request), kin=True),
            Peer(Entry("Starlette request.stream()", of_starlette, request)),
        ],
    )


ROWS = [_row(256 * MiB, "256 MiB")]
