from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from aiostreams import (
    JSON,
    ByteStream,
    File,
    Files,
    FileStream,
    IterStream,
    LimitExceeded,
    Limits,
    MultiPart,
    SizeMismatch,
    Stream,
    StreamClosed,
)
from aiostreams.testing import LAWS
from aiostreams.testing.laws import Make
from tests.content.ways import failing


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload.json"
    path.write_bytes(b'{"a":1}')
    return path


async def test_async_with_reads_the_file(upload: Path) -> None:
    async with File(str(upload)) as stream:
        assert stream.size == 7
        assert stream.content_type == "application/json"
        assert await stream.read() == b'{"a":1}'
    assert stream.closed


async def test_async_with_of_a_missing_file_fails_at_once(tmp_path: Path) -> None:
    file = File(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        async with file:
            raise AssertionError


async def test_encode_opens_nothing_and_blocks_nothing(tmp_path: Path) -> None:
    stream = File(tmp_path / "none").encode()
    assert isinstance(stream, FileStream)
    assert stream.size is None
    await stream.close()


async def test_a_path_can_be_encoded_again(upload: Path) -> None:
    file = File(upload)
    for _ in range(2):
        async with file as stream:
            assert await stream.read() == b'{"a":1}'


async def test_size_is_fixed_when_opened_though_the_file_grows(upload: Path) -> None:
    """A Content-Length that was sent is what the body keeps to."""
    async with File(upload) as stream:
        with upload.open("ab") as more:
            more.write(b"more")
        assert stream.size == 7
        assert await stream.read() == b'{"a":1}'
    async with File(upload) as stream:
        os.truncate(upload, 3)
        with pytest.raises(SizeMismatch):
            await stream.read()


@pytest.mark.parametrize(
    ("path", "name", "content_type"),
    [
        ("/etc/secret/report.pdf", "report.pdf", "application/pdf"),
        ("PHOTO.JPG", "PHOTO.JPG", "image/jpeg"),
        ("C:\\Users\\me\\a.txt", "a.txt", "text/plain; charset=utf-8"),
        ("../x/a.html", "a.html", "text/html; charset=utf-8"),
        ("data", "data", "application/octet-stream"),
        ("folder/", None, "application/octet-stream"),
    ],
)
def test_name_is_the_last_component_and_tells_the_type(
    path: str, name: str | None, content_type: str
) -> None:
    for file in (File(path), File(b"", name=path), File(ByteStream(), name=path)):
        assert (file.name, file.content_type) == (name, content_type)
        assert "secret" not in repr(file)
    assert File(PurePosixPath("/a/b.css")).name == "b.css"


def test_name_and_type_can_be_given() -> None:
    file = File("/tmp/x1", name="a.png")
    assert (file.name, file.content_type, file.path) == (
        "a.png",
        "image/png",
        "/tmp/x1",
    )
    file = File("a.png", content_type="image/x-mine")
    assert (file.name, file.content_type) == ("a.png", "image/x-mine")


async def test_bytes_are_content_and_can_be_encoded_again() -> None:
    file = File(bytearray(b"abc"), name="a.txt")
    assert file.path is None
    for _ in range(2):
        stream = file.encode()
        assert stream.size == 3
        assert stream.content_type == "text/plain; charset=utf-8"
        assert await stream.read() == b"abc"


async def test_a_stream_is_passed_on_as_it_is_once() -> None:
    source = ByteStream(b"abc", content_type="image/png")
    file = File(source, name="a.txt")
    assert file.content_type == "image/png"
    assert file.encode() is source
    with pytest.raises(RuntimeError, match="before"):
        file.encode()


async def test_a_stream_gets_the_type_that_the_file_has() -> None:
    source = ByteStream(b"abcdef")
    stream = File(source, content_type="image/png").encode()
    assert (stream.content_type, stream.size, stream.seekable) == ("image/png", 6, True)
    part = await stream.slice(1, 2)
    assert (part.content_type, part.size) == ("image/png", 2)
    assert await part.read() == b"bc"
    assert await stream.read() == b"abcdef"
    await stream.close()
    assert source.closed
    unseekable = File(IterStream([]), content_type="image/png").encode()
    assert not unseekable.seekable


@pytest.mark.parametrize("law", LAWS)
async def test_a_stream_under_another_type_keeps_the_laws(law: object) -> None:
    def make(source: Stream) -> Stream:
        return File(source, content_type="image/png").encode()

    checked: Make = make
    await law(checked)  # type: ignore[operator]


async def test_save_writes_the_file(tmp_path: Path, upload: Path) -> None:
    target = tmp_path / "copy"
    assert await File(upload).save(target) == 7
    assert await File(b"x" * 1_000_000).save(str(target), fsync=True) == 1_000_000
    assert target.read_bytes() == b"x" * 1_000_000


async def test_save_of_a_source_that_breaks_leaves_what_was_there(
    tmp_path: Path,
) -> None:
    """Nothing half-written, nothing left open."""
    target = tmp_path / "copy"
    target.write_bytes(b"old")
    source = failing(b"new")
    with pytest.raises(ConnectionResetError):
        await File(source).save(target)
    assert os.listdir(tmp_path) == ["copy"]
    assert target.read_bytes() == b"old"
    assert source.closed


async def test_async_with_left_by_an_exception_closes_the_source() -> None:
    source = ByteStream(b"abc")
    with pytest.raises(KeyError):
        async with File(source, content_type="a/b"):
            raise KeyError
    assert source.closed
    with pytest.raises(StreamClosed):
        await source.read()


async def test_decode_is_a_file_over_the_stream() -> None:
    source = ByteStream(b"abc", content_type="image/png")
    file = await File.decode(source, name="../a.gif")
    assert (file.name, file.content_type) == ("a.gif", "image/png")
    assert file.encode() is source
    unnamed = await File.decode(IterStream([b"abc"], content_type="image/png"))
    assert unnamed.name is None
    async with unnamed as stream:
        assert stream.content_type == "image/png"
        assert await stream.read() == b"abc"


async def test_decode_takes_max_file_and_refuses_one_byte_more() -> None:
    limits = Limits(max_file=10)
    for data in (b"x" * 10, b""):
        for source in (ByteStream(data), IterStream([data])):
            async with await File.decode(source, limits=limits) as stream:
                assert await stream.read() == data
    with pytest.raises(LimitExceeded, match=r"\b11 bytes.*\b10\b") as info:
        await File.decode(ByteStream(b"x" * 11), limits=limits)
    assert (info.value.limit, info.value.seen) == (10, 11)
    file = await File.decode(IterStream([b"x"] * 11), limits=limits)
    async with file as stream:
        with pytest.raises(LimitExceeded):
            await stream.read()


def test_repr_has_name_and_type() -> None:
    assert repr(File("/a/b.pdf")) == "<File 'b.pdf' application/pdf>"
    assert repr(File(b"secret")) == "<File application/octet-stream>"


def test_anything_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="not int"):
        File(3)  # type: ignore[arg-type]


def test_files_keep_several_files_of_a_field_and_give_defaults() -> None:
    one, two, three = File(b"1"), File(b"2"), File(b"3")
    files = Files([("a", one), ("b", two), ("a", three)])
    assert list(files.items()) == [("a", one), ("b", two), ("a", three)]
    assert files.getall("a") == [one, three]
    assert files.get("c") is None
    assert files.get("c", one) is one
    assert files.get("c", "none") == "none"
    assert Files({"a": [one, three], "b": two}).getall("a") == [one, three]
    assert hash(files) == hash(Files(list(files.items())))
    assert repr(files) == "<Files 3 files>"
    assert repr(Files({"a": one})) == "<Files 1 file>"


def test_files_take_nothing_but_files() -> None:
    with pytest.raises(TypeError, match="field 'a' takes a File, not str"):
        Files({"a": "/etc/passwd"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="field 'a' takes a File, not int"):
        Files({"a": [b"1", 2]})  # type: ignore[list-item]


async def test_files_take_what_has_the_bytes_already() -> None:
    files = Files(
        {
            "a": b"1",
            "b": [bytearray(b"2"), memoryview(b"3")],
            "c": IterStream([b"4"], content_type="text/x"),
            "d": JSON([5]),
            "e": File(b"6", name="six.txt"),
            "f": File(b"7"),
        }
    )
    assert all(isinstance(file, File) for file in files.values())
    async with files as stream:
        got = await MultiPart.decode(stream)
    found = [
        (name, file.name, file.content_type, await file.encode().read())
        for name, file in got.files.items()
    ]
    await got.close()
    plain = "application/octet-stream"
    assert found == [
        ("a", "a", plain, b"1"),
        ("b", "b", plain, b"2"),
        ("b", "b", plain, b"3"),
        ("c", "c", "text/x", b"4"),
        ("d", "d", "application/json", b"[5]"),
        ("e", "six.txt", "text/plain; charset=utf-8", b"6"),
        ("f", "f", plain, b"7"),
    ]
    assert len(Files([("a", b"1"), ("a", ByteStream(b"2"))]).getall("a")) == 2


def test_files_of_a_name_that_is_none_leave_the_stream_alone() -> None:
    stream = ByteStream(b"x")
    with pytest.raises(TypeError, match="a field name must be a str, not int"):
        Files([(3, stream)])  # type: ignore[list-item]
    assert not stream.closed


async def test_a_stream_under_another_type_keeps_what_else_it_knows() -> None:
    """Conditional requests depend on it."""

    class Known(ByteStream):
        etag = "e1"
        last_modified = 12.5

    stream = File(Known(b"abc"), content_type="text/x").encode()
    found = [getattr(stream, name) for name in ("etag", "last_modified", "seekable")]
    assert found == ["e1", 12.5, True]
    plain = File(IterStream([b"abc"]), content_type="text/x").encode()
    found = [getattr(plain, name) for name in ("etag", "last_modified", "seekable")]
    assert found == [None, None, False]
    part = await stream.slice(1, 1)
    assert (part.content_type, await part.read()) == ("text/x", b"b")
