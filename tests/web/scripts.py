"""Scripts that a request is given to, and requests that arrive in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.servers import CHUNKED, chunk, connected, post, serving

__all__ = ["Script", "dripped", "run", "typed"]

Script = Callable[[web.BaseRequest], Awaitable[Any]]


async def run(script: Script, *pieces: bytes, leave: bool = False) -> Any:
    """What the script returns or raises for this request, without any middleware."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        try:
            result.set_result(await script(request))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(*pieces)
        if leave:
            raw.writer.close()
        return await result


def typed(content_type: str, body: bytes) -> bytes:
    return post(body, headers=[("Content-Type", content_type)])


def dripped(body: bytes, content_type: str = "application/json") -> list[bytes]:
    """The same body, chunked, a byte at a time."""
    head = post(headers=[*CHUNKED, ("Content-Type", content_type)])
    chunks = [chunk(body[i : i + 1]) for i in range(len(body))]
    return [
        head,
        b"".join(chunks[: len(chunks) // 2]),
        *chunks[len(chunks) // 2 :],
        b"0\r\n\r\n",
    ]
