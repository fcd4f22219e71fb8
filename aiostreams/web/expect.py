"""``Expect: 100-continue``: ask for a body only when somebody is about to read it.

aiohttp runs a route's ``expect_handler`` before any middleware and offers no public
way to set it later, so it is an argument of the route:

    app.router.add_put("/files/{name}", upload, expect_handler=expect_continue)

A file of its own: applications import it as an argument of their routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from aiostreams.errors import StreamError
from aiostreams.web.errors import error_response
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

__all__ = ["expect_continue"]


async def expect_continue(request: Request) -> StreamResponse | None:
    """Let the handler decide: an ``expect_handler`` (RFC 9110 section 10.1.1).

    A body whose Content-Length exceeds ``max_body`` is refused here. Otherwise the
    handler runs, and ``100 Continue`` is sent with its first read from
    ``open_stream`` or another helper; a handler that answers without reading has
    answered before the body was sent.

    Raises:
        web.HTTPExpectationFailed: the client expects something else.
        web.HTTPRequestEntityTooLarge: Content-Length is above ``max_body``.
        web.HTTPLengthRequired: there is none, and the route requires one.
    """
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        failed = web.HTTPExpectationFailed(text="only 100-continue can be expected")
        failed.force_close()
        raise failed
    body = body_of(request)
    try:
        body.refuse_declared()
    except StreamError as error:
        answer = error_response(error, request)
        # A client that was not asked need not send its body; then its next request
        # would be taken for it.
        answer.force_close()
        # Nothing has been sent for this request, and nobody has left.
        assert isinstance(answer, web.HTTPException)
        raise answer from error
    body.expecting = True
    return None
