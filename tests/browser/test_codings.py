"""Chromium reads every coding, sees events at once, and asks for br and zstd."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aiostreams import HTML, Compression, Event, EventStream, respond, setup
from tests.servers import serving

TEXT = "the quick brown fox jumps over the lazy dog\n" * 200
CODINGS = ("gzip", "deflate", "br", "zstd")


def application(coding: str | None) -> web.Application:
    """Compresses in one coding, or as a client likes it best."""
    accepted: dict[str, str] = {}

    async def index(request: web.Request) -> Any:
        accepted["index"] = request.headers.get("Accept-Encoding", "")
        return HTML(f"<title>codings</title><pre>{TEXT}</pre>")

    async def text(request: web.Request) -> Any:
        return respond(HTML(TEXT), etag="v1", headers={"Cache-Control": "no-cache"})

    async def asked(request: web.Request) -> Any:
        return web.json_response(accepted)

    async def events(request: web.Request) -> Any:
        async def ticks() -> AsyncIterator[Event]:
            for n in range(10):
                yield Event(data={"n": n})
                await asyncio.sleep(0.15)
            await asyncio.sleep(60)

        return EventStream(ticks())

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/text", text)
    app.router.add_get("/asked", asked)
    app.router.add_get("/events", events)
    if coding is None:
        return setup(app)
    return setup(app, compression=Compression(codings=(coding,)))


READ = """async () => {
    const response = await fetch('/text');
    const text = await response.text();
    return [response.status, response.headers.get('content-encoding'), text];
}"""

EVENTS = """() => new Promise(resolve => {
    const source = new EventSource('/events');
    const seen = [];
    source.onmessage = event => {
        seen.push([JSON.parse(event.data).n, performance.now()]);
        if (seen.length == 10) { source.close(); resolve(seen); }
    };
})"""


@pytest.mark.parametrize("coding", CODINGS)
async def test_every_coding_is_read(page: Any, coding: str) -> None:
    async with serving(application(coding)) as (host, port):
        response = await page.goto(f"http://{host}:{port}/")
        assert response.headers["content-encoding"] == coding
        assert await page.inner_text("pre") == TEXT
        # The second time it asks with the weak tag, and its cache has the body.
        for _ in range(2):
            assert await page.evaluate(READ) == [200, coding, TEXT]


async def test_what_it_asks_for_by_itself(page: Any) -> None:
    async with serving(application(None)) as (_, port):
        response = await page.goto(f"http://localhost:{port}/")
        asked = (await (await page.goto(f"http://localhost:{port}/asked")).json())[
            "index"
        ]
        assert {name.strip() for name in asked.split(",")} >= {"gzip", "br", "zstd"}
        assert response.headers["content-encoding"] == "zstd"
        assert "accept-encoding" in response.headers["vary"].lower()


@pytest.mark.parametrize("coding", CODINGS)
async def test_events_are_seen_when_they_happen(page: Any, coding: str) -> None:
    async with serving(application(coding)) as (host, port):
        await page.goto(f"http://{host}:{port}/")
        seen = await page.evaluate(EVENTS)
        assert [n for n, _ in seen] == list(range(10))
        times = [moment for _, moment in seen]
        # Had they been held back they would come together.
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert sum(gap > 50 for gap in gaps) >= 8
        assert times[-1] - times[0] > 1000
