"""The life of a stream: its state, its counts, and who is using it.

    OPEN -> ENDED or FAILED -> CLOSED, and from any state to CLOSED

A stream keeps all of this in one object, so that a subclass may call its own
attributes what it likes. The guards (see ``guards``) ask it before and tell it after
each call of a source's method.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any, Final

from aiostreams.errors import SizeMismatch, StreamBusy, StreamClosed
from aiostreams.streams.buffer import Buffer

if TYPE_CHECKING:
    from types import TracebackType

    Task = asyncio.Task[Any]

__all__ = ["OPEN", "Life", "State"]


class State(enum.Enum):
    """Where a stream is in its life."""

    OPEN = "open"
    ENDED = "ended"
    FAILED = "failed"
    CLOSED = "closed"


# For what runs once a piece: Python 3.11 takes 57 ns to find a member in its enum.
OPEN: Final = State.OPEN
_CLOSED: Final = State.CLOSED


class Life:
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
        self.state: State = State.OPEN
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
        return self.state is State.CLOSED

    # -- may a call begin? ---------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``StreamClosed`` if it is."""
        if self.state is State.CLOSED:
            raise StreamClosed(f"{self.name} is closed")

    def check_idle(self) -> None:
        """Raise also when a task is reading."""
        if self.state is State.CLOSED:
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

    # -- a call has ended ----------------------------------------------------------

    def arrived(self, chunk: bytes, size: int | None, task: Task | None) -> bytes:
        """A read of ``task`` has given ``chunk``: what the caller must return."""
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
        """A read of ``task`` has raised: what the caller must raise."""
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
        self.state = State.CLOSED
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
        return StreamClosed(f"{self.name} was closed during the call")

    def restart(self) -> None:
        """Begin again at byte 0, for a source that can."""
        self.check_idle()
        self.buffer.clear()
        self.received = 0
        self.state = State.OPEN
        self._error = self._traceback = None
