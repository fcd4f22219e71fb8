"""MultiPartStream: what stands between the parts, how long it is, and what is refused."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    JSON,
    ByteStream,
    Content,
    File,
    FileStream,
    IterStream,
    KiB,
    Limits,
    MiB,
    MultiPartStream,
    SizeMismatch,
    Stream,
    StreamClosed,
    StreamError,
    iter_parts,
)
from aiostreams.sansio.headers import boundary_of
from aiostreams.streams.multipart import RandomBoundary, check_boundary, random_boundary
from aiostreams.testing import DripStream, FailStream, SpyStream


async def test_the_bytes() -> None:
    stream = MultiPartStream(
        [
            ({"A": "b", "C": "é"}, b"one"),
            ((("X", "1"), ("X", "2")), bytearray(b"two")),
            ({}, memoryview(b"")),
        ],
        boundary="bound",
    )
    expected = (
        "--bound\r\nA: b\r\nC: é\r\n\r\none\r\n"
        "--bound\r\nX: 1\r\nX: 2\r\n\r\ntwo\r\n"
        "--bound\r\n\r\n\r\n--bound--\r\n"
    ).encode()
    assert stream.size == len(expected)
    assert stream.content_type == "multipart/form-data; boundary=bound"
    assert stream.boundary == "bound"
    assert await stream.read() == expected


async def test_no_parts_at_all() -> None:
    stream = MultiPartStream([], boundary="b", subtype="mixed")
    assert stream.content_type == "multipart/mixed; boundary=b"
    assert await stream.read() == b"--b--\r\n"


async def test_a_thousand_small_parts_are_few_pieces() -> None:
    stream = MultiPartStream([({"A": "b"}, b"x" * 50)] * 1000)
    pieces = [piece async for piece in stream.iter_any()]
    assert len(pieces) == 2
    assert sum(map(len, pieces)) == stream.size


async def test_large_bytes_come_in_pieces_and_are_not_copied() -> None:
    data = bytes(MiB)
    stream = MultiPartStream([({}, data), ({}, bytes(200 * KiB))])
    pieces = [piece async for piece in stream.iter_any()]
    assert max(map(len, pieces)) == 256 * KiB
    assert sum(map(len, pieces)) == stream.size


@pytest.mark.parametrize("body", ["text", None, 1, [b"x"]])
def test_other_bodies_are_refused(body: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(body).__name__}"):
        MultiPartStream([({}, body)])  # type: ignore[list-item]


async def test_types_of_bodies_become_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"in a file")
    stream = MultiPartStream(
        [
            ({}, b"bytes"),
            ({}, ByteStream(b"stream", content_type="x/y")),
            ({"content-TYPE": "mine/own"}, ByteStream(b"typed", content_type="x/y")),
            ({}, JSON({"a": 1})),
            ({}, File(path)),
            ({}, DripStream(b"dripping")),
        ],
        subtype="mixed",
    )
    async with stream:
        got = [(p.content_type, await p.read()) async for p in iter_parts(stream)]
    assert got == [
        (None, b"bytes"),
        ("x/y", b"stream"),
        ("mine/own", b"typed"),
        ("application/json", b'{"a":1}'),
        ("text/plain; charset=utf-8", b"in a file"),
        (None, b"dripping"),
    ]


async def test_size_of_files_is_known_when_open(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(bytes(1000))
    async with MultiPartStream([({}, FileStream(path)) for path in paths]) as stream:
        before, opened, size = stream.size, await stream.open(), stream.size
        assert before is None
        assert opened is stream
        assert size is not None
        assert len(await stream.read()) == size
    with pytest.raises(StreamClosed):
        await stream.open()
    async with MultiPartStream([({}, FileStream(tmp_path / "none"))]) as stream:
        with pytest.raises(FileNotFoundError):
            await stream.open()


async def test_a_part_that_was_begun_counts_from_there() -> None:
    begun = ByteStream(b"0123456789")
    await begun.read(4)
    stream = MultiPartStream([({}, begun)], boundary="b")
    body = await stream.read()
    assert body == b"--b\r\n\r\n456789\r\n--b--\r\n"
    assert stream.size == len(body)


@pytest.mark.parametrize("told", [4, 6])
@pytest.mark.parametrize("pieces", [1, 100])
async def test_a_part_that_lies_about_its_size(told: int, pieces: int) -> None:
    def data() -> Iterator[bytes]:
        yield from [b"12345"[at : at + pieces] for at in range(0, 5, pieces)]

    stream = MultiPartStream(
        [({}, IterStream(data(), size=told)), ({}, b"after")], boundary="b"
    )
    assert stream.size is not None
    for _ in range(2):
        with pytest.raises(SizeMismatch):
            await stream.read()
    got = b""
    with contextlib.suppress(SizeMismatch):
        for _ in range(100):
            got += await stream.readany()
    assert b"after" not in got


async def test_a_part_that_fails_fails_the_body() -> None:
    stream = MultiPartStream([({}, FailStream(b"12345", 3)), ({}, b"after")])
    with pytest.raises(RuntimeError, match="failed after 3"):
        await stream.read()


class Stubborn(SpyStream):
    async def close(self) -> None:
        await super().close()
        raise OSError("will not")


async def test_closing_closes_every_part_once() -> None:
    spies = [
        SpyStream(ByteStream(b"x")),
        Stubborn(ByteStream(b"x")),
        SpyStream(ByteStream()),
    ]
    stream = MultiPartStream([({}, spy) for spy in spies] + [({}, b"bytes")])
    await stream.read(30)
    with pytest.raises(OSError, match="will not"):
        await stream.close()
    await stream.close()
    assert [spy.closings for spy in spies] == [1, 1, 1]


async def test_what_is_not_read_is_not_pulled() -> None:
    spy = SpyStream(DripStream(b"x" * 100))
    stream = MultiPartStream([({}, b"first"), ({}, spy)])
    await stream.readany()
    assert spy.reads == 0


# -- the boundary ---------------------------------------------------------------------


def test_a_random_boundary_has_128_bits_and_is_new_each_time() -> None:
    boundaries = {MultiPartStream([]).boundary for _ in range(100)}
    assert len(boundaries) == 100
    assert all(int(boundary, 16) < 2**128 for boundary in boundaries)
    assert {len(boundary) for boundary in boundaries} == {32}


async def test_a_random_boundary_that_is_in_a_content_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = iter(["aa", "bb", "cc"])
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(draws))
    stream = MultiPartStream([({}, b"...bb..."), ({}, b"\r\n--aa")])
    assert stream.boundary == "cc"


@pytest.mark.parametrize("boundary", ["a b", "'()+_,-./:=?", "x" * 70, "a:b"])
async def test_a_boundary_is_quoted_where_it_must_be(boundary: str) -> None:
    stream = MultiPartStream([({}, b"x")], boundary=boundary, subtype="mixed")
    assert stream.content_type is not None
    assert boundary_of(stream.content_type) == boundary.encode()
    assert [await part.read() async for part in iter_parts(stream)] == [b"x"]


@pytest.mark.parametrize(
    "boundary", ["", " ", "a ", "x" * 71, 'a"b', "a\\b", "a\r\nb", "ä", "a;b", "a\0"]
)
def test_what_is_no_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(ValueError, match=r"boundary|characters"):
        MultiPartStream([], boundary=boundary)
    with pytest.raises(ValueError, match=r"boundary|characters"):
        check_boundary(boundary)


@pytest.mark.parametrize("subtype", ["", "a b", "a\r\nb", 'x"', "ä"])
def test_what_is_no_subtype_is_refused(subtype: str) -> None:
    with pytest.raises(ValueError, match="media type"):
        MultiPartStream([], subtype=subtype)


@pytest.mark.parametrize("content", [b"--b", b"--bcd", b"a\r\n--b", b"a\r\n--b\r\nc"])
@pytest.mark.parametrize("pieces", [None, 1, 2, 3, 100])
async def test_a_boundary_that_is_in_a_content_is_refused(
    content: bytes, pieces: int | None
) -> None:
    if pieces is None:
        with pytest.raises(ValueError, match="content of part 2"):
            MultiPartStream([({}, b""), ({}, content)], boundary="b")
        return
    stream = MultiPartStream(
        [({}, b""), ({}, DripStream(content, pieces))], boundary="b"
    )
    with pytest.raises(StreamError, match="content of part 2"):
        await stream.read()


@pytest.mark.parametrize(
    "content", [b"a--b", b"\r\n--\r\n--", b"\n--b", b"\r\n-", b"--c"]
)
@pytest.mark.parametrize("pieces", [None, 1, 3])
async def test_what_only_looks_like_the_boundary_passes(
    content: bytes, pieces: int | None
) -> None:
    body: bytes | Stream = content if pieces is None else DripStream(content, pieces)
    stream = MultiPartStream([({}, body)], boundary="b", subtype="mixed")
    assert [await part.read() async for part in iter_parts(stream)] == [content]


async def test_a_boundary_drawn_before_is_trusted_with_streams_only() -> None:
    boundary = random_boundary()
    assert isinstance(boundary, RandomBoundary)
    inside = b"--" + boundary.encode()
    MultiPartStream([({}, DripStream(inside))], boundary=boundary)
    with pytest.raises(ValueError, match="content of part 1"):
        MultiPartStream([({}, inside)], boundary=boundary)


async def test_a_huge_head_after_a_stream() -> None:
    huge = {"A": "x" * 70_000}
    stream = MultiPartStream([({}, ByteStream(b"y")), (huge, b"")], boundary="b")
    assert len(await stream.read()) == stream.size == 70_031


# -- headers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"": "x"},
        {"A B": "x"},
        {"A:": "x"},
        {"A": "x\r\nB: y"},
        {"A": "x\n"},
        {"A": "\0"},
        {"A": " x"},
        {"A": "\ud800"},
        {"A\r\nB": "x"},
    ],
)
async def test_headers_that_inject_are_refused_before_any_byte(
    headers: dict[str, str],
) -> None:
    spy = SpyStream(ByteStream(b"x"))
    with pytest.raises(ValueError, match="header"):
        MultiPartStream([({}, spy), (headers, b"x")])
    # It was not taken, so it is still the caller's.
    assert await spy.read() == b"x"
    assert spy.closings == 0


class Odd(Content):
    """A content with a type that would inject."""

    @property
    def content_type(self) -> str:
        return "a/b\r\nX: y"

    def encode(self) -> ByteStream:
        return ByteStream(b"x")

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Odd:
        raise NotImplementedError


def test_a_type_of_a_body_that_injects_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        MultiPartStream([({}, Odd())])
    with pytest.raises(ValueError, match="header"):
        MultiPartStream([({}, ByteStream(content_type="a/b\r\nX: y"))])


# -- round trips -----------------------------------------------------------------------

names = st.text("abcdefghijklmnopqrstuvwxyzABC-0123456789", min_size=1)
values = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=50).map(
    str.strip
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r\n", b"--", b"-", b"\r", b"\n", b"x"])).map(b"".join),
)


@given(
    parts=st.lists(st.tuples(st.lists(st.tuples(names, values), max_size=4), bodies)),
    streamed=st.lists(st.booleans(), min_size=1),
    pieces=st.integers(1, 50),
)
async def test_what_was_written_reads_back(
    parts: list[tuple[list[tuple[str, str]], bytes]], streamed: list[bool], pieces: int
) -> None:
    skipped = {"content-length", "content-encoding", "content-transfer-encoding"}
    parts = [
        ([(n, v) for n, v in head if n.lower() not in skipped], body)
        for head, body in parts
    ]
    given_parts: list[tuple[list[tuple[str, str]], bytes | Stream]] = [
        (head, DripStream(body, 3, known_size=True) if stream else body)
        for (head, body), stream in zip(
            parts, streamed * (len(parts) // len(streamed) + 1), strict=False
        )
    ]
    stream = MultiPartStream(given_parts, subtype="mixed")
    data = await stream.read()
    assert len(data) == stream.size
    got = [
        (list(part.headers.items()), await part.read())
        async for part in iter_parts(DripStream(data, pieces), stream.content_type)
    ]
    assert got == parts
