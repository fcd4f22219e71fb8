"""Files as a form brought them: in memory, or a region of the form's spool.

All files of a form share one spool: the memory they take together has one limit, and
a thousand files cost one descriptor. A received file can be read any number of times,
and forwarded, as long as its form is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aiostreams.content.file import File
from aiostreams.sansio.disposition import safe_filename
from aiostreams.sansio.headers import parse_header_block
from aiostreams.sansio.mediatype import OCTET_STREAM, guess_content_type
from aiostreams.sansio.parthead import disposition_of, header_map
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from aiostreams.files.spooled import SpooledStream

__all__ = ["ReceivedFile"]


class ReceivedFile(File):
    """A file of a form.

    Args:
        content: the bytes, or where they are: a spool, the first byte and their
            number.
        filename: as sent.
        content_type: as sent, or ``None``.
        raw: the header block of the part.

    Attributes:
        name: the filename without directories; ``None`` when nothing is left.
        filename: as sent; it may be a path, or anything else. See
            :attr:`Part.filename`.
        size: the number of bytes.
    """

    # Built lazily: a form can have hundreds of files.

    def __init__(
        self,
        content: bytes | tuple[SpooledStream, int, int],
        filename: str,
        content_type: str | None,
        raw: bytes,
    ) -> None:
        self.path: str | None = None
        self.filename = filename
        self._content = content
        self._sent_type = content_type
        self._raw = raw
        self.size: int = len(content) if isinstance(content, bytes) else content[2]

    @property
    def name(self) -> str | None:  # type: ignore[override]
        name = self.filename
        return name[max(name.rfind("/"), name.rfind("\\")) + 1 :] or None

    @property
    def raw_filename(self) -> bytes | None:
        """The bytes as sent of what gave the filename: :attr:`Part.raw_filename`."""
        return disposition_of(self._raw).raw_filename

    @property
    def raw_name(self) -> bytes | None:
        """The bytes as sent of the field's name: :attr:`Part.raw_name`."""
        return disposition_of(self._raw).raw_name

    @property
    def safe_filename(self) -> str:
        """The filename made harmless; ``"file"`` when nothing is left of it."""
        return safe_filename(self.filename)

    @property
    def content_type(self) -> str:
        """As sent, else what the name promises, else ``application/octet-stream``."""
        return self._sent_type or guess_content_type(
            self.name or "", default=OCTET_STREAM
        )

    @property
    def sent_type(self) -> str | None:
        """The Content-Type as sent, or ``None``."""
        return self._sent_type

    @property
    def data(self) -> bytes | None:
        """The content, if it is in memory and not in the spool."""
        return self._content if isinstance(self._content, bytes) else None

    @property
    def headers(self) -> CIMultiDictProxy[str]:  # type: ignore[override]
        """All header fields of the part."""
        return header_map(parse_header_block(self._raw))

    def encode(self) -> Stream:
        """Return the bytes, from the first; as often as one likes."""
        content = self._content
        if isinstance(content, bytes):
            return ByteStream(content, content_type=self.content_type)
        return _Region(*content, self.content_type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.filename!r} {self.size} bytes>"


class _Region(Stream):
    """``length`` bytes of a spool from ``offset`` on; the spool stays open."""

    def __init__(
        self, spool: SpooledStream, offset: int, length: int, content_type: str
    ) -> None:
        super().__init__(size=length, content_type=content_type)
        self._spool = spool
        self._offset = offset
        self._length = length
        self._part: Stream | None = None

    async def open(self) -> Self:
        self.check_open()
        await self._opened()
        return self

    async def _opened(self) -> Stream:
        if self._part is not None:
            return self._part
        part = await self._spool.slice(self._offset, self._length)
        if self._part is not None or self.closed:
            await part.close()
        else:
            self._part = part
        return self._part or part

    async def readany(self) -> bytes:
        part = self._part
        return await (await self._opened() if part is None else part).readany()

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        start = min(offset, self._length)
        rest = self._length - start
        return await self._spool.slice(
            self._offset + start, rest if length is None else min(length, rest)
        )

    async def close(self) -> None:
        if self._part is not None:
            await self._part.close()
