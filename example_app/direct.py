"""Uploads that go straight to the bucket, where files are kept in one.

The bytes do not pass through this server. It gives away where to send them, and asks
its rules when the client says that all of them are there:

    GET  /direct          the page
    POST /direct/sign     {"name", "size", "content_type"} to {"url", "method", "key",
                          "headers", "expires"}: what `signRequest` of Uppy's plugin
                          @uppy/aws-s3 has to return
    POST /direct/confirm  {"key", "name"} to what is stored, as POST /files has it

Until then a file waits under a random key, which whoever does not know it can neither
see nor confirm. What breaks a rule is removed, and what is never confirmed is swept
after a day, with what resumable uploads have left. The bucket must let this site's
pages PUT (its CORS configuration).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass
from typing import Final

from aiohttp import web
from yarl import URL

from aiostreams import (
    JSON,
    FileRule,
    GiB,
    InvalidContent,
    InvalidKey,
    KiB,
    LimitExceeded,
    StreamError,
    confirm_upload,
    direct_upload,
    limit,
    read_json,
    respond,
    storage_of,
)
from example_app.events import EVENTS
from example_app.listing import entry
from example_app.markup import Template
from example_app.media import size_in_words
from example_app.pages import page, welcome
from example_app.security import page_policy
from example_app.settings import SETTINGS, STAGED
from example_app.uploads import bytes_kept, room_left

__all__ = ["routes"]

DIRECT_PAGE = Template("direct.html")

# One request to S3 stores no more.
MOST: Final = 5 * GiB
# For how many seconds a URL is good; an upload that has begun goes on.
EXPIRES: Final = 3600

KEY: Final = re.compile(re.escape(STAGED) + "([0-9a-f]{16})[0-9a-f]{16}")

routes = web.RouteTableDef()


@dataclass
class Wanted:
    """The body of ``POST /direct/sign``: a file that is to be sent."""

    name: str
    size: int
    content_type: str = ""


@dataclass
class Sent:
    """The body of ``POST /direct/confirm``: a file that was sent."""

    key: str
    name: str


@routes.get("/direct")
async def direct_page(request: web.Request) -> web.StreamResponse:
    """Send the page, which alone may ask the bucket as well."""
    settings = request.app[SETTINGS]
    url = await storage_of(request).presign(f"{STAGED}any", "PUT", EXPIRES)
    origin = str(URL(url).origin())
    content = DIRECT_PAGE(
        origin=origin,
        accept=",".join(sorted(settings.accept or ())),
        max_file=largest(request),
        welcome=welcome(settings),
    )
    response = page("Straight to the bucket", content, script="direct.js")
    response.headers["Content-Security-Policy"] = page_policy(origin)
    return response


def largest(request: web.Request) -> int:
    """How many bytes a file may have."""
    return min(request.app[SETTINGS].max_file, MOST)


@routes.post("/direct/sign")
@limit(max_body=16 * KiB)
async def sign(request: web.Request) -> web.StreamResponse:
    """Tell where a file is to be sent."""
    wanted = await read_json(request, type=Wanted)
    if wanted.size < 0:
        raise InvalidContent(f"size must not be negative, got {wanted.size}")
    if wanted.size > largest(request):
        raise LimitExceeded(
            f"the file has {size_in_words(wanted.size)}, "
            f"and {size_in_words(largest(request))} is the most",
            limit=largest(request),
            seen=wanted.size,
        )
    storage, quota = storage_of(request), request.app[SETTINGS].quota
    if quota is not None:
        await room_left(storage, quota, wanted.size)
    key = f"{STAGED}{secrets.token_hex(16)}"
    upload = await direct_upload(
        storage,
        key,
        size=wanted.size,
        content_type=wanted.content_type or "application/octet-stream",
        expires=EXPIRES,
    )
    # Whoever has the URL can store by it: it is kept nowhere.
    headers = {"Cache-Control": "no-store"}
    return respond(JSON({"key": key, **asdict(upload)}), headers=headers)


@routes.post("/direct/confirm")
@limit(max_body=16 * KiB)
async def confirm(request: web.Request) -> web.StreamResponse:
    """Hold what was sent to the rules, and make a file of it, or nothing."""
    sent = await read_json(request, type=Sent)
    known = KEY.fullmatch(sent.key)
    if known is None:
        raise InvalidKey("this is no key of /direct/sign")
    settings, storage = request.app[SETTINGS], storage_of(request)
    most = largest(request)
    if settings.quota is not None:
        most = min(most, max(0, settings.quota - await bytes_kept(storage)))
    rule = FileRule(accept=settings.accept, max_size=most)
    # Two that confirm one upload would have one file of it: the key is the same.
    to = f"{known[1]}/{tidied(sent.name)}"
    events = request.app[EVENTS]
    try:
        file = await confirm_upload(storage, sent.key, rule, to=to)
    except StreamError as error:
        if error.status < 500:
            events.publish("refused", status=error.status, detail=str(error)[:300])
        raise
    stored = entry(file.key, file.size, file.content_type)
    events.publish("stored", name=stored["path"], size=file.size)
    headers = {"Location": stored["url"]}
    return respond(JSON({"files": [stored]}), status=201, headers=headers)


def tidied(name: str) -> str:
    """Return a name that can be part of a key, as like the given one as can be."""
    kept = re.sub(r"[^\w .()+-]", "_", name).rstrip(". ")
    return kept[-60:].lstrip(". -") or "file"
