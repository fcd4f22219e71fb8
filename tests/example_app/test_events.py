"""What happens, as those hear it who listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from aiostreams import (
    Event,
    EventStream,
    HTTPStream,
    MemoryStorage,
    MiB,
    StorageError,
)
from example_app.app import Settings, create_app
from example_app.events import HISTORY, Events
from tests.servers import connected, post, serving

from .service import PNG, form


def follow(events: Events, after: str | None = None) -> AsyncIterator[Event]:
    headers = {} if after is None else {"Last-Event-ID": after}
    return aiter(events.follow(make_mocked_request("GET", "/", headers=headers)))


async def take(followed: AsyncIterator[Event], count: int) -> list[Any]:
    async with asyncio.timeout(20):
        return [(await anext(followed)).data for _ in range(count)]


def names(found: list[Any]) -> list[str]:
    return [event["name"] for event in found]


async def test_who_comes_late_hears_what_was_and_then_what_comes() -> None:
    events = Events()
    for number in range(3):
        events.publish("stored", name=str(number))
    first, second = follow(events), follow(events)
    heard = await take(first, 3)
    assert names(heard) == ["0", "1", "2"]
    assert names(await take(second, 1)) == ["0"]
    waiting = asyncio.create_task(take(first, 2))
    await asyncio.sleep(0)
    events.publish("stored", name="3")
    events.publish("stored", name="4")
    assert names(await waiting) == ["3", "4"]
    assert names(await take(second, 4)) == list("1234")
    again = follow(events, heard[1]["id"])
    assert names(await take(again, 3)) == list("234")
    by_page = events.follow(make_mocked_request("GET", f"/?after={heard[2]['id']}"))
    assert names(await take(aiter(by_page), 2)) == list("34")


async def test_who_is_slow_misses_what_was_dropped_and_no_more() -> None:
    events = Events()
    events.publish("stored", name="first")
    slow = follow(events)
    await anext(slow)
    for number in range(HISTORY + 50):
        events.publish("stored", name=str(number))
    heard = names(await take(slow, HISTORY))
    assert heard == [str(number) for number in range(50, HISTORY + 50)]


@pytest.mark.parametrize("known", ["from-before-a-restart.7", "", "\0"])
async def test_who_knows_something_else_hears_everything(known: str) -> None:
    events = Events()
    events.publish("stored", name="0")
    assert names(await take(follow(events, known), 1)) == ["0"]


async def test_ids_are_those_of_one_run_only() -> None:
    ids = set()
    for _ in range(20):
        events = Events()
        for _ in range(3):
            events.publish("stored")
        ids |= {event["id"] for event in await take(follow(events), 3)}
    assert len(ids) == 60


async def test_what_is_done_is_told(url: URL, client: ClientSession) -> None:
    async with client.get(url / "events") as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        told = aiter(await EventStream.decode(HTTPStream.from_response(response)))
        async with client.post(
            url / "files", data=form(("sun.png", PNG), ("a.txt", b"words"))
        ) as posted:
            sun = (await posted.json())["files"][0]["url"]
        address = url.join(URL(sun, encoded=True))
        async with client.get(address, headers={"Range": "bytes=0-9"}) as got:
            await got.read()
        async with client.delete(address) as deleted:
            assert deleted.status == 204
        async with client.post(url / "files", data=form()) as refused:
            assert refused.status == 422
        async with connected((str(url.host), url.port or 0)) as raw:
            head = post(method="PUT", path="/files/half")
            await raw.send(head[:-2] + b"Content-Length: 1000\r\n\r\n" + b"x" * 300)
            await asyncio.sleep(0.05)
            raw.reset()
        found: list[Any] = []
        async with asyncio.timeout(20):
            while len(found) < 6:
                found.append(json.loads((await anext(told)).data))
    assert [(event["kind"], event.get("name")) for event in found] == [
        ("stored", "sun.png"),
        ("stored", "a.txt"),
        ("download", "sun.png"),
        ("deleted", "sun.png"),
        ("refused", None),
        ("cancelled", "half"),
    ]
    assert found[0]["size"] == len(PNG)
    assert found[2]["range"] == "bytes=0-9"
    assert (found[4]["status"], found[4]["detail"]) == (
        422,
        "there is no file in this body",
    )


async def test_failures_of_the_storage_are_told_without_their_causes(
    client: ClientSession,
) -> None:
    class Failing(MemoryStorage):
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            raise StorageError("/secret/path is broken")

        put = create

    app = create_app(Failing(), Settings(max_file=MiB))
    async with serving(app) as (host, port):
        url = URL.build(scheme="http", host=host, port=port)
        async with client.put(url / "files/a", data=b"a") as response:
            assert response.status == 500
        async with client.get(url / "events") as response:
            told = aiter(await EventStream.decode(HTTPStream.from_response(response)))
            event = json.loads((await anext(told)).data)
    assert (event["status"], event["detail"]) == (500, "the storage failed")


async def test_server_ends_though_somebody_listens(client: ClientSession) -> None:
    app = create_app(MemoryStorage(), Settings(max_file=MiB))
    runner = web.AppRunner(app, shutdown_timeout=30)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with client.get(f"http://127.0.0.1:{port}/events") as response:
        async with asyncio.timeout(20):
            await runner.cleanup()
            await response.read()  # to a proper end
