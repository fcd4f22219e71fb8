"""Content codings: compressed answers, compressed requests, and the event loop."""

from __future__ import annotations

import functools
import gzip
import json
from typing import Any

from aiohttp import web

import aiostreams
from aiostreams import ByteStream, MiB, open_stream
from tests.benchmarks.client import get, put
from tests.benchmarks.contestants import (
    Contestant,
    aiohttp_app,
    aiostreams_app,
    starlette_app,
)
from tests.benchmarks.json_bodies import document
from tests.benchmarks.rows import Entry, Peer, Row, Target, at_most, times_less

__all__ = ["ROWS"]

_SPEEDUPS = ("isal", "zlib_ng", "backports.zstd", "brotli")


@functools.cache
def _json() -> bytes:
    return json.dumps(document(MiB)).encode()


@functools.cache
def _text(size: int) -> bytes:
    """Rows that do not repeat: a short document over and over would be too easy."""
    lines = []
    length = 0
    # A little more than enough: its own count has a separator more for each row.
    for row in document(size + size // 50):
        line = json.dumps(row).encode()
        lines.append(line)
        length += len(line)
    return b"\n".join(lines)[:size]


def _gzipped(size: int) -> bytes:
    return gzip.compress(_text(size), 6)


# -- answers ---------------------------------------------------------------------------


@aiostreams_app("Compression")
async def ours_json(_request: web.Request) -> Any:
    return web.Response(body=_json(), content_type="application/json")


@aiohttp_app()
async def aiohttp_json(request: web.Request) -> web.Response:
    response = web.Response(body=_json(), content_type="application/json")
    response.enable_compression(web.ContentCoding.gzip)
    return response


@aiohttp_app()
async def aiohttp_plain(request: web.Request) -> web.Response:
    return web.Response(body=_json(), content_type="application/json")


def _starlette_compress() -> list[Any]:
    from starlette.middleware import Middleware
    from starlette_compress import CompressMiddleware

    return [Middleware(CompressMiddleware)]


@starlette_app("starlette_compress", middleware=_starlette_compress)
async def starlette_json(_request: Any) -> Any:
    from starlette.responses import Response

    return Response(_json(), media_type="application/json")


@aiostreams_app("Compression")
async def ours_large(_request: web.Request) -> Any:
    return ByteStream(_text(100 * MiB), content_type="text/plain")


# -- requests --------------------------------------------------------------------------


@aiostreams_app("DecodedStream", limits=aiostreams.Limits(max_body=2**40))
async def ours_decoded(request: web.Request) -> web.Response:
    size = 0
    async for chunk in open_stream(request).iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


@aiohttp_app()
async def aiohttp_decoded(request: web.Request) -> web.Response:
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


def _answer(
    coding: str,
    peers: list[tuple[str, Contestant, str, Target | None, float | None]],
    name: str = "",
    ours: Contestant = ours_json,
) -> Row:
    request = get(fields=f"Accept-Encoding: {coding}\r\n")
    return Row(
        f"1 MiB JSON in {coding}{name}",
        4,
        Entry("compression_middleware", ours, request),
        [
            *(
                Peer(
                    Entry(
                        title, contestant, get(fields=f"Accept-Encoding: {theirs}\r\n")
                    ),
                    target,
                    size,
                )
                for title, contestant, theirs, target, size in peers
            ),
            Peer(Entry("uncompressed", aiohttp_plain, get())),
        ],
        count=10,
    )


def _decode(name: str, ours: Contestant, target: Target | None) -> Row:
    size = 64 * MiB
    request = put(
        functools.partial(_gzipped, size),
        fields="Content-Encoding: gzip\r\n",
        answer=str(size).encode(),
    )
    return Row(
        f"64 MiB gzip request{name}",
        4,
        Entry("open_stream", ours, request),
        [Peer(Entry("aiohttp decodes", aiohttp_decoded, request), target)],
    )


ROWS = [
    _answer(
        "gzip",
        [
            ("aiohttp enable_compression()", aiohttp_json, "gzip", times_less(5), 1.03),
            ("starlette-compress", starlette_json, "gzip", at_most(1), 1.03),
        ],
    ),
    _answer(
        "zstd",
        [
            ("aiohttp enable_compression()", aiohttp_json, "gzip", times_less(5), 1),
            ("starlette-compress", starlette_json, "zstd", at_most(1), 1.03),
        ],
    ),
    _answer(
        "gzip",
        [("aiohttp enable_compression()", aiohttp_json, "gzip", None, None)],
        " without extras",
        ours_json.without(*_SPEEDUPS),
    ),
    _answer("br", [("starlette-compress", starlette_json, "br", at_most(1), 1.03)]),
    _decode("", ours_decoded, at_most(0.6)),
    _decode(" without extras", ours_decoded.without(*_SPEEDUPS), None),
    Row(
        "100 MiB decoded, the event loop",
        4,
        Entry(
            "open_stream",
            ours_decoded,
            put(
                functools.partial(_gzipped, 100 * MiB),
                fields="Content-Encoding: gzip\r\n",
                answer=str(100 * MiB).encode(),
            ),
        ),
        stall=0.020,
    ),
    Row(
        "100 MiB encoded, the event loop",
        4,
        Entry("return Stream", ours_large, get(fields="Accept-Encoding: gzip\r\n")),
        stall=0.020,
    ),
]
