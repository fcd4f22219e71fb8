"""A server of uploads in a process of its own, to be doubled, filled and killed.

``python -m tests.storage.server URL PORT``. It serves until it is told to end. Each answer says by ``X-Worker`` which process gave it.

    PUT /{key}     receives the body as one file under that key
    POST /         receives a form, under keys of its own; all of its bytes are checked
    GET /{key}     the file, with ranges
    GET /-/memory  by how much the memory has peaked since the last time it was asked
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from aiostreams import (
    JSON,
    StoredFile,
    Stream,
    receive,
    respond,
    run_app,
    setup,
    storage_from_url,
)
from tests.benchmarks.serve import Memory

__all__ = ["running"]


async def read_all(stream: Stream, _file: StoredFile) -> None:
    while await stream.readany():
        pass


async def leave(stream: Stream, _file: StoredFile) -> None:
    await stream.read(1)


def application(url: str) -> web.Application:
    storage = storage_from_url(url)
    memory = Memory()

    async def put(request: web.Request) -> Any:
        key = request.match_info["key"]
        async with receive(request, key=lambda _file: key) as upload:
            file = upload.files["file"]
            return web.json_response({"sha256": file.digests["sha256"]}, status=201)

    async def post(request: web.Request) -> Any:
        async with receive(
            request, check=[read_all, leave], metadata={"by": "a worker"}
        ) as upload:
            return JSON([file.key for file in upload.files.values()])

    async def get(request: web.Request) -> Any:
        return respond(await storage.open(request.match_info["key"]))

    async def growth(request: web.Request) -> Any:
        return JSON(memory.growth())

    async def sign(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Worker"] = str(os.getpid())

    app = web.Application()
    app.router.add_get("/-/memory", growth)
    app.router.add_post("/", post)
    app.router.add_put("/{key:.+}", put)
    app.router.add_get("/{key:.+}", get)
    app.on_response_prepare.append(sign)
    return setup(app, storage=storage)


@contextlib.asynccontextmanager
async def running(url: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, which is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.storage.server", url, str(port),
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ, "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK",
        },
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert b"Running on" in line
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


if __name__ == "__main__":
    run_app(
        application(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        reuse_port=True,
        shutdown_timeout=1,
        access_log=None,
        print=functools.partial(print, flush=True),
    )
