"""Bodies that aiohttp's client sends twice: redirects, challenges, stale connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession, web

from aiostreams import (
    HTML,
    JSON,
    NDJSON,
    ByteStream,
    EventStream,
    File,
    Files,
    FileStream,
    Form,
    IterStream,
    MultiPart,
    Text,
)
from aiostreams.testing import FailStream
from aiostreams.web.payload import StreamPayload
from tests.servers import serving

Seen = list[tuple[str, str, bytes]]

REPEATABLE: dict[str, Callable[[Path], Any]] = {
    "JSON": lambda _: JSON({"a": [1, 2]}),
    "Text": lambda _: Text("grüße"),
    "HTML": lambda _: HTML("<p>"),
    "Form": lambda _: Form({"a": "b c"}),
    "NDJSON of a list": lambda _: NDJSON([1, 2, 3]),
    "ByteStream": lambda _: ByteStream(b"bytes", content_type="text/x"),
    "an empty ByteStream": lambda _: ByteStream(),
    "FileStream": lambda path: FileStream(path, offset=9, length=99),
    "File": lambda path: File(path),
    "Files": lambda path: Files({"f": File(path)}),
    "MultiPart": lambda path: MultiPart({"a": "1"}, {"f": File(path)}, boundary="b"),
}
ONCE: dict[str, Callable[[], Any]] = {
    "IterStream": lambda: IterStream([b"a", b"b"]),
    "File of a stream": lambda: File(IterStream([b"a"]), name="a.txt"),
    "NDJSON of a generator": lambda: NDJSON(n for n in (1, 2)),
    "EventStream": lambda: EventStream(_events()),
}


async def _events() -> AsyncIterator[str]:
    yield "one"


@pytest.fixture(params=REPEATABLE)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 1000)
    return lambda: REPEATABLE[request.param](path)


@pytest.fixture
def seen() -> Seen:
    return []


def _app(seen: Seen, status: int = 307, *, read_first: bool = True) -> web.Application:
    async def begin(request: web.Request) -> web.Response:
        if read_first:
            await take(request)
        return web.Response(status=status, headers={"Location": "/end"})

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append((request.method, request.headers["Content-Type"], body))
        return web.Response(text="taken")

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/begin", begin)
    app.router.add_route("*", "/end", take)
    return app


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_takes_the_body_along(
    make: Callable[[], Any], status: int, seen: Seen
) -> None:
    async with (
        serving(_app(seen, status)) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
        session.put("/begin", data=make()) as response,
    ):
        assert await response.text() == "taken"
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_a_redirect_that_comes_early_takes_the_whole_body_along(
    tmp_path: Path, seen: Seen
) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"0123456789" * 800_000)
    async with (
        serving(_app(seen, read_first=False)) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
        session.put("/begin", data=File(path)) as response,
    ):
        assert await response.text() == "taken"
    assert [len(body) for _, _, body in seen] == [8_000_000]


@pytest.mark.parametrize("kind", ONCE)
async def test_a_redirect_is_refused_for_a_body_that_is_gone(
    kind: str, seen: Seen
) -> None:
    async with (
        serving(_app(seen)) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        with pytest.raises(aiohttp.ClientPayloadError, match="consumed"):
            await session.put("/begin", data=ONCE[kind]())
    assert len(seen) == 1


async def test_a_redirect_sends_what_was_left_of_a_stream(seen: Seen) -> None:
    stream = ByteStream(b"head and tail")
    assert await stream.read(5) == b"head "
    async with (
        serving(_app(seen)) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        await session.put("/begin", data=stream)
    assert [body for _, _, body in seen] == [b"and tail"] * 2


async def test_a_file_that_was_open_has_a_length_again(
    tmp_path: Path, seen: Seen
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"in the file")
    app = _app(seen)
    lengths = []

    async def note(request: web.Request, _response: web.StreamResponse) -> None:
        lengths.append(request.content_length)

    app.on_response_prepare.append(note)
    async with (
        serving(app) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        await session.put("/begin", data=await FileStream(path).open())
        assert lengths == [11, 11]
        await session.put("/begin", data=FileStream(path))
        assert lengths == [11, 11, 11, 11]


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
async def test_a_challenge_is_answered_with_the_same_body(
    make: Callable[[], Any], qop: str, seen: Seen
) -> None:
    async def challenge(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append((request.method, request.headers["Content-Type"], body))
        if "Authorization" in request.headers:
            return web.Response(text="taken")
        field = f'Digest realm="r", nonce="n", qop="{qop}", algorithm=SHA-256'
        return web.Response(status=401, headers={"WWW-Authenticate": field})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/", challenge)
    digest = aiohttp.DigestAuthMiddleware("me", "secret")
    async with (
        serving(app) as (host, port),
        ClientSession(f"http://{host}:{port}", middlewares=(digest,)) as session,
        session.post("/", data=make()) as response,
    ):
        assert await response.text() == "taken"
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_a_connection_that_was_stale_is_not_the_end(
    make: Callable[[], Any],
) -> None:
    """The pool's connection is closed by the server when the second request comes."""
    puts = 0
    handlers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal puts
        handlers.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"PUT"):
                    puts += 1
                    if puts == 1:
                        # Not before the end is written: aiohttp does not try again
                        # when that fails, and uvloop sees a reset sooner.
                        await asyncio.sleep(0.05)
                        break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        async with ClientSession() as session:
            async with session.get(url) as response:
                assert response.status == 200
            async with session.put(url, data=make()) as response:
                assert response.status == 200
        await asyncio.wait(filter(None, handlers), timeout=5)
    assert (puts, len(handlers)) == (2, 2)


async def test_form_data_may_be_used_again(tmp_path: Path, seen: Seen) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"in the file")
    form = aiohttp.FormData()
    form.add_field("file", File(path), filename="a.txt")
    form.add_field("stream", await FileStream(path).open(), filename="b.txt")
    form.add_field("value", JSON([1]), filename="c.json")
    async with (
        serving(_app(seen)) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        for target in ("/begin", "/end", "/end"):
            async with session.post(target, data=form) as response:
                assert await response.text() == "taken"
    assert len(seen) == 4
    assert len(set(seen[1:])) == 1
    assert seen[0][2].count(b"in the file") == 2


@pytest.mark.filterwarnings("error")
async def test_a_body_may_be_replaced_on_its_way(
    make: Callable[[], Any], seen: Seen
) -> None:
    async def replace(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await request.update_body(Text("instead"))
        return await handler(request)

    async with (
        serving(_app(seen)) as (host, port),
        ClientSession(f"http://{host}:{port}", middlewares=(replace,)) as session,
        session.post("/end", data=make()) as response,
    ):
        assert await response.text() == "taken"
    assert [body for _, _, body in seen] == [b"instead"]


async def test_a_body_that_failed_is_not_sent_again() -> None:
    class Failing(Text):
        def encode(self) -> Any:
            return FailStream(b"abc", 2, OSError("the disk is gone"))

    payload = StreamPayload(Failing("x"))
    writer: Any = _Writer()
    with pytest.raises(OSError, match="disk"):
        await payload.write(writer)
    assert payload.consumed


async def test_what_a_payload_says_of_itself() -> None:
    payload = StreamPayload(JSON([1]))
    assert payload.autoclose
    consumed = [payload.consumed]
    writer: Any = _Writer()
    for count in (1, 2, 3):
        await payload.write(writer)
        assert writer.written == [b"[1]"] * count
        if count == 1:
            consumed.append(payload.consumed)
        elif count == 2:
            assert payload.decode() == "[1]"
        else:
            assert await payload.as_bytes() == b"[1]"
        assert payload.size == 3
    await payload.close()
    assert [*consumed, payload.consumed] == [False, False, True]
    assert not StreamPayload(IterStream([b"x"])).autoclose


class _Writer:
    """Notes what it is told to write."""

    length = None
    chunked = True

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.written.append(data)
