"""The guides' pages in Chromium: uploads go on where their connections broke."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.page import Page
from tests.docs.test_resumable import CHUNKS, PAGE, Guide, block, breaking, serving
from tests.node import bundle, node_with

HTML = """
<!doctype html><title>Films</title>
<input type=file> <div></div> <button>Choose</button>
<script src=page.js></script>
"""
CLIENTS = {
    "@uppy/tus": (PAGE, "uppy.js", "input", "1 uploaded"),
    "filepond": (CHUNKS, "filepond.js", "input[type=file]", "uploaded"),
    "dropzone": (CHUNKS, "dropzone.js", "input.dz-hidden-input", "uploaded"),
    "resumablejs": (CHUNKS, "resumable.js", "button input", "uploaded"),
}


@contextlib.asynccontextmanager
async def showing(page: Any, package: str, server: Guide) -> AsyncIterator[None]:
    """Have a guide's page in the browser, and the film chosen there."""
    guide, program, chooser, _ = CLIENTS[package]
    script = await asyncio.to_thread(bundled, server.folder, guide, program)
    base = f"http://127.0.0.1:{server.port}"

    async def give(route: Any) -> None:
        is_script = route.request.url.endswith(".js")
        await route.fulfill(
            body=script if is_script else HTML,
            content_type="text/javascript" if is_script else "text/html",
        )

    await page.route(f"{base}/page*", give)
    await page.goto(f"{base}/page")
    film = server.folder / "film.mp4"
    await page.locator(chooser).first.set_input_files(film)
    yield


async def titled(page: Any, title: str) -> None:
    await page.wait_for_function(
        "title => document.title == title", arg=title, timeout=60_000
    )


@pytest.mark.parametrize("package", CLIENTS)
async def test_an_upload_goes_on(page: Any, package: str, tmp_path: Path) -> None:
    guide, _, _, title = CLIENTS[package]
    node_with(package)
    async with (
        serving(tmp_path, breaking(), page=guide) as server,
        showing(page, package, server),
    ):
        await titled(page, title)
        server.check()


async def test_filepond_asks_how_far_an_upload_is(page: Any, tmp_path: Path) -> None:
    """When a chunk has failed for the last time, and its user tries again."""
    node_with("filepond")
    chaos = breaking()
    chaos.calm = True
    requests: list[tuple[str, str]] = []

    async def pass_on(route: Any) -> None:
        request = route.request
        offset = request.headers.get("upload-offset", "")
        requests.append((request.method, offset))
        second = requests.count(("PATCH", "1000000"))
        if request.method == "PATCH" and offset == "1000000" and second <= 4:
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/files/*", pass_on)
    async with (
        serving(tmp_path, chaos, page=CHUNKS) as server,
        showing(page, "filepond", server),
    ):
        await titled(page, "failed")
        assert ("HEAD", "") not in requests
        again = page.locator(".filepond--action-retry-item-processing")
        await again.dispatch_event("click")
        await titled(page, "uploaded")
        server.check(breaks=0)
    asked = requests.index(("HEAD", ""))
    assert requests[asked + 1] == ("PATCH", "1000000")
    assert requests.count(("PATCH", "0")) == 1


def bundled(folder: Path, guide: Page, program: str) -> str:
    source = folder / program
    source.write_text(block(program, guide))
    return bundle(source)
