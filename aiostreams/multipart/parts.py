"""The parts of a multipart body, one after the other: the driver of the parser.

``PartReader`` stands between the Stream that a body comes from and the parts it is
made of. It holds the events of one chunk and nothing else; only when they are used up
is the next chunk read, so memory and pace are those of whoever reads the parts. What
is in a chunk is handed out without waiting, and a chunk that is all data as it came.

Parts come in order and share one source, so there is one at a time: going on to the
next one skips what is unread of the last, which is closed.

What follows the close delimiter is read, up to 64 KiB, and dropped: then an HTTP
connection is free for the next request. Of a longer epilogue the rest is left unread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from aiostreams.errors import (
    LimitExceeded,
    MalformedBody,
    StreamBusy,
    StreamError,
    UnsupportedContent,
    exceeded,
)
from aiostreams.limits import KiB
from aiostreams.sansio.charsets import text_codec
from aiostreams.sansio.headers import parse_content_type
from aiostreams.sansio.multipart import BODY_END, PART_END, MultipartParser, PartBegin

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.limits import Limits
    from aiostreams.sansio.multipart import Event
    from aiostreams.streams.base import Stream

__all__ = [
    "CHARSET_FIELD",
    "NestedTooDeeply",
    "PartReader",
    "charset_of_field",
    "charset_of_form",
]

P = TypeVar("P", bound="Stream")

# A field of this name tells the charset of the others (RFC 7578 section 4.6).
CHARSET_FIELD: Final = "_charset_"
_LONGEST_CHARSET: Final = 64
# What browsers, who fill that field in, write under these names: the characters that
# Windows added as well (WHATWG Encoding, section 4.2).
_AS_BROWSERS_DO: Final = {
    "big5": "cp950",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
}

_MAX_EPILOGUE: Final = 64 * KiB


class NestedTooDeeply(LimitExceeded, MalformedBody):
    """Multipart inside multipart, more than ``max_depth`` levels: nobody's, so 400."""

    status = 400


class PartReader(Generic[P]):
    """An async iterator over the parts of one multipart body.

    Args:
        source: the body; not closed.
        boundary: as :func:`boundary_of` gives it.
        make: makes a part, of this reader and its head.
        limits: the parser's ceilings, and ``max_depth``.
        form_data: see :class:`MultipartParser`.
        decode: whether parts undo their Content-Transfer-Encoding and
            Content-Encoding.
        extended: whether ``filename*`` counts where there is no ``filename``.
        parent: the reader of the part that ``source`` is.

    Attributes:
        limits, form_data, decode, extended: as given.
        charset: what a ``_charset_`` field has said, as a codec's name; may be set
            to what the form's own type says.
        last: the part that was given last.
        ended: whether the close delimiter was met.
        depth: 1 for a body, 2 for one inside of a part of it, ...
        seen: how many parts there were, on all levels together.

    Raises:
        NestedTooDeeply: the body is inside of too many others.
    """

    def __init__(
        self,
        source: Stream,
        boundary: bytes,
        make: Callable[[PartReader[P], PartBegin], P],
        *,
        limits: Limits,
        form_data: bool,
        decode: bool,
        extended: bool = False,
        parent: PartReader[P] | None = None,
    ) -> None:
        self.limits = limits
        self.form_data = form_data
        self.decode = decode
        self.extended = extended
        self.charset: str | None = None
        self.last: P | None = None
        # Made and not given yet, when a cancellation came in between.
        self._coming: P | None = None
        self._name: str | None = None
        self.depth: int = 1
        self.seen: list[int] = [0]
        if parent is not None:
            self.depth = parent.depth + 1
            self.seen = parent.seen
            if self.depth > limits.max_depth:
                raise NestedTooDeeply(
                    f"multipart in {self.depth} levels, limit {limits.max_depth}",
                    limit=limits.max_depth,
                    seen=self.depth,
                )
        # With filename*, only the head tells a file from a field: see the part.
        self._parser = MultipartParser(
            boundary,
            limits=limits.replace(max_field=max(limits.max_field, limits.max_file))
            if extended
            else limits,
            form_data=form_data,
        )
        self._make = make
        self._source = source
        self._events: list[Event] = []
        self._at = 0
        self._in_part = False
        self.ended: bool = False
        self._epilogue = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        """The next part; what is unread of the last one is skipped.

        Raises:
            MalformedBody: the body breaks its syntax, or ends too early.
            LimitExceeded: it went over a ceiling.
            StreamBusy: another task reads the last part.
            Exception: what reading the source raises.
        """
        if self.last is not None:
            await self._leave(self.last)
            self.last = None
        part = self._coming
        if part is None:
            begin = await self.next_head()
            if begin is None:
                raise StopAsyncIteration
            part = self._coming = self._make(self, begin)
            self._name = begin.name if begin.filename is None else None
        if self._name == CHARSET_FIELD and self.form_data:
            # Ordinary data all the same, so it goes back for whoever reads it.
            label = await part.read(_LONGEST_CHARSET + 1)
            part.unread(label)
            self.charset = charset_of_field(label) or self.charset
        self._coming = None
        self.last = part
        return part

    async def _leave(self, part: P) -> None:
        reading = part._life.reader  # noqa: SLF001 - streams know each other's lives
        if reading is not None and reading is not asyncio.current_task():
            raise StreamBusy(f"another task is reading {part!r}")
        await part.close()

    async def next_head(self) -> PartBegin | None:
        """The head of the next part, skipping data; ``None`` after the last part."""
        while True:
            event = self.take()
            if event is None:
                if self.ended:
                    await self.drain()
                    return None
                await self.fill()
            elif type(event) is PartBegin:
                self.seen[0] += 1
                if self.seen[0] > self.limits.max_parts:
                    raise exceeded(
                        "the body", self.seen[0], self.limits.max_parts, "parts"
                    )
                return event

    async def next_data(self) -> bytes | memoryview:
        """The next data of the part; ``b""`` at its end."""
        while self._in_part:
            event = self.take()
            if event is None:
                await self.fill()
            elif event is not PART_END:
                assert isinstance(event, (bytes, memoryview))
                return event
        return b""

    def take(self) -> Event | None:
        """The next event, or ``None`` when another chunk is needed for it."""
        at = self._at
        if at == len(self._events):
            return None
        self._at = at + 1
        event = self._events[at]
        kind = type(event)
        if kind is PartBegin:
            self._in_part = True
        elif event is PART_END:
            self._in_part = False
        elif event is BODY_END:
            self.ended = True
            return None
        return event

    async def fill(self) -> None:
        """Read and parse another chunk; only after ``take`` has given ``None``.

        Raises:
            MalformedBody: the body has ended before its close delimiter.
            StreamError: the last chunk's events ended in this.
        """
        error = self._parser.error
        if error is not None:
            raise error.with_traceback(None)
        chunk = await self._source.readany()
        if chunk:
            self._events = self._parser.feed(chunk)
            self._at = 0
        else:
            self._parser.close()

    async def drain(self) -> None:
        """Read the epilogue, once ``ended``."""
        while self._epilogue < _MAX_EPILOGUE:
            chunk = await self._source.readany()
            if not chunk:
                return
            self._epilogue += len(chunk)


def charset_of_field(label: bytes) -> str | None:
    """The codec that the content of a ``_charset_`` field names, if it does.

    It is a field like any other, so one that names no charset says nothing.
    """
    try:
        codec = text_codec(label[:_LONGEST_CHARSET].decode("ascii"))
    except (StreamError, UnicodeDecodeError):
        return None
    return _AS_BROWSERS_DO.get(codec, codec)


def charset_of_form(content_type: str) -> str | None:
    """The codec that the Content-Type of a whole form names, if it does.

    RFC 7578 knows no such parameter. Java's clients send it all the same, and write
    the fields in that charset; from others it says UTF-8, or nothing that we know.

    Raises:
        MalformedBody: the parameters of the type cannot be read.
    """
    if "charset" not in content_type.lower():
        return None
    charset = parse_content_type(content_type).parameters.get("charset")
    try:
        codec = "utf-8" if charset is None else text_codec(charset)
    except UnsupportedContent:
        return None
    return None if codec in {"ascii", "utf-8", "utf-8-sig"} else codec
