"""The application, put together.

Every handler is a few lines, because every body is a stream: an upload goes into the
storage while it arrives, a download *is* the stored stream, a proxy returns the
upstream's body. None of them holds a body in memory, none of them knows whether the
storage is a folder or a bucket, and none of them answers an error: what goes wrong
with a body is a ``StreamError``, which ``setup()`` has answered as
``application/problem+json`` with the right status.

    GET    /               the page; ?q=words searches
    POST   /files          the files of a form, each under a new key; or a body that is
                           one, which may be resumed, by tus or the IETF's drafts
    PUT    /files/{key}    a body that is one file; never replaces one
    GET    /files          what is there, as JSON, or all of it as NDJSON
    GET    /files/{key}    download, with ranges, ETag and 304
    DELETE /files/{key}
    GET    /archive        several of them (?key=...&key=...) as one zip
    GET    /preview/{key}  an image, sound, video or text, to be shown
    GET    /sha256/{key}   the digest of what is stored
    GET    /events         what happens, as server-sent events
    GET    /proxy/{key}    the same file from the upstream, streamed through
    POST   /api/summary    {"values": [1, 2]} to {"count": 2, "sum": 3, ...}
    POST   /api/running    NDJSON in, NDJSON out, line by line
    GET    /direct         a page that uploads straight to the bucket, if there is one
    POST   /direct/sign    where a file is to be sent
    POST   /direct/confirm what was sent there is a file now

Only public names of aiostreams are used, in this module and in all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from aiostreams import ObjectStorage, compression_middleware, setup
from example_app import (
    direct,
    downloads,
    events,
    listing,
    numbers,
    pages,
    relay,
    resumable,
    security,
    uploads,
)
from example_app.settings import SETTINGS, Settings

if TYPE_CHECKING:
    import socket

    from aiostreams import Storage

__all__ = ["Settings", "create_app"]

AREAS = (pages, uploads, listing, downloads, events, relay, numbers)


def create_app(
    storage: Storage, settings: Settings, *, channel: socket.socket | None = None
) -> web.Application:
    """Make the application.

    Args:
        storage: where files are kept; closed with the application.
        settings: what the flags say.
        channel: to the other workers, when there are some; see ``workers.py``.
    """
    app = web.Application(middlewares=security.middlewares)
    app[SETTINGS] = settings
    for area in AREAS:
        app.add_routes(area.routes)
    if isinstance(storage, ObjectStorage):
        app.add_routes(direct.routes)
    events.install(app, channel)
    relay.install(app)
    resumable.install(app)
    app.on_response_prepare.append(security.add_headers)
    # Compression last, so that it stands outermost: it has to see the errors that
    # became pages.
    setup(app, limits=settings.limits, storage=storage, compression=None)
    app.middlewares.insert(0, pages.errors_as_pages)
    app.middlewares.insert(0, compression_middleware())
    return app
