"""What is counted of one request while it is under way.

A ``Tally`` hangs on the request under a typed key, if somebody wants its numbers.
Without ``setup(on_stats=...)`` there is none, and all that is left is a lookup where a
body is decoded, divided, encoded or refused, which costs a hundred times as much.

Most numbers need no counting. aiohttp's reader knows what came, a stream what went
through it, a reader of parts how many there were: the tally keeps hold of those, and
``summary`` looks at them when the request is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

if TYPE_CHECKING:
    from aiostreams.errors import StreamError
    from aiostreams.streams.base import Stream
    from aiostreams.streams.parts import PartReader
    from aiostreams.web.stats import BodyStats

__all__ = [
    "TALLY",
    "Listener",
    "Tally",
    "note_answered",
    "note_decoded",
    "note_parts",
    "note_plain",
    "note_sent_file",
]


class Listener(Protocol):
    """Who is told about the request."""

    stopping: bool

    def tell(self, stats: BodyStats, told: list[object]) -> None: ...


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
        parts: how many parts were read without a reader of parts.
        readers: the readers of parts of the body.
        decoded: the body with its codings undone.
        plain: what is encoded to make the response: the stream, or its size.
    """

    __slots__ = (
        "answered",
        "decoded",
        "gone",
        "listeners",
        "parts",
        "plain",
        "raised",
        "readers",
        "response",
        "response_started",
        "sent",
        "sent_file",
        "started",
    )

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.listeners: list[Listener] = []
        self.response: web.StreamResponse | None = None
        self.response_started: float | None = None
        self.raised: type[BaseException] | None = None
        self.gone = False
        self.answered: tuple[type[StreamError], int] | None = None
        self.sent = 0
        self.sent_file = 0
        self.parts = 0
        self.readers: tuple[PartReader[Any], ...] = ()
        self.decoded: Stream | None = None
        self.plain: Stream | int | None = None

    def wrote(self, size: int, _total: int) -> None:
        """The writer of aiohttp has taken ``size`` bytes of content."""
        self.sent += size


TALLY: Final = web.RequestKey("aiostreams.tally", Tally)


def note_answered(request: web.BaseRequest, error: StreamError, status: int) -> None:
    """``error`` is answered with ``status``, or cannot be any more."""
    tally = request.get(TALLY)
    if tally is not None:
        tally.answered = type(error), status


def note_decoded(request: web.BaseRequest, stream: Stream) -> None:
    """``stream`` is the body of ``request`` with its codings undone."""
    tally = request.get(TALLY)
    if tally is not None:
        tally.decoded = stream


def note_parts(request: web.BaseRequest, parts: PartReader[Any] | int) -> None:
    """The body of ``request`` has so many parts, or is read by that reader."""
    tally = request.get(TALLY)
    if tally is None:
        return
    if isinstance(parts, int):
        tally.parts = parts
    else:
        tally.readers += (parts,)


def note_plain(request: web.BaseRequest, size: int) -> None:
    """The body of the response has ``size`` bytes before it is encoded."""
    tally = request.get(TALLY)
    if tally is not None:
        tally.plain = size


def note_sent_file(request: web.BaseRequest, size: int) -> None:
    """The kernel has sent ``size`` bytes of the response."""
    tally = request.get(TALLY)
    if tally is not None:
        tally.sent_file += size
