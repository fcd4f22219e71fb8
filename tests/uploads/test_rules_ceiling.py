"""Which ceiling counts for a file, and how it is told."""

from __future__ import annotations

import pytest

from aiostreams import ByteStream, LimitExceeded, Stream, StreamError
from aiostreams.testing import check_stream
from aiostreams.uploads.rules import Ceiling, CeilingStream


def test_the_message_names_file_field_and_numbers() -> None:
    error = Ceiling(100).exceeded("photo", "C:\\tmp\\me.png", 101)
    assert str(error) == "the file 'me.png' in 'photo' has 101 bytes, limit 100"
    assert (error.limit, error.seen) == (100, 101)
    assert error.logged == "the file in 'photo' has 101 bytes, limit 100"
    error = Ceiling(5).exceeded("photo", None, 6, so_far=True)
    assert str(error) == "the file in 'photo' has at least 6 bytes, limit 5"


def test_the_message_names_the_quota_where_that_is_used_up() -> None:
    error = Ceiling(5, quota=100).exceeded("a", "b", 6)
    assert str(error) == (
        "the file 'b' in 'a' has 6 bytes, limit 5 (left of the quota of 100)"
    )
    assert (error.limit, error.seen) == (5, 6)


async def test_the_stream_names_its_own_error_once_and_that_of_its_source() -> None:
    stream = CeilingStream(ByteStream(b"12345"), Ceiling(4), "a", "b.txt")
    with pytest.raises(LimitExceeded, match=r"^the file 'b.txt' in 'a' has") as caught:
        await stream.read()
    assert stream.named(caught.value) is caught.value
    below = LimitExceeded("part 2 has more than 3 bytes", limit=3, seen=4)
    named = stream.named(below)
    assert str(named) == "the file 'b.txt' in 'a': part 2 has more than 3 bytes"
    assert (named.limit, named.seen, named.__cause__) == (3, 4, below)
    assert named.logged == "the file in 'a': part 2 has more than 3 bytes"
    assert stream.named(named).logged == f"the file in 'a': {named.logged}"


def test_an_error_of_an_applications_own_class_stays_what_it_is() -> None:
    class Mine(LimitExceeded):
        pass

    error: StreamError = Mine("mine", limit=1, seen=2)
    stream = CeilingStream(ByteStream(b""), Ceiling(4), "a", None)
    assert isinstance(error, Mine)
    assert stream.named(error) is error


def _plenty(source: Stream) -> Stream:
    return CeilingStream(source, Ceiling(1 << 30), "a", "b")


async def test_it_is_a_stream() -> None:
    await check_stream(
        lambda source=None: _plenty(source or ByteStream(bytes(range(256)) * 20))
    )
