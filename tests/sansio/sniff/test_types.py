"""What the first bytes show, and what is made of it beside the client's word."""

from __future__ import annotations

import io
import random
import sys
import time
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import FileRule, UnsupportedContent
from aiostreams.sansio.mediatype import guess_content_type
from aiostreams.sansio.sniff.binary import BINARY_TYPES
from aiostreams.sansio.sniff.markup import MARKUP_TYPES
from aiostreams.sansio.sniff.signatures import ALIASES, FAMILIES
from aiostreams.sansio.sniff.types import (
    SNIFF_BYTES,
    accepted_type,
    check_pattern,
    looks_like_text,
    magic_sniffer,
    named_type,
    resolve_type,
    sniff,
)

from .heads import HEADS, brand, database, ebml, mp3, office, ogg, ole, zipped

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def by_name(head: tuple[str, str, bytes]) -> str:
    return head[0]


# -- sniff -----------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS, ids=by_name)
def test_a_type_is_known_by_its_first_bytes(head: tuple[str, str, bytes]) -> None:
    _, media_type, data = head
    assert sniff(data) == media_type
    assert sniff(data, text=True) == media_type
    assert sniff(data + bytes(8000)) == media_type
    assert media_type in BINARY_TYPES | MARKUP_TYPES


@pytest.mark.parametrize("head", HEADS, ids=by_name)
def test_a_head_cut_anywhere_is_that_type_or_less(
    head: tuple[str, str, bytes],
) -> None:
    _, media_type, data = head
    containers = {
        "application/zip", "application/ogg", "application/x-ole-storage", "image/heif",
        "text/xml", "text/html", "application/x-archive", None, "application/xhtml+xml",
        "application/x-tar", "video/mp4",
    }  # fmt: skip
    for end in range(min(len(data), 700)):
        found = sniff(data[:end])
        assert found == media_type or found in containers, end
        assert sniff(memoryview(data)[:end]) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, world",
        b"a,b\n1,2\n",
        b'{"a": 1}',
        b"# Title\n\ntext",
        b"BMW is a car, not a bitmap; more text follows here.",
        b"MZ are letters, too",
        b"GIF is a format",
        b"RIFF is the name of a chunk format",
        b"RIFF\x00\x00\x00\x00WEBPXX",
        b"FORM follows function",
        b"G" * 100,
        b"Go" * 800,
        b"BZh is what bzip2 writes",
        b"BZh0" + b"\x31\x41\x59\x26\x53\x59",
        b"\x1a\x45\xdf\xa3" + bytes(60),
        b"\x1a\x45\xdf\xa3\x90\x42\x82\x84abcd",
        b"\xca\xfe\xba\xbe",
        b"\xca\xfe\xba\xbe" + bytes(4),
        b"\x00\x01\x00\x00Standard Jet DB",
        b"\x00\x00\x01\x00\x00\x00",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14free",
        b"\x00\x00\x00\x0cftypisom",
        b"\x00\x00\x00\x11ftypisom" + bytes(8),
        brand(b"XXXX", b"YYYY"),
        mp3()[:417],
        mp3()[:417] + bytes(417),
        mp3(0xFB, 0x00),
        mp3(0xFB, 0xF0),
        mp3(0xFB, 0x9C),
        b"\xff\xf1\x50",
        b"\xff\xf1\x50\x80\x0c\x9f\xfc" + bytes(200),
        b"x" * 257 + b"ustar is a word",
        bytes(34) + b"LP" + bytes(100),
        b"<john> hello <b>there</b>",
        b"< html>",
        b"<",
        b"<3 you",
        b"<html",
        b"<note>text</note>",
        b"<!DOCTYPE",
        b"<?>",
        b"<?target words?>",
        b"&lt;html&gt;",
        b"hello <script>alert(1)</script>",
    ],
)
def test_what_only_begins_alike_is_nothing(data: bytes) -> None:
    assert sniff(data) is None


def test_text_is_said_to_be_text_where_asked_only() -> None:
    assert sniff(b"hello") is None
    assert sniff(b"hello", text=True) == "text/plain"
    assert sniff(b"", text=True) == "text/plain"
    assert sniff("grüße".encode("latin-1"), text=True) == "text/plain"
    assert sniff("grüße".encode("utf-16"), text=True) == "text/plain"
    assert sniff(b"\x01\x02", text=True) is None


@pytest.mark.parametrize("byte", range(256))
def test_binary_data_bytes_are_the_standards(byte: int) -> None:
    binary = byte <= 8 or byte == 0x0B or 0x0E <= byte <= 0x1A or 0x1C <= byte <= 0x1F
    assert looks_like_text(b"a" + bytes((byte,)) + b"b") is not binary


def test_only_so_many_bytes_are_looked_at() -> None:
    assert sniff(b" " * (SNIFF_BYTES - 6) + b"<html>") == "text/html"
    assert sniff(b" " * (SNIFF_BYTES - 5) + b"<html>") is None


def test_a_name_promises_what_the_bytes_show() -> None:
    """The same type has the same name in the whole package."""
    for extension in [
        "png",
        "jpg",
        "gif",
        "bmp",
        "ico",
        "webp",
        "tiff",
        "jxl",
        "avif",
        "heic",
        "mp4",
        "m4a",
        "mov",
        "webm",
        "mkv",
        "wav",
        "avi",
        "mp3",
        "aac",
        "flac",
        "midi",
        "zip",
        "gz",
        "bz2",
        "xz",
        "7z",
        "rar",
        "zst",
        "tar",
        "deb",
        "jar",
        "apk",
        "pdf",
        "rtf",
        "docx",
        "xlsx",
        "pptx",
        "odt",
        "epub",
        "doc",
        "xls",
        "ppt",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "ttc",
        "eot",
        "wasm",
        "sqlite",
        "html",
        "svg",
        "xhtml",
        "xml",
    ]:
        promised = guess_content_type(f"a.{extension}").partition(";")[0]
        assert promised in BINARY_TYPES | MARKUP_TYPES, extension


def test_the_tables_agree_with_themselves() -> None:
    for alias, media_type in ALIASES.items():
        assert media_type not in ALIASES, alias
        assert check_pattern(alias) == alias
    for media_type, family in FAMILIES.items():
        assert media_type in BINARY_TYPES
        for member in family:
            assert check_pattern(member) == member
            assert member not in ALIASES


def test_files_of_common_tools_are_known(tmp_path: Path) -> None:
    assert sniff(database(tmp_path)) == "application/vnd.sqlite3"
    for name, expected in {
        "PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif",
        "BMP": "image/bmp", "ICO": "image/vnd.microsoft.icon", "WEBP": "image/webp",
        "TIFF": "image/tiff", "AVIF": "image/avif", "JPEG2000": "image/jp2",
        "PDF": "application/pdf",
    }.items():  # fmt: skip
        image_module = pytest.importorskip("PIL.Image")
        image_module.init()
        if name not in image_module.SAVE:
            continue
        buffer = io.BytesIO()
        image_module.new("RGB", (16, 16)).save(buffer, name)
        assert sniff(buffer.getvalue()) == expected, name


def test_an_executable_of_this_system_is_one() -> None:
    with Path("/proc/self/exe").open("rb") as program:
        assert sniff(program.read(SNIFF_BYTES)) == "application/x-executable"


def test_an_office_document_is_told_from_a_zip_of_a_folder() -> None:
    assert sniff(zipped(("word/document.xml", b"x"))) == "application/zip"
    assert sniff(zipped(("[Content_Types].xml", b"x"))) == "application/zip"
    many = [(f"a{index}", b"") for index in range(50)]
    assert sniff(zipped(*many, ("word/a", b""))) == "application/zip"


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("word", "application/vnd.ms-word.document.macroEnabled.12"),
        ("xl", "application/vnd.ms-excel.sheet.macroEnabled.12"),
        ("xl", "application/vnd.ms-excel.sheet.binary.macroEnabled.12"),
        ("ppt", "application/vnd.ms-powerpoint.presentation.macroEnabled.12"),
        (
            "word",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
        ),
        (
            "ppt",
            "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        ),
        ("Index", "application/vnd.apple.pages"),
        ("Documents", "application/oxps"),
    ],
)
def test_what_looks_like_another_document_is_let_in_by_name(
    folder: str, declared: str
) -> None:
    head = office(folder)
    assert accepted_type(sniff(head, text=True), declared, {declared})
    assert resolve_type(head, declared) == declared.lower()
    # Not of a family that the bytes show.
    assert not accepted_type(sniff(b"%PDF-1.7", text=True), declared, {declared})
    assert resolve_type(b"%PDF-1.7", declared) == "application/pdf"


def test_a_sheet_is_no_text_document_whatever_it_is_called() -> None:
    declared = "application/vnd.ms-word.document.macroenabled.12"
    assert not accepted_type(sniff(office("xl"), text=True), declared, {declared})


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(HEADS).map(lambda head: head[2][:200]),
    st.binary(max_size=600),
    st.integers(0, 200),
)
def test_no_bytes_make_it_raise(start: bytes, rest: bytes, cut: int) -> None:
    found = sniff(start[:cut] + rest, text=True)
    assert found is None or found == "text/plain" or check_pattern(found) == found
    assert sniff(rest) is None or sniff(rest) == sniff(rest, text=True)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="<>!-?/= \nxmlsvghtphpD:OCTYPE", max_size=200))
def test_no_markup_makes_it_raise(text: str) -> None:
    for codec in ("ascii", "utf-16", "utf-16-be"):
        found = sniff(text.encode(codec))
        assert found is None or found in MARKUP_TYPES | {"image/jxl"}


def test_the_time_is_bounded_whatever_the_bytes() -> None:
    """A microsecond or two for most; the worst head takes less than a millisecond."""
    worst = [
        b"PK\x03\x04" * 1024, b"<!---->" * 585, b"<??>" * 1024, b" " * 4096,
        b"<x " + b"xmlns " * 680, b"<!doctype " + b"a" * 4086, b"<" + b"a.-" * 1365,
        b"<" * 4096, b"\xff\xfe" + b"<\x00" * 2047, office("word") * 3,
        random.Random(1).randbytes(4096), ogg(b"") + b"\x80theor" * 600, ole() * 2,
    ]  # fmt: skip
    for head in worst:
        best = min(_cost(head) for _ in range(5))
        assert best < 1e-3, head[:20]


def _cost(head: bytes) -> float:
    start = time.process_time()
    for _ in range(20):
        sniff(head, text=True)
    return (time.process_time() - start) / 20


# -- accept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "declared", "accept", "expected"),
    [
        # Bytes decide.
        (PNG, "image/png", "image/*", "image/png"),
        (PNG, "text/html", "image/*", "image/png"),
        (PNG, None, "image/png", "image/png"),
        (PNG, "image/png; charset=x", "image/png", "image/png"),
        (PNG, "image/jpeg", "image/jpeg", None),
        (PNG, "application/pdf", "application/pdf", None),
        (b"<html>", "image/png", "image/*", None),
        (b"<html>", "text/plain", "text/plain", None),
        (b"<html>", "text/csv", "text/csv", None),
        (b"<svg>", "text/plain", "text/plain", None),
        (b"<?xml ?><a>", "text/plain", "text/plain", None),
        (b"<?php", "text/plain", "text/plain", None),
        (b"{\\rtf1", "text/markdown", "text/markdown", None),
        (b"<html>", "text/html", "text/*", "text/html"),
        (b"<svg>", "image/png", "image/*", "image/svg+xml"),
        (b"\x01\x02", "image/png", "image/*", None),
        (b"\x01\x02", "image/png", "image/png", None),
        (b"hello", "image/png", "image/png", None),
        (b"hello", "image/svg+xml", "image/svg+xml", None),
        (b"hello", "text/html", "text/html", None),
        (b"\x01\x02", "audio/webm", "audio/webm", None),
        # Text is what the client says it is.
        (b"a,b", "text/csv", "text/csv", "text/csv"),
        (b"a,b", "text/csv; charset=utf-8", "text/csv", "text/csv; charset=utf-8"),
        (b"a,b", "TEXT/CSV", "text/*", "text/csv"),
        (b"{}", "application/json", "application/json", "application/json"),
        (b"{}", "application/json", "application/*", "application/json"),
        (b"{}", "application/geo+json", "application/geo+json", "application/geo+json"),
        (b"a: 1", "text/yaml", "application/yaml", "text/yaml"),
        (b"a: 1", "text/yaml", "text/*", "text/yaml"),
        (b"hello", "application/pdf", "text/plain", "text/plain"),
        (b"hello", "text/plain", "image/*,text/plain", "text/plain"),
        (b"hello", None, "text/csv", None),
        (b"\x00\x01", "text/csv", "text/csv", None),
        (b"\x00\x01", "text/plain", "text/plain", None),
        (b"<gpx version='1'>", "text/xml", "text/xml", "text/xml"),
        (b"<gpx version='1'>", "application/xml", "text/xml", "application/xml"),
        (b"<?xml ?><rss>", "application/rss+xml", "application/rss+xml",
         "application/rss+xml"),
        (b"<?xml ?><rss>", "application/xml", "application/*", "text/xml"),
        (b"<?xml ?><rss>", "image/svg+xml", "image/svg+xml", None),
        # A container is what the client says, within its family.
        (zipped(("a", b"")), DOCX, DOCX, DOCX),
        (zipped(("a", b"")), DOCX, "application/zip", "application/zip"),
        (zipped(("a", b"")), "application/x-zip-compressed", "application/zip",
         "application/zip"),
        (zipped(("a", b"")), "application/vnd.x+zip", "application/vnd.x+zip",
         "application/vnd.x+zip"),
        (zipped(("a", b"")), "image/png", "image/png", None),
        (office("xl"), DOCX, DOCX, None),
        (office("word"), None, DOCX, DOCX),
        (ole("x"), "application/msword", "application/msword", "application/msword"),
        (ebml(b"webm"), "audio/webm", "audio/*", "audio/webm"),
        (ebml(b"webm"), "audio/ogg", "audio/*", None),
        (brand(b"isom"), "audio/x-m4a", "audio/*", "audio/x-m4a"),
        (mp3(), "audio/mp3", "audio/mp3", "audio/mpeg"),
        # What nobody could tell from bytes needs its name on the list.
        (b"\x01\x02", "application/x-own", "application/x-own", "application/x-own"),
        (b"\x01\x02", "application/x-own", "application/*", "application/octet-stream"),
        (b"\x01\x02", "model/x-own", "model/*", None),
        (b"\x01\x02", "model/x-own", "*/*", "model/x-own"),
        (b"hello", "model/x-own", "model/x-own", "model/x-own"),
        (b"\x01\x02", None, "*/*", "application/octet-stream"),
        (b"\x01\x02", "nonsense", "*/*", "application/octet-stream"),
        (b"\x01\x02", "*/*", "*/*", "application/octet-stream"),
        (b"\x01\x02", "a/b\r\nx: y", "*/*", "application/octet-stream"),
        (b"\x01\x02", "a/" + "b" * 300, "*/*", "application/octet-stream"),
        (PNG, "image/png", "", None),
    ],
)  # fmt: skip
def test_accept(
    head: bytes, declared: str | None, accept: str, expected: str | None
) -> None:
    patterns = [pattern for pattern in accept.split(",") if pattern]
    sniffed = sniff(head, text=True)
    assert accepted_type(sniffed, declared, patterns) == expected


EXCEL = "application/vnd.ms-excel"


@pytest.mark.parametrize(
    ("head", "declared", "filename", "accept", "expected"),
    [
        # As Windows with Excel on it declares CSV.
        (b"a,b", EXCEL, "a.csv", "text/csv", "text/csv"),
        (b"a,b", EXCEL, "A.CSV", f"text/csv,{EXCEL}", "text/csv"),
        (b"a,b", EXCEL, "a.csv", f"text/csv,text/plain,{EXCEL}", "text/csv"),
        (b"a,b", EXCEL, "a.csv", "text/*", "text/csv"),
        (b"a,b", EXCEL, "a.csv", "application/csv", "text/csv"),
        (b"a,b", EXCEL, "a.csv", EXCEL, None),
        (b"a,b", EXCEL, "a.xls", f"text/csv,{EXCEL}", None),
        (b"a,b", EXCEL, None, f"text/csv,{EXCEL}", None),
        (ole("x"), EXCEL, "a.csv", f"text/csv,{EXCEL}", EXCEL),
        (ole("x"), EXCEL, "a.csv", "text/csv", None),
        (b"\x00\x01", EXCEL, "a.csv", f"text/csv,{EXCEL}", None),
        # As text that it is, too.
        (b"a,b", "text/plain", "a.csv", "text/csv", "text/csv"),
        (b"{}", "text/plain", "a.json", "application/json", "application/json"),
        (b"{}", "text/plain; charset=utf-8", "a.json", "application/json",
         "application/json"),
        (b"a,b", "text/plain", "a.csv", "text/plain,text/csv", "text/csv"),
        (b"a,b", "text/plain", "a.csv", "text/plain", "text/plain"),
        (b"a,b", "text/plain", "a.csv", "text/*", "text/plain"),
        (b"a,b", "text/plain", "a.csv", "*/*", "text/plain"),
        (b"a,b", "text/plain", "a.txt", "text/plain,text/csv", "text/plain"),
        (b"a,b", "text/plain", "a", "text/csv", None),
        (b"a,b", "text/plain", "a.csv", "application/json", None),
        # A more telling word of the client's is taken, if it is accepted.
        (b"a,b", "text/csv", "a.txt", "text/plain,text/csv", "text/csv"),
        (b"{}", "application/json", "a.csv", "application/json,text/csv",
         "application/json"),
        (b"a,b", "text/markdown", "a.csv", "text/csv", "text/csv"),
        (b"a,b", "text/x-comma-separated-values", "a", "text/csv",
         "text/x-comma-separated-values"),
        (b"{}", "text/json", "a", "application/json", "text/json"),
        # A name makes of text no type that its bytes would show.
        (b"hello", "text/plain", "a.html", "text/html", None),
        (b"hello", "text/plain", "a.svg", "image/*", None),
        (b"hello", "text/plain", "a.png", "image/png", None),
        (b"hello", "text/plain", "a.pdf", "application/pdf", None),
        # And what the bytes show, no name takes back.
        (b"<html>", "text/plain", "a.csv", "text/csv", None),
        (b"<?php", EXCEL, "a.csv", "text/csv", None),
        (PNG, EXCEL, "a.csv", "text/csv", None),
        (b"\xef\xbb\xbf%PDF-1.4", "text/plain", "a.csv", "text/csv", None),
        (b"\n%PDF-1.4", "application/pdf", "a.pdf", "application/pdf",
         "application/pdf"),
    ],
)  # fmt: skip
def test_text_is_what_its_declared_type_and_its_extension_say_together(
    head: bytes, declared: str, filename: str | None, accept: str, expected: str | None
) -> None:
    sniffed = sniff(head, text=True)
    assert accepted_type(sniffed, declared, accept.split(","), filename) == expected
    rule = FileRule(accept=accept)
    if expected is None:
        with pytest.raises(UnsupportedContent):
            rule.check_type("f", head, declared, filename)
    else:
        assert rule.check_type("f", head, declared, filename) == expected


def test_another_sniffer_speaks_of_text_in_its_own_way() -> None:
    assert accepted_type("text/x-c", "text/csv", {"text/csv"}) == "text/csv"
    assert accepted_type("application/json", "text/plain", {"text/plain"}) == (
        "text/plain"
    )
    assert accepted_type("image/x-own", "image/png", {"image/png"}) is None
    assert accepted_type("application/x-dosexec", None, {"image/*"}) is None


@pytest.mark.parametrize(
    "pattern", ["", "image", "image/", "*/png", "*", ".png", "a/b;q=1", "image/p*g"]
)
def test_a_pattern_that_is_none_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a media type"):
        accepted_type("image/png", None, {pattern})


def test_a_pattern_is_tidied() -> None:
    assert check_pattern(" Image/* ") == "image/*"
    assert accepted_type("image/png", None, {" Image/PNG"})


# -- resolve_type ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "declared", "filename", "expected"),
    [
        (PNG, "text/html", "a.html", "image/png"),
        (b"<html>", "image/png", "a.png", "text/html"),
        (b"<?xml ?><a>", "text/plain", None, "text/xml"),
        (b"hello", "text/csv", None, "text/csv"),
        (b"hello", "Text/CSV; Charset=utf-8", None, "text/csv; Charset=utf-8"),
        (b"hello", "image/png", None, "image/png"),
        (b"\x01\x02", "application/x-own", None, "application/x-own"),
        (b"hello", None, "a.csv", "text/csv; charset=utf-8"),
        (b"hello", None, "a.png", "application/octet-stream"),
        (b"hello", None, "a.html", "application/octet-stream"),
        (b"hello", None, None, "application/octet-stream"),
        (b"hello", "no type", "a.json", "application/json"),
        (b"", None, "", "application/octet-stream"),
        (b"\x00\x01", None, "a.csv", "application/octet-stream"),
        (b"\x00\x01", None, "a.json", "application/octet-stream"),
        (b"\x00\x01", None, "a.stl", "model/stl"),
        (zipped(("a", b"")), DOCX, None, DOCX),
        (zipped(("a", b"")), "text/html", None, "application/zip"),
        (zipped(("a", b"")), None, None, "application/zip"),
    ],
)
def test_resolve_type(
    head: bytes, declared: str | None, filename: str | None, expected: str
) -> None:
    assert resolve_type(head, declared, filename) == expected


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        (None, "report.csv", "text/csv; charset=utf-8"),
        ("text/plain", "report.csv", "text/plain"),
        ("application/octet-stream", "report.csv", "application/octet-stream"),
        ("no type", "report.csv", "text/csv; charset=utf-8"),
        (None, "report.png", "application/octet-stream"),
        (None, None, "application/octet-stream"),
    ],
)
def test_a_name_counts_where_nothing_is_declared(
    declared: str | None, name: str | None, expected: str
) -> None:
    assert named_type(b"a,b\n", declared, name) == expected


def test_resolve_type_asks_another_sniffer() -> None:
    def own(head: bytes) -> str | None:
        return "model/x-own" if head == b"own" else "text/plain"

    assert resolve_type(b"own", "image/png", sniffer=own) == "model/x-own"
    assert resolve_type(b"other", None, sniffer=own) == "text/plain"
    assert resolve_type(b"other", "text/csv", sniffer=own) == "text/csv"
    assert resolve_type(b"other", None, sniffer=lambda _: None) == (
        "application/octet-stream"
    )


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=50), st.none() | st.text(), st.none() | st.text())
def test_no_declaration_makes_it_raise(
    head: bytes, declared: str | None, filename: str | None
) -> None:
    """And what comes out can stand in a header field."""
    for found in (
        resolve_type(head, declared, filename),
        accepted_type(sniff(head), declared, {"*/*"}),
    ):
        assert found is not None
        assert found.isascii()
        assert found.isprintable()
        assert "/" in found


# -- libmagic --------------------------------------------------------------------------


def test_magic_sniffer_asks_libmagic() -> None:
    pytest.importorskip("magic", exc_type=ImportError)
    ask = magic_sniffer()
    assert ask(PNG) == "image/png"
    assert ask(b"%PDF-1.4\n") == "application/pdf"
    assert ask(b"") is None
    assert ask(b"\x01\x02\x03") is None


def test_magic_sniffer_knows_no_type_where_libmagic_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Magic:
        def __init__(self, *, mime: bool) -> None:
            assert mime

        def from_buffer(self, head: bytes) -> str:
            return head.decode()

    module = types.ModuleType("magic")
    monkeypatch.setattr(module, "Magic", Magic, raising=False)
    monkeypatch.setitem(sys.modules, "magic", module)
    ask = magic_sniffer()
    assert ask(b"image/png") == "image/png"
    assert ask(b"application/octet-stream") is None
    assert ask(b"application/x-empty") is None


def test_magic_sniffer_names_the_extra_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "magic", None)
    with pytest.raises(ImportError, match=r"aiostreams\[magic\]"):
        magic_sniffer()
