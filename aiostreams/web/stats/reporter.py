"""The reporter that calls back about each request when it is over.

aiohttp handles each request in a task of its own, which also sends the response: when
that task is done, however it ends, the request is over. So a ``Reporter`` has a tally
made as early as it can, and calls its callbacks when the task is done.

It meets a request at two places: in the outermost middleware, and where a response
begins. The second alone sees a request that is answered before any middleware, as a
failed expectation is. What aiohttp's parser refuses reaches no application, and is not
reported.

``BodyStats`` are then made of the ``Tally``. How the request ended follows from three
things: what aiohttp's task for the request ended with, the exception that left the
application, and the error that was answered in its place.
The task's result is aiohttp's own affair, so it is only taken for what it is known to
be: a response, and whether the connection was lost over it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from aiostreams.codings.registry import find_coding
from aiostreams.errors import ClientGone, StreamError
from aiostreams.streams.base import Stream
from aiostreams.streams.http import is_decoded
from aiostreams.web.payload import StreamPayload
from aiostreams.web.response import BodyResponse
from aiostreams.web.state import Tally, body_of, tally_of
from aiostreams.web.stats.log import STATS_LOGGER
from aiostreams.web.stats.model import BodyStats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.typedefs import Handler

    from aiostreams.resumable.state import Protocol as UploadProtocol
    from aiostreams.web.state import RequestState
    from aiostreams.web.stats.model import (
        OnStats,
        Outcome,
        RequestTracer,
        StatsCallback,
    )

__all__ = ["Reporter", "route_of", "standard_method", "summarize"]

_logger = logging.getLogger(STATS_LOGGER)
# How long a server that stops waits for async callbacks, in seconds.
_PATIENCE: Final = 5.0
_PAUSE: Final = 0.01
# aiohttp's writers tell what they write from 3.14.4 on.
_TELLS: Final = hasattr(AbstractStreamWriter, "on_body_write")


class Reporter:
    """Tells ``callbacks`` about each request of one application.

    Args:
        callbacks: one, or several.

    Attributes:
        stopping: whether the server is about to cancel what is under way.
    """

    def __init__(self, callbacks: OnStats) -> None:
        single = callable(callbacks) or hasattr(callbacks, "begin")
        several: tuple[Any, ...] = (callbacks,) if single else tuple(callbacks)  # type: ignore[arg-type]
        self._tracers: tuple[RequestTracer, ...] = tuple(
            one for one in several if hasattr(one, "begin")
        )
        self._callbacks: tuple[StatsCallback, ...] = tuple(
            one for one in several if not hasattr(one, "begin")
        )
        self._under_way = 0
        self._telling: set[asyncio.Task[None]] = set()
        self.stopping: bool = False

    def install(self, app: web.Application) -> None:
        """Report the requests of ``app``."""

        @web.middleware
        async def reporting(
            request: web.Request, handler: Handler
        ) -> web.StreamResponse:
            tally = self._meet(request)
            try:
                response = await handler(request)
            except web.HTTPException:
                tally.raised = None
                raise
            except BaseException as error:
                transport = request.transport
                tally.raised = type(error)
                tally.gone = transport is None or transport.is_closing()
                raise
            # Of an application inside of this one: its error was answered.
            tally.raised = None
            return response

        async def outermost_again(app: web.Application) -> None:
            # Others may have been put around it since; those of a sub-application
            # are frozen by now.
            if not app.middlewares.frozen:
                app.middlewares.remove(reporting)
                app.middlewares.insert(0, reporting)

        for tracer in self._tracers:
            tracer.install(app)
        app.middlewares.insert(0, reporting)
        app.on_startup.append(outermost_again)
        app.on_response_prepare.append(self._begin)
        app.on_shutdown.append(self._stop)
        app.on_cleanup.append(self._finish)

    def _meet(self, request: web.Request) -> Tally:
        body = body_of(request)
        tally = body.tally
        if tally is None:
            tally = body.tally = Tally()
            task = asyncio.current_task()
            assert task is not None
            task.add_done_callback(functools.partial(_over, request, body))
        if self not in tally.listeners:
            tally.listeners.append(self)
            self._under_way += 1
            for tracer in self._tracers:
                # An application inside of another one may have the same.
                known = {getattr(one, "tracer", None) for one in tally.listeners}
                if tracer not in known:
                    tally.listeners.append(_Traced(tracer, request))
        return tally

    async def _begin(self, request: web.Request, response: web.StreamResponse) -> None:
        """Note that a response begins: nothing of it was written yet."""
        transport = request.transport
        early = tally_of(request) is None
        tally = self._meet(request)
        if transport is None or transport.is_closing() or tally.response is response:
            return  # it will not get anywhere, or is known
        if early and isinstance(response, web.HTTPException):
            cause = response.__cause__
            if isinstance(cause, StreamError):
                tally.answered = type(cause), response.status
        tally.response = response
        tally.response_started = time.perf_counter()
        _listen(request.writer, tally)

    def report(self, stats: BodyStats, told: list[object]) -> None:
        """Call the callbacks that are not among those ``told``.

        An application inside of another one may have the same.
        """
        self._under_way -= 1
        for callback in self._callbacks:
            if callback in told:
                continue
            told.append(callback)
            try:
                result = callback(stats)
                if inspect.isawaitable(result):
                    task = asyncio.ensure_future(_awaited(result))
                    self._telling.add(task)
                    task.add_done_callback(self._telling.discard)
            except Exception:
                _logger.exception("callback for stats failed: %r", callback)

    def expire_upload(self, protocol: UploadProtocol) -> None:
        """Tell those who want to hear of it that a resumable upload has expired."""
        for callback in self._callbacks:
            tell = getattr(callback, "expire_upload", None)
            if tell is not None:
                try:
                    tell(protocol)
                except Exception:
                    _logger.exception("callback for stats failed: %r", callback)

    async def _stop(self, _app: web.Application) -> None:
        self.stopping = True

    async def _finish(self, _app: web.Application) -> None:
        """Wait until all is reported, for a while."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._under_way or self._telling:  # noqa: ASYNC110 - two things
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            for task in self._telling:
                task.cancel()
            _logger.warning("callbacks for stats hang: %d", len(self._telling))


class _Traced:
    """A request that a tracer has heard begin."""

    stopping = False

    def __init__(self, tracer: RequestTracer, request: web.Request) -> None:
        self.tracer = tracer
        self._end: Callable[[BodyStats], None] | None = None
        try:
            self._end = tracer.begin(request)
        except Exception:
            _logger.exception("tracer failed: %r", tracer)

    def report(self, stats: BodyStats, told: list[object]) -> None:
        del told
        if self._end is not None:
            try:
                self._end(stats)
            except Exception:
                _logger.exception("tracer failed: %r", self.tracer)


def _listen(writer: AbstractStreamWriter, tally: Tally | None) -> None:
    """Count the content that ``writer`` takes, or stop that."""
    if _TELLS:
        writer.on_body_write = None if tally is None else tally.count_sent
    else:
        # The way of aiohttp's client, which its server has no use for.
        older: Any = writer
        older._on_chunk_sent = None if tally is None else tally.count_chunk  # noqa: SLF001


async def _awaited(result: Awaitable[Any]) -> None:
    try:
        await result
    except Exception:
        _logger.exception("callback for stats failed: %r", result)


def _over(request: web.Request, body: RequestState, task: asyncio.Task[Any]) -> None:
    tally = body.tally
    assert tally is not None
    stats = summarize(request, body, tally, task)
    # The request may live on for as long as its connection.
    body.tally = None
    _listen(request.writer, None)
    told: list[object] = []
    for listener in tally.listeners:
        listener.report(stats, told)


_OTHER: Final = "_OTHER"
_METHODS: Final = hdrs.METH_ALL | {"QUERY"}


def summarize(
    request: web.Request, body: RequestState, tally: Tally, task: asyncio.Task[Any]
) -> BodyStats:
    """Return the numbers of ``request``, which ``task`` has handled to the end."""
    now = time.perf_counter()
    whole = _is_whole(task)
    outcome: Outcome = "ok"
    error: str | None = None
    if not whole or tally.raised is not None or tally.answered is not None:
        outcome, error = _outcome(tally, task, whole=whole)
    received, decoded, codings = _request_sizes(request, body, tally)
    response = tally.response
    status = start = None
    sent: int = 0
    plain: int | None = 0
    response_codings: tuple[str, ...] = ()
    # Until the first piece of content aiohttp holds the header section back.
    if response is not None and request.writer.output_size:
        status = response.status
        start = tally.response_started - tally.started
        sent, plain, response_codings = _response_sizes(
            request, tally, response, whole=whole
        )
    parts = sum(count.parts for count in tally.counts)
    return BodyStats(
        method=standard_method(request),
        route=route_of(request),
        scheme=request.scheme,
        http_version="1.1" if request.version == HttpVersion11 else "1.0",
        status=status,
        outcome=outcome,
        error=error,
        request_body_size=received,
        request_decoded_size=decoded,
        request_codings=codings,
        request_parts=parts,
        request_wait=body.waited,
        response_body_size=sent,
        response_decoded_size=plain,
        response_codings=response_codings,
        response_start=start,
        duration=now - tally.started,
        upload=tally.upload,
    )


def standard_method(request: web.Request) -> str:
    """Return the request method; ``"_OTHER"`` for an unknown one."""
    return request.method if request.method in _METHODS else _OTHER


def route_of(request: web.Request) -> str | None:
    """Return the path of the route as it was registered, if one matched."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _is_whole(task: asyncio.Task[Any]) -> bool:
    """Return whether aiohttp believes to have sent the response to its end."""
    if task.cancelled() or task.exception() is not None:
        return False
    result = task.result()
    return not (type(result) is tuple and result[-1] is True)


def _outcome(
    tally: Tally, task: asyncio.Task[Any], *, whole: bool
) -> tuple[Outcome, str | None]:
    raised = tally.raised
    if task.cancelled():
        # aiohttp cancels for one of two reasons, and leaves the same traces.
        stopping = any(listener.stopping for listener in tally.listeners)
        if not stopping and (raised is None or tally.gone):
            return "client_gone", ClientGone.__name__
        return "cancelled", "CancelledError"
    exception = task.exception()
    if exception is not None:
        # The connection breaks. With a ConnectionError aiohttp says that an answer
        # was begun already when it was about to answer an exception.
        cause = raised or type(exception)
        if tally.gone and issubclass(cause, ConnectionError):
            return "client_gone", ClientGone.__name__
        return _fault(cause)
    if tally.answered is not None:
        kind, status = tally.answered
        if issubclass(kind, ClientGone):
            return "client_gone", ClientGone.__name__
        # Unless the application has put another answer in its place.
        if not whole or tally.response is None or tally.response.status == status:
            return "failed" if status >= 500 else "refused", kind.__name__
    if raised is not None:
        if tally.gone and issubclass(raised, ConnectionError):
            return "client_gone", ClientGone.__name__
        return "failed", raised.__name__
    if whole:
        return "ok", None
    return _fault(_failure(tally.response) or ClientGone)


def _fault(kind: type[BaseException]) -> tuple[Outcome, str]:
    """Whose fault an error is that broke a response midway."""
    if issubclass(kind, ClientGone):
        return "client_gone", ClientGone.__name__
    # As when a body is sent back while it arrives, and is malformed.
    status = kind.status if issubclass(kind, StreamError) else None
    ours = not isinstance(status, int) or status >= 500
    return "failed" if ours else "refused", kind.__name__


def _failure(response: web.StreamResponse | None) -> type[BaseException] | None:
    """Return the error of the response's source, if it looks like a lost connection."""
    if isinstance(response, BodyResponse):
        return response.failure
    body = response.body if isinstance(response, web.Response) else None
    return body.failure if isinstance(body, StreamPayload) else None


def _label(name: str) -> str:
    """Return a label for a coding: its name, unless a client may have made it up."""
    coding = find_coding(name)
    return _OTHER if coding is None else coding.name


def _codings(lines: Sequence[str]) -> tuple[str, ...]:
    names = [
        _label(name)
        for line in lines
        for name in (member.strip().lower() for member in line.split(","))
        if name and name != "identity"
    ]
    return tuple(names) if len(names) <= 2 else (_OTHER,)


def _request_sizes(
    request: web.Request, body: RequestState, tally: Tally
) -> tuple[int, int | None, tuple[str, ...]]:
    reader = body.reader
    total = reader.total_bytes
    lines = request.headers.getall(hdrs.CONTENT_ENCODING, None)
    codings = () if lines is None else _codings(lines)
    if not codings:
        return total, total, ()
    if is_decoded(reader):
        return reader.total_raw_bytes, total, codings
    if tally.decoded is not None:
        return total, tally.decoded.received, codings
    return total, None if total else 0, codings


def _response_sizes(
    request: web.Request, tally: Tally, response: web.StreamResponse, *, whole: bool
) -> tuple[int, int | None, tuple[str, ...]]:
    lines = response.headers.getall(hdrs.CONTENT_ENCODING, None)
    codings = () if lines is None else _codings(lines)
    status = response.status
    if status in {204, 304} or status < 200 or request.method == "HEAD":
        return 0, 0, codings
    sent = tally.sent + tally.sent_file
    if response.compression:
        sent = _sent_encoded(request, response, whole=whole)
    elif not sent and whole and isinstance(response, web.FileResponse):
        sent = int(response.headers.get(hdrs.CONTENT_LENGTH, 0))  # past the writer
    if not codings:
        return sent, sent, ()
    plain = tally.plain
    if isinstance(plain, Stream):
        return sent, plain.received, codings
    if plain is None and response.compression:
        body = response.body if isinstance(response, web.Response) else None
        plain = len(body) if isinstance(body, (bytes, bytearray)) else tally.sent
    return sent, plain, codings


def _sent_encoded(
    request: web.Request, response: web.StreamResponse, *, whole: bool
) -> int:
    """Return how much content went out where aiohttp encodes it while it is sent.

    The framing of a chunked body is counted with it, as nothing tells them apart.
    """
    length = response.headers.get(hdrs.CONTENT_LENGTH)
    if whole and length is not None:
        return int(length)
    return max(0, request.writer.output_size - _head_size(response))


def _head_size(response: web.StreamResponse) -> int:
    """Return how many bytes the header section of ``response`` has."""
    fields = [f"{name}: {value}" for name, value in response.headers.items()]
    status_line = f"HTTP/1.1 {response.status} {response.reason}"
    return len("\r\n".join([status_line, *fields, "", ""]).encode())
