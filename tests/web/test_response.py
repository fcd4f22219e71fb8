"""Responses from values: framing, ranges, conditions, files, and sources that fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ByteStream,
    ChainStream,
    File,
    FileStream,
    IterStream,
    SliceStream,
    Stream,
    StreamClosed,
    Text,
    respond,
    setup,
)
from aiostreams.testing import DripStream, FailStream, SpyStream
from tests.servers import connected, post, serving
from tests.waiting import until

DATA = bytes(range(256)) * 10


class Mine(Stream):
    """A user's own source that can seek."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(size=len(data), content_type="application/x-mine")
        self.data = data

    async def readany(self) -> bytes:
        start = self.position
        return self.data[start : start + 700]

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        end = None if length is None else offset + length
        return Mine(self.data[offset:end])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.bin"
    file.write_bytes(DATA)
    return file


Make = Callable[[Path], Any]
SOURCES: dict[str, Make] = {
    "bytes": lambda path: ByteStream(DATA),
    "File": File,
    "FileStream": FileStream,
    "part of a file": lambda path: FileStream(path.with_name("long.bin"), offset=7),
    "SliceStream": lambda path: SliceStream(ByteStream(b"abc" + DATA), 3),
    "ChainStream": lambda path: ChainStream(ByteStream(DATA[:9]), Mine(DATA[9:])),
    "a user's stream": lambda path: Mine(),
}


@pytest.fixture(params=list(SOURCES.values()), ids=list(SOURCES))
def make(request: pytest.FixtureRequest, path: Path) -> Callable[[], Any]:
    path.with_name("long.bin").write_bytes(b"1234567" + DATA)
    return lambda: request.param(path)


async def fetch(
    value: Callable[[], Any], *, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """The response to one request for what ``value()`` gives."""

    async def handler(request: web.Request) -> Any:
        return value()

    app = web.Application()
    app.router.add_route("*", "/", handler)
    setup(app)
    fields = [(name.replace("_", "-"), text) for name, text in headers.items()]
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method=method, headers=fields))
        if method != "HEAD":
            return await raw.response()
        head = (await raw.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        return int(head[0].split()[1]), {k.lower(): v for k, v in pairs}, b""


async def test_known_size_has_a_length_and_unknown_is_chunked() -> None:
    status, headers, body = await fetch(lambda: JSON({"name": "zelda"}))
    assert (status, body) == (200, b'{"name":"zelda"}')
    assert headers["content-length"] == "16"
    assert headers["content-type"] == "application/json"
    _, headers, body = await fetch(lambda: IterStream([b"ab", b"", b"cd"]))
    assert (headers["transfer-encoding"], body) == ("chunked", b"abcd")
    assert "content-length" not in headers
    assert headers["content-type"] == "application/octet-stream"


async def test_empty_bodies() -> None:
    for value in (lambda: ByteStream(), lambda: Text("")):
        _, headers, body = await fetch(value)
        assert (headers["content-length"], body) == ("0", b"")
    _, headers, body = await fetch(lambda: IterStream([]))
    assert (headers["transfer-encoding"], body) == ("chunked", b"")


async def test_status_headers_and_names_of_respond() -> None:
    status, headers, _ = await fetch(
        lambda: respond(
            Text("x"),
            status=201,
            headers={"X-More": "1", "Content-Type": "text/special"},
            filename="naïve; 100%.txt",
        )
    )
    assert (status, headers["x-more"]) == (201, "1")
    assert headers["content-type"] == "text/special"
    assert headers["content-disposition"].startswith("attachment; filename=")
    assert "filename*=UTF-8''na%C3%AFve" in headers["content-disposition"]
    _, headers, _ = await fetch(lambda: respond(ByteStream(b"x"), disposition="inline"))
    assert headers["content-disposition"] == "inline"
    assert "etag" not in headers


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x", "a\nb", "a\0b"])
async def test_names_inject_nothing(name: str) -> None:
    """A tag is the application's, a filename may be a client's."""
    with pytest.raises(ValueError, match="control character"):
        respond(Text("x"), etag=name)
    _, headers, _ = await fetch(lambda: respond(Text("x"), filename=name))
    assert headers["content-disposition"].startswith('attachment; filename="a_')
    assert "set-cookie" not in headers


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"', 'w/"abc"', '""'])
def test_a_tag_in_quotes_is_refused_when_the_response_is_made(etag: str) -> None:
    with pytest.raises(ValueError, match=r"contains its quotes; give it without them"):
        respond(Text("x"), etag=etag)


async def test_validators_given_to_respond() -> None:
    when = dt.datetime(2020, 2, 3, 4, 5, 6, 700, tzinfo=dt.UTC)
    for given in (when, when.timestamp(), "Mon, 03 Feb 2020 04:05:06 GMT"):
        _, headers, _ = await fetch(
            partial(respond, Text("x"), etag="v1", last_modified=given)
        )
        assert headers["etag"] == '"v1"'
        assert headers["last-modified"] == "Mon, 03 Feb 2020 04:05:06 GMT"
    weak = aiohttp.ETag("v2", is_weak=True)
    _, headers, _ = await fetch(lambda: respond(Text("x"), etag=weak))
    assert headers["etag"] == 'W/"v2"'
    with pytest.raises(ValueError, match="HTTP date"):
        respond(Text("x"), last_modified="yesterday")


async def test_whole(make: Callable[[], Any]) -> None:
    status, headers, body = await fetch(make)
    assert (status, body) == (200, DATA)
    assert headers["content-length"] == str(len(DATA))
    assert headers["accept-ranges"] == "bytes"


async def test_head_tells_what_get_would(make: Callable[[], Any]) -> None:
    _, headers, _ = await fetch(make)
    status, only, body = await fetch(make, method="HEAD", Range="bytes=0-1")
    assert (status, body) == (200, b"")
    del headers["date"], only["date"]
    assert only == headers


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2550-", 2550, 2560),
        ("bytes=-3", 2557, 2560),
        ("bytes=-9999", 0, 2560),
        ("bytes=2500-9999", 2500, 2560),
        ("BYTES=1-2", 1, 3),
    ],
)
async def test_one_range(
    make: Callable[[], Any], value: str, start: int, end: int
) -> None:
    status, headers, body = await fetch(make, Range=value)
    assert (status, body) == (206, DATA[start:end])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/2560"
    assert headers["content-length"] == str(end - start)


async def test_several_ranges_are_parts_of_exact_length(
    make: Callable[[], Any],
) -> None:
    status, headers, body = await fetch(make, Range="bytes=0-4, 100-199, -5")
    assert status == 206
    kind, _, boundary = headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert headers["content-length"] == str(len(body))
    parts = body.split(b"--" + boundary.encode())
    assert parts[-1] == b"--\r\n"
    got = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]]
    assert got == [DATA[0:5], DATA[100:200], DATA[-5:]]
    assert b"Content-Range: bytes 100-199/2560\r\n" in parts[2]
    assert "content-range" not in headers


@pytest.mark.parametrize("value", ["bytes=2560-", "bytes=9999-10000", "bytes=-0"])
async def test_unsatisfiable(make: Callable[[], Any], value: str) -> None:
    status, headers, _ = await fetch(make, Range=value)
    assert status == 416
    assert headers["content-range"] == "bytes */2560"


@pytest.mark.parametrize(
    "value",
    ["lines=0-1", "bytes=5-2", "bytes=a-b", "bytes", "bytes=", "bytes=0-1;2", "=1-2"],
)
async def test_ranges_that_are_ignored(make: Callable[[], Any], value: str) -> None:
    status, _, body = await fetch(make, Range=value)
    assert (status, body) == (200, DATA)


async def test_a_thousand_ranges_are_not_worth_it(make: Callable[[], Any]) -> None:
    many = "bytes=" + ",".join("0-" for _ in range(500))
    status, _, body = await fetch(make, Range=many)
    assert (status, body) == (200, DATA)


async def test_conditions(path: Path) -> None:
    _, headers, _ = await fetch(lambda: File(path))
    etag, modified = headers["etag"], headers["last-modified"]
    assert etag.startswith('"')
    status, headers, body = await fetch(lambda: File(path), If_None_Match=etag)
    assert (status, body) == (304, b"")
    assert headers["etag"] == etag
    assert "content-type" not in headers
    status, _, _ = await fetch(lambda: File(path), If_Modified_Since=modified)
    assert status == 304
    status, _, body = await fetch(lambda: File(path), If_Match='"other"')
    assert (status, body) == (412, b"412: Precondition Failed")
    early = formatdate(0, usegmt=True)
    status, _, _ = await fetch(lambda: File(path), If_Unmodified_Since=early)
    assert status == 412
    os.utime(path, (1_000_000_000, 1_000_000_000))
    _, headers, _ = await fetch(lambda: File(path))
    assert headers["etag"] != etag
    status, _, body = await fetch(
        lambda: File(path), Range="bytes=0-1", If_Range=headers["etag"]
    )
    assert (status, body) == (206, DATA[:2])
    status, _, body = await fetch(lambda: File(path), Range="bytes=0-1", If_Range=etag)
    assert (status, body) == (200, DATA)


async def test_conditions_hold_for_status_200_only() -> None:
    status, _, body = await fetch(
        lambda: respond(Text("made"), status=201, etag="x"),
        Range="bytes=0-1",
        If_None_Match='"x"',
    )
    assert (status, body) == (201, b"made")


async def test_files_have_a_type_and_no_sniffing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>hi")
    _, headers, _ = await fetch(lambda: File(page))
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"


async def test_what_is_no_file_is_not_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", "", "data.bin/below"):
        (tmp_path / "data.bin").touch()
        status, _, body = await fetch(partial(File, tmp_path / name))
        assert (status, b"no such file" in body) == (404, True), name
    status, _, body = await fetch(lambda: File(tmp_path / "fifo"))
    assert status == 500
    assert str(tmp_path).encode() not in body


async def test_a_missing_file_without_the_middleware(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return respond(File(tmp_path / "missing"))

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        status, headers, body = await raw.response()
    assert status == 404
    assert headers["content-type"] == "application/problem+json; charset=utf-8"
    assert str(tmp_path).encode() not in body


# -- failing sources ---------------------------------------------------------------


async def broken(value: Callable[[], Any], **headers: str) -> bytes:
    """What a client gets of a response that must not look complete."""

    async def handler(request: web.Request) -> Any:
        return value()

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app)
    fields = [(name.replace("_", "-"), text) for name, text in headers.items()]
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=fields))
        return await raw.reader.read()


def is_complete(response: bytes) -> bool:
    head, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return len(body) >= length


LIES: dict[str, Callable[[], Any]] = {
    "fails midway": lambda: FailStream(DATA, 1000, pieces=100),
    "fails at the very end": lambda: ChainStream(
        IterStream([DATA]), FailStream(b"", 0)
    ),
    "shorter": lambda: IterStream([b"abc"], size=5),
    "longer, in the last piece": lambda: IterStream([b"abc", b"def"], size=5),
    "longer, in the next piece": lambda: IterStream([b"abc", b"de", b"f"], size=5),
    "more than a header promises": lambda: respond(
        IterStream([b"abc", b"def"]), headers={"Content-Length": "5"}
    ),
    "less than a header promises": lambda: respond(
        IterStream([b"abc", b"def"]), headers={"Content-Length": "7"}
    ),
    "a payload with more than is promised": lambda: web.Response(
        body=IterStream([b"abc", b"def"]), headers={"Content-Length": "5"}
    ),
    "a generator with less than is promised": lambda: web.Response(
        body=three_bytes(), headers={"Content-Length": "5"}
    ),
}
# Nothing was sent yet when it shows.
EARLY_LIES: dict[str, Callable[[], Any]] = {
    "fails at once": lambda: FailStream(b"", 0),
    "a generator that raises at once": lambda: IterStream(raising()),
    "longer, in one piece": lambda: IterStream([b"abcdef"], size=5),
    "longer than its one piece": lambda: IterStream([b"abcde", b"f"], size=5),
    "empty but promised": lambda: IterStream([], size=5),
    "a payload that fails at once": lambda: web.Response(body=FailStream(b"", 0)),
    "a payload with more than is promised": lambda: web.Response(
        body=IterStream([b"abcdef"]), headers={"Content-Length": "5"}
    ),
    "fails at the end of its one piece": lambda: Promised(
        FailStream(DATA, len(DATA), pieces=len(DATA)), len(DATA)
    ),
}


async def three_bytes() -> AsyncIterator[bytes]:
    yield b"abc"


async def raising() -> AsyncIterator[bytes]:
    if DATA:
        raise ZeroDivisionError
    yield b""


class Promised(Stream):
    """Knows its size, and hands on what it wraps."""

    def __init__(self, source: Stream, size: int) -> None:
        super().__init__(size=size)
        self.source = source

    async def readany(self) -> bytes:
        return await self.source.readany()


async def test_a_body_that_ends_with_its_connection_is_reset_when_it_fails() -> None:
    """HTTP/1.0 has no other way to tell a cut body from a whole one."""

    async def handler(request: web.Request) -> Any:
        if request.path == "/own":
            return web.Response(body=FailStream(DATA, 1000, pieces=100))
        return FailStream(DATA, 1000, pieces=100)

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    setup(app)
    async with serving(app) as address:
        for path in ("/", "/own"):
            async with connected(address) as raw:
                await raw.send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                with pytest.raises(ConnectionResetError):
                    await raw.reader.read()


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none_whatever_is_returned(
    status: int, path: Path
) -> None:
    """Its bytes would be taken for the next response."""

    makes: dict[str, Callable[[], Any]] = {
        "file": lambda: File(path),
        "bytes": lambda: ByteStream(DATA),
        "unknown": lambda: IterStream([DATA]),
    }

    async def handler(request: web.Request) -> Any:
        make = request.query.get("make")
        return Text("next") if make is None else respond(makes[make](), status=status)

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        for make in makes:
            await raw.send(post(None, method="GET", path=f"/?make={make}"))
            head = await raw.reader.readuntil(b"\r\n\r\n")
            assert int(head.split()[1]) == status
            await raw.send(post(None, method="GET"))
            assert (await raw.response())[2] == b"next", make


@pytest.mark.parametrize("value", LIES.values(), ids=LIES.keys())
async def test_a_body_that_fails_or_lies_is_never_taken_for_whole(
    value: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = await broken(value)
    assert not response or not is_complete(response)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1


@pytest.mark.parametrize("value", EARLY_LIES.values(), ids=EARLY_LIES.keys())
async def test_a_body_that_fails_before_its_first_byte_is_an_error(
    value: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = await broken(value, Connection="close")
    assert response.startswith(b"HTTP/1.1 500 ")
    assert is_complete(response)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1


async def test_an_error_of_http_in_place_of_a_first_byte_is_the_answer() -> None:
    async def lines() -> AsyncIterator[bytes]:
        if DATA:
            raise web.HTTPConflict(text="not now", headers={"X-Why": "1"})
        yield b""

    status, headers, body = await fetch(lambda: IterStream(lines()))
    assert (status, headers["x-why"], body) == (409, "1", b"not now")


async def test_a_source_is_not_read_for_an_answer_without_it() -> None:
    spies: list[SpyStream] = []

    def spy() -> Stream:
        spies.append(SpyStream(IterStream([b"abc"])))
        return spies[-1]

    assert (await fetch(spy, method="HEAD"))[0] == 200
    status, _, _ = await fetch(lambda: respond(spy(), etag="x"), If_None_Match='"x"')
    assert status == 304
    assert [each.reads for each in spies] == [0, 0]


async def test_a_file_that_shrinks_while_it_is_sent(path: Path) -> None:
    class Cutting(FileStream):
        async def open(self) -> Cutting:
            await super().open()
            os.truncate(path, 100)
            return self

    response = await broken(lambda: Cutting(path))
    assert not is_complete(response)


@pytest.mark.parametrize("sendfile", [True, False])
async def test_a_file_that_is_rewritten_or_grows_while_it_is_sent(
    path: Path, sendfile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sendfile:
        monkeypatch.setenv("AIOHTTP_NOSENDFILE", "1")
    path.write_bytes(b"old" * 100_000)

    class Changing(FileStream):
        change: ClassVar[Any]

        async def open(self) -> Changing:
            if self.size is None:
                await super().open()
                await asyncio.to_thread(type(self).change)
            return self

    def rewrite() -> None:
        with path.open("r+b") as file:
            file.write(b"new" * 100_000)
        os.utime(path, ns=(1, 1))

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    def replace() -> None:
        other = path.with_name("other")
        other.write_bytes(b"xyz" * 100_000)
        other.replace(path)

    Changing.change = replace
    response = await broken(lambda: Changing(path), Connection="close")
    assert response.endswith(b"\r\n\r\n" + b"old" * 100_000)
    path.write_bytes(b"old" * 100_000)
    Changing.change = grow
    response = await broken(lambda: Changing(path), Connection="close")
    assert response.endswith(b"\r\n\r\n" + b"old" * 100_000)
    path.write_bytes(b"old" * 100_000)
    Changing.change = rewrite
    assert not is_complete(await broken(lambda: Changing(path)))


# -- what is closed, and when ------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_source_is_closed_once_whatever_happens(method: str) -> None:
    spies: list[SpyStream] = []

    def spy() -> Stream:
        spies.append(SpyStream(ByteStream(DATA)))
        return spies[-1]

    await fetch(spy, method=method)
    await fetch(lambda: respond(spy(), etag="x"), method=method, If_None_Match='"x"')
    await fetch(lambda: web.Response(body=spy()), method=method)
    for made in spies:
        assert made.closings == 1


async def test_a_client_that_leaves_closes_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def handler(request: web.Request) -> Any:
        return IterStream(endless())

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        await raw.reader.read(1000)
        raw.reset()
        await closed.wait()


async def test_a_slow_client_pauses_the_source() -> None:
    """Back-pressure: the source is read no faster than the client takes."""
    source = DripStream(bytes(64 * 1024 * 1024), 256 * 1024)

    async def handler(request: web.Request) -> Any:
        return source

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        await raw.reader.read(1000)
        before = -1
        while source.position > before:  # until it stands still
            before = source.position
            await asyncio.sleep(0.1)
        assert 0 < source.position < 16 * 1024 * 1024


# -- payloads ----------------------------------------------------------------------


async def test_streams_and_contents_as_bodies_of_aiohttps_own_responses() -> None:
    for value, kind in ((JSON([1]), "application/json"), (ByteStream(b"[1]"), None)):
        _, headers, body = await fetch(partial(web.Response, body=value))
        assert body == b"[1]"
        assert headers["content-length"] == "3"
        assert headers["content-type"] == kind or kind is None
    assert web.Response(body=JSON([1])).text == "[1]"
    with pytest.raises(TypeError, match="asynchronously"):
        assert web.Response(body=IterStream([b"x"])).text


async def test_streams_and_contents_as_bodies_of_a_clients_request() -> None:
    async def handler(request: web.Request) -> web.Response:
        length = request.headers.get("Content-Length", "chunked")
        text = await request.text()
        return web.Response(text=f"{request.content_type} {length} {text}")

    async with (
        serving(handler) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        for data, expected in (
            (JSON([1]), "application/json 3 [1]"),
            (ByteStream(b"abc", content_type="text/css"), "text/css 3 abc"),
            (IterStream([b"a", b"bc"]), "application/octet-stream chunked abc"),
            (DripStream(b"abc", known_size=True), "application/octet-stream 3 abc"),
        ):
            async with session.post("/", data=data) as response:
                assert await response.text() == expected
        lying = IterStream([b"abc"], size=10)
        with pytest.raises(aiohttp.ClientError):
            await session.post("/", data=lying)
        with pytest.raises(StreamClosed):
            await lying.read()


async def test_a_payload_can_be_read_into_memory() -> None:
    payload = aiohttp.payload.get_payload(IterStream([b"ab", b"c"]))
    assert await payload.as_bytes() == b"abc"
    assert await payload.as_bytes() == b"abc"
    await payload.close()


async def test_over_uvloop_files_go_out_without_sendfile(path: Path) -> None:
    """uvloop has no sendfile; the file is sent all the same."""
    uvloop = pytest.importorskip("uvloop")
    code = asyncio.to_thread(_run_on, uvloop.new_event_loop, path)
    assert await code == (200, DATA, 206, DATA[5:10])


def _run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], path: Path) -> Any:
    async def main() -> Any:
        whole = await fetch(lambda: File(path))
        part = await fetch(lambda: File(path), Range="bytes=5-9")
        return whole[0], whole[2], part[0], part[2]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


# -- the order of events -----------------------------------------------------------


async def test_a_response_that_cannot_be_begun_closes_its_source() -> None:
    spies = []

    async def refuse(_request: web.Request, _response: web.StreamResponse) -> None:
        raise ZeroDivisionError

    async def handler(request: web.Request) -> web.StreamResponse:
        spy = SpyStream(IterStream([b"x"]))
        spies.append(spy)
        return respond(spy)

    app = web.Application()
    app.router.add_get("/", handler)
    app.on_response_prepare.append(refuse)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        assert await raw.reader.read() == b""
    assert [spy.closings for spy in spies] == [1]
    assert all(spy.reads == 0 for spy in spies)


async def test_a_response_is_begun_once() -> None:
    """A handler may begin it by itself, to know that it will be sent."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = respond(IterStream([b"ab", b"c"]))
        assert await response.prepare(request) is await response.prepare(request)
        return response

    async with serving(handler) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        status, _, body = await raw.response()
    assert (status, body) == (200, b"abc")


@pytest.mark.parametrize("answer", ["an error", "another"])
async def test_a_response_that_was_begun_and_given_up_is_closed(
    answer: str, path: Path
) -> None:
    spies = []

    async def handler(request: web.Request) -> web.StreamResponse:
        spies.append(SpyStream(FileStream(path)))
        await respond(spies[-1]).prepare(request)
        if answer == "another":
            return web.Response(text="something else")
        raise ZeroDivisionError

    app = web.Application()
    app.router.add_get("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(None, method="GET"))
        assert await raw.reader.read(8) == b"HTTP/1.1"
        async with asyncio.timeout(20):  # while the server and the connection live
            await until(lambda: spies[0].closings)
        assert [spy.closings for spy in spies] == [1]
