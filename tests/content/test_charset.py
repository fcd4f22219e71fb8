from __future__ import annotations

import encodings.aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.content.charset import ascii_codec_of, codec_of, decode_text
from aiostreams.errors import MalformedBody, UnsupportedContent


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        (None, "utf-8"),
        ("text/plain", "utf-8"),
        ("text/plain; format=flowed", "utf-8"),
        ("text/plain; charset=utf-8", "utf-8"),
        ("text/plain; charset=UTF-8", "utf-8"),
        ('text/plain;charset="utf-8"', "utf-8"),
        ("text/plain; charset=utf-8-sig", "utf-8"),
        ("text/plain; charset=us-ascii", "utf-8"),
        ("text/plain; charset=latin-1", "iso8859-1"),
        ("text/plain; Charset=Windows-1252", "cp1252"),
        ("text/plain; charset=utf-16", "utf-16"),
    ],
)
def test_codec_of(content_type: str | None, codec: str) -> None:
    assert codec_of(content_type) == codec


@pytest.mark.parametrize(
    "label", ["utf-9", "zip", "rot13", "idna", "hex", "", "undefined"]
)
def test_codec_of_an_unknown_charset_is_unsupported(label: str) -> None:
    with pytest.raises(UnsupportedContent):
        codec_of(f"text/plain; charset={label}")


def test_codec_of_a_charset_given_twice_is_malformed() -> None:
    with pytest.raises(MalformedBody):
        codec_of("text/plain; charset=utf-8; charset=latin-1")


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "shift_jis", "gbk", "cp1251"])
def test_ascii_codec_of_a_superset_of_ascii(charset: str) -> None:
    assert b"&".decode(ascii_codec_of(f"a/b; charset={charset}")) == "&"


@pytest.mark.parametrize("charset", ["utf-16", "utf-32-le", "cp037", "utf-7", "cp864"])
def test_ascii_codec_of_another_is_unsupported(charset: str) -> None:
    with pytest.raises(UnsupportedContent):
        ascii_codec_of(f"a/b; charset={charset}")


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-32-be"])
def test_decode_text_leaves_out_one_byte_order_mark(codec: str) -> None:
    assert decode_text("\ufeffa\ufeff".encode(codec), codec) == "a\ufeff"


def test_decode_text_names_the_byte_that_is_wrong() -> None:
    with pytest.raises(MalformedBody, match="utf-8, at byte 3"):
        decode_text(b"abc\xff", "utf-8")


@given(st.sampled_from(sorted(set(encodings.aliases.aliases.values()))), st.binary())
def test_decode_text_gives_text_or_malformed_body(name: str, data: bytes) -> None:
    """Whatever codec of Python a client asks for, nothing else comes out."""
    try:
        codec = codec_of(f"text/plain; charset={name}")
    except UnsupportedContent:
        return
    try:
        assert isinstance(decode_text(data, codec), str)
    except MalformedBody:
        pass
