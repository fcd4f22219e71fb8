"""A reverse proxy holds nothing, adds nothing, and takes no cut body for a whole."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from aiostreams import File, IterStream, Limits, proxy, respond, setup
from aiostreams.stats import BodyStats
from aiostreams.testing import DripStream
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving

CLIENT = web.AppKey("client", aiohttp.ClientSession)


@contextlib.asynccontextmanager
async def proxied(
    upstream: Any,
    *,
    timeout: float = 10,
    response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
    trusted: Any = False,
    **limits: Any,
) -> AsyncIterator[tuple[str, int]]:
    """A proxy before an upstream: a handler, an application or an address."""

    async def handler(request: web.Request) -> web.StreamResponse:
        url = f"http://127.0.0.1:{port}{request.rel_url}"
        session, hop = request.app[CLIENT], {"X-Hop": "1"}
        return await proxy(request, session, url, headers=hop, trusted=trusted)

    async def client(app: web.Application) -> AsyncIterator[None]:
        times = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(
            timeout=times, response_class=response_class
        ) as session:
            app[CLIENT] = session
            yield

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    app.cleanup_ctx.append(client)
    setup(app, limits=Limits(**limits), compression=None)
    async with contextlib.AsyncExitStack() as stack:
        port = upstream
        if not isinstance(upstream, int):
            _, port = await stack.enter_async_context(
                serving(upstream, auto_decompress=False)
            )
        yield await stack.enter_async_context(serving(app, auto_decompress=False))


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": str(request.rel_url),
            "headers": dict(request.headers.items()),
            "body": body.hex(),
        },
        headers={"X-Up": "1", "Keep-Alive": "timeout=9"},
    )


@pytest.mark.parametrize("chunked", [False, True])
async def test_request_and_answer_pass(chunked: bool) -> None:
    zipped = gzip.compress(b"hello")
    fields = [("Content-Encoding", "gzip"), ("Cookie", "a=b"), ("Connection", "X-Me")]
    fields += [("X-Me", "secret"), ("X-Forwarded-For", "10.0.0.1")]
    async with proxied(echo) as address, connected(address) as raw:
        if chunked:
            head = post(headers=[*fields, *CHUNKED], path="/a?b=%20c", method="PUT")
            await raw.send(head, chunk(zipped[:5]), chunk(zipped[5:]) + chunk(b""))
        else:
            await raw.send(post(zipped, headers=fields, path="/a?b=%20c", method="PUT"))
        status, headers, body = await raw.response()
    assert status == 200
    assert (headers["x-up"], headers["via"]) == ("1", "1.1 aiostreams")
    assert "keep-alive" not in headers
    seen = json.loads(body)
    assert (seen["method"], seen["path"]) == ("PUT", "/a?b=%20c")
    assert bytes.fromhex(seen["body"]) == zipped
    got = {name.lower(): value for name, value in seen["headers"].items()}
    assert got["content-encoding"] == "gzip"
    assert got["cookie"] == "a=b"
    assert got["x-hop"] == "1"
    assert got["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert got["x-forwarded-proto"] == "http"
    assert got["x-forwarded-host"] == "localhost"
    assert "x-me" not in got
    assert "user-agent" not in got
    assert ("content-length" in got) != chunked


async def test_who_has_asked_before_is_told_in_one_line() -> None:
    lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "10.0.0.1, 10.0.0.2")]
    async with proxied(echo) as address, connected(address) as raw:
        await raw.send(post(b"", headers=lines))
        seen = json.loads((await raw.response())[2])["headers"]
    assert seen["X-Forwarded-For"] == "6.6.6.6, 10.0.0.1, 10.0.0.2, 127.0.0.1"


CLAIMED = {
    "X-Forwarded-Host": "bank.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/admin",
    "Forwarded": "for=6.6.6.6;host=bank.example",
    "X-Real-IP": "6.6.6.6",
}


@pytest.mark.parametrize("trusted", [False, (), ["10.0.0.0/8"]])
async def test_an_untrusted_client_says_nothing_of_those_before_it(
    trusted: Any,
) -> None:
    async with proxied(echo, trusted=trusted) as address, connected(address) as raw:
        await raw.send(post(b"", headers=CLAIMED.items()))
        seen = json.loads((await raw.response())[2])["headers"]
    assert seen["X-Forwarded-Host"] == "localhost"
    assert seen["X-Forwarded-Proto"] == "http"
    assert {*CLAIMED} & {*seen} == {"X-Forwarded-Host", "X-Forwarded-Proto"}


@pytest.mark.parametrize("trusted", [True, "127.0.0.1", ["10.0.0.0/8", "127.0.0.0/8"]])
async def test_a_trusted_client_does(trusted: Any) -> None:
    async with proxied(echo, trusted=trusted) as address, connected(address) as raw:
        await raw.send(post(b"", headers=CLAIMED.items()))
        seen = json.loads((await raw.response())[2])["headers"]
    assert {name: seen[name] for name in CLAIMED} == CLAIMED


async def test_bytes_beyond_ascii_do_not_vanish() -> None:
    """aiohttp writes UTF-8 only; what else a field has goes as what it means."""
    odd = b"attachment; filename=r\xe9sum\xe9.pdf"
    answer = b"HTTP/1.1 200 OK\r\nX-Odd: %b\r\nContent-Length: 2\r\n\r\nhi" % odd
    seen: list[bytes] = []
    meant = odd.decode("latin-1").encode()
    async with (
        answering(answer, seen=seen) as port,
        proxied(port) as address,
        connected(address) as raw,
    ):
        await raw.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: %b\r\n\r\n" % odd)
        head = await raw.reader.readuntil(b"\r\n\r\n")
    assert b"X-Odd: %b\r\n" % meant in head
    assert b"X-Odd: %b\r\n" % meant in seen[0]


async def test_nor_do_they_in_a_response_of_ones_own() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return respond(IterStream([b"x"]), headers={"X-Odd": request.headers["X-Odd"]})

    app = setup(web.Application())
    app.router.add_get("/", handler)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: r\xe9sum\xe9\r\n\r\n")
        head = await raw.reader.readuntil(b"\r\n\r\n")
    assert "X-Odd: r\xe9sum\xe9\r\n".encode() in head


async def test_the_header_section_waits_for_no_byte_of_the_body() -> None:
    for framing in (b"Transfer-Encoding: chunked", b"Content-Length: 5"):
        answer = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n\r\n"
            % framing
        )
        async with (
            answering(answer) as port,
            proxied(port) as address,
            connected(address) as raw,
        ):
            await raw.send(post(None, method="GET"))
            async with asyncio.timeout(20):
                head = await raw.reader.readuntil(b"\r\n\r\n")
            assert b"text/event-stream" in head


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (b"200 OK", b"Content-Length: 2\r\n\r\nhi"),
        (b"304 Not Modified", b'ETag: "a"\r\n\r\n'),
        (b"204 No Content", b"\r\n"),
    ],
)
async def test_an_upstream_that_names_no_type(status: bytes, fields: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\n%b" % (status, fields)
    async with (
        answering(answer) as port,
        proxied(port) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET", headers=[("If-None-Match", '"a"')]))
        head = await raw.reader.readuntil(b"\r\n\r\n")
    assert status.split()[0] in head
    assert b"content-type" not in head.lower()


@pytest.mark.parametrize("taken", [0, 200_000])
async def test_an_early_refusal_reaches_the_client(taken: int) -> None:
    """Also of an upstream that closes at once, with the body still coming."""

    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if taken:
            await reader.readexactly(taken)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, proxied(server.sockets[0].getsockname()[1]) as address:
        for _ in range(5):
            async with connected(address) as raw:
                raw.writer.write(post(headers=[("Content-Length", str(10**8))]))

                async def send(raw: Raw = raw) -> None:
                    with contextlib.suppress(ConnectionError):
                        while True:
                            raw.writer.write(bytes(2**16))
                            await raw.writer.drain()

                sending = asyncio.create_task(send())
                async with asyncio.timeout(20):
                    status, _, body = await raw.response()
                sending.cancel()
                assert (status, body) == (413, b"too large")


async def test_ranges_and_conditions_are_the_upstreams(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))

    async def upstream(request: web.Request) -> Any:
        return File(path)

    app = web.Application()
    app.router.add_get("/", upstream)
    setup(app)
    async with proxied(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=[("Range", "bytes=5-9")]))
        status, headers, body = await raw.response()
        assert (status, body) == (206, bytes(range(5, 10)))
        assert headers["content-range"] == "bytes 5-9/100"
        fields = [("If-None-Match", headers["etag"])]
        await raw.send(post(None, method="GET", headers=fields))
        status, headers, body = await raw.response()
        assert (status, body) == (304, b"")
        fields = [("If-Match", '"of somebody"')]
        await raw.send(post(None, method="GET", headers=fields))
        assert (await raw.response())[0] == 412


async def test_a_condition_on_what_knows_no_tag_is_not_judged_here() -> None:
    async def upstream(request: web.Request) -> web.Response:
        return web.Response(text="made", headers={"ETag": '"a"'})

    async with proxied(upstream) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=[("If-Match", '"a"')]))
        assert (await raw.response())[2] == b"made"


async def test_head_and_answers_without_a_body() -> None:
    async def upstream(request: web.Request) -> web.Response:
        status = int(request.query["status"])
        return web.Response(status=status, body=b"x" * 9 if status == 200 else None)

    async with proxied(upstream) as address, connected(address) as raw:
        await raw.send(post(None, method="HEAD", path="/?status=200"))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 9" in head
        for status in (204, 302, 404):
            await raw.send(post(None, method="GET", path=f"/?status={status}"))
            assert (await raw.response())[0] == status


async def test_an_upstream_that_cannot_be_reached_or_does_not_answer() -> None:
    async with serving(echo) as (_, port):
        pass
    async with proxied(port) as address, connected(address) as raw:
        await raw.send(post(b"x"))
        assert (await raw.response())[0] == 502

    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with proxied(silent, timeout=0.1) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        assert (await raw.response())[0] == 504


@contextlib.asynccontextmanager
async def answering(
    answer: bytes, *, waits: bool = True, seen: list[bytes] | None = None
) -> AsyncIterator[int]:
    """An upstream that says the same to everybody, and waits or goes; its port."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        if waits:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_upstream_without_a_reason() -> None:
    answer = b"HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nhi"
    async with (
        answering(answer) as port,
        proxied(port) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        status, _, body = await raw.response()
    assert (status, body) == (299, b"hi")


@pytest.mark.parametrize("odd", [b"\x01", b"\x7f"])
async def test_a_field_that_cannot_be_passed_on_is_the_upstreams_fault(
    odd: bytes,
) -> None:
    """aiohttp's parser refuses the first, and the second where asyncio debugs."""
    answer = b"HTTP/1.1 200 OK\r\nX-Odd: a%bb\r\nContent-Length: 2\r\n\r\nhi" % odd
    async with (
        answering(answer) as port,
        proxied(port) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        status, headers, _ = await raw.response()
    assert (status, headers.get("x-odd")) == (502, None)


async def test_a_field_that_a_parser_has_let_in_is_refused_here() -> None:
    over = asyncio.Event()
    upstreams: list[aiohttp.ClientResponse] = []

    async def upstream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await over.wait()
        return response

    class Lax(aiohttp.ClientResponse):
        @property
        def headers(  # pyright: ignore[reportIncompatibleVariableOverride]
            self,
        ) -> CIMultiDictProxy[str]:
            upstreams.append(self)
            return CIMultiDictProxy(CIMultiDict({"X-Odd": "a\x7fb"}))

    async with (
        proxied(upstream, response_class=Lax) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        status, headers, _ = await raw.response()
        assert (status, headers.get("x-odd")) == (502, None)
        assert upstreams[0].closed, "and its connection with it"
        over.set()


async def test_the_clients_own_faults_are_not_the_gateways() -> None:
    async with proxied(echo, max_body=10) as address, connected(address) as raw:
        await raw.send(post(b"x" * 11))
        assert (await raw.response())[0] == 413
    async with proxied(echo, max_body=10) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"x" * 11), chunk(b""))
        assert (await raw.response())[0] == 413
    async with proxied(echo, idle_timeout=0.1) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "5")]), b"x")
        assert (await raw.response())[0] == 408


@pytest.mark.parametrize(
    ("head", "version", "seen"),
    [
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "1.1", "4 bytes"),
        ("Content-Length: 100\r\n\r\nsome", "1.1", "4 of 100 bytes"),
        ("Content-Length: 100\r\n\r\nsome", "1.0", "4 of 100 bytes"),
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "1.0", "4 bytes"),
        ("Content-Length: 100\r\n\r\n", "1.1", "0 of 100 bytes"),
    ],
)
@pytest.mark.parametrize("way", ["ends", "waits"])
async def test_an_upstream_that_fails_midway_breaks_the_connection(
    head: str, version: str, seen: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees a broken body; one line of the log says so, with numbers."""
    caplog.set_level(logging.INFO)
    answer = f"HTTP/1.1 200 OK\r\n{head}".encode()
    ends = way == "ends"
    async with answering(answer, waits=not ends) as port:
        client = proxied(port, timeout=10 if ends else 0.2)
        async with client as address, connected(address) as raw:
            request = f"GET /a HTTP/{version}\r\nHost: a\r\n\r\n"
            await raw.send(request.encode())
            reset = False
            got = b""
            try:
                while data := await raw.reader.read(1000):
                    got += data
            except ConnectionResetError:
                reset = True
    assert not got.endswith(b"0\r\n\r\n")
    # Without a length and without chunks only a reset says that something is missing.
    assert reset or not got or b"Content-Length: 100" in got or b"chunked" in got
    [record] = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.name == "aiostreams.web"
    cause = "ClientPayloadError" if ends else "[A-Za-z]*TimeoutError"
    line = rf"upstream broke off: GET /a: {cause} after {seen}"
    assert re.fullmatch(line, record.getMessage()), record.getMessage()
    assert record.exc_info is None


async def test_a_body_refused_midway_breaks_the_answer_to_it_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the upstream still waits for will not come, and the client is not left."""
    async with (
        proxied(talking, max_body=10) as address,
        connected(address) as raw,
    ):
        await raw.send(post(headers=CHUNKED), chunk(b"hello"))
        await raw.reader.readuntil(b"hello")
        await raw.send(chunk(b"x" * 11))
        assert not (await raw.reader.read()).endswith(b"0\r\n\r\n")
    messages = [r.getMessage() for r in caplog.records if r.levelno > logging.INFO]
    assert messages[:1] == ["upstream broke off: POST /: LimitExceeded after 5 bytes"]


async def test_an_upstream_that_breaks_off_counts_as_a_failure() -> None:
    told: asyncio.Future[BodyStats] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        return await proxy(request, session, f"http://127.0.0.1:{port}/")

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app, on_stats=told.set_result)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"
    async with (
        answering(answer, waits=False) as port,
        aiohttp.ClientSession() as session,
        serving(app) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        stats = await told
    assert (stats.outcome, stats.error) == ("failed", "UpstreamBroken")


async def talking(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        async for piece in request.content.iter_any():
            await response.write(piece)
    except ConnectionError:
        pass
    return response


async def test_a_client_that_stops_reading_stops_the_upstream() -> None:
    source = DripStream(bytes(64 * 1024 * 1024), 256 * 1024)

    async def upstream(request: web.Request) -> web.StreamResponse:
        return respond(source)

    async with proxied(upstream) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        await raw.reader.read(1000)
        before = -1
        while source.position > before:  # until it stands still
            before = source.position
            await asyncio.sleep(0.1)
        assert 0 < source.position < 32 * 1024 * 1024


async def test_a_client_that_leaves_ends_the_upstreams_response() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def upstream(request: web.Request) -> web.StreamResponse:
        return respond(IterStream(endless()))

    async with proxied(upstream) as address:
        async with connected(address) as raw:
            await raw.send(post(None, method="GET"))
            await raw.reader.read(1000)
            raw.reset()
        await ended.wait()


async def test_under_aiohttps_own_decoding_no_coding_is_promised() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await proxy(request, request.app[CLIENT], f"http://127.0.0.1:{port}/")

    async with serving(echo) as (_, port):
        app = web.Application()
        app.router.add_post("/", handler)
        setup(app)
        async with aiohttp.ClientSession() as session:
            app[CLIENT] = session
            async with serving(app) as address, connected(address) as raw:
                fields = [("Content-Encoding", "gzip")]
                await raw.send(post(gzip.compress(b"hello"), headers=fields))
                seen = json.loads((await raw.response())[2])
    assert bytes.fromhex(seen["body"]) == b"hello"
    assert "Content-Encoding" not in seen["headers"]
