"""A file in an archive that is made while it is sent, beside the file by itself."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aiohttp import web

from aiostreams import FileStream, IterStream, MiB, Zip, ZipMember
from tests.benchmarks.client import get
from tests.benchmarks.contestants import FOLDER, aiohttp_app, aiostreams_app
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS"]

_FILE = FOLDER / "archive" / "file.bin"
_WHEN = dt.datetime(2024, 1, 1)


@aiostreams_app("Zip")
async def zipped(request: web.Request) -> Any:
    return Zip([ZipMember("file.bin", _FILE)])


@aiostreams_app()
async def as_it_is(request: web.Request) -> Any:
    return FileStream(_FILE)


@aiohttp_app("zipstream")
async def by_zipstream_ng(request: web.Request) -> web.StreamResponse:
    """In a thread for each piece, since it reads the file itself."""
    from zipstream import ZipStream

    archive = ZipStream(sized=True)
    archive.add_path(str(_FILE))
    response = web.StreamResponse(headers={"Content-Length": str(len(archive))})
    await response.prepare(request)
    pieces = iter(archive)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await response.write(piece)
    return response


@aiostreams_app()
async def by_stream_zip(request: web.Request) -> Any:
    from stream_zip import NO_COMPRESSION_64, async_stream_zip

    path = _FILE

    async def content() -> AsyncIterator[bytes]:
        async with FileStream(path) as file:
            async for piece in file.iter_any():
                yield piece

    async def members() -> Any:
        size = path.stat().st_size
        method = NO_COMPRESSION_64(size, await asyncio.to_thread(_crc32))
        yield "file.bin", _WHEN, 0o644, method, content()

    return IterStream(async_stream_zip(members()))


@aiohttp_app("aiohttp_zip_response")
async def by_aiohttp_zip_response(request: web.Request) -> web.StreamResponse:
    """It deflates what it sends; there is no other way."""
    from aiohttp_zip_response import ZipResponse

    response: web.StreamResponse = ZipResponse(_FILE.parent)
    return response


def _crc32() -> int:
    """It wants to know it beforehand; reading the file for that is counted."""
    import zlib

    value = 0
    for piece in _pieces():
        value = zlib.crc32(piece, value)
    return value


def _pieces() -> Iterator[bytes]:
    with open(_FILE, "rb") as file:
        while piece := file.read(MiB):
            yield piece


_NO_SENDFILE = {"AIOHTTP_NOSENDFILE": "1"}

ROWS = [
    Row(
        "zip of 64 MiB, stored",
        17,
        Entry("return Zip(members)", zipped, get()),
        [
            Peer(
                Entry("return FileStream(path)", as_it_is.under(**_NO_SENDFILE), get()),
                at_most(1.3),
                kin=True,
            ),
            Peer(Entry("zipstream-ng", by_zipstream_ng, get())),
            Peer(Entry("stream-zip", by_stream_zip, get())),
            Peer(
                Entry("aiohttp-zip-response, deflated", by_aiohttp_zip_response, get())
            ),
        ],
    ),
]
