"""A multipart form read whole: fields to text, each file to where files go.

A small form that is in one piece is mostly split by ``parse_whole_form``. Any other
goes through the push parser while it arrives: fields are gathered in memory,
``max_memory`` bytes of them at most, and each file is given to whoever stores it, as a
``Part`` to be read. For ``read_form`` that is one spool for all files, which holds as
many bytes in memory and the rest on disk.

A part is a file when it has a filename. Where parts need not have a name (everywhere
but in form-data), one without a name is a file as well. ``filename=""`` without any
content is what a browser sends for a file input that was not filled in: no file.

The charset of the form may be said by its last field. So fields are decoded at the
end, and names of files a second time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from aiostreams.errors import exceeded
from aiostreams.files.spooled import SpooledStream
from aiostreams.limits import DEFAULT_LIMITS, KiB
from aiostreams.multipart.body import multipart_type
from aiostreams.multipart.part import Part
from aiostreams.multipart.parts import PartReader
from aiostreams.multipart.received import ReceivedFile
from aiostreams.sansio.charsets import FormCharset
from aiostreams.sansio.headers import boundary_of
from aiostreams.sansio.multipart import PART_END, PartBegin
from aiostreams.sansio.parthead import disposition_of
from aiostreams.sansio.wholeform import parse_whole_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from aiostreams.limits import Limits
    from aiostreams.multipart.body import MultipartBody
    from aiostreams.sansio.multipart import PartCount
    from aiostreams.sansio.wholeform import FormPart
    from aiostreams.streams.base import Stream

__all__ = ["WHOLE", "FormParts", "parse_form_parts", "read_form_parts", "store_form"]

F = TypeVar("F")

# Up to this size a form is read in one piece, if it says how large it is.
WHOLE: Final = 256 * KiB

# What boundary_of() would say as well, which takes 2 us more.
_PLAIN_TYPE: Final = re.compile(
    r"multipart/form-data; ?boundary=([0-9A-Za-z'+_.\-]{1,70})"
)


class FormParts(Generic[F]):
    """What a form had.

    Attributes:
        fields: names and values, in order.
        files: names and files, in order.
        places: for each file, how many fields stood before it.
        types: the Content-Type of fields that had one, by the field's index.
        spool: where files are; ``None`` when all are in memory.
        count: how many parts the body had, if it was read in one piece; inputs for
            files that were not filled in are among them.
    """

    __slots__ = ("count", "fields", "files", "places", "spool", "types")

    def __init__(
        self,
        fields: list[tuple[str, str]] | None = None,
        files: list[tuple[str, F]] | None = None,
        places: list[int] | None = None,
        types: dict[int, str] | None = None,
        count: int = 0,
    ) -> None:
        self.fields: list[tuple[str, str]] = [] if fields is None else fields
        self.files: list[tuple[str, F]] = [] if files is None else files
        self.places: list[int] = [] if places is None else places
        self.types: dict[int, str] = {} if types is None else types
        self.spool: SpooledStream | None = None
        self.count: int = count


async def read_form_parts(
    stream: Stream,
    limits: Limits | None = None,
    *,
    decode: bool | None = None,
    count: PartCount | None = None,
) -> FormParts[ReceivedFile]:
    """Read the multipart body that ``stream`` is, to its end.

    Args:
        stream: the body.
        limits: the limits.
        decode: whether the codings of parts are undone; see :class:`MultipartBody`.
        count: counts the parts.

    Raises:
        UnsupportedContent: it is none, or has text in an unknown charset.
        MalformedBody: it breaks its syntax, or a field is not of its charset.
        LimitExceeded: it is over a limit.
    """
    limits = limits or DEFAULT_LIMITS
    content_type = stream.content_type or ""
    media_type = multipart_type(content_type, "multipart/form-data")
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
            if count is not None:
                count.add(form.count)
            return form
        stream.unread(data)
    spool = SpooledStream(max_memory=limits.max_memory)

    async def store(part: Part) -> ReceivedFile:
        start = spool.size
        while piece := await part.readany():
            await spool.write(piece)
        return ReceivedFile(
            (spool, start, spool.size - start),
            part.filename or "",
            part.content_type,
            part.raw_headers,
        )

    def rename(file: ReceivedFile, _name: str, filename: str | None) -> ReceivedFile:
        file.filename = filename or ""
        return file

    reader = PartReader(stream, limits=limits, decode=decode, count=count)
    try:
        form = await store_form(reader, store, rename)
    except BaseException:
        await spool.close()
        raise
    if spool.size:
        form.spool = spool
    return form


async def store_form(
    reader: PartReader,
    store: Callable[[Part], Awaitable[F]],
    rename: Callable[[F, str, str | None], F],
    *,
    texts: Collection[str] = (),
) -> FormParts[F]:
    """Gather the fields of a form, and have each of its files stored.

    Args:
        reader: of the parts, none of which was taken.
        store: stores one file, and returns what stands for it; what it leaves unread
            is skipped.
        rename: gives a file the name of its field and its filename in the charset of
            the form; called at the end, if that is not UTF-8.
        texts: names of fields whose files are fields: a browser sends a ``Blob`` of
            JSON with a filename.

    Raises:
        UnsupportedContent, MalformedBody, LimitExceeded: as :func:`read_form_parts`.
        Exception: what ``store`` raised.
    """
    return await _FormReader(reader.body, store, texts).read(rename)


class _FormReader(Generic[F]):
    """Sorts the parts of a form into fields and files."""

    def __init__(
        self,
        body: MultipartBody,
        store: Callable[[Part], Awaitable[F]],
        texts: Collection[str],
    ) -> None:
        self._body = body
        self._store = store
        self._texts = texts
        self._fields: list[tuple[PartBegin, bytes]] = []
        self._files: list[tuple[PartBegin, F]] = []
        self._places: list[int] = []
        self._held = 0

    async def read(self, rename: Callable[[F, str, str | None], F]) -> FormParts[F]:
        """Read the form to its end."""
        await self._sort()
        form = FormParts[F](places=self._places)
        charset = self._body.charset
        for index, (begin, value) in enumerate(self._fields):
            content_type = begin.content_type
            if content_type is not None:
                form.types[index] = content_type
            text = charset.decode(value, content_type, index + 1)
            form.fields.append((self._names(begin)[0], text))
        for begin, file in self._files:
            name, filename = self._names(begin)
            if charset.codec is not None:
                file = rename(file, name, filename)  # noqa: PLW2901 - the same file
            form.files.append((name, file))
        return form

    def _names(self, begin: PartBegin) -> tuple[str, str | None]:
        """Return the name and the filename, by what is known of the charset."""
        return _names(begin, self._body.charset.codec)

    async def _sort(self) -> None:
        """Go through the events: a field is worth no ``Part`` of its own."""
        body = self._body
        take, hold = body.take, self._hold
        begin = None
        pieces: list[bytes | memoryview] | None = None
        while True:
            event = take()
            if event is None:
                if not await body.more():
                    return
            elif type(event) is PartBegin:
                begin = event
                if not self._is_field(begin):
                    await self._store_file(begin)
                elif body.decode and b"-encoding:" in begin.raw.lower():
                    await self._read_coded(begin)
                else:
                    pieces = []
            elif pieces is None:
                continue  # what was left unread of a file
            elif event is PART_END:
                assert begin is not None
                self._fields.append((begin, b"".join(pieces)))
                pieces = None
            else:
                assert isinstance(event, (bytes, memoryview))
                pieces.append(event)
                hold(len(event))

    def _is_field(self, begin: PartBegin) -> bool:
        if begin.filename is None:
            return self._body.form_data or bool(begin.name)
        return bool(self._texts) and self._names(begin)[0] in self._texts

    def _hold(self, size: int) -> None:
        """Count bytes that are held from now on."""
        self._held += size
        limit = self._body.limits.max_memory
        if self._held > limit:
            unit = "bytes of fields to hold in memory"
            raise exceeded("the form", self._held, limit, unit)

    async def _read_coded(self, begin: PartBegin) -> None:
        pieces = []
        async with Part(self._body, begin) as part:
            while piece := await part.readany():
                self._hold(len(piece))
                pieces.append(piece)
        self._fields.append((begin, b"".join(pieces)))

    async def _store_file(self, begin: PartBegin) -> None:
        async with Part(self._body, begin) as part:
            if begin.left_empty and not await part.peek(1):
                return
            file = await self._store(part)
        self._files.append((begin, file))
        self._places.append(len(self._fields))


def parse_form_parts(
    data: bytes, content_type: str, limits: Limits
) -> FormParts[ReceivedFile] | None:
    """Parse a form-data body in one piece if it is a plain one; else ``None``.

    Raises:
        UnsupportedContent, MalformedBody: as :func:`read_form_parts`.
    """
    plain = _PLAIN_TYPE.fullmatch(content_type)
    boundary = boundary_of(content_type) if plain is None else plain[1].encode()
    parts = parse_whole_form(data, boundary, limits)
    if parts is None:
        return None
    charset = FormCharset(content_type if plain is None else "")
    for part in parts:
        if part[2] is None:
            charset.learn(part[1], part[4])
    return _of_whole(parts, charset)


def _of_whole(parts: list[FormPart], charset: FormCharset) -> FormParts[ReceivedFile]:
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, ReceivedFile]] = []
    places: list[int] = []
    types: dict[int, str] = {}
    utf_8 = charset.codec is None
    for part in parts:
        raw, name, filename, content_type, body = part
        if not utf_8:
            name, filename = _names(part, charset.codec)
        if filename is not None:
            if filename or body:
                files.append((name, ReceivedFile(body, filename, content_type, raw)))
                places.append(len(fields))
            continue
        if content_type is not None:
            types[len(fields)] = content_type
        elif utf_8:
            try:
                fields.append((name, body.decode()))
                continue
            except UnicodeDecodeError:
                pass  # it is named below
        fields.append((name, charset.decode(body, content_type, len(fields) + 1)))
    return FormParts(fields, files, places, types, len(parts))


def _names(part: PartBegin | FormPart, codec: str | None) -> tuple[str, str | None]:
    """Return a part's name and filename, in ``codec`` where they are not UTF-8."""
    if codec is None:
        return part.name or "", part.filename
    named = disposition_of(part.raw, codec)
    return named.name or "", named.filename
