"""The guide's page with Uppy: uploads in Chromium go on where they broke off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.docs.test_resumable import block, breaking, serving
from tests.node import bundle, node_with

HTML = (
    "<!doctype html><title>Films</title><input type=file><script src=uppy.js></script>"
)


async def test_uppy(page: Any, tmp_path: Path) -> None:
    node_with("@uppy/tus")
    source = tmp_path / "uppy.mjs"
    source.write_text(block("uppy.js"))
    script = await asyncio.to_thread(bundle, source)
    async with serving(tmp_path, breaking()) as guide:
        base = f"http://127.0.0.1:{guide.port}"

        async def give(route: Any) -> None:
            is_page = route.request.url.endswith("/page")
            await route.fulfill(
                body=HTML if is_page else script,
                content_type="text/html" if is_page else "text/javascript",
            )

        await page.route(f"{base}/page", give)
        await page.route(f"{base}/uppy.js", give)
        await page.goto(f"{base}/page")
        await page.locator("input").set_input_files(guide.folder / "film.mp4")
        await page.wait_for_function("document.title == '1 uploaded'", timeout=60_000)
        guide.check()
