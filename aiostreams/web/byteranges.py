"""The body of a 206: one range, or several as multipart/byteranges (RFC 9110 14.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from aiostreams.streams.multipart import MultiPartStream
from aiostreams.streams.sections import ChainStream

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from aiostreams.sansio.ranges import ByteRange
    from aiostreams.streams.base import Stream

__all__ = ["byteranges", "partial_body"]


async def byteranges(
    stream: Stream, ranges: tuple[ByteRange, ...], content_type: str | None
) -> Stream:
    """A body with a part for each range; its size is exact.

    Args:
        stream: a source that can seek and knows its size; not closed.
        ranges: what to send, in this order.
        content_type: of the whole, if it says one; each part repeats it.

    Raises:
        OSError: a slice cannot be had; those before it are closed.
        ValueError: the content type is none that a header can have; likewise.
    """
    slices: list[Stream] = []
    parts = []
    try:
        for span in ranges:
            head = {"Content-Range": span.content_range(stream.size)}
            if content_type is not None:
                head = {"Content-Type": content_type, **head}
            slices.append(await stream.slice(span.start, span.length))
            parts.append((head, slices[-1]))
        return MultiPartStream(parts, subtype="byteranges")
    except BaseException:
        await ChainStream(*slices).close()
        raise


async def partial_body(
    stream: Stream, ranges: tuple[ByteRange, ...], headers: CIMultiDict[str]
) -> Stream:
    """The body of a 206, out of slices of ``stream``, which is closed."""
    try:
        if len(ranges) == 1:
            return await stream.slice(ranges[0].start, ranges[0].length)
        body = await byteranges(stream, ranges, headers.get(hdrs.CONTENT_TYPE))
        headers[hdrs.CONTENT_TYPE] = body.content_type or ""
        return body
    finally:
        await stream.close()
