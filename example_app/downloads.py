"""Bodies out: a download *is* the stored stream.

``respond`` answers ranges, conditions and HEAD for it, whether it is a file or an
object in a bucket; so a video can be sought in, and a download be resumed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from aiostreams import (
    JSON,
    HashStream,
    InvalidContent,
    KiB,
    Text,
    UnsupportedContent,
    Zip,
    ZipMember,
    respond,
    storage_of,
)
from example_app.events import EVENTS
from example_app.media import decode, kind_of, media_type, shown_path, size_in_words
from example_app.security import PREVIEW_HEADERS, UPLOAD_HEADERS

if TYPE_CHECKING:
    from aiostreams import Stream

__all__ = ["routes"]

# How much of a text is shown.
TEXT_SHOWN = 64 * KiB
# How many files may be in one archive.
MOST_CHOSEN = 100

routes = web.RouteTableDef()


@routes.get("/files/{key:.+}")
async def download(request: web.Request) -> web.StreamResponse:
    """Send a file, or the ranges of it that are asked for."""
    key = request.match_info["key"]
    stored = await storage_of(request).open(key)
    if request.method == hdrs.METH_GET:
        request.app[EVENTS].publish(
            "download",
            name=shown_path(key),
            size=stored.size,
            range=request.headers.get(hdrs.RANGE, "")[:60],
        )
    return respond(stored, filename=key.rpartition("/")[2], headers=UPLOAD_HEADERS)


@routes.get("/archive")
async def archive(request: web.Request) -> web.StreamResponse:
    """Send the files that were chosen, as one archive of a known length."""
    keys = dict.fromkeys(request.query.getall("key", ()))
    if not 0 < len(keys) <= MOST_CHOSEN:
        raise InvalidContent(f"choose 1 to {MOST_CHOSEN} files, not {len(keys)}")
    storage = storage_of(request)
    members: dict[str, ZipMember] = {}
    async with contextlib.AsyncExitStack() as opened:
        for number, key in enumerate(keys):
            modified = (await storage.stat(key)).modified
            stored = await storage.open(key)
            opened.push_async_callback(stored.close)
            name = shown_path(key)
            if name in members:
                name = f"{number}/{name}"
            members[name] = ZipMember(name, stored, modified=modified)
        response = respond(Zip([*members.values()]), headers=UPLOAD_HEADERS)
        opened.pop_all()  # it is the archive that closes them now
    if request.method == hdrs.METH_GET:
        request.app[EVENTS].publish("download", name=f"{len(members)} files")
    return response


@routes.get("/preview/{key:.+}")
async def preview(request: web.Request) -> web.StreamResponse:
    """Send what is to be shown: pictures, sounds, videos; of a text the beginning."""
    key = request.match_info["key"]
    stored = await storage_of(request).open(key)
    content_type = media_type(key, stored.content_type)
    kind = kind_of(content_type)
    if kind is None:
        await stored.close()
        raise UnsupportedContent("there is no preview of this kind of file")
    if kind == "text":
        text = await beginning(stored, content_type)
        return respond(Text(text), headers=PREVIEW_HEADERS)
    headers = {**PREVIEW_HEADERS, hdrs.CONTENT_TYPE: content_type}
    return respond(stored, headers=headers)


async def beginning(stored: Stream, content_type: str) -> str:
    """Return the first KiB of a text, and a line about the rest."""
    async with stored:
        text = decode(await stored.read(TEXT_SHOWN), content_type)
    size = stored.size or 0
    if size > TEXT_SHOWN:
        shown, whole = size_in_words(TEXT_SHOWN), size_in_words(size)
        text += f"\n\n[the first {shown} of {whole}]\n"
    return text


@routes.get("/sha256/{key:.+}")
async def sha256(request: web.Request) -> web.StreamResponse:
    """Read a file back, and tell its digest."""
    stored = await storage_of(request).open(request.match_info["key"])
    async with HashStream(stored, "sha256") as hashed:
        async for _piece in hashed.iter_any():
            pass
    return respond(JSON(hashed.digests))
