"""Archives made while they are read: exact sizes, ranges, and no cut one that opens."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import os
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    JSON,
    ByteStream,
    File,
    FileStream,
    IterStream,
    KiB,
    MemoryStorage,
    MiB,
    SizeMismatch,
    SpooledStream,
    StorageError,
    Stream,
    StreamClosed,
    Text,
    Zip,
    ZipMember,
    ZipStream,
)
from aiostreams.testing import DripStream, FailStream, SpyStream, StallStream
from tests.files.disks import descriptors
from tests.waiting import turns

DATA = random.Random(5).randbytes(300 * KiB)


async def made(members: Any) -> bytes:
    async with ZipStream(members) as archive:
        return await archive.read()


def opened(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


def contents(data: bytes) -> dict[str, bytes]:
    archive = opened(data)
    return {info.filename: archive.read(info) for info in archive.infolist()}


class Sized(DripStream):
    """Knows its size and cannot seek."""

    def __init__(self, data: bytes, pieces: int = 7) -> None:
        super().__init__(data, pieces, turns=0, known_size=True)


class Seekable(Stream):
    """Can seek, knows no validator, and notes how much is read of it."""

    read_of = 0

    def __init__(self, data: bytes) -> None:
        super().__init__(size=len(data))
        self._data = data

    async def readany(self) -> bytes:
        piece = self._data[self.position :][:1000]
        Seekable.read_of += len(piece)
        return piece

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        end = None if length is None else offset + length
        return Seekable(self._data[offset:end])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    os.utime(path, ns=(10**18, 10**18))
    return path


def seekable_members(path: Path) -> list[Any]:
    """Each kind of source that can be read again."""
    return [
        ("bytes", b"hello"),
        ("bytearray", bytearray(b"hello")),
        ("memoryview", memoryview(b"hello")),
        ("empty", b""),
        ("many bytes", DATA),
        ZipMember("folder/", modified=1.7e9),
        ("folder/path", path),
        ("folder/text of a path", str(path)),
        ZipMember("file", File(path), modified=1.6e9, mode=0o600),
        ("unopened", FileStream(path, offset=10, length=1000)),
        ("stream", ByteStream(DATA[:50_000])),
        ("drip", Seekable(DATA[:70_000])),
        ZipMember("known", Seekable(b"known" * 9), crc32=zlib.crc32(b"known" * 9)),
        ("json", JSON({"a": [1]})),
        ("é/日本.txt", Text("text")),
    ]


EXPECTED = {
    "bytes": b"hello",
    "bytearray": b"hello",
    "memoryview": b"hello",
    "empty": b"",
    "many bytes": DATA,
    "folder/": b"",
    "folder/path": DATA,
    "folder/text of a path": DATA,
    "file": DATA,
    "unopened": DATA[10:1010],
    "stream": DATA[:50_000],
    "drip": DATA[:70_000],
    "known": b"known" * 9,
    "json": b'{"a":[1]}',
    "é/日本.txt": b"text",
}


# -- the archive -----------------------------------------------------------------------


async def test_every_kind_of_source_is_a_member(path: Path) -> None:
    before = descriptors()
    async with ZipStream(seekable_members(path)) as archive:
        assert (archive.size, archive.etag, archive.seekable) == (None, None, False)
        assert archive.content_type == "application/zip"
        await archive.open()
        size = archive.size
        data = await archive.read()
        assert archive.size == size == len(data)
        assert archive.seekable
    assert contents(data) == EXPECTED
    assert descriptors() == before
    assert data == await made(seekable_members(path)), "and the same each time"
    infos = {info.filename: info for info in opened(data).infolist()}
    assert infos["folder/"].is_dir()
    assert infos["folder/"].date_time == (2023, 11, 14, 22, 13, 20)
    assert infos["file"].external_attr >> 16 == 0o100600
    assert all(info.flag_bits & 0x800 for info in infos.values())
    # No descriptor where the CRC-32 was there before the header.
    described = {name for name, info in infos.items() if info.flag_bits & 8}
    assert described == {
        "folder/path", "folder/text of a path", "file", "unopened", "drip"
    }  # fmt: skip


async def test_the_bytes_are_the_same_from_a_generator(path: Path) -> None:
    data = await made(seekable_members(path))

    async def slowly() -> AsyncIterator[Any]:
        for member in seekable_members(path):
            await asyncio.sleep(0)
            yield member

    for members in (iter(seekable_members(path)), slowly()):
        async with ZipStream(members) as archive:
            await archive.open()
            assert archive.size is None
            assert not archive.seekable
            assert await archive.read() == data
            with pytest.raises(NotImplementedError):
                await archive.slice(0)


async def test_no_members() -> None:
    assert opened(await made([])).namelist() == []
    assert opened(await made(iter([]))).namelist() == []


@pytest.mark.parametrize("compress", [False, True])
async def test_a_size_that_is_not_known(compress: bool, path: Path) -> None:
    members: list[Any] = [
        ("first", b"known"),
        ZipMember("a", IterStream([b"abc", b"", DATA]), compress=compress),
        ZipMember("b", path, compress=True),
        ZipMember("c", b"zeros" * 90_000, compress=True),
        ZipMember("d/", compress=True),
        ZipMember("e", b"", compress=True, crc32=0),
        ("f", IterStream([])),
    ]
    async with ZipStream(members) as archive:
        await archive.open()
        assert archive.size is None
        assert not archive.seekable
        data = await archive.read()
    found = contents(data)
    assert found == {
        "first": b"known", "a": b"abc" + DATA, "b": DATA, "c": b"zeros" * 90_000, "d/": b"", "e": b"", "f": b""
    }  # fmt: skip
    assert opened(data).getinfo("c").compress_size < 9000
    assert opened(data).getinfo("d/").compress_type == zipfile.ZIP_STORED


async def test_deflated_bytes_do_not_depend_on_how_they_came() -> None:
    text = b"the quick brown fox" * 20_000
    archives = {
        await made([ZipMember("a", DripStream(text, size, turns=0), compress=True)])
        for size in (100, 4096, 10**6)
    }
    assert len(archives) == 1


async def test_a_source_that_was_read_in_part() -> None:
    """One that can seek is read from its beginning, another one from where it is."""
    once, again = Sized(b"0123456789"), ByteStream(b"0123456789")
    for stream in (once, again):
        assert await stream.read(4) == b"0123"
    async with ZipStream([("once", once), ("again", again)]) as archive:
        await archive.open()
        assert not archive.seekable
        data = await archive.read()
        assert archive.size == len(data)
    assert contents(data) == {"once": b"456789", "again": b"0123456789"}


async def test_what_is_spooled_or_stored_is_read_in_parts() -> None:
    storage = MemoryStorage()
    await storage.put("a", b"stored")
    spooled = SpooledStream(max_memory=2)
    await spooled.write(b"spooled")
    async with ZipStream([("a", await storage.open("a")), ("b", spooled)]) as archive:
        await archive.open()
        assert archive.seekable
        assert archive.etag is None, "nobody knows what the spooled bytes are"
        assert contents(await archive.read()) == {"a": b"stored", "b": b"spooled"}


async def test_one_member_after_the_other_is_open(path: Path) -> None:
    kinds: list[Any] = [
        lambda n: (f"{n}", path),
        lambda n: (f"{n}", FileStream(path)),
        lambda n: (f"{n}", File(path)),
    ]
    for kind in kinds:
        before = descriptors()
        most = 0
        async with ZipStream([kind(n) for n in range(50)]) as archive:
            await archive.open()
            assert len(descriptors() - before) == 0
            async for _ in archive.iter_any():
                most = max(most, len(descriptors() - before))
        # One that is read, and one that a thread closes.
        assert 1 <= most <= 2


async def test_streams_are_closed_with_the_archive_or_before() -> None:
    spies = [SpyStream(Sized(b"abc")) for _ in range(3)]
    archive = ZipStream([(f"{n}", spy) for n, spy in enumerate(spies)])
    async for piece in archive.iter_any():
        if b"1" in piece[30:]:
            break
    await archive.close()
    assert [spy.closings for spy in spies] == [1, 1, 1]
    unread = [ByteStream(b"a"), ByteStream(b"b")]
    await ZipStream([("a", unread[0]), ("b", File(unread[1]))]).close()
    assert all(stream.closed for stream in unread)


async def test_an_iterable_is_closed_whether_it_was_begun_or_not() -> None:
    closed: list[str] = []

    def plain() -> Iterator[Any]:
        try:
            for n in itertools.count():
                yield f"{n}", b"x" * 9000
        finally:
            closed.append("plain")

    async def asynchronous() -> AsyncIterator[Any]:
        try:
            for n in itertools.count():
                yield f"{n}", b"x" * 9000
        finally:
            closed.append("async")

    class Cursor(AsyncIterator[Any]):
        async def __anext__(self) -> Any:
            return "a", b""

        async def aclose(self) -> None:
            closed.append("cursor")

    for members in (plain(), asynchronous()):
        async with ZipStream(members) as archive:
            await archive.readany()
    async with ZipStream(Cursor()):
        pass
    assert closed == ["plain", "async", "cursor"]


@pytest.mark.parametrize("members", [5, None, object()])
def test_what_is_no_iterable(members: Any) -> None:
    with pytest.raises(TypeError, match="iterable"):
        ZipStream(members)


@pytest.mark.parametrize("member", ["ab", b"ab", ("a",), ("a", b"", 1), ["a", b""], 5])
async def test_what_is_no_member(member: Any) -> None:
    with pytest.raises(TypeError, match="a member must be"):
        ZipStream([member])
    with pytest.raises(TypeError, match="a member must be"):
        await made(iter([member]))


@pytest.mark.parametrize("source", [None, 5, 1.5, object(), [b"a"]])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(TypeError, match="source"):
        ZipMember("a", source)
    with pytest.raises(TypeError, match="source"):
        ZipStream([("a", source)])


@pytest.mark.parametrize(
    "member",
    [
        ("../a", b""),
        ("/a", b""),
        ("C:a", b""),
        ("a\\b", b""),
        ("a\0", b""),
        ("", b""),
        ("folder/", b"bytes"),
        ("folder/", "path"),
        ("folder/", IterStream([b"x"])),
    ],
)
async def test_a_member_that_cannot_be(member: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        ZipMember(*member)
    with pytest.raises(ValueError, match="name"):
        ZipStream([member])
    with pytest.raises(ValueError, match="name"):
        await made(iter([member]))


async def test_names_that_are_there_twice() -> None:
    with pytest.raises(ValueError, match="already"):
        ZipStream([("a", b""), ("a", b"")])
    with pytest.raises(ValueError, match="already"):
        await made(iter([("a", b""), ("a", b"")]))
    many = [(f"{n}", b"") for n in range(3000)]
    archive = ZipStream([*many, ("5", b"")])
    for call in (archive.open, archive.read, archive.open):
        with pytest.raises(ValueError, match="already"):
            await call()
    await archive.close()


def test_a_member_that_says_it_all() -> None:
    member = ZipMember("a", b"x", modified=1.5, crc32=7, compress=True, mode=0o755)
    assert (member.name, member.source, member.crc32) == ("a", b"x", 7)
    with pytest.raises(TypeError):
        ZipMember("a", b"x", 1.5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="nan"):
        ZipMember("a", modified=float("nan"))


# -- parts of it -----------------------------------------------------------------------


async def test_every_part_is_that_part(path: Path) -> None:
    data = await made(seekable_members(path))
    draw = random.Random(7)
    edges = [data.index(b"PK\x01\x02"), len(data), 0]
    before = descriptors()
    for _ in range(150):
        begin = draw.choice([draw.randrange(len(data)), *edges, *edges])
        begin = max(0, begin + draw.randrange(-40, 40))
        length = draw.choice([None, 0, 1, 50, 5000, draw.randrange(len(data))])
        async with ZipStream(seekable_members(path)) as archive:
            part = await archive.slice(begin, length)
        # It outlives the archive, and all that was given to it.
        end = len(data) if length is None else begin + length
        expected = data[begin:end]
        assert part.size == len(expected)
        assert part.content_type == "application/zip"
        async with part:
            deeper = await part.slice(len(expected) // 3, len(expected) // 3)
            got = await part.read()
            assert got == expected, (begin, length)
        async with deeper:
            third = len(expected) // 3
            assert await deeper.read() == expected[third : 2 * third]
    assert descriptors() == before


async def test_a_part_needs_a_crc_only_of_what_it_tells_it_of() -> None:
    sources = [DATA[: n * 1000] for n in (50, 60, 70)]

    def members() -> list[Any]:
        return [(f"{n}", Seekable(data)) for n, data in enumerate(sources)]

    data = await made(members())
    first = data.index(DATA[:1000])
    directory = data.index(b"PK\x01\x02")
    last = data.rindex(b"PK\x01\x02")
    cases = {
        "inside of a member": (first + 500, 800, 800),
        "to the end of a member": (first + 500, 49_500, 49_500),
        "with its descriptor": (first + 49_000, 1010, 50_000),
        "the second half": (first + 80_000, directory, 180_000),
        "the directory": (directory, directory, 180_000),
        "the last header of it": (last, 10, 70_000),
        "the end record": (len(data) - 22, 22, 0),
    }
    for what, (begin, length, reads) in cases.items():
        async with ZipStream(members()) as archive:
            part = await archive.slice(begin, length)
        async with part:
            Seekable.read_of = 0
            assert await part.read() == data[begin : begin + length], what
            assert Seekable.read_of == reads, what


async def test_a_crc_that_is_known_is_not_read_for() -> None:
    members = [
        ZipMember(f"{n}", Seekable(DATA), crc32=zlib.crc32(DATA)) for n in range(3)
    ]
    async with ZipStream(members) as archive:
        await archive.open()
        assert archive.etag is not None
        assert archive.size is not None
        part = await archive.slice(archive.size - 1000)
        Seekable.read_of = 0
        assert (await part.read()).count(b"PK\x01\x02") == 3
        assert Seekable.read_of < 1000
        await part.close()


async def test_what_was_read_once_is_not_read_for_its_crc_again() -> None:
    async with ZipStream([("a", Seekable(DATA))]) as archive:
        data = await archive.read()
        part = await archive.slice(len(data) - 60)
        Seekable.read_of = 0
        assert await part.read() == data[-60:]
        assert Seekable.read_of == 0
        await part.close()


async def test_what_cannot_be_cut() -> None:
    async with ZipStream([("a", b"")]) as archive:
        for wrong in ((-1, None), (0, -1)):
            with pytest.raises(ValueError, match="negative"):
                await archive.slice(*wrong)
    with pytest.raises(StreamClosed):
        await archive.slice(0)
    with pytest.raises(StreamClosed):
        await archive.open()
    async with ZipStream([("a", Sized(b"abc"))]) as archive:
        with pytest.raises(NotImplementedError):
            await archive.slice(0)


async def test_the_tag_is_the_archives(path: Path) -> None:
    async def tag(*members: Any) -> str | None:
        async with ZipStream(members) as archive:
            await archive.open()
            return archive.etag

    first = await tag(("a", path), ("b", b"x"))
    assert first is not None
    assert first.isalnum()
    assert await tag(("a", str(path)), ("b", b"x")) == first
    others = {
        await tag(("a", path), ("b", b"y")),
        await tag(("b", b"x"), ("a", path)),
        await tag(("A", path), ("b", b"x")),
        await tag(ZipMember("a", path, modified=1e9), ("b", b"x")),
        await tag(ZipMember("a", path, mode=0o600), ("b", b"x")),
    }
    os.utime(path)
    others.add(await tag(("a", path), ("b", b"x")))
    assert len(others - {first, None}) == 6
    assert await tag(("a", Seekable(b"x"))) is None
    assert await tag(("a", Sized(b"x"))) is None
    assert await tag(ZipMember("a", Sized(b"x"), crc32=1)) is not None
    assert await tag(ZipMember("a", path, compress=True)) is None


# -- what goes wrong -------------------------------------------------------------------


def no_archive(data: bytes) -> bool:
    try:
        zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return True
    return False


async def read_until_it_fails(archive: Stream) -> bytes:
    got = b""
    try:
        async for piece in archive.iter_any():
            got += piece
    except Exception:
        return got
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("more", [False, True])
async def test_a_member_that_fails_breaks_the_archive(more: bool) -> None:
    failing = FailStream(DATA, 1000, KeyError("broken"), pieces=100)
    members: list[Any] = [("a", b"before"), ("b", failing)]
    if more:
        members.append(("c", b"after"))
    async with ZipStream(members) as archive:
        got = await read_until_it_fails(archive)
        with pytest.raises(KeyError):
            await archive.read()
    assert got.endswith(DATA[900:1000]), "what came before it has been sent"
    assert no_archive(got)


class Liar(Stream):
    """Promises other bytes than it has, and would get away with it."""

    def __init__(self, data: bytes, promise: int) -> None:
        super().__init__()
        self.data = data
        self.promise = promise

    @property
    def size(self) -> int | None:
        return self.promise if not self.position else None

    async def readany(self) -> bytes:
        data, self.data = self.data, b""
        return data


@pytest.mark.parametrize("promise", [0, 5, 7, 1000])
async def test_a_member_that_lies_about_its_size(promise: int) -> None:
    async with ZipStream([("a", Liar(b"123456", promise)), ("b", b"x")]) as archive:
        with pytest.raises(SizeMismatch, match=f"promised {promise} bytes"):
            await archive.read()
    async with ZipStream([("a", Liar(b"123456", promise))]) as archive:
        assert no_archive(await read_until_it_fails(archive))


@pytest.mark.parametrize(
    "source",
    [lambda: b"hello", lambda: ByteStream(b"hello"), lambda: Sized(b"hello"),
     lambda: IterStream([b"hello"]), lambda: Seekable(b"hello")],
)  # fmt: skip
@pytest.mark.parametrize("compress", [False, True])
async def test_bytes_of_another_crc_than_promised(source: Any, compress: bool) -> None:
    def members() -> list[Any]:
        wrong = ZipMember("a", source(), crc32=1, compress=compress)
        return [wrong, ("b", b"x")]

    message = "member 'a' has bytes of CRC-32 3610a686, promised 00000001"
    for given in (members(), iter(members())):
        async with ZipStream(given) as archive:
            with pytest.raises(SizeMismatch, match=message):
                await archive.read()
    right = ZipMember("a", source(), crc32=0x3610A686, compress=compress)
    assert contents(await made([right])) == {"a": b"hello"}


async def test_a_file_that_changes_between_the_plan_and_its_turn(path: Path) -> None:
    async with ZipStream([("a", path)]) as archive:
        await archive.open()
        with path.open("ab") as file:
            file.write(b"a log goes on")
        assert contents(await archive.read()) == {"a": DATA}, "as it was planned"
    async with ZipStream([("a", path)]) as archive:
        await archive.open()
        os.truncate(path, 1000)
        with pytest.raises(SizeMismatch):
            await archive.read()
    async with ZipStream([("a", path)]) as archive:
        await archive.open()
        path.unlink()
        with pytest.raises(FileNotFoundError):
            await archive.read()


async def test_what_is_no_file_is_an_error_before_the_first_byte(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    wrong: list[tuple[Any, type[Exception]]] = [
        (tmp_path / "missing", FileNotFoundError),
        (tmp_path, IsADirectoryError),
        (fifo / "below", NotADirectoryError),
        (fifo, StorageError),
        (loop, StorageError),
    ]
    for source, error in wrong:
        members = [("a", b"first"), ("b", source)]
        async with ZipStream(members) as archive:
            with pytest.raises(error):
                await archive.open()
            with pytest.raises(error):
                await archive.readany()


async def test_a_content_that_cannot_be_encoded_fails_before_the_first_byte() -> None:
    async with ZipStream([("a", b"x"), ("b", JSON(object()))]) as archive:
        with pytest.raises((TypeError, ValueError)):
            await archive.open()


async def test_a_stalled_member_holds_back_no_byte_before_it() -> None:
    async with ZipStream([("a", b"hello"), ("b", StallStream(b"some"))]) as archive:
        got = b""
        async with asyncio.timeout(20):
            while not got.endswith(b"some"):
                got += await archive.readany()
        assert b"hello" in got
        reading = asyncio.create_task(archive.readany())
        await turns()
        await archive.close()
        with pytest.raises(StreamClosed):
            await reading


async def test_closed_while_it_is_opened() -> None:
    class Slow(ByteStream):
        async def open(self) -> Any:
            await asyncio.Event().wait()

    archive = ZipStream([("a", Slow(b""))])
    opening = asyncio.create_task(archive.open())
    await turns()
    await archive.close()
    with pytest.raises(StreamClosed):
        await opening
    archive = ZipStream([("a", Slow(b""))])
    opening = asyncio.create_task(archive.open())
    await turns()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await archive.close()


async def test_a_slice_that_fails_closes_those_before_it() -> None:
    class Refuses(ByteStream):
        async def slice(self, offset: int, length: int | None = None) -> Any:
            raise OSError("no more descriptors")

    first = SpyStream(ByteStream(DATA))
    parts: list[Stream] = []

    class Seeking(ByteStream):
        async def slice(self, offset: int, length: int | None = None) -> Any:
            parts.append(await super().slice(offset, length))
            return parts[-1]

    members: list[Any] = [("a", Seeking(DATA)), ("b", Refuses(DATA)), ("c", first)]
    async with ZipStream(members) as archive:
        await archive.open()
        archive._archive.seekable = True
        with pytest.raises(OSError, match="descriptors"):
            await archive.slice(0)
    assert [part.closed for part in parts] == [True]


# -- many, and large -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_members_cost_about_a_hundred_bytes_each() -> None:
    members = [(f"folder/{n:06}", b"x") for n in range(20_000)]

    async def one_by_one() -> AsyncIterator[Any]:
        for member in members[:10_000]:
            yield member

    for count, given in ((20_000, members), (10_000, one_by_one())):
        gc.collect()
        tracemalloc.start()
        try:
            async with ZipStream(given) as archive:
                async for _ in archive.iter_any():
                    pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < count * (200 + len("folder/000000")) + 1 * MiB
    found = opened(await made(members))
    assert len(found.namelist()) == 20_000
    assert found.read("folder/019999") == b"x"


async def test_a_part_of_many_members_is_found_at_once() -> None:
    members = [(f"{n:06}", b"x") for n in range(5000)]
    data = await made(members)
    async with ZipStream(members) as archive:
        await archive.open()
        for begin in (0, 1, 30, 100_000, len(data) - 60_000, len(data) - 30):
            async with await archive.slice(begin, 1000) as part:
                assert await part.read() == data[begin : begin + 1000]


# -- the value -------------------------------------------------------------------------


async def test_zip_is_a_content(path: Path) -> None:
    content = Zip([("a", path), ("b", b"x")])
    assert content.content_type == "application/zip"
    for _ in range(2):
        async with content as stream:
            assert isinstance(stream, ZipStream)
            assert contents(await stream.read()) == {"a": DATA, "b": b"x"}
    assert content.response_headers == {
        "Content-Disposition": 'attachment; filename="files.zip"'
    }
    named = Zip([], name="été.zip")
    assert "%C3%A9t%C3%A9.zip" in named.response_headers["Content-Disposition"]
    assert Zip([], name=None).response_headers == {}
    assert repr(named) == "<Zip 'été.zip'>"
    with pytest.raises(NotImplementedError):
        await Zip.decode(ByteStream(b""))
