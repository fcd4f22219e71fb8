"""The text of JSON, with msgspec and without: one answer for both."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import importlib.util
import json
import math
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiostreams import MalformedBody
from aiostreams.content import jsontext
from aiostreams.content.jsontext import parse, parse_with, serialise

MSGSPEC: Any = jsontext.msgspec
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@pytest.fixture(params=["msgspec", "stdlib"], autouse=True)
def parser(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "stdlib":
            patch.setattr(jsontext, "msgspec", None)
        elif MSGSPEC is None:
            pytest.skip("needs the extra msgspec")
        yield


def both(text: bytes | str) -> Any:
    """What both parsers say: the same value, or MalformedBody twice."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (MSGSPEC, None):
            patch.setattr(jsontext, "msgspec", module)
            try:
                found.append(parse(text))
            except MalformedBody:
                found.append(MalformedBody)
    assert repr(found[0]) == repr(found[1])
    return found[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"null", None),
        (b' \t\r\n{"a" : [1, -0, 0.5, 1E+2, true]} ', {"a": [1, 0, 0.5, 100.0, True]}),
        (b'"\xc3\xa9\\u00e9\\n\\/"', "éé\n/"),
        (b'"\\ud83d\\ude00\xf0\x9f\x98\x80"', "😀😀"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b"12345678901234567890123", 12345678901234567890123),
        (b"9" * 4300, int("9" * 4300)),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
        (b'"1e999 NaN Infinity"', "1e999 NaN Infinity"),
        (b"[" * 300 + b"]" * 300, json.loads("[" * 300 + "]" * 300)),
        ('{"a":"é"}', {"a": "é"}),
    ],
)
def test_parse(text: bytes | str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the text is empty"),
        (b" \r\n", "the text is empty"),
        (b"\xef\xbb\xbf", "the text is empty"),
        (b"[1,]", "JSON: .*, column [34]"),
        (b'{"a":1', "JSON: .*, column 7"),
        (b'{\n"a":\n}', "JSON: Expecting value, line 3 column 1"),
        (b"[1] 2", "JSON: Extra data, column 5"),
        (b'"abc', "Unterminated string"),
        (b"nul", "Expecting value, column 1"),
        (b"'a'", "Expecting value"),
        (b"01", "Extra data"),
        (b"NaN", "NaN is not a number in JSON"),
        (b"[Infinity]", "Infinity is not a number in JSON"),
        (b"[-Infinity]", "-Infinity is not a number in JSON"),
        (b"1e999", "does not fit in a double"),
        (b"[-1E+400]", "does not fit in a double"),
        (b"1" * 310 + b".5", "does not fit in a double"),
        (b"1" * 250 + b"e99", "does not fit in a double"),
        (b"9" * 4301, "an integer has more than 4300 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'"\\ud800"', "lone surrogate"),
        (b'"\\uDE00\\uD83D"', "lone surrogate"),
        (b'"\\\\\\ud83dx"', "lone surrogate"),
        (b'{"\\udfff":1}', "lone surrogate"),
        (b'"\xff"', "byte 1 is not UTF-8"),
        (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),
        (b'"\x01"', "Invalid control character"),
        ("{}".encode("utf-16"), "JSON"),
        ("{}".encode("utf-16-be"), "JSON"),
        ("{}".encode("utf-32-le"), "JSON"),
    ],
)
def test_parse_of_what_is_no_json_is_malformed(text: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        parse(text)


def test_no_message_shows_the_body() -> None:
    for text in (b'{"secret"}', b'["secret" 1]', b"secret", b'"secret\\x"', b'"secret'):
        with pytest.raises(MalformedBody) as info:
            parse(text)
        assert "secret" not in str(info.value)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    text = serialise(value)
    assert repr(both(text)) == repr(value)
    assert json.loads(text) == value


FRAGMENTS = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b'"',
        b'":',
        b"\\",
        b"\\u",
        b"d83d",
        b"\\ude00",
    ),
    *(b"1", b"0", b"e", b"E", b"+", b"-", b".", b"999", b"true", b"null", b"NaN"),
    *(b" ", b"\n", b"a", b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf", b"\x00"),
)


@given(st.binary() | st.lists(st.sampled_from(FRAGMENTS)).map(b"".join))
@example(b"1.7976931348623159e308")
@example(b"1.7976931348623157e308")
def test_any_text_is_a_value_or_malformed_and_both_parsers_agree(text: bytes) -> None:
    value = both(text)
    if value is not MalformedBody:
        assert repr(both(serialise(value))) == repr(value)


@given(st.integers(-400, 400), st.integers(0, 10**20), st.sampled_from("eE"))
def test_no_number_becomes_infinite(exponent: int, digits: int, e: str) -> None:
    for sign in ("", "+") if exponent >= 0 else ("",):
        value = both(f"[{digits}.5{e}{sign}{exponent}]")
        assert value is MalformedBody or math.isfinite(value[0])


def test_prefixes_of_a_document_are_malformed() -> None:
    text = b'{"a":["\\u00e9",1.5e3,null,true],"b":{}}'
    for cut in range(len(text)):
        with pytest.raises(MalformedBody):
            parse(text[:cut])


def test_parse_with_another_parser() -> None:
    assert parse_with(json.loads, b'\xef\xbb\xbf{"a":1}') == {"a": 1}
    assert parse_with(json.loads, "[1]") == [1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("secret"), "the text is malformed"),
        (RecursionError(), "nested too deeply"),
        (json.JSONDecodeError("Expecting value", "\n x", 2), "line 2 column 2"),
        (MalformedBody("mine"), "mine"),
    ],
)
def test_parse_with_another_parser_has_our_errors(
    error: Exception, message: str
) -> None:
    def loads(_text: bytes | str) -> Any:
        raise error

    with pytest.raises(MalformedBody, match=message):
        parse_with(loads, b"{}")


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    start: object
    end: object


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": "zelda", "score": "478"}, '{"name":"zelda","score":"478"}'),
        ({"b": 1, "a": (1, 2.5, None, True)}, '{"b":1,"a":[1,2.5,null,true]}'),
        ("é€😀\u2028\0", '"é€😀\u2028\\u0000"'),
        ({1: 1, None: 2, False: 3}, '{"1":1,"null":2,"false":3}'),
        (
            dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC),
            '"2026-01-02T03:04:00+00:00"',
        ),
        ([dt.date(2026, 1, 2), dt.time(3, 4)], '["2026-01-02","03:04:00"]'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (Color.RED, '"red"'),
        ({1}, "[1]"),
        (frozenset(), "[]"),
        (types.MappingProxyType({"a": {1}}), '{"a":[1]}'),
        (Line(Color.RED, Line(1, [2])), '{"start":"red","end":{"start":1,"end":[2]}}'),
    ],
)
def test_serialise(value: object, text: str) -> None:
    assert serialise(value) == text.encode()


def test_msgspec_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the module is imported, that is; elsewhere here it is taken away later."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    spec = importlib.util.find_spec(jsontext.__name__)
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh.msgspec is None
    assert fresh.parse(b'{"a":1}') == {"a": 1}


def test_serialise_a_struct() -> None:
    if MSGSPEC is None:
        pytest.skip("needs the extra msgspec")
    point = MSGSPEC.defstruct("Point", [("x", int)])(1)
    assert serialise([point]) == b'[{"x":1}]'


class Inside(list[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.append(self)


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: math.nan, "not JSON compliant"),
        (lambda: [math.inf], "not JSON compliant"),
        (lambda: {"a": -math.inf}, "not JSON compliant"),
        (lambda: "a\ud800", "lone surrogate"),
        (lambda: {"\udc80": 1}, "lone surrogate"),
        (Inside, "Circular"),
        (deep, "nested too deeply"),
    ],
)
def test_serialise_of_what_json_lacks_is_a_value_error(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as info:
        serialise(make())
    assert type(info.value) is ValueError


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, b"bytes", Line, 1j])
def test_serialise_of_other_objects_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        serialise(value)


def test_the_limit_of_digits_is_named_as_it_is() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(1000)
    try:
        with pytest.raises(MalformedBody, match="1000 digits"):
            jsontext._parse_strictly(b"1" * 1001)
    finally:
        sys.set_int_max_str_digits(before)
