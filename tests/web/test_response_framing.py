"""Every response is as long as it says, whatever says what about its length.

All over raw connections: each request is followed by another one before the answer is
there, so that a byte too many, or too few, is read as a part of the next response.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ByteStream,
    EventStream,
    File,
    Form,
    IterStream,
    KiB,
    MultiPart,
    Text,
    respond,
    setup,
)
from tests.servers import connected, serving

DATA = b"the quick brown fox jumps over the lazy dog\n" * 250
LARGE = DATA * 30


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(DATA), 1000):
        yield DATA[start : start + 1000]


# What a handler returns; where it is a value, fields are said by respond().
VALUES: dict[str, Callable[[Path], Any]] = {
    "JSON": lambda folder: JSON({"name": "zelda"}),
    "long JSON": lambda folder: JSON([DATA.decode()]),
    "empty": lambda folder: Text(""),
    "large bytes": lambda folder: ByteStream(LARGE, content_type="text/plain"),
    "file": lambda folder: File(folder / "page.html"),
    "image": lambda folder: File(folder / "image.png"),
    "known": lambda folder: IterStream([DATA], size=len(DATA)),
    "unknown": lambda folder: IterStream(pieces(), content_type="text/plain"),
    "events": lambda folder: EventStream(["one", "two"]),
    "multipart": lambda folder: MultiPart(
        {"a": "1"}, {"f": File(folder / "image.png")}, boundary="the-boundary"
    ),
    "form": lambda folder: Form({"a": "b" * 2000}),
}
OF_AIOHTTP: dict[str, Callable[[Path, dict[str, str]], web.StreamResponse]] = {
    "text": lambda folder, fields: web.Response(text="short", headers=fields),
    "body": lambda folder, fields: web.Response(
        body=DATA, headers={"Content-Type": "text/plain", **fields}
    ),
    "no body": lambda folder, fields: web.Response(headers=fields),
    "payload": lambda folder, fields: web.Response(
        body=io.BytesIO(DATA), headers=fields
    ),
    "generator": lambda folder, fields: web.Response(body=pieces(), headers=fields),
    "stream": lambda folder, fields: web.Response(
        body=IterStream(pieces()), headers=fields
    ),
    "FileResponse": lambda folder, fields: web.FileResponse(
        folder / "image.png", headers=fields
    ),
}
KINDS = (*VALUES, *OF_AIOHTTP)
REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "GET": ("GET", {}),
    "POST": ("POST", {"Content-Length": "0"}),
    "HEAD": ("HEAD", {}),
    "gzip": ("GET", {"Accept-Encoding": "gzip"}),
    "HEAD gzip": ("HEAD", {"Accept-Encoding": "gzip"}),
    "range": ("GET", {"Range": "bytes=5-9"}),
    "ranges": ("GET", {"Range": "bytes=0-1,5-9,-3"}),
    "beyond": ("GET", {"Range": "bytes=99999999-"}),
    "match": ("GET", {"If-None-Match": "*"}),
    "mismatch": ("GET", {"If-Match": '"nothing"'}),
}
FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "nothing": (),
    "a length too small": (("Content-Length", "3"),),
    "a length too large": (("Content-Length", "1000003"),),
    "no length": (("Content-Length", "many"),),
    "a negative length": (("Content-Length", "-5"),),
    "chunked": (("Transfer-Encoding", "chunked"),),
    "a coding": (("Transfer-Encoding", "gzip, chunked"),),
    "both": (("Transfer-Encoding", "chunked"), ("Content-Length", "3")),
    "keep-alive": (("Connection", "keep-alive, X-Hop"), ("Keep-Alive", "timeout=5")),
    "upgrade": (("Connection", "Upgrade"), ("Upgrade", "h2c")),
    "trailers": (("TE", "trailers"), ("Trailer", "X-Sum")),
}
WHO = ("handler", "middleware", "signal")
HOP_BY_HOP = {"keep-alive", "upgrade", "te", "trailer", "proxy-connection"}


class Got(NamedTuple):
    """One response as RFC 9112 says that it is read."""

    status: int
    fields: dict[str, list[str]]
    body: bytes
    complete: bool


async def read_response(reader: asyncio.StreamReader, method: str) -> Got:
    """Read one response; what breaks a rule of framing fails."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError as error:
        return Got(0, {}, error.partial, False)
    assert head[0].startswith(("HTTP/1.1 ", "HTTP/1.0 ")), head[0]
    status = int(head[0].split()[1])
    fields: dict[str, list[str]] = {}
    for line in head[1:]:
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), []).append(value.strip())
    assert HOP_BY_HOP.isdisjoint(fields), fields
    assert fields.get("connection", ["close"]) in (["close"], ["keep-alive"])
    coding = fields.get("transfer-encoding")
    length = fields.get("content-length")
    assert coding in (None, ["chunked"])
    assert coding is None or length is None
    if length is not None:
        assert len(length) == 1
        assert length[0].isdecimal()
    if method == "HEAD" or status in {204, 304}:
        assert coding is None
        return Got(status, fields, b"", True)
    body = b""
    try:
        if coding is not None:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                assert await reader.readexactly(2) == b"\r\n"
            assert await reader.readexactly(2) == b"\r\n"
        elif length is not None:
            body = await reader.readexactly(int(length[0]))
        else:
            body = await reader.read()
    except asyncio.IncompleteReadError as error:
        return Got(status, fields, body + error.partial, False)
    return Got(status, fields, body, True)


def application(folder: Path) -> web.Application:
    """Answers as the query says: the kind, who says what in which fields."""

    def said(request: web.Request, who: str) -> list[tuple[str, str]]:
        query = request.query
        if query.get("who") != who:
            return []
        return parse_qsl(query["fields"])

    async def handler(request: web.Request) -> Any:
        kind = request.query["kind"]
        fields = said(request, "handler")
        if kind in OF_AIOHTTP:
            return OF_AIOHTTP[kind](folder, dict(fields))
        value = VALUES[kind](folder)
        status = int(request.query.get("status", "200"))
        if fields or status != 200:
            return respond(value, headers=dict(fields), status=status)
        return value

    async def following(_request: web.Request) -> Any:
        return Text("the next one")

    @web.middleware
    async def own(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        response.headers.extend(said(request, "middleware"))
        return response

    async def signal(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in said(request, "signal"):
            response.headers[name] = value

    app = web.Application(middlewares=[own])
    app.router.add_route("*", "/", handler)
    app.router.add_get("/next", following)
    app.on_response_prepare.append(signal)
    return setup(app)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    (tmp_path / "page.html").write_bytes(DATA)
    (tmp_path / "page.html.gz").write_bytes(b"kept beside" * 100)
    (tmp_path / "image.png").write_bytes(LARGE)
    async with serving(application(tmp_path), auto_decompress=False) as address:
        yield address


async def exchange(
    address: tuple[str, int], method: str, headers: Mapping[str, str], **query: str
) -> tuple[Got, bytes | None]:
    """The response, and the body of the one that follows it, if it does."""
    lines = [f"{method} /?{urlencode(query)} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    following = "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with connected(address) as raw, asyncio.timeout(10):
        raw.writer.write(("\r\n".join([*lines, "", ""]) + following).encode())
        got = await read_response(raw.reader, method)
        if raw.reader.at_eof() or not got.complete:
            return got, None
        after = await read_response(raw.reader, "GET")
        return got, after.body if after.complete else None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_response_is_as_long_as_it_says(
    kind: str, address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Of each kind, to each request, with each lie told by everybody."""
    caplog.set_level(logging.CRITICAL)
    plain = {
        name: (await exchange(address, *request, kind=kind))[0]
        for name, request in REQUESTS.items()
    }
    for who, (name, request), (lie, fields) in itertools.product(
        WHO, REQUESTS.items(), FIELDS.items()
    ):
        about = f"{kind}, {name}: {lie} by the {who}"
        got, following = await exchange(
            address, *request, kind=kind, who=who, fields=urlencode(fields)
        )
        if not got.complete or got.status == 500:
            # A promise that nobody else could make, and that is not kept.
            assert kind in {"unknown", "events", "generator", "stream"}, about
            assert "length" in lie or lie == "both", about
            assert following is None or got.status == 500, about
            assert got.status or not got.body, about
            continue
        assert following == b"the next one", about
        promised = kind in {"unknown", "events", "generator", "stream"} and (
            got.status == 200 and any(name == "Content-Length" for name, _ in fields)
        )
        if promised:
            continue
        expected = plain[name]
        assert got.status == expected.status, about
        if name != "ranges":  # their boundary is another one each time
            assert got.body == expected.body, about
            length = got.fields.get("content-length")
            assert length == expected.fields.get("content-length"), about


@pytest.mark.parametrize("status", [201, 204, 206, 304, 404])
async def test_a_status_has_the_body_that_is_its_own(
    status: int, address: tuple[str, int]
) -> None:
    for kind, method, fields in itertools.product(
        VALUES, ("GET", "HEAD"), FIELDS.values()
    ):
        got, following = await exchange(
            address,
            method,
            {"Accept-Encoding": "gzip"},
            kind=kind,
            status=str(status),
            who="handler",
            fields=urlencode(fields),
        )
        if got.status == 500:
            assert kind == "unknown"
            continue
        assert got.status == status
        assert following == b"the next one" or not got.complete
        if status in {204, 304}:
            assert got.complete
            assert "content-length" not in got.fields


async def test_the_log_tells_what_was_dropped(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    for who, (name, value) in itertools.product(
        WHO,
        (
            ("Content-Length", "3"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "X-Hop"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("Trailer", "X-Sum"),
        ),
    ):
        for kind in ("JSON", "file", "body"):
            caplog.clear()
            fields = urlencode({name: value})
            await exchange(address, "GET", {}, kind=kind, who=who, fields=fields)
            records = [r for r in caplog.records if r.name == "aiostreams.web"]
            assert [r.levelname for r in records] == ["WARNING"], (who, name, kind)
            assert name in records[0].getMessage()


async def test_a_right_length_is_nothing_to_tell(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    for who, kind in itertools.product(WHO, ("image", "JSON", "text")):
        length = {"image": len(LARGE), "JSON": 16, "text": 5}[kind]
        fields = urlencode({"Content-Length": str(length)})
        query = {"kind": kind, "who": who, "fields": fields}
        got, following = await exchange(address, "GET", {}, **query)
        assert (len(got.body), following) == (length, b"the next one")
    assert not caplog.records


async def test_whoever_says_close_has_the_connection_closed(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    for who, kind in itertools.product(WHO, ("image", "JSON", "text", "unknown")):
        query = {"kind": kind, "who": who, "fields": "Connection=close"}
        got, following = await exchange(address, "GET", {}, **query)
        assert got.fields["connection"] == ["close"]
        assert (got.complete, following) == (True, None)
    assert not caplog.records


async def test_an_upgrade_is_offered_where_it_is_required(
    address: tuple[str, int],
) -> None:
    async def handler(_request: web.Request) -> Any:
        headers = {"Upgrade": "h2c", "Connection": "upgrade"}
        return respond(Text("use another"), status=426, headers=headers)

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as own, connected(own) as raw:
        raw.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        status, fields, body = await raw.response()
    assert (status, body) == (426, b"use another")
    assert (fields["upgrade"], fields["connection"]) == ("h2c", "upgrade")


async def test_http_1_0_gets_no_chunks(address: tuple[str, int]) -> None:
    """A body of unknown length ends with the connection, another has its length."""
    for kind, fields in itertools.product(VALUES, FIELDS.values()):
        if any(name == "Content-Length" for name, _ in fields):
            continue
        query = urlencode({"kind": kind, "who": "handler", "fields": urlencode(fields)})
        async with connected(address) as raw:
            head = f"GET /?{query} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            raw.writer.write(head.encode())
            got = await read_response(raw.reader, "GET")
        assert "transfer-encoding" not in got.fields
        closes = "content-length" not in got.fields
        assert closes is (kind in {"unknown", "events"}), kind
        assert got.fields.get("connection") == (None if closes else ["keep-alive"])


async def test_what_is_written_by_hand_and_too_short_ends_its_connection() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"abc")
        if request.path == "/ended":
            await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with serving(setup(app)) as address:
        for path in ("/", "/ended"):
            async with connected(address) as raw, asyncio.timeout(20):
                raw.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await raw.reader.read()).endswith(b"\r\n\r\nabc")


async def test_a_signal_may_change_the_body_and_its_length() -> None:
    """As ``adev runserver`` does, to have pages reloaded."""
    addition = b"<script>" + b"x" * 3 * KiB

    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            body = response.body + addition
            response.body = body
            response.headers["Content-Length"] = str(len(body))

    async def handler(request: web.Request) -> Any:
        page = "<p>page"
        if request.path == "/theirs":
            return web.Response(text=page, content_type="text/html")
        return Text(page)

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    app.on_response_prepare.append(add)
    async with serving(setup(app)) as address, connected(address) as raw:
        for path in ("/ours", "/theirs"):
            raw.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            status, fields, body = await raw.response()
            assert (status, body) == (200, b"<p>page" + addition)
            assert fields["content-length"] == str(len(body))
