"""Random operations, in any order, on every Stream class, beside a model of one.

The model is a run of bytes and how it ends. What it cannot know is the size of the
pieces that ``readany`` and ``peek`` give; there the stream only has to be right. Some
operations are cancelled after a few turns of the event loop, others are met by a
second reader, and the source may fail midway: the model stays the same, since none of
that may lose a byte.
"""

from __future__ import annotations

import asyncio
import gzip
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import AsyncIterablePayload
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiostreams import (
    ByteStream,
    DecodedStream,
    FileStream,
    GUnzipStream,
    GZipStream,
    IterStream,
    LimitExceeded,
    SpooledStream,
    Stream,
    StreamBusy,
    StreamClosed,
)
from aiostreams.streams.base import MAX_LINE_LENGTH
from aiostreams.testing import DripStream, FailStream
from aiostreams.testing.laws import SAMPLE, Failure, Make
from aiostreams.web.payload_stream import PayloadStream

from .test_laws import MAKES

PIECES = [(1,), (7,), (1, 30, 2, 500), (10_000,)]
# Of a source that fails: after so many bytes, or never.
FAILURES = [None, 0, 1, 100, len(SAMPLE) - 1]


async def spooled() -> Stream:
    stream = SpooledStream(max_memory=100)
    for start in range(0, len(SAMPLE), 60):
        await stream.write(SAMPLE[start : start + 60])
    await stream.rewind()
    return stream


async def pieces_of(source: Stream) -> AsyncIterator[bytes]:
    async with source:
        async for piece in source.iter_any():
            yield piece


MORE: dict[str, Make] = {
    "FileStream": lambda: FileStream(Path(__file__)),
    "FileStream, a part": lambda: FileStream(Path(__file__), offset=5, length=700),
    "SpooledStream": spooled,
    "GZipStream": GZipStream,
    "GUnzipStream": lambda: GUnzipStream(DripStream(gzip.compress(SAMPLE), (1, 90))),
    "GZipStream and back": lambda source: GUnzipStream(GZipStream(source)),
    "two codings": lambda source: DecodedStream(
        GZipStream(GZipStream(source)), "gzip, gzip"
    ),
    "PayloadStream": lambda source: PayloadStream(
        AsyncIterablePayload(pieces_of(source))
    ),
    "a slice of bytes": lambda: ByteStream(SAMPLE * 3).slice(7, 2000),
    "IterStream of a generator of bytes": lambda: IterStream(
        memoryview(SAMPLE)[start : start + 3] for start in range(0, len(SAMPLE), 3)
    ),
}


@dataclass(frozen=True)
class Operation:
    """A call, and what happens to it.

    Attributes:
        name: the method.
        n: its number: a size, a ceiling, how much to push back.
        separator: of ``readuntil``.
        turns: how many turns of the event loop it gets before ``then``.
        then: "wait" for it, "cancel" it, let a "rival" read too, or "close" the stream.
    """

    name: str
    n: int
    separator: bytes = b"\n"
    turns: int = 0
    then: str = "wait"


SIZES = st.sampled_from([-1, 0, *range(1, 9), 12, 40, 63, 64, 100, 900, 100_000])
OPERATIONS = st.lists(
    st.builds(
        Operation,
        st.sampled_from(
            [
                *("read", "readany", "readexactly", "readline", "readuntil", "peek"),
                *("unread", "take_back", "iter_chunked", "iter_any", "close"),
            ]
        ),
        SIZES,
        st.sampled_from([b"\n", b"\r\n--", b"xx\n", b"--sep", b"not in there"]),
        st.integers(0, 6),
        st.sampled_from([*["wait", "cancel", "rival"] * 3, "close"]),
    ),
    max_size=25,
)


class Model:
    """What a stream has to give.

    Attributes:
        rest: the bytes that are left.
        error: what comes after them, in place of the end.
        closed: whether everything is over.
    """

    def __init__(self, content: bytes, error: type[Exception] | None) -> None:
        self.rest = content
        self.error = error
        self.closed = False
        self.last = b""

    def take(self, n: int) -> bytes:
        self.last, self.rest = self.rest[:n], self.rest[n:]
        return self.last

    def until(self, separator: bytes, limit: int) -> int | type[Exception]:
        """How long the line is, or how looking for its end fails."""
        end = self.rest.find(separator)
        length = len(self.rest) if end < 0 else end + len(separator)
        if length > limit:
            return LimitExceeded
        if end < 0 and self.error:
            return self.error
        return length

    def check(self, operation: Operation, outcome: Any) -> None:
        """Hold the outcome of a call, and take the same bytes away."""
        if self.closed:
            assert outcome is StreamClosed
            return
        rest, n = self.rest, operation.n
        match operation.name:
            case "readany" | "iter_any":
                self._some(outcome, len(rest))
            case "peek":
                if n <= 0:
                    assert outcome == b""
                else:
                    self._some(outcome, n)
                    self.rest = rest
            case "read" if n < 0:
                if self.error:
                    assert outcome is self.error
                else:
                    assert outcome == self.take(len(rest))
            case "read" | "iter_chunked":
                n = n if operation.name == "read" else max(1, n)
                if n and not rest and self.error:
                    assert outcome is self.error
                else:
                    assert outcome == self.take(n)
            case "readexactly":
                if n <= len(rest):
                    assert outcome == self.take(max(0, n))
                elif self.error:
                    assert outcome is self.error
                else:
                    assert outcome is asyncio.IncompleteReadError
                    self.take(n)
            case "readline" | "readuntil":
                length = self.until(*line_of(operation))
                if isinstance(length, int):
                    assert outcome == self.take(length)
                else:
                    assert outcome is length

    def _some(self, outcome: Any, most: int) -> None:
        if not self.rest:
            assert outcome == (self.error or b"")
            return
        assert isinstance(outcome, bytes)
        assert 1 <= len(outcome) <= most
        assert outcome == self.take(len(outcome))


def line_of(operation: Operation) -> tuple[bytes, int]:
    """How a line ends, and how long it may be."""
    separator = b"\n" if operation.name == "readline" else operation.separator
    return separator, operation.n if operation.n > 2 else MAX_LINE_LENGTH


def call(stream: Stream, operation: Operation) -> Awaitable[bytes]:
    n = operation.n
    match operation.name:
        case "readline":
            return stream.readline(max_line_length=n if n > 2 else None)
        case "readuntil":
            separator, limit = line_of(operation)
            return stream.readuntil(separator, max_size=limit)
        case "iter_chunked":
            return until_stopped(stream.iter_chunked(max(1, n)))
        case "iter_any":
            return until_stopped(stream.iter_any())
        case "readany":
            return stream.readany()
        case name:
            return getattr(stream, name)(n)  # type: ignore[no-any-return]


async def until_stopped(iterator: Any) -> bytes:
    return await anext(iterator, b"")


async def outcome_of(call: Callable[[], Awaitable[bytes]]) -> Any:
    try:
        return await call()
    except (Exception, asyncio.CancelledError) as error:
        return type(error)


async def step(stream: Stream, model: Model, operation: Operation) -> None:
    match operation.name:
        case "close":
            if operation.n == 0:
                await stream.close()
                model.closed = True
            return
        case "unread" | "take_back":
            # Any bytes, or those that came last.
            own = operation.name == "unread"
            back = b"<" * max(0, operation.n) if own else model.last
            if model.closed:
                with pytest.raises(StreamClosed):
                    stream.unread(back)
            else:
                stream.unread(back)
                model.rest, model.last = back + model.rest, b""
            return
    task = asyncio.create_task(outcome_of(lambda: call(stream, operation)))
    for _ in range(operation.turns):
        await asyncio.sleep(0)
    if operation.turns and operation.then == "rival" and not task.done():
        # It has begun, so it waits in the source, and nobody else may read.
        for other in (stream.readany, stream.read, stream.readline):
            assert await outcome_of(other) is StreamBusy
        with pytest.raises(StreamBusy):
            stream.unread(b"x")
    if operation.then == "cancel":
        task.cancel()
    elif operation.then == "close" and operation.turns:
        waits = not task.done()
        await stream.close()
        model.closed = model.closed or waits
    await asyncio.wait([task])
    # The former when it had not even begun.
    outcome = asyncio.CancelledError if task.cancelled() else task.result()
    if outcome is asyncio.CancelledError:
        assert operation.then == "cancel"
        return
    model.check(operation, outcome)
    model.closed = stream.closed


def takes_source(make: Make) -> bool:
    return any(
        parameter.default is parameter.empty
        for parameter in inspect.signature(make).parameters.values()
    )


async def made(make: Make, *args: Stream) -> Stream:
    stream = make(*args)
    return stream if isinstance(stream, Stream) else await stream


async def run(
    make: Make,
    content: bytes,
    operations: list[Operation],
    pieces: tuple[int, ...],
    turns: int,
    failure: int | None,
) -> None:
    if not takes_source(make):
        stream = await made(make)
        model = Model(content, None)
    elif failure is None:
        stream = await made(make, DripStream(SAMPLE, pieces, turns=turns))
        model = Model(content, None)
    else:

        def source() -> Stream:
            error = Failure()
            return FailStream(SAMPLE, failure, error, pieces=pieces, turns=turns)

        stream = await made(make, source())
        async with await made(make, source()) as other:
            arrived = b""
            while isinstance(piece := await outcome_of(other.readany), bytes):
                arrived += piece
        model = Model(arrived, Failure)
    async with stream:
        size = stream.size
        for operation in operations:
            await step(stream, model, operation)
            if not model.closed:
                assert size is None or stream.size == size
                size = stream.size
            assert stream.closed is model.closed
        if not model.closed:
            got = await outcome_of(stream.read)
            assert got == (model.error or model.rest)
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        # What feeds a reader goes on without it, and ends by itself.
        assert not (await asyncio.wait(others, timeout=30))[1]


ALL = MAKES | MORE
# For each class; together some six seconds. What 60 miss, another run finds.
EXAMPLES = 60


@pytest.mark.parametrize("name", ALL)
def test_any_sequence_of_operations(name: str) -> None:
    make = ALL[name]
    # The debug mode notes the stack of each future, which is deep below hypothesis: nine
    # tenths of the time. The laws of the same streams are tested in that mode.
    with asyncio.Runner(debug=False) as runner:

        async def whole() -> bytes:
            sources = [ByteStream(SAMPLE)] if takes_source(make) else []
            async with await made(make, *sources) as stream:
                return await stream.read()

        content = runner.run(whole())

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(
            OPERATIONS,
            st.sampled_from(PIECES),
            st.integers(0, 2),
            st.sampled_from(FAILURES),
        )
        @example([], (7,), 1, 1)
        def sequences(
            operations: list[Operation],
            pieces: tuple[int, ...],
            turns: int,
            failure: int | None,
        ) -> None:
            runner.run(run(make, content, operations, pieces, turns, failure))

        sequences()
