"""A client that is too slow is told so; a steady one above the rate is served."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    BodyTimeout,
    LimitExceeded,
    Limits,
    Text,
    UnsupportedContent,
    expect_continue,
    limit,
    open_stream,
    read_bytes,
    setup,
)
from aiostreams.web.request_stream import ReadDeadline, RequestStream
from aiostreams.web.state import body_of
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving

HEADS = [post(headers=[("Content-Length", "1000")]), post(headers=CHUNKED)]
KINDS = ["length", "chunked"]


def app_of(**ceilings: Any) -> web.Application:
    async def handler(request: web.Request) -> Any:
        return JSON(len(await read_bytes(request)))

    app = web.Application()
    app.router.add_post("/", handler)
    never = {"idle_timeout": None, "total_timeout": None, "min_rate": 0}
    return setup(app, limits=Limits(**{**never, **ceilings}))


async def drip(raw: Raw, head: bytes, *, pause: float, size: int = 1) -> None:
    piece = chunk(b"x" * size) if b"chunked" in head else b"x" * size
    with contextlib.suppress(ConnectionError):
        while True:
            raw.writer.write(piece)
            await raw.writer.drain()
            await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def dripping(raw: Raw, head: bytes, **kwargs: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(drip(raw, head, **kwargs))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("head", HEADS, ids=KINDS)
@pytest.mark.parametrize("first", [0, 1])
async def test_silence_is_answered_408_and_closed(head: bytes, first: int) -> None:
    app = app_of(idle_timeout=0.1)
    async with serving(app, lingering_time=0) as address, connected(address) as raw:
        await raw.send(head)
        if first:
            await raw.send(chunk(b"x"))
        status, headers, body = await raw.response()
        assert status == 408
        assert headers["connection"] == "close"
        assert b"0.1 seconds" in body
        assert await raw.reader.read() == b""


@pytest.mark.parametrize("head", HEADS, ids=KINDS)
async def test_one_byte_now_and_then_falls_under_the_rate(head: bytes) -> None:
    app = app_of(idle_timeout=5, min_rate=240, min_rate_grace=0.3)
    async with (
        serving(app) as address,
        connected(address) as raw,
        _sent(raw, head),
        dripping(raw, head, pause=0.05),
    ):
        status, _, body = await raw.response()
    assert status == 408
    assert b"240 are expected" in body


@contextlib.asynccontextmanager
async def _sent(raw: Raw, head: bytes) -> AsyncIterator[None]:
    await raw.send(head)
    yield


@pytest.mark.parametrize("head", HEADS, ids=KINDS)
async def test_a_slow_but_steady_client_is_served(head: bytes) -> None:
    app = app_of(idle_timeout=0.3, min_rate=100, min_rate_grace=0.2)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(head)
        chunked = b"chunked" in head
        for _ in range(10):
            await raw.send(chunk(b"x" * 100) if chunked else b"x" * 100)
            await asyncio.sleep(0.05)
        if chunked:
            await raw.send(chunk(b""))
        assert (await raw.response())[2] == b"1000"


@pytest.mark.parametrize("head", HEADS, ids=KINDS)
async def test_the_whole_body_has_its_time(head: bytes) -> None:
    app = app_of(total_timeout=0.3)
    async with (
        serving(app) as address,
        connected(address) as raw,
        _sent(raw, head),
        dripping(raw, head, pause=0.01),
    ):
        status, _, body = await raw.response()
    assert status == 408
    assert b"after 0.3 seconds" in body


async def test_a_slow_application_is_not_the_clients_fault() -> None:
    async def handler(request: web.Request) -> Any:
        total = 0
        async for piece in open_stream(request).iter_any():
            total += len(piece)
            await asyncio.sleep(0.3)
        return JSON(total)

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(idle_timeout=0.2, min_rate=10_000, min_rate_grace=0.2))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "60")]), b"x" * 20)
        for _ in range(2):
            await asyncio.sleep(0.25)
            await raw.send(b"x" * 20)
        assert (await raw.response())[:3:2] == (200, b"60")


async def test_a_total_time_that_ran_out_between_two_reads() -> None:
    seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @limit(total_timeout=0.1)
    async def handler(request: web.Request) -> Any:
        stream = open_stream(request)
        await stream.read(1)
        await asyncio.sleep(0.2)
        try:
            await stream.read()
        except BodyTimeout as error:
            seen.set_result((str(error), await _again(stream)))
            raise
        return Text("in time?")

    async def _again(stream: Any) -> type[BaseException]:
        with pytest.raises(BodyTimeout) as caught:
            await stream.read()
        return caught.type

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "9")]), b"abc")
        assert (await raw.response())[0] == 408
    assert await seen == (
        "the body is not complete after 0.1 seconds, 3 bytes have arrived",
        BodyTimeout,
    )


@pytest.mark.parametrize("head", HEADS, ids=KINDS)
async def test_without_any_limit_a_client_may_be_as_slow_as_it_likes(
    head: bytes,
) -> None:
    async with serving(app_of()) as address, connected(address) as raw:
        await raw.send(head)
        chunked = b"chunked" in head
        for _ in range(4):
            await raw.send(chunk(b"x" * 250) if chunked else b"x" * 250)
            await asyncio.sleep(0.05)
        if chunked:
            await raw.send(chunk(b""))
        assert (await raw.response())[2] == b"1000"


async def test_the_limit_itself_passes_and_the_next_byte_is_refused() -> None:
    """Also when it comes alone: no empty piece, which would be the end."""
    got = []

    async def handler(request: web.Request) -> Any:
        stream = open_stream(request)
        got.append(await stream.readany())
        with pytest.raises(LimitExceeded):
            await stream.readany()
        return Text("refused")

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(max_body=3))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b"abc"))
        await asyncio.sleep(0.02)
        await raw.send(chunk(b"d"))
        assert (await raw.response())[2] == b"refused"
    assert got == [b"abc"]


async def test_a_cancel_before_anything_is_waited_for() -> None:
    """While ``100 Continue`` is on its way, say: there is no pace to be asked yet."""
    caught = []

    async def handler(request: web.Request) -> Any:
        body = body_of(request)
        wire: Any = body.stream
        while not isinstance(wire, RequestStream):
            wire = wire.source
        begun = asyncio.Event()

        async def begin() -> bytes:
            begun.set()
            await asyncio.Event().wait()
            return b""

        wire._begin = begin  # type: ignore[method-assign]
        task = asyncio.create_task(wire.readany())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        caught.append(wire.waited)
        return Text("done")

    app = web.Application()
    app.router.add_post("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(b"abc"))
        assert (await raw.response())[2] == b"done"
    assert caught == [0.0]


async def test_a_cancel_from_outside_wins_over_the_timer() -> None:
    """Both in one turn of the event loop: the task was to end, not to answer 408."""
    limits = Limits(idle_timeout=0.01, min_rate=0)
    pace = ReadDeadline(limits)

    async def read() -> None:
        pace.begin(asyncio.current_task(), 0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            pace.interrupted(error)
            raise
        finally:
            pace.end()

    alone = asyncio.create_task(read())
    with pytest.raises(BodyTimeout):
        await alone
    pace.stop()
    pace = ReadDeadline(limits)
    both = asyncio.create_task(read())
    await asyncio.sleep(0)
    pace._fire()
    time.sleep(0.011)
    pace._fire()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    pace.stop()


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> Any:
        try:
            async with asyncio.timeout(0.05):
                await open_stream(request).read()
        except TimeoutError as error:
            seen.set_result(error)
        return JSON(len(await read_bytes(request)))

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, limits=Limits(idle_timeout=0.3))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "3")]), b"a")
        assert not isinstance(await seen, BodyTimeout)
        await raw.send(b"bc")
        assert (await raw.response())[2] == b"3"


async def test_slowloris_does_not_keep_others_waiting() -> None:
    app = app_of(idle_timeout=2)
    async with serving(app) as address, contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            raw = await stack.enter_async_context(connected(address))
            raw.writer.write(HEADS[0] + b"x")
        loop = asyncio.get_running_loop()
        async with connected(address) as raw:
            before = loop.time()
            await raw.send(post(b"abc"))
            assert (await raw.response())[2] == b"3"
            assert loop.time() - before < 1


# -- Expect: 100-continue ----------------------------------------------------------


def expecting(size: int, value: str = "100-continue") -> bytes:
    return post(headers=[("Content-Length", str(size)), ("Expect", value)])


def careful_app() -> web.Application:
    async def handler(request: web.Request) -> Any:
        if request.headers.get("Content-Type") == "secret":
            raise web.HTTPForbidden
        if request.headers.get("Content-Type") != "text/plain":
            raise UnsupportedContent("text only")
        return JSON(len(await read_bytes(request)))

    app = web.Application()
    app.router.add_post("/", handler, expect_handler=expect_continue)
    return setup(app, limits=Limits(max_body=10))


async def test_continue_is_sent_with_the_first_read() -> None:
    head = expecting(5).replace(b"Host:", b"Content-Type: text/plain\r\nHost:")
    async with serving(careful_app()) as address, connected(address) as raw:
        for _ in range(2):  # the connection is good for more
            await raw.send(head)
            line = await raw.reader.readuntil(b"\r\n\r\n")
            assert line == b"HTTP/1.1 100 Continue\r\n\r\n"
            await raw.send(b"12345")
            status, headers, body = await raw.response()
            assert (status, body) == (200, b"5")
            assert "connection" not in headers


async def test_a_refusal_comes_instead_of_continue() -> None:
    async with serving(careful_app(), lingering_time=0) as address:
        for head, expected in (
            (expecting(5), 415),
            (expecting(5).replace(b"Host:", b"Content-Type: secret\r\nHost:"), 403),
            (expecting(11), 413),
            (expecting(5, "200-maybe"), 417),
        ):
            async with connected(address) as raw:
                await raw.send(head)
                status, headers, _ = await raw.response()
                assert status == expected
                # A client that is not asked may never send its body: its next
                # request would be taken for it.
                assert headers["connection"] == "close"
                assert await raw.reader.read() == b""


async def test_a_handler_that_never_reads_closes_the_connection() -> None:
    async def handler(request: web.Request) -> Any:
        return Text("no need")

    app = web.Application()
    app.router.add_post("/", handler, expect_handler=expect_continue)
    setup(app)
    async with (
        serving(app, lingering_time=0) as address,
        connected(address) as raw,
    ):
        await raw.send(expecting(5))
        status, headers, _ = await raw.response()
        assert (status, headers["connection"]) == (200, "close")


async def test_a_length_can_be_required() -> None:
    app = app_of(require_length=True)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=CHUNKED), chunk(b""))
        assert (await raw.response())[0] == 411
        await raw.send(post(b"abc"))
        assert (await raw.response())[2] == b"3"
        await raw.send(post(None))
        assert (await raw.response())[2] == b"0"
