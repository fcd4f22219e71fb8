"""A response that is made while it is sent ends when the client has left."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    NDJSON,
    ByteStream,
    ClientGone,
    Content,
    EncodedStream,
    EventStream,
    IterStream,
    Limits,
    Stream,
    open_stream,
    proxy,
    respond,
    setup,
)
from aiostreams.stats import BodyStats
from aiostreams.web import disconnect as watch
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving
from tests.waiting import until

PATIENT = Limits(idle_timeout=None, min_rate=0)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_EVERY", 0.02)


class Echo:
    """Sends back what it reads, and remembers how the reading ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )

    async def pieces(self, source: Stream) -> AsyncIterator[bytes]:
        try:
            async for piece in source.iter_any():
                self.begun.set()
                yield piece
        except BaseException as error:
            self.ended.set_result(error)
            raise
        self.ended.set_result(None)

    async def handle(self, request: web.Request) -> Any:
        stream: Stream = IterStream(self.pieces(open_stream(request)))
        if request.query:
            stream = EncodedStream(stream, "gzip")
        return respond(stream)


@contextlib.asynccontextmanager
async def patient(handler: Any) -> AsyncIterator[tuple[str, int]]:
    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=PATIENT, compression=None)
    async with serving(app, auto_decompress=False) as address:
        yield address


def leave(raw: Raw, how: str) -> None:
    if how == "reset":
        raw.reset()
    else:
        raw.writer.close()


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("coding", [None, "gzip"])
@pytest.mark.parametrize("path", ["/", "/?gzip"])
async def test_a_reader_is_told_that_the_client_has_left(
    how: str, coding: str | None, path: str
) -> None:
    echo = Echo()
    head = post(headers=CHUNKED, path=path)
    data = b"hello"
    if coding is not None:
        head = post(headers=[*CHUNKED, ("Content-Encoding", "gzip")], path=path)
        data = gzip.compress(b"hello")[:-8]
    async with patient(echo.handle) as address, connected(address) as raw:
        await raw.send(head, chunk(data))
        await echo.begun.wait()
        if path == "/":
            await raw.reader.readuntil(b"hello")
        assert not echo.ended.done()
        leave(raw, how)
        assert isinstance(await echo.ended, ClientGone)


async def test_an_upstream_is_told_through_a_proxy() -> None:
    echo = Echo()

    async def passing(request: web.Request) -> Any:
        return await proxy(request, session, f"http://127.0.0.1:{port}/")

    async with (
        patient(echo.handle) as (_, port),
        aiohttp.ClientSession() as session,
        patient(passing) as address,
        connected(address) as raw,
    ):
        await raw.send(post(headers=CHUNKED), chunk(b"hello"))
        await raw.reader.readuntil(b"hello")
        raw.reset()
        assert isinstance(await echo.ended, ClientGone)


async def test_a_client_that_stays_is_served_as_slow_as_it_is() -> None:
    for _ in range(2):
        echo = Echo()
        async with patient(echo.handle) as address, connected(address) as raw:
            for _ in range(2):  # the connection goes on
                echo.ended = asyncio.get_running_loop().create_future()
                await raw.send(post(headers=CHUNKED), chunk(b"one"))
                await raw.reader.readuntil(b"one")
                await asyncio.sleep(0.1)
                await raw.send(chunk(b"two"), chunk(b""))
                got = await raw.reader.readuntil(b"0\r\n\r\n")
                assert b"two" in got
                assert await echo.ended is None


async def test_only_what_can_wait_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[watch.DisconnectWatch] = []

    def counting(self: watch.DisconnectWatch, *args: Any) -> None:
        made.append(self)
        begin(self, *args)

    begin = watch.DisconnectWatch.__init__
    monkeypatch.setattr(watch.DisconnectWatch, "__init__", counting)

    async def nothing(*pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    ready: list[Any] = [JSON([1]), ByteStream(b"x"), IterStream(nothing(b"x"), size=1)]

    async def handler(_request: web.Request) -> Any:
        return ready.pop()

    async with patient(handler) as address, connected(address) as raw:
        while ready:
            await raw.send(post(b"whole"))
            assert (await raw.response())[0] == 200
        assert not made
        for content in (IterStream(nothing(b"x")), NDJSON(nothing()), EventStream([])):
            ready.append(content)
            await raw.send(post(b"whole"))
            assert (await raw.response())[0] == 200
            assert made.pop()
    echo = Echo()
    async with patient(echo.handle) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"one"))
        await raw.reader.readuntil(b"one")
        assert len(made) == 1


def events(feed: AsyncIterator[int]) -> EventStream:
    return EventStream(feed, keep_alive=None)


def pieces(feed: AsyncIterator[int]) -> IterStream:
    return IterStream(b"%d" % value async for value in feed)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize(
    ("make", "coding"),
    [
        (events, None),
        (events, "gzip"),
        (NDJSON, None),
        (NDJSON, "zstd"),
        # One that is not live would be held back by its encoder.
        (pieces, None),
    ],
)
async def test_a_feed_in_silence_ends_when_the_client_has_left(
    make: Any, coding: str | None, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()
    told: list[BodyStats] = []

    async def feed() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async def handler(_request: web.Request) -> Any:
        content = make(feed())
        if coding is None:
            return content
        stream = content.encode() if isinstance(content, Content) else content
        return respond(EncodedStream(stream, coding))

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=PATIENT, on_stats=told.append)
    async with serving(app, auto_decompress=False) as address:
        async with connected(address) as raw:
            await raw.send(post())
            await raw.reader.readuntil(b"\r\n\r\n")
            await raw.reader.readuntil(b"\r\n")
            await asyncio.sleep(0.1)
            assert not ended.is_set()
            leave(raw, how)
            await ended.wait()
        await until(lambda: told)
    assert [stats.outcome for stats in told] == ["client_gone"]
    assert not caplog.records


async def test_a_feed_that_cannot_be_closed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Feed(Stream):
        live = True
        begun = False

        async def readany(self) -> bytes:
            if self.begun:
                await asyncio.Event().wait()
            self.begun = True
            return b"x"

        async def close(self) -> None:
            raise ValueError("not even that")

    async def handler(_request: web.Request) -> Any:
        return Feed()

    async with patient(handler) as address, connected(address) as raw:
        await raw.send(post())
        await raw.reader.readuntil(b"x")
        raw.reset()
        await until(lambda: caplog.records)
    assert "not even that" in caplog.text


async def test_a_body_that_has_ended_or_failed_is_left_alone() -> None:
    seen: list[BaseException | None] = []
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def pieces(request: web.Request) -> AsyncIterator[bytes]:
        yield b"x"
        mine = ValueError("the first error")
        request.content.set_exception(mine)
        await asyncio.sleep(0.1)
        seen.append(request.content.exception())
        asked.set_result(None)

    async def handler(request: web.Request) -> Any:
        return respond(IterStream(pieces(request), size=1))

    async with patient(handler) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"one"))
        await raw.reader.readuntil(b"x")
        raw.reset()
        await asked
    assert [str(error) for error in seen] == ["the first error"]
