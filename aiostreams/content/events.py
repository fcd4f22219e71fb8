"""Server-sent events (WHATWG HTML section 9.2), both ways.

Out: each event is one piece, handed out as soon as the iterable gives it; when that
is silent for long, a comment keeps proxies from closing the connection. The stream
says that it is ``live``, so a compressor flushes after each event.

In: lines end with CR LF, LF or CR, in any mixture and cut anywhere; fields that the
standard does not know are ignored, and an event without its blank line is dropped.

A file of its own, as each content type has one; applications import it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiostreams.content import jsontext
from aiostreams.content.base import Content
from aiostreams.errors import exceeded
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.streams.iterable import AsyncSteps, ProducedStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["Event", "EventStream"]

_CONTENT_TYPE: Final = "text/event-stream"
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; all fields are optional.

    Args:
        data: text of any number of lines, or a value that is sent as JSON. An
            event without data is not dispatched by clients: it can only set ``id``
            and ``retry``.
        event: its type; clients take ``message`` when there is none.
        id: what a client that reconnects sends back as ``Last-Event-ID``.
        retry: after how many milliseconds a client should reconnect.
        comment: text that clients ignore.

    Raises:
        ValueError: ``event`` or ``id`` has a line end or NUL, or ``retry`` is
            negative.
    """

    data: Any = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for name in ("event", "id"):
            text = getattr(self, name)
            if text is not None and re.search(r"[\r\n\0]", text):
                raise ValueError(f"the {name} of the event has a line break or a NUL")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry must not be negative: {self.retry}")

    def __bytes__(self) -> bytes:
        """Return the lines of the event, with the blank one that ends it."""
        lines: list[str] = []
        if self.comment is not None:
            lines += [f": {line}" for line in _LINE_END.split(self.comment)]
        if self.event is not None:
            lines.append(f"event: {self.event}")
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry:d}")
        if self.data is not None:
            data = self.data
            if not isinstance(data, str):
                data = jsontext.serialise(data).decode()
            lines += [f"data: {line}" for line in _LINE_END.split(data)]
        return "\n".join([*lines, "", ""]).encode()


# What may be sent: an event, or its data.
Sendable: TypeAlias = Event | Any


class EventStream(Content):
    """Events, one by one, as they come: ``text/event-stream``.

    ``async for event in events`` iterates over those of a body, or over what the
    constructor was given.

    A client that was cut off comes back by itself, with the ``id`` of the last event
    it has seen: ``request.headers.get("Last-Event-ID")`` tells where to go on.

    Args:
        events: an iterable, sync or async, of :class:`Event`, of text, or of values
            that are sent as JSON. What has ``aclose()`` or ``close()``, as generators
            and anyio's streams have, is closed when the client has left.
        keep_alive: seconds of silence after which a comment is sent; never when
            ``None``.

    Raises:
        ValueError: ``keep_alive`` is not positive.
    """

    def __init__(
        self,
        events: AsyncIterable[Sendable] | Iterable[Sendable],
        *,
        keep_alive: float | None = 15.0,
    ) -> None:
        if keep_alive is not None and not keep_alive > 0:
            raise ValueError(f"keep_alive must be positive: {keep_alive}")
        if not isinstance(events, (AsyncIterable, Iterable)) or isinstance(
            events, (str, bytes)
        ):
            raise TypeError(f"events must be an iterable, not {type(events).__name__}")
        self._events = events
        self._keep_alive = keep_alive

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    @property
    def response_headers(self) -> Mapping[str, str]:
        """Events are news: a cache has no use for them."""
        return {"Cache-Control": "no-store"}

    def encode(self) -> Stream:
        """Return a live stream of the events; the iterable is closed with it."""
        return _Sending(self._events, self._keep_alive)

    @classmethod
    async def decode(
        cls, stream: Stream, *, limits: Limits | None = None
    ) -> EventStream:
        """Return the events of a body, parsed as they arrive.

        Raises:
            LimitExceeded: while iterating: one event has more than ``max_memory``
                bytes.
        """
        return cls(_Receiving(stream, (limits or DEFAULT_LIMITS).max_memory))

    async def __aiter__(self) -> AsyncIterator[Any]:
        if isinstance(self._events, AsyncIterable):
            async for event in self._events:
                yield event
        else:
            for event in self._events:
                yield event

    def __repr__(self) -> str:
        return f"<EventStream of {type(self._events).__name__}>"


class _Sending(ProducedStream):
    """The bytes of events."""

    live = True

    def __init__(
        self,
        events: AsyncIterable[Sendable] | Iterable[Sendable],
        keep_alive: float | None,
    ) -> None:
        super().__init__(content_type=_CONTENT_TYPE)
        self._producer = AsyncSteps(events, _as_bytes)
        self._keep_alive = keep_alive

    async def readany(self) -> bytes:
        """Return the next event, or a comment after a long silence."""
        silence = asyncio.timeout(self._keep_alive)
        try:
            async with silence:
                return await super().readany()
        except TimeoutError:
            if not silence.expired():
                raise  # of the iterable
            return b":\n\n"


def _as_bytes(event: Sendable) -> bytes:
    return bytes(event if isinstance(event, Event) else Event(data=event))


class _Receiving(AsyncIterator[Event]):
    """The events of a body."""

    def __init__(self, stream: Stream, ceiling: int) -> None:
        self._lines = _Lines(stream, ceiling)
        self._last_id: str | None = None
        self._first = True

    async def __anext__(self) -> Event:
        data: list[str] = []
        kind: str | None = None
        retry: int | None = None
        while True:
            raw = await self._lines.next()
            if raw is None:
                raise StopAsyncIteration
            line = raw.decode("utf-8", "replace")
            if self._first:
                line = line.removeprefix("\ufeff")
                self._first = False
            if not line:
                self._lines.gathered = 0
                if data:
                    return Event(
                        data="\n".join(data),
                        event=kind or None,
                        id=self._last_id,
                        retry=retry,
                    )
                kind = None
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name == "event":
                kind = value.replace("\0", "")
            elif name == "id" and "\0" not in value:
                self._last_id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                retry = int(value[:15])


class _Lines:
    """Lines of a stream that end with CR LF, LF or CR."""

    def __init__(self, stream: Stream, ceiling: int) -> None:
        self._stream = stream
        self._ceiling = ceiling
        self._ready: list[bytes] = []
        self._rest: list[bytes] = []
        # Bytes in it: to count them anew for each piece would be quadratic.
        self._held = 0
        self._after_cr = False
        # Bytes of lines handed out, and of the one begun, since the last event.
        self.gathered = 0

    async def next(self) -> bytes | None:
        while not self._ready:
            piece = await self._stream.readany()
            if not piece:
                return None
            self._take(piece)
        line = self._ready.pop()
        self.gathered += len(line)
        self._check(self.gathered)
        return line

    def _take(self, piece: bytes) -> None:
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        lines = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest.append(lines[0])
        if len(lines) == 1:
            self._held += len(lines[0])
            self._check(self.gathered + self._held)
            return
        lines[0] = b"".join(self._rest)
        last = lines.pop()
        self._rest = [last] if last else []
        self._held = len(last)
        lines.reverse()
        self._ready = lines

    def _check(self, seen: int) -> None:
        if seen > self._ceiling:
            raise exceeded("an event", seen, self._ceiling)
