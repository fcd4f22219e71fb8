"""JSON in and out, small and large, parsed and written by what is installed."""

from __future__ import annotations

import functools
import json
from typing import Any

from aiohttp import web

from aiostreams import JSON, KiB, Limits, MiB, read_bytes, read_json
from tests.benchmarks.client import Request, get, put
from tests.benchmarks.contestants import aiohttp_app, aiostreams_app, starlette_app
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS", "document", "reading"]

_LIMITS = Limits(max_memory=2 * MiB)
_TYPE = "Content-Type: application/json\r\n"


@functools.cache
def document(size: int) -> list[dict[str, Any]]:
    """Rows of an API's answer: about ``size`` bytes of JSON."""
    rows: list[dict[str, Any]] = []
    length = 2
    while length < size:
        row = {
            "id": len(rows),
            "name": f"Zelda {len(rows) * 7919 % 1000}",
            "email": f"user{len(rows)}@example.org",
            "score": len(rows) * 0.25,
            "tags": ["new", "blue"],
            "active": len(rows) % 3 == 0,
            "parent": None,
        }
        rows.append(row)
        length += len(json.dumps(row)) + 2
    return rows


def _text(size: int) -> bytes:
    return json.dumps(document(size)).encode()


@aiohttp_app()
async def aiohttp_json(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.json())))


@aiostreams_app()
async def under_setup(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.json())))


@aiohttp_app("msgspec")
async def aiohttp_msgspec(request: web.Request) -> web.Response:
    """As ours, which takes msgspec where it is installed."""
    import msgspec

    value = await request.json(loads=msgspec.json.decode)
    return web.Response(text=str(len(value)))


@aiostreams_app()
async def ours_json(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await read_json(request))))


@aiohttp_app()
async def ours_bare(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await read_json(request, limits=_LIMITS))))


@starlette_app()
async def starlette_json(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(str(len(await request.json())))


@aiohttp_app()
async def aiohttp_bytes(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@aiostreams_app()
async def ours_bytes(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await read_bytes(request))))


def _size_of(request: Any) -> int:
    return int(request.url.path[1:] if hasattr(request, "scope") else request.path[1:])


@aiohttp_app()
async def aiohttp_answer(request: web.Request) -> web.Response:
    return web.json_response(document(_size_of(request)))


@aiostreams_app()
async def answer_under_setup(request: web.Request) -> web.Response:
    return web.json_response(document(_size_of(request)))


@aiostreams_app()
async def ours_answer(request: web.Request) -> Any:
    return JSON(document(_size_of(request)))


@starlette_app()
async def starlette_answer(request: Any) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(document(_size_of(request)))


def reading(size: int) -> Request:
    """A request with the rows as JSON, answered by their number."""
    return put(
        functools.partial(_text, size),
        fields=_TYPE,
        answer=str(len(document(size))).encode(),
    )


def _reading(size: int, name: str) -> Row:
    request = reading(size)
    return Row(
        f"read_json of {name}",
        2,
        Entry("read_json", ours_json, request),
        [
            Peer(Entry("aiohttp request.json()", aiohttp_json, request), at_most(1)),
            Peer(Entry("request.json() under setup()", under_setup, request), kin=True),
            Peer(Entry("request.json(loads=msgspec)", aiohttp_msgspec, request)),
            Peer(Entry("read_json, no middleware", ours_bare, request), kin=True),
            Peer(Entry("Starlette request.json()", starlette_json, request)),
        ],
    )


def _bytes(size: int, name: str) -> Row:
    request = put(lambda: bytes(size), answer=str(size).encode())
    return Row(
        f"read_bytes of {name}",
        2,
        Entry("read_bytes", ours_bytes, request),
        [Peer(Entry("aiohttp request.read()", aiohttp_bytes, request))],
    )


def _answering(size: int, name: str) -> Row:
    request: Request = get(f"/{size}")
    return Row(
        f"return JSON of {name}",
        2,
        Entry("return JSON(...)", ours_answer, request),
        [
            Peer(Entry("web.json_response", aiohttp_answer, request), at_most(1.08)),
            Peer(
                Entry("web.json_response under setup()", answer_under_setup, request),
                kin=True,
            ),
            Peer(Entry("Starlette JSONResponse", starlette_answer, request)),
        ],
    )


ROWS = [
    _reading(1 * KiB, "1 KiB"),
    _reading(1 * MiB, "1 MiB"),
    _bytes(1 * KiB, "1 KiB"),
    _bytes(1 * MiB, "1 MiB"),
    _answering(1 * KiB, "1 KiB"),
    _answering(1 * MiB, "1 MiB"),
]
