"""CSV: rows of cells (RFC 4180), streamed both ways.

Out: rows are lists, dicts or models. The header is what was given, or else the keys of
the first row; rows of lists have none unless one is given. In: a row is read when it is
asked for. It ends where the quotes are closed, so each line is looked at once. Cells
are texts, and become values as those of a form do.

A file of its own, as each content type has one.
"""

from __future__ import annotations

import csv
import datetime as dt
import enum
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from aiostreams.content import jsontext
from aiostreams.content.base import Content
from aiostreams.content.fieldtext import Shape, is_blank, prepared, shape_of
from aiostreams.content.lines import lines_of
from aiostreams.content.models import dump, model_of
from aiostreams.errors import InvalidContent, LimitExceeded, MalformedBody, pointer_to
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.sansio.charsets import ascii_codec_of, decode_text
from aiostreams.streams.iterable import SyncSteps, close_iterable

if TYPE_CHECKING:
    from builtins import type as type_
    from collections.abc import Sequence

    from aiostreams.content.members import Member
    from aiostreams.content.model import Model
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["CSV"]

if TYPE_CHECKING:
    # ``CSV`` alone is ``CSV[Any]``; as in ``json``.
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=Any)
else:
    T = TypeVar("T")
M = TypeVar("M")

_CONTENT_TYPE: Final = "text/csv; charset=utf-8"
# What spreadsheets take for a formula (OWASP, "CSV Injection"), also in full width.
_FORMULA: Final = re.compile(r"[\t\r\n ]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?(?:[eE][+-]?[0-9]+)?")


class CSV(Content, Generic[T]):
    """Rows of a table: ``text/csv; charset=utf-8``.

    ``async for row in rows`` iterates over the rows, whether they came with the
    constructor or come from a body.

    Args:
        rows: any iterable, sync or async, of lists, tuples, dicts or models. A sync one
            is stepped on the event loop and must not block. One that is its own
            iterator (a generator) can be encoded once.
        header: the names of the columns; those of the first row unless given, which
            lists have not.
        dialect: of the module ``csv``: a name or a class.
        guard: put ``'`` before texts that a spreadsheet would run as a formula.

    Attributes:
        header: the names of the columns; of a body with a header, known from its first
            row on; else ``None``.

    Raises:
        TypeError: ``rows`` is no iterable of rows.
        ValueError: there is no such dialect.
    """

    reads_stream = True

    def __init__(
        self,
        rows: Iterable[T] | AsyncIterable[T],
        *,
        header: Iterable[str] | None = None,
        dialect: str | type[csv.Dialect] | csv.Dialect = "excel",
        guard: bool = True,
    ) -> None:
        if isinstance(rows, (str, bytes, bytearray, memoryview, Mapping)) or (
            not isinstance(rows, (Iterable, AsyncIterable))
        ):
            raise TypeError(f"CSV takes an iterable of rows, not {type(rows).__name__}")
        if isinstance(rows, (list, tuple)) and rows:
            _cells_of(rows[0])
        self._rows = rows
        self._header = None if header is None else list(header)
        self._dialect = _checked(dialect)
        self._guard = guard
        self._used = False

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    @property
    def header(self) -> list[str] | None:
        """The names of the columns, if they are known."""
        if isinstance(self._rows, _Reader):
            return self._rows.header
        return self._header

    def encode(self) -> Stream:
        """Return the lines as they come; its close closes what gives the rows.

        A row that does not fit is an error of the stream, raised when its turn comes.

        Raises:
            RuntimeError: a generator was encoded before, and is used up.
        """
        rows = self._rows
        if isinstance(rows, (Iterator, AsyncIterator)):
            if self._used:
                raise RuntimeError("the rows of this CSV were encoded before")
            self._used = True
        header = self.header
        write = _Writer(header, self._dialect, guard=self._guard)
        return lines_of(rows, write, _CONTENT_TYPE)

    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: type_[M],
        header: bool | Iterable[str] = True,
        dialect: str | type_[csv.Dialect] | csv.Dialect = "excel",
        limits: Limits | None = None,
    ) -> CSV[M]: ...
    @overload
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = dict,
        header: bool | Iterable[str] = True,
        dialect: str | type_[csv.Dialect] | csv.Dialect = "excel",
        limits: Limits | None = None,
    ) -> CSV[Any]: ...
    @classmethod
    async def decode(
        cls,
        stream: Stream,
        *,
        type: Any = dict,  # noqa: A002 - the contract's name
        header: bool | Iterable[str] = True,
        dialect: str | type_[csv.Dialect] | csv.Dialect = "excel",
        limits: Limits | None = None,
    ) -> CSV[Any]:
        """Iterate over the rows of a body; nothing is read before that.

        Blank lines are skipped. An empty cell of a model is no value: ``None`` for a
        member that may be, the default of one that has one, ``""`` for a ``str``.

        Args:
            stream: the body, in UTF-8 or another superset of ASCII.
            type: ``dict`` or ``list`` of texts, or a model.
            header: whether the first row has the names of the columns; or the names,
                where no row has them. A model without either has its members in order.
            dialect: of the module ``csv``.
            limits: ``max_memory`` bounds a row.

        Raises:
            MalformedBody: while iterating: a row breaks the syntax, or has not as many
                cells as the header; it is named by its number.
            InvalidContent: while iterating: a row is not of ``type``.
            LimitExceeded: while iterating: a row is too large, or a cell larger than
                ``csv.field_size_limit()``.
            UnsupportedContent: the charset is unknown, or no superset of ASCII.
            ImportError: the extra that ``type`` needs is missing.
            TypeError: no validator supports ``type``.
            ValueError: there is no such dialect.
        """
        checked = _checked(dialect)
        reader = _Reader(
            stream,
            _row_maker(type, header),
            checked,
            ascii_codec_of(stream.content_type),
            (limits or DEFAULT_LIMITS).max_memory,
        )
        found: CSV[Any] = CSV(reader, dialect=checked)
        return found

    def __aiter__(self) -> AsyncIterator[T]:
        if isinstance(self._rows, AsyncIterable):
            return aiter(self._rows)
        return SyncSteps(self._rows)

    async def close(self) -> None:
        """Close what the rows come from: a decoded stream, or an iterator."""
        if isinstance(self._rows, (Iterator, AsyncIterator)):
            await close_iterable(self._rows)

    def __repr__(self) -> str:
        return f"<CSV from {type(self._rows).__name__.lstrip('_')}>"


def _checked(dialect: str | type[csv.Dialect] | csv.Dialect) -> Any:
    if not isinstance(dialect, str) and not hasattr(dialect, "delimiter"):
        raise ValueError(f"unknown CSV dialect: {dialect!r}")
    try:
        # Knows whether what is given makes sense.
        return csv.reader([], dialect, strict=True).dialect
    except (csv.Error, TypeError) as error:
        raise ValueError(f"unknown CSV dialect: {error}") from None


# -- out -------------------------------------------------------------------------------


def _cells_of(row: Any) -> Any:
    """Return the cells of a row: a list, or a mapping by column."""
    names = getattr(type(row), "_fields", None)
    if names is not None and isinstance(row, tuple):
        return dict(zip(names, row, strict=True))
    if isinstance(row, (list, tuple, Mapping)):
        return row
    try:
        cells = dump(row)
    except TypeError:
        cells = None
    if not isinstance(cells, (dict, list)):
        raise TypeError(f"{type(row).__name__} is not a row of CSV")
    return cells


class _Line:
    """What ``csv.writer`` writes to."""

    def write(self, text: str) -> str:
        return text


class _Writer:
    """Makes the line of a row; before the first one, that of the header."""

    def __init__(self, header: list[str] | None, dialect: Any, *, guard: bool) -> None:
        self._header = header
        self._write: Any = csv.writer(_Line(), dialect).writerow
        self._guard = guard
        self._begun = False

    def __call__(self, row: Any) -> bytes:
        cells = _cells_of(row)
        line = b""
        if not self._begun:
            if self._header is None and isinstance(cells, Mapping):
                self._header = [str(name) for name in cells]
            if self._header is not None:
                line = self._line(self._header)
            self._begun = True
        if isinstance(cells, Mapping):
            cells = self._ordered(cells)
        elif self._header is not None and len(cells) != len(self._header):
            raise ValueError(
                f"a row has {len(cells)} cells, the header {len(self._header)}"
            )
        return line + self._line(cells)

    def _ordered(self, cells: Mapping[Any, Any]) -> list[Any]:
        if self._header is None:  # the first row was a list
            return list(cells.values())
        unknown = [name for name in cells if name not in self._header]
        if unknown:
            raise ValueError(f"a row has {unknown[0]!r}, which is not in the header")
        return [cells.get(name) for name in self._header]

    def _line(self, cells: Iterable[Any]) -> bytes:
        try:
            text: str = self._write([self._text(cell) for cell in cells])
            return text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "a cell has a lone surrogate, which UTF-8 cannot encode"
            ) from None
        except csv.Error as error:
            raise ValueError(f"a row cannot be written: {error}") from error

    def _text(self, cell: Any) -> str:
        if cell is None:
            return ""
        if isinstance(cell, enum.Enum):
            cell = cell.value
        if isinstance(cell, str):
            if self._guard and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
                return f"'{cell}"
            return cell
        if isinstance(cell, bool):
            return "true" if cell else "false"
        if isinstance(cell, (int, float)):
            return str(cell)
        if isinstance(cell, (dt.date, dt.time)):
            return cell.isoformat()
        if not isinstance(cell, (dict, list, tuple)):
            cell = dump(cell)
            if isinstance(cell, str):
                return cell
        return jsontext.serialise(cell).decode()


# -- in --------------------------------------------------------------------------------


class _Reader(AsyncIterator[Any]):
    """The rows of a stream of lines."""

    def __init__(
        self,
        stream: Stream,
        rows: _Rows,
        dialect: Any,
        codec: str,
        ceiling: int,
    ) -> None:
        self._stream = stream
        self._rows = rows
        self._dialect = dialect
        self._codec = codec
        self._ceiling = ceiling
        self._quote = (dialect.quotechar or "").encode()
        self._escape = (dialect.escapechar or "").encode()
        self._number = 0
        self._line = 0

    @property
    def header(self) -> list[str] | None:
        return self._rows.header

    async def __anext__(self) -> Any:
        while True:
            cells = await self._next()
            if cells is None:
                raise StopAsyncIteration
            self._number += 1
            place = f"line {self._line}"
            try:
                made = self._rows.make(cells)
            except MalformedBody as error:
                raise MalformedBody(f"{place}: {error}") from error
            except InvalidContent as error:
                raise error.within(note=place) from error
            if made is not _HEADER:
                return made

    async def _next(self) -> list[str] | None:
        """Return the cells of the next row that is not blank."""
        lines: list[bytes] = []
        held = quotes = 0
        while True:
            room = self._ceiling - held
            line = b""
            if room > 0:
                line = await self._stream.readline(max_line_length=room)
            elif await self._stream.peek(1):
                raise LimitExceeded(
                    f"a row of CSV has more than {self._ceiling} bytes",
                    limit=self._ceiling,
                    seen=self._ceiling + 1,
                )
            if not line and not lines:
                return None
            if not lines:
                self._line += 1
                started = self._line
                if started == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
            elif line:
                self._line += 1
            if line.strip(b"\r\n") or lines:
                lines.append(line)
                held += len(line)
                quotes += self._quotes_in(line)
                if quotes % 2 == 0 or not line:
                    return self._parsed(b"".join(lines))

    def _quotes_in(self, line: bytes) -> int:
        """Count the quotes of a line that open, close or belong to a cell."""
        if not self._quote:
            return 0
        if self._escape:
            line = re.sub(re.escape(self._escape) + b".", b"", line, flags=re.DOTALL)
        return line.count(self._quote)

    def _parsed(self, record: bytes) -> list[str]:
        text = decode_text(record, codec=self._codec)
        try:
            rows = list(csv.reader([text], self._dialect, strict=True))
        except csv.Error as error:
            ceiling = csv.field_size_limit()
            if "field limit" in str(error):
                raise LimitExceeded(
                    f"line {self._line}: a cell of CSV has more than {ceiling} "
                    "characters",
                    limit=ceiling,
                    seen=ceiling + 1,
                ) from error
            raise MalformedBody(f"line {self._line}: CSV: {error}") from error
        if len(rows) != 1:
            raise MalformedBody(f"line {self._line}: CSV: a line ends within a cell")
        return rows[0]

    async def aclose(self) -> None:
        await self._stream.close()


_HEADER: Final = object()


class _Rows:
    """Makes rows of cells; the first ones may be the header."""

    def __init__(self, header: bool | Iterable[str]) -> None:  # noqa: FBT001
        self.header: list[str] | None = None
        self._awaits = header is True
        if not isinstance(header, bool):
            self.header = self._unique(list(header))

    def make(self, cells: list[str]) -> Any:
        """Return the row; ``_HEADER`` for that."""
        if self._awaits:
            self._awaits = False
            self.header = self._unique(cells)
            return _HEADER
        return cells

    def _unique(self, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise MalformedBody("CSV: two columns have the same name")
        return names

    def _named(self, cells: list[str]) -> dict[str, str]:
        assert self.header is not None
        if len(cells) != len(self.header):
            raise MalformedBody(f"CSV: {len(cells)} cells, expected {len(self.header)}")
        return dict(zip(self.header, cells, strict=True))


class _Dicts(_Rows):
    def make(self, cells: list[str]) -> Any:
        made = super().make(cells)
        return made if made is _HEADER else self._named(cells)


class _Models(_Rows):
    """Rows as models, by the shapes of their members."""

    def __init__(
        self,
        model: Model,
        members: Sequence[Member],
        header: bool | Iterable[str],  # noqa: FBT001
    ) -> None:
        super().__init__(header)
        if header is False:
            self.header = [member.key for member in members]
        self._model = model
        self._shapes = {
            key: (member, shape_of(member.hint))
            for member in members
            for key in member.keys
        }

    def make(self, cells: list[str]) -> Any:
        if super().make(cells) is _HEADER:
            return _HEADER
        values: dict[str, Any] = {}
        texts = set()
        faults: list[tuple[str, str]] = []
        for name, text in self._named(cells).items():
            known = self._shapes.get(name)
            if known is None:
                if self._model.extra != "ignore":
                    values[name] = text
                continue
            member, shape = known
            if is_blank(text) and not self._fill_blank(member, shape, values):
                continue
            if member.key in values:
                continue
            try:
                if shape.is_json or shape.several:
                    values[member.key] = jsontext.parse(text)
                else:
                    values[member.key] = prepared(text, shape)
                    texts.add(member.key)
            except ValueError as error:
                faults.append((pointer_to([name]), str(error)))
        wrong = {pointer for pointer, _ in faults}
        try:
            made = self._model.fill(values, texts)
        except InvalidContent as error:
            faults += [fault for fault in error.errors if fault[0] not in wrong]
        else:
            if not faults:
                return made
        raise InvalidContent(errors=faults)

    @staticmethod
    def _fill_blank(member: Member, shape: Shape, values: dict[str, Any]) -> bool:
        """Return whether a blank cell is a value, or has been given one."""
        if shape.nullable:
            values[member.key] = None
            return True
        return shape.empty and not shape.several


def _row_maker(kind: Any, header: bool | Iterable[str]) -> _Rows:  # noqa: FBT001
    if kind is list:
        return _Rows(header)
    if kind is dict:
        if header is False:
            raise TypeError("dicts need the names of the columns: header=[...]")
        return _Dicts(header)
    model = model_of(kind)
    members = model.members()
    if members is None:
        raise TypeError(f"{kind!r} has no members that cells could give")
    return _Models(model, members, header)
