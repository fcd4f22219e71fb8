"""Content: a parsed value that becomes a Stream, and is read from one.

``encode()`` does all that can fail for reasons of the value itself (a number that
JSON cannot express, a lone surrogate), so that such an error comes before any byte
is sent. ``decode()`` holds a whole body in memory, so it never reads without a
limit: :func:`read_all` asks the declared size first and counts while reading.
Parsing a large body moves to a worker thread (:func:`offload`), so that the event
loop takes turns with it.

A body's Content-Type must be checked by the caller; here only its ``charset`` counts.
"""

from __future__ import annotations

import asyncio
import io
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from aiostreams.errors import exceeded
from aiostreams.limits import DEFAULT_LIMITS, KiB
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from aiostreams.errors import LimitExceeded
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["INLINE", "Content", "offload", "read_all"]

T = TypeVar("T")

# What is parsed in place. JSON of this size takes about 2 ms; a worker thread costs
# 0.2 ms.
INLINE: Final = 256 * KiB


_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Content(ABC):
    """A value that can be the body of a request or a response.

    ``async with content as stream`` encodes it, and closes the stream; left by an
    exception it aborts the stream. The value itself is not changed by that.

    Attributes:
        path: where its bytes are as a file of this machine, if they are: what lies
            next to that file in a content coding may be sent in its place.
        tagged: whether a response of it, with its bytes in memory, carries an entity
            tag that is made of them, and answers conditions.
    """

    path: str | None = None
    tagged: bool = False

    reads_stream: ClassVar[bool] = False
    """Whether ``decode`` leaves the stream to be read later; it gets the body in memory
    otherwise, which others can read again."""

    # The streams of the `async with` blocks that are open, by the task that runs
    # them: one value may be sent by several tasks at once.
    _entered: list[tuple[asyncio.Task[Any] | None, Stream]] | None = None

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The media type with its parameters (RFC 9110 section 8.3)."""

    @property
    def response_headers(self) -> Mapping[str, str]:
        """Fields that a response of it has, unless its handler says otherwise."""
        return _NO_FIELDS

    @abstractmethod
    def encode(self) -> Stream:
        """Return a new stream of the bytes, with ``content_type`` set.

        Raises:
            ValueError: the value cannot be written in this content type.
        """

    @classmethod
    @abstractmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Content:
        """Read ``stream`` to its end and parse it; the caller closes it.

        Args:
            stream: the body; the ``charset`` of its ``content_type`` is honoured.
            limits: the limits; the defaults of :class:`Limits` unless given.

        Raises:
            LimitExceeded: the body is larger than a limit allows.
            MalformedBody: the body breaks the syntax of its content type.
            UnsupportedContent: the charset is unknown.
        """

    async def __aenter__(self) -> Stream:
        stream = self.encode()
        if self._entered is None:
            self._entered = []
        self._entered.append((asyncio.current_task(), stream))
        return stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._entered is not None
        task = asyncio.current_task()
        # The innermost block of this task, or of whoever entered for it.
        index = len(self._entered) - 1
        for place in range(index, -1, -1):
            if self._entered[place][0] is task:
                index = place
                break
        _, stream = self._entered.pop(index)
        if exc_type is None:
            await stream.close()
        else:
            await stream.abort()


async def read_all(stream: Stream, limits: Limits | None = None) -> bytes:
    """Read what is left of ``stream``, at most ``limits.max_memory`` bytes of it.

    When that fails or is cancelled, what was read is back in the stream.

    Raises:
        LimitExceeded: there is more; when ``size`` says so, nothing is read.
    """
    ceiling = (limits or DEFAULT_LIMITS).max_memory
    size = stream.size
    if size is not None and size - stream.position > ceiling:
        raise _too_large(size - stream.position, ceiling)
    # Grows as it is filled, and gives its bytes without a copy: half the memory of a
    # list of pieces and their join(), and for 1 MiB a third of the CPU.
    whole = io.BytesIO()
    seen = 0
    try:
        while chunk := await stream.readany():
            seen += whole.write(chunk)
            if seen > ceiling:
                raise _too_large(seen, ceiling)  # noqa: TRY301 - what was read goes back
    except BaseException:
        if seen and not stream.closed:
            stream.unread(whole.getvalue())
        raise
    return whole.getvalue()


def _too_large(seen: int, ceiling: int) -> LimitExceeded:
    return exceeded("the body", seen, ceiling, "bytes to hold in memory")


async def offload(parse: Callable[[Any], T], data: bytes | str) -> T:
    """``parse(data)``: at once when it is small, in a worker thread otherwise.

    A parser written in C holds the interpreter lock while it makes objects; the
    thread frees whoever awaits, and the loop between two steps of the parser.
    """
    if len(data) <= INLINE:
        return parse(data)
    job = ThreadCall(lambda: parse(data))
    await job.wait()
    return job.result()
