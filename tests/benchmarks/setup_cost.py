"""What ``setup()`` costs a request that uses nothing of it, and a tag for its answer.

aiohttp calls a middleware around a handler, and another one that tells it whose
application it is in: that much any middleware costs, and ours cannot cost less.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from aiostreams import JSON, KiB
from tests.benchmarks.client import get
from tests.benchmarks.contestants import Contestant, aiohttp_app, aiostreams_app
from tests.benchmarks.json_bodies import document
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["AREA", "ROWS"]

AREA = "json_bodies"

_SIZE = 1 * KiB


@aiostreams_app()
async def ours(request: web.Request) -> web.Response:
    return web.Response(text="hello")


@aiohttp_app()
async def bare(request: web.Request) -> web.Response:
    return web.Response(text="hello")


@web.middleware
async def _passing_on(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


def _with_middleware() -> Any:
    app = bare.make()
    app.middlewares.append(_passing_on)
    return app


passed_on: Contestant = dataclasses.replace(
    bare, name="passed_on", make=_with_middleware
)


@aiostreams_app()
async def tagged(request: web.Request) -> Any:
    return JSON(document(_SIZE))


@aiostreams_app(etags=False)
async def untagged(request: web.Request) -> Any:
    return JSON(document(_SIZE))


_REQUEST = get("/")

ROWS = [
    Row(
        "web.Response, nothing of setup() used",
        19,
        Entry("under setup()", ours, _REQUEST),
        [
            Peer(Entry("aiohttp alone", bare, _REQUEST), at_most(1.08)),
            Peer(Entry("aiohttp, empty middleware", passed_on, _REQUEST), kin=True),
        ],
    ),
    Row(
        "return JSON of 1 KiB, entity tag",
        15,
        Entry("with an entity tag", tagged, _REQUEST),
        [
            Peer(Entry("etags=False", untagged, _REQUEST), at_most(1.03), kin=True),
        ],
    ),
]
