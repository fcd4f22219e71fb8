"""What happens, told to everybody who listens: server-sent events.

A ``Channel`` keeps the newest of them: a listener costs no queue, and one that is slow
misses what has been dropped meanwhile. A browser that was cut off comes back with the
last id it has seen, and is told what came after it. An id is no more than that: one
that is not known any more, or from before a restart, brings all that is kept.

With several workers an event is not published here but sent to the supervisor, which
gives it back to every worker, this one too (``workers.py``); so all of them tell the
same events in the same order, and a browser may come back to any of them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from aiostreams import Channel, Event, EventStream, KiB, respond

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

__all__ = ["EVENTS", "HISTORY", "Events", "install", "numbered", "routes"]

# How many are kept.
HISTORY: Final = 100
# How many milliseconds a browser waits until it comes back.
RETRY: Final = 2000
# How much may wait for a supervisor that does not read; then events are dropped.
MOST_WAITING: Final = 256 * KiB

_logger = logging.getLogger(__name__)

routes = web.RouteTableDef()


def numbered() -> Callable[[], str]:
    """Return a source of ids, none of which another source gives."""
    epoch = secrets.token_hex(4)
    count = itertools.count(1)
    return lambda: f"{epoch}.{next(count)}"


class Events:
    """The newest events, and those who follow them."""

    def __init__(self) -> None:
        self._channel = Channel(history=HISTORY, max_behind=HISTORY)
        self._new_id = numbered()
        # Where an event goes instead of to `tell`, when there are other workers.
        self.relay: Callable[[dict[str, Any]], None] | None = None

    def publish(self, kind: str, **details: Any) -> None:
        """Let everybody know.

        Args:
            kind: what has happened.
            details: more about it; those that are ``None`` are left out.
        """
        known = {name: value for name, value in details.items() if value is not None}
        event = {"kind": kind, "time": round(time.time(), 3), **known}
        if self.relay is not None:
            self.relay(event)
        else:
            self.tell({"id": self._new_id(), **event})

    def tell(self, event: dict[str, Any]) -> None:
        """Tell those who follow here of an event that has its id."""
        self._channel.publish(Event(id=event["id"], data=event, retry=RETRY))

    def follow(self, request: web.Request) -> EventStream:
        """Send what came after the event that this browser has seen, and what comes."""
        # A page that opens its stream anew has no way to send the header field.
        after = request.headers.get("Last-Event-ID") or request.query.get("after")
        return self._channel.subscribe(request, after=after)


EVENTS = web.AppKey("events", Events)


def install(app: web.Application, channel: socket.socket | None) -> None:
    """Have the events of this application.

    Args:
        app: the application.
        channel: to the supervisor, if there is one.
    """

    async def connected(app: web.Application) -> AsyncIterator[None]:
        events = app[EVENTS] = Events()
        if channel is None:
            yield
            return
        reader, writer = await asyncio.open_connection(sock=channel)

        def relay(event: dict[str, Any]) -> None:
            if writer.transport.get_write_buffer_size() < MOST_WAITING:
                writer.write(json.dumps(event).encode() + b"\n")

        events.relay = relay
        listening = asyncio.create_task(listen(reader, events))
        yield
        listening.cancel()
        writer.close()

    app.cleanup_ctx.append(connected)


async def listen(reader: asyncio.StreamReader, events: Events) -> None:
    """Tell what the supervisor sends; without one there is nothing to go on for."""
    async for line in reader:
        events.tell(json.loads(line))
    _logger.error("the supervisor is gone; this worker ends too")
    signal.raise_signal(signal.SIGTERM)


@routes.get("/events")
async def follow(request: web.Request) -> web.StreamResponse:
    """Send what happens, from where the browser left off."""
    return respond(request.app[EVENTS].follow(request))
