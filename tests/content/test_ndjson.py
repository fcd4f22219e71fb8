from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    NDJSON,
    ByteStream,
    InvalidContent,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
    Stream,
    StreamClosed,
    UnsupportedContent,
)
from aiostreams.testing import LAWS, DripStream, StallStream
from tests.content.ways import failing, ways

TYPE = "application/x-ndjson"


@dataclasses.dataclass
class Row:
    n: int


async def slowly(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        await asyncio.sleep(0)
        yield value


async def at_once(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def pieces(stream: Stream) -> list[bytes]:
    return [piece async for piece in stream.iter_any()]


async def rows(data: bytes, **options: Any) -> list[Any]:
    return [row async for row in await NDJSON.decode(ByteStream(data), **options)]


@pytest.mark.parametrize("make", [list, iter, tuple, slowly, at_once])
async def test_encode_writes_a_line_per_value(make: Any) -> None:
    values = [{"a": "é"}, 1, None]
    content = NDJSON(make(*values) if make in {slowly, at_once} else make(values))
    stream = content.encode()
    assert stream.content_type == content.content_type == TYPE
    assert stream.size is None
    assert await stream.read() == b'{"a":"\xc3\xa9"}\n1\nnull\n'


async def test_encode_of_nothing_is_empty() -> None:
    assert await NDJSON([]).encode().read() == b""
    assert await NDJSON(at_once()).encode().read() == b""


@pytest.mark.parametrize(
    "make", [lambda n: ["x" * 98] * n, lambda n: at_once(*["x" * 98] * n)]
)
async def test_encode_gathers_lines_into_pieces_of_64_kib(make: Any) -> None:
    sizes = [len(piece) for piece in await pieces(NDJSON(make(10_000)).encode())]
    assert sum(sizes) == 10_000 * 101
    assert all(64 * KiB <= size < 64 * KiB + 101 for size in sizes[:-1])


async def test_encode_of_a_feed_stays_live() -> None:
    """What is there is sent when the feed waits, not when a piece is full."""
    more = asyncio.Event()

    async def feed() -> AsyncIterator[int]:
        yield 1
        yield 2
        await more.wait()
        yield 3

    stream = NDJSON(feed()).encode()
    assert await stream.readany() == b"1\n2\n"
    waiting = asyncio.create_task(stream.readany())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    more.set()
    assert await waiting == b"3\n"
    assert await stream.readany() == b""


async def test_encode_runs_ahead_by_one_piece_only() -> None:
    taken = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "x" * (KiB - 3)

    stream = NDJSON(endless()).encode()
    await stream.readany()
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == 128
    await stream.close()


async def test_encode_keeps_a_generator_in_one_task() -> None:
    """So that timeouts and cancel scopes in it may span several values."""

    async def timed() -> AsyncIterator[int]:
        async with asyncio.timeout(10):
            yield 1
            await asyncio.sleep(0)
            yield 2

    assert await pieces(NDJSON(timed()).encode()) == [b"1\n", b"2\n"]


@pytest.mark.parametrize(
    "wrap", [iter, lambda values: slowly(*values), lambda values: at_once(*values)]
)
async def test_encode_sends_what_came_before_a_value_that_json_lacks(wrap: Any) -> None:
    stream = NDJSON(wrap([1, 2, float("nan"), 3])).encode()
    assert await stream.read(100) == b"1\n2\n"
    for _ in range(2):
        with pytest.raises(ValueError, match="not JSON compliant"):
            await stream.readany()


async def test_encode_of_a_failing_iterable_fails_after_its_values() -> None:
    def sync() -> Iterator[int]:
        yield 1
        raise KeyError

    async def later() -> AsyncIterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(TypeError):
        await NDJSON([object()]).encode().readany()
    for stream in (NDJSON(sync()).encode(), NDJSON(later()).encode()):
        assert await stream.readany() == b"1\n"
        with pytest.raises(KeyError):
            await stream.readany()


async def test_encode_of_a_cancelled_iterable_is_no_end() -> None:
    """A client must not take a cut list for a whole one."""

    async def cancelled() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    stream = NDJSON(cancelled()).encode()
    assert await stream.readany() == b"1\n"
    with pytest.raises(RuntimeError, match="cancelled"):
        await stream.readany()


async def test_encode_of_a_generator_works_once() -> None:
    for values in (iter([1]), at_once(1)):
        content = NDJSON(values)
        await content.encode().close()
        with pytest.raises(RuntimeError, match="before"):
            content.encode()
    twice = NDJSON([1])
    assert await twice.encode().read() == await twice.encode().read() == b"1\n"


async def test_closing_the_stream_closes_a_generator_wherever_it_is() -> None:
    ended: list[str] = []

    def sync() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append("sync")

    async def waiting() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("waiting")

    async def full() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * KiB
        finally:
            ended.append("full")

    for values in (sync(), waiting(), full()):
        async with NDJSON(values) as stream:
            await stream.readany()
    assert ended == ["sync", "waiting", "full"]


async def test_closing_the_stream_of_a_feed_that_will_not_be_cancelled() -> None:
    class Stubborn:
        asked = 0

        def __aiter__(self) -> Stubborn:
            return self

        async def __anext__(self) -> int:
            self.asked += 1
            if self.asked == 2:
                waiting = asyncio.ensure_future(asyncio.sleep(0.01))
                while not waiting.done():
                    try:
                        await asyncio.shield(waiting)
                    except asyncio.CancelledError:
                        pass
            return 1

    feed = Stubborn()
    stream = NDJSON(feed).encode()
    await stream.readany()
    await stream.close()
    assert feed.asked == 2


async def test_closing_the_stream_of_an_iterator_that_is_no_generator() -> None:
    class Feed:
        def __aiter__(self) -> Feed:
            return self

        async def __anext__(self) -> int:
            return 1

        async def close(self) -> None:
            raise AssertionError("whoever made the feed closes it")

    stream = NDJSON(Feed()).encode()
    await stream.readany()
    await stream.close()
    with pytest.raises(StreamClosed):
        await stream.readany()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("live", [False, True])
async def test_encoded_streams_keep_the_laws(law: Any, live: bool) -> None:
    values = [{"text": "BODY-BYTES-MUST-NOT-SHOW"}, *range(50), "x" * 1000]
    await law(lambda: NDJSON(at_once(*values) if live else values).encode())


async def test_decode_parses_line_by_line_however_it_arrives() -> None:
    for stream in ways(b'{"a":1}\r\n\n  \n[2]\n"\xc3\xa9"'):
        content = await NDJSON.decode(stream)
        assert [value async for value in content] == [{"a": 1}, [2], "é"]


async def test_decode_gives_each_value_as_it_arrives() -> None:
    stream = StallStream(b"1\n2\n3")
    content = await NDJSON.decode(stream)
    values = aiter(content)
    assert await anext(values) == 1
    assert await anext(values) == 2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(values)


async def test_decode_loses_nothing_to_a_cancellation() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"a"'
        await asyncio.sleep(0.02)
        yield b":1}\n2\n"

    content = await NDJSON.decode(IterStream(slow()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await anext(aiter(content))
    assert [value async for value in content] == [{"a": 1}, 2]


async def test_decode_names_the_line_that_is_wrong_and_can_go_on() -> None:
    content = await NDJSON.decode(ByteStream(b"1\n\n{\n4\n"))
    values = aiter(content)
    assert await anext(values) == 1
    with pytest.raises(MalformedBody, match=r"^line 3: JSON: .*, (column|line)"):
        await anext(values)
    assert await anext(values) == 4
    with pytest.raises(StopAsyncIteration):
        await anext(values)


async def test_decode_with_a_type() -> None:
    content = await NDJSON.decode(ByteStream(b'{"n":1}\n{"n":"x"}\n'), type=Row)
    values = aiter(content)
    assert await anext(values) == Row(1)
    with pytest.raises(InvalidContent, match=r"^n: line 2: Expected `int`, got"):
        await anext(values)


async def test_decode_with_another_parser() -> None:
    assert await rows(b"1\n2", loads=lambda line: (line, json.loads(line))) == [
        (b"1\n", 1),
        (b"2", 2),
    ]


async def test_a_line_of_n_bytes_passes_and_of_one_more_does_not() -> None:
    for options in ({"limits": Limits(max_memory=5)}, {"max_line_length": 5}):
        assert await rows(b"1234\n5678\n", **options) == [1234, 5678]
        with pytest.raises(LimitExceeded) as info:
            await rows(b"1\n12345\n", **options)
        assert info.value.limit == 5
        assert info.value.__notes__ == ["in line 2"]
    with pytest.raises(LimitExceeded):
        await rows(b" " * (1024 * KiB + 1))


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_what_comes_after_a_line_that_is_too_long(size: int) -> None:
    body = b'1\n"' + b"x" * 100 + b'"\n\n3\nno\n"' + b"y" * 100
    stream = DripStream(body, size)
    values = aiter(await NDJSON.decode(stream, max_line_length=20))
    assert await anext(values) == 1
    with pytest.raises(LimitExceeded) as info:
        await anext(values)
    assert info.value.__notes__ == ["in line 2"]
    assert await anext(values) == 3
    with pytest.raises(MalformedBody, match="line 5"):
        await anext(values)
    with pytest.raises(LimitExceeded) as info:
        await anext(values)
    assert info.value.__notes__ == ["in line 6"]
    with pytest.raises(StopAsyncIteration):
        await anext(values)


async def test_an_error_at_the_end_of_a_line_is_not_in_the_next_one() -> None:
    with pytest.raises(MalformedBody, match=r"^line 2: .*column 6$"):
        await rows(b'1\n{"a":\r\n')


async def test_decode_of_a_long_line_uses_a_thread() -> None:
    assert await rows(b"[" + b"1," * 200_000 + b"1]\n") == [[1] * 200_001]


async def test_decode_honours_a_charset() -> None:
    latin = ByteStream(b'"\xe9"\n1', content_type=TYPE + "; charset=latin-1")
    assert [value async for value in await NDJSON.decode(latin)] == ["é", 1]
    wrong = ByteStream(b"1\n\x81\n", content_type=TYPE + "; charset=cp1252")
    with pytest.raises(MalformedBody, match="line 2"):
        [value async for value in await NDJSON.decode(wrong)]
    with pytest.raises(UnsupportedContent):
        await NDJSON.decode(ByteStream(b"", content_type=TYPE + "; charset=utf-16"))


async def test_decode_of_a_body_that_breaks_gives_the_lines_before() -> None:
    content = await NDJSON.decode(failing(b"1\n2\n3"))
    seen = []
    with pytest.raises(ConnectionResetError):
        async for value in content:
            seen.append(value)
    assert seen == [1, 2]


async def test_close_closes_the_stream_that_was_decoded() -> None:
    source = ByteStream(b"1\n2\n")
    content = await NDJSON.decode(source)
    await content.close()
    assert source.closed
    with pytest.raises(StreamClosed):
        await anext(aiter(content))


async def test_close_closes_generators_and_leaves_lists_alone() -> None:
    async def feed() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append(True)

    ended: list[bool] = []
    content = NDJSON(feed())
    assert [value async for value in aiter(content)] == [1]
    await content.close()
    assert ended == [True]
    await NDJSON([1]).close()
    await NDJSON(iter([1])).close()


async def test_what_was_decoded_can_be_sent_on() -> None:
    source = ByteStream(b'{"a": 1}\n\n2')
    stream = (await NDJSON.decode(source)).encode()
    assert await stream.read() == b'{"a":1}\n2\n'
    await stream.close()
    assert source.closed


async def test_iterating_gives_the_values_themselves() -> None:
    value = object()
    assert [got async for got in NDJSON([value, 1])] == [value, 1]
    assert [got async for got in NDJSON(at_once(value))] == [value]


@given(
    st.lists(
        st.dictionaries(
            st.text('ab\n\r"é\u2028'), st.integers() | st.text("\n\r\u2028")
        )
    )
)
async def test_round_trip(values: list[Any]) -> None:
    """Line ends inside values are escaped."""
    content = await NDJSON.decode(NDJSON(values).encode())
    assert [value async for value in content] == values


@pytest.mark.parametrize("values", ["abc", b"abc", {"a": 1}, 3, None])
def test_what_is_hardly_meant_is_a_type_error(values: Any) -> None:
    with pytest.raises(TypeError, match="iterable of values"):
        NDJSON(values)


async def test_repr_shows_where_values_come_from() -> None:
    assert repr(NDJSON(["secret"])) == "<NDJSON from list>"
    assert repr(await NDJSON.decode(ByteStream(b"secret"))) == "<NDJSON from Reader>"
