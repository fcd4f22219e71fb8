"""Content-Disposition of parts: read as browsers write it, written the same way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import MalformedBody, StreamError, UnsupportedContent
from aiostreams.sansio.disposition import (
    Disposition,
    decode_extended,
    format_disposition,
    parse_disposition,
)
from aiostreams.sansio.headers import decode_header


def filename(value: str) -> str | None:
    return parse_disposition(f"form-data; name=a; filename={value}").filename


def test_a_disposition_has_its_fields() -> None:
    assert parse_disposition(
        "Form-Data; NAME=\"a\"; filename=b.txt; filename*=utf-8''c; x=y"
    ) == Disposition("form-data", "a", "b.txt", b"a", b"b.txt")
    assert parse_disposition("") == Disposition("", None, None, None, None)
    assert parse_disposition('attachment; name=""') == Disposition(
        "attachment", "", None, b"", None
    )


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('"a.txt"', "a.txt"),
        ("a.txt", "a.txt"),
        ('""', ""),
        # The WHATWG's three escapes, and only those, only in quotes.
        ('"%22%0D%0A"', '"\r\n'),
        ('"%0d%20%41%"', "%0d%20%41%"),
        ("%22", "%22"),
        # Backslashes stand for themselves; an escaped quote is an old client's.
        ('"C:\\x\\y.txt"', "C:\\x\\y.txt"),
        ('"a \\"b\\" c"', 'a "b" c'),
        ('"a\\\\b"', "a\\\\b"),
        ('"a\\%22"', 'a\\"'),
        # No file is named by a Windows path that ends in a backslash.
        ('"C:\\x\\"', ""),
        ('"\\\\host\\x\\"', ""),
        ('"x\\"', "x\\"),
        # Quotes that were not escaped at all.
        ('"a "b"', "a "),
        ('a"b.txt', 'a"b.txt'),
        ('a";b.txt', 'a";b.txt'),
        ('"../a b/ö;=.txt"', "../a b/ö;=.txt"),
    ],
)
def test_filenames_are_read_as_sent(sent: str, read: str) -> None:
    assert filename(sent) == read


def test_blanks_around_the_equals_sign_hide_nothing() -> None:
    found = parse_disposition('form-data; name ="a"; filename\t= "b; c.txt" ')
    assert found[:3] == ("form-data", "a", "b; c.txt")
    with pytest.raises(MalformedBody, match="twice"):
        parse_disposition("form-data; name=a; name =b")


@pytest.mark.parametrize("name", ["name", "filename", "filename*"])
def test_duplicates_are_malformed(name: str) -> None:
    with pytest.raises(MalformedBody, match="twice"):
        parse_disposition(f"form-data; {name}=a; x=y; {name.upper()}=a")


def test_filename_star_never_overrides_a_plain_filename() -> None:
    for text in ("filename=a; filename*=utf-8''b", "filename*=utf-8''b; filename=a"):
        assert parse_disposition("form-data; " + text).filename == "a"
    assert filename("\"\"; filename*=utf-8''b") == ""
    # Not all of it is an encoded word: a person may have called a file so.
    assert filename("\"=?utf-8?Q?a?= b\"; filename*=utf-8''c") == "=?utf-8?Q?a?= b"


@pytest.mark.parametrize(
    ("sent", "name", "raw"),
    [
        # Alone, as urllib3 1.x sends it; quoted, as some that know no better.
        ("filename*=utf-8''na%C3%AFve.txt", "naïve.txt", b"utf-8''na%C3%AFve.txt"),
        ("filename*=\"UTF-8''a%22b\"", 'a"b', b"UTF-8''a%22b"),
        # Instead of an encoded word, as .NET sends it.
        (
            "filename=\"=?utf-8?B?w6kudHh0?=\"; filename*=utf-8''%C3%A9.txt",
            "é.txt",
            b"utf-8''%C3%A9.txt",
        ),
        (
            "filename*=utf-8''%C3%A9; filename=\"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=\"",
            "é",
            b"utf-8''%C3%A9",
        ),
        # An encoded word without another name is what was sent.
        ('filename="=?utf-8?B?w6k=?="', "=?utf-8?B?w6k=?=", b"=?utf-8?B?w6k=?="),
        # What cannot be decoded names nothing, and is a file's.
        ("filename*=utf-8''%C3", "", b"utf-8''%C3"),
        ("filename*=naïve.txt", "", "naïve.txt".encode()),
        ("filename*=koi8-r''a", "", b"koi8-r''a"),
        ("filename*=utf-8''a%00b", "", b"utf-8''a%00b"),
        ("filename*=", "", b""),
        (
            "filename=\"=?utf-8?B?w6k=?=\"; filename*=utf-8''%C3",
            "=?utf-8?B?w6k=?=",
            b"=?utf-8?B?w6k=?=",
        ),
    ],
)
def test_filename_star_counts_where_there_is_no_plain_filename(
    sent: str, name: str, raw: bytes
) -> None:
    found = parse_disposition(f"form-data; name=a; {sent}")
    assert (found.filename, found.raw_filename) == (name, raw)


@pytest.mark.parametrize("codec", ["latin-1", "gbk", "shift_jis", "utf-8"])
def test_names_that_are_not_utf8(codec: str) -> None:
    """In the form's charset where that is known, else U+FFFD; always as sent, too."""
    text = {"latin-1": "Grüße", "gbk": "文件", "shift_jis": "表示"}.get(codec, "ü文")
    data = text.encode(codec)
    sent = b'form-data; name="%b"; filename="%b.txt"' % (data, data)
    for known in (codec, None, "ascii"):
        found = parse_disposition(decode_header(sent), known)
        read = text if known == codec else data.decode("utf-8", "replace")
        assert (found.name, found.filename) == (read, f"{read}.txt")
        assert (found.raw_name, found.raw_filename) == (data, data + b".txt")


def test_the_bytes_of_a_name_have_their_escapes() -> None:
    found = parse_disposition('form-data; name="a%22b\\"c"; filename="%0A"')
    assert (found.name, found.filename) == ('a"b"c', "\n")
    assert (found.raw_name, found.raw_filename) == (b'a%22b\\"c', b"%0A")


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("UTF-8''na%C3%AFve%20x.txt", "naïve x.txt"),
        ("utf-8'de'a", "a"),
        ("ISO-8859-1''%E4", "ä"),
        ("utf-8''", ""),
    ],
)
def test_extended_values_are_decoded(value: str, decoded: str) -> None:
    assert decode_extended(value) == decoded


@pytest.mark.parametrize(
    "value",
    ["", "a", "utf-8'a", "''a", "utf-8''%", "utf-8''%4", "utf-8''%zz", "utf-8''a b"],
)
def test_bad_extended_values_are_malformed(value: str) -> None:
    with pytest.raises(MalformedBody, match="RFC 8187"):
        decode_extended(value)


def test_extended_values_in_odd_charsets() -> None:
    with pytest.raises(MalformedBody, match="not in the charset"):
        decode_extended("utf-8''%FF")
    for charset in ("koi8-r", "zlib_codec", "nonsense"):
        with pytest.raises(UnsupportedContent):
            decode_extended(f"{charset}''a")


@given(st.text(max_size=30))
def test_extended_values_never_raise_anything_else(value: str) -> None:
    for text in (value, "utf-8''" + value):
        try:
            decode_extended(text)
        except StreamError:
            pass


def test_dispositions_are_written_as_browsers_do() -> None:
    assert format_disposition('a"\r\nö', "b;'%.txt") == (
        'form-data; name="a%22%0D%0Aö"; filename="b;\'%.txt"'
    )
    assert format_disposition("a") == 'form-data; name="a"'
    assert format_disposition(kind="attachment", filename="") == (
        'attachment; filename=""'
    )
    with pytest.raises(ValueError, match="not a disposition type"):
        format_disposition(kind="a b")


@pytest.mark.parametrize(
    "value", ["a\\", "\\", "a\\\\b", "%22", "a%0Ab", "%0D", "\udcff"]
)
def test_what_cannot_be_written_plainly_is_refused(value: str) -> None:
    for arguments in ({"name": value}, {"filename": value}):
        with pytest.raises(ValueError, match=r"name has a|name would"):
            format_disposition(**arguments)


@given(st.text(max_size=20), st.none() | st.text(max_size=20))
def test_what_is_written_reads_back_the_same(name: str, file: str | None) -> None:
    try:
        text = format_disposition(name, file)
    except ValueError:
        return
    assert not any(ord(c) < 32 or c == "\x7f" for c in text)
    assert parse_disposition(text)[:3] == ("form-data", name, file)


@pytest.mark.parametrize("code", range(256))
def test_no_byte_can_inject(code: int) -> None:
    """Every character gives one parameter that reads back, or is refused."""
    for value in (chr(code), f"a{chr(code)}b", f'{chr(code)}"; name="x'):
        try:
            text = format_disposition("n", value)
        except ValueError:
            continue
        assert "\r" not in text
        assert "\n" not in text
        assert parse_disposition(text)[:3] == ("form-data", "n", value)
