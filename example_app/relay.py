"""A reverse proxy: what the upstream answers, as fast as the client reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from aiostreams import proxy
from example_app.security import UPLOAD_HEADERS
from example_app.settings import SETTINGS
from example_app.uploads import checked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["install", "routes"]

CLIENT = web.AppKey("client", aiohttp.ClientSession)

routes = web.RouteTableDef()


def install(app: web.Application) -> None:
    """Have a client while the application runs."""
    app.cleanup_ctx.append(client_session)


async def client_session(app: web.Application) -> AsyncIterator[None]:
    """Keep one client for the proxy; it remembers nobody's cookies."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=cookies) as client:
        app[CLIENT] = client
        yield


@routes.get("/proxy/{key:.+}")
async def proxied(request: web.Request) -> web.StreamResponse:
    """Pass on a file of the upstream: as fast as the client reads, and no faster."""
    upstream = request.app[SETTINGS].upstream or own_address(request) / "files"
    url = upstream.joinpath(*checked(request.match_info["key"]).split("/"))
    response = await proxy(request, request.app[CLIENT], url)
    response.headers.update(UPLOAD_HEADERS)
    return response


def own_address(request: web.Request) -> URL:
    """Where this server listens; the Host header could name any other."""
    assert request.transport is not None
    host, port = request.transport.get_extra_info("sockname")[:2]
    return URL.build(scheme="http", host=host, port=port)
