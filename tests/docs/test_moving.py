"""What docs/migration says of others, and of us, is what happens.

The pages name the versions that they speak of; of others they say nothing, and these
tests skip there. What is said of aiostreams has tests of its own besides.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    File,
    IterStream,
    Text,
    iter_parts,
    open_stream,
    read_bytes,
    read_form,
    read_json,
    read_text,
    respond,
    setup,
)
from tests.servers import connected, serving

# Others leave it to the garbage collector to close temporary files.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAGES = Path(__file__).parents[2] / "docs" / "migration"
BOUNDARY = "B0undary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PLAIN = {"Accept-Encoding": "identity"}


def hold_to(page: str, library: str, version: str) -> None:
    """Skip with a version that the page does not speak of."""
    spoken_of = re.search(rf"{library} (\d+[.\d]*\d)", (PAGES / page).read_text())
    assert spoken_of is not None, f"{page} names no version of {library}"
    if spoken_of[1] != version:
        pytest.skip(f"{page} does not speak of {library} {version}")


def form(*parts: tuple[str, bytes]) -> bytes:
    """A body of parts, each with what stands behind ``form-data;``."""
    body = b""
    for head, content in parts:
        head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


GOOD = form(('name="a"', b"1"), ('name="f"; filename="a%22b.txt"', b"hello"))
CUT = GOOD[: GOOD.rindex(b"\r\n--")]
LARGE = form(('name="f"; filename="x"', b"x" * (3 << 20)))
NOTHING = 'name="f"; filename=""\r\nContent-Type: application/octet-stream'
EMPTY = form((NOTHING, b""))
STARRED = form(("name=\"f\"; filename*=UTF-8''x.txt", b""))
CUT_GZIP = gzip.compress(b"x" * 1000)[:-6]


def of_type(name: str) -> dict[str, str]:
    return {"Content-Type": name}


@dataclass(frozen=True)
class Case:
    """A request, and what either side answers: a status, and a piece of its body."""

    path: str
    there: int
    here: int
    data: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    there_says: str = ""
    here_says: str = ""


CASES = {
    "read 2 MiB": Case("read", 413, 413, b"x" * (2 << 20)),
    "text not of its charset": Case("text", 500, 400, b"\xff", of_type("text/plain")),
    "text of no charset": Case("text", 500, 415, b"x", of_type("text/html;charset=no")),
    "json malformed": Case("json", 500, 400, b"{", of_type("application/json")),
    "json empty": Case("json", 500, 400, b"", of_type("application/json")),
    "json as text": Case("json", 200, 415, b"{}", of_type("text/plain")),
    "json NaN": Case("json", 200, 400, b"NaN", of_type("application/json"), "nan"),
    "post": Case("post", 200, 200, GOOD, MULTIPART, "a%22b.txt", 'a"b.txt'),
    "post cut": Case("post", 500, 400, CUT, MULTIPART),
    "post of another type": Case("post", 200, 415, b"{}", of_type("text/json"), "[]"),
    "post 3 MiB": Case("post", 413, 200, LARGE, MULTIPART),
    "post nothing chosen": Case("post", 200, 200, EMPTY, MULTIPART, "bytearray", "[]"),
    "parts cut": Case("parts", 500, 400, CUT, MULTIPART),
    "parts of another type": Case("parts", 500, 415, b"{}", of_type("text/json")),
    "parts of 3 MiB": Case("parts", 200, 200, LARGE, MULTIPART, "3145728", "3145728"),
    "filename*": Case("parts", 200, 200, STARRED, MULTIPART, "x.txt", "x.txt"),
    "gzip cut": Case("drain", 200, 400, CUT_GZIP, {"Content-Encoding": "gzip"}),
    "unknown coding": Case("drain", 200, 415, b"x", {"Content-Encoding": "no"}),
    "two ranges": Case("file", 416, 206, headers={"Range": "bytes=0-1,5-6", **PLAIN}),
    "unknown unit": Case("file", 416, 200, headers={"Range": "rows=0-1", **PLAIN}),
    "If-Range of another": Case(
        "file", 206, 200, headers={"Range": "bytes=0-1", "If-Range": '"no"', **PLAIN}
    ),
    "range of a value": Case(
        "value", 200, 206, headers={"Range": "bytes=0-1", **PLAIN}
    ),
    "NaN out": Case("nan", 200, 500, there_says="NaN"),
}


def application(*handlers: Callable[[web.Request], Any]) -> web.Application:
    """Each handler at a path of its name."""
    app = web.Application()
    for handler in handlers:
        app.router.add_route("*", f"/{handler.__name__}", handler)
    return app


def as_before(path: Path) -> web.Application:
    async def read(request: web.Request) -> Any:
        return web.Response(body=await request.read())

    async def text(request: web.Request) -> Any:
        return web.Response(text=await request.text())

    async def json(request: web.Request) -> Any:
        return web.Response(text=repr(await request.json()))

    async def post(request: web.Request) -> Any:
        values = (await request.post()).values()
        names = [getattr(value, "filename", value) for value in values]
        return web.Response(text=repr(names))

    async def parts(request: web.Request) -> Any:
        seen: list[Any] = []
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            size = 0
            while chunk := await part.read_chunk(1 << 16):
                size += len(chunk)
            seen += [part.filename, size]
        return web.Response(text=repr(seen))

    async def drain(request: web.Request) -> Any:
        return web.Response(
            text=str([len(p) async for p in request.content.iter_any()])
        )

    async def file(request: web.Request) -> Any:
        return web.FileResponse(path)

    async def value(request: web.Request) -> Any:
        return web.Response(text="value")

    async def nan(request: web.Request) -> Any:
        return web.json_response(float("nan"))

    return application(read, text, json, post, parts, drain, file, value, nan)


def as_it_is_now(path: Path) -> web.Application:
    async def read(request: web.Request) -> Any:
        return Text(str(len(await read_bytes(request))))

    async def text(request: web.Request) -> Any:
        return Text(await read_text(request))

    async def json(request: web.Request) -> Any:
        return Text(repr(await read_json(request)))

    async def post(request: web.Request) -> Any:
        received = await read_form(request)
        files = [getattr(file, "filename", "") for file in received.files.values()]
        return Text(repr([*received.form.values(), *files]))

    async def parts(request: web.Request) -> Any:
        seen: list[Any] = []
        async for part in iter_parts(request):
            seen += [part.filename, len(await part.read())]
        return Text(repr(seen))

    async def drain(request: web.Request) -> Any:
        return Text(str([len(p) async for p in open_stream(request).iter_any()]))

    async def file(request: web.Request) -> Any:
        return File(path)

    async def value(request: web.Request) -> Any:
        return Text("value")

    async def nan(request: web.Request) -> Any:
        return JSON(float("nan"))

    app = application(read, text, json, post, parts, drain, file, value, nan)
    return setup(app)


@pytest.mark.parametrize("side", ["there", "here"])
@pytest.mark.parametrize("name", CASES)
async def test_aiohttp(
    name: str, side: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if side == "there":
        hold_to("aiohttp.md", "aiohttp", aiohttp.__version__)
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "file.txt"
    path.write_text("0123456789")
    case = CASES[name]
    app = as_before(path) if side == "there" else as_it_is_now(path)
    async with (
        serving(app, auto_decompress=side == "there") as (host, port),
        aiohttp.ClientSession() as session,
        session.request(
            "GET" if case.data is None else "POST",
            f"http://{host}:{port}/{case.path}",
            data=case.data and io.BytesIO(case.data),
            headers=case.headers,
        ) as response,
    ):
        assert response.status == getattr(case, side)
        assert getattr(case, f"{side}_says") in await response.text()


async def test_reads_are_exact_here_only() -> None:
    hold_to("aiohttp.md", "aiohttp", aiohttp.__version__)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 1500
            await asyncio.sleep(0.02)

    async def sizes(stream: Any) -> Any:
        first = len(await stream.read(4000))
        rest = [len(piece) async for piece in stream.iter_chunked(100)]
        return web.json_response([first, *rest])

    async def there(request: web.Request) -> Any:
        return await sizes(request.content)

    async def here(request: web.Request) -> Any:
        return await sizes(open_stream(request))

    async with (
        serving(application(there, here)) as (host, port),
        aiohttp.ClientSession() as session,
    ):
        url = f"http://{host}:{port}"
        async with session.post(f"{url}/there", data=pieces()) as response:
            assert (await response.json())[0] < 4000
        async with session.post(f"{url}/here", data=pieces()) as response:
            assert await response.json() == [4000] + [100] * 20


async def test_a_generator_that_breaks_its_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold_to("aiohttp.md", "aiohttp", aiohttp.__version__)
    caplog.set_level(logging.CRITICAL)

    async def five_bytes() -> AsyncIterator[bytes]:
        yield b"12345"

    async def there(request: web.Request) -> Any:
        return web.Response(body=five_bytes(), headers={"Content-Length": "10"})

    async def here(request: web.Request) -> Any:
        return IterStream(five_bytes(), size=10)

    alone, ours = application(there, here), setup(application(there, here))
    for app, path, answers in (
        (alone, "there", 2),
        (ours, "there", 1),
        (ours, "here", 1),
    ):
        async with serving(app) as address, connected(address) as raw:
            ask = f"GET /{path} HTTP/1.1\r\nHost: x\r\n"
            await raw.send(f"{ask}\r\n{ask}Connection: close\r\n\r\n".encode())
            answer = await raw.reader.read()
            assert answer.count(b"HTTP/1.1 200 OK") == answers
            # The client takes these for the rest of the first body.
            assert (b"12345HTTP/" in answer) == (app is alone)


@pytest.mark.parametrize(
    ("accept", "there", "here"),
    [
        ("gzip;q=0", "gzip", None),
        ("deflate;q=0.1, gzip", "deflate", "gzip"),
        ("identity", None, None),
    ],
)
async def test_compression(accept: str, there: str | None, here: str | None) -> None:
    hold_to("aiohttp.md", "aiohttp", aiohttp.__version__)

    async def by_hand(request: web.Request) -> Any:
        response = web.Response(text="x" * 3000, headers={"ETag": '"v1"'})
        response.enable_compression()
        return response

    async def by_setup(request: web.Request) -> Any:
        return respond(Text("x" * 3000), etag="v1")

    async with (
        serving(setup(application(by_hand, by_setup))) as (host, port),
        aiohttp.ClientSession(headers={"Accept-Encoding": accept}) as session,
    ):
        async with session.get(f"http://{host}:{port}/by_hand") as response:
            assert response.headers.get("Content-Encoding") == there
            assert response.headers["ETag"] == '"v1"'
            assert "Vary" not in response.headers
        async with session.get(f"http://{host}:{port}/by_setup") as response:
            assert response.headers.get("Content-Encoding") == here
            assert response.headers["ETag"] == ('W/"v1"' if here else '"v1"')
            assert response.headers["Vary"] == "Accept-Encoding"


async def test_starlette(tmp_path: Path) -> None:
    starlette = pytest.importorskip("starlette", reason="Starlette is not installed")
    hold_to("starlette.md", "Starlette", starlette.__version__)
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    path = tmp_path / "file.txt"
    path.write_text("0123456789" * 100)

    async def read_a_form(request: Request) -> Response:
        async with request.form() as received:
            return PlainTextResponse(repr(list(received)))

    async def read_json_text(request: Request) -> Response:
        return PlainTextResponse(repr(await request.json()))

    async def drain(request: Request) -> Response:
        size = sum([len(piece) async for piece in request.stream()])
        return PlainTextResponse(str(size))

    async def file(request: Request) -> Response:
        return FileResponse(path)

    app = Starlette(
        routes=[
            Route("/form", read_a_form, methods=["POST"]),
            Route("/json", read_json_text, methods=["POST"]),
            Route("/drain", drain, methods=["POST"]),
            Route("/file", file),
        ],
        middleware=[Middleware(GZipMiddleware)],
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:

        async def post(where: str, data: bytes, headers: Any = None) -> tuple[int, str]:
            answer = await client.post(where, content=data, headers=headers)
            return answer.status_code, answer.text

        async def get(headers: dict[str, str]) -> httpx.Response:
            return await client.get("/file", headers={**PLAIN, **headers})

        assert await post("/form", GOOD, MULTIPART) == (200, "['a', 'f']")
        assert await post("/form", CUT, MULTIPART) == (200, "['a']")
        assert await post("/form", b"{}", of_type("text/json")) == (200, "[]")
        large = form(('name="a"', b"x" * (2 << 20)))
        assert (await post("/form", large, MULTIPART))[0] == 400
        assert (await post("/json", b"{"))[0] == 500
        assert await post("/json", b"NaN") == (200, "nan")
        zipped = {"Content-Encoding": "gzip"}
        assert await post("/drain", CUT_GZIP, zipped) == (200, str(len(CUT_GZIP)))
        whole = await get({})
        tag = whole.headers["ETag"]
        assert (await get({"If-None-Match": tag})).status_code == 200
        assert (await get({"Range": "rows=0-1"})).status_code == 400
        refused = await get({"Accept-Encoding": "gzip;q=0"})
        assert refused.headers["Content-Encoding"] == "gzip"
        assert refused.headers["ETag"] == tag
        anything = await get({"Accept-Encoding": "*"})
        assert "Content-Encoding" not in anything.headers
