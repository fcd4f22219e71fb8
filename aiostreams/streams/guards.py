"""The guards that keep a source within the laws.

A source overrides ``readany``, ``write``, ``close`` or ``abort`` as if it were the only
user of the stream. ``Guarded`` wraps each of these methods when the class is made:

* ``readany`` serves what was pushed back first, refuses a second reader, remembers
  the end and the first error, holds the count of bytes against ``size``, and turns
  the wake-up of a ``close()`` into ``StreamClosed``;
* ``write`` refuses a second writer and a closed stream;
* ``close`` and ``abort`` run the source's method once, after the state has changed
  and whoever waits has been woken;
* ``slice`` refuses negative numbers and a closed stream.

A method reached through ``super()`` is the plain one: the guard of a class steps
aside unless that class is the outermost one to define the method.

``StreamState`` is what the guards check before each call and update after it: the
state of the stream, its counts, and the task that is using it. It is one object, so
that a subclass may name its own attributes freely.

    OPEN -> ENDED or FAILED -> CLOSED, and from any state to CLOSED

``Buffer`` has the bytes that were received and are not consumed yet: a deque of
chunks, and how far the first one is consumed. Chunks are not joined or copied before
they are asked for in one piece, so passing a chunk through costs nothing, and many
small reads out of a large chunk copy each byte once.
"""

from __future__ import annotations

import asyncio
import enum
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aiostreams.errors import SizeMismatch, StreamBusy, StreamClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

__all__ = [
    "OPEN",
    "Buffer",
    "Guarded",
    "State",
    "StreamState",
    "check_range",
    "is_new",
]


class _FirstUse:
    """Makes the state of a stream when it is first asked for.

    So a source need not call ``super().__init__()``, and bytes that are sent as they
    are, as those of most responses, do without.
    """

    def __get__(self, stream: Guarded, _owner: type) -> StreamState:
        life = stream._life = StreamState(type(stream).__name__)  # noqa: SLF001
        return life


class Guarded:
    """Gives each instance a state, and each subclass its guards."""

    if TYPE_CHECKING:
        _life: StreamState
    else:
        _life = _FirstUse()
    # The outermost class's own methods, as they were written.
    _source_readany: ClassVar[Callable[[Any], Awaitable[bytes]]]
    _source_write: ClassVar[Callable[[Any, Any], Awaitable[None]]]
    _source_close: ClassVar[Callable[[Any], Awaitable[None]]]
    _source_abort: ClassVar[Callable[[Any], Awaitable[None]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, guard in _GUARDS.items():
            method = cls.__dict__.get(name)
            if method is not None and not hasattr(method, "__wrapped__"):
                setattr(cls, f"_source_{name}", method)
                setattr(cls, name, guard(method))

    def _take_held(self) -> bytes:
        """Take what ``readany`` gives of the bytes pushed back or read ahead."""
        return self._life.buffer.take_chunk()

    if TYPE_CHECKING:  # Stream has it

        @property
        def size(self) -> int | None:
            """The length of the whole stream in bytes, or ``None`` when unknown."""


def is_new(stream: Guarded) -> bool:
    """Return whether nobody has read, written or closed ``stream`` so far."""
    return "_life" not in vars(stream)


def _guard_readany(
    source: Callable[[Any], Awaitable[bytes]],
) -> Callable[[Any], Awaitable[bytes]]:
    @functools.wraps(source)
    async def readany(self: Guarded) -> bytes:
        if type(self)._source_readany is not source:  # noqa: SLF001
            return await source(self)  # reached through super()
        life = self._life
        if life.reader is not None:
            life.check_idle()
        if life.buffer.held:
            return self._take_held()
        if life.state is not OPEN:
            life.check_usable()
            return b""
        task = life.reader = asyncio.current_task()
        try:
            chunk = await source(self)
        except BaseException as error:
            settled = life.settle(error, task)
            if settled is error:
                raise
            raise settled from None
        return life.arrived(chunk, self.size, task)

    return readany


def _guard_write(
    source: Callable[[Any, Any], Awaitable[None]],
) -> Callable[[Any, Any], Awaitable[None]]:
    @functools.wraps(source)
    async def write(self: Guarded, data: bytes | bytearray | memoryview) -> None:
        if type(self)._source_write is not source:  # noqa: SLF001
            await source(self, data)  # reached through super()
            return
        life = self._life
        life.check_open()
        if life.writer is not None:
            raise StreamBusy(f"another task is writing this {life.name}")
        task = life.writer = asyncio.current_task()
        try:
            await source(self, data)
        except BaseException as error:
            life.writer = None
            if life.closed:
                closed = life.after_close(error, task)
                if closed is not error:
                    raise closed from None
            raise
        life.writer = None
        if life.closed:
            raise life.after_close(None, task)

    return write


def _guard_close(
    source: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    name = f"_source_{source.__name__}"  # of close, or of abort

    @functools.wraps(source)
    async def close(self: Guarded) -> None:
        if getattr(type(self), name) is not source:
            await source(self)  # reached through super()
        elif self._life.state is not _CLOSED:
            self._life.shut()
            await source(self)

    return close


def _guard_slice(
    source: Callable[[Any, int, int | None], Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(source)
    async def slice_(self: Guarded, offset: int, length: int | None = None) -> Any:
        self._life.check_open()
        check_range(offset, length)
        return await source(self, offset, length)

    return slice_


def check_range(offset: int, length: int | None) -> None:
    """Check the arguments of a slice.

    Raises:
        ValueError: one is negative.
    """
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset and length must not be negative: {offset}, {length}")


_GUARDS: dict[str, Callable[[Any], Any]] = {
    "readany": _guard_readany,
    "write": _guard_write,
    "close": _guard_close,
    "abort": _guard_close,
    "slice": _guard_slice,
}


if TYPE_CHECKING:
    Task = asyncio.Task[Any]


class State(enum.Enum):
    """Where a stream is in its life."""

    OPEN = "open"
    ENDED = "ended"
    FAILED = "failed"
    CLOSED = "closed"


# For what runs once a piece: Python 3.11 takes 57 ns to find a member in its enum.
OPEN: Final = State.OPEN
_CLOSED: Final = State.CLOSED


class StreamState:
    """State, counts and users of one stream.

    Args:
        name: what errors call the stream.

    Attributes:
        state: where it is.
        buffer: what was received and not consumed.
        received: how many bytes have come out of the source so far.
        reader: the task that is in ``readany``.
        writer: the task that is in ``write``.
    """

    __slots__ = (
        "_error",
        "_traceback",
        "_woken",
        "buffer",
        "name",
        "reader",
        "received",
        "state",
        "writer",
    )

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.state: State = OPEN
        self.buffer: Buffer = Buffer()
        self.received: int = 0
        self.reader: Task | None = None
        self.writer: Task | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        # The tasks that close() has woken, by cancelling each of them once.
        self._woken: tuple[Task, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is _CLOSED

    # -- may a call begin? ---------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``StreamClosed`` if it is."""
        if self.state is _CLOSED:
            raise StreamClosed(f"{self.name} is closed")

    def check_idle(self) -> None:
        """Raise also when a task is reading."""
        if self.state is _CLOSED:
            raise StreamClosed(f"{self.name} is closed")
        if self.reader is not None:
            raise StreamBusy(f"another task is reading this {self.name}")

    def check_usable(self) -> None:
        """Raise what a closed or failed stream raises."""
        self.check_open()
        if self.state is State.FAILED:
            assert self._error is not None
            # With its first traceback: it must not grow with each raise.
            raise self._error.with_traceback(self._traceback)

    def in_use(self) -> bool:
        """Return whether a task other than this one is reading or writing."""
        if self.reader is None and self.writer is None:
            return False
        return not {self.reader, self.writer} <= {None, asyncio.current_task()}

    # -- a call has ended ----------------------------------------------------------

    def arrived(self, chunk: bytes, size: int | None, task: Task | None) -> bytes:
        """Return what a read of ``task`` must return that has given ``chunk``."""
        self.reader = None
        if self.state is _CLOSED:
            raise self.after_close(None, task)
        if type(chunk) is not bytes:
            chunk = bytes(memoryview(chunk))
        if not chunk:
            if size is not None and self.received != size:
                raise self._mismatch(size, "ended after", self.received)
            self.state = State.ENDED
            return chunk
        self.received = received = self.received + len(chunk)
        if size is not None and received > size:
            self.received = size
            error = self._mismatch(size, "gave at least", received)
            promised = chunk[: len(chunk) - (received - size)]
            if not promised:
                raise error
            return promised
        return chunk

    def _mismatch(self, size: int, what: str, seen: int) -> SizeMismatch:
        error = SizeMismatch(
            f"{self.name} promised {size} bytes, its source {what} {seen}",
            expected=size,
            seen=seen,
        )
        self.fail(error)
        return error

    def settle(self, error: BaseException, task: Task | None) -> BaseException:
        """Return what a read of ``task`` must raise that has raised."""
        self.reader = None
        if self.closed:
            return self.after_close(error, task)
        if isinstance(error, Exception) and not isinstance(error, StreamBusy):
            self.fail(error)
        return error

    def fail(self, error: BaseException) -> None:
        """Remember ``error`` for every later read."""
        self.state = State.FAILED
        self._error = error
        self._traceback = error.__traceback__

    # -- the end, and another beginning --------------------------------------------

    def shut(self) -> None:
        """Enter CLOSED: drop the buffer, wake whoever waits."""
        self.state = _CLOSED
        self.buffer.clear()
        self._error = self._traceback = None
        if self.reader is None and self.writer is None:
            return
        current = asyncio.current_task()
        self._woken = tuple(
            task
            for task in {self.reader, self.writer}
            if task is not None and task is not current and task.cancel()
        )

    def after_close(
        self, error: BaseException | None, task: Task | None
    ) -> BaseException:
        """Make the error of a call that waited while the stream was closed.

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
        return StreamClosed(f"{self.name} was closed during the call")

    def restart(self) -> None:
        """Begin again at byte 0, for a source that can."""
        self.check_idle()
        self.buffer.clear()
        self.received = 0
        self.state = State.OPEN
        self._error = self._traceback = None


class Buffer:
    """Chunks in order; ``held`` is the number of bytes left in them."""

    __slots__ = ("_chunks", "_offset", "held")

    # Made by the first chunk that is held: a deque takes 600 bytes, and few hold any.
    _chunks: deque[bytes]

    def __init__(self) -> None:
        self._offset = 0
        self.held: int = 0

    def put(self, chunk: bytes, offset: int = 0) -> None:
        """Append ``chunk``; into an empty buffer, its first bytes may be left out."""
        if not self.held:
            self._chunks = deque((chunk,))
            self._offset = offset
        else:
            self._chunks.append(chunk)
        self.held += len(chunk) - offset

    def put_back(self, pieces: list[bytes]) -> None:
        """Put non-empty ``pieces`` before everything else."""
        if not self.held:
            self._chunks = deque()
            self._offset = 0
        elif self._offset:
            first = self._chunks.popleft()
            self._chunks.appendleft(first[self._offset :])
            self._offset = 0
        self._chunks.extendleft(reversed(pieces))
        self.held += sum(map(len, pieces))

    def find_in_first(self, separator: bytes) -> int:
        """Return the length up to and with ``separator`` in the first chunk, or -1."""
        found = self._chunks[0].find(separator, self._offset)
        return -1 if found < 0 else found + len(separator) - self._offset

    def take(self, n: int) -> bytes:
        """Consume ``n`` bytes, of which there are enough."""
        first = self._chunks[0]
        start = self._offset
        end = start + n
        self.held -= n
        if end < len(first):
            self._offset = end
            return first[start:end]
        pieces = [first[start:] if start else first]
        missing = end - len(first)
        self._chunks.popleft()
        self._offset = 0
        while missing:
            first = self._chunks[0]
            if missing < len(first):
                pieces.append(first[:missing])
                self._offset = missing
                break
            pieces.append(first)
            missing -= len(first)
            self._chunks.popleft()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take_chunk(self) -> bytes:
        """Consume what is left of the first chunk."""
        chunk = self._chunks.popleft()
        if self._offset:
            chunk = chunk[self._offset :]
            self._offset = 0
        self.held -= len(chunk)
        return chunk

    def take_all(self) -> list[bytes]:
        """Consume everything, as the chunks it came in."""
        if not self.held:
            return []
        pieces = list(self._chunks)
        if self._offset:
            pieces[0] = pieces[0][self._offset :]
        self.clear()
        return pieces

    def peek(self, n: int) -> bytes:
        """Up to ``n`` bytes, without consuming them."""
        first = self._chunks[0][self._offset : self._offset + n]
        if len(first) == n or len(self._chunks) == 1:
            return first
        pieces = [first]
        missing = n - len(first)
        for chunk in list(self._chunks)[1:]:
            pieces.append(chunk[:missing])
            missing -= len(pieces[-1])
            if not missing:
                break
        return b"".join(pieces)

    def clear(self) -> None:
        """Forget everything."""
        if self.held:
            self._chunks.clear()
            self.held = 0
