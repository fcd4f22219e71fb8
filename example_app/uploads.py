"""Bodies in: forms, and bodies that are one file.

``receive`` does what is hard: files go into the storage while they arrive, are told
by their first bytes, hashed on the way, held to the limits; and should anything fail,
the connection included, nothing of the request remains.
"""

from __future__ import annotations

import functools
import secrets
import time
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from aiostreams import (
    JSON,
    ClientGone,
    InvalidContent,
    InvalidKey,
    KiB,
    LimitExceeded,
    StreamError,
    expect_continue,
    receive,
    respond,
    storage_of,
    upload_of,
)
from example_app.events import EVENTS
from example_app.listing import entry
from example_app.media import shown_path, size_in_words
from example_app.pages import wants_page
from example_app.settings import SETTINGS, STAGED

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from aiostreams import IncomingFile, Storage

__all__ = ["bytes_kept", "checked", "room_left", "routes", "telling", "upload"]

routes = web.RouteTableDef()


def telling(handler: Handler) -> Handler:
    """Tell everybody what is refused, and what breaks off."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (StreamError, web.HTTPException) as answer:
            # Those of a resumable upload are answers already.
            error = answer if isinstance(answer, StreamError) else answer.__cause__
            if isinstance(error, StreamError):
                tell(request, error)
            raise

    return wrapper


def tell(request: web.Request, error: StreamError) -> None:
    """Tell everybody that an upload has failed."""
    events = request.app[EVENTS]
    if isinstance(error, ClientGone):
        events.publish("cancelled", name=request.match_info.get("key"))
    else:
        why = str(error) if error.status < 500 else "the storage failed"
        events.publish("refused", status=error.status, detail=why[:300])


@routes.put("/files/{key:.+}", expect_handler=expect_continue)
# What `curl -T file http://host/` asks for.
@routes.put("/{key}", expect_handler=expect_continue)
@telling
async def put(request: web.Request) -> web.StreamResponse:
    """Store a body that is one file, under the key that it is sent to."""
    return await upload(request)


async def upload(request: web.Request) -> web.StreamResponse:
    """Store files while they arrive: all of them whole, or none at all.

    The handler of ``POST /files`` as well, where uploads resume: ``resumable.py``.
    """
    files, seconds = await store(request)
    for file in files:
        request.app[EVENTS].publish(
            "stored", name=file["path"], size=file["size"], seconds=seconds
        )
    if wants_page(request):
        # A form without a script: back to the page. Not raised inside of the block
        # of receive(), since an exception there means that nothing is kept.
        return web.Response(
            status=303, headers={hdrs.LOCATION: f"/?stored={len(files)}"}
        )
    headers = {"Location": files[0]["url"]} if len(files) == 1 else None
    return respond(
        JSON({"files": files, "seconds": seconds}), status=201, headers=headers
    )


async def store(request: web.Request) -> tuple[list[dict[str, Any]], float | None]:
    """Return the files of the request, described, and how many seconds they took.

    Of those that came in several requests only their client knows that.
    """
    settings = request.app[SETTINGS]
    key = checked(request.match_info["key"]) if request.method == hdrs.METH_PUT else ""
    room = None
    if settings.quota is not None:
        coming = request.content_length or 0
        room = await room_left(storage_of(request), settings.quota, coming)
    started = time.monotonic()
    async with receive(
        request,
        accept=settings.accept,
        key=(lambda _file: key) if key else new_key,
        quota=room,
    ) as received:
        stored = received.files.values()
        if not stored:
            raise InvalidContent("there is no file in this body")
    files = [
        {
            **entry(file.key, file.size, file.content_type),
            "sha256": file.digests["sha256"],
        }
        for file in stored
    ]
    seconds = round(time.monotonic() - started, 3)
    return files, None if upload_of(request) else seconds


async def room_left(storage: Storage, quota: int, coming: int) -> int:
    """How many bytes may still be stored.

    Counted anew for each upload, since other workers and other programs store and
    delete as well. Uploads that are under way are not counted: together they may go
    over the quota by what they bring.

    Raises:
        LimitExceeded: none, or fewer than are coming.
    """
    used = await bytes_kept(storage)
    left = quota - used
    # What is around the files of a form is not stored.
    if left <= 0 or coming > left + 64 * KiB:
        raise LimitExceeded(
            f"the storage has room for {size_in_words(max(0, left))} more, "
            f"of {size_in_words(quota)}",
            limit=quota,
            seen=used + coming,
        )
    return left


async def bytes_kept(storage: Storage) -> int:
    """How many bytes all files have."""
    return sum([stored.size async for stored in storage.list()])


def new_key(incoming: IncomingFile) -> str:
    """Make a key: a new folder, and in it the file's own name."""
    return f"{secrets.token_hex(8)}/{incoming.safe_filename}"


def checked(key: str) -> str:
    """Return a key that a client made up, if all of it is visible and harmless.

    The storage refuses what would be dangerous to itself; these would be awkward for
    whoever downloads them.

    Raises:
        InvalidKey: it is not.
    """
    if key.startswith(STAGED):
        raise InvalidKey("what is below this name waits to be confirmed")
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


# -- and away again --------------------------------------------------------------------


@routes.delete("/files/{key:.+}")
async def delete(request: web.Request) -> web.Response:
    """Remove a file."""
    await remove(request)
    return web.Response(status=204)


@routes.post("/delete/{key:.+}")
async def delete_by_form(request: web.Request) -> web.Response:
    """Remove a file; for forms, which know no other method."""
    await remove(request)
    return web.Response(status=303, headers={hdrs.LOCATION: "/"})


async def remove(request: web.Request) -> None:
    """Remove the file that the path names.

    Raises:
        ObjectNotFound: there is none.
    """
    key = request.match_info["key"]
    await storage_of(request).stat(key)  # to delete what is not there is no error
    await storage_of(request).delete(key)
    request.app[EVENTS].publish("deleted", name=shown_path(key))
