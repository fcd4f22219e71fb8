"""Streams from iterables: what is accepted, and what is closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from aiostreams import NDJSON, EventStream, IterStream, Stream, StreamClosed
from aiostreams.streams.iterable import close_iterable
from tests.waiting import turns


async def test_bytes_likes_of_every_kind() -> None:
    class Mine(bytes):
        pass

    pieces: list[Any] = [b"a", bytearray(b"b"), memoryview(b"c"), Mine(b"d"), b""]
    assert await IterStream(pieces).read() == b"abcd"


async def test_empty_pieces_are_no_end() -> None:
    async def generator() -> AsyncIterator[bytes]:
        for piece in (b"", b"a", b"", b"", b"b", b""):
            yield piece

    class Iterator:
        """No generator: asked again in place."""

        def __init__(self) -> None:
            self.pieces = generator()

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            return await anext(self.pieces)

    for source in (generator(), Iterator()):
        stream = IterStream(source)
        assert [piece async for piece in stream.iter_any()] == [b"a", b"b"]
        await stream.close()


@pytest.mark.parametrize("iterable", ["text", b"bytes", bytearray(), 5])
def test_what_is_no_iterable_of_bytes(iterable: Any) -> None:
    with pytest.raises(TypeError):
        IterStream(iterable)


async def test_a_piece_that_is_no_bytes() -> None:
    for piece in ("text", 5, None):
        with pytest.raises(TypeError, match="bytes-like"):
            await IterStream([piece]).read()  # type: ignore[list-item]


async def test_a_generator_that_was_not_exhausted_is_closed() -> None:
    closed: list[str] = []

    def plain() -> Iterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append("plain")

    async def asynchronous() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            await asyncio.sleep(0)
            closed.append("async")

    class Own:
        async def aclose(self) -> None:
            closed.append("own")

        def __aiter__(self) -> Own:
            return self

        async def __anext__(self) -> bytes:
            return b"a"

    for make in (plain, asynchronous, Own):
        async with IterStream(make()) as stream:
            assert await stream.readany() == b"a"
    assert closed == ["plain", "async", "own"]
    async with IterStream(iter([b"a"])):
        pass


async def test_a_step_under_way_is_ended_by_close() -> None:
    ended = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            ended.set()

    stream = IterStream(stuck())
    assert await stream.readany() == b"a"
    reader = asyncio.create_task(stream.readany())
    await turns()
    await stream.close()
    assert ended.is_set()
    with pytest.raises(StreamClosed):
        await reader


async def test_a_step_that_failed_and_nobody_collected() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        raise ZeroDivisionError

    stream = IterStream(failing())
    assert await stream.readany() == b"a"
    reader = asyncio.create_task(stream.readany())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    await turns()
    await stream.close()  # and no "exception was never retrieved"


async def test_a_generator_runs_in_one_task_and_context() -> None:
    """What it holds over a yield, an async generator finds again."""
    seen: list[object] = []
    variable: ContextVar[int] = ContextVar("variable")

    async def traced() -> AsyncIterator[bytes]:
        token = variable.set(1)
        task = asyncio.current_task()
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(variable.get())
                yield b"a"
        finally:
            variable.reset(token)
            seen.append(asyncio.current_task() is task)

    assert await IterStream(traced()).read() == b"aaa"
    assert seen == [1, 1, 1, True]
    async with IterStream(traced()) as stream:
        await stream.readany()
    assert seen[4:] == [1, True]


@pytest.mark.parametrize("slow", ["generator", "reader"])
async def test_a_timeout_over_yields_holds(slow: str) -> None:
    """It strikes in the generator, also while that waits to be asked for more."""

    async def hurried() -> AsyncIterator[bytes]:
        async with asyncio.timeout(0.02):
            yield b"a"
            if slow == "generator":
                await asyncio.Event().wait()
            yield b"b"

    stream = IterStream(hurried())
    assert await stream.readany() == b"a"
    await asyncio.sleep(0.05 if slow == "reader" else 0)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await stream.readany()


async def test_a_generator_goes_on_only_when_asked() -> None:
    made = 0

    async def counting() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"a"

    async with IterStream(counting()) as stream:
        for read in range(1, 4):
            await stream.readany()
            await asyncio.sleep(0.01)
            assert made == read


async def test_a_generator_that_will_not_be_cancelled_is_closed() -> None:
    ended = False

    async def stubborn() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                yield b"a"
        finally:
            ended = True

    stream = IterStream(stubborn())
    reader = asyncio.create_task(stream.readany())
    await turns()
    await stream.close()
    assert ended
    with pytest.raises(StreamClosed):
        await reader


async def test_close_raises_what_the_end_of_a_generator_raises() -> None:
    async def failing() -> AsyncIterator[bytes]:
        try:
            yield b"a"
        finally:
            raise ZeroDivisionError

    stream = IterStream(failing())
    await stream.readany()
    with pytest.raises(ZeroDivisionError):
        await stream.close()
    assert stream.closed


async def test_a_cancelled_close_cancels_the_end_of_a_generator() -> None:
    """Or else nothing could end a clean-up that hangs."""

    async def hanging() -> AsyncIterator[bytes]:
        try:
            yield b"a"
        finally:
            await asyncio.Event().wait()

    stream = IterStream(hanging())
    await stream.readany()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stream.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_generator_that_nobody_closes_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = asyncio.Event()

    async def forgotten() -> AsyncIterator[bytes]:
        try:
            yield b"a"
        finally:
            ended.set()

    await IterStream(forgotten()).readany()
    gc.collect()
    async with asyncio.timeout(20):
        await ended.wait()
    assert caplog.records == []


async def test_a_cancelled_step_of_a_generator_goes_on() -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"late"

    stream = IterStream(slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stream.readany()
    gate.set()
    assert await stream.readany() == b"late"
    assert await stream.readany() == b""


# -- what is closed: one rule for all that take an iterable ----------------------------


class Feed:
    """No generator: an iterator that counts its closings."""

    def __init__(self, *values: Any, fails: bool = False) -> None:
        self.values = list(values)
        self.fails = fails
        self.closed = 0

    def next(self) -> Any:
        if not self.values:
            raise IndexError
        return self.values.pop(0)


class SyncFeed(Feed):
    def __iter__(self) -> SyncFeed:
        return self

    def __next__(self) -> Any:
        try:
            return self.next()
        except IndexError:
            raise StopIteration from None

    def close(self) -> None:
        self.closed += 1
        if self.fails:
            raise OSError("disk")


class AsyncFeed(Feed):
    def __aiter__(self) -> AsyncFeed:
        return self

    async def __anext__(self) -> Any:
        try:
            return self.next()
        except IndexError:
            raise StopAsyncIteration from None


class Acloses(AsyncFeed):
    """As anyio's streams."""

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1
        if self.fails:
            raise OSError("disk")


class ClosesLater(AsyncFeed):
    """As the cursors of some databases."""

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1
        if self.fails:
            raise OSError("disk")


class ClosesAtOnce(AsyncFeed):
    def close(self) -> None:
        self.closed += 1
        if self.fails:
            raise OSError("disk")


class Both(Acloses):
    def close(self) -> None:
        raise AssertionError("aclose() is there")


class Iterable(Feed):
    """Iterated over by a generator, and closed itself."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for value in self.values:
                yield value
        finally:
            self.ended = True

    async def aclose(self) -> None:
        assert self.ended
        self.closed += 1
        if self.fails:
            raise OSError("disk")


FEEDS = [SyncFeed, Acloses, ClosesLater, ClosesAtOnce, Both, Iterable]


# More than NDJSON takes ahead of its reader.
VALUES: dict[str, list[Any]] = {
    "IterStream": [b"a", b"b"],
    "NDJSON": ["x" * 70_000] * 3,
    "EventStream": ["a", "b"],
}


def streams_over(feed: Any) -> dict[str, Callable[[], Stream]]:
    return {
        "IterStream": lambda: IterStream(feed),
        "NDJSON": lambda: NDJSON(feed).encode(),
        "EventStream": lambda: EventStream(feed).encode(),
    }


@pytest.mark.parametrize("name", ["IterStream", "NDJSON", "EventStream"])
@pytest.mark.parametrize("kind", FEEDS)
@pytest.mark.parametrize("reads", [1, 9])
async def test_what_can_be_closed_is_closed_once(
    kind: type[Feed], name: str, reads: int
) -> None:
    """Midway, and when it was iterated over to its end."""
    feed = kind(*VALUES[name])
    stream = streams_over(feed)[name]()
    for _ in range(reads):
        await stream.readany()
    await stream.close()
    await stream.close()
    assert feed.closed == 1


@pytest.mark.parametrize("name", ["IterStream", "NDJSON", "EventStream"])
@pytest.mark.parametrize("kind", FEEDS)
async def test_what_fails_to_close_says_so(kind: type[Feed], name: str) -> None:
    if name == "NDJSON" and kind is not SyncFeed:
        pytest.skip("a producer that is ahead has not been asked for its end")
    feed = kind(*VALUES[name], fails=True)
    stream = streams_over(feed)[name]()
    await stream.readany()
    with pytest.raises(OSError, match="disk"):
        await stream.close()
    assert feed.closed == 1


async def test_all_are_closed_when_one_of_them_fails() -> None:
    feeds = [SyncFeed(fails=True), [1], Acloses(fails=True), ClosesLater()]
    with pytest.raises(OSError, match="disk"):
        await close_iterable(*feeds, feeds[0])
    assert [feed.closed for feed in feeds if isinstance(feed, Feed)] == [1, 1, 1]


@pytest.mark.parametrize("name", ["IterStream", "NDJSON", "EventStream"])
@pytest.mark.parametrize("kind", [SyncFeed, Acloses, Iterable])
async def test_a_stream_that_nobody_has_read_closes_it(
    kind: type[Feed], name: str
) -> None:
    feed = kind(*VALUES[name])
    feed.ended = True  # type: ignore[attr-defined] # a generator that never began
    await streams_over(feed)[name]().close()
    assert feed.closed == 1
