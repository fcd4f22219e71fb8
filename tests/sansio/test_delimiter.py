"""Delimiter lines, one look at a time; whole bodies are in test_multipart."""

from __future__ import annotations

import pytest

from aiostreams.sansio.delimiter import (
    BAD,
    CLOSE,
    CONTENT,
    OPEN,
    UNDECIDED,
    Delimiter,
)

TEXT = b"\r\n--B"


@pytest.mark.parametrize(
    ("after", "strict", "lenient"),
    [
        (b"--", CLOSE, CLOSE),
        (b"--x", CLOSE, CLOSE),
        (b"\r\n", OPEN, OPEN),
        (b" \t\r\nx", OPEN, OPEN),
        (b" " * 64 + b"\r\n", OPEN, OPEN),
        (b"", UNDECIDED, UNDECIDED),
        (b"-", UNDECIDED, UNDECIDED),
        (b"\r", UNDECIDED, UNDECIDED),
        (b" " * 64, UNDECIDED, UNDECIDED),
        (b" " * 64 + b"\r", UNDECIDED, UNDECIDED),
        (b" " * 65, BAD, BAD),
        (b"\n", BAD, BAD),
        (b"\rx", BAD, BAD),
        (b" \n", BAD, BAD),
        (b"x", BAD, CONTENT),
        (b"-x", BAD, CONTENT),
        (b" x", BAD, CONTENT),
        (b" -", BAD, CONTENT),
    ],
)
def test_what_follows_the_boundary_decides(
    after: bytes, strict: int, lenient: int
) -> None:
    for is_strict, expected in ((True, strict), (False, lenient)):
        delimiter = Delimiter(b"B", strict=is_strict)
        verdict, _ = delimiter.look(TEXT + after)
        assert min(verdict, UNDECIDED) == expected
        verdict, start, _ = delimiter.search(b"abc" + TEXT + after, 3)
        assert min(verdict, UNDECIDED) == expected
        assert start == (-1 if expected == CONTENT else 3)
        # A decision never needs more bytes than it says.
        assert expected != UNDECIDED or len(TEXT + after) < delimiter.line_size


def test_a_search_goes_on_behind_lines_that_are_content() -> None:
    delimiter = Delimiter(b"B", strict=False)
    chunk = (TEXT + b"x") * 50 + TEXT + b"-y" + TEXT + b" \r\nz"
    start = 50 * 6 + 7
    for _ in range(2):
        assert delimiter.search(chunk, 0) == (OPEN, start, start + 8)


@pytest.mark.parametrize(
    ("chunk", "held"),
    [
        (b"abc", b""),
        (b"", b""),
        (b"abc\r", b"\r"),
        (b"\r\r\n", b"\r\n"),
        (b"abc\r\n--", b"\r\n--"),
        (b"\r\n-\r", b"\r"),
        (b"\r\n-x", b""),
        (b"\r\n--A", b""),
    ],
)
def test_no_more_is_held_back_than_may_be_a_delimiter(
    chunk: bytes, held: bytes
) -> None:
    delimiter = Delimiter(b"BB", strict=True)
    assert chunk[delimiter.hold_from(chunk, 0) :] == held
    verdict, _ = delimiter.look(held)
    assert verdict == UNDECIDED


@pytest.mark.parametrize("boundary", [b"", b"x" * 71, b"x ", b"a\nb", b"\x80"])
def test_what_is_no_boundary_is_refused(boundary: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 70"):
        Delimiter(boundary, strict=True)


def test_a_look_at_content() -> None:
    for piece in (b"abc", TEXT[:-1] + b"A", b"\r\n-x"):
        assert Delimiter(b"B", strict=True).look(piece) == (CONTENT, 0)
