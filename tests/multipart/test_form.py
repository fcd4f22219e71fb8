from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from aiostreams import (
    ByteStream,
    Form,
    LimitExceeded,
    Limits,
    MalformedBody,
    UnsupportedContent,
)
from tests.content.ways import ways

TYPE = "application/x-www-form-urlencoded"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PAIRS = st.lists(st.tuples(TEXT, TEXT))

# From the URL standard's own description, and what browsers do.
PARSED = [
    ("", []),
    ("a=b", [("a", "b")]),
    ("a=b&c=d", [("a", "b"), ("c", "d")]),
    ("a=1&a=2&a=1", [("a", "1"), ("a", "2"), ("a", "1")]),
    ("a", [("a", "")]),
    ("a&b=", [("a", ""), ("b", "")]),
    ("=", [("", "")]),
    ("=b", [("", "b")]),
    ("&&a=b&&", [("a", "b")]),
    ("a=b=c", [("a", "b=c")]),
    ("a=b;c=d", [("a", "b;c=d")]),
    ("a+b=c+d", [("a b", "c d")]),
    ("a%20b=c%2Bd", [("a b", "c+d")]),
    ("a%3Db%26=%3d%26", [("a=b&", "=&")]),
    ("a=%", [("a", "%")]),
    ("a=%4", [("a", "%4")]),
    ("a=%zz%41", [("a", "%zzA")]),
    ("a=%%41", [("a", "%A")]),
    ("%u20ac=%25u", [("%u20ac", "%u")]),
    ("a=%E2%82%AC", [("a", "€")]),
    ("a=€", [("a", "€")]),
    ("a=%00", [("a", "\0")]),
    ("a=%EF%BB%BFb", [("a", "\ufeffb")]),
    ("a=\r\n", [("a", "\r\n")]),
    ("&%41&&=%42&", [("A", ""), ("", "B")]),
]


@pytest.mark.parametrize(("text", "pairs"), PARSED)
async def test_parses_as_the_url_standard_says(
    text: str, pairs: list[tuple[str, str]]
) -> None:
    assert list(Form(text).items()) == pairs
    for stream in ways(text.encode(), TYPE):
        assert await Form.decode(stream) == Form(pairs)


def test_a_string_that_is_not_utf_8_gets_replacement_characters() -> None:
    assert Form("a=%ff%41")["a"] == "\ufffdA"
    assert Form("a=\ud800")["a"] == "?"


@pytest.mark.parametrize(
    ("body", "field"), [(b"a=b&c=%ff", "field 2"), (b"a=b&c=\xff", "a field")]
)
async def test_a_body_that_is_not_utf_8_is_malformed(body: bytes, field: str) -> None:
    for stream in ways(body, TYPE):
        with pytest.raises(MalformedBody, match=f"{field} of the form is not utf-8"):
            await Form.decode(stream)


async def test_a_body_is_read_by_its_charset() -> None:
    latin = TYPE + "; charset=iso-8859-1"
    for body in (b"a=%e9", b"a=\xe9"):
        for stream in ways(body, latin):
            assert (await Form.decode(stream))["a"] == "é"
    with pytest.raises(UnsupportedContent):
        await Form.decode(ByteStream(b"a=b", content_type=TYPE + "; charset=utf-16"))


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([], ""),
        ([("a", "b")], "a=b"),
        ([("a", "")], "a="),
        ([("", "")], "="),
        ([("a b", "c d")], "a+b=c+d"),
        ([("a", "1+1")], "a=1%2B1"),
        ([("a", "*-._azAZ09")], "a=*-._azAZ09"),
        ([("a", "~!'()")], "a=%7E%21%27%28%29"),
        ([("a", "&=%#?/\r\n\0")], "a=%26%3D%25%23%3F%2F%0D%0A%00"),
        ([("é", "€😀")], "%C3%A9=%E2%82%AC%F0%9F%98%80"),
    ],
)
async def test_writes_as_the_url_standard_says(
    pairs: list[tuple[str, str]], text: str
) -> None:
    stream = Form(pairs).encode()
    assert stream.content_type == Form().content_type == TYPE
    assert stream.size == len(text)
    assert await stream.read() == text.encode()
    assert str(Form(pairs)) == text


@given(PAIRS)
async def test_round_trip_of_everything(pairs: list[tuple[str, str]]) -> None:
    """Plus signs too, which some take for spaces on the way back."""
    form = Form(pairs)
    assert Form(str(form)) == form
    assert await Form.decode(form.encode()) == form
    assert parse_qsl(str(form), keep_blank_values=True) == pairs


@given(st.binary())
async def test_any_body_is_a_form_or_malformed(body: bytes) -> None:
    try:
        form = await Form.decode(ByteStream(body))
    except MalformedBody:
        return
    assert await Form.decode(form.encode()) == form


@given(st.text())
def test_any_string_is_a_form(text: str) -> None:
    form = Form(text)
    assert Form(str(form)) == form


def test_encode_refuses_a_lone_surrogate_before_any_byte() -> None:
    with pytest.raises(ValueError, match="surrogate") as info:
        Form({"a": "\udc80"}).encode()
    assert type(info.value) is ValueError


def test_made_from_lists_of_values_and_multidicts() -> None:
    assert str(Form({"a": ["1", "2"], "b": "3"})) == "a=1&a=2&b=3"
    assert str(Form(MultiDict([("a", "1"), ("b", "3"), ("a", "2")]))) == "a=1&b=3&a=2"
    assert str(Form()) == str(Form(None)) == ""


def test_equal_forms_have_equal_hashes_and_order_counts() -> None:
    """Equal in any order but hashed in order would lose keys of a dict."""
    assert Form("a=1&a=2") != Form("a=2&a=1")
    assert Form("a=1&a=2") == Form([("a", "1"), ("a", "2")])
    assert hash(Form("a=1&a=2")) == hash(Form({"a": ["1", "2"]}))


async def test_n_fields_pass_and_one_more_does_not() -> None:
    limits = Limits(max_parts=3)
    for body in (b"a&a=1&b", b"a&&&a=1&b&&", b"a=%20&b=c&d"):
        for stream in ways(body):
            assert len(await Form.decode(stream, limits=limits)) == 3
    for body in (b"a&a=1&b&c", b"&a&a=1&&b&c&d&e"):
        for stream in ways(body):
            with pytest.raises(
                LimitExceeded, match="at least 4 fields, limit 3"
            ) as info:
                await Form.decode(stream, limits=limits)
            assert (info.value.limit, info.value.seen) == (3, 4)


async def test_a_field_of_n_bytes_passes_and_of_one_more_does_not() -> None:
    limits = Limits(max_field=4)
    for body in (b"a=1234&b=1234", b"a=%31%32%33%34", b"aaaaaaaaaa=b&c", b"a=%C3%A9++"):
        await Form.decode(ByteStream(body), limits=limits)
    for body in (b"b=1&a=12345", b"a=%31%32%33%34%35", b"a=%C3%A9+++"):
        with pytest.raises(LimitExceeded, match=r"5 bytes.*4") as info:
            await Form.decode(ByteStream(body), limits=limits)
        assert (info.value.limit, info.value.seen) == (4, 5)


async def test_a_body_of_n_bytes_passes_and_of_one_more_does_not() -> None:
    limits = Limits(max_memory=5)
    assert len(await Form.decode(ByteStream(b"a=123"), limits=limits)) == 1
    for stream in ways(b"a=1234"):
        with pytest.raises(LimitExceeded):
            await Form.decode(stream, limits=limits)


async def test_default_limits_hold() -> None:
    assert len(await Form.decode(ByteStream(b"&".join([b"a"] * 1000)))) == 1000
    with pytest.raises(LimitExceeded):
        await Form.decode(ByteStream(b"&".join([b"a"] * 1001)))
    with pytest.raises(LimitExceeded):
        await Form.decode(ByteStream(b"a=" + b"b" * 1024 * 1024))


async def test_async_with_gives_the_encoded_stream() -> None:
    async with Form("a=1") as stream:
        assert await stream.read() == b"a=1"


def test_repr_counts_and_shows_nothing() -> None:
    assert repr(Form("secret=1")) == "<Form 1 field>"
    assert repr(Form("secret=1&b")) == "<Form 2 fields>"


def test_a_field_that_is_no_str_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="field 'a' takes a str, not int"):
        Form({"a": 1})  # type: ignore[dict-item]
