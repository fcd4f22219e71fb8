"""The middleware: values to responses, errors to statuses, everything closed.

It has two halves. The outer one is a middleware like others. It puts the inner one
around the handler, inside all other middlewares, whichever application they are of and
whenever they were registered.
"""

from __future__ import annotations

import asyncio
import functools
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, Payload, hdrs, web

from aiostreams.content.base import Content
from aiostreams.errors import ClientGone, StreamError
from aiostreams.web.compression.coding import may_refuse
from aiostreams.web.compression.middleware import (
    encode_later,
    is_uncompressed,
    may_encode,
)
from aiostreams.web.errors import error_response
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream
from aiostreams.web.respond import response_of
from aiostreams.web.response import (
    BodyResponse,
    MemoryResponse,
    begin_reading,
    make_response,
    sends_body,
)
from aiostreams.web.response_headers import (
    before_head,
    drop_framing,
    drop_length,
    frames_nothing,
    promised_length,
)
from aiostreams.web.state import body_of, limits_for, new_body, state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp.typedefs import Handler, Middleware
    from multidict import CIMultiDict

    from aiostreams.limits import Limits
    from aiostreams.web.compression.config import Compression
    from aiostreams.web.state import RequestState

__all__ = ["inner_half", "outer_half", "stream_middleware"]


def stream_middleware(*, limits: Limits | None = None) -> Middleware:
    """Bodies in and out as streams, for one application.

    * A body whose Content-Length exceeds ``max_body`` is refused before the handler.
    * A handler may return a ``Content`` or a ``Stream``.
    * A ``StreamError`` becomes the ``HTTPException`` of its status, with a problem
      document (RFC 9457) or plain text for a body; the error is its ``__cause__``.
    * What was opened during a request is closed at its end: after the response was
      sent, since that may still read from it.

    All but the last of these is done innermost, inside of every other middleware, those
    of sub-applications too: they see a ``StreamResponse``, or an ``HTTPException``. An
    error that one of them raises itself is answered outside.

    Args:
        limits: the limits; those of ``setup``, or the defaults, unless given.
            ``@limit`` on a handler overrides them.
    """
    return outer_half(limits)


def outer_half(
    limits: Limits | None = None,
    compression: Compression | None = None,
    *,
    etags: bool = True,
) -> Middleware:
    """Make the middleware of :func:`stream_middleware`, which may compress as well."""
    known: dict[tuple[web.AbstractRoute, str], _Settings] = {}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        match_info = request.match_info
        settings = known.get((match_info.route, request.method))
        if settings is None:
            settings = _find_settings(request, limits, compression, known)
        ceilings, encoding, signalled = settings
        body = state_of(request)
        if body is None:
            body = new_body(request, ceilings)
        elif limits is not None:
            body.limits = ceilings
        body.managed = True
        if encoding is not None:
            body.compression = encoding
        if not etags:
            body.etags = False
        try:
            if match_info.http_exception is not None:
                response = await handler(request)  # no route: something raises that
            elif handler is match_info.handler:
                # No other middleware. Its error is answered below: one coroutine less.
                response = await _call(handler, request, body)
            else:
                response = await _with_inner_half(handler, request)(request)
            if type(response) is web.Response:
                if (
                    not signalled
                    and _is_usual(response, request, body.compression)
                    and body.forget_unopened()
                ):
                    return response  # as most do: nothing was opened
                await _finish(response, request)
            else:
                if isinstance(response, Content):
                    response = make_response(response)  # without a coroutine
                # What a middleware has returned may yet have to be made one, too.
                if type(response) is not MemoryResponse:
                    response = await response_of(response, request)
                if type(response) is MemoryResponse:
                    if response.at_hand and body.forget_unopened():
                        return response
                elif isinstance(response, web.StreamResponse):
                    await _finish(response, request)
        except StreamError as error:
            await body.close()
            answer = error_response(error, request)
            _close_if_awaiting(answer, body)
            if isinstance(answer, web.HTTPException):
                await _finish(answer, request)
                raise answer from error
            return answer
        except BaseException as error:
            _close_if_awaiting(error, body)
            await body.close()
            if isinstance(error, web.HTTPException):
                await _finish(error, request)
            raise
        if _is_at_hand(response) and body.forget_unopened():
            return response
        _close_if_awaiting(response, body)
        await _close_after(response, request, body)
        return response

    return middleware


# What holds for a route: the ceilings, how responses are compressed, if they are, and
# whether a signal sees these before they begin.
_Settings: TypeAlias = "tuple[Limits, Compression | None, bool]"
_MOST_KNOWN: Final = 4096


def _find_settings(
    request: web.Request,
    limits: Limits | None,
    compression: Compression | None,
    known: dict[tuple[web.AbstractRoute, str], _Settings],
) -> _Settings:
    """Find the settings of the route of ``request``: once, if there is one.

    By now the application is frozen, and the marks of its handlers are made.
    """
    match_info, method = request.match_info, request.method
    off = compression is None or is_uncompressed(request)
    settings = (
        limits_for(request, limits),
        None if off else compression,
        any(app.on_response_prepare for app in match_info.apps),
    )
    # An error has a route of its own, and methods are made up by anybody.
    lasting = match_info.http_exception is None and method in hdrs.METH_ALL
    if lasting and len(known) < _MOST_KNOWN:
        known[match_info.route, method] = settings
    return settings


@web.middleware
async def inner_half(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make a response of what a handler returns, or an ``HTTPException`` of its error.

    Raises:
        web.HTTPException: of the status of a ``StreamError``, from it.
        ClientGone: there is no client to answer.
        StreamError: it is too late to answer.
    """
    try:
        result = await _call(handler, request, body_of(request))
        if type(result) is web.Response:
            return result  # asking an ABC about it takes 0.2 us each time
        return await response_of(result, request)
    except StreamError as error:
        if isinstance(error, ClientGone) or request.writer.output_size:
            raise
        answer = error_response(error, request)
        assert isinstance(answer, web.HTTPException)
        raise answer from error


def _call(handler: Handler, request: web.Request, body: RequestState) -> Awaitable[Any]:
    """Call the handler of the route, if the body may be as long as it says.

    What comes of it may be other than a response: a value, which aiohttp's type of a
    handler does not know.

    Raises:
        StreamError: of :meth:`RequestState.refuse_declared`.
    """
    if body.reader is not EMPTY_PAYLOAD:
        body.refuse_declared()
    called = handler(request)
    if type(called) is not CoroutineType and isinstance(called, web.View):
        return _dispatch(called)
    return called


_CHAIN: Final = "__aiostreams_chain__"


def _with_inner_half(handler: Handler, request: web.Request) -> Handler:
    """Put the inner half around the request's handler, inside all middlewares.

    aiohttp calls a middleware with a ``functools.partial`` of the next one, whose
    keyword ``handler`` is the one after that, and so on through all applications down
    to the handler of the route. It makes that chain once a route; so it is remade
    here, and kept on what it is remade from.
    """
    known: tuple[int, Handler] | None = getattr(handler, _CHAIN, None)
    # update_wrapper copies attributes, so one may be of a chain further inside.
    if known is not None and known[0] == id(handler):
        return known[1]
    chain = _remade(handler, request.match_info.handler)
    if isinstance(handler, functools.partial):
        setattr(handler, _CHAIN, (id(handler), chain))
    return chain


def _remade(handler: Any, last: object) -> Handler:
    if (
        handler is last
        or not isinstance(handler, functools.partial)
        or "handler" not in handler.keywords
    ):
        chain = functools.partial(inner_half, handler=handler)
        return functools.update_wrapper(chain, handler)
    if handler.func is inner_half:
        return handler
    inner = _remade(handler.keywords["handler"], last)
    keywords = {**handler.keywords, "handler": inner}
    return functools.update_wrapper(
        functools.partial(handler.func, *handler.args, **keywords), inner
    )


async def _dispatch(view: web.View) -> Any:
    """Return what the method of a view returns: aiohttp asserts a response.

    One that does not fit, or that dispatches in a way of its own, is left to itself.
    """
    name = view.request.method
    known = name in hdrs.METH_ALL or name == "QUERY"
    method = getattr(view, name.lower(), None) if known else None
    if method is None or type(view)._iter is not web.View._iter:  # noqa: SLF001
        return await view
    return await method()


def _close_if_awaiting(answer: object, body: RequestState) -> None:
    """Close the connection after ``answer`` if the client waits to be asked.

    It is unknown whether it sends its body now; what comes next could be taken for it.
    """
    if body.awaits_continue and isinstance(answer, web.StreamResponse):
        answer.force_close()


def _is_usual(
    response: web.Response, request: web.Request, compression: Compression | None
) -> bool:
    """Whether nothing is to be done to one of aiohttp's own responses.

    Most are a few bytes that need no coding, with fields that say nothing of the
    framing; and there is no signal that could.
    """
    content = response.body
    if type(content) is not bytes or response.prepared:
        return False
    headers = response.headers
    if not (
        (len(headers) == 1 and hdrs.CONTENT_TYPE in headers) or frames_nothing(headers)
    ):
        return False
    return compression is None or not (
        len(content) >= compression.minimum_size
        or response.status == 304
        or may_refuse(request)
    )


async def _finish(response: web.StreamResponse, request: web.Request) -> None:
    """Do to one of aiohttp's own responses what ours do when they are sent."""
    # The exact type first: asking an ABC takes 0.2 us each time.
    if type(response) is not web.Response and isinstance(response, BodyResponse):
        return
    _keep_framing(response, request)
    body = response.body if isinstance(response, web.Response) else None
    if (
        type(body) is not bytes
        and isinstance(body, StreamPayload)
        and sends_body(request, response)
    ):
        await begin_reading(body.stream, response.content_length or body.size)
    if may_encode(request, response):
        await encode_later(request, response)


def _keep_framing(response: web.StreamResponse, request: web.Request) -> None:
    """Hold one of aiohttp's own responses to what ours hold themselves to.

    What frames it is as long as it says, whatever a handler, a middleware or a signal
    says in header fields; see ``BodyResponse``.
    """
    if response.prepared:
        if (
            request.writer.length
            and not isinstance(response, web.Response)
            and request.method != "HEAD"
        ):
            # Written by hand, and something of the promised length is missing.
            response.force_close()
        return
    headers = response.headers
    if drop_framing(headers, response.status):
        response.force_close()
    if hdrs.CONTENT_LENGTH in headers:
        if isinstance(response, web.Response):
            _keep_length(response)
        elif isinstance(response, web.FileResponse):
            drop_length(headers)  # it has its own, but not for a 416
    for app in request.match_info.apps:
        if app.on_response_prepare:
            given = headers.get(hdrs.CONTENT_LENGTH)
            before_head(
                request, functools.partial(_keep_framing_of, response, request, given)
            )
            break


def _keep_length(response: web.Response) -> None:
    body = response.body
    size = body.size if isinstance(body, Payload) else len(body or b"")
    if size is None and not response.chunked:
        # aiohttp does not notice when there is less of it.
        assert isinstance(body, Payload)
        if not isinstance(body, StreamPayload):
            response.body = StreamPayload(PayloadStream(body))
    if body is not None or response.status not in {204, 304}:
        promised_length(response.headers, size)


async def _keep_framing_of(
    response: web.StreamResponse,
    request: web.Request,
    given: str | None,
    fields: CIMultiDict[str],
) -> None:
    """Keep its framing after the signals, which may have said more than aiohttp."""
    headers, writer, status = response.headers, request.writer, response.status
    if headers is not fields or response.compression or status in {101, 426}:
        return
    empty = request.method == "HEAD" or status < 200 or status in {204, 304}
    own = {}
    if not empty and writer.length is None and request.version >= HttpVersion11:
        own[hdrs.TRANSFER_ENCODING] = "chunked"
    if (said := headers.get(hdrs.CONNECTION, "").lower()) in {"close", "keep-alive"}:
        own[hdrs.CONNECTION] = said
    for name, value in own.items():
        if headers.get(name) == value:
            del headers[name]
    drop_framing(headers, status)
    headers.update(own)
    if said == "close":
        response.force_close()
    if not isinstance(response, web.Response):
        length = writer.length
    else:
        body = response.body
        length = writer.length if isinstance(body, Payload) else len(body or b"")
    if hdrs.TRANSFER_ENCODING in own:
        drop_length(headers)
    elif status in {204, 304}:
        if headers.get(hdrs.CONTENT_LENGTH) != given:
            drop_length(headers, 0)
    else:
        length = promised_length(headers, length)
        if length is not None and (length or not empty):
            writer.length = length
            headers[hdrs.CONTENT_LENGTH] = str(length)


def _is_at_hand(response: web.StreamResponse) -> bool:
    if type(response) is MemoryResponse:
        return response.at_hand
    if type(response) is not web.Response:
        return False
    body = response.body
    return type(body) is bytes or body is None


async def _close_after(
    response: web.StreamResponse, request: web.Request, body: RequestState
) -> None:
    """Close what the request opened, now or when the response has been sent."""
    body.keep_only(response)
    streamed: BodyResponse | StreamPayload | None = None
    if isinstance(response, BodyResponse):
        streamed = response
    elif isinstance(response, web.Response) and isinstance(response.body, Payload):
        if request.method == "HEAD" or response.status in {204, 304}:
            # aiohttp closes a payload that it has written; this one it will not.
            await response.body.close()
        elif isinstance(response.body, StreamPayload):
            streamed = response.body
        elif not body.idle:
            # A generator, say, that reads the request while it is sent. Only a
            # stream tells when it is done.
            response.body = streamed = StreamPayload(PayloadStream(response.body))
    if streamed is None or body.idle:
        await body.close()
        return
    # A response that is never sent, since somebody outside answers otherwise, is
    # found out at the latest when the connection ends.
    connection = request.task
    leftovers = _Leftovers(body)
    connection.add_done_callback(leftovers)

    async def close() -> None:
        connection.remove_done_callback(leftovers)
        await body.close()

    streamed.call_on_close(close)


class _Leftovers:
    """Closes a body from a callback."""

    def __init__(self, body: RequestState) -> None:
        self._body = body
        self._closing: asyncio.Task[None] | None = None

    def __call__(self, _connection: asyncio.Task[None]) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._body.close())
