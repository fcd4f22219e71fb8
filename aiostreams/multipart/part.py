"""One part of a multipart body, as a Stream.

A part reads from the ``PartReader`` that all parts of its body share. What the sender
has wrapped around its content is undone on the way: first Content-Transfer-Encoding
(RFC 2045 section 6), then Content-Encoding (RFC 9110 section 8.4), each only when it
is read, so a part in a coding that nobody knows can still be skipped.

Text and JSON, being values, are ``content.part``'s.

Part: what ``iter_parts`` gives, a Stream that knows its text and its JSON.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from multidict import CIMultiDict, CIMultiDictProxy

from aiostreams.codings.decoded import DecodedStream
from aiostreams.content.base import offload, read_all
from aiostreams.content.json import JSON
from aiostreams.errors import exceeded
from aiostreams.files.file import FileStream
from aiostreams.multipart.parts import PartReader, charset_of_form
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.sansio.disposition import decode_extended, safe_filename
from aiostreams.sansio.headers import boundary_of, decode_header, parse_content_type
from aiostreams.sansio.transfer import transfer_decoder
from aiostreams.streams.base import Stream
from aiostreams.streams.copy import copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.limits import Limits
    from aiostreams.sansio.multipart import PartBegin
    from aiostreams.sansio.transfer import TransferDecoder

__all__ = ["BodyPart", "Creates", "Part", "open_parts"]


class Creates(Protocol):
    """What is asked of a storage here; ``uploads.storage`` has the class."""

    async def create(self, key: str, *, content_type: str | None = None) -> Stream:
        """A writable stream, which stores what it was given when it is closed."""
        ...


class BodyPart(Stream):
    """A part: its head, and its content to read.

    It is readable until the next part is asked for, and ``StreamClosed`` afterwards.

    Args:
        reader: where the content comes from.
        begin: the head.

    Attributes:
        name: the ``name`` of its Content-Disposition, or ``None``. Bytes that are not
            UTF-8 are surrogate escapes, as everywhere in a head.
        filename: the ``filename`` as sent, or ``None``; see :attr:`safe_filename`.
        limits: the ceilings of the body.
    """

    def __init__(self, reader: PartReader[Any], begin: PartBegin) -> None:
        super().__init__(content_type=begin.content_type)
        self.name: str | None = begin.name
        self.filename = begin.filename
        self.limits: Limits = reader.limits
        self._reader = reader
        self._begin = begin
        self._headers: CIMultiDictProxy[str] | None = None
        self._decoder: TransferDecoder | None = None
        self._sent: _Sent | None = None
        self._decoded: DecodedStream | None = None
        # Two tests instead of a look at every header: most parts have no coding.
        self._coded = reader.decode and b"-encoding:" in begin.raw.lower()
        self._prepared = not self._coded
        self._room: int | None = None
        if reader.extended and self.filename is None:
            disposition = begin.disposition
            if disposition is not None and disposition.extended is not None:
                self.filename = decode_extended(disposition.extended)
            elif reader.form_data:
                self._room = self.limits.max_field

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All header fields."""
        if self._headers is None:
            self._headers = CIMultiDictProxy(
                CIMultiDict(
                    (name.decode("ascii"), decode_header(value))
                    for name, value in self._begin.headers
                )
            )
        return self._headers

    @property
    def safe_filename(self) -> str:
        """The filename made harmless; ``"file"`` when there is none."""
        return safe_filename(self.filename)

    @property
    def charset(self) -> str | None:
        """The ``charset`` that its Content-Type tells, as sent, or ``None``.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
        """
        if self.content_type is None or ";" not in self.content_type:
            return None
        return parse_content_type(self.content_type).parameters.get("charset")

    @property
    def size(self) -> int | None:
        """The part's own Content-Length, if it has one and no coding."""
        return None if self._coded else self._begin.content_length

    @property
    def reader(self) -> PartReader[Any]:
        """What all parts of this body read from."""
        return self._reader

    async def readany(self) -> bytes:
        """The next bytes of the content, its codings undone.

        Raises:
            MalformedBody: the body breaks its syntax, or a coding's.
            UnsupportedContent: nobody here knows the coding.
            LimitExceeded: over a ceiling.
        """
        if not self._prepared:
            self._prepare()
        if self._decoded is not None:
            return await self._decoded.readany()
        return await self.read_sent()

    def _prepare(self) -> None:
        decoder = transfer_decoder(self._begin.get("content-transfer-encoding"))
        coding = self._begin.get("content-encoding")
        if coding is not None:
            field = self._reader.form_data and self.filename is None
            limits = self.limits
            limits = limits.replace(
                max_body=limits.max_field if field else limits.max_file
            )
            self._sent = _Sent(self)
            self._decoded = DecodedStream(self._sent, coding, limits=limits)
        self._decoder = decoder
        self._prepared = True

    async def read_sent(self) -> bytes:
        """The next bytes in their Content-Encoding, and no other."""
        while piece := await self._reader.next_data():
            if self._room is not None:
                self._room -= len(piece)
                if self._room < 0:
                    limit = self.limits.max_field
                    raise exceeded("a field", limit - self._room, limit)
            if self._decoder is not None:
                piece = self._decoder.feed(piece)
                if not piece:
                    continue
            # Of a memoryview the guard makes bytes.
            return piece  # type: ignore[return-value]
        if self._decoder is not None:
            self._decoder.close()
        return b""

    async def save(
        self,
        target: str | os.PathLike[str] | Creates,
        key: str | None = None,
        *,
        fsync: bool = False,
    ) -> int:
        """Write what is left of the content to a file or a storage, whole or not.

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
                raise TypeError("a key is for a storage; a path is enough for a file")
            sink = FileStream(target, "wb", fsync=fsync)
        elif key is None:
            raise TypeError("a storage needs a key")
        else:
            sink = await target.create(key, content_type=self.content_type)
        async with sink:
            return await copy(self, sink)

    async def close(self) -> None:
        """Have done with this part; its reader skips the rest."""
        if self._decoded is not None and self._sent is not None:
            await self._decoded.close()
            # What was read ahead for the decoder may be on its way out still.
            while self._sent.reading:  # noqa: ASYNC110 - it was cancelled just now
                await asyncio.sleep(0)

    def __repr__(self) -> str:
        name = "" if self.name is None else f" name={self.name!r}"
        file = "" if self.filename is None else f" filename={self.filename!r}"
        what = f"{name}{file} {self.position} bytes {self._life.state.value}"
        return f"<{type(self).__name__}{what}>"


class _Sent(Stream):
    """The bytes of a part before its Content-Encoding is undone."""

    def __init__(self, part: BodyPart) -> None:
        super().__init__()
        self._part = part

    @property
    def reading(self) -> bool:
        """Whether a task is in ``readany``."""
        return self._life.reader is not None

    async def readany(self) -> bytes:
        return await self._part.read_sent()


T = TypeVar("T")


class Part(BodyPart):
    """One part of a multipart body (RFC 7578), a Stream over its content.

    It is readable until the next part is asked for, and ``StreamClosed`` afterwards.
    :func:`iter_parts` makes it.

    Attributes:
        name: the ``name`` of its Content-Disposition, or ``None``. Bytes that are not
            UTF-8 are surrogate escapes, as everywhere in a head.
        filename: the ``filename`` as sent, or ``None``. Data, never a path: to save
            under it, there is ``safe_filename``.
        limits: the ceilings of the body.
    """

    @property
    def codec(self) -> str:
        """Python's codec for its text.

        By the charset of its Content-Type, else by the form's ``_charset_`` field
        (RFC 7578 section 4.6), else by the charset of the form's own Content-Type,
        else UTF-8.

        Raises:
            MalformedBody: the parameters of the type cannot be read.
            UnsupportedContent: nobody knows the charset.
        """
        if self.charset is None and self._reader.charset is not None:
            return self._reader.charset
        return codec_of(self.content_type)

    async def text(self) -> str:
        """What is left of the content, at most ``max_memory`` bytes, as text.

        A leading byte order mark is left out.

        Raises:
            LimitExceeded: it is more.
            MalformedBody: the bytes are not of that charset.
            UnsupportedContent: nobody knows the charset.
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
        """What is left of the content as a JSON value, whatever its Content-Type.

        Args:
            type: what the value has to be: a dataclass, TypedDict, ``msgspec.Struct``
                or anything made of them.
            loads: parses in place of the built-in parser.

        Raises:
            LimitExceeded: more than ``max_memory`` bytes.
            MalformedBody: it is not JSON.
            InvalidContent: it is not of ``type``; each error is named with its path.
            StreamError: as raised by reading.
        """
        content = await JSON.decode(self, type=type, limits=self.limits, loads=loads)
        return content.data


def open_parts(
    stream: Stream,
    content_type: str,
    limits: Limits,
    *,
    decode: bool | None = None,
    extended: bool = False,
) -> PartReader[Part]:
    """A reader of the parts of ``stream``, a body of that multipart type.

    Args:
        stream: the body; not closed.
        content_type: its type, with the boundary.
        limits: the ceilings.
        decode: whether the codings of parts are undone; ``None`` for what the type
            says. In form-data, RFC 7578 deprecates Content-Transfer-Encoding (section
            4.7) and has readers ignore Content-Encoding (section 4.8).
        extended: whether ``filename*`` counts where there is no ``filename``.

    Raises:
        MalformedBody: the boundary is missing or wrong, or the stream is a part
            inside of too many others.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    form_data = media_type == "multipart/form-data"
    reader = PartReader(
        stream,
        boundary_of(content_type),
        Part,
        limits=limits,
        form_data=form_data,
        decode=not form_data if decode is None else decode,
        extended=extended,
        parent=stream.reader if isinstance(stream, BodyPart) else None,
    )
    if form_data:
        reader.charset = charset_of_form(content_type)
    return reader
