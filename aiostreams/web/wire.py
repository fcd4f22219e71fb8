"""A request's body on the wire: the pace it must keep, and when it may begin.

The pace costs a read two looks at the clock. One timer per request, set for the next
moment at which something could be wrong, does the rest; when it fires and a read is
waiting too long, it wakes the read, which then raises ``BodyTimeout``.

Only time spent waiting for the client counts against its rate: an application that
takes long over each piece holds the client up, not the other way round.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiostreams.errors import BodyTimeout
from aiostreams.streams.http import HTTPStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aiohttp import web

    from aiostreams.limits import Limits

__all__ = ["Pace", "WireStream"]


class WireStream(HTTPStream):
    """The body of ``request``, held to the times of ``limits``.

    It can be read also when somebody called ``request.read()`` before.
    """

    def prepare(self, request: web.BaseRequest, limits: Limits) -> None:
        """Say whose body this is. Must be called once, before the first read."""
        self._pace = Pace(limits)
        self._request: web.BaseRequest | None = request
        self.expecting = False

    async def readany(self) -> bytes:
        """The next bytes, in time.

        Raises:
            BodyTimeout: the client is slower than the limits allow.
            StreamError: as :meth:`HTTPStream.readany`.
        """
        request, self._request = self._request, None
        if request is not None:
            if self.reader.at_eof() and self.reader.total_bytes:
                # All bytes were taken out of the reader. If that was
                # request.read(), aiohttp remembers them and gives them again.
                return await request.read()
            if self.expecting:
                self.expecting = False
                await _continue(request)
        pace = self._pace
        pace.begin()
        try:
            piece = await super().readany()
        except asyncio.CancelledError as error:
            pace.interrupted(error)
            raise
        finally:
            pace.end()
        pace.arrived(len(piece))
        return piece

    async def close(self) -> None:
        """Stop the clock."""
        self._pace.stop()
        await super().close()


async def _continue(request: web.BaseRequest) -> None:
    """Ask the client for the body it has announced (RFC 9110 section 10.1.1)."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # As aiohttp's own handler does: the response proper has not begun.
    request.writer.output_size = 0


class Pace:
    """Idle time, total time and rate of one body."""

    def __init__(self, limits: Limits) -> None:
        self._idle = limits.idle_timeout
        self._total = limits.total_timeout
        self._rate = limits.min_rate
        self._grace = limits.min_rate_grace
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.time()
        self._received = 0
        # Seconds spent waiting in earlier reads, and since when in this one.
        self._waited = 0.0
        self._since: float | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._late: BodyTimeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A read begins to wait."""
        now = self._since = self._loop.time()
        if self._timer is None:
            self._check(now)
            if self._late is not None:
                raise self._late
        self._reader = asyncio.current_task()

    def end(self) -> None:
        """It has ended, somehow."""
        assert self._since is not None
        self._waited += self._loop.time() - self._since
        self._since = self._reader = None

    def arrived(self, count: int) -> None:
        """It has brought ``count`` bytes; 0 is the end of the body."""
        self._received += count
        if not count:
            self.stop()

    def interrupted(self, error: asyncio.CancelledError) -> None:
        """It was cancelled: by the timer?

        Raises:
            BodyTimeout: yes, and by nobody else.
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
        waited = self._waited + (now - since)
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
            self._timer = self._loop.call_at(moment, self._fire)
        elif self._since is not None:
            self._late = error(waited)
            if self._reader is not None:
                self._reader.cancel()

    def _fire(self) -> None:
        self._check(self._loop.time())

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
