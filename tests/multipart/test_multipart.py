"""MultiPart and Files: made, written, read back, forwarded; and how forms are read."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gzip
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    JSON,
    NDJSON,
    ByteStream,
    File,
    Files,
    FileStream,
    Form,
    InvalidContent,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
    MiB,
    MultiPart,
    Stream,
    StreamClosed,
    Text,
    UnsupportedContent,
    iter_parts,
)
from aiostreams.multipart.received import ReceivedFile
from aiostreams.multipart.whole import WHOLE, parse_form_parts, read_form_parts
from aiostreams.sansio.multipart import PartCount
from aiostreams.testing import LAWS, DripStream
from aiostreams.testing.laws import SAMPLE, Make
from tests.content.ways import failing, ways
from tests.multiparts import form, plain

TYPE = "multipart/form-data; boundary=B"
# With a preamble no body is plain: the push parser reads it, piece by piece.
WAYS = {
    "whole": lambda body: ByteStream(body, content_type=TYPE),
    "preamble": lambda body: ByteStream(b"\r\n" + body, content_type=TYPE),
    "byte by byte": lambda body: DripStream(body, 1, turns=0, content_type=TYPE),
    "size unknown": lambda body: DripStream(body, 9999, turns=0, content_type=TYPE),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


async def read_files(value: MultiPart) -> list[tuple[str, bytes]]:
    got = []
    for name, file in value.files.items():
        async with file as stream:
            got.append((name, await stream.read()))
    return got


# -- made and written ------------------------------------------------------------------


async def test_fields_and_files_in_order() -> None:
    value = MultiPart(
        {"a": ["1", "2"], "b": "3"},
        {"f": [File(b"x", name="x.txt"), b"y"], "g": File(b"z", name="/a/z.json")},
        boundary="B",
    )
    assert value.form == Form([("a", "1"), ("a", "2"), ("b", "3")])
    assert [name for name, _ in value.files.items()] == ["f", "f", "g"]
    stream = value.encode()
    assert stream.content_type == value.content_type == TYPE
    body = await stream.read()
    assert len(body) == stream.size
    assert body == (
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n'
        b'--B\r\nContent-Disposition: form-data; name="b"\r\n\r\n3\r\n'
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\n'
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nx\r\n"
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\ny\r\n"
        b'--B\r\nContent-Disposition: form-data; name="g"; filename="z.json"\r\n'
        b"Content-Type: application/json\r\n\r\nz\r\n--B--\r\n"
    )


def test_header_and_body_have_the_same_boundary() -> None:
    for value in (MultiPart({"a": "1"}), Files({"a": File(b"x")})):
        stream = value.encode()
        assert stream.content_type == value.content_type
        assert stream.content_type == f"multipart/form-data; boundary={value.boundary}"
        assert value.encode().boundary == stream.boundary == value.boundary
        assert len(value.boundary) == 32
    assert MultiPart().boundary != MultiPart().boundary


def test_nothing_given() -> None:
    value = MultiPart()
    assert not value.form
    assert not value.files
    assert repr(value) == "<MultiPart 0 fields, 0 files>"
    assert repr(MultiPart({"a": "b"}, {"f": b""})) == "<MultiPart 1 field, 1 file>"


def test_equality_and_hash() -> None:
    file = File(b"x")
    one, two = (
        MultiPart({"a": "b"}, {"f": file}),
        MultiPart([("a", "b")], [("f", file)]),
    )
    assert one == two
    assert hash(one) == hash(two)
    assert one != MultiPart({"a": "c"}, {"f": file})
    assert one != MultiPart({"a": "b"})
    assert one != "one"


def test_forms_and_files_of_every_kind() -> None:
    files = Files({"f": File(b"x")})
    value = MultiPart(Form("a=1&a=2"), files)
    assert value.files is files
    assert value == MultiPart("a=1&a=2", files)


@pytest.mark.parametrize("form", [{"a": 1}, {"a": None}, {1: "a"}, {"a": b"x"}])
def test_fields_of_other_types(form: Any) -> None:
    with pytest.raises(TypeError):
        MultiPart(form)


@pytest.mark.parametrize("files", [{"a": 1}, {1: b"x"}, {"a": None}])
def test_files_of_other_types(files: Any) -> None:
    with pytest.raises(TypeError):
        MultiPart(files=files)


async def test_files_made_of_everything(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"in a file")
    value = MultiPart(
        files={
            "path": path,
            "str": str(path),
            "bytes": b"bytes",
            "view": memoryview(b"view"),
            "stream": ByteStream(b"stream", content_type="x/y"),
            "json": JSON({"a": 1}),
            "lines": NDJSON([1, 2]),
            "file": File(b"named", name="n"),
        }
    )
    stream = value.encode()
    got = {
        part.name: (part.filename, part.content_type, await part.read())
        async for part in iter_parts(stream)
    }
    text = "text/plain; charset=utf-8"
    octets = "application/octet-stream"
    assert got == {
        "path": ("a.txt", text, b"in a file"),
        "str": ("a.txt", text, b"in a file"),
        "bytes": ("bytes", octets, b"bytes"),
        "view": ("view", octets, b"view"),
        "stream": ("stream", "x/y", b"stream"),
        "json": ("json", "application/json", b'{"a":1}'),
        "lines": ("lines", "application/x-ndjson", b"1\n2\n"),
        "file": ("n", octets, b"named"),
    }
    with pytest.raises(RuntimeError, match="encoded before"):
        value.encode()
    await stream.close()


async def test_contents_as_fields_have_their_type() -> None:
    value = MultiPart({"meta": JSON({"a": "é"}), "note": Text("hi"), "plain": "x"})
    assert value.form == Form({"meta": '{"a":"é"}', "note": "hi", "plain": "x"})
    got = [
        (part.name, part.filename, part.content_type, await part.read())
        async for part in iter_parts(value.encode())
    ]
    assert got == [
        ("meta", None, "application/json", '{"a":"é"}'.encode()),
        ("note", None, "text/plain; charset=utf-8", b"hi"),
        ("plain", None, None, b"x"),
    ]


@pytest.mark.parametrize("content", [NDJSON([1]), File(b"\xff"), File("/x")])
def test_contents_that_are_no_text_are_no_fields(content: Any) -> None:
    with pytest.raises(TypeError, match="field 'a' takes text"):
        MultiPart({"a": content})


async def test_more_headers_of_a_file() -> None:
    headers = {"X-Id": "7", "content-type": "no/no", "Content-Length": "99"}
    file = File(b"x", name="a", content_type="my/own", headers=headers)
    [part] = [part async for part in iter_parts(MultiPart(files={"f": file}).encode())]
    assert dict(part.headers) == {
        "Content-Disposition": 'form-data; name="f"; filename="a"',
        "Content-Type": "my/own",
        "X-Id": "7",
    }
    bad = File(b"x", headers={"X": "a\r\nb: c"})
    with pytest.raises(ValueError, match="header"):
        MultiPart(files={"f": bad}).encode()
    with pytest.raises(ValueError, match="header"):
        Files({"f": File(b"x", content_type="a\r\nb: c")}).encode()


async def test_another_subtype() -> None:
    value = MultiPart({"a": "1"}, {"f": b"x"}, subtype="mixed", boundary="a b")
    assert value.content_type == 'multipart/mixed; boundary="a b"'
    got = [
        (part.headers["Content-Disposition"], await part.read())
        async for part in iter_parts(value.encode())
    ]
    assert got == [
        ('inline; name="a"', b"1"),
        ('attachment; name="f"; filename="f"', b"x"),
    ]
    again = await MultiPart.decode(value.encode())
    assert again.form == value.form
    assert await read_files(again) == [("f", b"x")]
    await again.close()


def test_bad_boundaries_and_subtypes_are_refused_at_once() -> None:
    for boundary in ("", "x" * 71, "a\r\n", "ä"):
        with pytest.raises(ValueError, match=r"boundary|characters"):
            MultiPart(boundary=boundary)
    with pytest.raises(ValueError, match="media type"):
        MultiPart(subtype="a/b")


@pytest.mark.parametrize(
    "name", ["a\\", "a\\\\b", "%22", "a%0Db", "\0", "\x7f", "\ud800", "\t"]
)
async def test_names_that_no_escape_makes_unambiguous(
    name: str, tmp_path: Path
) -> None:
    stream = DripStream(b"x")
    named = File(stream, name=name)
    values: list[MultiPart | Files] = [
        MultiPart({name: "x"}),
        MultiPart(files={name: b"x"}),
        Files({name: File(b"x")}),
    ]
    # A separator in a name of a file divides it: nothing ambiguous is left.
    if "\\" not in name:
        values.append(MultiPart({"a": "b"}, {"f": named}))
        values.append(Files({"f": named}))
    for value in values:
        with pytest.raises(ValueError, match="name"):
            value.encode()
    # The error came before the stream was taken.
    assert await named.encode().read() == b"x"


def test_a_field_with_a_lone_surrogate() -> None:
    value = MultiPart({"a": "\ud800"})
    assert value.content_type
    with pytest.raises(ValueError, match="surrogate"):
        value.encode()


async def test_size_with_files_is_exact_when_open(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    async with MultiPart({"a": "b"}, {"f": path}) as stream:
        await stream.open()
        assert stream.size == len(await stream.read())


# -- read ------------------------------------------------------------------------------


@each_way
async def test_what_was_written_is_read(way: Any) -> None:
    value = MultiPart(
        [("ü", "ß"), ("a", 'x"\r\ny'), ("ü", "")],
        [("f", File(b"\0\1", name='a"b;c.bin')), ("f", File(b"", name="leer"))],
        boundary="B",
    )
    again = await MultiPart.decode(way(await value.encode().read()))
    assert again.form == value.form
    assert await read_files(again) == [("f", b"\0\1"), ("f", b"")]
    file = again.files["f"]
    assert isinstance(file, ReceivedFile)
    assert (file.filename, file.name, file.size) == ('a"b;c.bin', 'a"b;c.bin', 2)
    assert file.content_type == "application/octet-stream"
    await again.close()
    await again.close()


@each_way
async def test_a_received_file(way: Any) -> None:
    body = form(
        (plain("f", "C:\\x\\me.TXT"), b"x"),
        (plain("f", "..") + b"\r\nContent-Type: a/b; c=d", b"x"),
        (plain("f", ""), b"not empty"),
        (plain("f", "x/"), b""),
    )
    value = await MultiPart.decode(way(body))
    one, two, three, four = value.files.getall("f")
    assert isinstance(one, ReceivedFile)
    assert one.filename == "C:\\x\\me.TXT"
    assert one.name == "me.TXT"
    assert one.safe_filename == "me.TXT"
    assert one.path is None
    assert one.content_type == "text/plain; charset=utf-8"
    assert (one.sent_type, one.data) == (None, None)  # its bytes are in the spool
    assert dict(one.headers) == {
        "Content-Disposition": 'form-data; name="f"; filename="C:\\x\\me.TXT"'
    }
    assert repr(one) == "<ReceivedFile 'C:\\\\x\\\\me.TXT' 1 bytes>"
    assert isinstance(two, ReceivedFile)
    assert (two.name, two.safe_filename) == ("..", "file")
    assert two.headers["content-type"] == two.content_type == "a/b; c=d"
    assert two.sent_type == "a/b; c=d"
    assert (three.name, four.name) == (None, None)
    assert await read_files(value) == [
        ("f", b"x"), ("f", b"x"), ("f", b"not empty"), ("f", b""),
    ]  # fmt: skip
    await value.close()


@each_way
async def test_a_file_input_left_empty_is_no_file(way: Any) -> None:
    """As browsers send it: a name, no filename, no content."""
    octets = b"\r\nContent-Type: application/octet-stream"
    body = form((plain("a"), b"1"), (plain("f", "") + octets, b""), (plain("b"), b"2"))
    value = await MultiPart.decode(way(body))
    assert value.form == Form({"a": "1", "b": "2"})
    assert not value.files
    await value.close()


@each_way
async def test_order_survives_to_be_sent_on(way: Any) -> None:
    """Parse and forward: the same parts in the same order, of exact size."""
    body = form(
        (plain("f", "one") + b"\r\nContent-Type: a/b", b"1"),
        (plain("a"), b"x"),
        (plain("f", "two") + b"\r\nContent-Type: a/b", b"2"),
        (plain("b") + b"\r\nContent-Type: text/plain; charset=latin-1", b"\xfc"),
        (plain("c") + b"\r\nContent-Type: application/json", b"{}"),
        (plain("f", "three") + b"\r\nContent-Type: a/b", b"3"),
        (plain("f", "four") + b"\r\nContent-Type: a/b", b"4"),
    )
    value = await MultiPart.decode(way(body))
    for _ in range(2):  # received files can be sent any number of times
        stream = value.encode()
        data = await stream.read()
        assert len(data) == stream.size
        assert stream.boundary != "B"
        got = [
            (part.name, part.filename, part.content_type, await part.read())
            async for part in iter_parts(
                ByteStream(data, content_type=value.content_type)
            )
        ]
        assert got == [
            ("f", "one", "a/b", b"1"),
            ("a", None, None, b"x"),
            ("f", "two", "a/b", b"2"),
            ("b", None, "text/plain; charset=utf-8", "ü".encode()),
            ("c", None, "application/json", b"{}"),
            ("f", "three", "a/b", b"3"),
            ("f", "four", "a/b", b"4"),
        ]
        await stream.close()
    await value.close()


async def test_headers_of_a_received_file_go_on_but_not_what_was_undone() -> None:
    head = b"\r\nX-Id: 7\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64"
    body = form((plain("f", "n") + head, base64.b64encode(b"content")))
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE), decode=True)
    [part] = [
        (dict(part.headers), await part.read())
        async for part in iter_parts(value.encode())
    ]
    assert part[0] == {
        "Content-Disposition": 'form-data; name="f"; filename="n"',
        "Content-Type": "a/b",
        "X-Id": "7",
    }
    assert part[1] == b"content"
    await value.close()


async def test_codings_in_forms_are_undone() -> None:
    coded = b"\r\nContent-Transfer-Encoding: base64"
    zipped = b"\r\nContent-Encoding: gzip"
    body = form(
        (plain("a") + coded, base64.b64encode("ü".encode())),
        (plain("f", "x") + zipped, gzip.compress(b"file" * 1000)),
        (plain("b"), b"after"),
    )
    value = await MultiPart.decode(DripStream(body, 50, content_type=TYPE), decode=True)
    assert value.form == Form({"a": "ü", "b": "after"})
    assert await read_files(value) == [("f", b"file" * 1000)]
    await value.close()
    with pytest.raises(LimitExceeded):
        await MultiPart.decode(
            ByteStream(body, content_type=TYPE),
            limits=Limits(max_file=3999),
            decode=True,
        )
    # In a form they are only undone where that is asked for.
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    assert value.form == Form({"a": "w7w=", "b": "after"})
    await value.close()


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json"])
async def test_what_is_no_multipart(kind: str | None) -> None:
    for cls in (MultiPart, Files):
        with pytest.raises(UnsupportedContent) as caught:
            await cls.decode(ByteStream(b"", content_type=kind))
        assert caught.value.accept == "multipart/form-data"


async def test_bad_boundaries() -> None:
    for parameter in ("", "; boundary=", "; boundary=a; boundary=a"):
        kind = f"multipart/form-data{parameter}"
        for stream in (
            ByteStream(b"", content_type=kind),
            IterStream([], content_type=kind),
        ):
            with pytest.raises(MalformedBody):
                await MultiPart.decode(stream)


async def test_a_broken_connection_passes() -> None:
    body = form((plain("f", "x"), b"x" * 100))[:-20]
    with pytest.raises(ConnectionResetError):
        await MultiPart.decode(failing(body, TYPE))


@each_way
async def test_truncated_forms_are_no_forms(way: Any) -> None:
    body = form((plain("a"), b"x"), (plain("f", "x"), b"y"))
    for end in range(0, len(body) - 4, 3):
        with pytest.raises(MalformedBody):
            await MultiPart.decode(way(body[:end]))


async def test_every_way_gives_the_same() -> None:
    body = form((plain("a"), b"x"), (plain("f", "y"), b"z"))
    for stream in ways(body, TYPE):
        value = await MultiPart.decode(stream)
        assert value.form == Form({"a": "x"})
        assert await read_files(value) == [("f", b"z")]
        await value.close()


# -- text ------------------------------------------------------------------------------


def typed(name: str, charset: bytes) -> bytes:
    return plain(name) + b"\r\nContent-Type: text/plain; charset=" + charset


@each_way
async def test_fields_by_their_charset(way: Any) -> None:
    body = form(
        (typed("a", b"latin-1"), b"\xfc"),
        (typed("b", b"utf-8"), "ü".encode()),
        (plain("c") + b"\r\nContent-Type: text/plain", "ü".encode()),
        (typed("d", b"us-ascii"), "ü".encode()),
    )
    value = await MultiPart.decode(way(body))
    assert set(value.form.values()) == {"ü"}
    for charset, data, error in (
        (b"klingon", b"", UnsupportedContent),
        (b"zlib", b"x", UnsupportedContent),
        (b"utf-8", b"\xff", MalformedBody),
        (b"utf-16", b"\xff", MalformedBody),
    ):
        with pytest.raises(error):
            await MultiPart.decode(way(form((typed("a", charset), data))))
    with pytest.raises(MalformedBody, match="field 2 of the form is not utf-8"):
        await MultiPart.decode(way(form((plain("a"), b""), (plain("a"), b"\xfc"))))


@each_way
async def test_a_charset_field_is_the_default_of_all(way: Any) -> None:
    latin = "ü".encode("latin-1")
    body = form(
        (plain("a"), latin),
        (b'Content-Disposition: form-data; name="\xfc"', latin),
        (b'Content-Disposition: form-data; name="\xfc"; filename="x"', latin),
        (typed("b", b"utf-8"), "ü".encode()),
        (plain("c") + b"\r\nContent-Type: text/plain", latin),
        (plain("_charset_"), b"iso-8859-1"),
    )
    value = await MultiPart.decode(way(body))
    assert list(value.form.items()) == [
        ("a", "ü"), ("ü", "ü"), ("b", "ü"), ("c", "ü"), ("_charset_", "iso-8859-1"),
    ]  # fmt: skip
    assert await read_files(value) == [("ü", latin)]
    await value.close()


@each_way
@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        (b"Shift_JIS", b"\x81\x60\x87\x40\xfb\xfc", "\uff5e\u2460\u9ad9"),
        (b"EUC-KR", b"\xb0\xa1\x81\x41", "\uac00\uac02"),
        (b"GBK", b"\x81\x40\xb0\xa1\x84\x31\xa4\x37", "\u4e02\u554a\ufffd"),
        (b"Big5", b"\xa1\x45\xf9\xd6", "\u2027\u7881"),
        (b"windows-874", b"\xa1\x80", "\u0e01\u20ac"),
        (b"x-mac-cyrillic", b"\x80", "\u0410"),
        (b"ISO-8859-8-I", b"\xe0", "\u05d0"),
    ],
)
async def test_a_charset_field_means_what_browsers_mean(
    way: Any, charset: bytes, data: bytes, text: str
) -> None:
    """Names and added characters of the WHATWG's Encoding standard."""
    body = form((plain("_charset_"), charset), (plain("a"), data))
    assert (await MultiPart.decode(way(body))).form["a"] == text


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("windows-1252", "UTF-8"),
        ("us-ascii", "UTF-8"),
        ("utf-8", "utf-8"),
        ("UTF8", "UTF8"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
async def test_a_charset_field_is_sent_as_what_the_form_is_in(
    value: str, sent: str
) -> None:
    """Text that was received in another charset is UTF-8 when it is sent on."""
    form_data = MultiPart([("a", "ü€"), ("_charset_", value), ("ü", "b")])
    again = await MultiPart.decode(form_data.encode())
    assert list(again.form.items()) == [("a", "ü€"), ("_charset_", sent), ("ü", "b")]
    mixed = MultiPart({"_charset_": value}, subtype="mixed")
    assert b"\r\n\r\n" + value.encode() + b"\r\n" in await mixed.encode().read()


@each_way
async def test_a_name_that_is_not_in_the_charset_stays(way: Any) -> None:
    body = form(
        (b'Content-Disposition: form-data; name="\xff"', b"x"),
        (plain("_charset_"), b"utf-8"),
        (plain("a"), b"_charset_"),
        (plain("_charset_", "file"), b"latin-1"),
    )
    value = await MultiPart.decode(way(body))
    assert value.form["\ufffd"] == "x"
    await value.close()


@each_way
@pytest.mark.parametrize("codec", ["latin-1", "gbk", "shift_jis"])
async def test_names_that_are_not_utf8(codec: str, way: Any) -> None:
    """Replaced, or in the charset that the last field names; and as they were sent."""
    text = {"latin-1": "Grüße", "gbk": "文件", "shift_jis": "表示"}[codec]
    raw = text.encode(codec)
    head = b'Content-Disposition: form-data; name="%b"' % raw
    parts = (head, raw), (head + b'; filename="%b.txt"' % raw, raw)
    charset = (plain("_charset_"), codec.encode())
    with pytest.raises(MalformedBody, match="field 1 of the form is not utf-8"):
        await MultiPart.decode(way(form(*parts)))
    for body, name in (
        (form(parts[1]), raw.decode("utf-8", "replace")),
        (form(*parts, charset), text),
    ):
        value = await MultiPart.decode(way(body))
        file = value.files[name]
        assert isinstance(file, ReceivedFile)
        assert file.filename == f"{name}.txt"
        assert (file.raw_name, file.raw_filename) == (raw, raw + b".txt")
        assert dict(value.form) in ({}, {text: text, "_charset_": codec})
        # What was handed out can be written again.
        JSON({"names": [name, file.filename, *file.headers.values()]}).encode()
        again = await MultiPart.decode(value.encode())
        assert again.files[name].name == file.name
        await value.close()


@each_way
async def test_filename_star_makes_a_file(way: Any) -> None:
    head = b"Content-Disposition: form-data; name=a; filename*="
    body = form(
        (head + b"utf-8''na%C3%AFve.txt", b"1"), (head + b"%%", b"2"), (head, b"")
    )
    value = await MultiPart.decode(way(body))
    assert [getattr(file, "filename", None) for file in value.files.values()] == [
        "naïve.txt",
        "",
    ]
    assert not value.form
    await value.close()


@each_way
async def test_a_charset_field_without_a_charset_says_nothing(way: Any) -> None:
    body = form((plain("_charset_"), b"nonsense"), (plain("a"), "ü".encode()))
    assert (await MultiPart.decode(way(body))).form["a"] == "ü"


async def test_other_types_know_no_charset_field() -> None:
    body = form((plain("_charset_"), b"latin-1"), (plain("a"), "ü".encode()))
    value = await MultiPart.decode(
        ByteStream(body, content_type="multipart/mixed; boundary=B")
    )
    assert value.form["a"] == "ü"


async def test_where_parts_need_no_name_one_without_is_a_file() -> None:
    body = form((b"A: b", b"\xff"), (b'Content-Disposition: inline; name="a"', b"x"))
    value = await MultiPart.decode(
        ByteStream(body, content_type="multipart/related; boundary=B")
    )
    assert value.form == Form({"a": "x"})
    assert await read_files(value) == [("", b"\xff")]
    await value.close()


# -- JSON ------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int


@each_way
async def test_json_in_fields_and_files(way: Any) -> None:
    kind = b"\r\nContent-Type: application/json"
    body = form(
        (plain("a") + kind, b'{"x":1}'),
        (plain("b", "blob") + kind, b'{"x":2}'),
        (plain("c"), b"{"),
        (plain("d", "blob"), b"{"),
    )
    value = await MultiPart.decode(way(body))
    assert await value.json("a") == {"x": 1}
    assert await value.json("a", type=Point) == Point(1)
    assert await value.json("b", type=Point) == Point(2)
    assert await value.json("b", loads=len) == 7
    assert await value.json("a", loads=len) == 7
    for name in "ab":
        with pytest.raises(InvalidContent):
            await value.json(name, type=int)
    for name in "cd":
        with pytest.raises(MalformedBody):
            await value.json(name)
    with pytest.raises(KeyError):
        await value.json("none")
    await value.close()


async def test_what_helpers_of_a_request_are_made_of() -> None:
    assert MultiPart.of_form(Form("a=1")) == MultiPart({"a": "1"})
    body = form((plain("a"), b"1"))
    parts = parse_form_parts(body, TYPE, Limits())
    assert parts is not None
    assert parts.count == 1
    value = MultiPart.of_parts(parts)
    assert value == MultiPart({"a": "1"})
    assert not value.spooled
    assert parse_form_parts(b"\r\n" + body, TYPE, Limits()) is None
    quoted = TYPE.replace("=B", '="B"; charset=utf-8')
    again = parse_form_parts(body, quoted, Limits())
    assert again is not None
    assert (again.fields, again.files, again.count) == (parts.fields, [], 1)
    with pytest.raises(MalformedBody):
        parse_form_parts(body, "multipart/form-data", Limits())


async def test_the_parts_of_a_form_are_counted() -> None:
    """In one piece, and as they arrive."""
    body = form((plain("a"), b"1"), (plain("b"), b"2"))
    count = PartCount(4)
    await read_form_parts(ByteStream(body, content_type=TYPE), count=count)
    assert count.parts == 2
    await read_form_parts(DripStream(body, 7, content_type=TYPE), count=count)
    assert count.parts == 4
    for stream in (
        ByteStream(body, content_type=TYPE),
        DripStream(body, 7, content_type=TYPE),
    ):
        with pytest.raises(LimitExceeded, match="parts, limit 4"):
            await read_form_parts(stream, count=count)


# -- limits and memory -----------------------------------------------------------------


@each_way
@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        (Limits(max_parts=2), [("a", None, 1)] * 2, [("a", None, 1)] * 3),
        (Limits(max_field=9), [("a", None, 9)], [("a", None, 10)]),
        (Limits(max_file=9), [("a", "x", 9)], [("a", "x", 10)]),
        (Limits(max_memory=9), [("a", None, 4), ("a", None, 5)], [("a", None, 5)] * 2),
    ],
    ids=["parts", "field", "file", "memory"],
)
async def test_limits_at_n_and_one_more(
    way: Any, limits: Limits, good: list[Any], bad: list[Any]
) -> None:
    def body(parts: list[Any]) -> bytes:
        return form(*[(plain(name, file), bytes(n)) for name, file, n in parts])

    value = await MultiPart.decode(way(body(good)), limits=limits)
    assert len(value.form) + len(value.files) == len(good)
    await value.close()
    with pytest.raises(LimitExceeded):
        await MultiPart.decode(way(body(bad)), limits=limits)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_files_share_one_descriptor_and_one_memory() -> None:
    """A thousand files are not a thousand descriptors, nor a thousand times max_memory."""
    body = form(*[(plain("f", "x"), b"%d" % n + bytes(2000)) for n in range(500)])
    before = descriptors()
    value = await MultiPart.decode(
        DripStream(body, 64 * KiB, content_type=TYPE), limits=Limits(max_memory=10_000)
    )
    for n, file in enumerate(value.files.values()):
        async with file as stream:
            assert stream.size == 2000 + len(str(n))
            assert await stream.read() == b"%d" % n + bytes(2000)
            assert descriptors() == before + 1
    await value.close()
    assert descriptors() == before


async def test_small_files_stay_in_memory() -> None:
    body = b"\r\n" + form(*[(plain("f", "x"), bytes(1000))] * 20)
    before = descriptors()
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    assert descriptors() == before
    assert sum([len(data) for _, data in await read_files(value)]) == 20_000
    await value.close()


@pytest.mark.parametrize("size", [WHOLE - 200, WHOLE, WHOLE + 1, 3 * MiB])
async def test_forms_around_the_size_that_is_read_whole(size: int) -> None:
    data = os.urandom(size)
    body = form((plain("f", "x"), data), (plain("a"), b"b"))
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    assert await read_files(value) == [("f", data)]
    assert value.form["a"] == "b"
    await value.close()


@pytest.mark.parametrize("after", [0, 1, 5000, 300_000])
async def test_a_failed_form_leaves_nothing(after: int) -> None:
    body = form((plain("f", "x"), bytes(400_000)), (plain("a"), b"b"))
    before = descriptors()

    def pieces() -> Iterator[bytes]:
        yield body[:after]
        yield b"\r\n--B oh no\r\n"

    with pytest.raises(MalformedBody):
        await MultiPart.decode(
            IterStream(pieces(), content_type=TYPE), limits=Limits(max_memory=1000)
        )
    assert descriptors() == before


async def test_a_cancelled_form_leaves_nothing() -> None:
    body = form((plain("f", "x"), bytes(400_000)), (plain("a"), b"b"))
    before = descriptors()
    for turns in (1, 5, 20, 60):
        stream = DripStream(body, 10_000, turns=2, content_type=TYPE)
        task = asyncio.create_task(
            MultiPart.decode(stream, limits=Limits(max_memory=1))
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert descriptors() == before


async def test_files_of_a_closed_form() -> None:
    body = b"\r\n" + form((plain("f", "x"), b"content"))
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    stream = value.files["f"].encode()
    opened = value.files["f"].encode()
    await opened.open()
    await value.close()
    with pytest.raises(StreamClosed):
        await stream.read()
    assert await opened.read() == b"content"


async def test_a_received_file_is_saved(tmp_path: Path) -> None:
    body = b"\r\n" + form((plain("f", "x"), b"content"))
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    assert await value.files["f"].save(tmp_path / "x") == 7
    assert (tmp_path / "x").read_bytes() == b"content"
    await value.close()


async def region(data: bytes, max_memory: int) -> Stream:
    body = form(
        (plain("f", "x"), b"before"),
        (plain("f", "x"), data),
        (plain("f", "x"), b"after"),
    )
    stream = DripStream(body, 1000, turns=0, content_type=TYPE)
    value = await MultiPart.decode(stream, limits=Limits(max_memory=max_memory))
    opened = value.files.getall("f")[1].encode()
    await opened.open()
    await value.close()  # what was opened before lives on
    return opened


REGIONS: dict[str, Make] = {
    "in memory": lambda: region(SAMPLE, 1 * MiB),
    "on disk": lambda: region(SAMPLE * 100, 1),
}


@pytest.mark.parametrize("make", REGIONS.values(), ids=REGIONS.keys())
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law_of_received_files(law: Any, make: Make) -> None:
    await law(make)


async def test_slices_of_a_received_file() -> None:
    body = b"\r\n" + form(
        (plain("f", "x"), b"before"), (plain("f", "x"), b"0123456789")
    )
    value = await MultiPart.decode(ByteStream(body, content_type=TYPE))
    stream = value.files.getall("f")[1].encode()
    assert stream.seekable
    for offset, length, expected in (
        (0, None, b"0123456789"), (2, 3, b"234"), (8, 9, b"89"), (99, 1, b""), (5, 0, b""),
    ):  # fmt: skip
        part = await stream.slice(offset, length)
        assert await part.read() == expected
        await part.close()
    for bad in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            await stream.slice(*bad)
    await stream.close()
    with pytest.raises(StreamClosed):
        await stream.slice(0)
    with pytest.raises(StreamClosed):
        await stream.open()
    await value.close()


async def test_a_region_closed_while_it_opens() -> None:
    value_limits = Limits(max_memory=1)
    body = form((plain("f", "x"), bytes(3000)))
    before = descriptors()
    value = await MultiPart.decode(
        DripStream(body, 999, content_type=TYPE), limits=value_limits
    )
    stream = value.files["f"].encode()
    both = [asyncio.create_task(stream.open()) for _ in range(2)]
    assert await asyncio.gather(*both) == [stream, stream]
    assert await stream.open() is stream
    await stream.close()
    other = value.files["f"].encode()
    opening = asyncio.create_task(other.open())
    await asyncio.sleep(0)
    await other.close()
    await asyncio.gather(opening, return_exceptions=True)
    with pytest.raises(StreamClosed):
        await other.read()
    await value.close()
    assert descriptors() == before


# -- Files by themselves ---------------------------------------------------------------


async def test_files_decode_and_encode() -> None:
    body = b"\r\n" + form((plain("a"), b"field"), (plain("f", "x"), b"file"))
    files = await Files.decode(ByteStream(body, content_type=TYPE))
    assert files.spooled
    data = await files.encode().read()
    again = await Files.decode(ByteStream(data, content_type=files.content_type))
    assert not again.spooled
    assert [file.name for file in again.values()] == ["x"]
    await again.close()
    await files.close()
    assert repr(files) == "<Files 1 file>"
    async with Files({"f": File(b"x")}) as stream:
        assert stream.size == len(await stream.read())


async def test_a_file_from_disk_is_sent_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2 * MiB))
    value = MultiPart(files={"f": path})

    async def body() -> AsyncIterator[bytes]:
        async with value as stream:
            async for piece in stream.iter_any():
                yield piece

    again = await MultiPart.decode(IterStream(body(), content_type=value.content_type))
    async with again.files["f"] as got, FileStream(path) as sent:
        assert await got.read() == await sent.read()
    await again.close()


# -- round trips -----------------------------------------------------------------------

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)
namings = st.text(
    st.characters(blacklist_categories=["Cs"], min_codepoint=32), max_size=20
)


@given(
    fields=st.lists(st.tuples(namings, texts), max_size=5),
    files=st.lists(st.tuples(namings, namings, st.binary(max_size=100)), max_size=5),
    pieces=st.integers(1, 60),
)
async def test_any_form_reads_back_or_is_refused(
    fields: list[tuple[str, str]], files: list[tuple[str, str, bytes]], pieces: int
) -> None:
    value = MultiPart(
        fields, [(name, File(data, name=file)) for name, file, data in files]
    )
    try:
        stream = value.encode()
    except ValueError:
        return
    data = await stream.read()
    assert len(data) == stream.size
    for source in (ByteStream(data), DripStream(data, pieces, turns=0)):
        kinds = IterStream(source.iter_any(), content_type=value.content_type)
        again = await MultiPart.decode(kinds)
        for (name, text), expected in zip(
            again.form.items(), value.form.items(), strict=True
        ):
            # A field of that name is told the charset that the others are sent in.
            assert (name, text) == expected or (name, text) == ("_charset_", "UTF-8")
        assert await read_files(again) == [
            (name, content) for name, _, content in files
        ]
        assert [getattr(file, "filename", "") for file in again.files.values()] == [
            file.name or name or "file"
            for (name, _, _), file in zip(files, value.files.values(), strict=True)
        ]
        await again.close()
