"""A stream from whatever yields bytes.

An async generator dies of a cancellation, and what it would have yielded is gone; so
it runs in a task of its own (see ``AsyncSteps``), and a cancelled reader only stops to
wait for it. Other async iterators, aiohttp's among them, are awaited in place: they
are built to be asked again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import Producer

__all__ = ["AsyncSteps", "BytesLike", "IterStream", "ProducedStream"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
T = TypeVar("T")


class AsyncSteps(Producer, Generic[T]):
    """The values of an async iterable, stepped through in one task.

    The iterator is closed, in that task, when it ends. A cancellation that is not the
    one of ``close()``, a timeout for example, is thrown into a generator at its yield.

    Args:
        values: what is iterated over.
        encode: makes the bytes of a value.
        ahead: as for :class:`Producer`.
    """

    def __init__(
        self, values: AsyncIterable[T], encode: Callable[[T], bytes], *, ahead: int = 0
    ) -> None:
        super().__init__(ahead=ahead)
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
        aclose = getattr(self._values, "aclose", None)
        if aclose is not None:
            await aclose()

    async def close(self) -> None:
        """Have the iterator end, in its own task, and wait for that.

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
        """All that is ready; waits for the first piece only."""
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
            iterator = aiter(iterable)
            if inspect.isasyncgen(iterator):
                self._producer = AsyncSteps(iterator, _as_bytes)
            else:
                self._async = iterator
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
        if self._producer is not None:
            return await self._producer.next()
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
        if (aclose := getattr(async_iterator, "aclose", None)) is not None:
            await aclose()
        await super().close()


def _as_bytes(piece: object) -> bytes:
    if type(piece) is bytes:
        return piece
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(
        f"an iterable body yields bytes-like pieces, not {type(piece).__name__}"
    )
