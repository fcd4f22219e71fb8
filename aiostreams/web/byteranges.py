"""Several ranges of one representation as multipart/byteranges (RFC 9110 14.6)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiostreams.streams.memory import ByteStream
from aiostreams.streams.sections import ChainStream

if TYPE_CHECKING:
    from aiostreams.sansio.ranges import ByteRange
    from aiostreams.streams.base import Stream

__all__ = ["byteranges"]


async def byteranges(
    stream: Stream, ranges: tuple[ByteRange, ...], content_type: str
) -> Stream:
    """A body with a part for each range; its size is exact.

    Args:
        stream: a source that can seek and knows its size; not closed.
        ranges: what to send, in this order.
        content_type: of the whole; each part repeats it.

    Raises:
        OSError: a slice cannot be had; those before it are closed.
    """
    boundary = secrets.token_hex(16)
    pieces: list[Stream] = []
    try:
        for span in ranges:
            head = (
                f"\r\n--{boundary}\r\n"
                f"Content-Type: {content_type}\r\n"
                f"Content-Range: {span.content_range(stream.size)}\r\n\r\n"
            )
            pieces.append(ByteStream(head.encode("latin-1")))
            pieces.append(await stream.slice(span.start, span.length))
    except BaseException:
        await ChainStream(*pieces).close()
        raise
    pieces.append(ByteStream(f"\r\n--{boundary}--\r\n".encode()))
    return _ByteRanges(f"multipart/byteranges; boundary={boundary}", *pieces)


class _ByteRanges(ChainStream):
    def __init__(self, content_type: str, *pieces: Stream) -> None:
        super().__init__(*pieces)
        self._multipart_type = content_type

    @property
    def content_type(self) -> str:
        return self._multipart_type
