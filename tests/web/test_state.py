"""The storage and the limits of a request, for helpers of one's own."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from aiostreams import (
    KiB,
    Limits,
    MemoryStorage,
    limit,
    limits_of,
    setup,
    storage_of,
    stream_middleware,
)
from aiostreams.limits import DEFAULT_LIMITS
from tests.servers import connected, post, serving


async def ask(app: web.Application, *paths: str) -> None:
    async with serving(app) as address:
        for path in paths:
            async with connected(address) as raw:
                await raw.send(post(b"", path=path))
                assert (await raw.response())[0] == 200


async def test_the_innermost_application_with_a_storage_counts() -> None:
    outer, inner = MemoryStorage(), MemoryStorage()
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(storage_of(request))
        return web.Response()

    nested, plain, app = (web.Application() for _ in range(3))
    for each in (nested, plain, app):
        each.router.add_post("/", handler)
    app.add_subapp("/own", setup(nested, storage=inner))
    app.add_subapp("/same", plain)
    await ask(setup(app, storage=outer), "/", "/own/", "/same/")
    assert seen == [outer, inner, outer]


async def test_without_a_storage_it_says_so() -> None:
    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(LookupError, match="no storage"):
            storage_of(request)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    await ask(setup(app), "/")


async def test_limits_are_those_that_hold() -> None:
    seen: list[int] = []

    async def plain(request: web.Request) -> web.Response:
        seen.append(limits_of(request).max_parts)
        return web.Response()

    @limit(max_parts=3)
    async def marked(request: web.Request) -> web.Response:
        return await plain(request)

    app = web.Application()
    app.router.add_post("/", plain)
    app.router.add_post("/marked", marked)
    await ask(setup(app, limits=Limits(max_parts=7)), "/", "/marked")

    limits = Limits(max_parts=5, max_memory=1 * KiB)
    app = web.Application(middlewares=[stream_middleware(limits=limits)])
    app.router.add_post("/", plain)
    await ask(app, "/")
    assert seen == [7, 3, 5]


async def test_a_request_without_an_application_has_the_defaults() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        assert limits_of(request) == DEFAULT_LIMITS
        with pytest.raises(LookupError):
            storage_of(request)
        return web.Response()

    async with (
        RawTestServer(handler) as server,
        connected((server.host, server.port or 0)) as raw,
    ):
        await raw.send(post(b""))
        assert (await raw.response())[0] == 200
