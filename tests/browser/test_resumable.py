"""The guides' pages in Chromium: uploads go on where their connections broke."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.docs.page import Page
from tests.docs.test_resumable import CHUNKS, PAGE, block, breaking, serving
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


@pytest.mark.parametrize("package", CLIENTS)
async def test_an_upload_goes_on(page: Any, package: str, tmp_path: Path) -> None:
    guide, program, chooser, title = CLIENTS[package]
    node_with(package)
    script = await asyncio.to_thread(bundled, tmp_path, guide, program)
    async with serving(tmp_path, breaking(), page=guide) as server:
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
        await page.wait_for_function(
            "title => document.title == title", arg=title, timeout=60_000
        )
        server.check()


def bundled(folder: Path, guide: Page, program: str) -> str:
    source = folder / program
    source.write_text(block(program, guide))
    return bundle(source)
