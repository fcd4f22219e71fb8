"""A body to a file, beside the loop of blocking writes that handlers usually have.

That loop spends the least CPU that there can be, and holds up the event loop for as
long as the disk takes. Both sides of that are measured.

Whoever writes begins by removing what its last request wrote, as ``open(path, "wb")``
does by itself. Otherwise a file that is replaced at the end is written into other
pages of memory than a file that is emptied at the beginning. On a virtual machine that
gives its free memory back to the host, 256 MiB take 500 ms of CPU then, and not 40.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from aiostreams import FileStream, MiB, copy, open_stream
from tests.benchmarks.client import Request, put
from tests.benchmarks.contestants import (
    FOLDER,
    Contestant,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS", "blocking_writes", "removed"]


async def removed(name: str) -> Path:
    """The path of a file to be written, which is not there any more."""
    path = FOLDER / name
    await asyncio.to_thread(path.unlink, missing_ok=True)
    return path


@aiostreams_app()
async def copied(request: web.Request) -> web.Response:
    async with FileStream(await removed("copied"), "wb") as file:
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


# -- the same in chunks, by tus 1.0 ----------------------------------------------------

_CHUNK = 4 * MiB
_UID = "00000000-0000-4000-8000-000000000000"


def _tus() -> Any:
    from aiohttp_tus import data, setup_tus

    # Its uploads have random names, and our requests were made before.
    vars(data)["uuid"] = SimpleNamespace(uuid4=lambda: _UID)
    return setup_tus(
        web.Application(client_max_size=2**40),
        upload_path=FOLDER,
        allow_overwrite_files=True,
    )


tus = Contestant(__name__, "tus", "aiohttp", _tus, ("aiohttp_tus",))


def _tus_request(size: int) -> Request:
    """One that creates the upload, and one for each chunk, the last one first."""
    block = os.urandom(_CHUNK)
    then = None
    for offset in reversed(range(0, size, _CHUNK)):
        head = (
            f"PATCH /uploads/{_UID} HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\n"
            f"Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\n"
        )
        then = Request(head.encode(), lambda: block, then=then)
    head = (
        "POST /uploads HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Length: {size}\r\nUpload-Metadata: filename dHVzLmJpbg==\r\n"
    )
    return Request(head.encode(), bytes, then=then)


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
            Peer(Entry("aiohttp-tus, chunks of 4 MiB", tus, _tus_request(256 * MiB))),
        ],
        stall=0.020,
    )
]
