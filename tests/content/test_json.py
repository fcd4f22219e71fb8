from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, TypedDict, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    JSON,
    ByteStream,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MiB,
    UnsupportedContent,
)
from aiostreams.content import jsontext
from aiostreams.content.json import json_checker
from aiostreams.content.models import _cached_model
from tests.content.ways import failing, ways

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@pytest.fixture(params=["msgspec", "stdlib"])
def installed(request: pytest.FixtureRequest) -> Iterator[bool]:
    """With msgspec, and as if it were not there."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "stdlib":
            patch.setattr(jsontext, "msgspec", None)
        elif jsontext.msgspec is None:
            pytest.skip("needs the extra msgspec")
        yield request.param == "msgspec"


@pytest.fixture
def validating() -> None:
    pytest.importorskip("msgspec", reason="needs the extra msgspec")


with_types = pytest.mark.usefixtures("installed", "validating")


class Item(TypedDict):
    name: str
    price: float


@dataclasses.dataclass
class Order:
    items: list[Item]
    day: dt.date | None = None


@dataclasses.dataclass
class Tree:
    child: Tree | None = None


def body(text: str) -> ByteStream:
    return ByteStream(text.encode())


async def test_encode_is_compact_utf_8_with_type_and_size() -> None:
    stream = JSON({"name": "zelda", "score": "478"}).encode()
    assert stream.content_type == "application/json"
    assert stream.size == 30
    assert await stream.read() == b'{"name":"zelda","score":"478"}'


def test_encode_refuses_what_json_lacks_before_any_byte() -> None:
    content = JSON({"a": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        content.encode()


async def test_async_with_gives_the_encoded_stream() -> None:
    assert JSON([1]).content_type == "application/json"
    async with JSON([1]) as stream:
        assert await stream.read() == b"[1]"


@pytest.mark.usefixtures("installed")
async def test_decode_however_it_arrives() -> None:
    for stream in ways('{"a":["é",1.5,null]}'.encode(), "application/json"):
        assert (await JSON.decode(stream)).data == {"a": ["é", 1.5, None]}


@with_types
async def test_decode_with_a_type_however_it_arrives() -> None:
    text = b'{"items":[{"name":"x","price":1}],"day":"2026-01-31","more":0}'
    expected = Order([{"name": "x", "price": 1.0}], dt.date(2026, 1, 31))
    for stream in ways(text):
        content = await JSON.decode(stream, type=Order)
        assert content.data == expected
        again = await JSON.decode(content.encode(), type=Order)
        assert again == content


@with_types
async def test_decode_is_typed_by_its_type() -> None:
    assert_type((await JSON.decode(body("[1]"), type=list[int])).data, list[int])
    assert_type((await JSON.decode(body('{"items":[]}'), type=Order)).data, Order)
    assert_type((await JSON.decode(body("[1]"))).data, Any)
    assert_type(JSON("a").data, str)


@with_types
async def test_decode_names_every_fault() -> None:
    text = '{"items":[{"name":1,"price":2},{"price":"x"}],"day":"x"}'
    with pytest.raises(InvalidContent) as info:
        await JSON.decode(body(text), type=Order)
    assert info.value.errors == (
        ("#/items/0/name", "Expected `str`, got `int`"),
        ("#/items/1/name", "required"),
        ("#/items/1/price", "Expected `float`, got `str`"),
        ("#/day", "Invalid RFC3339 encoded date"),
    )


@with_types
@pytest.mark.parametrize(
    "text",
    ["", "{", '{"items":3,', '{"items":[{"name":1}]', '{"items":[1e999]}', "NaN"],
)
async def test_decode_of_malformed_text_is_400_though_it_is_wrong_before(
    text: str,
) -> None:
    """A parser that validates as it goes meets the wrong value first."""
    with pytest.raises(MalformedBody):
        await JSON.decode(body(text), type=Order)
    with pytest.raises(MalformedBody):
        await JSON.decode(body(text))


@with_types
async def test_decode_of_a_bomb_of_depth_is_malformed() -> None:
    """From Python 3.14 on the parsers go on while there is stack: 65,000 in 8 MiB."""
    depth = 1_000_000
    bomb = '{"child":' * depth + "null" + "}" * depth
    for kind in (None, Tree, list[Any], Any):
        with pytest.raises(MalformedBody, match="deep"):
            await JSON.decode(body(bomb), type=kind, limits=Limits(max_memory=16 * MiB))


@with_types
@pytest.mark.parametrize("depth", [250, 1200, 5000, 15_000, 25_000, 60_000])
@pytest.mark.parametrize("kind", [None, Tree, Any])
async def test_what_is_nested_deeply_is_whole_or_refused(depth: int, kind: Any) -> None:
    """Where the end is depends on the Python, what happens there does not."""
    text = '{"child":' * depth + "null" + "}" * depth
    refusal = ""
    value: Any = None
    try:
        value = (await JSON.decode(body(text), type=kind)).data
        written = await JSON(value).encode().read()
        assert written.decode() == text
    except (MalformedBody, ValueError) as error:
        refusal = str(error)
    assert "deep" in refusal or not refusal
    assert value is not None or depth > 250
    found = 0
    while value is not None:
        value = value.child if kind is Tree else value["child"]
        found += 1
    assert found in {0, depth}


@with_types
async def test_decode_too_deep_to_validate_is_malformed() -> None:
    """The parser took it, the validation does not."""
    value: Any = None
    for _ in range(50_000):
        value = {"child": value}
    with pytest.raises(MalformedBody, match="deep"):
        await JSON.decode(body(""), type=Tree, loads=lambda _: value)


@with_types
async def test_decode_ignores_a_byte_order_mark() -> None:
    text = b'\xef\xbb\xbf{"items":[]}'
    assert (await JSON.decode(ByteStream(text))).data == {"items": []}
    assert (await JSON.decode(ByteStream(text), type=Order)).data == Order([])


@with_types
async def test_decode_honours_a_charset() -> None:
    for charset in ("utf-16", "utf-16-be", "latin-1"):
        data = '{"a":"é"}'.encode(charset)
        for stream in ways(data, f"application/json; charset={charset}"):
            assert (await JSON.decode(stream)).data == {"a": "é"}
        typed = ByteStream(data, content_type=f"a/b; charset={charset}")
        assert (await JSON.decode(typed, type=dict[str, str])).data == {"a": "é"}
    with pytest.raises(MalformedBody):
        await JSON.decode(ByteStream('{"a":1}'.encode("utf-16")))
    with pytest.raises(UnsupportedContent):
        await JSON.decode(ByteStream(b"1", content_type="a/b; charset=klingon"))


async def test_decode_takes_max_memory_and_refuses_one_byte_more() -> None:
    limits = Limits(max_memory=10)
    for stream in ways(b'"12345678"'):
        assert (await JSON.decode(stream, limits=limits)).data == "12345678"
    for stream in ways(b'"123456789"'):
        with pytest.raises(LimitExceeded):
            await JSON.decode(stream, limits=limits)
    with pytest.raises(LimitExceeded):
        await JSON.decode(ByteStream(b" " * (MiB + 1)))


async def test_decode_of_a_body_that_breaks_raises_that() -> None:
    with pytest.raises(ConnectionResetError):
        await JSON.decode(failing(b"[1]"))


async def test_decode_of_a_large_document_frees_the_event_loop() -> None:
    text = json.dumps(list(range(60_000))).encode()
    threads = set()

    def loads(text: bytes) -> Any:
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return json.loads(text)

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    content = await JSON.decode(ByteStream(text), loads=loads)
    counting.cancel()
    assert content.data[-1] == 59_999
    assert threads.isdisjoint({threading.get_ident()})
    assert turns > 20


@with_types
async def test_decode_with_another_parser() -> None:
    loads = partial(json.loads, parse_float=decimal.Decimal)
    assert (await JSON.decode(body("[1.10]"), loads=loads)).data == [
        decimal.Decimal("1.10")
    ]
    exact = await JSON.decode(body("[1.10]"), loads=loads, type=list[decimal.Decimal])
    assert str(exact.data[0]) == "1.10"
    with pytest.raises(MalformedBody):
        await JSON.decode(body("[1.10"), loads=loads)
    with pytest.raises(InvalidContent, match="0: Expected `int`"):
        await JSON.decode(body('["x"]'), loads=loads, type=list[int])


@with_types
async def test_decode_into_a_type_that_nobody_knows_reads_nothing() -> None:
    stream = body("1")
    with pytest.raises(TypeError):
        await JSON.decode(stream, type=dict[str, int] | Item)
    assert stream.position == 0


@with_types
async def test_decode_into_a_type_that_cannot_be_hashed() -> None:
    content = await JSON.decode(body("1"), type=Annotated[int, ["unhashable"]])
    assert content.data == 1


@with_types
async def test_a_type_is_compiled_once() -> None:
    _cached_model.cache_clear()
    for _ in range(3):
        await JSON.decode(body('{"items":[]}'), type=Order)
    assert _cached_model.cache_info().misses == 1


@with_types
async def test_null_can_be_asked_for() -> None:
    assert (await JSON.decode(body("null"), type=type(None))).data is None
    with pytest.raises(InvalidContent, match="Expected `null`, got `int`"):
        await JSON.decode(body("0"), type=type(None))


@with_types
def test_a_value_that_is_there_already_can_be_checked() -> None:
    check = json_checker(list[int])
    assert check([1, 2]) == [1, 2]
    with pytest.raises(InvalidContent, match="0: Expected `int`"):
        check(["x"])
    with pytest.raises(TypeError):
        json_checker(dict[str, int] | Item)


@given(VALUES)
async def test_round_trip(value: object) -> None:
    assert (await JSON.decode(JSON(value).encode())) == JSON(value)


def test_equality_is_of_data() -> None:
    assert JSON([1]) == JSON([1])
    assert JSON([1]) != JSON([2])
    assert JSON([1]) != [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(JSON(1))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"secret": 1}, "<JSON dict of 1>"),
        (["secret"], "<JSON list of 1>"),
        ("secret", "<JSON str>"),
        (None, "<JSON null>"),
        (12, "<JSON int>"),
    ],
)
def test_repr_counts_and_shows_nothing(data: object, text: str) -> None:
    assert repr(JSON(data)) == text
