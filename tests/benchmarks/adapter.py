"""HTTPStream beside the reader it adapts, method by method."""

from __future__ import annotations

from aiohttp import StreamReader, web

from aiostreams import HTTPStream, MiB
from tests.benchmarks.client import put
from tests.benchmarks.contestants import aiohttp_app
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS"]

_LINE = b"2026-01-01T00:00:00Z GET /some/path/or/other 200 1234567 bytes in 12.3 ms\n"


async def _read_any(body: StreamReader | HTTPStream) -> int:
    size = 0
    async for chunk in body.iter_any():
        size += len(chunk)
    return size


async def _read_chunks(body: StreamReader | HTTPStream) -> int:
    size = 0
    async for chunk, _ in body.iter_chunks():
        size += len(chunk)
    return size


async def _read_chunked(body: StreamReader | HTTPStream) -> int:
    size = 0
    async for chunk in body.iter_chunked(16384):
        size += len(chunk)
    return size


async def _read_lines(body: StreamReader | HTTPStream) -> int:
    size = 0
    async for line in body:
        size += len(line)
    return size


async def _read_all(body: StreamReader | HTTPStream) -> int:
    return len(await body.read())


async def _read_exactly(body: StreamReader | HTTPStream) -> int:
    size = 0
    while size < MiB:
        size += len(await body.readexactly(256))
    return size


_WAYS = {
    "/iter_any": _read_any,
    "/iter_chunks": _read_chunks,
    "/iter_chunked": _read_chunked,
    "/lines": _read_lines,
    "/read": _read_all,
    "/readexactly": _read_exactly,
}


@aiohttp_app()
async def through_reader(request: web.Request) -> web.Response:
    return web.Response(text=str(await _WAYS[request.path](request.content)))


@aiohttp_app()
async def through_adapter(request: web.Request) -> web.Response:
    stream = HTTPStream.from_request(request)
    return web.Response(text=str(await _WAYS[request.path](stream)))


def _row(way: str, name: str, body: bytes, times: int) -> Row:
    request = put(
        lambda: body * times, answer=str(len(body) * times).encode(), path=f"/{way}"
    )
    return Row(
        f"HTTPStream {name}",
        2,
        Entry("HTTPStream", through_adapter, request),
        [Peer(Entry("request.content", through_reader, request), at_most(1.05))],
    )


_MIB = bytes(MiB)

ROWS = [
    _row("iter_any", "iter_any(), 256 MiB", _MIB, 256),
    _row("iter_chunks", "iter_chunks(), 256 MiB", _MIB, 256),
    _row("iter_chunked", "iter_chunked(16 KiB), 64 MiB", _MIB, 64),
    _row("read", "read(), 64 MiB", _MIB, 64),
    _row("lines", "async for line, 8 MiB of 74 bytes", _LINE, 8 * MiB // len(_LINE)),
    _row("readexactly", "readexactly(256), 1 MiB", _MIB, 1),
    _row("iter_any", "iter_any(), 1 KiB", bytes(1024), 1),
]
