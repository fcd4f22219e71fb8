"""What is counted of one request while it is under way.

A ``RequestBody`` has a ``Tally`` if somebody wants the request's numbers. Without
``setup(on_stats=...)`` there is none, and all that is left is a look for it where a
body is decoded, divided, encoded or refused, which costs a thousand times as much.

Most numbers need no counting. aiohttp's reader knows what came, a stream what went
through it, a reader of parts how many there were: the tally keeps hold of those, and
``summary`` looks at them when the request is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiohttp import web

    from aiostreams.errors import StreamError
    from aiostreams.streams.base import Stream
    from aiostreams.streams.parts import PartReader
    from aiostreams.web.stats import BodyStats

__all__ = ["Listener", "Tally"]


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
        self.started: float = time.perf_counter()
        self.listeners: list[Listener] = []
        self.response: web.StreamResponse | None = None
        self.response_started: float = 0.0
        self.raised: type[BaseException] | None = None
        self.gone: bool = False
        self.answered: tuple[type[StreamError], int] | None = None
        self.sent: int = 0
        self.sent_file: int = 0
        self.parts: int = 0
        self.readers: tuple[PartReader[Any], ...] = ()
        self.decoded: Stream | None = None
        self.plain: Stream | int | None = None

    def divided(self, parts: PartReader[Any] | int) -> None:
        """The body has so many parts, or is read by that reader of parts."""
        if isinstance(parts, int):
            self.parts = parts
        else:
            self.readers += (parts,)

    def wrote(self, size: int, _total: int) -> None:
        """The writer of aiohttp has taken ``size`` bytes of content."""
        self.sent += size

    async def takes(self, chunk: bytes) -> None:
        """The writer of an aiohttp before 3.14.4 is about to take ``chunk``."""
        self.sent += len(chunk)
