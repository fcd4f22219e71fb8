"""The ends of HTTP chunks: the same as aiohttp's reader tells them, whatever was read.

Random sequences of calls, each made on a real ``aiohttp.StreamReader`` and on an
``HTTPStream`` over another one that is fed the same at the same moments. A failure
names its seed, by which ``play(seed)`` runs that sequence again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import EMPTY_PAYLOAD, StreamReader

from aiostreams import HTTPStream, SizeMismatch
from aiostreams.streams.http import content_type_of

pytestmark = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")

ALPHABET = b"abc\n\n|"
SEPARATORS = (b"\n", b"|", b"a\n", b"b|\n")


def reader() -> StreamReader:
    """One that is fed by hand; it may be waited for, which ends by a cancellation."""
    protocol: Any = SimpleNamespace(
        connected=True, _reading_paused=False, resume_reading=lambda **_kwargs: None
    )
    return StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())


async def outcome(call: Awaitable[Any] | Any) -> Any:
    try:
        return await call if isinstance(call, Awaitable) else call
    except asyncio.IncompleteReadError as error:
        return "incomplete", error.partial, error.expected


class Game:
    """The two readers, and what is done with both of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = reader()
        self.reader = reader()
        self.stream = HTTPStream(self.reader)
        self.chunked = self.random.random() < 0.8
        self.in_chunk = False
        self.log: list[Any] = [("seed", seed)]
        self.calls = 0

    @property
    def available(self) -> bytes:
        """What has arrived, and the model has not given."""
        joined = b"".join(self.model._buffer)
        return joined[self.model._buffer_offset :]

    @property
    def ended(self) -> bool:
        return self.model.is_eof()

    # -- what arrives ------------------------------------------------------------------

    def both(self, name: str, *arguments: Any) -> None:
        self.log.append((name, *arguments))
        for fed in (self.model, self.reader):
            getattr(fed, name)(*arguments)

    def bytes(self, most: int) -> bytes:
        size = self.random.randint(1, most)
        return bytes(self.random.choice(ALPHABET) for _ in range(size))

    def arrive(self) -> None:
        """A piece, or the end of a chunk, or both at once."""
        if self.ended:
            return
        if self.chunked and not self.in_chunk:
            self.both("begin_http_chunk_receiving")
            self.in_chunk = True
        self.both("feed_data", self.bytes(9))
        if self.chunked and self.random.random() < 0.6:
            self.end_chunk()

    def end_chunk(self) -> None:
        if self.in_chunk:
            self.both("end_http_chunk_receiving")
            self.in_chunk = False

    def finish(self) -> None:
        if not self.ended:
            self.end_chunk()
            self.both("feed_eof")

    # -- what is called ----------------------------------------------------------------

    async def call(self, name: str, make: Callable[[Any], Any]) -> None:
        """Make a call that does not have to wait on both; the same comes of it."""
        expected = await outcome(make(self.model))
        async with asyncio.timeout(20):
            got = await outcome(make(self.stream))
        self.log.append((name, got))
        self.calls += 1
        assert got == expected, (name, got, expected, self.log)

    async def step(self) -> None:
        rng = self.random
        here = self.available
        n = rng.randint(1, 12)
        separator = rng.choice(SEPARATORS)
        ready = bool(here) or self.ended
        border = bool(self.model._http_chunk_splits)
        calls: list[tuple[bool, str, Callable[[Any], Any]]] = [
            (ready, "readany", lambda r: r.readany()),
            (ready, "iter_any", lambda r: anext(r.iter_any(), None)),
            (n <= len(here) or self.ended, f"read({n})", lambda r: r.read(n)),
            (True, "read(0)", lambda r: r.read(0)),
            (self.ended, "read()", lambda r: r.read()),
            (
                n <= len(here) or self.ended,
                f"readexactly({n})",
                lambda r: r.readexactly(n),
            ),
            (
                n <= len(here) or self.ended,
                f"iter_chunked({n})",
                lambda r: anext(r.iter_chunked(n), None),
            ),
            (b"\n" in here or self.ended, "readline", lambda r: r.readline()),
            (b"\n" in here or self.ended, "async for", lambda r: anext(aiter(r), None)),
            (
                separator in here or self.ended,
                f"readuntil({separator!r})",
                lambda r: r.readuntil(separator),
            ),
            (ready or border, "readchunk", lambda r: r.readchunk()),
            (ready or border, "iter_chunks", lambda r: anext(r.iter_chunks(), None)),
            (True, f"read_nowait({n})", lambda r: r.read_nowait(n)),
            (True, "read_nowait()", lambda r: r.read_nowait()),
            (True, "at_eof", lambda r: r.at_eof()),
            (True, "is_eof", lambda r: r.is_eof()),
            (True, "total_raw_bytes", lambda r: r.total_raw_bytes),
            (self.ended, "wait_eof", lambda r: r.wait_eof()),
        ]
        # Lines and chunks more often than the others.
        weights = [1, 1, 2, 1, 0.2, 2, 1, 3, 2, 3, 5, 3, 0.5, 0.2, 1, 0.5, 0.5, 0.5]
        possible = [
            (call, weight)
            for call, weight in zip(calls, weights, strict=True)
            if call[0]
        ]
        _, name, make = rng.choices(
            [call for call, _ in possible], [weight for _, weight in possible]
        )[0]
        await self.call(name, make)

    def unread(self) -> None:
        data = self.bytes(4)
        self.log.append(("unread_data", data))
        self.model.unread_data(data)
        self.stream.unread_data(data)

    async def look(self) -> None:
        """Only ours can, and nothing may come of it."""
        if self.available or self.ended:
            n = self.random.randint(1, 20)
            seen = await self.stream.peek(n)
            self.log.append((f"peek({n})", seen))
            assert self.available.startswith(seen), self.log
            assert seen or not self.available

    async def give_up(self) -> None:
        """A read of ours that waits and is cancelled; it has taken nothing."""
        if b"x" in self.available or self.ended:
            return
        waits = [
            self.stream.readuntil(b"x"),
            self.stream.readexactly(10**6),
            self.stream.read(10**6),
        ]
        self.random.shuffle(waits)
        chosen, *others = waits
        for other in others:
            other.close()
        self.log.append("cancelled")
        task = asyncio.ensure_future(chosen)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def play(seed: int, *, steps: int = 40) -> int:
    """One sequence of that seed; how many calls it has compared."""
    game = Game(seed)
    for _ in range(steps):
        chance = game.random.random()
        if chance < 0.3:
            game.arrive()
        elif chance < 0.34:
            game.end_chunk()
        elif chance < 0.36:
            game.finish()
        elif chance < 0.42:
            game.unread()
        elif chance < 0.46:
            await game.look()
        elif chance < 0.5:
            await game.give_up()
        else:
            await game.step()
    game.finish()
    while True:
        await game.call("readchunk", lambda r: r.readchunk())
        if game.log[-1][1] == (b"", False):
            return game.calls


@pytest.mark.parametrize("block", range(20))
async def test_random_sequences_of_calls(block: int) -> None:
    """300 in each block; a failure says which, with all that was done before it."""
    compared = 0
    for seed in range(block * 300, (block + 1) * 300):
        compared += await play(seed)
    assert compared > 300 * 10


async def test_the_game_finds_a_reader_that_forgets_borders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taking all that has arrived for a line, as one did once, is seen at once."""

    async def readuntil(self: HTTPStream, *args: Any, **kwargs: Any) -> bytes:
        return await super(HTTPStream, self).readuntil(*args, **kwargs)

    monkeypatch.setattr(HTTPStream, "readuntil", readuntil)
    with pytest.raises(AssertionError, match="seed"):
        for seed in range(300):
            await play(seed)


async def test_borders_after_lines() -> None:
    """The sequence by which it was found."""
    fed = reader()
    stream = HTTPStream(fed)
    for data in (b"one\ntwo", b" three\nfour\n", b"five"):
        fed.begin_http_chunk_receiving()
        fed.feed_data(data)
        fed.end_http_chunk_receiving()
    fed.feed_eof()
    assert await stream.readline() == b"one\n"
    assert await stream.readchunk() == (b"two", True)
    assert await stream.readuntil(b"three\n") == b" three\n"
    assert await anext(aiter(stream)) == b"four\n"
    chunks = [chunk async for chunk in stream.iter_chunks()]
    assert chunks == [(b"", True), (b"five", True)]


async def sized(size: int, *pieces: bytes) -> tuple[HTTPStream, StreamReader]:
    """A stream that has given a line of the first chunk and holds the rest of it."""
    fed = reader()
    fed.begin_http_chunk_receiving()
    fed.feed_data(pieces[0])
    stream = HTTPStream(fed, size=size)
    assert await stream.readline() == b"a\n"
    for piece in pieces[1:]:
        fed.feed_data(piece)
    return stream, fed


@pytest.mark.parametrize("size", [4, 5])
async def test_a_body_longer_than_its_size_gives_what_it_promised(size: int) -> None:
    """What is held comes first, and the error with the next read, by either call."""
    stream, _ = await sized(size, b"a\nbc", b"defg")
    assert await stream.readany() == b"bcdefg"[: size - 2]
    for _ in range(2):
        with pytest.raises(SizeMismatch):
            await stream.readany()
    stream, fed = await sized(size, b"a\nbc", b"defg")
    fed.end_http_chunk_receiving()
    given = b""
    with pytest.raises(SizeMismatch):
        while True:
            data, _ = await stream.readchunk()
            given += data
    assert given == b"bcdefg"[: size - 2]


async def test_what_is_not_there_has_no_borders() -> None:
    for call in ("readline", "readchunk"):
        stream = HTTPStream(EMPTY_PAYLOAD)
        assert await stream.peek(1) == b""
        assert await stream.read(5) == b""
        assert await getattr(stream, call)() in (b"", (b"", False))


async def test_a_content_type_that_is_not_utf8() -> None:
    assert content_type_of({"Content-Type": "text/plain; a=\udce9"}) == (
        "text/plain; a=\ufffd"
    )
    assert content_type_of({"Content-Type": "text/plain"}) == "text/plain"
    assert content_type_of({}) is None
