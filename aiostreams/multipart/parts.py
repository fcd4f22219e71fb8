"""The parts of a multipart body, one after the other.

Parts come in order and share one source, so there is one at a time: going on to the
next one skips what is unread of the last, which is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aiostreams.errors import StreamBusy
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.multipart.body import MultipartBody
from aiostreams.multipart.part import Part

if TYPE_CHECKING:
    from aiostreams.limits import Limits
    from aiostreams.sansio.multipart import PartCount
    from aiostreams.streams.base import Stream

__all__ = ["PartReader"]


class PartReader:
    """An async iterator over the parts of one multipart body.

    Args:
        source: the body; not closed. It may be a part.
        content_type: in place of the source's own.
        limits: the limits; unless given those of the part that the source is, else
            the defaults.
        decode: see :class:`MultipartBody`.
        count: counts the parts, unless the source is a part.

    Attributes:
        body: what the parts are read from.

    Raises:
        UnsupportedContent: the type is not multipart.
        MalformedBody: the boundary is missing or wrong.
        NestedTooDeeply: the body is in too many others.
    """

    def __init__(
        self,
        source: Stream,
        content_type: str | None = None,
        *,
        limits: Limits | None = None,
        decode: bool | None = None,
        count: PartCount | None = None,
    ) -> None:
        parent = source.parent if isinstance(source, Part) else None
        if content_type is None:
            content_type = source.content_type or ""
        if limits is None:
            limits = DEFAULT_LIMITS if parent is None else parent.limits
        self.body: MultipartBody = MultipartBody(
            source,
            content_type,
            limits=limits,
            decode=decode,
            count=count,
            parent=parent,
        )
        self._last: Part | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        """Return the next part; what is unread of the last one is skipped.

        Raises:
            MalformedBody: the body breaks its syntax, or ends too early.
            LimitExceeded: it is over a limit.
            StreamBusy: another task reads the last part.
            Exception: what reading the source raises.
        """
        if self._last is not None:
            await _leave(self._last)
            self._last = None
        begin = await self.body.next_head()
        if begin is None:
            raise StopAsyncIteration
        self._last = part = Part(self.body, begin)
        return part


async def _leave(part: Part) -> None:
    if part.busy:
        raise StreamBusy(f"another task is reading {part!r}")
    await part.close()
