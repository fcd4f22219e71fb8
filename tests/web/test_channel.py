"""A channel: everybody gets every event, in order, from where each left off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
import socket
import tracemalloc
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from aiostreams import (
    Channel,
    Event,
    EventStream,
    HTTPStream,
    KiB,
    MiB,
    Stream,
    StreamClosed,
    setup,
)
from aiostreams.testing import LAWS
from aiostreams.web.state import APP_SUBSCRIPTIONS, Subscriptions
from tests.servers import Raw, connected, post, serving


def asking(last: str | None = None) -> web.Request:
    headers = {} if last is None else {"Last-Event-ID": last}
    return make_mocked_request("GET", "/", headers=headers)


def following(channel: Channel, last: str | None = None, **options: Any) -> Stream:
    return channel.subscribe(asking(last), **options).encode()


async def events_of(data: bytes) -> list[Event]:
    from aiostreams import ByteStream

    return [event async for event in await EventStream.decode(ByteStream(data))]


async def now(stream: Stream) -> list[Any]:
    """The data of what can be read at once."""
    got = b""
    while True:
        try:
            async with asyncio.timeout(0.01):
                piece = await stream.readany()
        except TimeoutError:
            break
        if not piece:
            break
        got += piece
    return [event.data for event in await events_of(got)]


# -- without a connection --------------------------------------------------------------


async def test_everybody_gets_every_event_with_its_id() -> None:
    channel = Channel()
    first, second = following(channel), following(channel)
    assert channel.subscribers == 2
    told = [
        channel.publish("text"),
        channel.publish({"a": [1]}),
        channel.publish(Event(data="x\ny", event="kind", retry=5)),
        channel.publish(Event(data="z", id="own")),
    ]
    assert len({event.id for event in told}) == 4
    assert told[3].id == "own"
    for stream in (first, second):
        async with stream:
            got = await stream.readany()
        events = await events_of(got)
        assert [event.data for event in events] == ["text", '{"a":[1]}', "x\ny", "z"]
        assert [event.id for event in events] == [event.id for event in told]
        assert (events[2].event, events[2].retry) == ("kind", 5)
    assert channel.subscribers == 0
    assert repr(channel) == "<Channel of 4 events, open>"


async def test_ids_are_of_this_channel_alone() -> None:
    ids = {Channel().publish("x").id for _ in range(100)}
    assert len(ids) == 100
    assert all(known and known.isascii() for known in ids)


async def test_it_goes_on_behind_the_last_event_that_was_seen() -> None:
    channel = Channel(history=5)
    ids = [channel.publish(n).id for n in range(20)]

    async def behind(last: str | None, **options: Any) -> list[Any]:
        async with following(channel, last, **options) as stream:
            return [int(data) for data in await now(stream)]

    assert await behind(ids[19]) == []
    assert await behind(ids[17]) == [18, 19]
    assert await behind(ids[14]) == [15, 16, 17, 18, 19]
    for forgotten in (ids[13], ids[0], "unknown", "", None):
        assert await behind(forgotten) == [15, 16, 17, 18, 19]
    assert await behind(ids[0], after=ids[18]) == [19]
    channel.publish(Event(data=20, id="same"))
    channel.publish(Event(data=21, id="same"))
    assert await behind("same") == [], "the later one was seen"


async def test_no_history() -> None:
    channel = Channel(history=0)
    old = channel.publish("old").id
    async with following(channel) as new, following(channel, old) as again:
        channel.publish("new")
        assert await now(new) == ["new"]
        assert await now(again) == ["new"]


async def test_an_event_that_cannot_be_sent_is_not() -> None:
    channel = Channel()
    async with following(channel) as stream:
        for wrong in (object(), float("nan"), {"a": object()}):
            with pytest.raises((TypeError, ValueError)):
                channel.publish(wrong)
        channel.publish("right")
        assert await now(stream) == ["right"]


async def test_the_subscription_is_an_event_stream() -> None:
    channel = Channel()
    channel.publish("a")
    subscription = channel.subscribe(asking())
    assert isinstance(subscription, EventStream)
    assert subscription.content_type == "text/event-stream"
    assert repr(subscription) == "<EventStream of a Channel>"
    channel.publish("b")
    channel.close()
    assert [event.data async for event in subscription] == ["a", "b"]
    for _ in range(2):
        async with subscription as stream:
            assert stream.live
            assert [e.data for e in await events_of(await stream.read())] == ["a", "b"]


async def test_events_are_iterated_over_as_they_come() -> None:
    channel = Channel()
    got: list[Any] = []

    async def iterate() -> None:
        async for event in channel.subscribe(asking()):
            got.append((event.id, event.data))

    task = asyncio.create_task(iterate())
    told = []
    for n in range(3):
        await asyncio.sleep(0)
        told.append((channel.publish(n).id, n))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert got == told
    channel.close()
    await task


async def test_after_the_end() -> None:
    channel = Channel()
    stream = following(channel)
    waiting = asyncio.create_task(stream.read())
    channel.publish("last")
    await asyncio.sleep(0)
    channel.close()
    channel.close()
    assert b"data: last\n" in await waiting
    assert channel.closed
    with pytest.raises(StreamClosed):
        channel.publish("more")
    assert b"data: last\n" in await following(channel).read()
    assert repr(channel) == "<Channel of 1 events, closed>"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"history": -1}, "history must not be negative: -1"),
        ({"max_behind": 0}, "max_behind must be positive: 0"),
        ({"slow": "wait"}, "slow must be 'drop' or 'close', not 'wait'"),
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Channel(**wrong)
    with pytest.raises(ValueError, match="keep_alive"):
        Channel().subscribe(asking(), keep_alive=0)


async def test_whoever_is_too_far_behind_misses_the_oldest() -> None:
    channel = Channel(history=3, max_behind=4)
    for n in range(3):
        channel.publish(n)
    slow, quick = following(channel), following(channel)
    got = []
    for n in range(3, 20):
        channel.publish(n)
        got += await now(quick)
    assert [int(n) for n in got] == [*range(20)]
    assert [int(n) for n in await now(slow)] == [16, 17, 18, 19]
    channel.publish(20)
    assert [int(n) for n in await now(slow)] == [20]


async def test_history_is_no_sign_of_being_slow() -> None:
    channel = Channel(history=100, max_behind=2, slow="close")
    for n in range(100):
        channel.publish(n)
    stream = following(channel)
    channel.publish(100)
    channel.publish(101)
    assert [int(n) for n in await now(stream)] == [*range(102)]


async def test_whoever_is_too_far_behind_is_ended() -> None:
    channel = Channel(history=3, max_behind=4, slow="close")
    slow, quick = following(channel), following(channel)
    for n in range(4):
        channel.publish(n)
    assert [int(n) for n in await now(quick)] == [0, 1, 2, 3]
    channel.publish(4)
    assert await slow.readany() == b""
    assert [int(n) for n in await now(quick)] == [4]
    channel.publish(5)
    assert [int(n) for n in await now(quick)] == [5]


async def test_silence_gives_comments() -> None:
    channel = Channel()
    async with following(channel, keep_alive=0.02) as stream:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(3):
            assert await stream.readany() == b":\n\n"
        assert loop.time() - began >= 0.05
        channel.publish("x")
        assert b"data: x" in await stream.readany()
        assert await stream.readany() == b":\n\n"
    async with following(channel, keep_alive=None) as stream:
        await stream.readany()
        reading = asyncio.create_task(stream.readany())
        await asyncio.sleep(0.05)
        assert not reading.done()
        reading.cancel()


async def test_a_timer_keeps_no_stream() -> None:
    channel = Channel()
    stream = following(channel, keep_alive=0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await stream.readany()
    del stream
    async with asyncio.timeout(20):
        while channel.subscribers:
            await asyncio.sleep(0.005)
            gc.collect()


async def test_many_events_come_in_pieces() -> None:
    channel = Channel(history=10**4)
    for _ in range(1000):
        channel.publish("x" * 1000)
    channel.close()
    async with following(channel) as stream:
        pieces = [piece async for piece in stream.iter_any()]
    assert max(map(len, pieces)) < 67 * KiB
    assert len(await events_of(b"".join(pieces))) == 1000


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: Any) -> None:
    def make() -> Stream:
        channel = Channel()
        for word in ("one", "two\nlines", "three" * 50):
            channel.publish(Event(data=word, id=word[:3]))
        asyncio.get_running_loop().call_later(0.001, end, channel)
        return following(channel)

    def end(channel: Channel) -> None:
        channel.publish(Event(data="last", id="last"))
        channel.close()

    await law(make)


# -- over connections ------------------------------------------------------------------

CHANNEL = web.AppKey("channel", Channel)


def application(channel: Channel, **options: Any) -> web.Application:
    async def follow(request: web.Request) -> EventStream:
        return channel.subscribe(request, **options)

    app = setup(web.Application())
    app.router.add_get("/", follow)  # type: ignore[arg-type]
    return app


async def subscribed(raw: Raw, channel: Channel, path: str = "/") -> None:
    count = channel.subscribers
    await raw.send(post(None, method="GET", path=path))
    head = await raw.reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"text/event-stream" in head
    async with asyncio.timeout(20):
        while channel.subscribers == count:
            await asyncio.sleep(0)


async def test_a_client_that_was_cut_off_misses_nothing() -> None:
    channel = Channel()
    published: list[str] = []

    async def publish() -> None:
        for n in range(300):
            published.append(str(n))
            channel.publish(n)
            await asyncio.sleep(0.002)
        channel.publish("[DONE]")

    async with serving(application(channel)) as (host, port):
        task = asyncio.create_task(publish())
        got: list[str] = []
        last: str | None = None
        async with aiohttp.ClientSession() as session:
            while "[DONE]" not in got:
                headers = {} if last is None else {"Last-Event-ID": last}
                url = f"http://{host}:{port}/"
                async with session.get(url, headers=headers) as response:
                    stream = HTTPStream.from_response(response)
                    events = await EventStream.decode(stream)
                    left = random.randrange(1, 60)
                    async for event in events:
                        got.append(event.data)
                        last = event.id
                        left -= 1
                        if not left or event.data == "[DONE]":
                            break
        await task
    assert got == [*published, "[DONE]"]


async def test_two_hundred_subscribers_of_which_one_never_reads() -> None:
    channel = Channel(history=10, max_behind=20)
    text = "x" * 2000

    async def follow(request: web.Request) -> EventStream:
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        # What the system takes for a client that does not read is not measured.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * KiB)
        return channel.subscribe(request)

    app = setup(web.Application(), compression=None)
    app.router.add_get("/", follow)  # type: ignore[arg-type]
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(app))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KiB)
        sock.connect(address)
        slow = Raw(*await asyncio.open_connection(sock=sock, limit=KiB))
        raws = [await stack.enter_async_context(connected(address)) for _ in range(199)]
        for raw in (slow, *raws):
            await subscribed(raw, channel)
        ends = [b""] * len(raws)

        async def read(number: int) -> None:
            while b"data: last" not in ends[number]:
                piece = await raws[number].reader.read(MiB)
                assert piece
                ends[number] = (ends[number] + piece)[-3000:]

        readers = [asyncio.create_task(read(number)) for number in range(len(raws))]
        gc.collect()
        tracemalloc.start()
        try:
            for n in range(100):
                channel.publish({"n": n, "text": text})
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            channel.publish("last")
            async with asyncio.timeout(30):
                await asyncio.gather(*readers)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # 30 events once, and for each connection what aiohttp's writer may have.
        assert peak < 30 * 2200 + 200 * 160 * KiB
        # The one that never read has its place still, and goes on with the newest.
        assert channel.subscribers == 200
        data = b""
        async with asyncio.timeout(30):
            while b"data: last" not in data:
                data += await slow.reader.read(MiB)
        numbers = [int(n) for n in re.findall(rb'data: \{"n":(\d+)', data)]
        assert numbers == sorted(numbers)
        assert numbers[-19:] == [*range(81, 100)]
        assert len(numbers) < 100
        slow.reset()


async def test_a_client_that_leaves_is_forgotten() -> None:
    channel = Channel()
    async with serving(application(channel)) as address:
        async with connected(address) as raw:
            await subscribed(raw, channel)
            raw.reset()
        async with asyncio.timeout(20):
            while channel.subscribers:
                await asyncio.sleep(0.01)
                channel.publish("anybody?")


def within_another(app: web.Application) -> web.Application:
    """The route stands in a sub-application that is not set up itself."""
    parent = setup(web.Application())
    inner = web.Application()

    async def follow(request: web.Request) -> Any:
        return app[CHANNEL].subscribe(request)

    inner.router.add_get("/", follow)
    parent.add_subapp("/sub", inner)
    return parent


@pytest.mark.parametrize(
    ("wrap", "path"), [(lambda app: app, "/"), (within_another, "/sub/")]
)
async def test_subscriptions_end_when_the_application_does(
    wrap: Callable[[web.Application], web.Application], path: str
) -> None:
    channel = Channel()
    app = application(channel)
    app[CHANNEL] = channel
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        server = contextlib.AsyncExitStack()
        address = await server.enter_async_context(serving(wrap(app)))
        raws = [await stack.enter_async_context(connected(address)) for _ in range(5)]
        for raw in raws:
            await subscribed(raw, channel, path)
        channel.publish("before")
        began = loop.time()
        await server.aclose()
        assert loop.time() - began < 0.9, "aiohttp waits a second for handlers here"
        for raw in raws:
            data = await raw.reader.read()
            assert b"data: before" in data
            assert data.endswith(b"0\r\n\r\n"), "an end, and no broken connection"
    assert not channel.closed
    assert channel.subscribers == 0


async def test_nobody_subscribes_to_an_application_that_shuts_down() -> None:
    channel = Channel()
    channel.publish("x")
    subscriptions = Subscriptions()
    app = web.Application()
    await subscriptions.end(app)
    app[APP_SUBSCRIPTIONS] = subscriptions
    request = make_mocked_request("GET", "/", app=app)
    async with channel.subscribe(request) as stream:
        assert b"data: x" in await stream.read()


async def test_events_pass_compression_one_by_one() -> None:
    channel = Channel()
    async with (
        serving(application(channel)) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        assert "Content-Encoding" in response.headers
        assert response.headers["Cache-Control"] == "no-store"
        for n in range(3):
            channel.publish(n)
            got = b""
            async with asyncio.timeout(20):
                while not got.endswith(b"\n\n"):
                    got += await response.content.readany()
            assert f"data: {n}\n".encode() in got
