"""Lines of an iterable, as a Stream: what NDJSON and CSV are sent as.

Lines are gathered into pieces of 64 KiB. From a sync iterable that is all there is to
it. An async iterable is run by a task of its own, ahead of the reader by one piece at
most; as soon as it waits for anything, the reader gets what there is, so a feed stays
live while rows from memory cost no turn of the event loop each. What it yielded before
it failed is sent before the failure is raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Final

from aiostreams.limits import KiB
from aiostreams.streams.base import Stream
from aiostreams.streams.iterable import AsyncSteps, ProducedStream, close_iterable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["lines_of"]

_PIECE: Final = 64 * KiB


def lines_of(
    values: Iterable[Any] | AsyncIterable[Any],
    write: Callable[[Any], bytes],
    content_type: str,
) -> Stream:
    """Return the lines of values as they come; its close closes the iterable.

    Args:
        values: what is iterated over.
        write: makes the line of a value, with its end.
        content_type: that of the stream.
    """
    if isinstance(values, AsyncIterable):
        return _LiveLines(values, write, content_type)
    return _Lines(values, write, content_type)


class _Lines(Stream):
    """Lines of a sync iterable."""

    def __init__(
        self, values: Iterable[Any], write: Callable[[Any], bytes], content_type: str
    ) -> None:
        super().__init__(content_type=content_type)
        self._iterable: object = values
        self._values = iter(values)
        self._write = write
        self._failure: Exception | None = None

    async def readany(self) -> bytes:
        """About 64 KiB of lines."""
        if self._failure is not None:
            raise self._failure
        lines: list[bytes] = []
        held = 0
        try:
            for value in self._values:
                line = self._write(value)
                lines.append(line)
                held += len(line)
                if held >= _PIECE:
                    break
        except Exception as error:
            if not lines:
                raise
            self._failure = error
        return b"".join(lines)

    async def close(self) -> None:
        """Close what is iterated over; ``finally`` blocks of a generator run now."""
        values, self._values = self._values, iter(())
        await close_iterable(values, self._iterable)


class _LiveLines(ProducedStream):
    """Lines of an async iterable, handed out as soon as it waits."""

    # A compressor must not hold them back either.
    live = True

    def __init__(
        self,
        values: AsyncIterable[Any],
        write: Callable[[Any], bytes],
        content_type: str,
    ) -> None:
        super().__init__(content_type=content_type)
        self._producer = AsyncSteps(values, write, ahead=_PIECE)
