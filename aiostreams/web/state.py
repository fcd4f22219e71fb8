"""The state of one request: its limits, its stream, what it opened.

A ``RequestState`` hangs on the request under a typed key. It is made by the
middleware, or by the first helper that needs it. All helpers of a request share it,
so the body is opened once, counted once, and closed once.

The storage that ``setup`` was given for an application is found here by its requests,
and so are the endless responses of the application, which its shutdown ends.

A ``RequestState`` has a ``Tally``, its counts while it is under way, if there are
callbacks for statistics. Without
``setup(on_stats=...)`` there is none, and all that is left is a look for it where a
body is decoded, divided, encoded or refused, which costs a thousand times as much.

Most numbers need no counting. aiohttp's reader knows what came, a stream what went
through it, a reader of parts how many there were: the tally keeps hold of those, and
``summary`` looks at them when the request is over.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from aiohttp import EMPTY_PAYLOAD, StreamReader, hdrs, web

from aiostreams.codings.decoded import DecodedStream
from aiostreams.codings.registry import supported_codings
from aiostreams.errors import (
    LengthRequired,
    MalformedBody,
    UnsupportedContent,
    exceeded,
)
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.storage.base import Storage
from aiostreams.streams.base import Stream
from aiostreams.streams.http import content_type_of, is_decoded
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.tasks import PostponedCancellation
from aiostreams.streams.transforms import LimitStream, Transform
from aiostreams.web.digests import CONTENT_DIGEST, REPR_DIGEST, verified
from aiostreams.web.marks import mark, mark_of
from aiostreams.web.request_reader import CONTENT, RequestReader
from aiostreams.web.request_stream import RequestStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiostreams.multipart.multipart import MultiPart
    from aiostreams.resumable.state import ResumableUpload
    from aiostreams.sansio.multipart import PartCount
    from aiostreams.web.compression.config import Compression
    from aiostreams.web.stats.model import BodyStats, UploadStats

__all__ = [
    "APP_LIMITS",
    "APP_STORAGE",
    "APP_SUBSCRIPTIONS",
    "UPLOADS",
    "Listener",
    "Recorder",
    "RequestState",
    "Subscriptions",
    "Tally",
    "body_of",
    "compression_of",
    "count_plain",
    "find_storage",
    "gives_etags",
    "hold",
    "limit",
    "limits_for",
    "limits_of",
    "new_body",
    "state_of",
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
        limits: the limits that hold for it.
        reader: aiohttp's reader of it, which the parser feeds.
        taken: the call that reads it, or has read it; ``None`` before any did.
        remembered: the body, if its bytes are in memory.
        form: the form in it, once ``read_form`` has.
        expecting: whether the client waits to be asked for its body.
        managed: whether the middleware is around the handler.
        tally: what is counted of the request, if anything is.
        compression: how its response is compressed, if it is.
        etags: whether responses in memory are given an entity tag.
        upload: the resumable upload that the request completes, if it does.
        rerun: whether its handler was begun before, by a process that was killed.
    """

    # Most requests need none of this, so what is not set here stands in the class.
    taken: str | None = None
    remembered: bytes | None = None
    form: MultiPart | None = None
    expecting: bool = False
    managed: bool = False
    tally: Tally | None = None
    compression: Compression | None = None
    etags: bool = True
    upload: ResumableUpload | None = None
    rerun: bool = False
    # Read in place of what arrives.
    _given: Stream | None = None
    _stream: Stream | None = None
    _wire: RequestStream | None = None
    _wraps: tuple[Callable[[Stream], Stream], ...] = ()
    # What stands below the stream and is not sure to be closed with it.
    _below: tuple[Stream, ...] = ()
    # What has passed of it, while somebody parses it.
    _recorder: Recorder | None = None
    # Makes a stream of all its bytes, once keep_body() has them.
    _replay: Callable[[], Stream] | None = None
    _closers: tuple[Callable[[], Awaitable[object]], ...] = ()
    _held: tuple[_Held, ...] = ()
    _weak_request: weakref.ref[web.BaseRequest] | None = None

    def __init__(self, request: web.BaseRequest, limits: Limits) -> None:
        self.limits: Limits = limits
        self.reader: StreamReader = _feed(request, self)

    def belong(self, request: web.BaseRequest) -> None:
        """Hold ``request``, or its clone, as that of the body, unless one is held.

        Weakly, since the request has this object: in a circle, all that was read of
        its body would wait for the garbage collector, which took 40 us of the 121 us
        for a small form.
        """
        if self._weak_request is None or self._weak_request() is None:
            self._weak_request = weakref.ref(request)

    @property
    def _request(self) -> web.BaseRequest:
        request = None if self._weak_request is None else self._weak_request()
        assert request is not None
        return request

    def refuse_declared(self) -> None:
        """Refuse a body whose Content-Length exceeds ``max_body``, before reading.

        The content of a resumable upload is held to other limits, by its handler.

        Raises:
            LimitExceeded: Content-Length is above ``max_body``.
            LengthRequired: there is none, and the route requires one.
        """
        request = self._request
        declared = request.content_length
        if declared is None:
            if self.limits.require_length and hdrs.TRANSFER_ENCODING in request.headers:
                raise LengthRequired("the body needs a Content-Length")
        elif declared > self.limits.max_body and not (
            self._given is None and _appends(request)
        ):
            raise exceeded("the body", declared, self.limits.max_body, exact=True)

    # -- who reads the body --------------------------------------------------------

    @property
    def stream(self) -> Stream:
        """The decoded, limited, wrapped body; the same object every time.

        Raises:
            RuntimeError: another call has read the body, and its bytes are gone.
            StreamError: as :func:`open_stream`.
        """
        stream = self._stream
        if stream is None:
            return self._open(_OPEN_STREAM)
        if not stream.position:
            self.taken = None
        elif self.taken is not None and stream.ended:
            self._rewind()
            if not self.kept:
                raise self._gone(_OPEN_STREAM)
        return stream

    def source(self, call: str, *, record: bool = False, whole: bool = False) -> Stream:
        """Return what ``call`` reads: the body from its start, or what is left of it.

        What is left is for those who go on where ``open_stream`` or
        ``request.content`` was read from; whoever parses a body begins with it.

        Args:
            call: what errors name the reader, as ``"read_form()"``.
            record: whether the bytes, if they are few, are to be had again when
                ``call`` has read them.
            whole: whether what is left of a body will not do.

        Raises:
            RuntimeError: another call has read the body, and its bytes are gone.
            StreamError: as :func:`open_stream`.
        """
        stream = self._stream
        if stream is None:
            stream = self._open(call)
        if stream.position or stream.closed:
            self._rewind()
        again = self.again()
        if again is not None:
            return again
        if stream.position or stream.closed:
            if whole:
                raise self._gone(call)
            return self._rest(stream, call)
        self.taken = call
        if record and self._is_small(stream):
            stream = self._recorder = Recorder(stream, self.limits.max_memory)
        return stream

    def _rest(self, stream: Stream, call: str) -> Stream:
        """Return what is left of ``stream``, for one who may have it."""
        if call == self.taken == _READ_BYTES:
            return stream  # of what was left, nothing is
        if self.taken not in _IN_PIECES or stream.ended or stream.closed:
            raise self._gone(call)
        if call != CONTENT:
            self.taken = call
        return stream

    def take_arrived(self, call: str, ceiling: int) -> bytes | None:
        """Return the whole body if it is here, untouched, of at most ``ceiling`` bytes.

        Most forms and documents fit into a packet or two and are here in full before
        a handler runs. Then there is nothing to wait for, no pace to keep and no
        stream to open: 20 us of 40 for a small form. In every other case the answer
        is ``None``, and nothing is taken.
        """
        reader = self.reader
        if not reader.is_eof() or reader.exception() is not None or reader.at_eof():
            return None
        size = reader.total_bytes
        if size > ceiling or size > self.limits.max_body or not self.untouched:
            return None
        request = self._request
        headers = request.headers
        if (
            hdrs.CONTENT_ENCODING in headers
            or CONTENT_DIGEST in headers
            or REPR_DIGEST in headers
            or (request.method == hdrs.METH_PUT and hdrs.CONTENT_RANGE in headers)
        ):
            return None  # there is more to see to
        self.taken = call
        self.remembered = data = reader.read_nowait(-1)
        return data

    def remember(self, data: bytes, stream: Stream) -> None:
        """Remember ``data``, which is the whole body, read from ``stream``."""
        self.remembered = data
        if stream is self._stream:
            stream.unread(data)  # also for those who take the stream

    def replay(self, make: Callable[[], Stream]) -> None:
        """``make`` gives all of the body, whose stream is at its end."""
        self._replay = make
        self.replace(None)

    def replace(self, stream: Stream | None) -> None:
        """Give ``stream`` to whoever comes next, or what is kept; close the old one."""
        if self._stream is not None:
            self._below += (self._stream,)
        self._stream = stream

    def wrap(self, make: Callable[[Stream], Stream]) -> None:
        """Put the stream of ``make`` around the body, and those around it before.

        Raises:
            RuntimeError: the body was opened before.
        """
        opened = self._stream is not None or self._wire is not None
        if opened or self.taken is not None or self._read_before:
            raise RuntimeError(
                "wrap_body() comes too late: "
                f"{self.taken or _OPEN_STREAM} has opened the body"
            )
        if self.reader is EMPTY_PAYLOAD and not self._wraps:
            _feed(self._request, self, wrapped=True)
        self._wraps += (make,)

    @property
    def untouched(self) -> bool:
        """Whether the body is as it came, and no call has opened it."""
        return (
            self._stream is None
            and self._wire is None
            and self.taken is None
            and not self._wraps
        )

    @property
    def kept(self) -> bool:
        """Whether the bytes can be had from their beginning, though they were read."""
        recorder = self._recorder
        return (
            self.remembered is not None
            or self._replay is not None
            or (recorder is not None and recorder.pieces is not None)
        )

    @property
    def changed(self) -> bool:
        """Whether others than the bytes on the wire are read."""
        return bool(self._wraps) or hdrs.CONTENT_ENCODING in self._request.headers

    @property
    def _read_before(self) -> bool:
        """Whether aiohttp's own calls took all bytes before this object was there."""
        reader = self.reader
        if not (reader.at_eof() and reader.total_bytes):
            return False
        if self._wire is None:
            return self.taken is None
        return not self._wire.arrived

    def _open(self, call: str) -> Stream:
        stream = self.again()
        if stream is None:
            if self.taken is not None:
                raise self._gone(call)  # it was let go since
            self._refuse_part()
            stream = self._decoded(self.open_encoded())
            if self._wraps:
                stream = self._wrapped(stream)
        self._stream = stream
        return stream

    def again(self) -> Stream | None:
        """Another stream over the body from its beginning, if its bytes are kept."""
        stream = self._stream
        if self._recorder is not None and stream is not None and stream.ended:
            self._rewind()
        if self.remembered is not None:
            content_type = content_type_of(self._request.headers)
            return ByteStream(self.remembered, content_type=content_type)
        return None if self._replay is None else self._replay()

    def _rewind(self) -> None:
        """Bring the stream back to its beginning, if what has passed is at hand."""
        stream, recorder = self._stream, self._recorder
        self._recorder = None
        if stream is None or recorder is None or stream.closed:
            return
        pieces = recorder.end()
        if pieces is None:
            return
        if stream.ended:
            self.remember(b"".join(pieces), stream)
        else:
            for piece in reversed(pieces):
                stream.unread(piece)

    def _gone(self, call: str) -> RuntimeError:
        # Not the client's mistake, for which a stream at its end would pass.
        return RuntimeError(
            f"{call} comes too late: {self.taken or _OPEN_STREAM} has read the "
            "body, and its bytes are gone; call read_bytes() before, or keep_body() "
            "if it is large, and every reader has them"
        )

    def _is_small(self, stream: Stream) -> bool:
        return stream.size is None or stream.size <= self.limits.max_memory

    def _refuse_part(self) -> None:
        """Refuse a PUT of a part (RFC 9110 section 14.5), unless the route takes it."""
        request = self._request
        if (
            request.method == hdrs.METH_PUT
            and hdrs.CONTENT_RANGE in request.headers
            and not self.limits.partial_put
        ):
            raise MalformedBody(
                "the body of a PUT with Content-Range is a part, not a complete body"
            )

    # -- what it is read through ---------------------------------------------------

    def give(self, stream: Stream, outer: RequestState) -> None:
        """Read ``stream`` in place of what arrives, in its content codings.

        Args:
            stream: what is read; owned.
            outer: of the request at hand, whose wraps hold for this body.
        """
        self._given = stream
        self._below = (stream,)
        self._wraps = outer._wraps
        request = self._request
        # Never fed: it has no end before the stream has, and bytes of its own neither.
        raw = StreamReader(request.protocol, 2**16, loop=asyncio.get_running_loop())
        self.reader = _feed(request, self, raw=raw)

    def open_content(self) -> Stream:
        """Open the body as it comes, of any length, for one who counts its bytes."""
        if self._stream is not None or self.kept:
            return self.source(_UPLOAD)
        self.taken = _UPLOAD
        limits = self.limits.replace(max_body=sys.maxsize)
        self._wire = RequestStream(
            self._request, self.reader, limits, expecting=self.expecting
        )
        self._below += (self._wire,)
        return self._wire

    def open_encoded(self) -> Stream:
        """Open the body as it comes, limited; in place of :attr:`stream`."""
        self.refuse_declared()
        if self._given is not None:
            return self._given
        self._wire = RequestStream(
            self._request, self.reader, self.limits, expecting=self.expecting
        )
        return self._wire

    def _decoded(self, wire: Stream) -> Stream:
        """Return the body, held to its digests, with its content codings undone.

        Raises:
            UnsupportedContent: there is no undoing them.
            MalformedBody: a digest field cannot be read.
        """
        headers = self._request.headers
        codings = headers.getall(hdrs.CONTENT_ENCODING, ())
        if is_decoded(self.reader):
            # The bytes that a digest is of are gone.
            _warn_once()
            if len(codings) > 1:
                # Several lines are one list, of which aiohttp undoes one member.
                raise UnsupportedContent(
                    f"{len(codings)} Content-Encoding fields, limit 1",
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

    def _wrapped(self, stream: Stream) -> Stream:
        """``stream`` within what ``wrap_body`` puts around it, limited again.

        Raises:
            TypeError: what was made is not a Stream.
        """
        for make in self._wraps:
            # One that fails, or does not own its source, leaves it to be closed.
            self._below += (stream,)
            made: object = make(stream)
            if not isinstance(made, Stream):
                if inspect.iscoroutine(made):
                    made.close()
                raise TypeError(
                    f"{make!r} gave {type(made).__name__}, expected a Stream"
                )
            stream = made
        self._below += (stream,)
        return LimitStream(stream, self.limits.max_body)

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
        return self._stream is None and not (self._below or self._closers or self._held)

    def forget_unopened(self) -> bool:
        """Let go of what was read, if that is all there is to clean up.

        Returns:
            False if something was opened, or the client waits to be asked.
        """
        if (
            self._stream is not None
            or self.expecting
            or self._below
            or self._closers
            or self._held
        ):
            return False
        if self.taken is not None:
            self._forget()
        return True

    def _forget(self) -> None:
        # The request may live as long as its connection.
        self.remembered = self.form = self._replay = self._recorder = None

    def call_on_close(self, closer: Callable[[], Awaitable[object]]) -> None:
        """Await ``closer()`` at the end of the request, whatever happens."""
        self._closers += (closer,)

    def hold(self, response: _Held) -> None:
        """Discard ``response``, which is open, unless it is the one that is sent."""
        self._held += (response,)

    def keep_only(self, response: object) -> None:
        """Send ``response``, and discard the other ones that are held."""
        held, self._held = self._held, ()
        # It may have been made of them: they are closed when it has been sent.
        self._closers += tuple(other.discard for other in held if other is not response)

    async def close(self) -> None:
        """Close everything that was opened, last one first; errors are logged.

        Also when it is cancelled meanwhile, which is raised afterwards.
        """
        self.keep_only(None)
        streams = self._below
        if self._stream is not None:
            streams += (self._stream,)
            if self.taken is None and self._stream.position:
                self.taken = _OPEN_STREAM
        closers = [*(stream.close for stream in streams), *self._closers]
        self._stream, self._below, self._closers = None, (), ()
        self._forget()
        cancellation = PostponedCancellation()
        while closers:
            with cancellation:
                try:
                    await closers.pop()()
                except Exception:
                    _logger.exception("closing what the request opened failed")
        cancellation.reraise()


# Calls that leave the rest of a body to whoever comes next.
_IN_PIECES: Final = (None, CONTENT)
_READ_BYTES: Final = "read_bytes()"
_OPEN_STREAM: Final = "open_stream()"
_UPLOAD: Final = "a resumable upload"


class Recorder(Transform):
    """``source``, and all that has passed, as long as that is little.

    Args:
        source: what is read; owned.
        ceiling: how many bytes may be held, each piece with its object.

    Attributes:
        pieces: what has passed, or ``None`` if it is more than that.
    """

    def __init__(self, source: Stream, ceiling: int) -> None:
        super().__init__(source)
        self.pieces: list[bytes] | None = []
        self._room = ceiling
        self._over = False

    async def readany(self) -> bytes:
        """Return the source's next piece."""
        if self._over:
            raise RuntimeError("another call has started to read this body again")
        piece = await self.source.readany()
        if self.pieces is not None:
            self._room -= len(piece)
            if self._room >= 0:
                self.pieces.append(piece)
                self._room -= _PIECE
            else:
                self.pieces = None
        return piece

    def end(self) -> list[bytes] | None:
        """Return what has passed; nothing passes from now on."""
        self._over = True
        return self.pieces


# What the object of a piece takes beside its bytes, and its place in a list.
_PIECE: Final = 64


class _OwnReader(RequestReader):
    """What aiohttp's calls of a request read."""

    __slots__ = ("_body",)

    def __init__(self, raw: StreamReader, body: RequestState) -> None:
        super().__init__(raw)
        self._body = body

    def open(self, call: str) -> Stream:
        body = self._body
        if body._read_before:  # noqa: SLF001
            return ByteStream()  # as aiohttp has it
        return body.source(call, record=call in _PARSED)

    def take(self, call: str) -> bytes | None:
        body = self._body
        if call not in _PARSED:
            return None
        return body.take_arrived(call, body.limits.max_memory)

    def kept(self) -> bool:
        return self._body.kept

    def changed(self) -> bool:
        return self._body.changed


_PARSED: Final = frozenset(
    f"request.{name}()" for name in ("read", "text", "json", "post", "multipart")
)


def _feed(
    request: web.BaseRequest,
    body: RequestState,
    *,
    wrapped: bool = False,
    raw: StreamReader | None = None,
) -> StreamReader:
    """Let aiohttp's calls of ``request`` read what ours do; return its own reader.

    There is no public way: a handler that calls ``request.json()`` would read bytes
    that are encoded, or none where one of our helpers came first. ``_payload`` is what
    all of aiohttp's calls read, and ``clone()`` passes on; ``_cache`` may have it as
    ``request.content`` already.
    """
    if raw is None:
        raw = request._payload  # noqa: SLF001
    if raw is EMPTY_PAYLOAD:
        if not wrapped:
            return raw  # the usual GET
        _ = request.body_exists  # which is remembered, and stays true
    body.belong(request)
    request._payload = _OwnReader(raw, body)  # noqa: SLF001
    request._cache.pop("content", None)  # noqa: SLF001
    return raw


@functools.cache
def _warn_once() -> None:
    _logger.warning(
        "aiohttp undoes content codings in its parser, where a body that is cut short "
        "or corrupt passes for a complete one, and no digest can be verified: run the "
        "application by aiostreams.run_app(), or AppRunner(app, auto_decompress=False)"
    )


def body_of(request: web.BaseRequest, limits: Limits | None = None) -> RequestState:
    """Return the state of this request, made now if need be.

    Args:
        request: whose body.
        limits: of the middleware that asks, in place of the application's.
    """
    try:
        body = request[_BODY]  # get() takes as long again
    except KeyError:
        body = new_body(request, limits_for(request, limits))
    else:
        if limits is not None:
            body.limits = limits_for(request, limits)
    body.belong(request)
    return body


_BODY: Final = web.RequestKey("aiostreams.body", RequestState)


def new_body(request: web.BaseRequest, limits: Limits) -> RequestState:
    """Make the state of a request; of a clone, in place of that which it has."""
    body = request[_BODY] = RequestState(request, limits)
    return body


# The attribute of a handler that takes resumable uploads: which requests are of one.
UPLOADS: Final = "__aiostreams_uploads__"


def _appends(request: web.BaseRequest) -> bool:
    """Return whether the body is content of a resumable upload."""
    if not isinstance(request, web.Request):
        return False
    handler: Any = request.match_info.handler
    if isinstance(handler, type):
        handler = getattr(handler, request.method.lower(), None)
    speaks = mark_of(handler, UPLOADS)
    return speaks is not None and speaks(request)


def state_of(request: web.BaseRequest) -> RequestState | None:
    """Return the state of ``request``, if it has been made."""
    if not len(request):
        return None  # in a quarter of the time that a KeyError takes
    try:
        return request[_BODY]
    except KeyError:
        return None


def tally_of(request: web.BaseRequest) -> Tally | None:
    """Return the tally of ``request``, if there is one."""
    body = state_of(request)
    return None if body is None else body.tally


def gives_etags(request: web.BaseRequest) -> bool:
    """Return whether a response to ``request`` gets an entity tag of its bytes."""
    try:
        return request[_BODY].etags
    except KeyError:
        return True


def compression_of(request: web.BaseRequest) -> Compression | None:
    """Return how the response to ``request`` is compressed, if it is."""
    try:
        return request[_BODY].compression  # get() takes twice as long
    except KeyError:
        return None


def count_plain(request: web.BaseRequest, plain: Stream | int) -> None:
    """Count what is encoded to make the response: a stream, or bytes in memory."""
    tally = tally_of(request)
    if tally is not None:
        tally.plain = plain


def hold(request: web.BaseRequest, response: _Held) -> None:
    """As :meth:`RequestState.hold`, if there is somebody to close it in the end."""
    body = state_of(request)
    if body is not None:
        body.hold(response)


def limits_of(request: web.BaseRequest) -> Limits:
    """Return the limits that hold for this request.

    For streams that ask for some, such as ``GUnzipStream(part, limits=...)``. They
    are those of ``@limit`` on the handler, over those of ``stream_middleware``, else
    of the innermost application that was set up, else the defaults.
    """
    return body_of(request).limits


def limits_for(request: web.BaseRequest, base: Limits | None) -> Limits:
    """Return the route's limits over ``base``, or over those of the application."""
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
        overrides = mark_of(handler, _OVERRIDES)
        return base if overrides is None else base.replace(**overrides)
    # A class-based view: its method may say more.
    method = getattr(handler, request.method.lower(), None)
    overrides = {
        **(mark_of(handler, _OVERRIDES) or {}),
        **(mark_of(method, _OVERRIDES) or {}),
    }
    return base.replace(**overrides) if overrides else base


def limit(**ceilings: Any) -> Callable[[_Handler], _Handler]:
    """Override limits of :class:`Limits` for one handler, or one view class.

        @limit(max_body=10 * MiB, max_parts=3)
        async def avatar(request): ...

    What is not named is as the application has it. A method of a view class may
    override what its class says. Of a bound method or a partial, register what this
    returns.

    Args:
        ceilings: fields of :class:`Limits`, in the same units.

    Raises:
        TypeError: a name is not a limit, or a value not a number.
        ValueError: a value is negative.
    """
    Limits(**ceilings)

    def decorate(handler: _Handler) -> _Handler:
        earlier = mark_of(handler, _OVERRIDES) or {}
        return mark(handler, _OVERRIDES, {**earlier, **ceilings})

    return decorate


APP_STORAGE: Final = web.AppKey("aiostreams.storage", Storage)


def storage_of(request: web.BaseRequest) -> Storage:
    """Return the storage that ``setup`` was given for the request's application.

    Of the applications on the way to the route the innermost counts that has one.

    Raises:
        LookupError: there is none.
    """
    storage = find_storage(request)
    if storage is None:
        raise LookupError("aiostreams.setup() was given no storage")
    return storage


def find_storage(request: web.BaseRequest) -> Storage | None:
    """Return the same, or ``None``."""
    if not isinstance(request, web.Request):
        return None
    return request.config_dict.get(APP_STORAGE)


class _Endless(Protocol):
    """What does not come to an end by itself."""

    def end(self) -> None: ...


class Subscriptions:
    """What an application sends without an end, to be ended when it shuts down."""

    def __init__(self) -> None:
        self._held: weakref.WeakSet[_Endless] = weakref.WeakSet()
        self._ended = False

    def add(self, subscription: _Endless) -> None:
        """Hold one more; it is ended at once if the application has shut down."""
        self._held.add(subscription)
        if self._ended:
            subscription.end()

    async def end(self, _app: web.Application) -> None:
        """End all of them, and those that will come."""
        self._ended = True
        for subscription in list(self._held):
            subscription.end()


APP_SUBSCRIPTIONS: Final = web.AppKey("aiostreams.subscriptions", Subscriptions)


class Listener(Protocol):
    """Who hears about the request."""

    stopping: bool

    def report(self, stats: BodyStats, told: list[object]) -> None: ...


class Tally:
    """The counts of one request.

    Attributes:
        started: when it began, by ``time.perf_counter()``.
        listeners: who hears of it.
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
        upload: the resumable upload that it is for.
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
        "upload",
    )

    def __init__(self) -> None:
        self.started: float = time.perf_counter()
        self.listeners: list[Listener] = []
        self.response: web.StreamResponse | None = None
        self.response_started: float = 0.0
        self.raised: type[BaseException] | None = None
        self.gone: bool = False
        self.answered: tuple[type[Exception], int] | None = None
        self.sent: int = 0
        self.sent_file: int = 0
        self.counts: tuple[PartCount, ...] = ()
        self.decoded: Stream | None = None
        self.plain: Stream | int | None = None
        self.upload: UploadStats | None = None

    def count_parts(self, count: PartCount) -> None:
        """Add what counts parts of the body to the figures of the request."""
        self.counts += (count,)

    def count_sent(self, size: int, _total: int) -> None:
        """Count ``size`` bytes of content that aiohttp's writer has taken."""
        self.sent += size

    async def count_chunk(self, chunk: bytes) -> None:
        """Count ``chunk``, which the writer of an aiohttp before 3.14.4 will take."""
        self.sent += len(chunk)
