"""A multipart body, written: delimiters, heads and contents, one after the other.

Heads and small contents are joined to pieces of up to 64 KiB when the stream is made,
so a form of a thousand fields is one piece; all that can be wrong with a head is an
error there, before any byte. Large contents and streams stay where they are.

The delimiter must not occur in a content. A random boundary of 128 bits does not; a
caller's own may, so contents in memory are searched for it at once, and streams while
they pass: a body that would read back as other parts is never completed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Protocol,
    Self,
    TypeAlias,
    runtime_checkable,
)

from aiostreams.errors import StreamError
from aiostreams.limits import KiB
from aiostreams.sansio.headers import (
    boundary_of,
    format_content_type,
    format_header_block,
)
from aiostreams.streams.base import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Body",
    "Encodable",
    "Headers",
    "MultiPartStream",
    "RandomBoundary",
    "check_boundary",
    "random_boundary",
]

# Contents up to this size are copied to their neighbours, and pieces joined so far.
_SMALL: Final = 64 * KiB
_PIECE: Final = 256 * KiB

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@runtime_checkable
class Encodable(Protocol):
    """What can become a Stream, as every Content can."""

    @property
    def content_type(self) -> str: ...

    def encode(self) -> Stream: ...


Body: TypeAlias = bytes | bytearray | memoryview | Stream | Encodable


class RandomBoundary(str):
    """A boundary that was drawn here, so that no content can have it."""

    __slots__ = ()


def random_boundary(contents: Iterable[bytes] = ()) -> RandomBoundary:
    """Make a boundary of 128 random bits that is in none of ``contents``."""
    contents = list(contents)
    while True:
        boundary = RandomBoundary(secrets.token_hex(16))
        text = boundary.encode()
        if not any(text in content for content in contents):
            return boundary


def check_boundary(boundary: str) -> str:
    """``boundary``, if RFC 2046 section 5.1.1 allows it.

    Raises:
        ValueError: it is empty, has more than 70 characters, ends in a space, or has
            a character that no boundary has.
    """
    try:
        return boundary_of(_content_type("mixed", boundary)).decode("ascii")
    except StreamError as error:
        raise ValueError(f"not a boundary: {boundary!r}") from error


def _content_type(subtype: str, boundary: str) -> str:
    return format_content_type(f"multipart/{subtype}", {"boundary": boundary})


class MultiPartStream(Stream):
    """The bytes of a multipart body (RFC 2046 section 5.1).

    ``size`` is known when every part's is; that of a file only once the stream is
    open (see :meth:`open`). A part that turns out shorter or longer than it said is a
    ``SizeMismatch``. A part is closed when it has been read, so that a form of many
    files has one of them open at a time; closing closes the others.

    Args:
        parts: ``(headers, body)`` for each part, in order. ``headers`` is a mapping,
            or pairs, of names and values; a Content-Type that is not among them is
            the body's own, if it has one. ``body`` is bytes, a Stream (owned from
            now on), or a Content, which is encoded here.
        boundary: what divides the parts; random unless given.
        subtype: of the content type: ``form-data``, ``mixed``, ``related``, ...

    Raises:
        ValueError: the boundary, the subtype or a header cannot be written, or the
            boundary is in a content; the streams are the caller's to close then.
        TypeError: a body is none of these.
    """

    def __init__(
        self,
        parts: Iterable[tuple[Headers, Body]],
        *,
        boundary: str | None = None,
        subtype: str = "form-data",
    ) -> None:
        given = [(headers, _source(body), body) for headers, body in parts]
        if boundary is None:
            boundary = random_boundary(
                source for _, source, _ in given if isinstance(source, bytes)
            )
        elif not isinstance(boundary, RandomBoundary):
            boundary = check_boundary(boundary)
        super().__init__(content_type=_content_type(subtype, boundary))
        self.boundary: str = str(boundary)
        delimiter = f"\r\n--{boundary}".encode()
        trusted = isinstance(boundary, RandomBoundary)
        line = delimiter[2:]
        pieces = _Pieces()
        for number, (headers, source, body) in enumerate(given, 1):
            pieces.add(line + b"\r\n" + _head(headers, body) + b"\r\n")
            line = delimiter
            if isinstance(source, Stream):
                search = None if trusted else _Search(delimiter, number)
                pieces.add_source(_Source(source, search))
            else:
                _Search(delimiter, number).look(source, ValueError)
                pieces.add(source)
        pieces.add(line + b"--\r\n")
        self._sources = pieces.finish()
        self._index = 0
        self._offset = 0

    @property
    def size(self) -> int | None:
        """The number of bytes, or ``None`` when a part does not know its own."""
        return self._sum(lambda stream: stream.size)

    def measure(self) -> int | None:
        """Measure the same, with a look at files that are not open yet."""
        return self._sum(lambda stream: stream.measure())

    def _sum(self, size_of: Callable[[Stream], int | None]) -> int | None:
        total = 0
        for source in self._sources:
            if isinstance(source, bytes):
                total += len(source)
                continue
            size = size_of(source.stream)
            if size is None:
                return None
            total += size - source.before
        return total

    async def open(self) -> Self:
        """Open every part, so that ``size`` is known if it can be."""
        self.check_open()
        for source in self._sources:
            if not isinstance(source, bytes):
                await source.stream.open()
        return self

    async def readany(self) -> bytes:
        """Return the next piece."""
        while self._index < len(self._sources):
            source = self._sources[self._index]
            if isinstance(source, bytes):
                start = self._offset
                self._offset = end = start + _PIECE
                if end >= len(source):
                    self._index += 1
                    self._offset = 0
                return source[start:end] if start or end < len(source) else source
            if piece := await source.read():
                return piece
            self._index += 1
            await source.stream.close()
        return b""

    async def close(self) -> None:
        """Close every part, also when one of them fails to."""
        errors = []
        for source in self._sources:
            if isinstance(source, bytes):
                continue
            try:
                await source.stream.close()
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
        if errors:
            raise errors[0]


def _source(body: Body) -> bytes | Stream:
    if isinstance(body, Stream):
        return body
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, Encodable):  # not a str: that has no content_type
        stream = body.encode()
        data = stream.getvalue()
        return stream if data is None else data
    raise TypeError(
        "the body of a part must be bytes, a Stream or a Content, not "
        f"{type(body).__name__}"
    )


def _head(headers: Headers, body: Body) -> bytes:
    # Any: a Mapping is an Iterable as well, of which the checkers cannot let go.
    given: Any = headers
    pairs = list(given.items() if isinstance(given, Mapping) else given)
    content_type = getattr(body, "content_type", None)
    if content_type and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("Content-Type", content_type))
    return format_header_block(pairs)


class _Search:
    """Looks for the delimiter in the content of one part."""

    def __init__(self, delimiter: bytes, number: int) -> None:
        self._delimiter = delimiter
        self._number = number
        # The line end of the blank line before the content counts as its own.
        self._tail = b"\r\n"

    def look(
        self, piece: bytes, error: Callable[[str], Exception] = StreamError
    ) -> None:
        overlap = len(self._delimiter) - 1
        if self._delimiter in self._tail + piece[:overlap] or self._delimiter in piece:
            raise error(f"the boundary is in the content of part {self._number}")
        self._tail = (self._tail + piece[-overlap:])[-overlap:]


class _Source:
    """A part's stream, read from where it stands."""

    def __init__(self, stream: Stream, search: _Search | None) -> None:
        self.stream = stream
        self._search = search
        self.before: int = stream.position

    async def read(self) -> bytes:
        piece = await self.stream.readany()
        if self._search is not None:
            self._search.look(piece)
        return piece


class _Pieces:
    """Bytes joined to pieces, and the streams between them."""

    def __init__(self) -> None:
        self._sources: list[bytes | _Source] = []
        self._loose: list[bytes] = []
        self._held = 0

    def add(self, data: bytes) -> None:
        if self._held + len(data) > _SMALL:
            self._join()
        self._loose.append(data)
        self._held += len(data)

    def add_source(self, source: _Source) -> None:
        self._join()
        self._sources.append(source)

    def finish(self) -> list[bytes | _Source]:
        self._join()
        return self._sources

    def _join(self) -> None:
        if self._held:
            self._sources.append(b"".join(self._loose))
            self._loose = []
            self._held = 0
