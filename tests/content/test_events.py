"""Server-sent events: live on the way out, exact on the way in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import ByteStream, Event, EventStream, LimitExceeded, Limits
from aiostreams.testing import LAWS, DripStream


async def sent(*events: Any) -> bytes:
    async with EventStream(events) as stream:
        return await stream.read()


async def received(data: bytes, pieces: int = 10_000, **kwargs: Any) -> list[Event]:
    content = await EventStream.decode(DripStream(data, pieces, turns=0), **kwargs)
    return [event async for event in content]


async def test_every_field_has_its_line() -> None:
    event = Event(data="a\nb\r\nc", event="news", id="7", retry=250, comment="hi\nho")
    assert await sent(event) == (
        b": hi\n: ho\nevent: news\nid: 7\nretry: 250\ndata: a\ndata: b\ndata: c\n\n"
    )
    assert await sent("text", {"a": 1}, Event(data=""), Event()) == (
        b'data: text\n\ndata: {"a":1}\n\ndata: \n\n\n'
    )
    assert EventStream([]).content_type == EventStream([]).encode().content_type


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_a_type_or_id_that_would_inject_a_line(text: str) -> None:
    for field in ("event", "id"):
        with pytest.raises(ValueError, match=field):
            Event(**{field: text})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retry"):
        Event(retry=-1)


@pytest.mark.parametrize("events", ["text", b"bytes", 5])
def test_what_is_no_iterable_of_events(events: Any) -> None:
    with pytest.raises(TypeError):
        EventStream(events)


async def test_an_event_is_read_when_it_happens_and_silence_gives_comments() -> None:
    go = asyncio.Event()
    closed = False

    async def feed() -> AsyncIterator[str]:
        nonlocal closed
        try:
            yield "first"
            await go.wait()
            yield "second"
            await asyncio.Event().wait()
        finally:
            closed = True

    stream = EventStream(feed(), keep_alive=0.02).encode()
    assert stream.live
    async with stream:
        assert await stream.readany() == b"data: first\n\n"
        assert await stream.readany() == b":\n\n"
        go.set()
        assert await stream.readany() == b"data: second\n\n"
        assert await stream.readany() == b":\n\n"
    assert closed


async def test_a_feed_that_fails_after_close_or_before() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "one"
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    async with EventStream(failing()).encode() as stream:
        assert await stream.readany() == b"data: one\n\n"
        reader = asyncio.create_task(stream.readany())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])

    async def broken() -> AsyncIterator[str]:
        yield "one"
        raise ZeroDivisionError

    stream = EventStream(broken(), keep_alive=None).encode()
    assert await stream.read(5) == b"data:"
    with pytest.raises(ZeroDivisionError):
        await stream.read()
    await stream.close()


async def test_a_generator_of_events_is_closed() -> None:
    closed = False

    def feed() -> Any:
        nonlocal closed
        try:
            yield 1
            yield 2
        finally:
            closed = True

    async with EventStream(feed()) as stream:
        assert await stream.readany() == b"data: 1\n\n"
    assert closed


STREAM = (
    b"\xef\xbb\xbfdata: first\rdata:second\r\n\r\n"
    b": comment\nunknown: x\nid: 5\n\n"
    b"event: news\ndata\ndata:  two blanks\nretry: 10\nretry: x\n\n"
    b"event: dropped\n\ndata: plain\nid: with\0nul\nid\n\n"
    b"data: no blank line follows"
)
EVENTS = [
    Event(data="first\nsecond"),
    Event(data="\n two blanks", event="news", id="5", retry=10),
    Event(data="plain", id=""),
]


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 10_000])
async def test_reading_is_the_standards(pieces: int) -> None:
    assert await received(STREAM, pieces) == EVENTS


@given(
    st.lists(
        st.builds(
            Event,
            data=st.text().map(lambda text: text.replace("\r", "\n")),
            event=st.none() | st.text(alphabet="abc:é ", min_size=1),
            retry=st.none() | st.integers(0, 10**6),
        )
    ),
    st.integers(1, 20),
)
def test_what_is_sent_is_received(events: list[Event], pieces: int) -> None:
    async def there_and_back() -> list[Event]:
        return await received(await sent(*events), pieces)

    assert asyncio.run(there_and_back()) == events


async def test_an_event_has_a_ceiling() -> None:
    fits = b"data: " + b"x" * 94 + b"\n\n"
    limits = Limits(max_memory=100)
    for pieces in (1, 10_000):
        assert len(await received(fits * 3, pieces, limits=limits)) == 3
        for long in (b"data: " + b"x" * 95, b"data: 1\n" * 20, b":" * 101):
            with pytest.raises(LimitExceeded) as caught:
                await received(long + b"\n", pieces, limits=limits)
            assert caught.value.limit == 100


async def test_iterating_over_what_was_given() -> None:
    async def feed() -> AsyncIterator[int]:
        yield 1

    assert [event async for event in EventStream([1, 2])] == [1, 2]
    assert [event async for event in EventStream(feed())] == [1]
    assert repr(EventStream([1])) == "<EventStream of list>"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_the_stream_keeps_the_law(law: Any) -> None:
    async def feed() -> AsyncIterator[str]:
        for word in ("one", "two", "three"):
            await asyncio.sleep(0)
            yield word

    await law(lambda: EventStream(["one", "two\nlines"]).encode())
    await law(lambda: EventStream(feed()).encode())


async def test_an_iterator_that_is_no_generator_needs_no_closing() -> None:
    class Two(AsyncIterator[int]):
        left = 2

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    assert await sent(*[1, 0]) == b"data: 1\n\ndata: 0\n\n"
    async with EventStream(Two()) as stream:
        assert await stream.read() == b"data: 1\n\ndata: 0\n\n"


async def test_a_decoded_body_stays_open_for_its_owner() -> None:
    stream = ByteStream(b"data: x\n\n")
    content = await EventStream.decode(stream)
    assert [event async for event in content] == [Event(data="x")]
    assert not stream.closed


@pytest.mark.parametrize("seconds", [0, 0.0, -1, float("nan")])
def test_a_keep_alive_without_a_pause_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="keep_alive"):
        EventStream([], keep_alive=seconds)


async def test_a_long_line_byte_by_byte_costs_no_more_per_byte() -> None:
    async def cost(size: int) -> float:
        line = b"data: " + b"x" * size + b"\n\n"
        before = time.process_time()
        assert len(await received(line, 1)) == 1
        return time.process_time() - before

    await cost(2**10)
    assert await cost(2**15) < max(16 * await cost(2**12), 0.5)


async def test_a_line_begun_counts_towards_the_limit_of_its_event() -> None:
    limits = Limits(max_memory=20)
    for pieces in (1, 3):
        assert await received(b"data:ab\ndata:cdefg\n\n" * 3, pieces, limits=limits)
        with pytest.raises(LimitExceeded):
            await received(b"data:ab\ndata:cdefghijkl", pieces, limits=limits)
