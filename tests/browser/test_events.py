"""Chromium's EventSource: events as they happen, and on from where it was cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aiostreams import HTML, Compression, Event, EventStream, setup
from tests.servers import serving

LISTEN = """last => new Promise((resolve, reject) => {
    const source = new EventSource('/events');
    const seen = [];
    let opened = 0;
    source.onopen = () => { opened++; };
    source.addEventListener('tick', event => {
        seen.push([event.lastEventId, event.data]);
        if (seen.length == last) {
            source.close();
            resolve([seen, opened]);
        }
    });
    source.onmessage = event => reject(new Error('no type: ' + event.data));
    source.onerror = () => {
        if (source.readyState == EventSource.CLOSED) reject(new Error('gave up'));
    };
})"""


def application(asked: list[str | None], *, lose: str) -> web.Application:
    """Counts to nine, and loses each connection after three."""

    async def index(_request: web.Request) -> Any:
        return HTML("<title>events</title>")

    async def events(request: web.Request) -> Any:
        last = request.headers.get("Last-Event-ID")
        asked.append(last)
        start = 0 if last is None else int(last.partition(" ")[2]) + 1

        async def count() -> AsyncIterator[Event]:
            yield Event(retry=10, comment="welcome")
            for number in range(start, min(9, start + 3)):
                text = f"number {number}\nof nine, größer"
                yield Event(data=text, event="tick", id=f"№ {number}")
                await asyncio.sleep(0.01)
            if lose == "by an error":
                raise ConnectionResetError("lost")

        return EventStream(count(), keep_alive=0.005)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/events", events)
    return setup(app, compression=Compression(minimum_size=0))


@pytest.mark.parametrize("lose", ["at the end", "by an error"])
async def test_it_reconnects_with_the_id_of_the_last_event(
    page: Any, lose: str
) -> None:
    asked: list[str | None] = []
    async with serving(application(asked, lose=lose)) as (host, port):
        await page.goto(f"http://{host}:{port}/")
        seen, opened = await page.evaluate(LISTEN, 9)
    # None twice, none left out.
    assert seen == [[f"№ {n}", f"number {n}\nof nine, größer"] for n in range(9)]
    assert asked[:3] == [None, "№ 2", "№ 5"]
    assert opened == 3
