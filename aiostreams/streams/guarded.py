"""The life of a stream, and the guards that keep a source within the laws.

A source overrides ``readany``, ``write``, ``close`` or ``abort`` as if nobody else
existed. ``__init_subclass__`` then wraps each of these methods in a guard:

* ``readany`` serves what was pushed back first, refuses a second reader, remembers
  the end and the first error, holds the count of bytes against ``size``, and turns
  the wake-up of a ``close()`` into ``StreamClosed``;
* ``write`` refuses a second writer and a closed stream;
* ``close`` and ``abort`` run the source's method once, after the state has changed
  and whoever waits has been woken.

A method reached through ``super()`` is the plain one: the guard of a class steps
aside unless that class is the outermost one to define the method.

Life:  OPEN -> ENDED or FAILED -> CLOSED, and from any state to CLOSED.
"""

from __future__ import annotations

import asyncio
import enum
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Self

from aiostreams.errors import SizeMismatch, StreamBusy, StreamClosed
from aiostreams.streams.buffer import Buffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = ["Guarded", "State"]


class State(enum.Enum):
    """Where a stream is in its life."""

    OPEN = "open"
    ENDED = "ended"
    FAILED = "failed"
    CLOSED = "closed"


class Guarded:
    """State, counts and guards: the half of a Stream that is not about reading."""

    # Class defaults and __new__, so that a source need not call __init__.
    _size: int | None = None
    _content_type: str | None = None
    _state: State = State.OPEN
    _error: BaseException | None = None
    _traceback: TracebackType | None = None
    # What came out of the source so far; the position is this minus what is held.
    _received: int = 0
    _reader: asyncio.Task[Any] | None = None
    _writer: asyncio.Task[Any] | None = None
    # The tasks that close() has woken, by cancelling each of them once.
    _woken: tuple[asyncio.Task[Any], ...] = ()
    _buffer: Buffer

    # The outermost class's own methods, as they were written.
    _source_readany: ClassVar[Callable[[Any], Awaitable[bytes]]]
    _source_write: ClassVar[Callable[[Any, Any], Awaitable[None]]]
    _source_close: ClassVar[Callable[[Any], Awaitable[None]]]
    _source_abort: ClassVar[Callable[[Any], Awaitable[None]]]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._buffer = Buffer()
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, guard in _GUARDS.items():
            method = cls.__dict__.get(name)
            if method is not None and not hasattr(method, "__wrapped__"):
                setattr(cls, f"_source_{name}", method)
                setattr(cls, name, guard(method))

    @property
    def size(self) -> int | None:
        """The length of the whole stream in bytes, or ``None`` when unknown."""
        return self._size

    @property
    def closed(self) -> bool:
        """Whether ``close()`` or ``abort()`` has been called."""
        return self._state is State.CLOSED

    @property
    def position(self) -> int:
        """How many bytes have been consumed."""
        return self._received - self._buffer.held

    def _check_open(self) -> None:
        if self._state is State.CLOSED:
            raise StreamClosed(f"{type(self).__name__} is closed")

    def _check_idle(self) -> None:
        if self._state is State.CLOSED:
            raise StreamClosed(f"{type(self).__name__} is closed")
        if self._reader is not None:
            raise StreamBusy(f"another task is reading this {type(self).__name__}")

    def _check_usable(self) -> None:
        """Raise what a closed or failed stream raises."""
        self._check_open()
        if self._state is State.FAILED:
            assert self._error is not None
            # With its first traceback: it must not grow with each raise.
            raise self._error.with_traceback(self._traceback)

    def _fail(self, error: BaseException) -> None:
        self._state = State.FAILED
        self._error = error
        self._traceback = error.__traceback__

    def _restart(self) -> None:
        """Begin again at byte 0, for a source that can."""
        self._check_idle()
        self._buffer.clear()
        self._received = 0
        self._state = State.OPEN
        self._error = self._traceback = None

    def _shut(self) -> None:
        """Enter CLOSED: drop the buffer, wake whoever waits."""
        self._state = State.CLOSED
        self._buffer.clear()
        self._error = self._traceback = None
        current = asyncio.current_task()
        self._woken = tuple(
            task
            for task in {self._reader, self._writer}
            if task is not None and task is not current and task.cancel()
        )

    def _after_close(
        self, error: BaseException | None, task: asyncio.Task[Any] | None
    ) -> BaseException:
        """What a call raises when the stream was closed while it waited.

        The cancellation that woke it is undone here; another one, from outside,
        is never swallowed.
        """
        cancelled = isinstance(error, asyncio.CancelledError)
        if task in self._woken:
            assert task is not None
            if task.uncancel() and cancelled:
                assert error is not None
                return error
        elif cancelled:
            assert error is not None
            return error
        return StreamClosed(f"{type(self).__name__} was closed during the call")

    def _overrun(self, chunk: bytes, size: int) -> bytes:
        """The promised part of a chunk that goes beyond ``size``."""
        seen = self._received
        self._received = size
        error = SizeMismatch(
            f"{type(self).__name__} promised {size} bytes, "
            f"its source gave at least {seen}",
            expected=size,
            seen=seen,
        )
        self._fail(error)
        promised = chunk[: len(chunk) - (seen - size)]
        if not promised:
            raise error
        return promised

    def _end(self) -> bytes:
        """The source has ended: rightly so?"""
        size = self.size
        if size is not None and self._received != size:
            error = SizeMismatch(
                f"{type(self).__name__} promised {size} bytes, "
                f"its source ended after {self._received}",
                expected=size,
                seen=self._received,
            )
            self._fail(error)
            raise error
        self._state = State.ENDED
        return b""


def _guard_readany(
    source: Callable[[Any], Awaitable[bytes]],
) -> Callable[[Any], Awaitable[bytes]]:
    @functools.wraps(source)
    async def readany(self: Guarded) -> bytes:
        if type(self)._source_readany is not source:  # noqa: SLF001
            return await source(self)  # reached through super()
        if self._reader is not None:
            self._check_idle()
        if self._buffer.held:
            return self._buffer.take_chunk()
        if self._state is not State.OPEN:
            self._check_usable()
            return b""
        task = self._reader = asyncio.current_task()
        try:
            chunk = await source(self)
        except BaseException as error:
            self._reader = None
            if self.closed:
                closed = self._after_close(error, task)
                if closed is not error:
                    raise closed from None
            elif isinstance(error, Exception) and not isinstance(error, StreamBusy):
                self._fail(error)
            raise
        self._reader = None
        if self.closed:
            raise self._after_close(None, task)
        if type(chunk) is not bytes:
            chunk = bytes(memoryview(chunk))
        if not chunk:
            return self._end()
        self._received = received = self._received + len(chunk)
        size = self.size
        if size is not None and received > size:
            return self._overrun(chunk, size)
        return chunk

    return readany


def _guard_write(
    source: Callable[[Any, Any], Awaitable[None]],
) -> Callable[[Any, Any], Awaitable[None]]:
    @functools.wraps(source)
    async def write(self: Guarded, data: bytes | bytearray | memoryview) -> None:
        if type(self)._source_write is not source:  # noqa: SLF001
            await source(self, data)  # reached through super()
            return
        self._check_open()
        if self._writer is not None:
            raise StreamBusy(f"another task is writing this {type(self).__name__}")
        task = self._writer = asyncio.current_task()
        try:
            await source(self, data)
        except BaseException as error:
            self._writer = None
            if self.closed:
                closed = self._after_close(error, task)
                if closed is not error:
                    raise closed from None
            raise
        self._writer = None
        if self.closed:
            raise self._after_close(None, task)

    return write


def _guard_close(
    source: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    name = source.__name__  # "close" or "abort": what leads out of life

    @functools.wraps(source)
    async def close(self: Guarded) -> None:
        if getattr(type(self), f"_source_{name}") is not source:
            await source(self)  # reached through super()
        elif self._state is not State.CLOSED:
            self._shut()
            await source(self)

    return close


_GUARDS: dict[str, Callable[[Any], Any]] = {
    "readany": _guard_readany,
    "write": _guard_write,
    "close": _guard_close,
    "abort": _guard_close,
}
