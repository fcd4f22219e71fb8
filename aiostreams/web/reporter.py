"""Who is told about each request, and when.

aiohttp handles each request in a task of its own, which also sends the response: when
that task is done, however it ends, the request is over. So a ``Reporter`` has a tally
made as early as it can, and tells its callbacks when the task is done.

It meets a request at two places: in the outermost middleware, and where a response
begins. The second alone sees a request that is answered before any middleware, as a
failed expectation is. What aiohttp's parser refuses is no request of any application,
and seen by nobody.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from aiostreams.errors import StreamError
from aiostreams.streams.encoding import EncodedStream
from aiostreams.web.body import body_of, tally_of
from aiostreams.web.payload import StreamPayload
from aiostreams.web.statslog import STATS_LOGGER
from aiostreams.web.summary import summarize
from aiostreams.web.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from aiohttp.typedefs import Handler

    from aiostreams.web.body import RequestBody
    from aiostreams.web.stats import BodyStats, StatsCallback

__all__ = ["Reporter"]

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

    def __init__(self, callbacks: StatsCallback | Iterable[StatsCallback]) -> None:
        self._callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
        self._under_way = 0
        self._telling: set[asyncio.Task[None]] = set()
        self.stopping: bool = False

    def install(self, app: web.Application) -> None:
        """Have the requests of ``app`` reported."""

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
        return tally

    async def _begin(self, request: web.Request, response: web.StreamResponse) -> None:
        """A response begins: nothing of it was written yet."""
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
        body = response.body if isinstance(response, web.Response) else None
        if isinstance(body, StreamPayload) and isinstance(body.stream, EncodedStream):
            tally.plain = body.stream._source  # noqa: SLF001
        _listen(request.writer, tally)

    def tell(self, stats: BodyStats, told: list[object]) -> None:
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

    async def _stop(self, _app: web.Application) -> None:
        self.stopping = True

    async def _finish(self, _app: web.Application) -> None:
        """Wait until all is told, for a while."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._under_way or self._telling:  # noqa: ASYNC110 - two things
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            for task in self._telling:
                task.cancel()
            _logger.warning("callbacks for stats hang: %d", len(self._telling))


def _listen(writer: AbstractStreamWriter, tally: Tally | None) -> None:
    """Have the content that ``writer`` takes counted, or no longer."""
    if _TELLS:
        writer.on_body_write = None if tally is None else tally.wrote
    else:
        # The way of aiohttp's client, which its server has no use for.
        older: Any = writer
        older._on_chunk_sent = None if tally is None else tally.takes  # noqa: SLF001


async def _awaited(result: Awaitable[Any]) -> None:
    try:
        await result
    except Exception:
        _logger.exception("callback for stats failed: %r", result)


def _over(request: web.Request, body: RequestBody, task: asyncio.Task[Any]) -> None:
    tally = body.tally
    assert tally is not None
    stats = summarize(request, body, tally, task)
    # The request may live on for as long as its connection.
    body.tally = None
    _listen(request.writer, None)
    told: list[object] = []
    for listener in tally.listeners:
        listener.tell(stats, told)
