"""The bytes around the members of a zip archive, without any member."""

from __future__ import annotations

import datetime as dt
import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.zip import ZipDirectory, check_name, dos_time

GiB = 2**30


def laid_out(*members: tuple[str, bytes], **more: Any) -> bytes:
    """An archive of stored members."""
    directory = ZipDirectory()
    archive = b""
    for name, data in members:
        number = directory.add(name, crc32=zlib.crc32(data), **more)
        directory.place(number, len(data))
        archive += directory.header(number) + data + directory.descriptor(number)
    return archive + ending(directory)


def ending(directory: ZipDirectory) -> bytes:
    headers = b"".join(directory.central(n) for n in range(len(directory)))
    assert len(headers) == sum(directory.central_size(n) for n in range(len(directory)))
    return headers + directory.end_record(len(headers))


# -- names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("/", "is absolute"),
        ("../up", "a segment '..'"),
        ("a/../../up", "a segment '..'"),
        ("a/..", "a segment '..'"),
        ("a/../", "a segment '..'"),
        ("./a", "a segment '.'"),
        ("a//b", "a segment ''"),
        ("a//", "a segment ''"),
        ("C:/windows", "a drive letter"),
        ("c:windows", "a drive letter"),
        ("a\\b", "a backslash"),
        ("..\\up", "a backslash"),
        ("a\0.txt", "a NUL byte"),
        ("a\ud800", "a lone surrogate"),
        ("é" * 32768, "has 65536 bytes, limit 65535"),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check_name(name)


@pytest.mark.parametrize(
    "name",
    ["a", "a/b/c.txt", "folder/", "a b", "...", "..a", "a..", ".hidden", "ab:c",
     "日本/語.txt", "x" * 65535, "1:2", "é/", "a\nb", "~"],
)  # fmt: skip
def test_a_name_that_is_one_is_kept_as_it_is(name: str) -> None:
    assert check_name(name) == name.encode()
    assert zipfile.ZipFile(io.BytesIO(laid_out((name, b"")))).namelist() == [name]


def test_a_name_is_text() -> None:
    with pytest.raises(TypeError, match="bytes"):
        check_name(b"a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a/b", "a/b"), ("a", "a/"), ("a/", "a")]
)
def test_a_name_that_is_taken_is_refused(first: str, second: str) -> None:
    directory = ZipDirectory()
    directory.add(first)
    with pytest.raises(ValueError, match="in the archive already"):
        directory.add(second)
    directory.add("b")
    assert len(directory) == 2


# -- times ---------------------------------------------------------------------------

UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("modified", "shown", "seconds"),
    [
        (None, (1980, 1, 1, 0, 0, 0), None),
        (0, (1980, 1, 1, 0, 0, 0), 315532800),
        (-1e20, (1980, 1, 1, 0, 0, 0), 315532800),
        (-math.inf, (1980, 1, 1, 0, 0, 0), 315532800),
        (1_700_000_001.9, (2023, 11, 14, 22, 13, 20), 1_700_000_001),
        (2**31 - 1, (2038, 1, 19, 3, 14, 6), 2**31 - 1),
        (2**31, (2038, 1, 19, 3, 14, 8), None),
        (1e20, (2107, 12, 31, 23, 59, 58), None),
        (math.inf, (2107, 12, 31, 23, 59, 58), None),
        (dt.datetime(2024, 2, 29, 12, 0, 5), (2024, 2, 29, 12, 0, 4), None),
        (dt.datetime(1, 1, 1), (1980, 1, 1, 0, 0, 0), None),
        (dt.datetime.max, (2107, 12, 31, 23, 59, 58), None),
        (dt.datetime(2024, 1, 1, 4, 0, tzinfo=EAST), (2023, 12, 31, 22, 30, 0), 1704061800),
        (dt.datetime.min.replace(tzinfo=EAST), (1980, 1, 1, 0, 0, 0), 315532800),
        (dt.datetime.max.replace(tzinfo=UTC), (2107, 12, 31, 23, 59, 58), None),
    ],
)  # fmt: skip
def test_a_time_is_brought_into_what_the_format_can_say(
    modified: Any, shown: tuple[int, ...], seconds: int | None
) -> None:
    assert dos_time(modified)[1] == seconds
    archive = zipfile.ZipFile(io.BytesIO(laid_out(("a", b""), modified=modified)))
    info = archive.getinfo("a")
    assert info.date_time == shown
    extra = b"" if seconds is None else struct.pack("<HHBI", 0x5455, 5, 1, seconds)
    assert info.extra == extra


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        dos_time(math.nan)


# -- what stands where -----------------------------------------------------------------


@given(
    st.dictionaries(
        st.text("abcé/", min_size=1).filter(lambda name: _is_name(name)),
        st.binary(max_size=50),
        max_size=8,
    )
)
def test_every_place_is_where_it_was_said_to_be(files: dict[str, bytes]) -> None:
    names = [*files]
    if len({name.removesuffix("/") for name in names}) < len(names):
        return
    members = [(n, b"" if n.endswith("/") else data) for n, data in files.items()]
    archive = laid_out(*members)
    directory = ZipDirectory()
    for name, data in members:
        directory.place(directory.add(name, crc32=zlib.crc32(data)), len(data))
    for number, (name, data) in enumerate(members):
        begin, stop = directory.begin(number), directory.stop(number)
        assert archive[begin:stop] == data
        assert archive[directory.start(number) :].startswith(b"PK\x03\x04")
        assert directory.name(number) == name
        assert {directory.at(o) for o in range(directory.start(number), stop)} == {
            number
        }
    assert archive[directory.end :] == ending(directory)
    found = zipfile.ZipFile(io.BytesIO(archive))
    assert found.testzip() is None
    assert [(i.filename, found.read(i)) for i in found.infolist()] == members


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True


def test_permissions_and_folders() -> None:
    archive = zipfile.ZipFile(io.BytesIO(laid_out(("a", b"x"), ("b/", b""))))
    modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert modes == {"a": 0o100644, "b/": 0o040755}
    assert archive.getinfo("b/").external_attr & 0x10
    archive = zipfile.ZipFile(io.BytesIO(laid_out(("a", b"x"), mode=0o4711)))
    assert archive.getinfo("a").external_attr >> 16 == 0o104711


@pytest.mark.parametrize(
    "wrong", [{"mode": 0o100644}, {"mode": -1}, {"crc32": 2**32}, {"crc32": -1}]
)
def test_a_number_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ZipDirectory().add("a", **wrong)


@pytest.mark.parametrize("large", [2**32 - 2, 2**32 - 1, 2**32, 5 * GiB])
def test_zip64_begins_where_32_bits_end(large: int, tmp_path: Path) -> None:
    """One large member, a hole in the file, and one behind it."""
    path = tmp_path / "large.zip"
    directory = ZipDirectory()
    with path.open("wb") as file:
        for name, size in (("hole", large), ("small", 0)):
            number = directory.add(name, modified=1.7e9)
            directory.place(number, size)
            assert file.tell() == directory.start(number)
            file.write(directory.header(number))
            assert file.tell() == directory.begin(number)
            file.seek(size, io.SEEK_CUR)
            directory.learn(number, 0)
            file.write(directory.descriptor(number))
        assert file.tell() == directory.end
        file.write(ending(directory))
    with zipfile.ZipFile(path) as archive:
        hole, small = archive.infolist()
    assert (hole.file_size, hole.compress_size) == (large, large)
    assert (small.file_size, small.header_offset) == (0, directory.start(1))
    assert hole.extract_version == (45 if large >= 2**32 - 1 else 10)
    # The Zip64 field stands first: Windows 7 looks for no other place.
    local = directory.header(0)[30 + len("hole") :]
    assert local.startswith(b"\x01\0\x10\0") == (large >= 2**32 - 1)
    assert len(directory.descriptor(0)) == (24 if large >= 2**32 - 1 else 16)


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_more_members_than_16_bits_can_count(count: int) -> None:
    directory = ZipDirectory()
    archive = io.BytesIO()
    for number in range(count):
        directory.place(directory.add(f"{number}"), 0)
        archive.write(directory.header(number))
    directory.seal()
    archive.write(ending(directory))
    assert (b"PK\x06\x06" in archive.getvalue()) == (count >= 65_535)
    assert len(zipfile.ZipFile(archive).infolist()) == count


def test_a_size_that_is_known_stands_in_the_local_header_beside_a_descriptor() -> None:
    """A reader that goes from the front finds the end of a stored member by it."""
    directory = ZipDirectory()
    directory.place(directory.add("a"), 5)
    fields = struct.unpack("<IHHHIIIIHH", directory.header(0)[:30])
    flags, crc32, packed, size = fields[2], *fields[5:8]
    assert flags & 8
    assert (crc32, packed, size) == (0, 5, 5)
    directory.learn(0, 7)
    assert directory.header(0) == directory.header(0), "the directory alone changes"
    assert directory.descriptor(0) == struct.pack("<IIII", 0x08074B50, 7, 5, 5)


def test_a_size_that_was_not_known_stands_behind_the_bytes() -> None:
    directory = ZipDirectory()
    number = directory.add("a", deflate=True, crc32=9)
    directory.place(number, 100)
    before = directory.header(number)
    assert struct.unpack("<III", before[14:26]) == (0, 0, 0)
    assert directory.size(number) is None
    directory.finish(number, crc32=9, size=100, packed=30)
    assert directory.header(number) == before
    assert directory.end == len(before) + 30 + 16
    assert directory.descriptor(number)[4:] == struct.pack("<III", 9, 30, 100)
    directory.place(directory.add("b"), None)
    directory.finish(1, crc32=0, size=2**32, packed=2**32)
    assert len(directory.descriptor(1)) == 24
    assert directory.central(1)[4:8] == bytes([45, 3, 45, 0])


def test_the_first_bytes_are_the_formats() -> None:
    """Held to the specification itself, field by field."""
    data = b"hello"
    archive = laid_out(("a", data))
    crc = zlib.crc32(data)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 10, 0x800, 0, 0, 0x21, crc, 5, 5, 1, 0)
    central = struct.pack(
        "<4s2B5H3I5H2I", b"PK\1\2", 45, 3, 10, 0x800, 0, 0, 0x21, crc, 5, 5, 1, 0, 0, 0, 0,
        0o100644 << 16, 0,
    )  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 47, 36, 0)
    assert archive == local + b"a" + data + central + b"a" + end
