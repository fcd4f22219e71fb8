"""Helpers for tasks and their cancellation, shared by the package.

* ``PostponedCancellation``, ``finish`` and ``end`` wait for what must not be left
  alone. Cancellations that come meanwhile are raised afterwards.
* ``PendingCall`` keeps an operation that would lose bytes if it were cancelled: the
  cancelled caller leaves, and the next one collects the result.
* ``Producer`` runs what makes pieces in a task of its own, and hands out the pieces
  that are ready.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

__all__ = [
    "PendingCall",
    "PostponedCancellation",
    "Producer",
    "end",
    "finish",
    "settle",
    "start",
]

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run ``coroutine`` in a task."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):  # pragma: no cover - one or the other
        # An eager task that never waits costs no turn of the event loop.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)  # pragma: no cover - on Python 3.11


class PostponedCancellation:
    """Cancellations of this task that are raised later.

    >>> cancellation = PostponedCancellation()
    >>> while not future.done():
    ...     with cancellation:
    ...         await asyncio.wait([future])
    >>> cancellation.reraise()
    """

    __slots__ = ("_error",)

    def __init__(self) -> None:
        self._error: asyncio.CancelledError | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(exc, asyncio.CancelledError):
            return False
        self._error = exc
        return True

    def reraise(self) -> None:
        """Raise the last cancellation, if one came."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle of the error and this frame


async def settle(future: asyncio.Future[Any]) -> None:
    """Wait until ``future`` is done. A cancelled wait leaves it under way."""
    if not future.done():
        # Not shield(): that reports an error that is collected later as unhandled.
        await asyncio.wait([future])


async def finish(future: asyncio.Future[Any], *, timeout: float | None = None) -> None:
    """Wait until ``future`` is done, through cancellations; raise these afterwards.

    Args:
        future: what is waited for; not cancelled.
        timeout: seconds after which it is left alone; ``future.done()`` tells.
    """
    clock = asyncio.get_running_loop().time
    until = None if timeout is None else clock() + timeout
    cancellation = PostponedCancellation()
    while not future.done():
        left = None if until is None else until - clock()
        if left is not None and left <= 0:
            break
        with cancellation:
            await asyncio.wait([future], timeout=left)
    cancellation.reraise()


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait until it has ended. What it raises is dropped.

    A cancellation of the caller cancels the task once more, and is raised afterwards.
    """
    cancellation = PostponedCancellation()
    while not task.done():
        task.cancel()
        with cancellation:
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # mark as seen
    cancellation.reraise()


class PendingCall(Generic[T]):
    """At most one operation at a time, kept until its result is collected."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    @property
    def pending(self) -> bool:
        """Whether there is one whose result was not collected."""
        return self._task is not None

    def begin(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Begin an operation, when none is pending."""
        self._task = start(operation())

    async def run(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Collect the result of the pending operation, or else of a new one.

        Raises:
            Exception: what the operation raised.
        """
        task = self._task
        if task is None:
            task = self._task = start(operation())
        await settle(task)
        self._task = None
        return task.result()

    async def cancel(self) -> None:
        """Cancel what is pending and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)


class Producer(ABC):
    """Something that makes pieces in a task of its own, and the pieces that are ready.

    The task begins with the first ``next()``. It is one task from begin to end, so
    what runs in it may hold a timeout or a context variable from one piece to
    another. A cancelled ``next()`` leaves it alone.

    Args:
        ahead: how many bytes are made before they are wanted, roughly. With 0 each
            piece is handed out alone, and the next one is not begun before that.
    """

    def __init__(self, *, ahead: int = 0) -> None:
        self._ahead: Final = ahead
        self._task: asyncio.Task[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._given = asyncio.Event()
        self._wanted = asyncio.Event()
        self._closing = False

    @abstractmethod
    async def _run(self) -> None:
        """Make the pieces, and ``put`` each; for subclasses."""

    async def put(self, piece: bytes) -> None:
        """Add ``piece`` to those that are ready, and wait while they are enough.

        Raises:
            asyncio.CancelledError: ``close()`` was called.
        """
        if self._closing:
            raise asyncio.CancelledError  # the one of close() was swallowed
        if not piece:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        self._given.set()
        if self._held >= self._ahead:
            self._wanted.clear()
            await self._wanted.wait()

    async def next(self) -> bytes:
        """Wait for a piece and take all that are ready; ``b""`` at the end.

        Raises:
            RuntimeError: the task was cancelled from elsewhere.
            Exception: what ended it.
        """
        if not self._pieces:
            self._wanted.set()
        task = self._task
        if task is None:
            task = self._task = start(self._run())
            task.add_done_callback(lambda _: self._given.set())
        while not self._pieces:
            if task.done():
                if task.cancelled():
                    # Not passed on: the reader was not cancelled.
                    raise RuntimeError("the source of the pieces was cancelled")
                task.result()
                return b""
            await self._given.wait()
            self._given.clear()
        pieces, self._pieces = self._pieces, []
        self._held = 0
        if self._ahead:
            self._wanted.set()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def begun(self) -> bool:
        """Whether there is a task."""
        return self._task is not None

    @property
    def closing(self) -> bool:
        """Whether a cancellation of the task is meant to end it."""
        return self._closing

    async def close(self) -> None:
        """Cancel the task and wait until it has ended.

        Raises:
            Exception: what it raised instead, if it was waiting in ``put``.
        """
        self._closing = True
        self._pieces.clear()
        task = self._task
        if task is not None:
            waiting = not (task.done() or self._wanted.is_set())
            await end(task)
            if waiting and not task.cancelled():
                task.result()

    def abandon(self) -> None:
        """Let the task end at some time; from any thread, as ``__del__`` is called."""
        task = self._task
        if task is None or task.done() or task.get_loop().is_closed():
            return
        self._closing = True
        task.get_loop().call_soon_threadsafe(task.cancel)
