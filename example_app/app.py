"""The application: files in and out, numbers as JSON, and a proxy.

Every handler is a few lines, because every body is a stream: an upload is *copied*
from the request to a file, a download *is* a file, a proxy returns the upstream's
body. None of them holds a body in memory, and none of them handles an error: what
goes wrong with a body is a ``StreamError``, which ``setup()`` has answered as
``application/problem+json`` with the right status.

    PUT    /files/{name}   save a body (``If-None-Match: *`` never replaces)
    GET    /files          what is there, as JSON
    GET    /files/{name}   download, with ranges, ETag and 304
    DELETE /files/{name}
    GET    /proxy/{name}   the same from the upstream, streamed through
    POST   /api/summary    {"values": [1, 2]} to {"count": 2, "sum": 3, ...}
    POST   /api/running    NDJSON in, NDJSON out, line by line

Only public names of aiostreams are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

from aiostreams import (
    JSON,
    NDJSON,
    ClientGone,
    File,
    FileStream,
    HashStream,
    InvalidKey,
    KiB,
    Limits,
    ObjectNotFound,
    StreamError,
    copy,
    iter_ndjson,
    limit,
    open_stream,
    proxy,
    read_json,
    respond,
    setup,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STATIC = Path(__file__).parent / "static"
STORAGE = web.AppKey("storage", Path)
MAX_FILE = web.AppKey("max_file", int)
UPSTREAM = web.AppKey("upstream", URL)
CLIENT = web.AppKey("client", aiohttp.ClientSession)

# Scripts and styles of this page only. Nothing else may frame it, and what was
# uploaded can neither run as this site nor be taken for another type.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
UPLOAD_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox"}

routes = web.RouteTableDef()


def create_app(
    storage: Path, *, max_file: int, upstream: URL | None = None
) -> web.Application:
    """The application.

    Args:
        storage: the folder for the files; made if need be.
        max_file: the largest file, in bytes.
        upstream: where the proxy fetches from; the app's own files unless given.
    """
    storage.mkdir(parents=True, exist_ok=True)
    app = web.Application()
    app[STORAGE] = storage
    app[MAX_FILE] = max_file
    if upstream is not None:
        app[UPSTREAM] = upstream
    app.add_routes(routes)
    app.cleanup_ctx.append(client_session)
    app.on_response_prepare.append(add_page_headers)
    return setup(app, limits=Limits(max_body=max_file))


async def client_session(app: web.Application) -> AsyncIterator[None]:
    """Keep one client for the proxy; it remembers nobody's cookies."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=cookies) as client:
        app[CLIENT] = client
        yield


async def add_page_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give every response the headers that it does not have of its own."""
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)


# -- the page ------------------------------------------------------------------------


@routes.get("/")
async def page(_request: web.Request) -> web.StreamResponse:
    """Send the page."""
    return respond(File(STATIC / "index.html"))


@routes.get(r"/static/{name:(app\.js|style\.css|icon\.svg)}")
async def static(request: web.Request) -> web.StreamResponse:
    """Send what the page loads."""
    return respond(File(STATIC / request.match_info["name"]))


# -- files ---------------------------------------------------------------------------


def path_of(request: web.Request) -> Path:
    """Where the file of this request is, or will be.

    A name is used as it is or not at all: one component, all of it visible, and
    nothing that a shell or another system takes for something else.

    Raises:
        InvalidKey: the name is none of these.
    """
    name = request.match_info["name"]
    if (
        not name.isprintable()
        or name[0] in ".-~ "
        or name[-1] in ". "
        or not set(name).isdisjoint('/\\:*?"<>|')
        or len(name.encode()) > 200
    ):
        raise InvalidKey("this name cannot be used for a file")
    return request.app[STORAGE] / name


@routes.put("/files/{name}")
@routes.put("/{name}")  # what `curl -T file http://host/` asks for
async def upload(request: web.Request) -> web.StreamResponse:
    """Save the body while it arrives: whole, or not at all."""
    path = path_of(request)
    mode: Literal["wb", "xb"] = "wb"
    if request.headers.get("If-None-Match") == "*":
        mode = "xb"
    started = time.monotonic()
    body = HashStream(open_stream(request), "sha256")
    async with FileStream(path, mode) as sink:
        await sink.open()  # a name that is taken is refused before the body comes
        size = await copy(body, sink)
    received = {
        "name": path.name,
        "size": size,
        "sha256": body.digests["sha256"],
        "content_type": body.content_type,
        "seconds": round(time.monotonic() - started, 3),
        "url": url_of(path.name),
    }
    return respond(JSON(received), status=201, headers={"Location": url_of(path.name)})


@routes.get("/files/{name}")
async def download(request: web.Request) -> web.StreamResponse:
    """Send a file, or the ranges of it that are asked for."""
    path = path_of(request)
    return respond(File(path), filename=path.name, headers=UPLOAD_HEADERS)


@routes.delete("/files/{name}")
async def delete(request: web.Request) -> web.Response:
    """Remove a file."""
    path = path_of(request)
    try:
        await asyncio.to_thread(path.unlink)
    except FileNotFoundError as error:
        raise ObjectNotFound("there is no such file") from error
    return web.Response(status=204)


@routes.get("/files")
async def files(request: web.Request) -> web.StreamResponse:
    """List the files, the newest first."""
    listed = await asyncio.to_thread(list_files, request.app[STORAGE])
    return respond(JSON({"files": listed, "max_file": request.app[MAX_FILE]}))


def list_files(storage: Path) -> list[dict[str, Any]]:
    """Name, size and time of every file; blocking."""
    found = []
    with os.scandir(storage) as entries:
        for entry in entries:
            # Uploads under way begin with a dot; others may be removed meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file() and not entry.name.startswith("."):
                    stat = entry.stat()
                    found.append((stat.st_mtime, entry.name, stat.st_size))
    return [
        {
            "name": name,
            "size": size,
            "modified": formatdate(modified, usegmt=True),
            "url": url_of(name),
        }
        for modified, name, size in sorted(found, reverse=True)
    ]


def url_of(name: str) -> str:
    """Where a file is downloaded."""
    return f"/files/{quote(name, safe='')}"


# -- the proxy -----------------------------------------------------------------------


@routes.get("/proxy/{name}")
async def proxied(request: web.Request) -> web.StreamResponse:
    """Pass on a file of the upstream: as fast as the client reads, and no faster."""
    upstream = request.app.get(UPSTREAM) or own_address(request) / "files"
    url = upstream / path_of(request).name
    response = await proxy(request, request.app[CLIENT], url)
    response.headers.update(UPLOAD_HEADERS)
    return response


def own_address(request: web.Request) -> URL:
    """Where this server listens; the Host header could name any other."""
    assert request.transport is not None
    host, port = request.transport.get_extra_info("sockname")[:2]
    return URL.build(scheme="http", host=host, port=port)


# -- numbers -------------------------------------------------------------------------


@dataclass
class Series:
    """The body of ``POST /api/summary``."""

    values: list[float]


@dataclass
class Reading:
    """One line of the body of ``POST /api/running``."""

    value: float


@dataclass
class Summary:
    """What is known of some numbers without keeping them."""

    count: int = 0
    sum: float = 0
    min: float | None = None
    max: float | None = None

    def add(self, value: float) -> None:
        """Count one more."""
        self.count += 1
        self.sum += value
        self.min = value if self.min is None else min(self.min, value)
        self.max = value if self.max is None else max(self.max, value)


@routes.post("/api/summary")
@limit(max_body=64 * KiB)
async def summary(request: web.Request) -> web.StreamResponse:
    """Sum up a JSON document, which is checked against its type."""
    result = Summary()
    for value in (await read_json(request, type=Series)).values:
        result.add(value)
    return respond(JSON(result))


@routes.post("/api/running")
async def running(request: web.Request) -> web.StreamResponse:
    """Answer each line as it arrives; the body may be of any length."""
    readings = iter_ndjson(
        request,
        type=Reading,
        max_line_length=KiB,
        content_type="application/x-ndjson",
    )
    return respond(NDJSON(sums(readings)))


async def sums(readings: AsyncIterator[Reading]) -> AsyncIterator[Any]:
    """The summary so far, after each reading."""
    result = Summary()
    try:
        async for reading in readings:
            result.add(reading.value)
            yield result
    except ClientGone:
        raise
    except StreamError as error:
        # The status has been sent by now, so this has to be a line as well.
        yield {"error": str(error)}
