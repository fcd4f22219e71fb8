"""A stream from whatever yields bytes.

An async generator dies of a cancellation, and what it would have yielded is gone;
so each of its steps is carried (see ``carried``). Other async iterators, aiohttp's
among them, are awaited in place: they are built to be asked again.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeAlias

from aiostreams.streams.base import Stream
from aiostreams.streams.carried import Carried

__all__ = ["BytesLike", "IterStream"]

BytesLike: TypeAlias = bytes | bytearray | memoryview


class IterStream(Stream):
    """From any sync or async iterable of bytes-like objects.

    Empty pieces are skipped. A generator that was not exhausted is closed by
    ``close()``. A sync iterator is stepped on the event loop: it must not block.

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
        self._carried: Carried[bytes] | None = None
        if isinstance(iterable, AsyncIterable):
            self._async = aiter(iterable)
            if inspect.isasyncgen(self._async):
                self._carried = Carried()
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
        if self._carried is not None:
            return await self._carried.run(self._step)
        return await self._step()

    async def _step(self) -> bytes:
        assert self._async is not None
        async for piece in self._async:
            if data := _as_bytes(piece):
                return data
        return b""

    async def close(self) -> None:
        """Close the generator, so that its ``finally`` blocks run now."""
        if self._carried is not None:
            await self._carried.cancel()
        iterator, self._sync = self._sync, iter(())
        if inspect.isgenerator(iterator):
            iterator.close()
        async_iterator, self._async = self._async, None
        aclose = getattr(async_iterator, "aclose", None)
        if aclose is not None:
            await aclose()


def _as_bytes(piece: object) -> bytes:
    if type(piece) is bytes:
        return piece
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(
        f"an iterable body yields bytes-like pieces, not {type(piece).__name__}"
    )
