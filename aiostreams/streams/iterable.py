"""A stream from whatever yields bytes.

An async generator dies of a cancellation, and what it would have yielded is gone; so
it runs in a task of its own (see ``AsyncSteps``), and a cancelled reader only stops to
wait for it. Other async iterators, aiohttp's among them, are awaited in place: they
are built to be asked again.

What is iterated over is closed with the stream, by one rule for everything here that
takes an iterable: see ``close_iterable``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import Producer

__all__ = [
    "AsyncSteps",
    "BytesLike",
    "IterStream",
    "ProducedStream",
    "SyncSteps",
    "close_iterable",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview
T = TypeVar("T")


async def close_iterable(*objects: object) -> None:
    """Close an iterator and what it iterates over, each by what it has for that.

    ``aclose()`` if there is one, else ``close()``, which may be a coroutine function:
    generators, files, cursors of databases, streams of anyio. So they learn that the
    client has left. What has been iterated over to its end is closed as well. Lists
    and other collections have neither.

    Args:
        objects: an iterator, and what it was made of, which may be the same object.

    Raises:
        Exception: what the first that failed has raised; the others are closed.
    """
    distinct = list({id(item): item for item in objects}.values())
    for index, item in enumerate(distinct):
        close = getattr(item, "aclose", None) or getattr(item, "close", None)
        if close is None:
            continue
        try:
            closing = close()
            if inspect.isawaitable(closing):
                await closing
        except BaseException:
            await close_iterable(*distinct[index + 1 :])
            raise


class SyncSteps(AsyncIterator[T]):
    """A sync iterable in ``async for``, stepped on the event loop.

    Args:
        values: what is iterated over.
    """

    def __init__(self, values: Iterable[T]) -> None:
        self._values = values
        self._iterator = iter(values)

    async def __anext__(self) -> T:
        for value in self._iterator:
            return value
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close what is iterated over."""
        await close_iterable(self._iterator, self._values)


class AsyncSteps(Producer, Generic[T]):
    """The values of an iterable, stepped through in one task.

    It is closed, in that task, when it ends. A cancellation that is not the one of
    ``close()``, a timeout for example, is thrown into a generator at its yield.

    Args:
        values: what is iterated over, sync or async.
        encode: makes the bytes of a value.
        ahead: as for :class:`Producer`.
    """

    def __init__(
        self,
        values: AsyncIterable[T] | Iterable[T],
        encode: Callable[[T], bytes],
        *,
        ahead: int = 0,
    ) -> None:
        super().__init__(ahead=ahead)
        if not isinstance(values, AsyncIterable):
            values = SyncSteps(values)
        self._iterable = values
        self._values: Any = aiter(values)
        self._encode = encode

    async def _run(self) -> None:
        try:
            await self._step()
        finally:
            await self._end()

    async def _step(self) -> None:
        values, encode, put = self._values, self._encode, self.put
        value: Any
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                if cancelled is None:
                    value = await anext(values)
                else:
                    value = await values.athrow(cancelled)
                    cancelled = None
            except StopAsyncIteration:
                return
            try:
                await put(encode(value))
            except asyncio.CancelledError as error:
                if self.closing or not inspect.isasyncgen(values):
                    raise
                cancelled = error

    async def _end(self) -> None:
        await close_iterable(self._values, self._iterable)

    async def close(self) -> None:
        """End what is iterated over, in its own task, and wait for that.

        Raises:
            Exception: what it raised where it was to end.
        """
        if self.begun:
            await super().close()
        else:
            await self._end()


class ProducedStream(Stream):
    """What a producer makes; for subclasses, which set ``_producer``."""

    _producer: Producer | None = None  # also where __init__ has failed

    async def readany(self) -> bytes:
        """Return all that is ready; wait for the first piece only."""
        assert self._producer is not None
        return await self._producer.next()

    async def close(self) -> None:
        """Stop the producer where it is."""
        if self._producer is not None:
            await self._producer.close()

    def __del__(self) -> None:
        # What asyncio does with a generator that nobody has closed.
        if self._producer is not None:
            self._producer.abandon()


class IterStream(ProducedStream):
    """From any sync or async iterable of bytes-like objects.

    Empty pieces are skipped. What has ``aclose()`` or ``close()``, as generators and
    files have, is closed with the stream, also when the client has left midway. An
    async generator runs in one task from its begin to its end, in which it may hold a
    timeout or a context variable over its yields. A sync iterator is stepped on the
    event loop: it must not block.

    Args:
        iterable: yields the pieces.
        size: how many bytes it will yield in all, if known; enforced.
        content_type: the media type.

    Raises:
        TypeError: ``iterable`` is not one, or is itself ``str`` or bytes-like.
    """

    def __init__(
        self,
        iterable: Iterable[BytesLike] | AsyncIterable[BytesLike],
        *,
        size: int | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__(size=size, content_type=content_type)
        self._iterable: object = iterable
        self._sync: Iterator[BytesLike] | None = None
        self._async: AsyncIterator[BytesLike] | None = None
        if isinstance(iterable, AsyncIterable):
            self._async = aiter(iterable)
            if inspect.isasyncgen(self._async):
                self._producer = AsyncSteps(self._async, _as_bytes)
        elif isinstance(iterable, (str, bytes, bytearray, memoryview)):
            raise TypeError(
                f"IterStream takes an iterable of bytes, not {type(iterable).__name__}"
            )
        else:
            self._sync = iter(iterable)

    async def readany(self) -> bytes:
        """Return the next piece that is not empty."""
        if self._sync is not None:
            for piece in self._sync:
                if data := _as_bytes(piece):
                    return data
            return b""
        if self._producer is not None:
            return await self._producer.next()
        assert self._async is not None
        async for piece in self._async:
            if data := _as_bytes(piece):
                return data
        return b""

    async def close(self) -> None:
        """Close what is iterated over; ``finally`` blocks of a generator run now."""
        iterator, self._sync, self._async = self._sync or self._async, iter(()), None
        try:
            await super().close()  # of an async generator: in its own task
        finally:
            iterable, self._iterable = self._iterable, None
            await close_iterable(iterator, iterable)


def _as_bytes(piece: object) -> bytes:
    if type(piece) is bytes:
        return piece
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(
        f"the iterable gave {type(piece).__name__}, expected a bytes-like object"
    )
