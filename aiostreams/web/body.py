"""What aiostreams knows of one request: its limits, its stream, what it opened.

A ``RequestBody`` hangs on the request under a typed key. It is made by the
middleware, or by the first helper that needs it. All helpers of a request share it,
so the body is opened once, counted once, and closed once.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from aiohttp import hdrs, web

from aiostreams.errors import LengthRequired, LimitExceeded, UnsupportedContent
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.streams.codecs import supported_codings
from aiostreams.streams.decoding import DecodedStream
from aiostreams.streams.http import is_decoded
from aiostreams.streams.memory import ByteStream
from aiostreams.web.digests import verified
from aiostreams.web.wire import WireStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiostreams.content.multipart import MultiPart
    from aiostreams.streams.base import Stream
    from aiostreams.web.tally import Tally

__all__ = [
    "APP_LIMITS",
    "RequestBody",
    "body_of",
    "limit",
    "limits_of",
    "offer",
    "tally_of",
]

_logger = logging.getLogger("aiostreams.web")

APP_LIMITS: Final = web.AppKey("aiostreams.limits", Limits)
_OVERRIDES: Final = "__aiostreams_limits__"
_Handler = TypeVar("_Handler")


class _Offer(Protocol):
    """A response that holds something open until it is sent or discarded."""

    async def discard(self) -> None: ...


class RequestBody:
    """The body of one request.

    Attributes:
        limits: the ceilings that hold for it.
        remembered: the whole body, once ``read_bytes`` has read it.
        form: the form in it, once ``read_form`` has.
        expecting: whether the client waits to be asked for its body.
        tally: what is counted of the request, if anything is.
    """

    __slots__ = (
        "_closers",
        "_offered",
        "_stream",
        "_weak_request",
        "_wire",
        "expecting",
        "form",
        "limits",
        "remembered",
        "tally",
    )

    def __init__(self, request: web.BaseRequest, limits: Limits) -> None:
        self.limits: Limits = limits
        self.remembered: bytes | None = None
        self.form: MultiPart | None = None
        self.expecting: bool = False
        self.tally: Tally | None = None
        # Weakly, since the request has this object: in a circle, all that was read
        # of its body would wait for the garbage collector, which took 40 us of the
        # 121 us for a small form.
        self._weak_request = weakref.ref(request)
        self._stream: Stream | None = None
        self._wire: WireStream | None = None
        self._closers: list[Callable[[], Awaitable[object]]] = []
        self._offered: list[_Offer] = []

    @property
    def _request(self) -> web.BaseRequest:
        request = self._weak_request()
        assert request is not None
        return request

    def refuse_declared(self) -> None:
        """Refuse a body that is too large by its own account, before reading.

        Raises:
            LimitExceeded: Content-Length is above ``max_body``.
            LengthRequired: there is none, and the route requires one.
        """
        request = self._request
        declared = request.content_length
        if declared is None:
            if self.limits.require_length and hdrs.TRANSFER_ENCODING in request.headers:
                raise LengthRequired("the body needs a Content-Length")
        elif declared > self.limits.max_body:
            raise LimitExceeded(
                f"the body has {declared} bytes, limit {self.limits.max_body}",
                limit=self.limits.max_body,
                seen=declared,
            )

    @property
    def stream(self) -> Stream:
        """The decoded, limited body; the same object every time."""
        if self._stream is None:
            if self.remembered is None:
                self._stream = self._decoded(self.open_encoded())
            else:
                self._stream = self._again(self.remembered)
        return self._stream

    @property
    def source(self) -> Stream:
        """What a helper reads: the stream, or what is remembered from its beginning.

        Raises:
            RuntimeError: ``read_form`` has read it, and nobody remembers its bytes.
        """
        if self.form is not None and self.remembered is None:
            # Not the client's mistake, for which a stream at its end would pass.
            raise RuntimeError(
                "read_form() has read this body: call read_bytes() before it, "
                "which keeps the bytes for every helper"
            )
        stream = self.stream
        if self.remembered is None or not (stream.closed or stream.position):
            return stream
        return self._again(self.remembered)

    def _again(self, data: bytes) -> Stream:
        content_type = self._request.headers.get(hdrs.CONTENT_TYPE)
        return ByteStream(data, content_type=content_type)

    def open_encoded(self) -> Stream:
        """The body as it comes, limited; instead of :attr:`stream`, not beside it."""
        self.refuse_declared()
        self._wire = WireStream(self._request, self.limits, expecting=self.expecting)
        return self._wire

    def _decoded(self, wire: Stream) -> Stream:
        """The body, held to its digests, with its content codings undone.

        Raises:
            UnsupportedContent: there is no undoing them.
            MalformedBody: a digest field cannot be read.
        """
        headers = self._request.headers
        codings = headers.getall(hdrs.CONTENT_ENCODING, ())
        if is_decoded(self._request.content):
            # The bytes that a digest is of are gone.
            _warn_once()
            if len(codings) > 1:
                # Several lines are one list, of which aiohttp undoes one member.
                raise UnsupportedContent(
                    f"{len(codings)} lines of Content-Encoding, 1 is decoded",
                    accept_encoding=", ".join(supported_codings()),
                )
            return wire
        wire = verified(wire, headers)
        if not codings:
            return wire
        decoded = DecodedStream(wire, ", ".join(codings), limits=self.limits)
        if self.tally is not None:
            self.tally.decoded = decoded
        return decoded

    @property
    def waited(self) -> float:
        """How long reading it waited for the client, in seconds."""
        return 0.0 if self._wire is None else self._wire.waited

    @property
    def unasked(self) -> bool:
        """Whether the client still waits to be asked for its body."""
        return self.expecting and (self._wire is None or self._wire.expecting)

    @property
    def idle(self) -> bool:
        """Whether nothing was opened, so that there is nothing to close."""
        return self._stream is None and not self._closers and not self._offered

    @property
    def settled(self) -> bool:
        """Whether nothing was opened, and the client does not wait to be asked."""
        return not (
            self.expecting or self._stream is not None or self._closers or self._offered
        )

    def forget(self) -> None:
        """Let go of what was read; the request may live as long as its connection."""
        self.remembered = self.form = None

    def closing(self, closer: Callable[[], Awaitable[object]]) -> None:
        """Have ``closer`` awaited at the end of the request, whatever happens."""
        self._closers.append(closer)

    def offer(self, response: _Offer) -> None:
        """Have ``response``, which is open, discarded unless it is chosen."""
        self._offered.append(response)

    def choose(self, response: object) -> None:
        """It is ``response`` that is sent; those it replaces are not."""
        offered, self._offered = self._offered, []
        # It may have been made of them: they are closed when it has been sent.
        self._closers += [other.discard for other in offered if other is not response]

    async def close(self) -> None:
        """Close everything that was opened, last one first; errors are logged.

        Also when it is cancelled meanwhile, which is raised afterwards.
        """
        self.choose(None)
        closers, self._closers = self._closers, []
        stream, self._stream = self._stream, None
        if stream is not None:
            closers.insert(0, stream.close)
        self.forget()
        cancelled: asyncio.CancelledError | None = None
        while closers:
            try:
                await closers.pop()()
            except asyncio.CancelledError as error:
                cancelled = error
            except Exception:
                _logger.exception("closing what the request opened failed")
        if cancelled is not None:
            raise cancelled


@functools.cache
def _warn_once() -> None:
    _logger.warning(
        "aiohttp undoes content codings in its parser, where a body that is cut short "
        "or corrupt passes for a whole one, and no digest can be verified: run the "
        "application by aiostreams.run_app(), or AppRunner(app, auto_decompress=False)"
    )


def body_of(request: web.BaseRequest, limits: Limits | None = None) -> RequestBody:
    """The state of this request, made now if need be.

    Args:
        request: whose body.
        limits: of the middleware that asks, in place of the application's.
    """
    try:
        body = request[_BODY]  # get() takes as long again
    except KeyError:
        body = request[_BODY] = RequestBody(request, _limits_for(request, limits))
        return body
    if limits is not None:
        body.limits = _limits_for(request, limits)
    return body


_BODY: Final = web.RequestKey("aiostreams.body", RequestBody)


def tally_of(request: web.BaseRequest) -> Tally | None:
    """What is counted of ``request``, if anything is."""
    body = request.get(_BODY)
    return None if body is None else body.tally


def offer(request: web.BaseRequest, response: _Offer) -> None:
    """As :meth:`RequestBody.offer`, if there is somebody to close it in the end."""
    body = request.get(_BODY)
    if body is not None:
        body.offer(response)


def limits_of(request: web.BaseRequest) -> Limits:
    """The ceilings that hold for this request.

    For streams that ask for some, such as ``GUnzipStream(part, limits=...)``. They
    are those of ``@limit`` on the handler, upon those of ``stream_middleware``, else
    of the innermost application that was set up, else the defaults.
    """
    return body_of(request).limits


def _limits_for(request: web.BaseRequest, base: Limits | None) -> Limits:
    """The route's ceilings upon ``base``, or upon those of the application."""
    if not isinstance(request, web.Request):
        return base or DEFAULT_LIMITS
    match = request.match_info
    if base is None:
        base = DEFAULT_LIMITS
        # Not config_dict, in which the middleware of a parent finds only its own.
        for app in match.apps:
            base = app.get(APP_LIMITS, base)
    handler: Any = match.handler
    if not isinstance(handler, type):
        overrides = getattr(handler, _OVERRIDES, None)
        return base if overrides is None else base.replace(**overrides)
    # A class-based view: its method may say more.
    method = getattr(handler, request.method.lower(), None)
    overrides = {**getattr(handler, _OVERRIDES, {}), **getattr(method, _OVERRIDES, {})}
    return base.replace(**overrides) if overrides else base


def limit(**ceilings: Any) -> Callable[[_Handler], _Handler]:
    """Override ceilings of :class:`Limits` for one handler, or one view class.

        @limit(max_body=10 * MiB, max_parts=3)
        async def avatar(request): ...

    What is not named is as the application has it. A method of a view class may
    override what its class says.

    Args:
        ceilings: fields of :class:`Limits`, in the same units.

    Raises:
        TypeError: a name is not a ceiling, or a value not a number.
        ValueError: a value is negative.
    """
    Limits(**ceilings)

    def mark(handler: _Handler) -> _Handler:
        earlier = getattr(handler, _OVERRIDES, {})
        setattr(handler, _OVERRIDES, {**earlier, **ceilings})
        return handler

    return mark
