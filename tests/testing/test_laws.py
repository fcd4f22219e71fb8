"""The kit is worth something: for each law a stream that breaks it is caught.

The guards make most laws impossible to break by a source alone; so these streams
break them by overriding what a source should leave alone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from aiostreams import ByteStream, SizeMismatch, Stream, Transform
from aiostreams.testing import LAWS, DripStream, check_stream
from aiostreams.testing.laws import SAMPLE


class ShortReads(ByteStream):
    async def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > 3:
            size = 3
        return await super().read(size)


class ForgetsTheEnd(Transform):
    def __init__(self, source: Stream) -> None:
        super().__init__(source)
        self.ends = 0

    async def read(self, size: int | None = -1) -> bytes:
        data = await super().read(size)
        if not data and size != 0:
            self.ends += 1
            return b"more" if self.ends == 2 else b""
        return data


class EatsZero(ByteStream):
    async def read(self, size: int | None = -1) -> bytes:
        if size == 0:
            await super().read(1)
            return b""
        return await super().read(size)


class LosesNewlines(ByteStream):
    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return (await super().readline(max_line_length=max_line_length)).strip()


class NoLongestLine(ByteStream):
    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return await super().readline()


class PeekConsumes(ByteStream):
    async def peek(self, n: int) -> bytes:
        return await self.read(n)


class ShortExactly(ByteStream):
    async def readexactly(self, n: int) -> bytes:
        try:
            return await super().readexactly(n)
        except asyncio.IncompleteReadError as error:
            return error.partial


class ShrinkingSize(ByteStream):
    @property
    def size(self) -> int | None:
        return len(SAMPLE) - self.position if self.position < 100 else None


class BelievesLies(Transform):
    @property
    def size(self) -> int | None:
        return None

    async def readany(self) -> bytes:
        try:
            return await super().readany()
        except ValueError:
            return b""


class OddType(ByteStream):
    @property
    def content_type(self) -> Any:
        return b"text/plain"


class SilentWrite(ByteStream):
    def __getattribute__(self, name: str) -> Any:
        if name == "write":
            return self.swallow
        return super().__getattribute__(name)

    async def swallow(self, data: bytes) -> None:
        pass


class ReadsAfterClose(ByteStream):
    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return b"" if self.closed else await super().readline()


class TakesBackAfterClose(ByteStream):
    def unread(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            super().unread(data)


class LeavesTheSourceOpen(Transform):
    async def close(self) -> None:
        pass


class DropsDataBeforeErrors(Transform):
    """Reads all at once, and so has nothing to give when that fails."""

    async def readany(self) -> bytes:
        return await self.source.read()


class HidesErrors(Transform):
    async def readany(self) -> bytes:
        try:
            return await super().readany()
        except Exception:
            return b""


class LosesCancelledBytes(Transform):
    async def readany(self) -> bytes:
        piece = await self.source.readany()
        await asyncio.sleep(0)
        return piece


class DiesOfCancellation(Transform):
    dead = False

    async def readany(self) -> bytes:
        if self.dead:
            raise OSError("dead")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.dead = True
            raise
        return await super().readany()


class LetsTwoRead(Transform):
    async def read(self, size: int | None = -1) -> bytes:
        return b"" if self._life.reader else await super().read(size)


class HoldsTheLoop(Transform):
    async def readany(self) -> bytes:
        until = time.thread_time() + 0.025
        while time.thread_time() < until:
            pass
        return await super().readany()


class Hoards(Transform):
    def __init__(self, source: Stream) -> None:
        super().__init__(source)
        self.hoard: list[bytes] = []

    async def readany(self) -> bytes:
        piece = await super().readany()
        self.hoard.append(piece[:1] + piece[1:])
        return piece


class Chatty(ByteStream):
    def __repr__(self) -> str:
        return f"<Chatty {self._data[:50]!r} closed>"


class Nameless(ByteStream):
    def __repr__(self) -> str:
        return "<a stream, closed>"


BREAKERS: list[tuple[int, Any]] = [
    (1, lambda: ShortReads(SAMPLE)),
    (1, ForgetsTheEnd),
    (1, lambda: EatsZero(SAMPLE)),
    (3, lambda: LosesNewlines(SAMPLE)),
    (3, lambda: NoLongestLine(SAMPLE)),
    (3, lambda: PeekConsumes(SAMPLE)),
    (3, lambda: ShortExactly(SAMPLE)),
    (4, lambda: ShrinkingSize(SAMPLE)),
    (4, BelievesLies),
    (5, lambda: OddType(SAMPLE)),
    (6, lambda: SilentWrite(SAMPLE)),
    (7, lambda: ReadsAfterClose(SAMPLE)),
    (7, lambda: TakesBackAfterClose(SAMPLE)),
    (7, LeavesTheSourceOpen),
    (8, DropsDataBeforeErrors),
    (8, HidesErrors),
    (9, LosesCancelledBytes),
    (9, DiesOfCancellation),
    (9, LetsTwoRead),
    (10, HoldsTheLoop),
    (11, Hoards),
    (12, lambda: Chatty(SAMPLE)),
    (12, lambda: Nameless(SAMPLE)),
]


@pytest.mark.parametrize(
    ("number", "make"),
    BREAKERS,
    ids=lambda value: str(value) if isinstance(value, int) else None,
)
async def test_a_stream_that_breaks_a_law_is_caught_by_it(
    number: int, make: Any
) -> None:
    law = LAWS[number - 1]
    assert f"law_{number:02}" in law.__name__
    with pytest.raises(AssertionError):
        await law(make)


async def test_check_stream_runs_every_law() -> None:
    await check_stream(lambda: ByteStream(SAMPLE))
    await check_stream(Transform)
    with pytest.raises(AssertionError):
        await check_stream(lambda: Nameless(SAMPLE))


class Truncating(Transform):
    """Drops bytes, and so runs into its own guards."""

    async def readany(self) -> bytes:
        return (await self.source.readany())[:3]


async def test_what_a_broken_stream_raises_is_a_broken_law() -> None:
    with pytest.raises(AssertionError, match="law_01_read_is_exact: ") as caught:
        await check_stream(Truncating)
    assert isinstance(caught.value.__cause__, SizeMismatch)


@pytest.mark.parametrize("data", [b"", b"x", b"\n", b"no line end"])
async def test_streams_of_few_bytes_are_within_the_laws(data: bytes) -> None:
    await check_stream(lambda: ByteStream(data))


async def test_a_stream_that_can_be_written_is_within_the_laws() -> None:
    class Writable(ByteStream):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            raise AssertionError("nobody asked for that")

    await check_stream(lambda: Writable(SAMPLE))


async def test_a_stream_that_is_always_slower_than_its_reader_is_within_the_laws() -> (
    None
):
    """Each read of it is cancelled, over and over, and yet it comes to its end."""
    law = LAWS[8]
    assert "cancelled" in law.__name__
    await law(lambda: DripStream(SAMPLE[:44], 11, turns=20))


async def test_make_may_be_a_coroutine_function() -> None:
    async def make(source: Stream) -> Stream:
        await asyncio.sleep(0)
        return Transform(source)

    await check_stream(make)
