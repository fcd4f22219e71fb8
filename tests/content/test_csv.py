"""CSV: rows as lists, dicts and models, streamed both ways."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import enum
import io
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    CSV,
    ByteStream,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    UnsupportedContent,
)
from aiostreams.testing import check_stream
from tests.content.ways import failing, ways


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Row:
    name: str
    price: float
    day: dt.date | None = None
    level: int = 3
    note: str | None = None
    tags: list[int] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    a: int
    b: str = ""


async def text(content: CSV[Any]) -> str:
    return (await content.encode().read()).decode()


async def rows(data: bytes, content_type: str | None = None, **more: Any) -> list[Any]:
    """The rows of a body, however it arrives."""
    found: list[Any] = []
    for stream in ways(data, content_type):
        content = await CSV.decode(stream, **more)
        again = [row async for row in content]
        assert not found or again == found
        found = again
    return found


@pytest.fixture
def with_models() -> None:
    pytest.importorskip("msgspec", reason="needs the extra msgspec")


# -- out -------------------------------------------------------------------------------


async def test_rows_of_each_kind() -> None:
    assert await text(CSV([["a", 1], ["b", None]])) == "a,1\r\nb,\r\n"
    assert await text(CSV([[1, 2]], header=["x", "y"])) == "x,y\r\n1,2\r\n"
    assert await text(CSV([{"x": 1, "y": "é"}, {"y": 2}])) == "x,y\r\n1,é\r\n,2\r\n"
    assert await text(CSV([{"x": 1, "y": 2}], header=["y", "x"])) == "y,x\r\n2,1\r\n"
    assert await text(CSV([Pair(1, "b")])) == "a,b\r\n1,b\r\n"
    row = Row("n", 1.5, dt.date(2026, 1, 31), tags=[1, 2])
    assert await text(CSV([row])) == (
        'name,price,day,level,note,tags\r\nn,1.5,2026-01-31,3,,"[1,2]"\r\n'
    )
    assert await text(CSV([[True, Color.RED, {"a": 1}]])) == 'true,red,"{""a"":1}"\r\n'
    assert await text(CSV([])) == ""
    assert CSV([]).content_type == "text/csv; charset=utf-8"


async def test_rows_from_generators() -> None:
    async def some() -> AsyncIterator[list[int]]:
        yield [1]
        yield [2]

    content = CSV(some())
    assert await text(content) == "1\r\n2\r\n"
    with pytest.raises(RuntimeError, match="encoded before"):
        content.encode()
    assert [row async for row in CSV([[1]])] == [[1]]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        (-5, "-5"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
async def test_formulas_are_guarded(cell: Any, written: str) -> None:
    assert await text(CSV([[cell, 0]])) == f"{written},0\r\n"
    assert await text(CSV([[cell, 0]], guard=False)) == f"{cell},0\r\n"


async def test_names_of_columns_are_guarded() -> None:
    assert await text(CSV([{"=x": 1}])) == "'=x\r\n1\r\n"


async def test_dialects() -> None:
    content = CSV([["a b", "c;d"]], dialect="excel-tab")
    assert await text(content) == "a b\tc;d\r\n"

    class Semicolon(csv.excel):
        delimiter = ";"
        lineterminator = "\n"

    assert await text(CSV([["a b", "c;d"]], dialect=Semicolon)) == 'a b;"c;d"\n'
    assert await rows(b"x;y\n1;2\n", dialect=Semicolon) == [{"x": "1", "y": "2"}]
    for dialect in ("none", 3):
        with pytest.raises(ValueError, match="unknown CSV dialect"):
            CSV([], dialect=dialect)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], object()], "is not a row of CSV"),
        ([{"a": 1}, {"b": 2}], "a row has 'b', which is not in the header"),
        ([["\ud800"]], "lone surrogate"),
    ],
)
async def test_a_row_that_does_not_fit_is_an_error_of_the_stream(
    values: list[Any], message: str
) -> None:
    stream = CSV(iter(values)).encode()
    with pytest.raises((ValueError, TypeError), match=message):
        await stream.read()
    with pytest.raises(ValueError, match="a row has 2 cells, the header 1"):
        await CSV([[1, 2]], header=["a"]).encode().read()


@pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1}, 3, [1], [None]])
def test_what_is_no_rows_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        CSV(value)


async def test_encoded_is_a_stream() -> None:
    async def live() -> AsyncIterator[list[str]]:
        for number in range(20):
            yield [str(number), "x" * 50]

    await check_stream(lambda: CSV([[n, "x" * 50] for n in range(20)]).encode())
    await check_stream(lambda: CSV(live()).encode())


# -- in --------------------------------------------------------------------------------


async def test_rows_of_a_body() -> None:
    data = b'x,y\r\n1,"a,b"\r\n\r\n"two\r\nlines","say ""hi"""'
    assert await rows(data) == [
        {"x": "1", "y": "a,b"},
        {"x": "two\r\nlines", "y": 'say "hi"'},
    ]
    assert await rows(data, type=list, header=False) == [
        ["x", "y"],
        ["1", "a,b"],
        ["two\r\nlines", 'say "hi"'],
    ]
    assert await rows(b"1,2\n", header=["x", "y"]) == [{"x": "1", "y": "2"}]
    assert await rows(b"") == []
    assert await rows(b"\xef\xbb\xbfx\n1\n") == [{"x": "1"}]
    assert await rows("é\nü\n".encode("latin-1"), "text/csv; charset=latin-1") == [
        {"é": "ü"}
    ]


async def test_the_header_is_known_from_the_first_row_on() -> None:
    content = await CSV.decode(ByteStream(b"x,y\n1,2\n3,4\n"), type=list)
    before = content.header
    assert before is None
    assert await anext(aiter(content)) == ["1", "2"]
    assert content.header == ["x", "y"]
    await content.close()
    assert (await CSV.decode(ByteStream(b""), header=["a"])).header == ["a"]


@pytest.mark.usefixtures("with_models")
async def test_rows_become_models() -> None:
    data = b'name,price,day,level,note,tags,more\r\na, 1.5 ,,,,"[1,2]",x\r\n,2,2026-01-31,7,n,,\r\n'
    content = await CSV.decode(ByteStream(data), type=Row)
    assert_type(content, CSV[Row])
    assert await rows(data, type=Row) == [
        Row("a", 1.5, None, 3, None, [1, 2]),
        Row("", 2.0, dt.date(2026, 1, 31), 7, "n"),
    ]
    assert await rows(b"a,1\n", type=Row, header=["name", "price"]) == [Row("a", 1.0)]
    assert await rows(b"1,x\n", type=Pair, header=False) == [Pair(1, "x")]
    again = await text(CSV([Row("n", 1.5)]))
    assert await rows(again.encode(), type=Row) == [Row("n", 1.5)]


async def test_rows_become_models_of_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic", reason="needs the extra pydantic")

    class Item(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        name: str = pydantic.Field(alias="Name")
        price: float
        ok: bool = False

    (item,) = await rows(b"Name,price,ok\na,1,on\n", type=Item)
    assert (item.name, item.price, item.ok) == ("a", 1.0, True)
    assert await text(CSV([item])) == "Name,price,ok\r\na,1.0,true\r\n"
    with pytest.raises(InvalidContent) as caught:
        await rows(b"Name,price\n,\n", type=Item)
    assert caught.value.errors == (("#/price", "line 2: required"),)


@pytest.mark.usefixtures("with_models")
async def test_all_faults_of_a_row_are_named_and_the_next_can_be_read() -> None:
    data = b'name,price,level,tags\n"a\nb",x,nan,[\nc,1,2,[3]\n'
    for stream in ways(data):
        content = await CSV.decode(stream, type=Row)
        values = aiter(content)
        with pytest.raises(InvalidContent) as caught:
            await anext(values)
        assert [pointer for pointer, _ in caught.value.errors] == [
            "#/level",
            "#/tags",
            "#/price",
        ]
        assert all(text.startswith("line 3: ") for _, text in caught.value.errors)
        assert await anext(values) == Row("c", 1.0, level=2, tags=[3])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x,y\n1\n", "line 2: CSV: 1 cells, expected 2"),
        (b"x,y\n1,2,3\n", "line 2: CSV: 3 cells, expected 2"),
        (b"x,x\n", "line 1: CSV: two columns have the same name"),
        (b'x\n"a"b\n', "line 2: CSV: "),
        (b'x\n"a\nb', "line 3: CSV: "),
        (b'x\n"', "line 2: CSV: "),
        (b"x\na\rb\n", "line 2: CSV: "),
        (b"x\n\xff\n", "utf-8"),
    ],
)
async def test_what_is_no_csv_is_malformed(data: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        await rows(data)


async def test_a_row_has_a_ceiling() -> None:
    limits = Limits(max_memory=20)
    assert await rows(b"x\n" + b"a" * 19 + b"\n", limits=limits) == [{"x": "a" * 19}]
    for data in (b"x\n" + b"a" * 30, b'x\n"' + b"a\n" * 30 + b'"'):
        with pytest.raises(LimitExceeded):
            await rows(data, limits=limits)
    content = await CSV.decode(ByteStream(b"x\n" + b"a" * 140_000 + b"\n"))
    with pytest.raises(LimitExceeded, match="131072 characters"):
        await anext(aiter(content))


async def test_many_lines_in_one_cell_take_linear_time() -> None:
    data = b'x\n"' + b"\n" * 100_000 + b'"\n'
    assert await rows(data[:2000] + b'"\n')
    (row,) = [row async for row in await CSV.decode(ByteStream(data))]
    assert len(row["x"]) == 100_000


async def test_types_and_charsets_that_are_none() -> None:
    with pytest.raises(TypeError, match="dicts need the names"):
        await CSV.decode(ByteStream(b""), header=False)
    with pytest.raises(UnsupportedContent):
        await CSV.decode(ByteStream(b"", content_type="text/csv; charset=klingon"))
    with pytest.raises(UnsupportedContent):
        await CSV.decode(ByteStream(b"", content_type="text/csv; charset=utf-16"))
    pytest.importorskip("msgspec", reason="needs the extra msgspec")
    with pytest.raises(TypeError, match="no members"):
        await CSV.decode(ByteStream(b""), type=int)


async def test_a_body_that_breaks_raises_that() -> None:
    with pytest.raises(ConnectionResetError):
        [row async for row in await CSV.decode(failing(b"x\n1\n"))]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=5))
async def test_round_trip(table: list[list[str]]) -> None:
    data = await CSV(table, guard=False).encode().read()
    expected = list(csv.reader(io.StringIO(data.decode(), newline="")))
    content = await CSV.decode(ByteStream(data), type=list, header=False)
    assert [row async for row in content] == expected == table


def test_repr_shows_nothing() -> None:
    assert repr(CSV([["secret"]])) == "<CSV from list>"
