"""Content codings: compressed answers, compressed requests, and the event loop.

Each at the level that its maker has chosen, so bytes stand beside the CPU time. The
rows are those of a table, which shrinks to a twelfth, and of comments, to a quarter.
"""

from __future__ import annotations

import functools
import gzip
import json
from typing import Any

from aiohttp import web

import aiostreams
from aiostreams import ByteStream, MiB, open_stream
from tests.benchmarks.client import get, put
from tests.benchmarks.comments import comments
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
def _comments() -> bytes:
    return comments(MiB)


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


_TABLE = "/"
_COMMENTS = "/comments"


def _body(path: str) -> bytes:
    return _json() if path == _TABLE else _comments()


@aiostreams_app("Compression")
async def ours_json(request: web.Request) -> Any:
    return web.Response(body=_body(request.path), content_type="application/json")


@aiohttp_app()
async def aiohttp_json(request: web.Request) -> web.Response:
    response = web.Response(body=_body(request.path), content_type="application/json")
    response.enable_compression(web.ContentCoding.gzip)
    return response


@aiohttp_app(zlib="isal.isal_zlib")
async def aiohttp_isal(request: web.Request) -> web.Response:
    """The same with isal, at its default level, which aiohttp leaves it."""
    response = web.Response(body=_body(request.path), content_type="application/json")
    response.enable_compression(web.ContentCoding.gzip)
    return response


@aiohttp_app()
async def aiohttp_plain(request: web.Request) -> web.Response:
    return web.Response(body=_body(request.path), content_type="application/json")


def _starlette_compress() -> list[Any]:
    from starlette.middleware import Middleware
    from starlette_compress import CompressMiddleware

    return [Middleware(CompressMiddleware)]


@starlette_app("starlette_compress", middleware=_starlette_compress)
async def starlette_json(request: Any) -> Any:
    from starlette.responses import Response

    return Response(_body(request.url.path), media_type="application/json")


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


@aiohttp_app(zlib="isal.isal_zlib")
async def aiohttp_decoded_by_isal(request: web.Request) -> web.Response:
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
    return web.Response(text=str(size))


def _answer(
    coding: str,
    peers: list[tuple[str, Contestant, str, Target | None, float | None]],
    name: str = "",
    ours: Contestant = ours_json,
    path: str = _TABLE,
) -> Row:
    request = get(path, fields=f"Accept-Encoding: {coding}\r\n")
    body = "comments" if path == _COMMENTS else "JSON"
    return Row(
        f"1 MiB {body} in {coding}{name}",
        4,
        Entry("compression_middleware", ours, request),
        [
            *(
                Peer(
                    Entry(
                        title,
                        contestant,
                        get(path, fields=f"Accept-Encoding: {theirs}\r\n"),
                    ),
                    target,
                    size,
                )
                for title, contestant, theirs, target, size in peers
            ),
            Peer(Entry("uncompressed", aiohttp_plain, get(path)), kin=True),
        ],
    )


def _decode(
    name: str, ours: Contestant, peers: list[tuple[str, Contestant, Target | None]]
) -> Row:
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
        [
            Peer(Entry(title, contestant, request), target)
            for title, contestant, target in peers
        ],
    )


_AIOHTTP = "aiohttp enable_compression()"

ROWS = [
    *(
        row
        for path in (_TABLE, _COMMENTS)
        for row in (
            _answer(
                "gzip",
                [
                    (_AIOHTTP, aiohttp_json, "gzip", times_less(5), 1.03),
                    ("aiohttp, isal", aiohttp_isal, "gzip", None, None),
                    ("starlette-compress", starlette_json, "gzip", at_most(1), 1.03),
                ],
                path=path,
            ),
            _answer(
                "zstd",
                [
                    ("aiohttp, which has gzip", aiohttp_json, "gzip", times_less(5), 1),
                    ("starlette-compress", starlette_json, "zstd", at_most(1), 1.03),
                ],
                path=path,
            ),
            _answer(
                "br",
                [("starlette-compress", starlette_json, "br", at_most(1), 1.03)],
                path=path,
            ),
        )
    ),
    _answer(
        "gzip",
        [(_AIOHTTP, aiohttp_json, "gzip", None, None)],
        " without extras",
        ours_json.without(*_SPEEDUPS),
    ),
    _decode(
        "",
        ours_decoded,
        [
            ("aiohttp decodes", aiohttp_decoded, at_most(0.6)),
            ("aiohttp decodes, isal", aiohttp_decoded_by_isal, None),
        ],
    ),
    _decode(
        " without extras",
        ours_decoded.without(*_SPEEDUPS),
        [("aiohttp decodes", aiohttp_decoded, None)],
    ),
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
