"""NDJSON: one JSON value per line, streamed both ways.

Out: see ``lines``. In: a line is parsed when it is asked for, and nothing beyond it
is held.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from aiostreams.content import jsontext
from aiostreams.content.base import Content, offload
from aiostreams.content.json import json_reader
from aiostreams.content.lines import lines_of
from aiostreams.errors import InvalidContent, LimitExceeded, MalformedBody
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.charsets import ascii_codec_of, decode_text
from aiostreams.streams.iterable import SyncSteps, close_iterable

if TYPE_CHECKING:
    from builtins import type as type_
    from collections.abc import Callable

    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["NDJSON"]

if TYPE_CHECKING:
    # ``NDJSON`` alone is ``NDJSON[Any]``; as in ``json``.
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=Any)
else:
    T = TypeVar("T")
M = TypeVar("M")

_CONTENT_TYPE: Final = "application/x-ndjson"


class NDJSON(Content, Generic[T]):
    """Values, one per line: ``application/x-ndjson``.

    ``async for value in ndjson`` iterates over the values, whether they came with
    the constructor or come from a body.

    Args:
        values: any iterable, sync or async; a sync one is stepped on the event
            loop and must not block. One that is its own iterator (a generator) can
            be encoded once. What has ``aclose()`` or ``close()`` is closed with the
            stream that it is encoded to.

    Raises:
        TypeError: ``values`` is no iterable, or one that is hardly meant: a string,
            bytes, a mapping.
    """

    reads_stream = True

    def __init__(self, values: Iterable[T] | AsyncIterable[T]) -> None:
        if isinstance(values, (str, bytes, bytearray, memoryview, Mapping)) or (
            not isinstance(values, (Iterable, AsyncIterable))
        ):
            raise TypeError(
                f"NDJSON takes an iterable of values, not {type(values).__name__}"
            )
        self._values = values
        self._used = False

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    def encode(self) -> Stream:
        """Return the lines as they come; its close closes what gives the values.

        A value that JSON has nothing for is an error of the stream, raised when
        its turn comes.

        Raises:
            RuntimeError: a generator was encoded before, and is used up.
        """
        values = self._values
        if isinstance(values, (Iterator, AsyncIterator)):
            if self._used:
                raise RuntimeError("the values of this NDJSON were encoded before")
            self._used = True
        return lines_of(values, _line, _CONTENT_TYPE)

    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: type_[M],
        limits: Limits | None = None,
        max_line_length: int | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> NDJSON[M]: ...
    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = None,
        limits: Limits | None = None,
        max_line_length: int | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> NDJSON[Any]: ...
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        limits: Limits | None = None,
        max_line_length: int | None = None,
        loads: Callable[[Any], Any] | None = None,
    ) -> NDJSON[Any]:
        """Iterate over the values of a body; nothing is read before that.

        Blank lines are skipped, the last line may lack its end. Iteration raises
        what :meth:`JSON.decode` raises, with the number of the line, and can go on
        with the line after it, after one that was too long as well. ``close()``
        closes ``stream``.

        Args:
            stream: the body, in UTF-8 or another superset of ASCII.
            type: what each value has to be, as for :meth:`JSON.decode`.
            limits: ``max_memory`` bounds a line.
            max_line_length: in bytes with the line end, in place of ``max_memory``.
            loads: parses a line in place of the parser here.

        Raises:
            MalformedBody: the parameters of the stream's type cannot be read.
            UnsupportedContent: the charset is unknown, or no superset of ASCII.
            TypeError: no validator supports ``type``.
        """
        if max_line_length is None:
            max_line_length = (limits or DEFAULT_LIMITS).max_memory
        codec = ascii_codec_of(stream.content_type)
        read = json_reader(type, loads)
        whole = loads is not None
        return NDJSON(_Reader(stream, read, codec, max_line_length, whole=whole))

    def __aiter__(self) -> AsyncIterator[T]:
        if isinstance(self._values, AsyncIterable):
            return aiter(self._values)
        return SyncSteps(self._values)

    async def close(self) -> None:
        """Close what the values come from, if it has ``aclose()`` or ``close()``.

        A decoded stream is one, and so is a generator.
        """
        await close_iterable(self._values)

    def __repr__(self) -> str:
        return f"<NDJSON from {type(self._values).__name__.lstrip('_')}>"


class _Reader(AsyncIterator[T]):
    """The values of a stream of lines."""

    def __init__(
        self,
        stream: Stream,
        read: Callable[[bytes | str], T],
        codec: str,
        max_line_length: int,
        *,
        whole: bool,
    ) -> None:
        self._stream = stream
        # Another parser gets all of a line; ours without its end, or what is missing
        # at the end would be missing in "line 2".
        self._whole = whole
        self._read = read
        self._codec = codec
        self._max_line_length = max_line_length
        self._number = 0
        # Whether the line that comes is the rest of one that was too long.
        self._skips = False

    async def __anext__(self) -> T:
        if self._skips:
            await self._skip()
        while True:
            try:
                line = await self._stream.readline(
                    max_line_length=self._max_line_length
                )
            except LimitExceeded as error:
                self._skips = True
                error.add_note(f"in line {self._number + 1}")
                raise
            if not line:
                raise StopAsyncIteration
            self._number += 1
            if text := line.rstrip(b" \t\r\n"):
                return await self._parse(line if self._whole else text)

    async def _skip(self) -> None:
        while piece := await self._stream.readany():
            _, end, rest = piece.partition(b"\n")
            if end:
                self._stream.unread(rest)
                break
        self._number += 1
        self._skips = False

    async def _parse(self, line: bytes) -> T:
        try:
            if self._codec == "utf-8":
                return await offload(self._read, line)
            text = await offload(partial(decode_text, codec=self._codec), line)
            return await offload(self._read, text)
        except MalformedBody as error:
            raise MalformedBody(f"line {self._number}: {error}") from error
        except InvalidContent as error:
            raise error.within(note=f"line {self._number}") from error

    async def aclose(self) -> None:
        await self._stream.close()


def _line(value: object) -> bytes:
    return jsontext.serialise(value) + b"\n"
