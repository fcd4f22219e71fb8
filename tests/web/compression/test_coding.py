"""``response.enable_compression()``, as handlers and middlewares of aiohttp call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    ByteStream,
    Compression,
    File,
    IterStream,
    Stream,
    respond,
    uncompressed,
)
from tests.digests import digest_of
from tests.servers import Raw, connected, post, serving
from tests.web.variants import LONG, ask, asked, decompressor

GZIP = web.ContentCoding.gzip
DEFLATE = web.ContentCoding.deflate
Handler = Callable[[web.Request], Awaitable[Any]]


def asking(make: Callable[[], Any], *force: Any) -> Handler:
    async def handler(request: web.Request) -> Any:
        response = make()
        response.enable_compression(*force)
        return response

    return handler


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.bin"
    path.write_bytes(LONG)
    return path


def in_memory() -> web.StreamResponse:
    return respond(ByteStream(LONG), etag="a")


@pytest.mark.parametrize("compression", [None, Compression()])
async def test_no_byte_follows_an_answer_without_a_body(
    compression: Compression | None, page: Path
) -> None:
    """All over one connection: a byte too many would be the next status line's."""
    for make in (in_memory, lambda: respond(File(page), etag="a")):
        async with asked(asking(make), compression) as raw:
            for _ in range(2):
                whole = await ask(raw, "gzip")
                assert (whole.status, whole.coding, whole.body) == (200, "gzip", LONG)
                assert (whole.etag, whole.vary) == ('W/"a"', "Accept-Encoding")
                head = await ask(raw, "gzip", method="HEAD")
                assert (head.status, head.coding, head.raw) == (200, "gzip", b"")
                same = await ask(raw, "gzip", If_None_Match='W/"a"')
                assert (same.status, same.coding, same.raw) == (304, None, b"")
                assert (same.etag, same.vary) == ('W/"a"', "Accept-Encoding")
                other = await ask(raw, "gzip", If_Match='"b"')
                assert (other.status, other.coding) == (412, None)
                beyond = await ask(raw, "gzip", Range=f"bytes={len(LONG)}-")
                assert (beyond.status, beyond.coding) == (416, None)


@pytest.mark.parametrize("compression", [None, Compression()])
@pytest.mark.parametrize("force", [(), (GZIP,)], ids=["asked", "forced"])
async def test_a_range_is_of_the_body_as_it_is(
    compression: Compression | None, force: tuple[Any, ...]
) -> None:
    async with asked(asking(in_memory, *force), compression) as raw:
        answer = await ask(raw, "gzip", Range="bytes=5-9")
        assert (answer.status, answer.coding, answer.raw) == (206, None, LONG[5:10])
        assert (answer.etag, answer.headers["content-length"]) == ('"a"', "5")
        answer = await ask(raw, "gzip", Range="bytes=0-1,5-9")
        assert (answer.status, answer.coding) == (206, None)
        assert LONG[5:10] in answer.raw


@pytest.mark.parametrize(
    ("accept", "force", "coding"),
    [
        ("gzip, deflate", (), "gzip"),
        ("deflate", (), "deflate"),
        ("gzip;q=0, deflate;q=0.1", (), "deflate"),
        ("br, zstd", (), None),
        ("identity", (), None),
        (None, (), None),
        ("gzip", (None,), "gzip"),
        ("gzip", (DEFLATE,), "deflate"),
        (None, (GZIP,), "gzip"),
        ("gzip", (web.ContentCoding.identity,), None),
        ("gzip", (True,), "deflate"),
        ("gzip", (False,), None),
    ],
)
async def test_the_coding_is_the_one_asked_for_or_accepted(
    accept: str | None, force: tuple[Any, ...], coding: str | None
) -> None:
    async with asked(asking(in_memory, *force), None) as raw:
        answer = await ask(raw, accept)
        assert (answer.coding, answer.body) == (coding, LONG)
        varies = not force or force == (None,)
        assert answer.vary == ("Accept-Encoding" if varies else None)


async def test_under_the_middleware_its_choice_stands_unless_forced() -> None:
    text = respond(ByteStream(LONG, content_type="text/plain")).headers
    for force, coding in (((), "zstd"), ((DEFLATE,), "deflate")):
        make = asking(lambda: respond(ByteStream(LONG), headers=text), *force)
        async with asked(make) as raw:
            assert (await ask(raw, "gzip, zstd")).coding == coding
        # What it would leave is encoded all the same.
        async with asked(uncompressed(make)) as raw:
            answer = await ask(raw, "gzip, zstd")
            assert answer.coding == ("deflate" if force else "gzip")


@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "br"}, {"Content-Digest": digest_of(LONG)}],
)
async def test_what_speaks_of_its_bytes_is_left(headers: dict[str, str]) -> None:
    async with asked(
        asking(lambda: respond(ByteStream(LONG), headers=headers)), None
    ) as raw:
        answer = await ask(raw, "gzip")
        assert (answer.raw, answer.vary) == (LONG, None)


async def test_a_digest_is_of_the_bytes_that_are_sent(page: Path) -> None:
    async def check(make: Callable[[], Any], coding: str | None) -> None:
        async with asked(asking(make), None) as raw:
            answer = await ask(raw, "gzip")
            assert (answer.coding, answer.body) == (coding, LONG)
            assert answer.headers["content-digest"] == digest_of(answer.raw)

    await check(lambda: respond(ByteStream(LONG), digest="sha-256"), "gzip")
    # It would have to be encoded twice, or held in memory.
    await check(lambda: respond(File(page), digest="sha-256"), None)


async def test_a_feed_stays_live() -> None:
    more = asyncio.Event()

    async def feed() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"last"

    handler = asking(lambda: respond(IterStream(feed())))
    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=[("Accept-Encoding", "gzip")]))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Encoding: gzip\r\n" in head
        process = decompressor("gzip")
        got = b""
        while got != b"first":
            got += process(await _chunk(raw))
        more.set()
        while chunk := await _chunk(raw):
            got += process(chunk)
        assert got == b"firstlast"


async def _chunk(raw: Raw) -> bytes:
    size = int(await asyncio.wait_for(raw.reader.readline(), 20), 16)
    return (await raw.reader.readexactly(size + 2))[:-2]


async def test_a_stream_that_the_application_made_is_closed_by_a_head() -> None:
    streams: list[Stream] = []

    def make() -> web.StreamResponse:
        streams.append(IterStream([LONG]))
        return respond(streams[-1])

    async with asked(asking(make), None) as raw:
        answer = await ask(raw, "gzip", method="HEAD")
        assert (answer.status, answer.coding, answer.raw) == (200, "gzip", b"")
        await ask(raw, "gzip")
    assert [stream.closed for stream in streams] == [True, True]
