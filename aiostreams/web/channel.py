"""Server-sent events for many: published once, followed by any number of clients.

A ``Channel`` keeps the newest events, each already as the bytes that are sent. A
subscription is no queue but a place among them: it costs the same however far it is
behind, and what it has not read when it is too far behind is dropped, or it is ended.
A client that comes back says by ``Last-Event-ID`` where its place is.

``setup()`` ends the subscriptions of an application when it shuts down; aiohttp would
wait for them.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import secrets
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web

from aiostreams.content.events import Event, EventStream
from aiostreams.errors import StreamClosed
from aiostreams.limits import KiB
from aiostreams.streams.base import Stream
from aiostreams.web.state import APP_SUBSCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiostreams.web.state import Subscriptions

__all__ = ["Channel"]

# Events that wait are joined to pieces of this size.
_PIECE: Final = 64 * KiB
_COMMENT: Final = b":\n\n"


class Channel:
    """Events for any number of subscribers, with a history for those who come back.

        news = Channel()

        @routes.get("/news")
        async def follow(request):
            return news.subscribe(request)

        news.publish({"title": "It begins"})

    It is for the event loop's own thread, and for one process: what others publish
    must be published here as well.

    Args:
        history: how many events are kept for those who subscribe later.
        max_behind: how many events may be published and not yet be read by a
            subscriber.
        slow: what becomes of one that is further behind: ``"drop"`` leaves out the
            oldest of the events that wait for it, ``"close"`` ends it. A browser comes
            back then, and has what it missed from the history.

    Raises:
        ValueError: a number is out of range, or ``slow`` is neither.
    """

    def __init__(
        self,
        *,
        history: int = 256,
        max_behind: int = 256,
        slow: Literal["drop", "close"] = "drop",
    ) -> None:
        if history < 0:
            raise ValueError(f"history must not be negative: {history}")
        if max_behind < 1:
            raise ValueError(f"max_behind must be positive: {max_behind}")
        if slow not in {"drop", "close"}:
            raise ValueError(f"slow must be 'drop' or 'close', not {slow!r}")
        self._history = history
        self._events = _Events(history, max_behind, drops=slow == "drop")
        self._epoch = secrets.token_hex(8)

    @property
    def closed(self) -> bool:
        """Whether no more is published."""
        return self._events.closed

    @property
    def subscribers(self) -> int:
        """How many streams of it are open."""
        return len(self._events.streams)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Channel of {self._events.count} events, {state}>"

    def publish(self, event: Event | Any) -> Event:
        """Send ``event`` to everybody who has subscribed. Does not wait.

        Args:
            event: an :class:`Event`, text, or a value that is sent as JSON.

        Returns:
            The event as it is sent. One without an id has got one, which no other
            channel gives, in no other process either.

        Raises:
            StreamClosed: the channel was closed.
            ValueError, TypeError: it cannot be encoded; nothing is sent.
        """
        if self.closed:
            raise StreamClosed("the channel is closed")
        if not isinstance(event, Event):
            event = Event(data=event)
        if event.id is None:
            number = self._events.count + 1
            event = dataclasses.replace(event, id=f"{self._epoch}-{number}")
        self._events.add(event, bytes(event))
        return event

    def close(self) -> None:
        """Say that this is all: subscriptions end behind the last event.

        Who subscribes later gets what is kept, and then the end. A browser comes back
        after an end; tell it by an event that there is no use in that.
        """
        self._events.closed = True
        self._events.wake()

    def subscribe(
        self,
        request: web.BaseRequest,
        *,
        after: str | None = None,
        keep_alive: float | None = 15.0,
    ) -> EventStream:
        """Return the events behind the last one this client has seen, as they come.

        Behind an id that is not known, or not any more, and for a client that names
        none, that is all of the history. ``async for`` iterates over the events.

        Args:
            request: what the client has sent; its ``Last-Event-ID`` counts.
            after: an id that counts in its place: a page that opens its stream anew
                has no way to send that field.
            keep_alive: seconds of silence after which a comment is sent; never when
                ``None``.

        Raises:
            ValueError: ``keep_alive`` is not positive.
        """
        if after is None:
            after = request.headers.get("Last-Event-ID")
        subscriptions = None
        if isinstance(request, web.Request):
            subscriptions = request.config_dict.get(APP_SUBSCRIPTIONS)
        number = self._events.after(after, self._history)
        return _Subscription(self._events, number, subscriptions, keep_alive)


class _Events:
    """The newest events, and who waits for more.

    Attributes:
        count: how many there were, ever.
        closed: whether no more will come.
        streams: those that are open.
    """

    def __init__(self, history: int, max_behind: int, *, drops: bool) -> None:
        self.count = 0
        self.closed = False
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        # Of those who begin with all of the history, nobody is behind by that.
        self._kept: deque[tuple[Event, bytes]] = deque(maxlen=history + max_behind)
        self._max_behind = max_behind
        self._drops = drops
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, event: Event, data: bytes) -> None:
        self._kept.append((event, data))
        self.count += 1
        self.wake()

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, future: asyncio.Future[None]) -> None:
        """Wait for ``future``, which the next event makes done."""
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def after(self, seen: str | None, history: int) -> int:
        """Return how many events precede the place of who has seen that of this id."""
        oldest = max(0, self.count - history)
        if seen is not None:
            number = self.count
            for event, _ in reversed(self._kept):
                if number <= oldest:
                    break
                if event.id == seen:
                    return number
                number -= 1
        return oldest

    def next(self, place: _Place) -> tuple[Event, bytes] | None:
        """Return the event at a place, which moves on; ``None`` if none is there."""
        # What was published before somebody came is no sign of being slow.
        behind = self.count - max(place.number, place.joined)
        if behind > self._max_behind:
            if self._drops:
                place.number = self.count - self._max_behind
            else:
                place.number = self.count
                place.ended = True
        if place.number == self.count:
            return None
        place.number += 1
        return self._kept[place.number - self.count - 1]


class _Place:
    """Where one subscriber is.

    Args:
        events: of which channel.
        number: how many of them stand before it.

    Attributes:
        joined: how many there were when it came.
        ended: whether it ends where it has no event to go on with.
    """

    def __init__(self, events: _Events, number: int) -> None:
        self.events = events
        self.number = number
        self.joined = events.count
        self.ended = False

    @property
    def over(self) -> bool:
        return self.ended or self.events.closed

    def end(self) -> None:
        self.ended = True
        self.events.wake()


class _Subscription(EventStream):
    """What ``subscribe`` gives: a place, and streams that begin there."""

    def __init__(
        self,
        events: _Events,
        number: int,
        subscriptions: Subscriptions | None,
        keep_alive: float | None,
    ) -> None:
        super().__init__((), keep_alive=keep_alive)
        self._begin = _Place(events, number)
        self._subscriptions = subscriptions

    def _place(self) -> _Place:
        place = copy.copy(self._begin)
        if self._subscriptions is not None:
            self._subscriptions.add(place)
        return place

    def encode(self) -> Stream:
        """Return a live stream of the events."""
        return _Following(self._place(), self._keep_alive)

    async def __aiter__(self) -> AsyncIterator[Event]:
        place = self._place()
        events = place.events
        loop = asyncio.get_running_loop()
        while True:
            while (found := events.next(place)) is not None:
                yield found[0]
            if place.over:
                return
            await events.wait(loop.create_future())

    def __repr__(self) -> str:
        return "<EventStream of a Channel>"


class _Following(Stream):
    """The bytes of the events from a place on, and comments while there are none."""

    live = True

    def __init__(self, place: _Place, keep_alive: float | None) -> None:
        super().__init__(content_type="text/event-stream")
        self._place = place
        self._keep_alive = keep_alive
        # When bytes were handed out last. One timer for all of a silence, and not one
        # for each wait: these are as many as events.
        self._spoken: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._woken: asyncio.Future[None] | None = None
        place.events.streams.add(self)

    async def readany(self) -> bytes:
        """Return all events that wait, up to 64 KiB; a comment after long silence."""
        place = self._place
        loop = asyncio.get_running_loop()
        if self._spoken is None:
            self._spoken = loop.time()
        while True:
            pieces: list[bytes] = []
            size = 0
            while size < _PIECE and (found := place.events.next(place)) is not None:
                pieces.append(found[1])
                size += len(found[1])
            if pieces:
                self._spoken = loop.time()
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if place.over:
                return b""
            if self._keep_alive is not None:
                until = self._spoken + self._keep_alive
                if loop.time() >= until:
                    self._spoken = loop.time()
                    return _COMMENT
                if self._timer is None:
                    self._timer = loop.call_at(until, self._look)
            self._woken = loop.create_future()
            try:
                await place.events.wait(self._woken)
            finally:
                self._woken = None

    def _look(self) -> None:
        """Let the read that waits look at the clock; it sets the timer again."""
        self._timer = None
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def close(self) -> None:
        """Leave the channel."""
        if self._timer is not None:
            self._timer.cancel()
        self._place.events.streams.discard(self)
