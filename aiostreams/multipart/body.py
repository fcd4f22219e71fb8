"""One multipart body while it is read: the driver of the parser.

A ``MultipartBody`` stands between the Stream that a body comes from and the parts it
is made of. It holds the events of one chunk and nothing else; only when they are used
up is the next chunk read, so memory and pace are those of whoever reads the parts.
What is in a chunk is handed out without waiting, and a chunk that is all data as it
came. What all parts have in common is here too: limits, charset, count, depth.

What follows the close delimiter is read, up to 64 KiB, and dropped: then an HTTP
connection is free for the next request. Of a longer epilogue the rest is left unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiostreams.errors import LimitExceeded, MalformedBody, UnsupportedContent
from aiostreams.limits import KiB
from aiostreams.sansio.charsets import CHARSET_FIELD, LONGEST_CHARSET, FormCharset
from aiostreams.sansio.headers import boundary_of
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.multipart import (
    BODY_END,
    PART_END,
    MultipartParser,
    PartBegin,
    PartCount,
)

if TYPE_CHECKING:
    from aiostreams.limits import Limits
    from aiostreams.sansio.multipart import Event
    from aiostreams.streams.base import Stream

__all__ = ["MultipartBody", "NestedTooDeeply", "multipart_type"]

_MAX_EPILOGUE: Final = 64 * KiB


class NestedTooDeeply(LimitExceeded, MalformedBody):
    """Multipart in multipart, over ``max_depth`` levels: no real client, so 400."""

    status = 400


def multipart_type(content_type: str | None, accept: str) -> str:
    """Return the media type in lower case.

    Args:
        content_type: of the body, or ``None``.
        accept: what the error says is accepted.

    Raises:
        UnsupportedContent: it is not multipart.
    """
    media_type = media_type_of(content_type)
    if not media_type.startswith("multipart/"):
        raise UnsupportedContent(
            f"the body must be multipart, not {media_type[:80] or 'of no type'!r}",
            accept=accept,
        )
    return media_type


class MultipartBody:
    """The events of one multipart body.

    Args:
        source: the body; not closed.
        content_type: its type, with the boundary.
        limits: the parser's limits, and ``max_depth``.
        decode: whether parts undo their Content-Transfer-Encoding and
            Content-Encoding; ``None`` for what the type says. In form-data, RFC 7578
            deprecates the first (section 4.7) and has readers ignore the second
            (section 4.8).
        count: counts the parts; a new one unless given.
        parent: the body whose part ``source`` is.

    Attributes:
        limits: as given.
        form_data: whether it is form-data (RFC 7578), and no other multipart.
        decode: whether codings are undone.
        count: counts the parts, of all levels together.
        charset: that of a form's text, as far as it is known by now.
        depth: 1 for a body, 2 for one in a part of it, ...
        ended: whether the close delimiter was met.

    Raises:
        UnsupportedContent: the type is not multipart.
        MalformedBody: the boundary is missing or wrong.
        NestedTooDeeply: the body is in too many others.
    """

    def __init__(
        self,
        source: Stream,
        content_type: str,
        *,
        limits: Limits,
        decode: bool | None = None,
        count: PartCount | None = None,
        parent: MultipartBody | None = None,
    ) -> None:
        self.form_data: bool = (
            multipart_type(content_type, "multipart/*") == "multipart/form-data"
        )
        boundary = boundary_of(content_type)
        self.limits = limits
        self.decode: bool = not self.form_data if decode is None else decode
        self.charset: FormCharset = FormCharset(content_type if self.form_data else "")
        self.depth: int = 1
        if parent is not None:
            self.depth = parent.depth + 1
            count = parent.count
            if self.depth > limits.max_depth:
                raise NestedTooDeeply(
                    f"multipart in {self.depth} levels, limit {limits.max_depth}",
                    limit=limits.max_depth,
                    seen=self.depth,
                )
        self.count: PartCount = count or PartCount(limits.max_parts)
        self._parser = MultipartParser(
            boundary, limits=limits, form_data=self.form_data, count=self.count
        )
        self._source = source
        self._events: list[Event] = []
        self._at = 0
        self._in_part = False
        # The content of a field that says the charset, while it passes.
        self._label: bytes | None = None
        self.ended: bool = False
        self._epilogue = 0

    async def next_head(self) -> PartBegin | None:
        """Return the head of the next part, skipping data; ``None`` after the last one.

        Raises:
            MalformedBody: the body breaks its syntax, or ends too early.
            LimitExceeded: it is over a limit.
            Exception: what reading the source raises.
        """
        while True:
            event = self.take()
            if event is None:
                if not await self.more():
                    return None
            elif type(event) is PartBegin:
                return event

    async def next_data(self) -> bytes | memoryview:
        """Return the next data of the part; ``b""`` at its end.

        Raises:
            StreamError, Exception: as :meth:`next_head`.
        """
        while self._in_part:
            event = self.take()
            if event is None:
                await self.more()
            elif event is not PART_END:
                assert isinstance(event, (bytes, memoryview))
                return event
        return b""

    def take(self) -> Event | None:
        """Return the next event, or ``None`` when it takes :meth:`more` to have one."""
        at = self._at
        if at == len(self._events):
            return None
        self._at = at + 1
        event = self._events[at]
        if type(event) is PartBegin:
            self._in_part = True
            if event.name == CHARSET_FIELD and event.filename is None:
                self._label = b"" if self.form_data else None
        elif event is PART_END:
            self._in_part = False
            if self._label is not None:
                self.charset.learn(CHARSET_FIELD, self._label)
                self._label = None
        elif event is BODY_END:
            self.ended = True
            return None
        elif self._label is not None:
            assert isinstance(event, (bytes, memoryview))
            # One byte more than a charset's name has, so that it is none.
            room = LONGEST_CHARSET + 1 - len(self._label)
            self._label += event[:room]
        return event

    async def more(self) -> bool:
        """Read and parse another chunk; only after ``take`` has given ``None``.

        Returns:
            Whether there was one: not behind the close delimiter.

        Raises:
            MalformedBody: the body has ended before its close delimiter.
            StreamError: the last chunk's events ended in this.
            Exception: what reading the source raises.
        """
        if self.ended:
            await self._drain()
            return False
        error = self._parser.error
        if error is not None:
            raise error.with_traceback(None)
        chunk = await self._source.readany()
        if chunk:
            self._events = self._parser.feed(chunk)
            self._at = 0
        else:
            self._parser.close()
        return True

    async def _drain(self) -> None:
        """Read the epilogue."""
        while self._epilogue < _MAX_EPILOGUE:
            chunk = await self._source.readany()
            if not chunk:
                return
            self._epilogue += len(chunk)
