from __future__ import annotations

import codecs
import encodings
import encodings.aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import MalformedBody, UnsupportedContent
from aiostreams.sansio import charsets
from aiostreams.sansio.charsets import (
    LABELS,
    FormCharset,
    ascii_codec_of,
    codec_of,
    decode_text,
    text_codec,
)


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


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        (" ISO-8859-1 ", "iso8859-1"),
        ("latin1", "iso8859-1"),
        ("us-ascii", "ascii"),
        ("windows-1252", "cp1252"),
        ("utf-8-sig", "utf-8-sig"),
        ("shift_jis", "shift_jis"),
        ("koi8-u", "koi8-u"),
        ("ANSI_X3.4-1968", "ascii"),
    ],
)
def test_charsets_have_codecs(charset: str, name: str) -> None:
    assert text_codec(charset) == name
    assert b"".decode(text_codec(charset)) == ""


@pytest.mark.parametrize(
    "charset",
    [
        "",
        "foo",
        "zlib_codec",
        "zlib",
        "rot13",
        "hex",
        "base64",
        "bz2",
        "quopri",
        "uu",
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "undefined",
        "os.path",
        "..",
        "a\x00b",
        "ä",
        "\udcff",
        "x" * 10_000,
    ],
)
def test_what_is_no_charset_is_unsupported(charset: str) -> None:
    with pytest.raises(UnsupportedContent) as caught:
        text_codec(charset)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("ISO-8859-8-I", "iso8859-8"),
        ("windows-31j", "cp932"),
        ("Windows-874", "cp874"),
        ("x-mac-cyrillic", "mac-cyrillic"),
        ("x-sjis", "cp932"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("csUnicode", "utf-16"),
        ("iso88591", "iso8859-1"),
        ("logical", "iso8859-8"),
        ("koi", "koi8-r"),
        ("x-cp1251", "cp1251"),
        ("windows-949", "cp949"),
        ("x-gbk", "gbk"),
        ("x-x-big5", "big5"),
        ("x-euc-jp", "euc_jp"),
        ("macintosh", "mac-roman"),
        ("x-mac-roman", "mac-roman"),
    ],
)
def test_names_of_the_encoding_standard_are_known(charset: str, codec: str) -> None:
    assert text_codec(charset) == codec


def test_every_codec_of_python_is_judged() -> None:
    """Each either decodes text, or is unsupported: never a LookupError."""
    for name in set(encodings.aliases.aliases) | set(
        encodings.aliases.aliases.values()
    ):
        try:
            found = text_codec(name)
        except UnsupportedContent:
            continue
        assert isinstance(codecs.decode(b"", found), str)


def test_a_codec_of_another_system_is_unsupported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows has aliases whose codecs Linux lacks: mbcs, oem."""
    monkeypatch.setitem(encodings.aliases.aliases, "of_another_system", "nowhere")
    charsets._codec_names.cache_clear()
    try:
        with pytest.raises(UnsupportedContent, match="the charset is unknown"):
            text_codec("of-another-system")
    finally:
        charsets._codec_names.cache_clear()


def test_every_label_of_the_web_has_a_codec() -> None:
    for label, codec in LABELS.items():
        assert "".encode(text_codec(label)) in {b"", b"\xff\xfe", b"\xfe\xff"}
        assert text_codec(label) == text_codec(codec)
    for nothing in ("replacement", "x-user-defined", "iso-2022-cn"):
        with pytest.raises(UnsupportedContent):
            text_codec(nothing)


def test_unknown_charsets_are_not_remembered() -> None:
    before = len(encodings._cache)
    for number in range(100):
        with pytest.raises(UnsupportedContent):
            text_codec(f"no-charset-{number}")
    assert len(encodings._cache) == before


# -- the charset of a form ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "fields", "codec"),
    [
        ("", [], None),
        ("multipart/form-data; boundary=charset", [], None),
        ("multipart/form-data; charset=latin-1", [], "iso8859-1"),
        ("multipart/form-data; charset=us-ascii", [], None),
        ("multipart/form-data; charset=nonsense", [], None),
        ("multipart/form-data; charset=UTF8", [], None),
        ("", [("_charset_", b"gbk")], "gb18030"),
        ("", [("_charset_", b"Shift_JIS"), ("a", b"utf-8")], "cp932"),
        ("", [("charset", b"gbk"), (None, b"gbk")], None),
        ("; charset=latin-1", [("_charset_", b"utf-8")], None),
        ("; charset=latin-1", [("_charset_", b"\xff")], "iso8859-1"),
        ("; charset=latin-1", [("_charset_", b"gbk" + b" " * 62)], "iso8859-1"),
        ("; charset=latin-1", [("_charset_", b"")], "iso8859-1"),
        ("", [("_charset_", b"utf-7")], None),
    ],
)
def test_the_charset_of_a_form_is_the_last_one_named(
    content_type: str, fields: list[tuple[str | None, bytes]], codec: str | None
) -> None:
    charset = FormCharset(content_type)
    for name, value in fields:
        charset.learn(name, value)
    assert charset.codec == codec


def test_a_part_with_a_charset_of_its_own_keeps_it() -> None:
    charset = FormCharset("; charset=latin-1")
    assert charset.codec_of(None) == "iso8859-1"
    assert charset.codec_of("text/plain") == "iso8859-1"
    assert charset.codec_of("text/plain; x=charset") == "iso8859-1"
    assert charset.codec_of("text/plain; charset=utf-8") == "utf-8"
    assert FormCharset().codec_of("text/plain; charset=latin-1") == "iso8859-1"
    assert charset.decode(b"\xfc", None, 1) == "ü"
    with pytest.raises(MalformedBody, match="field 2 of the form is not utf-8"):
        charset.decode(b"\xfc", "text/plain; charset=utf-8", 2)


def test_no_charset_gives_lone_surrogates() -> None:
    """UTF-7 would, and what has one can be written neither as JSON nor as a header."""
    with pytest.raises(UnsupportedContent):
        text_codec("utf-7")
