"""``POST /files`` for uploads that go on where they were interrupted.

The handler is the one that stores forms: ``@resumable`` runs it when all bytes are
there, in whichever worker that is. ``static/resumable.js`` is the page's client, by the
IETF's protocol. Clients of tus are as welcome.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from aiostreams import expect_continue, resumable, storage_of
from example_app.events import EVENTS
from example_app.settings import SETTINGS
from example_app.uploads import room_left, telling, upload

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from aiostreams import ResumableUpload

__all__ = ["install"]


def install(app: web.Application) -> None:
    """Add the route, with the rules that the flags say."""
    settings = app[SETTINGS]
    resumed = resumable(
        max_size=settings.max_file, accept=settings.accept, on_create=check_room
    )
    handler = following(telling(resumed(upload)))
    app.router.add_post("/files", handler, expect_handler=expect_continue)


async def check_room(request: web.Request, coming: ResumableUpload) -> None:
    """Refuse an upload before its bytes arrive when there is no room for them.

    Raises:
        LimitExceeded: there is none.
    """
    quota = request.app[SETTINGS].quota
    if quota is not None:
        await room_left(storage_of(request), quota, coming.length or 0)


def following(handler: Handler) -> Handler:
    """Tell everybody what breaks off, what goes on, and what is given up."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        events, transport = request.app[EVENTS], request.transport
        if request.method == hdrs.METH_PATCH:
            if transport is None or transport.is_closing():
                events.publish("interrupted")
        elif request.method == hdrs.METH_HEAD:
            if "Upload-Offset" in response.headers:
                events.publish("resumed", size=int(response.headers["Upload-Offset"]))
        elif request.method == hdrs.METH_DELETE:
            events.publish("cancelled")
        return response

    return wrapper
