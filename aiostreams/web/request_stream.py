"""A request's body on the wire: how long it may be, its pace, and when it may begin.

This is all that stands between aiohttp's reader and whoever reads a body that is not
encoded, so each piece passes one stream and not three: the limit is counted here
(``LimitStream`` over ``HTTPStream`` cost 2 us more a piece).

The pace costs a read that waits two looks at the clock, and one that does not none.
One timer per request, set for the next moment at which something could be wrong, does
the rest; when it fires and a read is waiting too long, it wakes the read, which then
raises ``BodyTimeout``.

Only time spent waiting for the client counts against its rate: an application that
takes long over each piece holds the client up, not the other way round.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from aiostreams.errors import BodyTimeout, LimitExceeded, exceeded
from aiostreams.streams.base import Stream
from aiostreams.streams.guards import OPEN
from aiostreams.streams.http import arrived_before, content_type_of, size_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiohttp import StreamReader, web

    from aiostreams.limits import Limits

__all__ = ["ReadDeadline", "RequestStream"]

T = TypeVar("T")


class RequestStream(Stream):
    """The body of ``request``, held to ``max_body`` and the times of ``limits``.

    It can be read also when somebody called ``request.read()`` before.

    Args:
        request: whose body.
        reader: aiohttp's reader of it, which the parser feeds.
        limits: its limits.
        expecting: whether the client waits to be asked for it.

    Attributes:
        arrived: how many bytes have come out of the reader.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        reader: StreamReader,
        limits: Limits,
        *,
        expecting: bool = False,
    ) -> None:
        super().__init__(
            size=size_of(reader, request.content_length),
            content_type=content_type_of(request.headers),
        )
        self.expecting: bool = expecting
        self.arrived: int = 0
        self._reader = reader
        self._limits = limits
        # From the first read that waits on.
        self._pace: ReadDeadline | None = None
        # Until the first read.
        self._request: web.BaseRequest | None = request

    @property
    def waited(self) -> float:
        """How long reads that have ended have waited, in seconds."""
        return 0.0 if self._pace is None else self._pace.waited

    async def readany(self) -> bytes:
        """Return the next bytes, in time.

        Raises:
            LimitExceeded: there are more than ``max_body``.
            BodyTimeout: the client is slower than the limits allow.
            StreamError: as :meth:`HTTPStream.readany`.
            RuntimeError: the body was read in another way before.
        """
        self._check_room()
        reader = self._reader
        try:
            if self._request is not None and (early := await self._begin()):
                piece = early
            elif reader.is_eof():
                piece = reader.read_nowait()  # is there: nobody waits
            else:
                piece = await self._in_time(reader.readany)
        except Exception as error:  # noqa: BLE001 (raised in there)
            piece = arrived_before(error, reader)
        return self._counted(piece)

    async def readchunk(self) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they end an HTTP chunk, as aiohttp does.

        What was pushed back, or arrived with a line that was read, has no borders.

        Raises:
            LimitExceeded, BodyTimeout, StreamError: as :meth:`readany`.
        """
        life = self._life
        if life.state is not OPEN or life.reader is not None or life.buffer.held:
            return await self.readany(), False
        task = life.reader = asyncio.current_task()
        reader = self._reader
        try:
            self._check_room()
            try:
                if self._request is not None and (early := await self._begin()):
                    piece, border = early, False
                elif reader.is_eof():
                    piece, border = await reader.readchunk()
                else:
                    piece, border = await self._in_time(reader.readchunk)
            except Exception as error:  # noqa: BLE001 (raised in there)
                piece, border = arrived_before(error, reader), False
            if border and not piece and life.state is OPEN:
                life.reader = None
                return piece, border
            allowed = self._counted(piece)
        except BaseException as error:
            settled = life.settle(error, task)
            if settled is error:
                raise
            raise settled from None
        border = border and allowed is piece
        return life.arrived(allowed, self.size, task), border

    def read_arrived(self) -> bytes:
        """Return all that has arrived, and ``b""`` if nothing has, without waiting."""
        life = self._life
        life.check_idle()
        reader = self._reader
        if life.state is not OPEN or self.expecting or reader.exception() is not None:
            return b""
        piece = reader.read_nowait()
        if piece:
            self._request = None
        return life.arrived(self._counted(piece), self.size, None) if piece else b""

    async def _in_time(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` gives, which may wait for the client."""
        pace = self._pace
        if pace is None:
            pace = self._pace = ReadDeadline(self._limits)
        pace.begin(self._life.reader, self.arrived)
        try:
            return await read()
        except asyncio.CancelledError as error:
            pace.interrupted(error)
            raise
        finally:
            pace.end()

    async def _begin(self) -> bytes:
        """Before the first read: the body, if it was read in another way."""
        request, self._request = self._request, None
        assert request is not None
        if self._reader.at_eof() and self._reader.total_bytes:
            # All bytes were taken out of the reader. If that was request.read(),
            # aiohttp remembers them and gives them again.
            data = await request.read()
            if not data:
                raise RuntimeError(
                    "request.post(), .multipart() or .content has read this body "
                    "before, and its bytes are gone: call setup(), which keeps them "
                    "in reach, or read_bytes() first"
                )
            return data
        if self.expecting:
            self.expecting = False
            await _continue(request)
        return b""

    def _counted(self, piece: bytes) -> bytes:
        """Return what of ``piece`` the limit allows."""
        self.arrived = arrived = self.arrived + len(piece)
        over = arrived - self._limits.max_body
        if over > 0 or not piece:
            self._stop()
        if over <= 0:
            return piece
        allowed = piece[: max(0, len(piece) - over)]
        if not allowed:
            raise self._exceeded()
        return allowed

    def _check_room(self) -> None:
        if self.arrived > self._limits.max_body:
            raise self._exceeded()

    def _exceeded(self) -> LimitExceeded:
        return exceeded("the body", self.arrived, self._limits.max_body)

    def _stop(self) -> None:
        if self._pace is not None:
            self._pace.stop()

    async def close(self) -> None:
        """Stop the clock."""
        self._stop()


async def _continue(request: web.BaseRequest) -> None:
    """Ask the client for the body it has announced (RFC 9110 section 10.1.1)."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # As aiohttp's own handler does: the response proper has not begun.
    request.writer.output_size = 0


class ReadDeadline:
    """Idle time, total time and rate of one body, from its first wait on.

    Attributes:
        waited: how long reads that have ended have waited, in seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._idle = limits.idle_timeout
        self._total = limits.total_timeout
        self._rate = limits.min_rate
        self._grace = limits.min_rate_grace
        self._loop = asyncio.get_running_loop()
        # uvloop's own time is that of the turn of the loop, in whole milliseconds.
        self._opened = time.monotonic()
        self._received = 0
        self.waited: float = 0.0
        # Since when this read waits.
        self._since: float | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._late: BodyTimeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, reader: asyncio.Task[Any] | None, received: int) -> None:
        """Start the clock: ``reader`` begins to wait, after ``received`` bytes."""
        self._received = received
        now = self._since = time.monotonic()
        if self._timer is None:
            self._check(now)
            if self._late is not None:
                raise self._late
        self._reader = reader

    def end(self) -> None:
        """Stop the clock: the read has ended, somehow."""
        assert self._since is not None
        self.waited += time.monotonic() - self._since
        self._since = self._reader = None

    def interrupted(self, error: asyncio.CancelledError) -> None:
        """Raise if the cancellation was the timer's.

        Raises:
            BodyTimeout: it was, and nothing else has cancelled it.
        """
        late, self._late = self._late, None
        if late is None:
            return
        task = asyncio.current_task()
        assert task is not None
        if task.uncancel() == 0:
            raise late from error

    def stop(self) -> None:
        """No more bytes are waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, now: float) -> None:
        """Find the client late, or set the timer for when it could be next."""
        self._timer = None
        since = now if self._since is None else self._since
        waited = self.waited + (now - since)
        deadlines: list[tuple[float, Callable[[float], BodyTimeout]]] = []
        if self._idle is not None:
            deadlines.append((since + self._idle, self._idle_error))
        if self._total is not None:
            deadlines.append((self._opened + self._total, self._total_error))
        if self._rate:
            # When the average so far falls below the rate, if nothing arrives.
            allowed = max(self._grace, self._received / self._rate)
            deadlines.append((now + allowed - waited, self._rate_error))
        if not deadlines:
            return
        moment, error = min(deadlines, key=lambda deadline: deadline[0])
        if moment > now:
            self._timer = self._loop.call_later(moment - now, self._fire)
        elif self._since is not None:
            self._late = error(waited)
            if self._reader is not None:
                self._reader.cancel()

    def _fire(self) -> None:
        self._check(time.monotonic())  # by another clock it may be early

    def _idle_error(self, waited: float) -> BodyTimeout:
        del waited
        return BodyTimeout(
            f"no byte of the body for {self._idle:g} seconds, "
            f"after {self._received} bytes"
        )

    def _total_error(self, waited: float) -> BodyTimeout:
        del waited
        return BodyTimeout(
            f"the body is not complete after {self._total:g} seconds, "
            f"{self._received} bytes have arrived"
        )

    def _rate_error(self, waited: float) -> BodyTimeout:
        return BodyTimeout(
            f"the body arrives at {self._received / waited:.0f} bytes per second, "
            f"at least {self._rate:g} are expected after {self._grace:g} seconds"
        )
