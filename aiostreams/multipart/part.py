"""One part of a multipart body, as a Stream.

A part reads from the ``MultipartBody`` that all parts of its body share. What the
sender has wrapped around its content is undone on the way: first
Content-Transfer-Encoding (RFC 2045 section 6), then Content-Encoding (RFC 9110 section
8.4), each only when it is read, so a part in an unknown coding can still be skipped.
"""

from __future__ import annotations

import asyncio
import os
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from aiostreams.codings.decoded import DecodedStream
from aiostreams.content.base import offload, read_all
from aiostreams.content.json import JSON
from aiostreams.errors import InvalidContent
from aiostreams.files.file import FileStream
from aiostreams.sansio.charsets import decode_text
from aiostreams.sansio.disposition import safe_filename
from aiostreams.sansio.headers import parse_content_type
from aiostreams.sansio.parthead import disposition_of, header_map
from aiostreams.streams.base import Stream
from aiostreams.streams.copy import copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import CIMultiDictProxy

    from aiostreams.limits import Limits
    from aiostreams.multipart.body import MultipartBody
    from aiostreams.sansio.disposition import Disposition
    from aiostreams.sansio.multipart import PartBegin
    from aiostreams.sansio.transfer import TransferDecoder
    from aiostreams.storage.base import Storage

__all__ = ["Part"]

T = TypeVar("T")

# How much of its name a message shows, in characters.
_LONGEST_NAME: Final = 40


class Part(Stream):
    """One part of a multipart body (RFC 7578), a Stream over its content.

    It is readable until the next part is asked for, and ``StreamClosed`` afterwards.
    :func:`iter_parts` makes it.

    Names are text without surrogates: bytes that are neither UTF-8 nor of the form's
    charset are U+FFFD.

    Args:
        parent: the body that it is a part of.
        begin: its head.

    Attributes:
        name: the ``name`` of its Content-Disposition, or ``None``.
        filename: the filename as sent, or ``None`` for a part that is no file. By
            ``filename*`` (RFC 8187) where there is no ``filename``, or an encoded word
            (RFC 2047) in its place; empty when that cannot be decoded. Data, never a
            path: to save under it, there is ``safe_filename``.
        parent: the body that it is a part of.
        limits: those of the body.
    """

    def __init__(self, parent: MultipartBody, begin: PartBegin) -> None:
        super().__init__(content_type=begin.content_type)
        self.parent = parent
        self.limits: Limits = parent.limits
        self._begin = begin
        self.name: str | None = begin.name
        self.filename: str | None = begin.filename
        if parent.charset.codec is not None:
            named = disposition_of(begin.raw, parent.charset.codec)
            self.name, self.filename = named.name, named.filename
        # Two tests instead of a look at every header: most parts have no coding.
        self._coded = parent.decode and b"-encoding:" in begin.raw.lower()
        # What undoes the codings; made by the first read.
        self._sent: _SentContent | None = None
        self._content: Stream | None = None

    @cached_property
    def headers(self) -> CIMultiDictProxy[str]:
        """All header fields."""
        return header_map(self._begin.headers)

    @property
    def raw_headers(self) -> bytes:
        """The header section as sent, each line with its CR LF."""
        return self._begin.raw

    @cached_property
    def _disposition(self) -> Disposition:
        return disposition_of(self._begin.raw)

    @property
    def raw_name(self) -> bytes | None:
        """The bytes of ``name`` as sent, without quotes, escapes not undone."""
        return self._disposition.raw_name

    @property
    def raw_filename(self) -> bytes | None:
        """The bytes as sent, likewise, of what gave ``filename``.

        Of ``filename*`` they have the form of RFC 8187, ``UTF-8''na%C3%AFve.txt``.
        """
        return self._disposition.raw_filename

    @property
    def safe_filename(self) -> str:
        """The filename made harmless; ``"file"`` when there is none."""
        return safe_filename(self.filename)

    @property
    def charset(self) -> str | None:
        """The ``charset`` that its Content-Type says, as sent, or ``None``.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
        """
        if self.content_type is None or ";" not in self.content_type:
            return None
        return parse_content_type(self.content_type).parameters.get("charset")

    @property
    def codec(self) -> str:
        """Python's codec for its text.

        By the charset of its Content-Type, else by the form's ``_charset_`` field
        (RFC 7578 section 4.6), else by the charset of the form's own Content-Type,
        else UTF-8.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
            UnsupportedContent: the charset is unknown.
        """
        return self.parent.charset.codec_of(self.content_type)

    @property
    def size(self) -> int | None:
        """The part's own Content-Length, if it has one and no coding."""
        return None if self._coded else self._begin.content_length

    async def readany(self) -> bytes:
        """Return the next bytes of the content, its codings undone.

        Raises:
            MalformedBody: the body breaks its syntax, or a coding's.
            UnsupportedContent: the coding is unknown.
            LimitExceeded: over a limit.
        """
        if not self._coded:
            # Of a memoryview the guard makes bytes.
            return await self.parent.next_data()  # type: ignore[return-value]
        if self._content is None:
            self._content = self._decoded()
        return await self._content.readany()

    def _decoded(self) -> Stream:
        decoder: TransferDecoder | None = None
        transfer = self._begin.get("content-transfer-encoding")
        if transfer is not None:
            # Mail has it; browsers do not send it.
            from aiostreams.sansio.transfer import transfer_decoder  # noqa: PLC0415

            decoder = transfer_decoder(transfer)
        coding = self._begin.get("content-encoding")
        sent = _SentContent(self.parent, decoder)
        if coding is None:
            return sent
        field = self.parent.form_data and self.filename is None
        ceiling = self.limits.max_field if field else self.limits.max_file
        limits = self.limits.replace(max_body=ceiling)
        decoded = DecodedStream(sent, coding, limits=limits)
        self._sent = sent
        return decoded

    async def text(self) -> str:
        """Read what is left of the content, at most ``max_memory`` bytes, as text.

        A leading byte order mark is left out.

        Raises:
            LimitExceeded: it is more.
            MalformedBody: the bytes are not of that charset.
            UnsupportedContent: the charset is unknown.
            StreamError: as raised by reading.
        """
        codec = self.codec
        data = await read_all(self, self.limits)
        return await offload(partial(decode_text, codec=codec), data)

    @overload
    async def json(
        self, *, type: type[T], loads: Callable[[Any], Any] | None = None
    ) -> T: ...
    @overload
    async def json(
        self, *, type: Any = None, loads: Callable[[Any], Any] | None = None
    ) -> Any: ...
    async def json(
        self,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        loads: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Read what is left of the content as JSON, whatever its Content-Type.

        Args:
            type: what the value has to be, as for :meth:`JSON.decode`.
            loads: parses in place of the built-in parser.

        Raises:
            LimitExceeded: more than ``max_memory`` bytes.
            MalformedBody: it is not JSON.
            InvalidContent: it is not of ``type``; each fault is named by its JSON
                Pointer into the value, and by the part.
            StreamError: as raised by reading.
        """
        try:
            content = await JSON.decode(
                self, type=type, limits=self.limits, loads=loads
            )
        except InvalidContent as error:
            name = ascii((self.name or "")[:_LONGEST_NAME])
            raise error.within(note=f"part {name}") from error
        return content.data

    async def save(
        self,
        target: str | os.PathLike[str] | Storage,
        key: str | None = None,
        *,
        fsync: bool = False,
    ) -> int:
        """Write what is left of the content to a file or a storage, all or nothing.

        Args:
            target: a path, where an existing file is replaced at the end; or a
                ``Storage``.
            key: where in the storage; nothing may be there yet.
            fsync: whether to wait until a file would survive a power failure.

        Returns:
            The number of bytes.

        Raises:
            StorageError: the disk is full, or the storage failed.
            ObjectExists, InvalidKey: as the storage says of the key.
            TypeError: a storage without a key, or a path with one.
            Exception: what reading raises; ``target`` is as it was.
        """
        sink: Stream
        if isinstance(target, (str, os.PathLike)):
            if key is not None:
                raise TypeError("key was given with a path, expected a storage")
            sink = FileStream(target, "wb", fsync=fsync)
        elif key is None:
            raise TypeError("the key for the storage is missing")
        else:
            sink = await target.create(key, content_type=self.content_type)
        async with sink:
            return await copy(self, sink)

    async def close(self) -> None:
        """Close this part; its reader skips the rest."""
        if self._content is not None:
            await self._content.close()
        if self._sent is not None:
            # What was read ahead for the decoder may be on its way out still.
            while self._sent.busy:  # noqa: ASYNC110 - it was cancelled just now
                await asyncio.sleep(0)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" name={self.name!r}"
        file = "" if self.filename is None else f" filename={self.filename!r}"
        what = f"{name}{file} {self.position} bytes {self._life.state.value}"
        return f"<{type(self).__name__}{what}>"


class _SentContent(Stream):
    """The bytes of a part, its Content-Transfer-Encoding undone and nothing else."""

    def __init__(self, parent: MultipartBody, decoder: TransferDecoder | None) -> None:
        super().__init__()
        self._parent = parent
        self._decoder = decoder

    async def readany(self) -> bytes:
        decoder = self._decoder
        while piece := await self._parent.next_data():
            if decoder is None:
                return piece  # type: ignore[return-value] # the guard makes bytes
            if data := decoder.feed(piece):
                return data
        if decoder is not None:
            decoder.close()
        return b""
