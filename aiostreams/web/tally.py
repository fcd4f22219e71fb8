"""What is counted of one request while it is under way.

A ``Tally`` hangs on the request under a typed key, if somebody wants its numbers:
without ``setup(on_stats=...)`` there is none, and all that remains are a few lookups
where a body is decoded, divided or refused, which costs a hundred times as much.

Most numbers need no counting. aiohttp's reader knows what came, a stream what went
through it, a parser how many parts there were: the tally keeps hold of those, and
looks at them when the request is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiostreams.errors import StreamError
    from aiostreams.streams.base import Stream
    from aiostreams.streams.parts import PartReader

__all__ = ["TALLY", "Tally"]


class Tally:
    """The counts of one request.

    Attributes:
        started: when it began, by ``time.perf_counter()``.
        response: the response that was begun last.
        response_started: when that was.
        raised: the class of the exception that left the application, unless it was
            an ``HTTPException``.
        gone: whether the connection was lost when it did.
        answered: the class and the status of the error that was answered, or could
            not be.
        sent: bytes of the response's content that went through aiohttp's writer, as
            it got them.
        sent_file: bytes of it that the kernel sent.
        parts: how many parts were read without a reader of parts.
        wait: how long reading the body waited for the client, in seconds.
        plain: what is encoded to make the response: the stream, or its size.
    """

    __slots__ = (
        "_decoded",
        "_readers",
        "answered",
        "gone",
        "parts",
        "plain",
        "raised",
        "response",
        "response_started",
        "sent",
        "sent_file",
        "started",
        "wait",
    )

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.response: web.StreamResponse | None = None
        self.response_started: float | None = None
        self.raised: type[BaseException] | None = None
        self.gone = False
        self.answered: tuple[type[StreamError], int] | None = None
        self.sent = 0
        self.sent_file = 0
        self.parts = 0
        self.wait = 0.0
        self.plain: Stream | int | None = None
        self._decoded: Stream | None = None
        self._readers: list[PartReader[Any]] | None = None

    def decoding(self, stream: Stream) -> None:
        """``stream`` is the request's body with its codings undone."""
        self._decoded = stream

    @property
    def decoded(self) -> int | None:
        """How many bytes came out of that, or ``None`` when there is none."""
        return None if self._decoded is None else self._decoded._life.received  # noqa: SLF001

    def dividing(self, reader: PartReader[Any]) -> None:
        """``reader`` reads parts of the request's body."""
        if self._readers is None:
            self._readers = []
        self._readers.append(reader)


TALLY: Final = web.RequestKey("aiostreams.tally", Tally)
