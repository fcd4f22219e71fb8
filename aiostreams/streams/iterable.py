"""A stream from whatever yields bytes.

An async generator dies of a cancellation, and what it would have yielded is gone; so
it runs in a task of its own (see ``_Steps``), and a cancelled reader only stops to
wait for it. Other async iterators, aiohttp's among them, are awaited in place: they
are built to be asked again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
)
from typing import TypeAlias, cast

from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import end, start

__all__ = ["BytesLike", "IterStream"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
_Generator: TypeAlias = AsyncGenerator[BytesLike, None]


class IterStream(Stream):
    """From any sync or async iterable of bytes-like objects.

    Empty pieces are skipped. A generator that was not exhausted is closed by
    ``close()``. An async one runs in one task from its begin to its end, in which it
    may hold a timeout or a context variable over its yields. A sync iterator is
    stepped on the event loop: it must not block.

    Args:
        iterable: yields the pieces.
        size: how many bytes it will yield in all, if known; enforced.
        content_type: the media type.

    Raises:
        TypeError: ``iterable`` is not one, or is itself ``str`` or bytes-like.
    """

    _steps: _Steps | None = None  # also where __init__ has failed

    def __init__(
        self,
        iterable: Iterable[BytesLike] | AsyncIterable[BytesLike],
        *,
        size: int | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__(size=size, content_type=content_type)
        self._sync: Iterator[BytesLike] | None = None
        self._async: AsyncIterator[BytesLike] | None = None
        if isinstance(iterable, AsyncIterable):
            self._async = aiter(iterable)
            if inspect.isasyncgen(self._async):
                self._steps = _Steps(cast("_Generator", self._async))
        elif isinstance(iterable, (str, bytes, bytearray, memoryview)):
            raise TypeError(
                f"IterStream takes an iterable of bytes, not {type(iterable).__name__}"
            )
        else:
            self._sync = iter(iterable)

    async def readany(self) -> bytes:
        """The next piece that is not empty."""
        if self._sync is not None:
            for piece in self._sync:
                if data := _as_bytes(piece):
                    return data
            return b""
        if self._steps is not None:
            return await self._steps.next()
        assert self._async is not None
        async for piece in self._async:
            if data := _as_bytes(piece):
                return data
        return b""

    async def close(self) -> None:
        """Close the generator, so that its ``finally`` blocks run now."""
        iterator, self._sync = self._sync, iter(())
        if inspect.isgenerator(iterator):
            iterator.close()
        async_iterator, self._async = self._async, None
        if self._steps is not None:
            await self._steps.close()
        elif (aclose := getattr(async_iterator, "aclose", None)) is not None:
            await aclose()

    def __del__(self) -> None:
        # What asyncio does with a generator that nobody has closed.
        if self._steps is not None:
            self._steps.abandon()


class _Steps:
    """The pieces of an async generator, which goes on only when the next is wanted."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._task: asyncio.Task[None] | None = None
        self._piece = b""
        self._wanted = asyncio.Event()
        self._given = asyncio.Event()
        self._closing = False

    async def next(self) -> bytes:
        """The next piece, ``b""`` at the end; a cancelled call leaves it for another.

        Raises:
            Exception: what the generator raised.
        """
        if not self._piece:
            self._wanted.set()
        task = self._task
        if task is None:
            task = self._task = start(self._run())
            task.add_done_callback(lambda _: self._given.set())
        while not self._piece:
            if task.done():
                task.result()
                return b""
            await self._given.wait()
            self._given.clear()
        piece, self._piece = self._piece, b""
        return piece

    async def _run(self) -> None:
        try:
            await self._give_all()
        finally:
            await self._generator.aclose()

    async def _give_all(self) -> None:
        generator = self._generator
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                if cancelled is None:
                    piece = await anext(generator)
                else:
                    piece = await generator.athrow(cancelled)
            except StopAsyncIteration:
                return
            if self._closing:
                return
            cancelled = None
            if data := _as_bytes(piece):
                self._piece = data
                cancelled = await self._until_wanted()

    async def _until_wanted(self) -> asyncio.CancelledError | None:
        """Wait at a yield; how that ended, if what the generator holds has ended it."""
        self._wanted.clear()
        self._given.set()
        try:
            await self._wanted.wait()
        except asyncio.CancelledError as error:
            if self._closing:
                raise
            return error
        return None

    async def close(self) -> None:
        """Have the generator end, in its own task, and wait for that.

        Raises:
            Exception: what it raised where it was to end.
        """
        task = self._task
        if task is None:
            await self._generator.aclose()
            return
        at_yield = not (task.done() or self._wanted.is_set())
        self._closing = True
        await end(task)
        if at_yield and not task.cancelled():
            task.result()

    def abandon(self) -> None:
        """Have the generator end some time, from whatever thread."""
        task = self._task
        if task is None or task.done() or task.get_loop().is_closed():
            return
        self._closing = True
        task.get_loop().call_soon_threadsafe(task.cancel)


def _as_bytes(piece: object) -> bytes:
    if type(piece) is bytes:
        return piece
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(
        f"an iterable body yields bytes-like pieces, not {type(piece).__name__}"
    )
