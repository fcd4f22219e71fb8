"""Progress, told not too often."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiostreams.streams.transforms import ProgressCallback

__all__ = ["Paced"]

# At most so often is progress told, in seconds.
_PROGRESS_INTERVAL: Final = 0.1


class Paced:
    """Tells progress not too often, and the end where it is known."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._next = 0.0

    async def __call__(self, done: int, total: int | None) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next or done == total:
            self._next = now + _PROGRESS_INTERVAL
            told = self._callback(done, total)
            if inspect.isawaitable(told):
                await told
