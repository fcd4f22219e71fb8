"""wrap_response(): each wrap, around each kind of response, over real connections."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    HTML,
    JSON,
    ByteStream,
    EventStream,
    File,
    FileStream,
    IterStream,
    MultiPart,
    SizeMismatch,
    Stream,
    TeeStream,
    Text,
    Transform,
    respond,
    setup,
    wrap_response,
)
from tests.servers import connected, post, serving
from tests.waiting import until
from tests.web.variants import LONG, Answer, ask, decode

Make = Callable[[Stream], Stream]


class Same(Transform):
    """Passes everything on, as a tee or a brake does."""


class Upper(Transform):
    """Other bytes, as many."""

    async def readany(self) -> bytes:
        return (await self.source.readany()).upper()


class Longer(Transform):
    """A header and a trailer, and nobody knows how long it becomes."""

    def __init__(self, source: Stream) -> None:
        super().__init__(source, keeps_size=False)
        self._step = 0

    async def readany(self) -> bytes:
        if self._step == 0:
            self._step = 1
            return b"<"
        if self._step == 1:
            if piece := await self.source.readany():
                return piece
            self._step = 2
            return b">"
        return b""


class Declared(Longer):
    """The same, which knows it once the source does."""

    @property
    def size(self) -> int | None:
        size = self.source.size
        return None if size is None else size + 2


class Kept(Declared):
    """And is known by something."""

    etag = "wrapped"


WRAPS: dict[str, tuple[Make, Callable[[bytes], bytes]]] = {
    "same": (Same, lambda body: body),
    "upper": (Upper, bytes.upper),
    "longer": (Longer, lambda body: b"<" + body + b">"),
    "declared": (Declared, lambda body: b"<" + body + b">"),
    "kept": (Kept, lambda body: b"<" + body + b">"),
    "twice": (
        lambda body: Longer(Upper(body)),
        lambda body: b"<" + body.upper() + b">",
    ),
}


async def pieces() -> AsyncIterator[bytes]:
    yield LONG[:1000]
    yield LONG[1000:]


def validated(folder: Path) -> web.StreamResponse:
    return respond(Text(LONG.decode()), etag="v1", last_modified=1e9, digest="sha-256")


KINDS: dict[str, Callable[[Path], Any]] = {
    "JSON": lambda folder: JSON({"name": "zelda"}),
    "Text": lambda folder: Text(LONG.decode()),
    "validators": validated,
    "File": lambda folder: File(folder / "page.html"),
    "FileStream": lambda folder: FileStream(folder / "page.html"),
    "respond of a File": lambda folder: respond(File(folder / "page.html"), etag="v1"),
    "Stream of a size": lambda folder: IterStream([LONG], size=len(LONG)),
    "Stream": lambda folder: IterStream(pieces(), content_type="text/plain"),
    "EventStream": lambda folder: EventStream(["one", "two"]),
    "MultiPart": lambda folder: MultiPart({"a": "b"}, boundary="fixed"),
    "Response": lambda folder: web.Response(text=LONG.decode()),
    "Response with an ETag": lambda folder: web.Response(
        text=LONG.decode(), headers={"ETag": '"v1"', "Content-Length": str(len(LONG))}
    ),
    "Response without a body": lambda folder: web.Response(),
    "Response of a generator": lambda folder: web.Response(body=pieces()),
    "Response of a file": lambda folder: web.Response(body=io.BytesIO(LONG)),
    "Response of a Stream": lambda folder: web.Response(body=IterStream(pieces())),
    "FileResponse": lambda folder: web.FileResponse(folder / "page.html"),
    "HTTPException": lambda folder: web.HTTPConflict(text=LONG.decode()),
    "StreamResponse": lambda folder: web.StreamResponse(),
}


@web.middleware
async def plain(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    return response


def wrapping(*makes: Make) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = error
        for make in makes:
            response = wrap_response(response, make)
        return response

    return middleware


def application(
    handler: Callable[[web.Request], Awaitable[Any]], *makes: Make, sub: bool = False
) -> web.Application:
    """The wraps are the application's, the handler maybe a sub-application's."""
    app = web.Application(middlewares=[wrapping(*makes)])
    if sub:
        inner = web.Application(middlewares=[plain])
        inner.router.add_route("*", "/", handler)
        app.add_subapp("/sub", inner)
    else:
        app.router.add_route("*", "/", handler)
    return setup(app)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_bytes(LONG)
    (tmp_path / "page.html.gz").write_bytes(b"not of what is wrapped" * 100)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("make", "change"), WRAPS.values(), ids=WRAPS)
async def test_a_wrap_is_around_whatever_response_there_is(
    kind: str, make: Make, change: Callable[[bytes], bytes], folder: Path
) -> None:
    async def handler(_request: web.Request) -> Any:
        value = KINDS[kind](folder)
        if isinstance(value, web.HTTPException):
            raise value
        return value

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        unwrapped = await ask(raw)
    for sub in (False, True):
        path = "/sub/" if sub else "/"
        app = application(handler, make, sub=sub)
        async with serving(app) as address, connected(address) as raw:
            got = await ask(raw, path=path)
            assert (got.status, got.raw) == (unwrapped.status, change(unwrapped.raw))
            _stays_true(got, unwrapped)
            head = await ask(raw, path=path, method="HEAD")
            for name in ("etag", "content-length", "content-type", "vary"):
                assert head.headers.get(name) == got.headers.get(name), name
            encoded = await ask(raw, "gzip", path=path)
            assert encoded.body == got.raw
            part = await ask(raw, path=path, Range="bytes=0-3")
            assert (part.status, part.raw) == (got.status, got.raw)
            other = await ask(raw, path=path, If_None_Match='"v1"')
            assert other.raw == got.raw


def _stays_true(got: Answer, unwrapped: Answer) -> None:
    for name in ("content-digest", "repr-digest", "accept-ranges"):
        assert name not in got.headers
    assert got.etag in (None, '"wrapped"')
    said = unwrapped.headers.get("content-type", "application/octet-stream")
    assert got.headers["content-type"] == said
    length = got.headers.get("content-length")
    assert length is None or int(length) == len(got.raw)


@pytest.mark.parametrize("kind", ["JSON", "File", "Response", "FileResponse"])
async def test_what_the_wrap_says_counts(kind: str, folder: Path) -> None:
    async def handler(_request: web.Request) -> Any:
        return KINDS[kind](folder)

    async with (
        serving(application(handler, Kept)) as address,
        connected(address) as raw,
    ):
        got = await ask(raw)
        assert (got.etag, got.headers["content-length"]) == (
            '"wrapped"',
            str(len(got.raw)),
        )
        same = await ask(raw, If_None_Match='"wrapped"')
        assert (same.status, same.raw) == (304, b"")

    def sliced(_body: Stream) -> Stream:
        return ByteStream(b"0123456789", content_type="application/x-other")

    async with (
        serving(application(handler, sliced)) as address,
        connected(address) as raw,
    ):
        part = await ask(raw, Range="bytes=2-4")
        assert (part.status, part.raw) == (206, b"234")
        assert part.headers["content-type"] == "application/x-other"


async def test_a_later_wrap_is_around_the_earlier_ones(folder: Path) -> None:
    async def handler(_request: web.Request) -> Any:
        return Text("body")

    app = application(handler, Longer, Longer, Upper)
    async with serving(app) as address, connected(address) as raw:
        assert (await ask(raw)).raw == b"<<BODY>>"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_is_left(status: int, folder: Path) -> None:
    made: list[Stream] = []

    def make(body: Stream) -> Stream:
        made.append(body)
        return body

    async def handler(request: web.Request) -> Any:
        if request.query_string == "theirs":
            return web.Response(status=status)
        return respond(ByteStream(), status=status)

    async with (
        serving(application(handler, make)) as address,
        connected(address) as raw,
    ):
        for path in ("/", "/?theirs"):
            answer = await ask(raw, path=path)
            assert (answer.status, answer.raw) == (status, b"")
    assert not made


async def test_a_websocket_is_left() -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data + "!")
        return socket

    async with (
        serving(application(handler, Longer)) as (host, port),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host}:{port}/") as socket,
    ):
        await socket.send_str("hello")
        assert (await socket.receive()).data == "hello!"


async def test_what_was_sent_cannot_be_wrapped() -> None:
    caught: list[BaseException] = []

    @web.middleware
    async def late(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        with pytest.raises(RuntimeError, match="was sent, or begun") as error:
            wrap_response(response, Same)
        caught.append(error.value)
        return response

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query_string == "ours":
            response = respond(Text("body"))
            await response.prepare(request)
            return response
        by_hand = web.StreamResponse()
        await by_hand.prepare(request)
        await by_hand.write(b"body")
        return by_hand

    app = web.Application(middlewares=[late])
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        for path in ("/", "/?ours"):
            assert (await ask(raw, path=path)).raw == b"body"
    assert len(caught) == 2


def test_who_writes_itself_cannot_be_wrapped() -> None:
    class Own(web.StreamResponse):
        pass

    class Sending(web.Response):
        async def write_eof(self, data: bytes = b"") -> None:
            await super().write_eof(data)

    for response, message in (
        (Own(), "Own writes itself"),
        (Sending(), "sends itself"),
    ):
        with pytest.raises(TypeError, match=message):
            wrap_response(response, Same)


def test_a_make_gives_a_stream() -> None:
    def no_stream(_body: Stream) -> Any:
        return b"bytes"

    with pytest.raises(TypeError, match="make gave bytes, expected a Stream"):
        wrap_response(respond(Text("x")), no_stream)


async def test_what_others_have_said_goes_along() -> None:
    key = web.ResponseKey("mine", str)

    async def handler(_request: web.Request) -> Any:
        response = web.Response(
            text="body", status=201, reason="Made", headers={"X-More": "1"}
        )
        response[key] = "kept"
        response.set_cookie("a", "b")
        response.force_close()
        return response

    seen: list[str] = []

    async def signal(_request: web.Request, response: web.StreamResponse) -> None:
        seen.append(response[key])

    app = application(handler, Upper)
    app.on_response_prepare.append(signal)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        answer = (await raw.reader.read()).decode()
    assert answer.startswith("HTTP/1.1 201 Made\r\n")
    assert answer.endswith("\r\n\r\nBODY")
    for line in ("X-More: 1", "Set-Cookie: a=b; Path=/", "Connection: close"):
        assert f"\r\n{line}\r\n" in answer
    assert seen == ["kept"]


async def test_a_coding_that_was_asked_for_is_around_the_wrap() -> None:
    async def handler(request: web.Request) -> Any:
        text = LONG.decode()
        response: Any = (
            web.Response(text=text)
            if request.query_string == "theirs"
            else respond(Text(text))
        )
        response.enable_compression()
        return response

    app = application(handler, Upper)
    async with serving(app) as address, connected(address) as raw:
        for path in ("/", "/?theirs"):
            answer = await ask(raw, "deflate", path=path)
            assert answer.coding == "deflate"
            assert decode("deflate", answer.raw) == LONG.upper()


# -- wraps that go wrong -----------------------------------------------------------------


class Failing(Transform):
    """Fails after so many bytes."""

    def __init__(self, source: Stream, after: int, error: Exception) -> None:
        super().__init__(source)
        self._after, self._error = after, error
        self.closings = 0

    async def readany(self) -> bytes:
        if self.position >= self._after:
            raise self._error
        return await self.source.read(self._after - self.position)

    async def close(self) -> None:
        self.closings += 1
        await super().close()


FAILING_KINDS = ["Text", "File", "Stream", "Response", "FileResponse"]


@pytest.mark.parametrize("kind", FAILING_KINDS)
@pytest.mark.parametrize("after", [0, 1000])
async def test_a_wrap_that_fails_is_an_error_or_breaks_the_connection(
    kind: str, after: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Failing] = []

    def make(body: Stream) -> Stream:
        made.append(Failing(body, after, ZeroDivisionError()))
        return made[-1]

    async def handler(_request: web.Request) -> Any:
        return KINDS[kind](folder)

    async with (
        serving(application(handler, make)) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        answer = await raw.reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    if after:
        assert head.startswith(b"HTTP/1.1 200 ")
        assert not body.endswith(b"0\r\n\r\n")
        assert len(body) < len(LONG)
    else:
        assert head.startswith(b"HTTP/1.1 500 ")
    (wrap,) = made
    assert (wrap.closed, wrap.source.closed, wrap.closings) == (True, True, 1)
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


@pytest.mark.parametrize("kind", FAILING_KINDS)
async def test_a_wrap_that_lies_about_its_size(kind: str, folder: Path) -> None:
    class Lying(Longer):
        @property
        def size(self) -> int | None:
            return 10_000

    async def handler(_request: web.Request) -> Any:
        return KINDS[kind](folder)

    async with (
        serving(application(handler, Lying)) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        answer = await raw.reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 10000" in head
    assert len(body) < 10_000


async def test_a_make_that_raises_is_the_middlewares_error(folder: Path) -> None:
    opened: list[Stream] = []

    def make(body: Stream) -> Stream:
        opened.append(body)
        raise SizeMismatch("no")

    async def handler(_request: web.Request) -> Any:
        return File(folder / "page.html")

    async with (
        serving(application(handler, make)) as address,
        connected(address) as raw,
    ):
        assert (await ask(raw)).status == 500
    assert [stream.closed for stream in opened] == [True]


async def test_a_wrap_that_never_ends_is_closed_with_its_client() -> None:
    class Endless(Transform):
        async def readany(self) -> bytes:
            await asyncio.sleep(0)
            return b"x" * 10_000

    made: list[Stream] = []

    def make(body: Stream) -> Stream:
        made.append(Endless(body, keeps_size=False))
        return made[-1]

    async def handler(_request: web.Request) -> Any:
        return Text("x")

    async with (
        serving(application(handler, make)) as address,
        connected(address) as raw,
    ):
        await raw.send(post(None, method="GET"))
        await raw.reader.read(1000)
        raw.reset()
        await until(lambda: made[0].closed)


async def test_a_copy_of_what_goes_out(folder: Path) -> None:
    """As an audit would have it: a tee, for whatever response."""

    class Sink(Stream):
        def __init__(self) -> None:
            super().__init__()
            self.got = b""

        async def write(self, data: bytes | bytearray | memoryview) -> None:
            self.got += bytes(data)

    for kind, value_of in KINDS.items():
        sink = Sink()

        def tee(body: Stream, sink: Sink = sink) -> Stream:
            return TeeStream(body, sink)

        async def handler(
            _request: web.Request, make: Callable[[Path], Any] = value_of
        ) -> Any:
            value = make(folder)
            if isinstance(value, web.HTTPException):
                raise value
            return value

        async with (
            serving(application(handler, tee)) as address,
            connected(address) as raw,
        ):
            assert (await ask(raw, "gzip")).body == sink.got, kind


async def test_a_missing_file_stays_missing(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> Any:
        path = tmp_path / "missing"
        return web.FileResponse(path) if request.query_string else File(path)

    async with (
        serving(application(handler, Upper)) as address,
        connected(address) as raw,
    ):
        for path in ("/", "/?theirs"):
            assert (await ask(raw, path=path)).status == 404


async def test_without_the_middleware_too() -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return wrap_response(web.Response(text="body"), Longer)

    async with serving(handler) as address, connected(address) as raw:
        assert (await ask(raw)).raw == b"<body>"


def test_a_page_is_wrapped_like_anything() -> None:
    wrapped = wrap_response(respond(HTML("<p>")), Same)
    assert not isinstance(wrapped, web.Response)
    assert wrapped.content_length == 3
    assert wrapped.content_type == "text/html"
