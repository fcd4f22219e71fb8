"""An operation that outlives the cancellation of whoever waits for it.

A read that is cancelled must lose no bytes. Where the work itself would lose them
when cancelled (an async generator ends, a sink has taken half), it runs in a task
of its own; the cancelled reader leaves, and the next one collects the result.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Carried"]

T = TypeVar("T")


def _start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        # An eager task that never waits costs no turn of the event loop.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


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
            task = self._task = _start(operation())
        if not task.done():
            # Not shield(): that would report an error nobody collects as
            # unhandled, though the next read will raise it.
            await asyncio.wait([task])
        self._task = None
        return task.result()

    async def cancel(self) -> None:
        """Cancel what is under way and wait until it has ended."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        while not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # mark as seen: whoever closes does not want it
