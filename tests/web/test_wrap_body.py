"""Bodies that a middleware wraps, or keeps, for whoever reads them afterwards."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import hmac
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    HashStream,
    InvalidContent,
    InvalidSignature,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MemoryStorage,
    MiB,
    SpooledStream,
    StorageError,
    Stream,
    TeeStream,
    Transform,
    expect_continue,
    iter_json,
    iter_ndjson,
    iter_parts,
    keep_body,
    open_stream,
    proxy,
    read_bytes,
    read_content,
    read_form,
    read_json,
    read_text,
    receive,
    setup,
    signed_body,
    wrap_body,
)
from aiostreams.testing import LAWS
from aiostreams.testing.laws import SAMPLE
from aiostreams.web.wrap_body import KeptBody
from tests.files.disks import Disk, descriptors, install
from tests.multiparts import form, plain
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving
from tests.waiting import until

Make = Callable[[Stream], Stream]
Read = Callable[[web.Request], Awaitable[Any]]

VALUE = [{"name": "zelda", "score": n} for n in range(40)]
DATA = json.dumps(VALUE).encode()
FIELDS = [["a", "first"], ["b", "x" * 300]]
MULTIPART = form(*((plain(name), text.encode()) for name, text in FIELDS))


# -- streams to put around a body ----------------------------------------------------


class Turned(Transform):
    """Each byte with its bits turned: encryption's poor cousin."""

    async def readany(self) -> bytes:
        return bytes(255 - byte for byte in await self.source.readany())


class FromBase64(Transform):
    """Fewer bytes than the source has."""

    def __init__(self, source: Stream) -> None:
        super().__init__(source, keeps_size=False)

    async def readany(self) -> bytes:
        return base64.b64decode(await self.source.read(4 * 100))


class FromHalves(Transform):
    """More bytes than the source has."""

    def __init__(self, source: Stream) -> None:
        super().__init__(source, keeps_size=False)

    async def readany(self) -> bytes:
        return b"".join(bytes((b, b)) for b in await self.source.readany())


def turned(data: bytes) -> bytes:
    return bytes(255 - byte for byte in data)


def generated(body: Stream) -> Stream:
    """A stream that does not own the one below."""

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in body.iter_chunked(10):
            yield turned(piece)

    return IterStream(pieces(), content_type=body.content_type)


class Nothing(Stream):
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)


# What is put around, the first one innermost, and how a client prepares for it.
WRAPS: dict[str, tuple[list[Make], Callable[[bytes], bytes]]] = {
    "as it is": ([Transform], bytes),
    "turned": ([Turned], turned),
    "turned twice": ([Turned, Turned], bytes),
    "shorter": ([FromBase64], base64.b64encode),
    "turned, then shorter": (
        [Turned, FromBase64],
        lambda d: turned(base64.b64encode(d)),
    ),
    "shorter, then turned": (
        [FromBase64, Turned],
        lambda d: base64.b64encode(turned(d)),
    ),
    "hashed": ([HashStream], bytes),
    "copied": ([lambda body: TeeStream(body, Nothing())], bytes),
    "generated": ([generated], turned),
}


# -- ways to read --------------------------------------------------------------------


async def of_open_stream(request: web.Request) -> Any:
    return json.loads(await open_stream(request).read())


async def of_read_bytes(request: web.Request) -> Any:
    return json.loads(await read_bytes(request))


async def of_read_text(request: web.Request) -> Any:
    return json.loads(await read_text(request))


async def of_read_content(request: web.Request) -> Any:
    return (await read_content(request)).data  # type: ignore[attr-defined]


async def of_iter_json(request: web.Request) -> Any:
    return [value async for value in iter_json(request)]


async def of_iter_ndjson(request: web.Request) -> Any:
    return await anext(aiter(iter_ndjson(request)))


async def of_keep_body(request: web.Request) -> Any:
    kept = await keep_body(request)
    again = await keep_body(request)
    part = await kept.slice(1, 3)
    data = await kept.read()
    assert (kept.size, kept.seekable) == (len(data), True)
    assert (await again.read(), await part.read()) == (data, data[1:4])
    await part.close()
    return json.loads(data)


async def of_receive(request: web.Request) -> Any:
    storage = MemoryStorage()
    async with receive(request, storage) as upload:
        key = upload.files["file"].key
    stored = await storage.open(key)
    return json.loads(await stored.read())


async def of_read(request: web.Request) -> Any:
    return json.loads(await request.read())


async def of_text(request: web.Request) -> Any:
    return json.loads(await request.text())


async def of_content(request: web.Request) -> Any:
    return json.loads(b"".join([piece async for piece in request.content.iter_any()]))


async def of_lines(request: web.Request) -> Any:
    return json.loads(b"".join([line async for line in request.content]))


JSON_READERS: dict[str, Read] = {
    "open_stream": of_open_stream,
    "read_bytes": of_read_bytes,
    "read_text": of_read_text,
    "read_json": read_json,
    "read_content": of_read_content,
    "iter_json": of_iter_json,
    "iter_ndjson": of_iter_ndjson,
    "keep_body": of_keep_body,
    "receive": of_receive,
    "request.read": of_read,
    "request.text": of_text,
    "request.json": web.Request.json,
    "request.content": of_content,
    "request.content by line": of_lines,
}


async def of_read_form(request: web.Request) -> Any:
    return list(map(list, (await read_form(request)).form.items()))


async def of_receive_form(request: web.Request) -> Any:
    async with receive(request, MemoryStorage()) as upload:
        return list(map(list, upload.form.items()))


async def of_iter_parts(request: web.Request) -> Any:
    return [[part.name, await part.text()] async for part in iter_parts(request)]


async def of_post(request: web.Request) -> Any:
    return list(map(list, (await request.post()).items()))


async def of_multipart(request: web.Request) -> Any:
    found = []
    async for part in await request.multipart():
        assert isinstance(part, aiohttp.BodyPartReader)
        found.append([part.name, await part.text()])
    return found


FORM_READERS: dict[str, Read] = {
    "read_form": of_read_form,
    "receive": of_receive_form,
    "iter_parts": of_iter_parts,
    "request.post": of_post,
    "request.multipart": of_multipart,
}


def ways_of(content_type: str, body: bytes) -> dict[str, list[bytes]]:
    kind = ("Content-Type", content_type)
    coding = ("Content-Encoding", "gzip")
    half = len(body) // 2
    return {
        "whole": [post(body, headers=[kind])],
        "head first": [post(body, headers=[kind])[: -len(body)], body],
        "chunked": [
            post(headers=[kind, *CHUNKED]),
            b"".join(chunk(body[i : i + 1]) for i in range(half)),
            chunk(body[half:]) + b"0\r\n\r\n",
        ],
        "gzip": [post(gzip.compress(body), headers=[kind, coding])],
    }


def wrapping(*makes: Make) -> Any:
    """A middleware that puts these around the body, one after the other."""

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        for make in makes:
            wrap_body(request, make)
        response: web.StreamResponse = await handler(request)
        return response

    return middleware


def app_of(read: Any, *makes: Make, **kwargs: Any) -> web.Application:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await read(request))

    app = web.Application(middlewares=[wrapping(*makes)])
    app.router.add_route("*", "/", handler, expect_handler=expect_continue)
    return setup(app, **kwargs)


async def told(raw: Raw, *pieces: bytes) -> tuple[int, Any]:
    await raw.send(*pieces)
    status, headers, body = await raw.response()
    return status, json.loads(body) if "json" in headers["content-type"] else body


MATRIX = [
    pytest.param(wrap, kind, name, id=f"{wrap}: {name} of {kind}")
    for wrap in WRAPS
    for kind, readers in (("json", JSON_READERS), ("form", FORM_READERS))
    for name in readers
]


@pytest.mark.parametrize(("wrap", "kind", "name"), MATRIX)
async def test_each_way_of_reading_goes_through_each_wrap(
    wrap: str, kind: str, name: str
) -> None:
    makes, prepare = WRAPS[wrap]
    content_type, body, value, read = (
        ("application/json", DATA, VALUE, JSON_READERS.get(name))
        if kind == "json"
        else ("multipart/form-data; boundary=B", MULTIPART, FIELDS, FORM_READERS[name])
    )
    app = app_of(read, *makes)
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for way, pieces in ways_of(content_type, prepare(body)).items():
            assert await told(raw, *pieces) == (200, value), way


# -- what can be wrong with a wrap ---------------------------------------------------


class Spied(Transform):
    """Notes whether it was closed."""

    seen: list[Spied]

    def __init__(self, source: Stream, *, keeps_size: bool = True) -> None:
        super().__init__(source, keeps_size=keeps_size)
        type(self).seen.append(self)


class Raising(Spied):
    """Fails after the first piece, or at once."""

    error: type[Exception]
    at_once = False
    seen: list[Spied] = []  # noqa: RUF012

    async def readany(self) -> bytes:
        if self.at_once or self.received:
            raise self.error
        return await self.source.read(3)


class Endless(Spied):
    seen: list[Spied] = []  # noqa: RUF012

    def __init__(self, source: Stream) -> None:
        super().__init__(source, keeps_size=False)

    async def readany(self) -> bytes:
        await asyncio.sleep(0)
        return b"[" * 100


class Lying(Spied):
    """Says that it keeps the size, and adds a byte."""

    seen: list[Spied] = []  # noqa: RUF012

    async def readany(self) -> bytes:
        piece = await self.source.readany()
        return piece + b"]" if piece else piece


class Short(Spied):
    """Says that it keeps the size, and drops a byte of each piece."""

    seen: list[Spied] = []  # noqa: RUF012

    async def readany(self) -> bytes:
        return (await self.source.readany())[1:]


class ClosedEarly(Spied):
    """Closes what it stands on, after the first piece."""

    seen: list[Spied] = []  # noqa: RUF012

    async def readany(self) -> bytes:
        piece = await self.source.read(3)
        await self.source.close()
        return piece


# Those that take all of a body, whatever it is; iter_json and its like stop earlier.
WHOLE = {
    name: JSON_READERS[name]
    for name in (
        "open_stream", "read_bytes", "read_json", "keep_body", "receive",
        "request.read", "request.json", "request.content",
    )
}  # fmt: skip
whole = pytest.mark.parametrize("read", WHOLE.values(), ids=WHOLE.keys())


async def status_of(
    read: Read,
    *makes: Make,
    sent: bytes | None = None,
    lingering_time: float = 10,
    **limits: Any,
) -> tuple[int, bytes]:
    """What a client is told, and that its connection, if kept, is good for more."""
    app = app_of(read, *makes, limits=Limits(**limits))
    async with (
        serving(app, auto_decompress=False, lingering_time=lingering_time) as address,
        connected(address) as raw,
    ):
        await raw.send(post(DATA) if sent is None else sent)
        status, headers, body = await raw.response()
        if headers.get("connection") != "close":
            await raw.send(post(None, method="GET"))
            again = await raw.response()
            assert again[0] in {200, 400, 500, status}
        return status, body


@whole
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "midway"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidContent, 422),
        (web.HTTPForbidden, 403),
        (ValueError, 500),
    ],
)
async def test_what_a_wrap_raises_is_answered(
    read: Read, at_once: bool, error: type[Exception], status: int
) -> None:
    class Failing(Raising):
        pass

    Failing.error, Failing.at_once, Failing.seen = error, at_once, []
    assert (await status_of(read, Transform, Failing))[0] == status
    assert Failing.seen
    assert all(stream.closed and stream.source.closed for stream in Failing.seen)


@whole
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidContent, 422),
        (web.HTTPForbidden, 403),
        (ValueError, 500),
    ],
)
async def test_what_making_a_wrap_raises_is_answered(
    read: Read, error: type[Exception], status: int
) -> None:
    below: list[Stream] = []

    def make(body: Stream) -> Stream:
        below.append(body)
        raise error

    assert (await status_of(read, Transform, make))[0] == status
    assert below
    assert all(stream.closed for stream in below)


async def coroutine(body: Stream) -> Stream:
    return body


@whole
@pytest.mark.parametrize("make", [lambda body: None, coroutine])
async def test_a_wrap_that_is_no_stream(
    read: Read, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await status_of(read, make))[0] == 500
    assert "expected a Stream" in caplog.text


@whole
async def test_a_wrap_that_never_ends_is_held_to_the_limit(read: Read) -> None:
    Endless.seen = []
    status, said = await status_of(read, Endless, max_body=50_000, max_file=10**9)
    assert (status, b"limit 50000" in said) == (413, True)
    assert all(stream.closed for stream in Endless.seen)


@whole
@pytest.mark.parametrize("make", [Lying, Short])
async def test_a_wrap_that_breaks_its_word_about_the_size(
    read: Read, make: type[Spied], caplog: pytest.LogCaptureFixture
) -> None:
    make.seen = []
    assert (await status_of(read, make))[0] == 500
    assert "SizeMismatch" in caplog.text
    assert all(stream.closed for stream in make.seen)


@whole
async def test_a_wrap_that_closes_what_it_stands_on(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    ClosedEarly.seen = []
    assert (await status_of(read, ClosedEarly))[0] == 500
    assert "StreamClosed" in caplog.text
    assert all(stream.closed for stream in ClosedEarly.seen)


async def test_a_wrapped_body_that_is_closed_early_is_closed_to_all() -> None:
    Raising.seen = []

    async def read(request: web.Request) -> Any:
        async with open_stream(request) as stream:
            await stream.read(3)
        with pytest.raises(ValueError, match="closed"):
            await stream.read(3)
        with pytest.raises(RuntimeError, match=r"open_stream\(\) has read the body"):
            await request.read()
        return "said"

    seen: list[Stream] = []

    def make(body: Stream) -> Stream:
        seen.append(body)
        return Transform(body)

    assert await status_of(read, make) == (200, b'"said"')
    assert seen[0].closed


async def test_a_wrap_that_does_not_own_its_source_leaves_nothing_open() -> None:
    ended: list[bool] = []
    below: list[Stream] = []

    def make(body: Stream) -> Stream:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                async for piece in body.iter_chunked(7):
                    yield piece
            finally:
                ended.append(True)

        below.append(body)
        return IterStream(pieces())

    async def read(request: web.Request) -> Any:
        return (await open_stream(request).read(10)).decode()

    status, _ = await status_of(read, make)
    assert status == 200
    assert len(ended) == len(below) > 0
    assert all(stream.closed for stream in below)


# -- when a wrap is made ---------------------------------------------------------------


READS: dict[str, Read] = {
    "open_stream()": of_open_stream,
    "read_bytes()": of_read_bytes,
    "read_text()": of_read_text,
    "read_json()": read_json,
    "iter_json()": of_iter_json,
    "receive()": of_receive,
    "keep_body()": of_keep_body,
    "request.read()": of_read,
    "request.text()": of_text,
    "request.content": of_content,
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("pieces", [[post(DATA)], [post(DATA)[:-9], DATA[-9:]]])
async def test_a_wrap_after_the_first_read_is_refused(
    name: str, pieces: list[bytes]
) -> None:
    async def read(request: web.Request) -> Any:
        await READS[name](request)
        with pytest.raises(RuntimeError) as caught:
            wrap_body(request, Transform)
        return str(caught.value)

    async with serving(app_of(read)) as address, connected(address) as raw:
        assert await told(raw, *pieces) == (
            200,
            f"wrap_body() comes too late: {name} has opened the body",
        )


async def test_a_wrap_around_a_stream_that_was_handed_out_is_refused() -> None:
    async def read(request: web.Request) -> Any:
        stream = open_stream(request)
        with pytest.raises(RuntimeError, match=r"open_stream\(\) has opened the body"):
            wrap_body(request, Transform)
        return stream is open_stream(request)

    assert await status_of(read) == (200, b"true")


async def test_a_wrap_after_aiohttps_own_read_without_the_middleware() -> None:
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        try:
            wrap_body(request, Transform)
        except RuntimeError as error:
            result.set_result(str(error))
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(b"abc"))
        assert "too late" in await result


async def test_wrapping_works_without_the_middleware() -> None:
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        wrap_body(request, Turned)
        wrap_body(request, Turned)
        result.set_result([await request.text(), await read_text(request)])
        await open_stream(request).close()
        return web.Response()

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(b"abc"))
        assert await result == ["abc", "abc"]


async def test_a_body_that_nobody_reads_is_not_wrapped() -> None:
    made: list[Stream] = []

    def make(body: Stream) -> Stream:
        made.append(body)
        return body

    async def read(request: web.Request) -> Any:
        return [request.body_exists, request.can_read_body]

    async with serving(app_of(read, make)) as address, connected(address) as raw:
        assert await told(raw, post(DATA)) == (200, [True, True])
        assert await told(raw, post(None, method="GET")) == (200, [False, False])
        await raw.send(post(None, method="HEAD"))
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert made == []


@whole
async def test_an_empty_body_goes_through_a_wrap(read: Read) -> None:
    """A signature can be of no bytes, too."""

    class Refusing(Transform):
        async def readany(self) -> bytes:
            if not (piece := await self.source.readany()):
                raise web.HTTPForbidden
            return piece

    empty = post(b"", headers=[("Content-Type", "application/json")])
    assert (await status_of(read, Refusing, sent=empty))[0] == 403
    chunked = post(headers=CHUNKED) + chunk(b"")
    assert (await status_of(read, Refusing, sent=chunked))[0] == 403


async def test_a_websocket_is_untouched() -> None:
    made: list[Stream] = []

    def make(body: Stream) -> Stream:
        made.append(body)
        return Turned(body)

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{message.data}!")
        return socket

    app = web.Application(middlewares=[wrapping(make)])
    app.router.add_get("/", handler)
    async with (
        serving(setup(app)) as (host, port),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host}:{port}/") as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello!"
    assert made == []


@pytest.mark.parametrize("inside", [False, True], ids=["parent's", "set up as well"])
async def test_wraps_of_an_application_and_of_one_inside(inside: bool) -> None:
    """A later wrap stands around the earlier one: the inner application's."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response([await read_json(request), await request.json()])

    inner = web.Application(middlewares=[wrapping(FromBase64)])
    inner.router.add_post("/", handler)
    if inside:
        setup(inner)
    app = web.Application(middlewares=[wrapping(Turned)])
    app.add_subapp("/inner", inner)
    sent = post(turned(base64.b64encode(DATA)), path="/inner/")
    async with serving(setup(app)) as address, connected(address) as raw:
        assert await told(raw, sent) == (200, [VALUE, VALUE])


# -- limits below and above ------------------------------------------------------------


@whole
async def test_what_arrives_is_held_to_the_limit_below(read: Read) -> None:
    refused = [
        post(b"x" * 4001),
        post(headers=CHUNKED) + chunk(b"A" * 4001) + chunk(b""),
        post(gzip.compress(b"A" * 10**6), headers=[("Content-Encoding", "gzip")]),
    ]
    for sent in refused:
        status, said = await status_of(read, FromBase64, sent=sent, max_body=4000)
        assert (status, b"limit 4000" in said) == (413, True)


@whole
async def test_what_comes_out_is_held_to_the_limit_above(read: Read) -> None:
    sent = post(b"[" * 501, headers=[("Content-Type", "application/json")])
    status, said = await status_of(read, FromHalves, sent=sent, max_body=1000)
    assert (status, b"limit 1000" in said) == (413, True)
    deep = await status_of(read, FromHalves, sent=post(b"[" * 500), max_body=1000)
    assert deep[0] in {200, 400, 500}  # as deep as it is, it was let through


@whole
async def test_a_slow_client_is_given_up_through_a_wrap(read: Read) -> None:
    silent = post(headers=[("Content-Length", "9")]) + b"[1"
    status, _ = await status_of(
        read, Transform, sent=silent, lingering_time=0, idle_timeout=0.05
    )
    assert status == 408


@whole
async def test_a_wrap_reads_what_is_asked_for_by_100_continue(read: Read) -> None:
    head = post(headers=[("Content-Length", "3"), ("Expect", "100-continue")])
    async with serving(app_of(read, Turned)) as address, connected(address) as raw:
        await raw.send(head)
        line = await raw.reader.readuntil(b"\r\n\r\n")
        assert line == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await told(raw, turned(b"[1]")) == (200, [1])


async def test_a_proxy_passes_on_what_a_wrap_makes() -> None:
    async def upstream(request: web.Request) -> web.Response:
        names = ("Content-Encoding", "Content-Length", "Content-Digest")
        fields = {name: request.headers.get(name) for name in names}
        return web.json_response([fields, await request.text()])

    async with serving(upstream) as (host, port), aiohttp.ClientSession() as session:

        async def handler(request: web.Request) -> web.StreamResponse:
            if "keep" in request.query:
                await keep_body(request)
            return await proxy(request, session, f"http://{host}:{port}/")

        app = web.Application(middlewares=[wrapping(FromBase64)])
        app.router.add_post("/", handler)
        data = gzip.compress(base64.b64encode(b"abc"))
        coded = [("Content-Encoding", "gzip")]
        async with (
            serving(setup(app), auto_decompress=False) as address,
            connected(address) as raw,
        ):
            _, found = await told(raw, post(data, headers=coded))
            assert (found[0]["Content-Encoding"], found[1]) == (None, "abc")
            _, found = await told(raw, post(data, path="/?keep", headers=coded))
            assert found[0]["Content-Length"] == "3"
            assert (found[0]["Content-Encoding"], found[1]) == (None, "abc")


# -- keep_body -------------------------------------------------------------------------


async def kept_by(read: Read, *pieces: bytes, **limits: Any) -> Any:
    """What ``read`` returns for this request."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        try:
            result.set_result(await read(request))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/", handler)
    setup(app, limits=Limits(**limits))
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        await raw.send(*pieces)
        return await result


LARGE = 100  # beyond this many bytes a file takes over, here


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "in a file"])
@pytest.mark.parametrize("name", JSON_READERS)
async def test_what_is_kept_is_read_in_each_way_from_its_beginning(
    name: str, large: bool
) -> None:
    async def read(request: web.Request) -> Any:
        first = await keep_body(request)
        head = await first.read(10)
        found = [await JSON_READERS[name](request) for _ in range(2)]
        last = await keep_body(request)
        assert first is not last
        assert head + await first.read() == await last.read()
        return found, await read_bytes(request, limits=Limits())

    for pieces in ways_of("application/json", DATA).values():
        memory = LARGE if large else len(DATA)
        if large and name in {"read_bytes", "read_text", "read_json", "read_content"}:
            with pytest.raises(LimitExceeded):  # these hold it in memory
                await kept_by(read, *pieces, max_memory=memory)
        elif name.startswith(("open_stream", "request.content")):
            with pytest.raises(json.JSONDecodeError):  # the second is at its end
                await kept_by(read, *pieces, max_memory=memory)
        elif name == "iter_json" and large:
            found = await kept_by(of_twice, *pieces, max_memory=memory)
            assert found == [VALUE, VALUE]
        else:
            limits = {"max_memory": memory} if name != "iter_ndjson" else {}
            value = VALUE
            assert await kept_by(read, *pieces, **limits) == ([value, value], DATA)


async def of_twice(request: web.Request) -> Any:
    await keep_body(request)
    return [await of_iter_json(request) for _ in range(2)]


@pytest.mark.parametrize("name", FORM_READERS)
async def test_a_form_that_is_kept_is_read_in_each_way(name: str) -> None:
    async def read(request: web.Request) -> Any:
        await keep_body(request)
        found = [await FORM_READERS[name](request)]
        for reader in FORM_READERS.values():
            found.append(await reader(request))
        return found

    kind = "multipart/form-data; boundary=B"
    for pieces in ways_of(kind, MULTIPART).values():
        found = await kept_by(read, *pieces, max_memory=400)
        assert found == [FIELDS] * (1 + len(FORM_READERS))


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "in a file"])
async def test_the_most_that_is_kept(large: bool) -> None:
    """And who is refused goes on as if nobody had asked."""

    async def read(request: web.Request) -> Any:
        size = len(DATA)
        for most in (size - 1, 0, LARGE + 1):
            with pytest.raises(LimitExceeded) as caught:
                await keep_body(request, max_size=most)
            assert caught.value.limit == most
            assert caught.value.seen > most
        await keep_body(request, max_size=size)
        with pytest.raises(LimitExceeded) as caught:
            await keep_body(request, max_size=size - 1)
        assert caught.value.seen == size
        return await (await keep_body(request, max_size=size)).read()

    async def other(request: web.Request) -> Any:
        with pytest.raises(LimitExceeded):
            await keep_body(request, max_size=len(DATA) - 1)
        return [await of_iter_json(request)]

    memory = LARGE if large else len(DATA)
    for pieces in ways_of("application/json", DATA).values():
        assert await kept_by(read, *pieces, max_memory=memory) == DATA
        assert await kept_by(other, *pieces, max_memory=2000) == [VALUE]


async def test_a_declared_length_beyond_the_most_is_refused_unread() -> None:
    async def read(request: web.Request) -> Any:
        with pytest.raises(LimitExceeded):
            await keep_body(request, max_size=99)
        return request.content.total_bytes

    assert await kept_by(read, post(headers=[("Content-Length", "100")])) == 0


async def test_a_keeping_that_is_given_up_loses_nothing() -> None:
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await keep_body(request)
        begun.set()
        kept = await keep_body(request)
        return web.json_response([len(await kept.read()), len(await request.read())])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(max_memory=LARGE))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"x" * 300))
        await begun.wait()
        assert await told(raw, chunk(b"y" * 200), chunk(b"")) == (200, [500, 500])


@pytest.mark.parametrize(
    ("first", "named"),
    [
        (lambda request: open_stream(request).read(3), "open_stream()"),
        (of_iter_json, "iter_json()"),
        (of_receive, "receive()"),
        (lambda request: request.content.read(3), "request.content"),
    ],
)
async def test_keeping_what_is_gone_is_refused(first: Any, named: str) -> None:
    async def read(request: web.Request) -> Any:
        await first(request)
        with pytest.raises(RuntimeError) as caught:
            await keep_body(request)
        return str(caught.value)

    said = await kept_by(read, post(DATA, headers=[("Content-Type", "video/x")]))
    assert said.startswith(f"keep_body() comes too late: {named} has read the body")


@pytest.mark.parametrize("first", [of_read_bytes, of_read, of_text, of_read_text])
async def test_keeping_what_is_in_memory_reads_nothing(first: Read) -> None:
    async def read(request: web.Request) -> Any:
        await first(request)
        kept = await keep_body(request)
        return kept.seekable, await kept.read()

    for pieces in ways_of("application/json", DATA).values():
        assert await kept_by(read, *pieces) == (True, DATA)


async def test_a_disk_that_is_full_is_a_507(disk: Disk) -> None:
    disk.error = errno.ENOSPC
    disk.fail_at = lambda _k: disk.calls[-1] == "writev"

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(StorageError) as caught:
            await keep_body(request)
        with pytest.raises(StorageError):
            await open_stream(request).read()
        raise caught.value

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(max_memory=LARGE))
    async with serving(app) as address, connected(address) as raw:
        assert (await told(raw, post(DATA)))[0] == 507


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return install(monkeypatch)


async def test_what_is_kept_is_gone_with_the_request(tmp_path: Path) -> None:
    streams: list[Stream] = []

    async def handler(request: web.Request) -> Any:
        streams.append(await keep_body(request))
        await streams[0].read(5)
        streams.append(await keep_body(request))
        await request.read()
        if "stream" in request.query:
            return streams[1]
        return web.Response(body=await streams[1].read())

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(max_memory=LARGE))
    async with serving(app) as address, connected(address) as raw:
        await told(raw, post(DATA))
        before = descriptors()
        for path in ("/", "/?stream"):
            streams.clear()
            await raw.send(post(DATA, path=path))
            assert (await raw.response())[2] == DATA
            await until(lambda: all(stream.closed for stream in streams))
            # The file is closed by a thread.
            await until(lambda: descriptors() == before)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_the_laws_hold_for_what_is_kept(law: Any) -> None:
    async def make() -> Stream:
        spool = SpooledStream(max_memory=10)
        await spool.write(SAMPLE)
        return _Owning(spool)

    await law(make)


class _Owning(KeptBody):
    """Closes the spool too, which elsewhere is the request's."""

    async def close(self) -> None:
        await super().close()
        await self._spool.close()


async def test_64_mib_are_kept_in_constant_memory(tmp_path: Path) -> None:
    piece = bytes(256 * KiB)

    async def handler(request: web.Request) -> web.Response:
        kept = await keep_body(request)
        tracemalloc.start()
        size = 0
        async for data in kept.iter_any():
            size += len(data)
        async for data in request.content.iter_any():
            size += len(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return web.json_response([size, peak])

    app = web.Application()
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED))
        for _ in range(256):
            raw.writer.write(chunk(piece))
            await raw.writer.drain()
        _, (size, peak) = await told(raw, chunk(b""))
    assert size == 2 * 64 * MiB
    assert peak < 4 * MiB


# -- signed_body -----------------------------------------------------------------------

KEY = "a secret"


def signed_by(
    key: str, body: bytes, *, scheme: str = "github"
) -> list[tuple[str, str]]:
    """What a sender puts beside ``body``."""
    now = str(int(time.time()))
    if scheme == "github":
        found = hmac.digest(key.encode(), body, "sha256").hex()
        return [("X-Hub-Signature-256", f"sha256={found}")]
    if scheme == "stripe":
        data = f"{now}.".encode() + body
        found = hmac.digest(key.encode(), data, "sha256").hex()
        return [("Stripe-Signature", f"t={now},v1={'0' * 64},v1={found}")]
    data = f"msg_1.{now}.".encode() + body
    raw = hmac.digest(base64.b64decode(key), data, "sha256")
    return [
        ("Webhook-Id", "msg_1"),
        ("Webhook-Timestamp", now),
        ("Webhook-Signature", f"v1,{base64.b64encode(raw).decode()}"),
    ]


def signing_app(read: Any, *makes: Make, **kwargs: Any) -> web.Application:
    """Handlers see nothing before the signature is right."""
    begun: list[str] = []
    limits = kwargs.pop("limits", Limits())
    key = kwargs.pop("key", KEY)

    @web.middleware
    async def signed(request: web.Request, handler: Any) -> web.StreamResponse:
        stream = await signed_body(request, key, **kwargs)
        assert (stream is None) is (kwargs.get("keep") is False)
        response: web.StreamResponse = await handler(request)
        return response

    async def handler(request: web.Request) -> web.Response:
        begun.append(request.path)
        return web.json_response(await read(request))

    app = web.Application(middlewares=[wrapping(*makes), signed])
    app.router.add_post("/", handler)
    app[BEGUN] = begun
    return setup(app, limits=limits)


BEGUN = web.AppKey("begun", list[str])


@pytest.mark.parametrize("scheme", ["github", "stripe", "standard"])
@pytest.mark.parametrize("name", JSON_READERS)
async def test_signed_bodies_are_read_in_each_way(name: str, scheme: Any) -> None:
    key = base64.b64encode(KEY.encode()).decode() if scheme == "standard" else KEY
    old = base64.b64encode(b"the old secret").decode()
    app = signing_app(JSON_READERS[name], scheme=scheme, key=[key, old])
    kind = ("Content-Type", "application/json")
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for used in (key, old):
            fields = [kind, *signed_by(used, DATA, scheme=scheme)]
            assert await told(raw, post(DATA, headers=fields)) == (200, VALUE)
        coded = [("Content-Encoding", "gzip"), *fields]
        assert await told(raw, post(gzip.compress(DATA), headers=coded)) == (200, VALUE)
        stranger = [kind, *signed_by(f"AAAA{key}", DATA, scheme=scheme)]
        del app[BEGUN][:]
        assert (await told(raw, post(DATA, headers=stranger)))[0] == 403
        assert (await told(raw, post(DATA + b" ", headers=fields)))[0] == 403
        assert (await told(raw, post(DATA)))[0] == 403
        assert app[BEGUN] == []


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "in a file"])
async def test_a_handler_begins_with_a_large_body_when_it_is_right(large: bool) -> None:
    app = signing_app(of_receive, limits=Limits(max_memory=LARGE if large else 10**6))
    fields = signed_by(KEY, DATA)
    wrong = signed_by("another secret", DATA)
    async with serving(app) as address, connected(address) as raw:
        for headers, status in ((fields, 200), (wrong, 403)):
            await raw.send(post(headers=[*headers, *CHUNKED]), chunk(DATA[:500]))
            assert app[BEGUN] == (["/"] if status == 403 else [])
            found = await told(raw, chunk(DATA[500:]), chunk(b""))
            assert found[0] == status
        assert app[BEGUN] == ["/"]


async def test_a_signed_body_that_is_not_kept_is_judged_at_its_end() -> None:
    """All or nothing holds for receive: what is stored is signed."""
    storage = MemoryStorage()

    async def read(request: web.Request) -> Any:
        async with receive(request, storage) as upload:
            return upload.files["file"].size

    app = signing_app(read, keep=False)
    async with serving(app) as address, connected(address) as raw:
        wrong = post(DATA, headers=signed_by("another secret", DATA))
        assert (await told(raw, wrong))[0] == 403
        assert [found.key async for found in storage.list()] == []
        good = post(DATA, headers=signed_by(KEY, DATA))
        assert await told(raw, good) == (200, len(DATA))
        assert len([found.key async for found in storage.list()]) == 1
        assert app[BEGUN] == ["/", "/"]


async def test_what_is_signed_is_what_earlier_wraps_have_made() -> None:
    app = signing_app(read_json, Turned)
    sent = post(turned(DATA), headers=signed_by(KEY, DATA))
    async with serving(app) as address, connected(address) as raw:
        assert await told(raw, sent) == (200, VALUE)


async def test_a_later_wrap_stands_around_what_is_judged_at_its_end() -> None:
    async def read(request: web.Request) -> Any:
        wrap_body(request, Turned)
        return await read_json(request)

    app = signing_app(read, keep=False)
    data = turned(DATA)
    async with serving(app) as address, connected(address) as raw:
        assert await told(raw, post(data, headers=signed_by(KEY, data))) == (200, VALUE)
        wrong = post(data, headers=signed_by(KEY, DATA))
        assert (await told(raw, wrong))[0] == 403


@pytest.mark.parametrize("first", [of_read_bytes, of_read, of_keep_body])
async def test_what_is_kept_already_is_verified_as_well(first: Read) -> None:
    async def read(request: web.Request) -> Any:
        await first(request)
        with pytest.raises(InvalidSignature):
            await signed_body(request, "another secret")
        stream = await signed_body(request, [b"another secret", KEY])
        return await stream.read()

    for memory in (LARGE, 10**6):
        sent = post(DATA, headers=signed_by(KEY, DATA))
        if memory == LARGE and first is not of_keep_body:
            continue  # nobody has that much
        assert await kept_by(read, sent, max_memory=memory) == DATA


async def test_the_most_that_is_kept_for_anybody() -> None:
    app = signing_app(read_json, max_size=100)
    sent = post(DATA, headers=signed_by(KEY, DATA))
    async with serving(app) as address, connected(address) as raw:
        status, said = await told(raw, sent)
        assert (status, said["limit"], app[BEGUN]) == (413, 100, [])


@pytest.mark.parametrize(
    ("key", "scheme", "said"),
    [
        ("", "github", "key is empty"),
        ([], "github", "no key to verify with"),
        (["a", b""], "stripe", "key is empty"),
        ("whsec_?", "standard", "not base64"),
        ("a", "sha1", "unknown signature scheme 'sha1'"),
    ],
)
async def test_keys_and_schemes_that_cannot_be(
    key: Any, scheme: Any, said: str
) -> None:
    async def read(request: web.Request) -> None:
        await signed_body(request, key, scheme=scheme)

    with pytest.raises(ValueError, match=said):
        await kept_by(read, post(DATA, headers=signed_by(KEY, DATA)))
