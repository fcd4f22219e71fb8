"""The live log in Chromium: many tabs, a server that comes back, tabs that are hidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app

TABS = 8  # more than the connections that a browser opens to one server


class Server:
    """The app, which can be stopped and started on the same port."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.runner: web.AppRunner | None = None
        self.streams = 0

    async def start(self) -> None:
        app = create_app(DiskStorage(self.root), Settings(max_file=MiB))

        async def count(request: web.Request, _response: web.StreamResponse) -> None:
            self.streams += request.path == "/events"

        app.on_response_prepare.append(count)
        self.runner = web.AppRunner(
            app, shutdown_timeout=1, auto_decompress=False, access_log=None
        )
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    async def put(self, name: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.address}/files/{name}", data=b"x") as response,
        ):
            assert response.status == 201


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Server]:
    server = Server(tmp_path / "root", unused_tcp_port)
    await server.start()
    yield server
    await server.stop()


async def logged(page: Any, *names: str) -> None:
    """The log and the list of the page have these files, the newest first, once."""
    await page.wait_for_function(
        """names => {
            const texts = selector => [...document.querySelectorAll(selector)].map(at => at.textContent);
            return String(texts('#log .stored .name')) === String(names)
                && texts('#files a.name').length === names.length;
        }""",
        arg=list(names),
        timeout=10_000,
    )


async def test_many_tabs_share_one_stream(page: Any, server: Server) -> None:
    context = await page.context.browser.new_context()
    pages = [await context.new_page()]
    await pages[0].goto(server.address)
    await server.put("first.txt")
    await logged(pages[0], "first.txt")
    for _ in range(TABS - 1):
        pages.append(await context.new_page())
        await pages[-1].goto(server.address)
    # All pages are there: had each of them a stream, the last would wait for ever.
    await server.put("second.txt")
    for each in pages:
        await logged(each, "second.txt", "first.txt")
        assert await each.inner_text("#live") == "live"
    assert server.streams == 1
    # The one that listens is closed; another takes its place, and misses nothing.
    await pages.pop(0).close()
    await server.put("third.txt")
    for each in pages:
        await logged(each, "third.txt", "second.txt", "first.txt")
    assert server.streams == 2


async def test_server_that_comes_back_is_heard_again(page: Any, server: Server) -> None:
    await page.goto(server.address)
    await server.put("before.txt")
    await logged(page, "before.txt")
    await server.stop()
    await page.wait_for_function(
        "() => document.querySelector('#live').textContent == 'reconnecting'"
    )
    await server.start()
    await server.put("after.txt")  # before the page is back
    await logged(page, "after.txt", "before.txt")
    assert await page.inner_text("#live") == "live"
    await server.put("later.txt")
    await logged(page, "later.txt", "after.txt", "before.txt")


async def test_hidden_tab_does_not_listen_and_catches_up(
    page: Any, server: Server
) -> None:
    # There is no hiding a tab from outside.
    await page.add_init_script(
        """let hidden = false;
        Object.defineProperty(document, 'hidden', {get: () => hidden});
        window.hide = value => {
            hidden = value;
            document.dispatchEvent(new Event('visibilitychange'));
        };"""
    )
    await page.goto(server.address)
    await server.put("shown.txt")
    await logged(page, "shown.txt")
    await page.evaluate("hide(true)")
    await server.put("hidden.txt")
    await asyncio.sleep(0.3)
    assert await page.locator("#log li").count() == 1
    await page.evaluate("hide(false)")
    await logged(page, "hidden.txt", "shown.txt")
    assert server.streams == 2


async def test_without_locks_each_tab_listens(page: Any, server: Server) -> None:
    """As it is without TLS, unless on localhost."""
    context = await page.context.browser.new_context()
    await context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})"
    )
    pages = [await context.new_page() for _ in range(2)]
    for each in pages:
        await each.goto(server.address)
    await server.put("one.txt")
    for each in pages:
        await logged(each, "one.txt")
    assert server.streams == 2
