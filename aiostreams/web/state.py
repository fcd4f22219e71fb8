"""What aiostreams knows of one request: its limits, its stream, what it opened.

A ``RequestState`` hangs on the request under a typed key. It is made by the
middleware, or by the first helper that needs it. All helpers of a request share it,
so the body is opened once, counted once, and closed once.

The storage of an application: given to ``setup``, found again by the request.

What is counted of one request while it is under way.

A ``RequestState`` has a ``Tally`` if somebody wants the request's numbers. Without
``setup(on_stats=...)`` there is none, and all that is left is a look for it where a
body is decoded, divided, encoded or refused, which costs a thousand times as much.

Most numbers need no counting. aiohttp's reader knows what came, a stream what went
through it, a reader of parts how many there were: the tally keeps hold of those, and
``summary`` looks at them when the request is over.
"""

from __future__ import annotations

import functools
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from aiohttp import hdrs, web

from aiostreams.codings.decoded import DecodedStream
from aiostreams.codings.registry import supported_codings
from aiostreams.errors import LengthRequired, UnsupportedContent, exceeded
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.storage.base import Storage
from aiostreams.streams.http import content_type_of, is_decoded
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.tasks import PostponedCancellation
from aiostreams.web.digests import verified
from aiostreams.web.request_stream import RequestStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiostreams.errors import StreamError
    from aiostreams.multipart.multipart import MultiPart
    from aiostreams.sansio.multipart import PartCount
    from aiostreams.streams.base import Stream
    from aiostreams.web.stats.model import BodyStats

__all__ = [
    "APP_LIMITS",
    "APP_STORAGE",
    "Listener",
    "RequestState",
    "Tally",
    "body_of",
    "count_plain",
    "find_storage",
    "hold",
    "limit",
    "limits_of",
    "storage_of",
    "tally_of",
]

_logger = logging.getLogger("aiostreams.web")

APP_LIMITS: Final = web.AppKey("aiostreams.limits", Limits)
_OVERRIDES: Final = "__aiostreams_limits__"
_Handler = TypeVar("_Handler")


class _Held(Protocol):
    """A response that holds something open until it is sent or discarded."""

    async def discard(self) -> None: ...


class RequestState:
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
        "_held",
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
        self._wire: RequestStream | None = None
        self._closers: list[Callable[[], Awaitable[object]]] = []
        self._held: list[_Held] = []

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
            raise exceeded("the body", declared, self.limits.max_body, exact=True)

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
        return ByteStream(data, content_type=content_type_of(self._request.headers))

    def open_encoded(self) -> Stream:
        """The body as it comes, limited; instead of :attr:`stream`, not beside it."""
        self.refuse_declared()
        self._wire = RequestStream(self._request, self.limits, expecting=self.expecting)
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
    def awaits_continue(self) -> bool:
        """Whether the client still waits to be asked for its body."""
        return self.expecting and (self._wire is None or self._wire.expecting)

    @property
    def idle(self) -> bool:
        """Whether nothing was opened, so that there is nothing to close."""
        return self._stream is None and not self._closers and not self._held

    @property
    def needs_no_cleanup(self) -> bool:
        """Whether nothing was opened, and the client does not wait to be asked."""
        return not (
            self.expecting or self._stream is not None or self._closers or self._held
        )

    def forget(self) -> None:
        """Let go of what was read; the request may live as long as its connection."""
        self.remembered = self.form = None

    def call_on_close(self, closer: Callable[[], Awaitable[object]]) -> None:
        """Await ``closer()`` at the end of the request, whatever happens."""
        self._closers.append(closer)

    def hold(self, response: _Held) -> None:
        """Discard ``response``, which is open, unless it is the one that is sent."""
        self._held.append(response)

    def keep_only(self, response: object) -> None:
        """Send ``response``, and discard the other ones that are held."""
        held, self._held = self._held, []
        # It may have been made of them: they are closed when it has been sent.
        self._closers += [other.discard for other in held if other is not response]

    async def close(self) -> None:
        """Close everything that was opened, last one first; errors are logged.

        Also when it is cancelled meanwhile, which is raised afterwards.
        """
        self.keep_only(None)
        closers, self._closers = self._closers, []
        stream, self._stream = self._stream, None
        if stream is not None:
            closers.insert(0, stream.close)
        self.forget()
        cancellation = PostponedCancellation()
        while closers:
            with cancellation:
                try:
                    await closers.pop()()
                except Exception:
                    _logger.exception("closing what the request opened failed")
        cancellation.reraise()


@functools.cache
def _warn_once() -> None:
    _logger.warning(
        "aiohttp undoes content codings in its parser, where a body that is cut short "
        "or corrupt passes for a whole one, and no digest can be verified: run the "
        "application by aiostreams.run_app(), or AppRunner(app, auto_decompress=False)"
    )


def body_of(request: web.BaseRequest, limits: Limits | None = None) -> RequestState:
    """The state of this request, made now if need be.

    Args:
        request: whose body.
        limits: of the middleware that asks, in place of the application's.
    """
    try:
        body = request[_BODY]  # get() takes as long again
    except KeyError:
        body = request[_BODY] = RequestState(request, _limits_for(request, limits))
        return body
    if limits is not None:
        body.limits = _limits_for(request, limits)
    return body


_BODY: Final = web.RequestKey("aiostreams.body", RequestState)


def tally_of(request: web.BaseRequest) -> Tally | None:
    """What is counted of ``request``, if anything is."""
    body = request.get(_BODY)
    return None if body is None else body.tally


def count_plain(request: web.BaseRequest, size: int) -> None:
    """Count the bytes in memory that are encoded to make the response."""
    tally = tally_of(request)
    if tally is not None:
        tally.plain = size


def hold(request: web.BaseRequest, response: _Held) -> None:
    """As :meth:`RequestState.hold`, if there is somebody to close it in the end."""
    body = request.get(_BODY)
    if body is not None:
        body.hold(response)


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


APP_STORAGE: Final = web.AppKey("aiostreams.storage", Storage)


def storage_of(request: web.BaseRequest) -> Storage:
    """The storage that ``setup`` was given for the application of this request.

    Of the applications on the way to the route the innermost counts that has one.

    Raises:
        LookupError: there is none.
    """
    storage = find_storage(request)
    if storage is None:
        raise LookupError("aiostreams.setup() was given no storage")
    return storage


def find_storage(request: web.BaseRequest) -> Storage | None:
    """The same, or ``None``."""
    if not isinstance(request, web.Request):
        return None
    return request.config_dict.get(APP_STORAGE)


class Listener(Protocol):
    """Who is told about the request."""

    stopping: bool

    def report(self, stats: BodyStats, told: list[object]) -> None: ...


class Tally:
    """The counts of one request.

    Attributes:
        started: when it began, by ``time.perf_counter()``.
        listeners: who is told.
        response: the response that was begun last.
        response_started: when that was.
        raised: the class of the exception that left the application, unless it was
            an ``HTTPException``.
        gone: whether the connection was lost by then.
        answered: the error that this package answered with, or could not: its class
            and status.
        sent: bytes of the response's content that aiohttp's writer got.
        sent_file: bytes of it that the kernel sent.
        counts: what has counted the parts of the body.
        decoded: the body with its codings undone.
        plain: what is encoded to make the response: the stream, or its size.
    """

    __slots__ = (
        "answered",
        "counts",
        "decoded",
        "gone",
        "listeners",
        "plain",
        "raised",
        "response",
        "response_started",
        "sent",
        "sent_file",
        "started",
    )

    def __init__(self) -> None:
        self.started: float = time.perf_counter()
        self.listeners: list[Listener] = []
        self.response: web.StreamResponse | None = None
        self.response_started: float = 0.0
        self.raised: type[BaseException] | None = None
        self.gone: bool = False
        self.answered: tuple[type[StreamError], int] | None = None
        self.sent: int = 0
        self.sent_file: int = 0
        self.counts: tuple[PartCount, ...] = ()
        self.decoded: Stream | None = None
        self.plain: Stream | int | None = None

    def count_parts(self, count: PartCount) -> None:
        """Add what counts parts of the body to the figures of the request."""
        self.counts += (count,)

    def count_sent(self, size: int, _total: int) -> None:
        """The writer of aiohttp has taken ``size`` bytes of content."""
        self.sent += size

    async def count_chunk(self, chunk: bytes) -> None:
        """The writer of an aiohttp before 3.14.4 is about to take ``chunk``."""
        self.sent += len(chunk)
