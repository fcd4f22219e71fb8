"""Files going out: by sendfile, through Python, and a piece of a huge one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aiohttp import web

from aiostreams import File, FileStream, GiB, KiB, MiB
from tests.benchmarks.client import get
from tests.benchmarks.contestants import (
    FOLDER,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.rows import Entry, Peer, Row, at_most, times_less

__all__ = ["ROWS", "make_files"]


def make_files(folder: str) -> None:
    """What the rows here send."""
    block = os.urandom(MiB)
    with open(Path(folder) / "large.bin", "wb") as file:
        file.writelines(block for _ in range(256))
    (Path(folder) / "archive").mkdir()
    with open(Path(folder) / "archive" / "file.bin", "wb") as file:
        file.writelines(block for _ in range(64))
    with open(Path(folder) / "small.bin", "wb") as file:
        file.write(block * 2)
    with open(Path(folder) / "tiny.bin", "wb") as file:
        file.write(block[:KiB])
    with open(Path(folder) / "huge.bin", "wb") as file:
        file.truncate(10 * GiB)


@aiohttp_app()
async def file_response(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(FOLDER / request.path[1:])


@aiostreams_app()
async def returned_file(request: web.Request) -> Any:
    return File(FOLDER / request.path[1:])


@aiostreams_app()
async def returned_stream(request: web.Request) -> Any:
    return FileStream(FOLDER / request.path[1:])


@starlette_app()
async def starlette_file(request: Any) -> Any:
    from starlette.responses import FileResponse

    return FileResponse(FOLDER / request.url.path[1:])


_NO_SENDFILE = {"AIOHTTP_NOSENDFILE": "1"}
_LARGE = get("/large.bin", length=256 * MiB)
_SMALL = get("/small.bin", length=2 * MiB)
_RANGE = "Range: bytes=524288-1572863\r\n"

ROWS = [
    Row(
        "download 256 MiB as File",
        5,
        Entry("return File(path)", returned_file, _LARGE),
        [Peer(Entry("web.FileResponse", file_response, _LARGE), at_most(1.05))],
    ),
    Row(
        "download 256 MiB, no sendfile",
        5,
        Entry("return FileStream(path)", returned_stream.under(**_NO_SENDFILE), _LARGE),
        [
            Peer(
                Entry("Starlette FileResponse", starlette_file, _LARGE), times_less(1.3)
            ),
            Peer(
                Entry("web.FileResponse", file_response.under(**_NO_SENDFILE), _LARGE)
            ),
        ],
    ),
    Row(
        "download 2 MiB as File",
        5,
        Entry("return File(path)", returned_file, _SMALL),
        [
            Peer(Entry("web.FileResponse", file_response, _SMALL)),
            Peer(Entry("Starlette FileResponse", starlette_file, _SMALL)),
        ],
    ),
    Row(
        "206 of 1 MiB out of 10 GiB",
        5,
        Entry("of 10 GiB", returned_file, get("/huge.bin", fields=_RANGE, length=MiB)),
        [
            Peer(
                Entry(
                    "of 2 MiB",
                    returned_file,
                    get("/small.bin", fields=_RANGE, length=MiB),
                ),
                at_most(1.1),
                kin=True,
            ),
            Peer(
                Entry(
                    "web.FileResponse, of 10 GiB",
                    file_response,
                    get("/huge.bin", fields=_RANGE, length=MiB),
                )
            ),
        ],
    ),
]
