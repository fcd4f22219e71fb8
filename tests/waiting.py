"""Waiting for what a test expects, and for no time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

__all__ = ["turns", "until"]


async def turns(number: int = 20) -> None:
    """Let all other tasks go on, as far as they can without waiting."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(
    condition: Callable[[], object | Awaitable[object]], seconds: float = 20
) -> None:
    """Ask again and again, where nothing else tells: threads, files, processes.

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return
            await asyncio.sleep(0.002)
