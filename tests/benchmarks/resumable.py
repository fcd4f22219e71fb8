"""Resumable uploads: their price beside an ordinary upload, and beside other servers.

All speak tus 1.0 and write to disk. The one request is held against ``receive()`` of
the same bytes, both with their SHA-256. In chunks of 5 MiB nobody hashes, as nobody
but us does by default: ours then reads the file once more.

Whoever writes begins by removing what its last request wrote: see ``put_to_disk``.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from aiostreams import DiskStorage, File, KiB, MiB, StoredFile, receive, resumable
from tests import node
from tests.benchmarks.client import Request, get, put
from tests.benchmarks.contestants import FOLDER, Contestant, aiostreams_app
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS"]

_SIZE = 256 * MiB
_CHUNK = 5 * MiB
_STORAGE = DiskStorage(FOLDER / "resumable")
_earlier: list[StoredFile] = []


async def _remove_earlier(*_: Any) -> None:
    while _earlier:
        await _STORAGE.delete(_earlier.pop().key)


async def _store(request: web.Request, *hashes: str) -> web.Response:
    async with receive(request, hash=hashes) as upload:
        [file] = upload.files.values()
    _earlier.append(file)
    return web.Response(text=str(file.size))


@aiostreams_app(storage=_STORAGE)
async def ordinary(request: web.Request) -> web.Response:
    await _remove_earlier()
    return await _store(request, "sha256")


@aiostreams_app(storage=_STORAGE)
@resumable(on_create=_remove_earlier)
async def resumed(request: web.Request) -> web.Response:
    return await _store(request, "sha256")


@aiostreams_app(storage=_STORAGE)
@resumable(on_create=_remove_earlier)
async def resumed_unhashed(request: web.Request) -> web.Response:
    return await _store(request)


@aiostreams_app(storage=_STORAGE)
async def small_file(_request: web.Request) -> Any:
    return File(FOLDER / "tiny.bin")


# -- others ----------------------------------------------------------------------------


def _aiohttp_tus() -> Any:
    from aiohttp_tus import setup_tus

    return setup_tus(
        web.Application(client_max_size=2**40),
        upload_url="/files",
        upload_path=FOLDER,
        allow_overwrite_files=True,
    )


def _tuspyserver() -> Any:
    from fastapi import FastAPI
    from tuspyserver import create_tus_router

    folder = FOLDER / "tuspyserver"
    folder.mkdir(exist_ok=True)
    last: list[Path] = []

    def remove_last(_metadata: Any, _info: Any) -> None:
        while last:
            last.pop().unlink(missing_ok=True)

    app = FastAPI()
    app.include_router(
        create_tus_router(
            prefix="files",
            files_dir=str(folder),
            max_size=2**40,
            pre_create_hook=remove_last,
            on_upload_complete=lambda path, _metadata: last.append(Path(path)),
        )
    )
    return app


def _tus_server() -> list[str]:
    folder = FOLDER / "tus-server"
    folder.mkdir(exist_ok=True)
    script = Path(__file__).with_name("tus_server.mjs")
    return [node.node(), str(script), str(node.FOLDER), str(folder)]


aiohttp_tus = Contestant(
    __name__, "aiohttp_tus", "aiohttp", _aiohttp_tus, ("aiohttp_tus",)
)
tuspyserver = Contestant(
    __name__, "tuspyserver", "asgi", _tuspyserver, ("tuspyserver", "uvicorn")
)
tus_server = Contestant(
    __name__,
    "tus_server",
    "command",
    _tus_server,
    ("npm:@tus/server", "npm:@tus/file-store"),
)


# -- requests --------------------------------------------------------------------------

_TUS = "HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\n"


def _creation(size: int, then: Request | None = None) -> Request:
    head = (
        f"POST /files {_TUS}Upload-Length: {size}\r\n"
        "Upload-Metadata: filename dHVzLmJpbg==,filetype YS9i\r\n"
    )
    return Request(head.encode(), bytes, then=then)


@functools.cache
def _block(size: int) -> bytes:
    return os.urandom(MiB) * (size // MiB)


def _upload(chunk: int) -> Request:
    """One request that creates the upload, and one for each chunk."""
    then = None
    for offset in reversed(range(0, _SIZE, chunk)):
        head = (
            f"PATCH <location> {_TUS}Upload-Offset: {offset}\r\n"
            "Content-Type: application/offset+octet-stream\r\n"
        )
        size = min(chunk, _SIZE - offset)
        then = Request(head.encode(), functools.partial(_block, size), then=then)
    return _creation(_SIZE, then)


_ORDINARY = put(functools.partial(_block, _SIZE), answer=str(_SIZE).encode())
_WHOLE = _upload(_SIZE)
_CHUNKS = _upload(_CHUNK)
_HEAD = Request(f"HEAD <location> {_TUS}".encode(), before=_creation(_SIZE))
_GET = get(length=KiB)

ROWS = [
    Row(
        "resumable 256 MiB in one PATCH",
        16,
        Entry("@resumable, receive()", resumed, _WHOLE),
        [
            Peer(
                Entry("receive() of the same body", ordinary, _ORDINARY),
                at_most(1.15),
                kin=True,
            )
        ],
        stall=0.050,
    ),
    Row(
        "resumable 256 MiB, PATCHes of 5 MiB",
        16,
        Entry("@resumable, no hash", resumed_unhashed, _CHUNKS),
        [
            Peer(Entry("aiohttp-tus", aiohttp_tus, _CHUNKS)),
            Peer(Entry("tuspyserver, on uvicorn", tuspyserver, _CHUNKS)),
            Peer(Entry("@tus/server, on Node.js", tus_server, _CHUNKS)),
            Peer(Entry("@resumable, SHA-256", resumed, _CHUNKS), kin=True),
        ],
    ),
    Row(
        "HEAD of a resumable upload",
        16,
        Entry("@resumable", resumed, _HEAD),
        [
            Peer(Entry("GET of a file of 1 KiB", small_file, _GET), kin=True),
            Peer(Entry("aiohttp-tus", aiohttp_tus, _HEAD)),
            Peer(Entry("tuspyserver, on uvicorn", tuspyserver, _HEAD)),
            Peer(Entry("@tus/server, on Node.js", tus_server, _HEAD)),
        ],
    ),
]
