"""MultiPart and Files: fields and files by name, to a multipart body and from one.

A value knows the order of its parts and how each of them is headed; ``whole`` reads
one, ``MultiPartStream`` writes one. Names and filenames are escaped as browsers
do (RFC 7578 section 4.2, WHATWG); what no escape makes unambiguous is an error of
``encode()``, before any byte.

The boundary is drawn once for each value, so that the header field and the body have
the same one. A body that was received is sent on under a boundary of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, overload

from aiostreams.content.base import Content
from aiostreams.content.file import File
from aiostreams.content.json import JSON, json_reader
from aiostreams.multipart.form import Form
from aiostreams.multipart.multidict import ImmutableMultiDict, flat_pairs
from aiostreams.multipart.received import ReceivedFile
from aiostreams.multipart.whole import FormParts, read_form_parts
from aiostreams.sansio.charsets import CHARSET_FIELD, FormCharset
from aiostreams.sansio.disposition import format_disposition
from aiostreams.sansio.headers import format_content_type
from aiostreams.streams.base import Stream
from aiostreams.streams.multipart import (
    MultiPartStream,
    check_boundary,
    random_boundary,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiostreams.files.spooled import SpooledStream
    from aiostreams.limits import Limits

__all__ = ["Bytes", "Field", "Files", "MultiPart", "Upload", "file_head", "uploads_of"]

T = TypeVar("T")

Field: TypeAlias = "str | Content"


class MultiPart(Content):
    """Fields and files: ``multipart/form-data``, or another multipart type.

        MultiPart({"note": "hello"}, {"photo": "me.png", "data": b"raw bytes"})

    Equal to another one with the same fields and files in the same order.

    Args:
        form: the fields: a mapping of names to a value, or to a list of values; or
            pairs; or a :class:`Form`. A value is a ``str``, or a Content whose text is
            sent under its content type, as ``JSON``.
        files: the files, likewise, or a :class:`Files`. A value is a :class:`File`, or
            what one is made of: a path, bytes, a Stream (which can be sent once), a
            Content. A file without a name gets the field's.
        boundary: what divides the parts; random unless given.
        subtype: ``form-data``, ``mixed``, ``related``, ...

    Attributes:
        form: the fields, as a :class:`Form`.
        files: the files, as :class:`Files`. Of a body that was received each is a
            :class:`ReceivedFile`, which has a ``filename`` and a ``size``.

    Raises:
        TypeError: a name or a value is nothing of that.
        ValueError: the boundary or the subtype cannot be written.
    """

    _boundary: str | None

    # Overloads, not one union: mypy finds the type of a dict by them.
    @overload
    def __init__(
        self,
        form: Mapping[str, Field | Sequence[Field]] | None = None,
        files: Mapping[str, Upload | Sequence[Upload]] | None = None,
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None: ...
    @overload
    def __init__(
        self,
        form: Iterable[tuple[str, Field]] | str | None = None,
        files: Mapping[str, Upload | Sequence[Upload]] | None = None,
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None: ...
    @overload
    def __init__(
        self,
        form: Mapping[str, Field | Sequence[Field]] | None = None,
        files: Iterable[tuple[str, Upload]] | None = None,
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None: ...
    @overload
    def __init__(
        self,
        form: Iterable[tuple[str, Field]] | str | None = None,
        files: Iterable[tuple[str, Upload]] | None = None,
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None: ...
    def __init__(
        self,
        form: Mapping[str, Field | Sequence[Field]]
        | Iterable[tuple[str, Field]]
        | str
        | None = None,
        files: Mapping[str, Upload | Sequence[Upload]]
        | Iterable[tuple[str, Upload]]
        | None = None,
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None:
        self._types: dict[int, str] = {}
        if isinstance(form, (str, Form)):
            form = Form(form)
        else:
            form = Form(self._texts(form or ()))
        self._start(
            form,
            files if isinstance(files, Files) else Files(uploads_of(files or ())),
        )
        format_content_type(f"multipart/{subtype}")
        self._subtype = subtype
        if boundary is not None:
            self._boundary = check_boundary(boundary)

    def _start(self, form: Form, files: Files) -> None:
        self.form = form
        self.files = files
        # How many fields stand before each file: all of them, unless received so.
        self._places = [len(form)] * len(files)
        self._boundary = None
        self._subtype = "form-data"

    def _texts(
        self, form: Mapping[str, Any] | Iterable[tuple[str, Any]]
    ) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        for name, value in flat_pairs(form):
            if isinstance(value, Content):
                self._types[len(fields)] = value.content_type
                value = _text_of(name, value)  # noqa: PLW2901 - what is sent of it
            fields.append((name, value))
        return fields

    @classmethod
    def of_parts(cls, parts: FormParts[ReceivedFile]) -> Self:
        """Return the value of a body that was read."""
        self = cls.__new__(cls)
        self.form = Form._of(parts.fields)  # noqa: SLF001 - its sibling
        self.files = Files.received(parts)
        self._types = parts.types
        self._places = parts.places
        self._boundary = None
        self._subtype = "form-data"
        return self

    @classmethod
    def of_form(cls, form: Form) -> Self:
        """Return the value of a urlencoded form: one without files."""
        return cls.of_parts(FormParts(fields=list(form.items())))

    @property
    def boundary(self) -> str:
        """What divides the parts, the same each time it is encoded."""
        if self._boundary is None:
            self._boundary = random_boundary(
                value.encode("utf-8", "replace") for value in self.form.values()
            )
        return self._boundary

    @property
    def content_type(self) -> str:
        return format_content_type(
            f"multipart/{self._subtype}", {"boundary": self.boundary}
        )

    def encode(self) -> MultiPartStream:
        """Return the body; ``size`` is known when every file's is, see ``open()``.

        Files that are Streams can be encoded once.

        Raises:
            ValueError: a name, a filename or a header has something that no escape
                makes unambiguous for today's readers, or a field a lone surrogate.
            RuntimeError: the stream of a file was encoded before.
        """
        # Heads first: an error must leave the streams of the files unused.
        heads = [
            file_head(name, file, self._subtype) for name, file in self.files.items()
        ]
        parts: list[tuple[dict[str, str], bytes | Stream]] = []
        files = zip(self._places, heads, self.files.values(), strict=True)
        following = next(files, None)
        for index, (name, value) in enumerate(self.form.items()):
            while following is not None and following[0] <= index:
                parts.append((following[1], following[2].encode()))
                following = next(files, None)
            parts.append((self._field_head(index, name), self._field(name, value)))
        while following is not None:
            parts.append((following[1], following[2].encode()))
            following = next(files, None)
        return MultiPartStream(parts, boundary=self.boundary, subtype=self._subtype)

    def _field(self, name: str, value: str) -> bytes:
        data = _encoded(value)
        if name == CHARSET_FIELD and self._subtype == "form-data":
            # It says how the others are sent, whatever they came in.
            charset = FormCharset()
            charset.learn(name, data)
            return data if charset.codec is None else b"UTF-8"
        return data

    def _field_head(self, index: int, name: str) -> dict[str, str]:
        kind = "form-data" if self._subtype == "form-data" else "inline"
        head = {"Content-Disposition": format_disposition(name, kind=kind)}
        content_type = self._types.get(index)
        if content_type is not None:
            head["Content-Type"] = _in_utf8(content_type)
        return head

    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        limits: Limits | None = None,
        decode: bool | None = None,
    ) -> Self:
        """Read a multipart body; what a file has beyond memory is kept on disk.

        Await ``close()`` when done with the files.

        Args:
            stream: the body.
            limits: the limits.
            decode: whether the codings of parts are undone; see :func:`iter_parts`.

        Raises:
            UnsupportedContent: the stream is no multipart, or has text in a charset
                nobody knows.
            MalformedBody: it breaks its syntax, or a field is not of its charset.
            LimitExceeded: it is over a limit: ``max_parts``, ``max_field``,
                ``max_file``, the headers', or ``max_memory`` for all fields together.
        """
        return cls.of_parts(await read_form_parts(stream, limits, decode=decode))

    @overload
    async def json(
        self, name: str, *, type: type[T], loads: Callable[[Any], Any] | None = None
    ) -> T: ...
    @overload
    async def json(
        self, name: str, *, type: Any = None, loads: Callable[[Any], Any] | None = None
    ) -> Any: ...
    async def json(
        self,
        name: str,
        *,
        type: Any = None,  # noqa: A002 - the contract's name
        loads: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Return the first field, or else file, of that name, as a JSON value.

        A file as well, since a browser sends a ``Blob`` of JSON with a filename.

        Args:
            name: of the field.
            type: what the value has to be: a dataclass, TypedDict, ``msgspec.Struct``
                or anything made of them.
            loads: parses in place of the built-in parser.

        Raises:
            KeyError: there is none of that name.
            MalformedBody: it is not JSON.
            InvalidContent: it is not of ``type``.
            LimitExceeded: the file has more than the default ``max_memory``.
        """
        if name in self.form:
            return json_reader(type, loads)(self.form[name])
        async with self.files[name] as stream:
            return (await JSON.decode(stream, type=type, loads=loads)).data

    @property
    def spooled(self) -> bool:
        """Whether there is something to close: files beyond a small form's."""
        return self.files.spooled

    async def close(self) -> None:
        """Let go of the files that were received."""
        await self.files.close()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiPart):
            return NotImplemented
        return self.form == other.form and self.files == other.files

    def __hash__(self) -> int:
        return hash((self.form, self.files))

    def __repr__(self) -> str:
        fields, files = len(self.form), len(self.files)
        return (
            f"<MultiPart {fields} field{'s' * (fields != 1)}, "
            f"{files} file{'s' * (files != 1)}>"
        )


def _text_of(name: str, content: Content) -> str:
    stream = content.encode()
    data = stream.getvalue()
    if data is not None:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    raise TypeError(f"field {name!r} takes text, not {content!r}; try it as a file")


def _encoded(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValueError("a form field has a lone surrogate") from None


def _in_utf8(content_type: str) -> str:
    """Return the type of a field that is sent as UTF-8, whatever it came in."""
    media_type, parameter, _ = content_type.partition(";")
    if parameter and "charset" in content_type.lower():
        return f"{media_type.strip()}; charset=utf-8"
    return content_type


Bytes: TypeAlias = "bytes | bytearray | memoryview | Stream | Content"
Upload: TypeAlias = "str | os.PathLike[str] | Bytes"


class Files(ImmutableMultiDict[File], Content):
    """Files by field name: ``multipart/form-data`` (RFC 7578). An immutable multidict.

    Made of a mapping of names to a :class:`File`, or to a list or tuple of them; or of
    pairs. What has the bytes already may stand for a File: ``bytes`` and their like, a
    Stream, and any other Content, which brings its type. It is called by its field. A
    ``str`` may not: it would be a path as well as a text, so say ``File(path)``. ``[]``
    and ``get`` give the first file of a name, ``getall`` every one.

    Raises:
        TypeError: a name is not a ``str``, or a value none of these.
    """

    _value_type = File
    _boundary: str | None = None
    # Of a form that was received: where the files are.
    _spool: SpooledStream | None = None

    @overload
    def __init__(self, pairs: Mapping[str, Bytes | Sequence[Bytes]]) -> None: ...
    @overload
    def __init__(self, pairs: Iterable[tuple[str, Bytes]] | None = None) -> None: ...
    def __init__(
        self,
        pairs: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
    ) -> None:
        super().__init__(pairs)

    def _check(self, name: object, value: Any) -> tuple[str, File]:
        # A name that is none is told before anything is encoded.
        if isinstance(name, str) and isinstance(value, _BYTES):
            value = _file_of(value)
        return super()._check(name, value)

    @property
    def boundary(self) -> str:
        """What divides the parts, the same each time it is encoded."""
        if self._boundary is None:
            self._boundary = random_boundary()
        return self._boundary

    @property
    def content_type(self) -> str:
        return format_content_type("multipart/form-data", {"boundary": self.boundary})

    def encode(self) -> MultiPartStream:
        """Return the body; ``size`` is known when every file's is.

        Files that are Streams can be encoded once.

        Raises:
            ValueError: a name, a filename or a header has something that no escape
                makes unambiguous for today's readers.
            RuntimeError: the stream of a file was encoded before.
        """
        # Heads first: an error must leave the streams of the files unused.
        heads = [file_head(name, file) for name, file in self.items()]
        parts = [
            (head, file.encode())
            for head, file in zip(heads, self.values(), strict=True)
        ]
        return MultiPartStream(parts, boundary=self.boundary)

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Self:
        """Read the files of a multipart body; fields are dropped.

        Raises:
            StreamError: as raised by :meth:`MultiPart.decode`.
        """
        return cls.received(await read_form_parts(stream, limits))

    @classmethod
    def received(cls, parts: FormParts[ReceivedFile]) -> Self:
        """Return the files of a form that was read."""
        self = cls._of(list(parts.files))
        self._spool = parts.spool
        return self

    @property
    def spooled(self) -> bool:
        """Whether there is something to close."""
        return self._spool is not None

    async def close(self) -> None:
        """Let go of files that were received."""
        if self._spool is not None:
            await self._spool.close()

    def __repr__(self) -> str:
        return f"<Files {len(self)} file{'s' * (len(self) != 1)}>"


def file_head(name: str, file: File, subtype: str = "form-data") -> dict[str, str]:
    """Return the header fields of the part that a file is.

    Raises:
        ValueError: a name cannot be written.
    """
    filename = file.filename if isinstance(file, ReceivedFile) else file.name
    head = {
        "Content-Disposition": format_disposition(
            name,
            (name or "file") if filename is None else filename,
            kind="form-data" if subtype == "form-data" else "attachment",
        ),
        "Content-Type": file.content_type,
    }
    own = {"content-disposition", "content-type", *_OF_THE_SENDER}
    head.update((k, v) for k, v in file.headers.items() if k.lower() not in own)
    return head


_BYTES = (bytes, bytearray, memoryview, Stream, Content)
# What a received part said of itself is undone, and no longer true.
_OF_THE_SENDER = ("content-length", "content-encoding", "content-transfer-encoding")


def uploads_of(
    files: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> list[tuple[str, File]]:
    """Files by name, made of whatever a file can be made of."""
    return [(name, _file_of(value)) for name, value in flat_pairs(files)]


def _file_of(value: Any) -> File:
    if isinstance(value, File):
        return value
    if isinstance(value, Content):
        stream = value.encode()
        data = stream.getvalue()
        source = stream if data is None else data
        return File(source, content_type=value.content_type)
    return File(value)
