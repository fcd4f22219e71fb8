"""Files: several of them by field, to a multipart body and from one.

Names and filenames are escaped as browsers do (RFC 7578 section 4.2, WHATWG); what no
escape makes unambiguous is an error of ``encode()``, before any byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias, overload

from aiostreams.content.base import Content
from aiostreams.content.file import File
from aiostreams.content.formreader import FormParts, read_form_parts
from aiostreams.content.pairs import Pairs, flat_pairs
from aiostreams.content.received import ReceivedFile
from aiostreams.sansio.disposition import format_disposition
from aiostreams.sansio.headers import format_content_type
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.multipart import MultiPartStream, random_boundary

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from aiostreams.limits import Limits
    from aiostreams.streams.spooled import SpooledStream

__all__ = ["Bytes", "Files", "Upload", "file_head", "uploads_of"]

Bytes: TypeAlias = "bytes | bytearray | memoryview | Stream | Content"
Upload: TypeAlias = "str | os.PathLike[str] | Bytes"


class Files(Pairs[File], Content):
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
        """The body; ``size`` is known when every file's is.

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
    def received(cls, parts: FormParts) -> Self:
        """The files of a form that was read."""
        self = cls._of(parts.files)
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
    """The header fields of the part that a file is.

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
        data = stream.getvalue() if isinstance(stream, ByteStream) else stream
        return File(data, content_type=value.content_type)
    return File(value)
