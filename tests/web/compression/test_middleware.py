"""Compressed responses: which, in what coding, what the fields say, and live ones."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiostreams.web.compression.coding
from aiostreams import (
    HTML,
    JSON,
    NDJSON,
    ByteStream,
    Compression,
    EventStream,
    File,
    FileStream,
    IterStream,
    KiB,
    MiB,
    Stream,
    Text,
    compression_middleware,
    respond,
    setup,
    stream_middleware,
    uncompressed,
)
from aiostreams.codings import registry as codecs
from aiostreams.web.compression.config import Predicate
from tests.servers import connected, post, serving
from tests.web.variants import (
    ALL,
    CODINGS,
    LONG,
    Answer,
    ask,
    asked,
    decompressor,
    every_coding,
)


async def as_response(request: web.Request) -> Any:
    return web.Response(body=LONG, content_type="text/plain")


async def as_stream(request: web.Request) -> Any:
    return IterStream([LONG[:999], LONG[999:]], content_type="text/plain")


async def as_memory(request: web.Request) -> Any:
    return ByteStream(LONG, content_type="text/plain")


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(LONG), 700):
        yield LONG[start : start + 700]


VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: web.Response(body=LONG, content_type="text/plain"),
    "bytearray": lambda: web.Response(body=bytearray(LONG), content_type="text/css"),
    "text": lambda: web.Response(text=LONG.decode()),
    "BytesIO": lambda: web.Response(body=io.BytesIO(LONG), content_type="text/plain"),
    "StringIO": lambda: web.Response(body=io.StringIO(LONG.decode())),
    "generator": lambda: web.Response(body=pieces(), content_type="text/plain"),
    "Stream in a response": lambda: web.Response(
        body=IterStream([LONG]), content_type="text/plain"
    ),
    "Content in a response": lambda: web.Response(body=Text(LONG.decode())),
    "Content": lambda: Text(LONG.decode()),
    "Stream": lambda: IterStream([LONG], content_type="text/plain"),
    "ByteStream": lambda: ByteStream(LONG, content_type="text/plain"),
    "respond": lambda: respond(Text(LONG.decode()), status=201),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES.keys())
@every_coding
async def test_whatever_a_handler_returns(make: Callable[[], Any], coding: str) -> None:
    async def handler(request: web.Request) -> Any:
        return make()

    async with asked(handler) as raw:
        for _ in range(2):
            answer = await ask(raw, coding)
            assert answer.coding == coding
            assert answer.body == LONG
            assert len(answer.raw) < len(LONG) / 10
            assert answer.vary == "Accept-Encoding"
            assert "accept-ranges" not in answer.headers
        plain = await ask(raw)
        assert plain.raw == LONG
        assert (plain.coding, plain.vary) == (None, "Accept-Encoding")
        head = await ask(raw, coding, method="HEAD")
        assert (head.status, head.raw) == (answer.status, b"")
        for answered in (head, answer):
            # What is only known once the body is made may be left out.
            answered.headers.pop("content-length", None)
            answered.headers.pop("transfer-encoding", None)
            answered.headers.pop("date")
        assert head.headers == answer.headers


async def test_json_of_aiohttp_and_ours() -> None:
    data = [{"name": "zelda", "score": n} for n in range(200)]

    async def handler(request: web.Request) -> Any:
        return JSON(data) if request.path == "/ours" else web.json_response(data)

    async with asked(handler) as raw:
        for path in ("/ours", "/theirs"):
            answer = await ask(raw, "gzip", path=path)
            assert answer.coding == "gzip"
            assert answer.body.count(b"zelda") == 200
            assert answer.headers["content-length"] == str(len(answer.raw))


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("*", "zstd"),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity", None),
        ("deflate;q=0.1, gzip;q=1", "gzip"),
        ("deflate, gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate;q=1, gzip;q=0.5", "deflate"),
        ("*, zstd;q=0, br;q=0, gzip;q=0", "deflate"),
        ("gzip;q=0.5, br;q=0.4", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=1.0 , identity; q=0.5, *;q=0", "gzip"),
        ("identity;q=0, *", "zstd"),
        ("identity;q=0, br;q=0.1", "br"),
        ("gzip;q=nonsense", None),
        (";;, ,@, gzip", "gzip"),
        ("compress, lzma", None),
    ],
)
async def test_negotiation(accept: str | None, coding: str | None) -> None:
    for handler in (as_response, as_stream):
        async with asked(handler) as raw:
            answer = await ask(raw, accept)
            assert answer.coding == coding
            assert answer.body == LONG
            assert answer.vary == "Accept-Encoding"


@pytest.mark.parametrize(
    "accept", ["identity;q=0", "identity;q=0, br, gzip;q=0", "*;q=0", "lzma, *;q=0"]
)
async def test_nothing_acceptable_is_a_problem(accept: str) -> None:
    compression = Compression(codings=("gzip",))
    for handler in (as_response, as_stream):
        async with asked(handler, compression) as raw:
            answer = await ask(raw, accept)
            assert answer.status == 406
            assert answer.vary == "Accept-Encoding, Accept"
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert b"gzip, identity" in answer.raw
            answer = await ask(raw, accept, Accept="text/plain")
            assert answer.raw.startswith(b"406: no acceptable content coding")
            # What was done is done, and is told.
            answer = await ask(raw, accept, method="POST")
            assert (answer.status, answer.coding, answer.raw) == (200, None, LONG)


async def test_an_error_is_told_however_it_is_wanted() -> None:
    async def handler(request: web.Request) -> Any:
        if request.path == "/raised":
            raise web.HTTPNotFound(text=LONG.decode())
        return respond(Text(LONG.decode()), status=410)

    async with asked(handler) as raw:
        for path, status in (("/raised", 404), ("/returned", 410)):
            answer = await ask(raw, "*;q=0", path=path)
            assert (answer.status, answer.raw) == (status, LONG)
            answer = await ask(raw, "gzip", path=path)
            assert (answer.status, answer.coding) == (status, "gzip")
            assert answer.body == LONG


async def test_a_406_closes_what_will_not_be_sent() -> None:
    opened: list[Any] = []
    closed = asyncio.Event()

    async def generator() -> AsyncIterator[bytes]:
        try:
            yield LONG
        finally:
            closed.set()

    async def handler(request: web.Request) -> Any:
        if request.path == "/payload":
            opened.append(IterStream([LONG]))
            return web.Response(body=opened[-1], content_type="text/plain")
        opened.append(IterStream([LONG], content_type="text/plain"))
        return opened[-1]

    async with asked(handler) as raw:
        for path in ("/payload", "/"):
            assert (await ask(raw, "*;q=0", path=path)).status == 406
            assert opened[-1].closed


async def test_small_bodies_and_other_types_are_left() -> None:
    answers: dict[str, Any] = {
        "/small": lambda: Text("x" * 1023),
        "/large": lambda: Text("x" * 1024),
        "/image": lambda: ByteStream(LONG, content_type="image/png"),
        "/none": lambda: web.Response(),
        "/empty": lambda: web.Response(body=b"", content_type="text/plain"),
    }

    async def handler(request: web.Request) -> Any:
        return answers[request.path]()

    async with asked(handler) as raw:
        for path in answers:
            answer = await ask(raw, "gzip", path=path)
            expected = "gzip" if path == "/large" else None
            assert answer.coding == expected, path
            assert ("vary" in answer.headers) == (path == "/large")
        # A client that refuses them as they are gets them encoded.
        for path in ("/small", "/image"):
            answer = await ask(raw, "gzip, identity;q=0", path=path)
            assert (answer.coding, answer.vary) == ("gzip", "Accept-Encoding")
        answer = await ask(raw, "gzip, identity;q=0", path="/empty")
        assert (answer.status, answer.coding) == (200, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "identity"},
        {"Content-Range": "bytes 0-9/10"},
        {"Cache-Control": "private, No-Transform"},
        {"Content-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"},
        {"Repr-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"},
    ],
)
async def test_what_speaks_of_its_bytes_is_left(fields: dict[str, str]) -> None:
    async def handler(request: web.Request) -> Any:
        if request.path == "/ours":
            return respond(Text(LONG.decode()), headers=fields)
        return web.Response(text=LONG.decode(), headers=fields)

    async with asked(handler) as raw:
        for path in ("/ours", "/theirs"):
            answer = await ask(raw, "br", path=path)
            assert answer.raw == LONG
            assert answer.coding == fields.get("Content-Encoding")


async def test_cache_control_other_than_no_transform() -> None:
    async def handler(request: web.Request) -> Any:
        return respond(
            Text(LONG.decode()), headers={"Cache-Control": "no-cache, no-transform-x"}
        )

    async with asked(handler) as raw:
        assert (await ask(raw, "gzip")).coding == "gzip"


@pytest.mark.parametrize("status", [204, 304, 206])
async def test_statuses_without_a_whole_body(status: int) -> None:
    async def handler(request: web.Request) -> Any:
        if request.path == "/ours":
            return respond(ByteStream(content_type="text/plain"), status=status)
        if request.path == "/body":
            return web.Response(text=LONG.decode(), status=status)
        return web.Response(status=status)

    async with asked(handler) as raw:
        for path in ("/theirs", "/ours", "/body"):
            answer = await ask(raw, "gzip", path=path)
            assert (answer.status, answer.coding) == (status, None)
            assert "vary" not in answer.headers


async def test_vary_is_said_once_beside_what_was_there() -> None:
    fields = [("Vary", "Origin"), ("Vary", "accept-encoding, Accept")]

    async def handler(request: web.Request) -> Any:
        if request.path == "/any":
            return web.Response(text=LONG.decode(), headers={"Vary": "*"})
        response = web.Response(text=LONG.decode())
        response.headers.extend(fields)
        return response

    async with asked(handler) as raw:
        for accept in ("gzip", None):
            answer = await ask(raw, accept)
            assert answer.vary == "Origin, accept-encoding, Accept"
            assert (await ask(raw, accept, path="/any")).vary == "*"


# -- validators, conditions, ranges ----------------------------------------------------


async def test_a_strong_tag_becomes_weak_and_still_matches() -> None:
    async def handler(request: web.Request) -> Any:
        return respond(Text(LONG.decode()), etag="v1")

    async with asked(handler) as raw:
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.etag) == ("gzip", 'W/"v1"')
        plain = await ask(raw)
        assert (plain.coding, plain.etag) == (None, '"v1"')
        for tag in ('W/"v1"', '"v1"', '"v0", W/"v1"', "*"):
            answer = await ask(raw, "gzip", If_None_Match=tag)
            assert (answer.status, answer.raw) == (304, b"")
            assert (answer.etag, answer.vary) == ('W/"v1"', "Accept-Encoding")
            assert answer.coding is None
            answer = await ask(raw, If_None_Match=tag)
            assert (answer.status, answer.etag) == (304, '"v1"')
            assert answer.vary == "Accept-Encoding"
        answer = await ask(raw, "gzip", If_None_Match='"v2"')
        assert (answer.status, answer.coding) == (200, "gzip")
        # A weak tag never matches strongly (RFC 9110 section 13.1.1).
        assert (await ask(raw, "gzip", If_Match='W/"v1"')).status == 412
        assert (await ask(raw, "gzip", If_Match='"v1"')).status == 200


async def test_a_range_is_of_the_body_as_it_is() -> None:
    async def handler(request: web.Request) -> Any:
        return respond(Text(LONG.decode()), etag="v1")

    async with asked(handler) as raw:
        answer = await ask(raw, "gzip", Range="bytes=4-8")
        assert (answer.status, answer.raw, answer.coding) == (206, LONG[4:9], None)
        assert (answer.etag, answer.vary) == ('"v1"', "Accept-Encoding")
        answer = await ask(raw, "gzip", Range="bytes=4-8", If_Range='"v1"')
        assert (answer.status, answer.raw) == (206, LONG[4:9])
        # Who has the encoded body must not add identity bytes to it.
        answer = await ask(raw, "gzip", Range="bytes=4-8", If_Range='W/"v1"')
        assert (answer.status, answer.coding) == (200, "gzip")
        assert answer.body == LONG
        answer = await ask(raw, "gzip", Range="bytes=99999-")
        assert (answer.status, answer.coding) == (416, None)
        assert (await ask(raw)).headers["accept-ranges"] == "bytes"


async def test_a_304_of_a_handler_has_the_tag_that_the_client_has() -> None:
    async def handler(request: web.Request) -> Any:
        headers = {"ETag": request.path[1:].replace("'", '"')} if request.path else {}
        if request.path == "/raised":
            raise web.HTTPNotModified(headers={"ETag": '"v1"'})
        if request.path == "/none":
            return web.Response(status=304)
        if "If-None-Match" in request.headers or request.path == "/'v0'":
            return web.Response(status=304, headers=headers)
        return web.Response(text=LONG.decode(), headers=headers)

    async with asked(handler) as raw:
        first = await ask(raw, "gzip", path="/'v1'")
        assert (first.coding, first.etag) == ("gzip", 'W/"v1"')
        for path in ("/'v1'", "/raised"):
            answer = await ask(raw, "gzip", path=path, If_None_Match='"x", W/"v1"')
            assert (answer.status, answer.etag) == (304, 'W/"v1"')
            assert answer.vary == "Accept-Encoding"
        answer = await ask(raw, path="/'v1'", If_None_Match='"v1"')
        assert (answer.etag, answer.vary) == ('"v1"', None)
        answer = await ask(raw, "gzip", path="/W/'v1'", If_None_Match='W/"v1"')
        assert (answer.etag, answer.vary) == ('W/"v1"', None)
        assert (await ask(raw, "gzip", path="/'v0'")).etag == '"v0"'
        assert (await ask(raw, "gzip", path="/none")).etag is None


async def test_levels_adapt(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[tuple[str, int | None]] = []
    make = codecs.make_encoder

    def spy(coding: str, level: int | None = None) -> Any:
        levels.append((coding, level))
        return make(coding, level)

    monkeypatch.setattr("aiostreams.codings.encoded.make_encoder", spy)

    async def handler(request: web.Request) -> Any:
        if request.path == "/theirs":
            return web.Response(text=LONG.decode())
        if request.path == "/theirs-kept":
            return web.Response(text=LONG.decode(), headers={"ETag": '"1"'})
        if request.path == "/kept":
            return respond(Text(LONG.decode()), last_modified=0)
        if request.path == "/stream":
            return IterStream([LONG], content_type="text/plain")
        return Text(LONG.decode())

    compression = Compression(levels={"gzip": 1}, static_levels={"gzip": 9})
    async with asked(handler, compression) as raw:
        for path in ("/", "/kept", "/theirs", "/theirs-kept"):
            await ask(raw, "gzip", path=path)
        assert levels == [("gzip", 1), ("gzip", 9)] * 2
        levels.clear()
        for path in ("/", "/kept", "/stream"):
            await ask(raw, "br", path=path)
        assert levels == [("br", None)] * 3


# -- files -----------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_bytes(LONG)
    return path


async def test_a_file_is_encoded_on_its_way(page: Path) -> None:
    async def handler(request: web.Request) -> Any:
        return File(page)

    async with asked(handler) as raw:
        plain = await ask(raw)
        assert (plain.raw, plain.headers["accept-ranges"]) == (LONG, "bytes")
        assert plain.vary == "Accept-Encoding"
        assert plain.etag is not None
        assert plain.etag.startswith('"')
        answer = await ask(raw, "zstd")
        assert (answer.coding, answer.body) == ("zstd", LONG)
        assert answer.etag == "W/" + plain.etag
        assert "accept-ranges" not in answer.headers
        assert "content-length" not in answer.headers
        answer = await ask(raw, "zstd", Range="bytes=0-2")
        assert (answer.status, answer.raw) == (206, LONG[:3])


SIBLINGS = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}


async def test_what_lies_beside_a_file_is_sent_as_it_is(page: Path) -> None:
    # They are no codings of it, to see that nobody makes them so.
    kept = {coding: f"kept as {coding}".encode() * 100 for coding in SIBLINGS}
    for coding, extension in SIBLINGS.items():
        Path(f"{page}{extension}").write_bytes(kept[coding])

    async def handler(request: web.Request) -> Any:
        if request.path == "/given":
            return respond(File(page), etag="mine", last_modified=1)
        return File(page)

    async with asked(handler) as raw:
        tags = {(await ask(raw)).etag}
        for coding, data in kept.items():
            answer = await ask(raw, f"{coding}, identity;q=0.5")
            assert (answer.raw, answer.coding) == (data, coding)
            assert answer.vary == "Accept-Encoding"
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["content-length"] == str(len(data))
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.etag is not None
            assert answer.etag.startswith('"')
            tags.add(answer.etag)
            again = await ask(raw, coding, If_None_Match=answer.etag)
            assert (again.status, again.etag) == (304, answer.etag)
            assert again.vary == "Accept-Encoding"
            part = await ask(raw, coding, Range="bytes=1-5", If_Range=answer.etag)
            assert (part.status, part.raw, part.coding) == (206, data[1:6], coding)
            assert part.headers["content-range"] == f"bytes 1-5/{len(data)}"
            head = await ask(raw, coding, method="HEAD")
            assert head.headers["content-length"] == str(len(data))
        assert len(tags) == 4
        assert (await ask(raw, "gzip, br, zstd")).coding == "zstd"
        assert (await ask(raw, "gzip;q=0.9, br, zstd;q=0.5")).coding == "br"
        assert (await ask(raw, "identity, gzip;q=0.5")).coding is None
        assert (await ask(raw, "gzip;q=0")).raw == LONG
        # A tag that was given is of the file; what lies beside has other bytes.
        assert (await ask(raw, path="/given")).etag == '"mine"'
        answer = await ask(raw, "br", path="/given")
        assert (answer.coding, answer.etag) == ("br", 'W/"mine"')
        assert answer.headers["last-modified"] == "Thu, 01 Jan 1970 00:00:01 GMT"
    async with asked(handler, Compression(precompressed=False)) as raw:
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.body) == ("gzip", LONG)


async def test_what_lies_beside_and_does_not_count(page: Path, tmp_path: Path) -> None:
    stale = Path(f"{page}.zst")
    stale.write_bytes(b"old")
    os.utime(stale, ns=(0, page.stat().st_mtime_ns - 1))
    Path(f"{page}.br").symlink_to("/etc/passwd")
    Path(f"{page}.gz").mkdir()
    other = tmp_path / "other.png"
    other.write_bytes(LONG)
    Path(f"{other}.gz").write_bytes(b"beside")
    paths = {"/page": page, "/other": other, "/missing": tmp_path / "missing.html"}

    async def handler(request: web.Request) -> Any:
        if request.path == "/given":
            return respond(File(page), headers={"Content-Encoding": "gzip"})
        if request.path == "/status":
            return respond(File(page), status=203)
        return File(paths[request.path])

    async with asked(handler) as raw:
        for coding in SIBLINGS:
            answer = await ask(raw, coding, path="/page")
            assert (answer.coding, answer.body) == (coding, LONG)
        os.utime(stale, ns=(0, page.stat().st_mtime_ns))
        assert (await ask(raw, "zstd", path="/page")).raw == b"old"
        assert (await ask(raw, "zstd", path="/status")).body == LONG
        assert (await ask(raw, "zstd", path="/given")).raw == LONG
        assert (await ask(raw, "gzip", path="/other")).raw == LONG
        assert (await ask(raw, "gzip", path="/missing")).status == 404


async def test_what_lies_beside_and_goes(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        aiostreams.web.compression.coding,
        "_up_to_date",
        lambda path, beside: list(beside),
    )

    async def handler(request: web.Request) -> Any:
        return File(page)

    async with asked(handler) as raw:
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.body) == ("gzip", LONG)


def test_a_file_that_goes_while_it_is_looked_at(page: Path) -> None:
    page.unlink()
    coding = aiostreams.web.compression.coding
    assert coding._up_to_date(str(page), {"gzip": f"{page}.gz"}) == []


# -- who is left alone -----------------------------------------------------------------


class View(web.View):
    @uncompressed
    async def get(self) -> web.Response:
        return web.Response(text=LONG.decode())

    async def post(self) -> web.Response:
        return web.Response(text=LONG.decode())


@uncompressed
class PlainView(web.View):
    async def get(self) -> web.Response:
        return web.Response(text=LONG.decode())


async def test_a_route_opts_out() -> None:
    @uncompressed
    async def plain(request: web.Request) -> Any:
        return Text(LONG.decode())

    app = web.Application()
    app.router.add_get("/plain", plain)
    app.router.add_view("/view", View)
    app.router.add_view("/plain-view", PlainView)
    async with asked(app) as raw:
        for method, path, coding in (
            ("GET", "/plain", None),
            ("HEAD", "/plain", None),
            ("GET", "/view", None),
            ("POST", "/view", "gzip"),
            ("GET", "/plain-view", None),
        ):
            answer = await ask(raw, "gzip", method=method, path=path)
            assert answer.coding == coding, (method, path)


async def test_responses_by_hand_are_left() -> None:
    async def handler(request: web.Request) -> Any:
        if request.path == "/asks":
            response = web.Response(text=LONG.decode())
            response.enable_compression(web.ContentCoding.deflate)
            return response
        by_hand = web.StreamResponse(headers={"Content-Type": "text/plain"})
        if request.path == "/prepared":
            await by_hand.prepare(request)
            await by_hand.write(LONG)
        return by_hand

    async with asked(handler) as raw:
        assert (await ask(raw, "gzip", path="/asks")).coding == "deflate"
        answer = await ask(raw, "gzip", path="/prepared")
        assert (answer.coding, answer.raw) == (None, LONG)
        assert (await ask(raw, "gzip", path="/hand")).coding is None


async def test_compression_none_is_off() -> None:
    async with asked(as_response, None) as raw:
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.vary) == (None, None)


async def test_sub_applications_under_their_own_and_their_parents() -> None:
    def routes() -> web.Application:
        app = web.Application()
        app.router.add_get("/text", as_response)
        app.router.add_get("/body", as_memory)
        return app

    own = setup(routes(), compression=Compression(codings=("gzip",)))
    app = web.Application()
    app.add_subapp("/own", own)
    app.add_subapp("/theirs", routes())
    async with asked(app) as raw:
        for path in ("/own/text", "/own/body"):
            answer = await ask(raw, "br, gzip", path=path)
            assert (answer.coding, answer.body) == ("gzip", LONG)
            assert answer.vary == "Accept-Encoding"
            assert (await ask(raw, "br", path=path)).coding is None
        for path in ("/theirs/text", "/theirs/body"):
            answer = await ask(raw, "br, gzip", path=path)
            assert (answer.coding, answer.body) == ("br", LONG)


async def test_the_middleware_by_itself() -> None:
    app = web.Application(middlewares=[compression_middleware(), stream_middleware()])
    app.router.add_get("/", as_stream)
    alone = web.Application(middlewares=[compression_middleware()])
    alone.router.add_get("/", as_response)
    for each in (app, alone):
        async with serving(each) as address, connected(address) as raw:
            assert (await ask(raw, "gzip")).body == LONG


async def test_stream_middleware_may_stand_outside() -> None:
    """Who sets up by hand need not know the order for it to work."""

    async def other(request: web.Request) -> Any:
        if request.path == "/none":
            return None
        return File("/nowhere/x") if request.path == "/file" else Text("x" * 5000)

    app = web.Application(middlewares=[stream_middleware(), compression_middleware()])
    app.router.add_get("/", as_stream)
    app.router.add_get("/{name}", other)
    async with serving(app) as address, connected(address) as raw:
        for path in ("/", "/text"):
            answer = await ask(raw, "gzip", path=path)
            assert (answer.coding, answer.vary) == ("gzip", "Accept-Encoding")
        assert (await ask(raw, "gzip", path="/file")).status == 404
        assert (await ask(raw, "gzip", path="/none")).status == 500


async def test_missing_libraries_are_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "aiostreams.web.compression.coding.supported_codings",
        lambda: ("gzip", "deflate"),
    )
    async with asked(as_response) as raw:
        assert (await ask(raw, "gzip, br, zstd")).coding == "gzip"
        assert (await ask(raw, "br, zstd")).coding is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"codings": ("gzip", "lzma")},
            "unknown content coding 'lzma'; expected one of zstd, ",
        ),
        ({"codings": "gzip"}, "unknown content coding 'g'"),
        ({"codings": ("identity",)}, "unknown content coding 'identity'"),
        ({"minimum_size": -1}, "must not be negative: -1"),
        ({"levels": {"gzip": 10}}, "levels: gzip has levels 0 to 9, not 10"),
        ({"static_levels": {"br": 12}}, "static_levels: br has levels 0 to 11, not 12"),
        ({"levels": {"lzma": 1}}, "unknown content coding 'lzma'"),
    ],
)
def test_values_of_compression_are_checked(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Compression(**arguments)


def test_compression_does_not_change_later() -> None:
    levels = {"gzip": 1}
    compression = Compression(levels=levels)
    levels["gzip"] = 9
    assert compression.level("gzip", static=False) == 1
    assert compression.level("br", static=False) is None


async def test_a_predicate_that_fails_closes_the_body() -> None:
    body = IterStream([LONG], content_type="text/plain")

    def fail(_candidate: Any) -> bool:
        raise ZeroDivisionError

    async def handler(request: web.Request) -> Any:
        if request.path == "/bytes":
            return web.Response(text="x" * 2000)
        return body

    async with asked(handler, Compression(when=Predicate(fail))) as raw:
        assert (await ask(raw, "gzip")).status == 500
        assert body.closed
    async with asked(handler, Compression(when=Predicate(fail))) as raw:
        assert (await ask(raw, "gzip", path="/bytes")).status == 500


@every_coding
@pytest.mark.parametrize("size", [1024, 64 * KiB + 1, 200 * KiB, 2 * MiB])
async def test_a_body_in_memory_has_its_length(coding: str, size: int) -> None:
    data = (os.urandom(500) + bytes(500)) * (size // 1000 + 1)
    data = data[:size]

    async def handler(request: web.Request) -> Any:
        if request.path == "/ours":
            return ByteStream(data, content_type="text/plain")
        return web.Response(body=data, content_type="text/plain")

    # The codings' own levels, and ones that take a worker thread.
    slow = Compression(codings=ALL.codings, levels={"zstd": 9, "br": 6, "gzip": 9})
    for compression in (ALL, slow):
        async with asked(handler, compression) as raw:
            for path in ("/ours", "/theirs"):
                answer = await ask(raw, coding, path=path)
                assert (answer.coding, answer.body) == (coding, data)
                assert answer.headers["content-length"] == str(len(answer.raw))


async def test_a_large_body_in_memory_goes_in_pieces() -> None:
    large = os.urandom(3 * MiB)

    async def handler(request: web.Request) -> Any:
        if request.path == "/ours":
            return ByteStream(large, content_type="text/plain")
        return web.Response(body=large, content_type="text/plain")

    async with asked(handler) as raw:
        for path in ("/ours", "/theirs"):
            for coding in ("gzip", "zstd"):
                answer = await ask(raw, coding, path=path)
                assert (answer.coding, answer.body) == (coding, large)
                assert answer.headers["transfer-encoding"] == "chunked"


async def test_http_1_0_ends_with_the_connection() -> None:
    async with serving(setup_(as_stream)) as address, connected(address) as raw:
        await raw.send(b"GET / HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        head, _, body = (await raw.reader.read()).partition(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in head
        assert gzip.decompress(body) == LONG


def setup_(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return setup(app, compression=ALL)


# -- live bodies, and ends -------------------------------------------------------------


class Feed:
    """Gives what is put, when it is put."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed.set()


class LiveStream(Stream):
    """A user's own source that says it is live."""

    live = True

    def __init__(self, items: AsyncIterator[bytes]) -> None:
        super().__init__(content_type="text/plain")
        self._items = items

    async def readany(self) -> bytes:
        return await anext(self._items, b"")

    async def close(self) -> None:
        await self._items.aclose()  # type: ignore[attr-defined]


LIVE: dict[
    str, tuple[Callable[[Feed], Any], Callable[[int], Any], Callable[[int], bytes]]
] = {
    "EventStream": (
        lambda feed: EventStream(feed()),
        lambda n: f"event {n}",
        lambda n: b"data: event %d\n\n" % n,
    ),
    "NDJSON": (
        lambda feed: NDJSON(feed()),
        lambda n: {"n": n},
        lambda n: b'{"n":%d}\n' % n,
    ),
    "a live stream": (
        lambda feed: LiveStream(feed()),
        lambda n: b"%d," % n,
        lambda n: b"%d," % n,
    ),
    "generator of a response": (
        lambda feed: web.Response(body=feed(), content_type="text/event-stream"),
        lambda n: b"data: %d\n\n" % n,
        lambda n: b"data: %d\n\n" % n,
    ),
    "IterStream of a generator": (
        lambda feed: IterStream(feed(), content_type="text/plain"),
        lambda n: b"%d," % n,
        lambda n: b"%d," % n,
    ),
    "IterStream in a response": (
        lambda feed: web.Response(body=IterStream(feed()), content_type="text/plain"),
        lambda n: b"%d," % n,
        lambda n: b"%d," % n,
    ),
    "EventStream in a response": (
        lambda feed: web.Response(body=EventStream(feed())),
        lambda n: f"{n}",
        lambda n: b"data: %d\n\n" % n,
    ),
}


async def read_chunk(raw: Any) -> bytes:
    size = int(await raw.reader.readline(), 16)
    data = await raw.reader.readexactly(size + 2)
    return bytes(data[:-2])


@pytest.mark.parametrize(("make", "item", "expected"), LIVE.values(), ids=LIVE.keys())
@every_coding
async def test_an_event_reaches_the_client_at_once(
    make: Any, item: Any, expected: Any, coding: str
) -> None:
    feed = Feed()

    async def handler(request: web.Request) -> Any:
        return make(feed)

    async with serving(setup_(handler)) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=[("Accept-Encoding", coding)]))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert f"Content-Encoding: {coding}\r\n".encode() in head
        process = decompressor(coding)
        waits = []
        for n in range(20):
            feed.queue.put_nowait(item(n))
            began = time.perf_counter()
            got = b""
            while len(got) < len(expected(n)):
                got += process(await asyncio.wait_for(read_chunk(raw), 20))
            waits.append(time.perf_counter() - began)
            assert got == expected(n)
        # Nothing waits for a timer; now and then a busy machine has no time for it.
        assert statistics.median(waits) < 0.2
        feed.queue.put_nowait(None)
        while chunk := await read_chunk(raw):
            assert process(chunk) == b""
        await asyncio.wait_for(feed.closed.wait(), 20)


@pytest.mark.parametrize(("make", "item", "expected"), LIVE.values(), ids=LIVE.keys())
async def test_a_client_that_leaves_closes_the_source(
    make: Any, item: Any, expected: Any
) -> None:
    feed = Feed()

    async def handler(request: web.Request) -> Any:
        return make(feed)

    async with serving(setup_(handler)) as address:
        async with connected(address) as raw:
            await raw.send(
                post(None, method="GET", headers=[("Accept-Encoding", "gzip")])
            )
            await raw.reader.readuntil(b"\r\n\r\n")
            feed.queue.put_nowait(item(1))
            await read_chunk(raw)
            raw.reset()
        for n in range(200):
            feed.queue.put_nowait(item(n))
            await asyncio.sleep(0.01)
            if feed.closed.is_set():
                break
        assert feed.closed.is_set()


@pytest.mark.parametrize(("make", "item", "expected"), LIVE.values(), ids=LIVE.keys())
@every_coding
async def test_a_source_that_fails_breaks_the_connection(
    make: Any, item: Any, expected: Any, coding: str
) -> None:
    feed = Feed()

    async def handler(request: web.Request) -> Any:
        return make(feed)

    async with serving(setup_(handler)) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=[("Accept-Encoding", coding)]))
        await raw.reader.readuntil(b"\r\n\r\n")
        feed.queue.put_nowait(item(1))
        data = await read_chunk(raw)
        feed.queue.put_nowait(OSError("the disk has gone"))
        rest = await asyncio.wait_for(raw.reader.read(), 20)
        assert b"0\r\n\r\n" not in rest
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            data += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        assert decompressor(coding)(data) == expected(1)
        with pytest.raises(Exception, match=r"."):
            Answer(200, {"content-encoding": coding}, data).body  # noqa: B018
        assert feed.closed.is_set()


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_generator_that_is_not_read_to_its_end_is_closed(size: int) -> None:
    """Also while it waits at a yield, where aiohttp leaves it to the collector."""
    closed = asyncio.Event()
    leaving = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield os.urandom(size)
        finally:
            leaving.set()
            await asyncio.sleep(0)
            closed.set()

    async def handler(request: web.Request) -> Any:
        return web.Response(body=endless(), content_type="text/plain")

    async with serving(setup_(handler)) as address:
        async with connected(address) as raw:
            await raw.send(
                post(None, method="GET", headers=[("Accept-Encoding", "gzip")])
            )
            await raw.reader.readexactly(1000)
            raw.reset()
        await asyncio.wait_for(closed.wait(), 20)
    assert leaving.is_set()


# -- clients ---------------------------------------------------------------------------


@every_coding
async def test_the_client_of_aiohttp_reads_it(coding: str) -> None:
    for handler in (as_response, as_stream, as_memory):
        async with (
            serving(setup_(handler)) as (host, port),
            aiohttp.ClientSession(headers={"Accept-Encoding": coding}) as session,
            session.get(f"http://{host}:{port}/") as response,
        ):
            assert response.headers["Content-Encoding"] == coding
            assert await response.read() == LONG


async def run(*command: str, data: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate(data)
    assert process.returncode == 0, errors
    return output


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(tool) is None, reason=f"{tool} is not installed"
    )


@needs("curl")
@every_coding
async def test_curl_reads_it(coding: str) -> None:
    version = (await run("curl", "--version")).decode().lower()
    known = {"gzip": "libz", "deflate": "libz", "br": "brotli", "zstd": "zstd"}
    if known[coding] not in version:
        pytest.skip(f"this curl does not know {coding}")
    for handler in (as_response, as_stream):
        async with serving(setup_(handler)) as (host, port):
            curl = partial(run, "curl", "-sS", "--compressed")
            url = f"http://{host}:{port}/"
            field = f"Accept-Encoding: {coding}"
            assert await curl("-H", field, url) == LONG
            # What it asks for by itself.
            assert await curl(url) == LONG


@pytest.mark.parametrize(
    ("coding", "command"),
    [
        ("gzip", ("gzip", "-t")),
        ("zstd", ("zstd", "-t")),
        ("br", ("brotli", "-t")),
    ],
)
async def test_the_tools_find_it_whole(coding: str, command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for handler in (as_response, as_stream, as_memory):
        async with asked(handler) as raw:
            answer = await ask(raw, coding)
            assert answer.coding == coding
            await run(*command, data=answer.raw)


def test_all_codings_are_tested() -> None:
    assert set(CODINGS) == set(codecs.supported_codings())


async def test_html_and_file_streams_too(page: Path) -> None:
    async def handler(request: web.Request) -> Any:
        if request.path == "/html":
            return HTML(LONG.decode())
        return FileStream(page, content_type="text/html")

    async with asked(handler) as raw:
        for path in ("/html", "/file"):
            answer = await ask(raw, "br", path=path)
            assert (answer.coding, answer.body) == ("br", LONG)
