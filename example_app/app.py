"""The application: files in and out, numbers as JSON, and a proxy.

Every handler is a few lines, because every body is a stream: an upload goes into the
storage while it arrives, a download *is* the stored stream, a proxy returns the
upstream's body. None of them holds a body in memory, none of them knows whether the
storage is a folder or a bucket, and none of them handles an error: what goes wrong
with a body is a ``StreamError``, which ``setup()`` has answered as
``application/problem+json`` with the right status.

    POST   /files          the files of a form, each under a new key
    PUT    /files/{key}    a body that is one file; never replaces one
    GET    /files          what is there, as JSON
    GET    /files/{key}    download, with ranges, ETag and 304
    DELETE /files/{key}
    GET    /preview/{key}  an image, to be shown
    GET    /sha256/{key}   the digest of what is stored
    GET    /proxy/{key}    the same file from the upstream, streamed through
    POST   /api/summary    {"values": [1, 2]} to {"count": 2, "sum": 3, ...}
    POST   /api/running    NDJSON in, NDJSON out, line by line

Only public names of aiostreams are used.
"""

from __future__ import annotations

import mimetypes
import secrets
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

from aiostreams import (
    JSON,
    NDJSON,
    ClientGone,
    File,
    HashStream,
    InvalidContent,
    InvalidKey,
    KiB,
    Limits,
    Storage,
    StreamError,
    UnsupportedContent,
    expect_continue,
    iter_ndjson,
    limit,
    proxy,
    read_json,
    receive,
    respond,
    setup,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from aiostreams import Incoming


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the flags say.

    Attributes:
        max_file: the largest file, in bytes.
        max_files: how many files one form may have.
        accept: the media types that are welcome; all when ``None``.
        upstream: where the proxy fetches from; the app's own files when ``None``.
    """

    max_file: int
    max_files: int = 100
    accept: frozenset[str] | None = None
    upstream: URL | None = None


STATIC = Path(__file__).parent / "static"
STORAGE = web.AppKey("storage", Storage)
SETTINGS = web.AppKey("settings", Settings)
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

# What a browser draws and does not run.
IMAGES = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "bmp")
)
# The page lists the newest ones.
MOST_LISTED = 200

routes = web.RouteTableDef()


def create_app(storage: Storage, settings: Settings) -> web.Application:
    """The application, on a storage that is closed with it."""
    app = web.Application(middlewares=[same_site_only])
    app[STORAGE] = storage
    app[SETTINGS] = settings
    app.add_routes(routes)
    app.cleanup_ctx.append(client_session)
    app.on_response_prepare.append(add_page_headers)
    limits = Limits(
        # All files of a form, and what stands around them.
        max_body=settings.max_file * settings.max_files + 1024 * KiB,
        max_file=settings.max_file,
        max_parts=settings.max_files,
    )
    return setup(app, limits=limits, storage=storage)


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


@web.middleware
async def same_site_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pages of other sites neither upload nor delete: a form needs no leave."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.method not in {"GET", "HEAD"} and site not in {"same-origin", "none"}:
        raise web.HTTPForbidden(text="403: another site's page asked for this\n")
    return await handler(request)


# -- the page ------------------------------------------------------------------------


@routes.get("/")
async def page(_request: web.Request) -> web.StreamResponse:
    """Send the page."""
    return respond(File(STATIC / "index.html"))


@routes.get(r"/static/{name:(\w+\.(?:js|css|svg))}")
async def static(request: web.Request) -> web.StreamResponse:
    """Send what the page loads."""
    return respond(File(STATIC / request.match_info["name"]))


# -- files ---------------------------------------------------------------------------


@routes.post("/files", expect_handler=expect_continue)
@routes.put("/files/{key:.+}", expect_handler=expect_continue)
# What `curl -T file http://host/` asks for.
@routes.put("/{key}", expect_handler=expect_continue)
async def upload(request: web.Request) -> web.StreamResponse:
    """Store files while they arrive: all of them whole, or none at all."""
    settings = request.app[SETTINGS]
    key = checked(request.match_info["key"]) if request.method == "PUT" else None
    started = time.monotonic()
    async with receive(
        request,
        accept=settings.accept,
        key=new_key if key is None else lambda _file: key,
    ) as received:
        stored = list(received.files.values())
        if not stored:
            raise InvalidContent("there is no file in this body")
    files = [
        entry(file.key, file.size, file.content_type, sha256=file.digests["sha256"])
        for file in stored
    ]
    headers = {"Location": files[0]["url"]} if len(files) == 1 else None
    seconds = round(time.monotonic() - started, 3)
    return respond(
        JSON({"files": files, "seconds": seconds}), status=201, headers=headers
    )


def new_key(incoming: Incoming) -> str:
    """A folder that nobody else has, and in it the file's own name."""
    return f"{secrets.token_hex(8)}/{incoming.safe_filename}"


def checked(key: str) -> str:
    """A key that a client has made up, if all of it is visible and harmless.

    The storage refuses what would be dangerous to itself; these would be awkward for
    whoever downloads them.

    Raises:
        InvalidKey: it is not.
    """
    for name in key.split("/"):
        if (
            not name.isprintable()
            or name[:1] in {"", ".", "-", "~", " "}
            or name[-1] in ". "
            or not set(name).isdisjoint('\\:*?"<>|')
            or len(name.encode()) > 200
        ):
            raise InvalidKey("this name cannot be used for a file")
    return key


def entry(key: str, size: int, content_type: str | None, **more: Any) -> dict[str, Any]:
    """What the page is told about a file."""
    if content_type is None:  # listings of object stores do not tell it
        content_type = mimetypes.guess_type(key)[0]
    path = quote(key)
    return {
        "name": key.rpartition("/")[2],
        "size": size,
        "content_type": content_type or "application/octet-stream",
        "url": f"/files/{path}",
        "preview": f"/preview/{path}" if content_type in IMAGES else None,
        **more,
    }


@routes.get("/files")
async def files(request: web.Request) -> web.StreamResponse:
    """List the files, the newest first."""
    settings = request.app[SETTINGS]
    found = [stored async for stored in request.app[STORAGE].list()]
    found.sort(key=lambda stored: stored.modified or 0, reverse=True)
    listed = [
        entry(
            stored.key,
            stored.size,
            stored.content_type,
            modified=formatdate(stored.modified, usegmt=True),
        )
        for stored in found[:MOST_LISTED]
    ]
    answer = {
        "files": listed,
        "count": len(found),
        "max_file": settings.max_file,
        "accept": sorted(settings.accept or ()),
    }
    return respond(JSON(answer), headers={"Cache-Control": "no-store"})


@routes.get("/files/{key:.+}")
async def download(request: web.Request) -> web.StreamResponse:
    """Send a file, or the ranges of it that are asked for."""
    key = request.match_info["key"]
    stored = await request.app[STORAGE].open(key)
    return respond(stored, filename=key.rpartition("/")[2], headers=UPLOAD_HEADERS)


@routes.get("/preview/{key:.+}")
async def preview(request: web.Request) -> web.StreamResponse:
    """Send an image to be shown in the page."""
    stored = await request.app[STORAGE].open(request.match_info["key"])
    if stored.content_type not in IMAGES:
        await stored.close()
        raise UnsupportedContent("there is no preview of this file")
    return respond(stored, headers=UPLOAD_HEADERS)


@routes.get("/sha256/{key:.+}")
async def sha256(request: web.Request) -> web.StreamResponse:
    """Read a file back, and tell its digest."""
    stored = await request.app[STORAGE].open(request.match_info["key"])
    async with HashStream(stored, "sha256") as hashed:
        async for _piece in hashed.iter_any():
            pass
    return respond(JSON(hashed.digests))


@routes.delete("/files/{key:.+}")
async def delete(request: web.Request) -> web.Response:
    """Remove a file."""
    key = request.match_info["key"]
    await request.app[STORAGE].stat(key)  # to delete what is not there is no error
    await request.app[STORAGE].delete(key)
    return web.Response(status=204)


# -- the proxy -----------------------------------------------------------------------


@routes.get("/proxy/{key:.+}")
async def proxied(request: web.Request) -> web.StreamResponse:
    """Pass on a file of the upstream: as fast as the client reads, and no faster."""
    upstream = request.app[SETTINGS].upstream or own_address(request) / "files"
    url = upstream.joinpath(*checked(request.match_info["key"]).split("/"))
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
