"""setup(): what stands where, once, and what of aiohttp's own settings it keeps."""

from __future__ import annotations

import sys
import types
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
from aiohttp import set_zlib_backend as set_aiohttps
from aiohttp import web

from aiostreams import MalformedBody, MemoryStorage, Text, run_app, setup
from aiostreams.codings.zlib_backend import set_zlib_backend, zlib_backend
from tests.servers import connected, post, serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def backends() -> Iterator[None]:
    yield
    set_aiohttps(cast("Any", zlib))
    set_zlib_backend(None)


async def text(_request: web.Request) -> Any:
    return Text("value")


async def ask(
    app: web.Application, *headers: tuple[str, str]
) -> tuple[int, dict[str, str], bytes]:
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(b"", headers=headers))
        return await raw.response()


def test_twice_is_an_error() -> None:
    app = setup(web.Application())
    with pytest.raises(RuntimeError, match="called twice"):
        setup(app)


async def test_responses_are_compressed_unless_told_otherwise() -> None:
    async def long(_request: web.Request) -> Any:
        return Text("word " * 1000)

    codings = []
    for made in (setup(web.Application()), setup(web.Application(), compression=None)):
        made.router.add_post("/", long)
        _, headers, _ = await ask(made, ("Accept-Encoding", "gzip"))
        codings.append(headers.get("content-encoding"))
    assert codings == ["gzip", None]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_own_middlewares_see_responses_and_may_refuse(when: str) -> None:
    seen = []

    @web.middleware
    async def own(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        seen.append(isinstance(response, web.StreamResponse))
        raise MalformedBody("refused by a middleware")

    app = web.Application()
    app.router.add_post("/", text)
    if when == "before":
        app.middlewares.append(own)
    setup(app)
    if when == "after":
        app.middlewares.append(own)
    status, _, body = await ask(app)
    assert (status, seen) == (400, [True])
    assert b"refused by a middleware" in body


async def test_in_a_sub_application_the_order_is_that_of_registration() -> None:
    """Its list is frozen when it is added; what stands there serves all the same."""

    @web.middleware
    async def own(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Own"] = "seen"
        return response

    sub = web.Application(middlewares=[own])
    sub.router.add_post("/", text)
    setup(sub)
    app = web.Application()
    app.add_subapp("/sub/", sub)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(b"", path="/sub/"))
        status, headers, body = await raw.response()
    assert (status, headers["x-own"], body) == (200, "seen", b"value")


async def test_the_storage_is_closed_with_the_application() -> None:
    class Closing(MemoryStorage):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    storage = Closing()
    app = setup(web.Application(), storage=storage)
    async with serving(app):
        assert storage.closed == 0
    assert storage.closed == 1


async def test_the_zlib_that_aiohttp_was_given_is_taken() -> None:
    name = "zlib_of_the_application"
    module = types.ModuleType(name)
    vars(module).update(vars(zlib), __name__=name)
    sys.modules[name] = module
    try:
        set_aiohttps(cast("Any", module))
        async with serving(setup(web.Application())):
            assert zlib_backend().name == name
    finally:
        del sys.modules[name]


async def test_aiohttps_default_decides_nothing() -> None:
    before = zlib_backend().name
    async with serving(setup(web.Application())):
        assert zlib_backend().name == before


@pytest.mark.parametrize("given", [{}, {"auto_decompress": True}])
def test_run_app_leaves_codings_to_aiostreams_unless_told(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(
        web, "run_app", lambda app, **kwargs: calls.append((app, kwargs))
    )
    app = web.Application()
    run_app(app, port=0, **given)
    assert calls == [(app, {"port": 0, "auto_decompress": False} | given)]
