"""A multipart body read whole: fields to text, files to a spool.

Two ways to the same ``FormParts``. A small form whose size is known is read in one
piece, and most of those are split by ``parse_whole_form``. Any other goes through the
push parser while it arrives: fields are gathered in memory, ``max_memory`` bytes of
them at most, and the files one after the other in one spool, which holds as many in
memory and the rest on disk.

A part is a file when it has a filename. Where parts need not have a name (everywhere
but in form-data), one without a name is a file as well. ``filename=""`` without any
content is what a browser sends for a file input that nobody has filled in: no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiostreams.errors import MalformedBody, UnsupportedContent, exceeded
from aiostreams.files.spooled import SpooledStream
from aiostreams.limits import DEFAULT_LIMITS, KiB
from aiostreams.multipart.part import Part, open_parts
from aiostreams.multipart.parts import (
    CHARSET_FIELD,
    PartReader,
    charset_of_field,
    charset_of_form,
)
from aiostreams.multipart.received import ReceivedFile
from aiostreams.sansio.charsets import codec_of
from aiostreams.sansio.headers import boundary_of
from aiostreams.sansio.multipart import PART_END, PartBegin
from aiostreams.sansio.wholeform import FormPart, parse_whole_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiostreams.content.file import File
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = [
    "WHOLE",
    "FormParts",
    "HeldFields",
    "name_in",
    "parse_form_parts",
    "read_form_parts",
]

# Up to this size a form is read in one piece, if it says how large it is.
WHOLE: Final = 256 * KiB

# What boundary_of() would say as well, which takes 2 us more.
_PLAIN_TYPE: Final = re.compile(
    r"multipart/form-data; ?boundary=([0-9A-Za-z'+_.\-]{1,70})"
)


@dataclass(slots=True)
class FormParts:
    """What a form had.

    Attributes:
        fields: names and values, in order.
        files: names and files, in order.
        places: for each file, how many fields stood before it.
        types: the Content-Type of fields that had one, by the field's index.
        spool: where files are; ``None`` when all are in memory.
        count: how many parts the body had, if it was read in one piece; inputs for
            files that nobody has filled in are among them.
    """

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, File]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    types: dict[int, str] = field(default_factory=dict)
    spool: SpooledStream | None = None
    count: int = 0


async def read_form_parts(
    stream: Stream,
    limits: Limits | None = None,
    *,
    decode: bool | None = None,
    opened: Callable[[PartReader[Part] | int], object] | None = None,
) -> FormParts:
    """Read the multipart body that ``stream`` is, to its end.

    Args:
        stream: the body.
        limits: the ceilings.
        decode: see :func:`open_parts`.
        opened: told of the reader of parts, or how many there are.

    Raises:
        UnsupportedContent: it is none, or has text in a charset nobody knows.
        MalformedBody: it breaks its syntax, or a field is not of its charset.
        LimitExceeded: it goes over a ceiling.
    """
    limits = limits or DEFAULT_LIMITS
    content_type = stream.content_type or ""
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("multipart/"):
        raise UnsupportedContent(
            f"the body must be multipart, not {media_type[:80] or 'of no type'!r}",
            accept="multipart/form-data",
        )
    size = stream.size
    if (
        media_type == "multipart/form-data"
        and size is not None
        and not stream.position
        and size <= min(WHOLE, limits.max_memory)
    ):
        data = await stream.read()
        form = parse_form_parts(data, content_type, limits)
        if form is not None:
            if opened is not None:
                opened(form.count)
            return form
        stream.unread(data)
    reader = open_parts(stream, content_type, limits, decode=decode)
    if opened is not None:
        opened(reader)
    return await _Reader(reader, limits).read()


def parse_form_parts(
    data: bytes, content_type: str, limits: Limits
) -> FormParts | None:
    """What a whole form-data body has, if it is a plain one; else ``None``.

    Raises:
        UnsupportedContent, MalformedBody: as :func:`read_form_parts`.
    """
    plain = _PLAIN_TYPE.fullmatch(content_type)
    boundary = boundary_of(content_type) if plain is None else plain[1].encode()
    parts = parse_whole_form(data, boundary, limits)
    if parts is None:
        return None
    return _of_whole(parts, charset_of_form(content_type) if plain is None else None)


def _of_whole(parts: list[FormPart], default: str | None) -> FormParts:
    for part in [part for part in parts if part[1] == CHARSET_FIELD]:
        if part.filename is None:
            default = charset_of_field(part.body) or default
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, File]] = []
    places: list[int] = []
    types: dict[int, str] = {}
    for raw, name, filename, content_type, body in parts:
        if default is not None:
            name = name_in(default, name)  # noqa: PLW2901 - the name from here on
        if filename is not None:
            if filename or body:
                files.append((name, ReceivedFile(body, filename, content_type, raw)))
                places.append(len(fields))
            continue
        if content_type is not None:
            types[len(fields)] = content_type
        elif default is None:
            try:
                fields.append((name, body.decode()))
            except UnicodeDecodeError:
                raise _not_of_charset(len(fields), "utf-8") from None
            continue
        fields.append((name, _text(body, content_type, default, len(fields))))
    return FormParts(fields, files, places, types, None, len(parts))


def _text(
    data: bytes, content_type: str | None, default: str | None, index: int
) -> str:
    codec = codec_of(content_type)
    if default is not None and "charset" not in (content_type or "").lower():
        codec = default
    try:
        return data.decode(codec)
    except UnicodeError:
        raise _not_of_charset(index, codec) from None


def _not_of_charset(index: int, codec: str) -> MalformedBody:
    return MalformedBody(f"field {index + 1} of the form is not {codec}")


def name_in(codec: str | None, name: str) -> str:
    """A name in the form's charset, where it was not UTF-8."""
    if codec is None:
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        try:
            return name.encode("utf-8", "surrogateescape").decode(codec)
        except UnicodeError:
            pass
    return name


class HeldFields:
    """The fields of a form, as bytes: the one that tells the charset may be the last.

    Args:
        limits: ``max_memory``, which all fields together may have.
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.max_memory
        self._held = 0
        self.fields: list[tuple[str, str | None, bytes]] = []

    def hold(self, size: int) -> None:
        """Count bytes that are held from now on.

        Raises:
            LimitExceeded: it is too many.
        """
        self._held += size
        if self._held > self._limit:
            unit = "bytes of fields to hold in memory"
            raise exceeded("the form", self._held, self._limit, unit)

    def texts(self, default: str | None) -> list[tuple[str, str]]:
        """Names and texts, where ``default`` is the codec of what does not say.

        Raises:
            UnsupportedContent, MalformedBody: as :func:`read_form_parts`.
        """
        return [
            (name_in(default, name), _text(value, content_type, default, index))
            for index, (name, content_type, value) in enumerate(self.fields)
        ]


class _Reader:
    """Sorts the events of the push parser into fields and files."""

    def __init__(self, reader: PartReader[Part], limits: Limits) -> None:
        self._reader = reader
        self._form = FormParts()
        self._held = HeldFields(limits)
        self._spool = SpooledStream(max_memory=limits.max_memory)
        # Of the part that is being read.
        self._pieces: list[bytes | memoryview] | None = None
        self._start = 0

    async def read(self) -> FormParts:
        try:
            await self._sort()
            self._decode_fields()
        except BaseException:
            await self._spool.close()
            raise
        form = self._form
        if self._spool.size:
            form.spool = self._spool
        return form

    async def _sort(self) -> None:
        reader = self._reader
        take, write, hold = reader.take, self._spool.write, self._held.hold
        begin = None
        while True:
            event = take()
            if event is None:
                if reader.ended:
                    await reader.drain()
                    return
                await reader.fill()
            elif type(event) is PartBegin:
                begin = event
                self._begin(begin)
                if reader.decode and b"-encoding:" in begin.raw.lower():
                    await self._read_coded(Part(reader, begin))
                    self._end(begin)
            elif event is PART_END:
                assert begin is not None
                self._end(begin)
            else:
                assert isinstance(event, (bytes, memoryview))
                if self._pieces is None:
                    await write(event)
                else:
                    self._pieces.append(event)
                    hold(len(event))

    def _begin(self, begin: PartBegin) -> None:
        self._reader.seen[0] += 1
        field = begin.filename is None and (self._reader.form_data or begin.name)
        self._pieces = [] if field else None
        self._start = self._spool.size

    async def _read_coded(self, part: Part) -> None:
        """Read a part that is in a coding, up to its end."""
        async with part:
            while piece := await part.readany():
                if self._pieces is None:
                    await self._spool.write(piece)
                else:
                    self._pieces.append(piece)
                    self._held.hold(len(piece))

    def _end(self, begin: PartBegin) -> None:
        form = self._form
        if self._pieces is not None:
            value = b"".join(self._pieces)
            self._held.fields.append((begin.name or "", begin.content_type, value))
            return
        length = self._spool.size - self._start
        if length or begin.filename != "":
            content = (self._spool, self._start, length)
            file = ReceivedFile(
                content, begin.filename or "", begin.content_type, begin.raw
            )
            form.files.append((begin.name or "", file))
            form.places.append(len(self._held.fields))

    def _decode_fields(self) -> None:
        form = self._form
        default = self._reader.charset
        for index, (name, content_type, value) in enumerate(self._held.fields):
            if content_type is not None:
                form.types[index] = content_type
            if name == CHARSET_FIELD and self._reader.form_data:
                default = charset_of_field(value) or default
        form.fields = self._held.texts(default)
        if default is not None:
            form.files = [(name_in(default, name), file) for name, file in form.files]
