"""An operation that outlives the cancellation of whoever waits for it.

A read that is cancelled must lose no bytes. Where the work itself would lose them
when cancelled (a callback has begun, a sink has taken half), it runs in a task of its
own; the cancelled reader leaves, and the next one collects the result.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Carried", "end", "start"]

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run ``coroutine`` in a task."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):  # pragma: no cover - one or the other
        # An eager task that never waits costs no turn of the event loop.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)  # pragma: no cover - on Python 3.11


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel ``task``, and wait until it has ended.

    A cancellation of the caller reaches the task as well, and is raised afterwards.
    """
    task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            task.cancel()
    if not task.cancelled():
        task.exception()  # mark as seen: whoever ends it does not want it
    if cancelled is not None:
        raise cancelled


class Carried(Generic[T]):
    """At most one operation at a time, kept until its result is collected."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    async def run(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the operation under way, or else of a new one.

        Raises:
            Exception: what the operation raised.
        """
        task = self._task
        if task is None:
            task = self._task = start(operation())
        if not task.done():
            # Not shield(): that would report an error nobody collects as
            # unhandled, though the next read will raise it.
            await asyncio.wait([task])
        self._task = None
        return task.result()

    async def cancel(self) -> None:
        """Cancel what is under way and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)
