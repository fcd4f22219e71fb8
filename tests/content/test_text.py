from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    HTML,
    ByteStream,
    LimitExceeded,
    Limits,
    MalformedBody,
    Text,
    UnsupportedContent,
)
from tests.content.ways import ways


def test_content_types_have_an_unquoted_charset() -> None:
    """``charset='utf-8'`` with quotes of this kind names no charset at all."""
    assert Text("").content_type == "text/plain; charset=utf-8"
    assert HTML("").content_type == "text/html; charset=utf-8"


async def test_encode_is_utf_8_with_type_and_size() -> None:
    stream = Text("né").encode()
    assert stream.content_type == "text/plain; charset=utf-8"
    assert stream.size == 3
    assert await stream.read() == b"n\xc3\xa9"
    assert (await HTML("<p>").encode().read()) == b"<p>"


def test_encode_of_empty_text_knows_its_size_for_the_content_length() -> None:
    assert Text("").encode().size == 0


def test_encode_refuses_a_lone_surrogate_before_any_byte() -> None:
    with pytest.raises(ValueError, match="character 1") as info:
        Text("a\ud800").encode()
    assert type(info.value) is ValueError


async def test_decode_reads_however_it_arrives() -> None:
    for stream in ways("né€😀".encode(), "text/plain"):
        assert (await Text.decode(stream)).text == "né€😀"


async def test_decode_honours_the_charset() -> None:
    for stream in ways("né€".encode("cp1252"), "text/plain; charset=windows-1252"):
        assert await Text.decode(stream) == Text("né€")


async def test_decode_gives_its_own_class() -> None:
    assert await HTML.decode(ByteStream(b"<p>")) == HTML("<p>")


async def test_decode_leaves_out_a_byte_order_mark() -> None:
    assert str(await Text.decode(ByteStream(b"\xef\xbb\xbfa"))) == "a"
    utf_16 = ByteStream("a".encode("utf-16"), content_type="text/plain; charset=utf-16")
    assert str(await Text.decode(utf_16)) == "a"


async def test_decode_of_an_unknown_charset_is_unsupported_and_reads_nothing() -> None:
    stream = ByteStream(b"abc", content_type="text/plain; charset=klingon")
    with pytest.raises(UnsupportedContent):
        await Text.decode(stream)
    assert stream.position == 0


async def test_decode_of_bytes_outside_the_charset_is_malformed() -> None:
    for stream in ways(b"ab\xff"):
        with pytest.raises(MalformedBody, match="byte 2"):
            await Text.decode(stream)


async def test_decode_takes_max_memory_and_refuses_one_more() -> None:
    limits = Limits(max_memory=10)
    for stream in ways(b"x" * 10):
        assert str(await Text.decode(stream, limits=limits)) == "x" * 10
    for stream in ways(b"x" * 11):
        with pytest.raises(LimitExceeded):
            await Text.decode(stream, limits=limits)


def test_equality_is_of_class_and_text() -> None:
    assert Text("a") == Text("a")
    assert Text("a") != Text("b")
    assert Text("a") != HTML("a")
    assert Text("a") != "a"
    assert len({Text("a"), Text("a"), HTML("a")}) == 2


def test_repr_counts_and_shows_nothing() -> None:
    assert repr(Text("secret")) == "<Text 6 characters>"
    assert repr(HTML("")) == "<HTML 0 characters>"


def test_anything_but_a_str_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="HTML takes a str, not bytes"):
        HTML(b"<p>")  # type: ignore[arg-type]


@given(
    st.text(st.characters(exclude_categories=["Cs"])).filter(
        lambda t: t[:1] != "\ufeff"
    )
)
async def test_round_trip(text: str) -> None:
    assert await Text.decode(Text(text).encode()) == Text(text)
