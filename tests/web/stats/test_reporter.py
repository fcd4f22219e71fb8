"""The numbers of each request are those that went over the wire, however it ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import gzip
import logging
import os
import pickle
import weakref
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from aiostreams import (
    JSON,
    ClientGone,
    File,
    IterStream,
    KiB,
    Limits,
    MemoryStorage,
    MiB,
    StreamError,
    expect_continue,
    iter_parts,
    limit,
    open_stream,
    read_bytes,
    read_form,
    read_json,
    receive,
    respond,
    setup,
)
from aiostreams.stats import BodyStats
from aiostreams.web.stats import reporter
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.web.stats.requests import UPLOAD
from tests.web.stats.requests import stats as make_stats

BOTH = pytest.mark.parametrize("decoding", [False, True], ids=["ours", "aiohttp's"])
TEXT = b"All work and no play makes Jack a dull boy.\n" * 100


class Told:
    """What a callback was told, to be waited for."""

    def __init__(self) -> None:
        self.all: list[BodyStats] = []
        self._queue: asyncio.Queue[BodyStats] = asyncio.Queue()

    def __call__(self, stats: BodyStats) -> None:
        self.all.append(stats)
        self._queue.put_nowait(stats)

    async def next(self) -> BodyStats:
        async with asyncio.timeout(10):
            return await self._queue.get()


@contextlib.asynccontextmanager
async def reporting(
    handler: Callable[[web.Request], Any],
    *,
    decoding: bool = False,
    limits: Limits | None = None,
    path: str = "/things/{name}",
    compression: bool = True,
    **kwargs: Any,
) -> AsyncIterator[tuple[tuple[str, int], Told]]:
    """A server of one route whose requests are told."""
    told = Told()
    app = web.Application()
    app.router.add_route("*", path, handler, expect_handler=expect_continue)
    more: dict[str, Any] = {} if compression else {"compression": None}
    if limits is not None:
        more["limits"] = limits
    setup(app, on_stats=told, storage=MemoryStorage(), **more)
    async with serving(app, auto_decompress=decoding, **kwargs) as address:
        yield address, told
        # Exactly once for each: nothing comes later.
        count = len(told.all)
        await asyncio.sleep(0)
    assert len(told.all) == count


async def ask(
    address: tuple[str, int],
    method: str = "POST",
    *,
    data: Any = None,
    path: str = "/things/one",
    **headers: str,
) -> tuple[int, bytes, CIMultiDict[str]]:
    """Ask once; the body of the answer comes as it was sent."""
    url = f"http://{address[0]}:{address[1]}{path}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("Accept-Encoding", "identity")
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, data=data, headers=given) as response,
    ):
        return response.status, await response.read(), CIMultiDict(response.headers)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_bytes(request))


def form(*contents: bytes, files: int = 0) -> bytes:
    """A form of fields, the last ``files`` of them files."""
    parts = []
    for index, content in enumerate(contents):
        filename = b'; filename="f"' if index >= len(contents) - files else b""
        parts.append(
            b'--b\r\nContent-Disposition: form-data; name="n%d"%b\r\n\r\n%b\r\n'
            % (index, filename, content)
        )
    return b"".join(parts) + b"--b--\r\n"


FORM = "multipart/form-data; boundary=b"


# -- what it was -------------------------------------------------------------------


async def test_plain_request() -> None:
    async with reporting(echo) as (address, told):
        await ask(address, data=b"x" * 1000)
        stats = await told.next()
    assert 0 < (stats.response_start or 0) <= stats.duration < 10
    assert 0 <= stats.request_wait < stats.duration
    assert stats == BodyStats(
        method="POST",
        route="/things/{name}",
        scheme="http",
        http_version="1.1",
        status=200,
        outcome="ok",
        error=None,
        request_body_size=1000,
        request_decoded_size=1000,
        request_codings=(),
        request_parts=0,
        request_wait=stats.request_wait,
        response_body_size=1000,
        response_decoded_size=1000,
        response_codings=(),
        response_start=stats.response_start,
        duration=stats.duration,
    )


async def test_labels_are_few_whatever_the_client_sends() -> None:
    async with reporting(echo) as (address, told):
        await ask(address, path="/things/x?y", Content_Encoding="made-up")
        await ask(address, path="/elsewhere", Content_Encoding="gzip,br,gzip")
        first, second = await told.next(), await told.next()
    assert (first.route, first.status) == ("/things/{name}", 415)
    assert (second.route, second.status) == (None, 404)
    assert first.request_codings == second.request_codings == ("_OTHER",)


async def test_unknown_method_is_other() -> None:
    async with reporting(echo) as (address, told), connected(address) as raw:
        await raw.send(post(method="PROPFIND", path="/things/x"))
        await raw.response()
        assert (await told.next()).method == "_OTHER"


async def test_http_1_0() -> None:
    async def rows(request: web.Request) -> IterStream:
        return IterStream([b"one\n", b"two\n"])

    async with reporting(rows) as (address, told), connected(address) as raw:
        await raw.send(b"GET /things/x HTTP/1.0\r\n\r\n")
        assert (await raw.reader.read()).endswith(b"\r\n\r\none\ntwo\n")
        stats = await told.next()
    assert (stats.http_version, stats.response_body_size) == ("1.0", 8)


# -- what came in ------------------------------------------------------------------


@BOTH
async def test_request_in_a_coding(decoding: bool) -> None:
    body = gzip.compress(TEXT)
    async with reporting(echo, decoding=decoding) as (address, told):
        await ask(
            address, data=body, Content_Encoding="x-gzip" if not decoding else "gzip"
        )
        stats = await told.next()
    assert stats.request_body_size == len(body)
    assert stats.request_decoded_size == len(TEXT) == stats.response_body_size
    assert stats.request_codings == ("gzip",)


async def test_request_in_two_codings() -> None:
    body = zlib.compress(gzip.compress(TEXT))
    async with reporting(echo) as (address, told):
        await ask(address, data=body, Content_Encoding="gzip, deflate, identity")
        stats = await told.next()
    assert stats.request_body_size == len(body)
    assert stats.request_decoded_size == len(TEXT)
    assert stats.request_codings == ("gzip", "deflate")


@BOTH
async def test_chunked_request(decoding: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100

    async with reporting(echo, decoding=decoding) as (address, told):
        await ask(address, data=pieces())
        stats = await told.next()
    assert stats.request_body_size == stats.request_decoded_size == 1000


@BOTH
async def test_chunked_request_in_a_coding(decoding: bool) -> None:
    body = gzip.compress(TEXT)

    async def pieces() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    async with reporting(echo, decoding=decoding) as (address, told):
        await ask(address, data=pieces(), Content_Encoding="gzip")
        stats = await told.next()
    assert stats.request_body_size == len(body)
    assert stats.request_decoded_size == len(TEXT)


async def test_coding_that_nobody_undoes() -> None:
    async def ignore(request: web.Request) -> web.Response:
        await request.content.wait_eof()
        return web.Response()

    body = gzip.compress(TEXT)
    async with reporting(ignore) as (address, told):
        await ask(address, data=body, Content_Encoding="gzip")
        await ask(address, "GET", Content_Encoding="gzip")
        first, second = await told.next(), await told.next()
    assert (first.request_body_size, first.request_decoded_size) == (len(body), None)
    assert (second.request_body_size, second.request_decoded_size) == (0, 0)


async def test_a_body_that_aiohttps_own_call_reads_is_decoded() -> None:
    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    body = gzip.compress(TEXT)
    async with reporting(count) as (address, told):
        await ask(address, data=body, Content_Encoding="gzip")
        stats = await told.next()
    assert stats.request_body_size == len(body)
    assert stats.request_decoded_size == len(TEXT)


async def test_what_is_put_back_counts_once() -> None:
    async def twice(request: web.Request) -> web.Response:
        await read_bytes(request)
        stream = open_stream(request)
        head = await stream.peek(10)
        return web.Response(body=head + await stream.read())

    async with reporting(twice) as (address, told):
        await ask(address, data=gzip.compress(TEXT), Content_Encoding="gzip")
        assert (await told.next()).request_decoded_size == len(TEXT)


async def test_waiting_for_the_client_is_told() -> None:
    async with reporting(echo) as (address, told), connected(address) as raw:
        await raw.send(post(b"ab", path="/things/x")[:-1])
        await asyncio.sleep(0.2)
        await raw.send(b"b")
        await raw.response()
        stats = await told.next()
    assert 0.15 < stats.request_wait <= stats.duration


# -- parts -------------------------------------------------------------------------

FIELDS = [b"x" * 10] * 5


async def by_form(request: web.Request) -> web.Response:
    await read_form(request)
    return web.Response()


async def by_parts(request: web.Request) -> web.Response:
    async for part in iter_parts(request):
        await part.read()
    return web.Response()


async def by_receive(request: web.Request) -> web.Response:
    async with receive(request):
        return web.Response()


@pytest.mark.parametrize("handler", [by_form, by_parts, by_receive])
@pytest.mark.parametrize("size", [10, 300 * KiB], ids=["small", "large"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@BOTH
async def test_parts_are_counted(
    handler: Callable[[web.Request], Any], size: int, chunked: bool, decoding: bool
) -> None:
    body = form(b"x", b"y" * size, b"z", files=1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with reporting(handler, decoding=decoding) as (address, told):
        data = pieces() if chunked else body
        status, _, _ = await ask(address, data=data, Content_Type=FORM)
        stats = await told.next()
    assert status == 200
    assert (stats.request_parts, stats.request_body_size) == (3, len(body))


@pytest.mark.parametrize("handler", [by_form, by_parts, by_receive])
async def test_parts_are_counted_until_one_too_many(
    handler: Callable[[web.Request], Any],
) -> None:
    limits = Limits(max_parts=2)
    async with reporting(handler, limits=limits) as (address, told):
        body = form(b"1", b"2", b"3", b"4")
        status, _, _ = await ask(address, data=body, Content_Type=FORM)
        stats = await told.next()
    assert (status, stats.outcome, stats.error) == (413, "refused", "LimitExceeded")
    assert stats.request_parts in {2, 3}


async def test_parts_of_all_levels_are_counted() -> None:
    async def nested(request: web.Request) -> web.Response:
        async for part in iter_parts(request):
            if part.content_type == "multipart/mixed; boundary=c":
                async for inner in iter_parts(part):
                    await inner.read()
        return web.Response()

    inner = b"--c\r\n\r\none\r\n--c\r\n\r\ntwo\r\n--c--\r\n"
    body = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n%b\r\n"
        b"--b\r\n\r\nlast\r\n--b--\r\n" % inner
    )
    async with reporting(nested) as (address, told):
        kind = "multipart/mixed; boundary=b"
        await ask(address, data=body, Content_Type=kind)
        assert (await told.next()).request_parts == 4


async def test_parts_of_another_stream_are_not_the_requests() -> None:
    async def other(request: web.Request) -> web.Response:
        stream = IterStream([form(b"1", b"2")], content_type=FORM)
        return web.Response(text=str(len([part async for part in iter_parts(stream)])))

    async with reporting(other) as (address, told):
        assert (await ask(address))[1] == b"2"
        assert (await told.next()).request_parts == 0


@pytest.mark.parametrize("handler", [by_form, by_receive])
@pytest.mark.parametrize("more", [b"", b"x" * 300 * KiB], ids=["small", "large"])
async def test_input_left_empty_is_a_part(
    handler: Callable[[web.Request], Any], more: bytes
) -> None:
    body = form(more, b"", files=1).replace(b'filename="f"', b'filename=""')
    async with reporting(handler) as (address, told):
        await ask(address, data=body, Content_Type=FORM)
        assert (await told.next()).request_parts == 2


async def test_raw_upload_has_no_parts() -> None:
    async with reporting(by_receive) as (address, told):
        await ask(address, "PUT", data=b"x" * 70_000, Content_Type="image/x-raw")
        stats = await told.next()
    assert (stats.request_parts, stats.request_body_size) == (0, 70_000)


# -- what went out -----------------------------------------------------------------


async def small_json(request: web.Request) -> JSON[Any]:
    return JSON({"rows": list(range(1000))})


async def text(request: web.Request) -> web.Response:
    return web.Response(text=TEXT.decode())


async def large_text(request: web.Request) -> web.Response:
    return web.Response(body=TEXT * 1000, content_type="text/plain")


async def stream_of_unknown_size(request: web.Request) -> IterStream:
    return IterStream([TEXT] * 10, content_type="text/plain")


async def stream_in_a_response(request: web.Request) -> web.Response:
    return web.Response(body=IterStream([TEXT] * 10), content_type="text/plain")


async def generator(request: web.Request) -> web.Response:
    async def rows() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield TEXT

    return web.Response(body=rows(), content_type="text/plain")


async def by_hand(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(10):
        await response.write(TEXT)
    return response


async def by_hand_of_a_length(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(TEXT)
    await response.prepare(request)
    await response.write(TEXT)
    return response


async def raised(request: web.Request) -> web.Response:
    raise web.HTTPConflict(text=TEXT.decode())


async def unread(request: web.Request) -> JSON[Any]:
    return JSON({"read": "nothing"})


ANSWERS = [
    small_json,
    text,
    large_text,
    stream_of_unknown_size,
    stream_in_a_response,
    generator,
    by_hand,
    by_hand_of_a_length,
    raised,
    unread,
]


@pytest.mark.parametrize("handler", ANSWERS)
@pytest.mark.parametrize("accepted", ["identity", "gzip", "br", "zstd"])
async def test_response_is_counted_as_sent(
    handler: Callable[[web.Request], Any], accepted: str
) -> None:
    async with reporting(handler) as (address, told):
        _, plain, _ = await ask(address, "GET")
        first = await told.next()
        _, body, headers = await ask(address, "GET", Accept_Encoding=accepted)
        stats = await told.next()
    assert first.response_body_size == first.response_decoded_size == len(plain) > 0
    assert stats.response_body_size == len(body)
    assert stats.response_decoded_size == len(plain)
    assert stats.outcome == "ok"
    coding = headers.get("Content-Encoding")
    assert stats.response_codings == (() if coding is None else (coding,))
    if accepted != "identity" and handler not in {by_hand, by_hand_of_a_length, unread}:
        assert coding == accepted


async def test_application_that_encodes_by_itself() -> None:
    body = gzip.compress(TEXT)

    async def encoded(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with reporting(encoded) as (address, told):
        await ask(address, "GET")
        stats = await told.next()
    assert (stats.response_body_size, stats.response_decoded_size) == (len(body), None)
    assert stats.response_codings == ("gzip",)


async def test_aiohttp_that_encodes_by_itself() -> None:
    async def whole(request: web.Request) -> web.Response:
        response = web.Response(body=TEXT)
        response.enable_compression()
        return response

    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression()
        await response.prepare(request)
        await response.write(TEXT)
        return response

    for handler in (whole, streamed):
        async with reporting(handler) as (address, told):
            _, body, _ = await ask(address, "GET", Accept_Encoding="gzip")
            stats = await told.next()
        assert stats.response_decoded_size == len(TEXT), handler
        assert stats.response_codings == ("gzip",)
        # Here aiohttp does not tell the framing from the content.
        framing = stats.response_body_size - len(body)
        assert framing == 0 if handler is whole else 0 < framing < 30


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("by", ["ours", "aiohttp's", "encoded"])
async def test_response_without_a_body(method: str, by: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)

    async def file(request: web.Request) -> web.StreamResponse:
        if by == "ours":
            return respond(File(path), etag="e")
        if by == "aiohttp's":
            return web.FileResponse(path)
        response = web.Response(body=TEXT, status=200 if method == "HEAD" else 304)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with reporting(file) as (address, told):
        more = {}
        if method == "GET":
            etag = (await ask(address, "HEAD"))[2].get("ETag", "")
            assert (await told.next()).method == "HEAD"
            more = {"If_None_Match": etag}
        status, body, _ = await ask(address, method, **more)
        stats = await told.next()
    assert (status, body) == (304 if method == "GET" else 200, b"")
    assert (stats.status, stats.outcome) == (status, "ok")
    assert stats.response_body_size == stats.response_decoded_size == 0


@pytest.mark.parametrize("by", ["ours", "aiohttp's"])
@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
async def test_file_by_sendfile(by: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom(size))

    async def file(request: web.Request) -> Any:
        return File(path) if by == "ours" else web.FileResponse(path)

    async with reporting(file) as (address, told):
        for asked in (None, "bytes=2-6", "bytes=0-1,4-5"):
            more = {} if asked is None else {"Range": asked}
            status, body, _ = await ask(address, "GET", **more)
            stats = await told.next()
            assert (stats.status, stats.response_body_size) == (status, len(body))
            assert stats.outcome == "ok"
    assert status == (206 if by == "ours" else 416)  # several ranges


async def test_file_that_does_not_go_by_sendfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOHTTP_NOSENDFILE", "1")
    (tmp_path / "file.bin").write_bytes(TEXT)

    async def file(request: web.Request) -> File:
        return File(tmp_path / "file.bin")

    async with reporting(file) as (address, told):
        await ask(address, "GET")
        assert (await told.next()).response_body_size == len(TEXT)


@pytest.mark.parametrize("handler", ANSWERS)
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
async def test_writer_of_an_older_aiohttp(
    handler: Callable[[web.Request], Any],
    accepted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before 3.14.4 it has another way to tell."""
    monkeypatch.setattr(reporter, "_TELLS", False)
    async with reporting(handler) as (address, told):
        _, body, _ = await ask(address, "GET", Accept_Encoding=accepted)
        assert (await told.next()).response_body_size == len(body)


async def test_continue_is_no_content() -> None:
    async with reporting(echo) as (address, told), connected(address) as raw:
        expect = ("Expect", "100-continue")
        await raw.send(post(b"abc", path="/things/x", headers=[expect])[:-3])
        assert b"100 Continue" in await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(b"abc")
        assert (await raw.response())[2] == b"abc"
        assert (await told.next()).response_body_size == 3


async def test_websocket() -> None:
    async def chat(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async with reporting(chat) as (address, told):
        url = f"http://{address[0]}:{address[1]}/things/x"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url) as socket,
        ):
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            assert not told.all
        stats = await told.next()
    assert (stats.status, stats.outcome) == (101, "ok")
    assert stats.request_body_size == stats.response_body_size == 0
    assert stats.response_start is not None
    assert stats.response_start < stats.duration


# -- how it ended ------------------------------------------------------------------


async def test_early_refusal() -> None:
    async def never(request: web.Request) -> web.Response:
        raise AssertionError

    limits = Limits(max_body=100)
    async with reporting(never, limits=limits) as (address, told):
        status, body, _ = await ask(address, data=b"x" * 101)
        stats = await told.next()
    assert (status, stats.status) == (413, 413)
    assert (stats.outcome, stats.error) == ("refused", "LimitExceeded")
    assert stats.response_body_size == len(body)


@pytest.mark.parametrize("wish", ["100-continue", "something else"])
async def test_refused_expectation(wish: str) -> None:
    limits = Limits(max_body=100)
    async with reporting(echo, limits=limits) as (address, told):
        async with connected(address) as raw:
            head = post(b"x" * 101, path="/things/x", headers=[("Expect", wish)])
            await raw.send(head[:-101])
            status, _, body = await raw.response()
        stats = await told.next()
    assert (stats.status, stats.response_body_size) == (status, len(body))
    assert stats.route == "/things/{name}"
    if wish == "100-continue":
        assert (status, stats.outcome, stats.error) == (413, "refused", "LimitExceeded")
    else:
        assert (status, stats.outcome, stats.error) == (417, "ok", None)


@pytest.mark.parametrize(
    ("headers", "body", "status", "error"),
    [
        ({"Content_Encoding": "gzip"}, b"no gzip", 400, "MalformedBody"),
        ({"Content_Encoding": "rot13"}, b"x", 415, "UnsupportedContent"),
        ({}, b"{", 400, "MalformedBody"),
        ({}, b"x" * 1001, 413, "LimitExceeded"),
    ],
)
async def test_refusal(
    headers: dict[str, str], body: bytes, status: int, error: str
) -> None:
    async def read(request: web.Request) -> JSON[Any]:
        return JSON(await read_json(request, content_type=None))

    async with reporting(read, limits=Limits(max_memory=1000)) as (address, told):
        assert (await ask(address, data=body, **headers))[0] == status
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (status, "refused", error)
    assert stats.request_body_size == len(body)


async def test_timeout_of_the_body() -> None:
    limits = Limits(idle_timeout=0.1)
    async with reporting(echo, limits=limits) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(b"abc", path="/things/x")[:-1])
            assert (await raw.response())[0] == 408
        stats = await told.next()
    assert (stats.outcome, stats.error) == ("refused", "BodyTimeout")
    assert stats.request_body_size == 2
    assert stats.request_wait >= 0.1


async def test_client_gone_while_it_sends() -> None:
    async with reporting(echo) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(b"x" * 1000, path="/things/x")[:-1])
        stats = await told.next()
    assert (stats.outcome, stats.error) == ("client_gone", "ClientGone")
    assert (stats.status, stats.response_start) == (None, None)
    assert (stats.request_body_size, stats.response_body_size) == (999, 0)


async def test_client_gone_while_aiohttp_reads() -> None:
    async def read(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async with reporting(read) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(b"x" * 1000, path="/things/x")[:-1])
        stats = await told.next()
    assert (stats.outcome, stats.status) == ("client_gone", None)


async def test_client_gone_before_the_answer_begins() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        await gone.wait()
        return web.Response(text="too late")

    async with reporting(slow) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(path="/things/x", method="GET"))
            await begun.wait()
        await asyncio.sleep(0.01)
        gone.set()
        stats = await told.next()
    assert (stats.outcome, stats.status) == ("client_gone", None)
    assert (stats.response_start, stats.response_body_size) == (None, 0)


@pytest.mark.parametrize("way", ["stream", "coded stream", "by hand", "generator"])
async def test_client_gone_while_it_receives(way: str) -> None:
    async def zeros() -> AsyncIterator[bytes]:
        while True:
            yield os.urandom(64 * KiB)
            await asyncio.sleep(0)

    async def endless(request: web.Request) -> Any:
        if way == "by hand":
            response = web.StreamResponse()
            await response.prepare(request)
            async for piece in zeros():
                await response.write(piece)
        if way == "generator":
            return web.Response(body=zeros())
        return IterStream(zeros(), content_type="text/plain")

    async with reporting(endless) as (address, told):
        async with connected(address) as raw:
            coding = "gzip" if way == "coded stream" else "identity"
            accept = ("Accept-Encoding", coding)
            await raw.send(post(path="/things/x", method="GET", headers=[accept]))
            await raw.reader.readexactly(300 * KiB)
            raw.reset()
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (
        200,
        "client_gone",
        "ClientGone",
    )
    assert stats.response_body_size >= 290 * KiB
    assert (stats.response_decoded_size or 0) >= 290 * KiB


async def test_client_gone_while_the_kernel_sends(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with path.open("wb") as file:
        file.truncate(64 * MiB)

    async def download(request: web.Request) -> File:
        return File(path)

    async with reporting(download) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(path="/things/x", method="GET"))
            await raw.reader.readexactly(1 * MiB)
            raw.reset()
        stats = await told.next()
    assert (stats.outcome, stats.error) == ("client_gone", "ClientGone")
    assert 1 * MiB - KiB < stats.response_body_size < 64 * MiB


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (ValueError("no"), 500, "ValueError"),
        (ConnectionRefusedError("the database"), 500, "ConnectionRefusedError"),
        (TimeoutError(), 504, "TimeoutError"),
        (StreamError("broken"), 500, "StreamError"),
    ],
)
async def test_handler_that_raises(error: Exception, status: int, name: str) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise error

    async with reporting(fail) as (address, told):
        _, body, _ = await ask(address, "GET")
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (status, "failed", name)
    assert stats.response_body_size == len(body)


@pytest.mark.parametrize("error", [ValueError, ConnectionResetError, StreamError])
@pytest.mark.parametrize("way", ["stream", "payload", "by hand"])
async def test_response_that_fails_midway(error: type[Exception], way: str) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise error("the database has gone")

    async def fail(request: web.Request) -> Any:
        if way == "by hand":
            response = web.StreamResponse()
            await response.prepare(request)
            async for row in rows():
                await response.write(row)
        if way == "payload":
            return web.Response(body=IterStream(rows()))
        return IterStream(rows())

    async with reporting(fail) as (address, told):
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(address, "GET")
        stats = await told.next()
    assert (stats.status, stats.outcome) == (200, "failed")
    assert stats.error == error.__name__
    assert stats.response_body_size == 1000


async def test_refusal_after_the_answer_has_begun() -> None:
    @limit(max_body=1000)
    async def relay(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in open_stream(request).iter_any():
            await response.write(piece)
        return response

    async with reporting(relay) as (address, told), connected(address) as raw:
        await raw.send(
            post(path="/things/x", headers=CHUNKED), chunk(b"x" * 1000), chunk(b"x")
        )
        await raw.reader.read()
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (
        200,
        "refused",
        "LimitExceeded",
    )


async def test_body_that_is_malformed_while_it_is_sent_back() -> None:
    async def relay(request: web.Request) -> IterStream:
        return IterStream(open_stream(request).iter_any())

    async with reporting(relay) as (address, told):
        async with connected(address) as raw:
            coded = ("Content-Encoding", "gzip")
            body = gzip.compress(os.urandom(300_000))[:-100_000] + b"x" * 200_000
            head = post(path="/things/x", headers=[*CHUNKED, coded])
            raw.writer.write(head + chunk(body))
            await raw.reader.read()
        stats = await told.next()
    assert (stats.status, stats.outcome) == (200, "refused")
    assert stats.error == "MalformedBody"


async def test_answer_that_fails_before_its_first_byte() -> None:
    """It is another answer then."""

    async def relay(request: web.Request) -> IterStream:
        return IterStream(open_stream(request).iter_any())

    async with reporting(relay) as (address, told):
        status, _, _ = await ask(address, data=b"no gzip", Content_Encoding="gzip")
        assert status == 400
        stats = await told.next()
    assert (stats.outcome, stats.error) == ("refused", "MalformedBody")
    assert stats.status == 400
    assert stats.response_start is not None


async def test_client_gone_while_its_body_is_sent_back() -> None:
    async def relay(request: web.Request) -> IterStream:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise ClientGone("the client has gone")

        return IterStream(pieces())

    async with reporting(relay) as (address, told):
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(address)
        stats = await told.next()
    assert (stats.outcome, stats.error) == ("client_gone", "ClientGone")


async def test_missing_file() -> None:
    async def nothing(request: web.Request) -> File:
        return File("/nowhere/at/all")

    async def late(request: web.Request) -> web.StreamResponse:
        response = respond(File("/nowhere/at/all"))
        await response.prepare(request)
        return response

    for handler in (nothing, late):
        async with reporting(handler) as (address, told):
            status, body, _ = await ask(address, "GET")
            stats = await told.next()
        assert (status, stats.status) == (404, 404)
        assert (stats.outcome, stats.error) == ("refused", "ObjectNotFound")
        assert stats.response_body_size == len(body)


async def test_error_that_the_application_answers_otherwise() -> None:
    async def forgive(request: web.Request) -> web.Response:
        try:
            await read_json(request)
        except StreamError as error:
            if request.method == "PUT":
                raise web.HTTPConflict from error
            return web.Response(text="never mind")
        raise AssertionError

    async with reporting(forgive) as (address, told):
        for method, status in (("POST", 200), ("PUT", 409)):
            await ask(address, method, data=b"{", Content_Type="application/json")
            stats = await told.next()
            assert (stats.status, stats.outcome, stats.error) == (status, "ok", None)


async def sleep(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def test_handler_cancelled_since_the_client_has_gone() -> None:
    async with reporting(sleep, handler_cancellation=True) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(path="/things/x", method="GET"))
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (
        None,
        "client_gone",
        "ClientGone",
    )


async def test_response_cancelled_since_the_client_has_gone() -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async def slow(request: web.Request) -> IterStream:
        return IterStream(rows())

    async with reporting(slow, handler_cancellation=True) as (address, told):
        async with connected(address) as raw:
            await raw.send(post(path="/things/x", method="GET"))
            await raw.reader.readuntil(b"one\r\n")
        stats = await told.next()
    assert (stats.status, stats.outcome) == (200, "client_gone")
    assert stats.response_body_size == 3


async def test_handler_cancelled_since_the_server_stops() -> None:
    told = Told()
    app = web.Application()
    app.router.add_get("/", sleep)
    setup(app, on_stats=told)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with connected(runner.addresses[0][:2]) as raw:
        await raw.send(post(method="GET"))
        await runner.cleanup()
    # Told before the application is no more.
    (stats,) = told.all
    assert (stats.status, stats.outcome, stats.error) == (
        None,
        "cancelled",
        "CancelledError",
    )


async def test_handler_that_cancels_itself() -> None:
    async def cancel(request: web.Request) -> web.Response:
        raise asyncio.CancelledError

    async with reporting(cancel) as (address, told):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(address, "GET")
        assert (await told.next()).outcome == "cancelled"


# -- who is told -------------------------------------------------------------------


async def test_each_request_of_a_connection_is_told_once() -> None:
    async with reporting(echo) as (address, told), connected(address) as raw:
        for size in range(5):
            await raw.send(post(b"x" * size, path="/things/x"))
            await raw.response()
        # Pipelined.
        await raw.send(b"".join(post(b"y" * n, path="/things/x") for n in range(5)))
        for _ in range(5):
            await raw.response()
        for _ in range(10):
            await told.next()
    sizes = [stats.response_body_size for stats in told.all]
    assert sizes == [*range(5), *range(5)]


async def test_nothing_is_kept_when_all_is_told() -> None:
    """aiohttp keeps a request until the next one of its connection."""
    kept = []

    async def read(request: web.Request) -> web.Response:
        kept.append(weakref.ref(open_stream(request)))
        return web.Response(body=await read_bytes(request))

    async with reporting(read) as (address, told), connected(address) as raw:
        coded = ("Content-Encoding", "gzip")
        await raw.send(post(gzip.compress(TEXT), path="/things/x", headers=[coded]))
        await raw.response()
        await told.next()
        gc.collect()
        assert [stream() for stream in kept] == [None]


async def test_several_callbacks_plain_and_async(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, also = Told(), Told()

    async def later(stats: BodyStats) -> None:
        await asyncio.sleep(0.01)
        also(stats)

    def broken(stats: BodyStats) -> None:
        raise ValueError("broken")

    async def broken_later(stats: BodyStats) -> None:
        raise ValueError("broken later")

    app = web.Application()
    app.router.add_post("/things/one", echo)
    setup(app, on_stats=[broken, told, broken_later, later])
    async with serving(app) as address:
        assert (await ask(address, data=b"abc"))[:2] == (200, b"abc")
        assert await told.next() == await also.next()
        assert (await ask(address, data=b"abc"))[0] == 200
    # The last async ones were waited for.
    assert told.all == also.all
    failed = [record for record in caplog.records if record.name == "aiostreams.stats"]
    assert len(failed) == 4
    assert {record.levelno for record in failed} == {logging.ERROR}
    assert all(record.exc_info for record in failed)


async def test_async_callback_that_hangs_is_cancelled_in_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiostreams.web.stats.reporter._PATIENCE", 0.05)
    ended = asyncio.Event()

    async def hang(stats: BodyStats) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/things/one", text)
    setup(app, on_stats=hang)
    async with serving(app) as address:
        await ask(address, "GET")
    async with asyncio.timeout(20):
        await ended.wait()
    assert "callbacks for stats hang: 1" in caplog.messages


async def test_sub_application_tells_its_own() -> None:
    outer, inner, both = Told(), Told(), Told()
    app, sub = web.Application(), web.Application()
    sub.router.add_post("/{name}", echo)
    setup(sub, on_stats=(inner, both))
    app.add_subapp("/sub", sub)
    app.router.add_post("/own", echo)
    setup(app, on_stats=(outer, both))
    async with serving(app) as address:
        await ask(address, data=b"abc", path="/sub/one")
        await ask(address, data=b"abc", path="/own")
    routes = [stats.route for stats in outer.all]
    assert routes == ["/sub/{name}", "/own"]
    assert [stats.route for stats in both.all] == routes
    assert [stats.route for stats in inner.all] == ["/sub/{name}"]
    assert inner.all[0] is outer.all[0]


async def test_sub_application_whose_error_is_answered_outside() -> None:
    told = Told()
    app, sub = web.Application(), web.Application()

    async def fail(request: web.Request) -> web.Response:
        raise ValueError("no")

    @web.middleware
    async def rescue(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except ValueError:
            if request.method == "GET":
                return web.Response(text="rescued")
            raise web.HTTPConflict from None

    sub.router.add_route("*", "/", fail)
    setup(sub, on_stats=told)
    app.middlewares.append(rescue)
    app.add_subapp("/sub", sub)
    setup(app, on_stats=Told())
    async with serving(app) as address:
        await ask(address, "GET", path="/sub/")
        await ask(address, path="/sub/")
    assert [(stats.status, stats.outcome, stats.error) for stats in told.all] == [
        (200, "ok", None),
        (409, "ok", None),
    ]


async def test_refusal_that_is_answered_otherwise_outside() -> None:
    told = Told()
    app, sub = web.Application(), web.Application()

    @web.middleware
    async def soften(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(text="rather not")
        return response

    sub.router.add_post("/", echo)
    setup(sub, limits=Limits(max_memory=2))
    app.middlewares.append(soften)
    app.add_subapp("/sub", sub)
    setup(app, on_stats=told)
    async with serving(app) as address:
        await ask(address, data=b"abc", path="/sub/")
        stats = await told.next()
    assert (stats.status, stats.outcome, stats.error) == (200, "ok", None)


async def test_middleware_put_around_later_stays_inside() -> None:
    """Its own task would end before the response is sent."""
    told = Told()

    @web.middleware
    async def in_a_task(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await asyncio.create_task(handler(request))
        await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_post("/things/one", echo)
    setup(app, on_stats=told)
    app.middlewares.insert(0, in_a_task)
    async with serving(app) as address:
        await ask(address, data=b"abc")
        stats = await told.next()
    assert (stats.outcome, stats.response_body_size) == ("ok", 3)


async def test_without_callbacks_nothing_is_installed() -> None:
    app, other = web.Application(), web.Application()
    setup(app)
    setup(other, on_stats=Told())
    assert len(app.middlewares) == len(other.middlewares) - 1
    assert not app.on_response_prepare
    assert len(app.on_shutdown) == len(other.on_shutdown) - 1


def test_stats_are_plain_data() -> None:
    some = make_stats(UPLOAD)
    assert pickle.loads(pickle.dumps(some)) == some
    with pytest.raises(dataclasses.FrozenInstanceError):
        some.status = 200  # type: ignore[misc]
