"""Requests that look at how a response was encoded, and decoders for every coding."""

from __future__ import annotations

import contextlib
import gzip
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aiostreams import Compression, setup
from tests.servers import Handler, Raw, connected, post, serving

# Who looks at every coding can't do without any.
pytest.importorskip("brotli", reason="needs the extra brotli")
if sys.version_info < (3, 14):
    pytest.importorskip("backports.zstd", reason="needs the extra zstd")

import brotli

try:
    from compression import zstd
except ImportError:
    from backports import zstd

__all__ = [
    "ALL",
    "CODINGS",
    "LONG",
    "Answer",
    "ask",
    "asked",
    "brotli",
    "decode",
    "decompressor",
    "every_coding",
    "zstd",
]

CODINGS = ("gzip", "deflate", "br", "zstd")
LONG = b"the quick brown fox jumps over the lazy dog\n" * 100
ALL = Compression(codings=("zstd", "br", "gzip", "deflate"))
every_coding = pytest.mark.parametrize("coding", CODINGS)


def decode(coding: str | None, data: bytes) -> bytes:
    """The whole of an encoded body; fails when it has no proper end."""
    if coding is None or coding == "identity":
        return data
    if coding == "gzip":
        return gzip.decompress(data)
    if coding == "deflate":
        return zlib.decompress(data)
    if coding == "zstd":
        return bytes(zstd.decompress(data))
    return bytes(brotli.decompress(data))


def decompressor(coding: str) -> Any:
    """Takes pieces, and gives what they hold so far."""
    if coding == "gzip":
        return zlib.decompressobj(wbits=31).decompress
    if coding == "deflate":
        return zlib.decompressobj().decompress
    if coding == "zstd":
        return zstd.ZstdDecompressor().decompress
    return brotli.Decompressor().process


class Answer:
    """A response as it was on the wire, and its body decoded."""

    def __init__(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw
        self.coding = headers.get("content-encoding")
        self.vary = headers.get("vary")
        self.etag = headers.get("etag")

    @property
    def body(self) -> bytes:
        return decode(self.coding, self.raw)


async def ask(
    raw: Raw,
    accept: str | None = None,
    *,
    method: str = "GET",
    path: str = "/",
    **headers: str,
) -> Answer:
    """One request over a connection."""
    fields = [(name.replace("_", "-"), text) for name, text in headers.items()]
    if accept is not None:
        fields.append(("Accept-Encoding", accept))
    await raw.send(post(None, method=method, path=path, headers=fields))
    if method != "HEAD":
        return Answer(*await raw.response())
    head = (await raw.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in head[1:] if line]
    return Answer(int(head[0].split()[1]), {k.lower(): v for k, v in pairs}, b"")


@contextlib.asynccontextmanager
async def asked(
    app: web.Application | Handler, compression: Compression | None = ALL
) -> AsyncIterator[Raw]:
    """A connection to a handler, or to an application, under ``setup()``."""
    if not isinstance(app, web.Application):
        handler = app
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
    setup(app, compression=compression)
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        yield raw
