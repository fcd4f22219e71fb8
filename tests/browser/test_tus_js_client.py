"""tus-js-client in Chromium, on a page of another origin that is loaded anew midway."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    HTML,
    JSON,
    File,
    MemoryStorage,
    MiB,
    ResumableUploads,
    RouteTableDef,
    receive,
    resumable,
    setup,
)
from tests.node import FOLDER, node_with
from tests.servers import serving

from .line import Line

DATA = random.Random(1).randbytes(2 * MiB)
PAGE = """<!doctype html><title>waiting</title><input type=file><script src=tus.js></script>
<script>
document.querySelector("input").onchange = async ({ target }) => {
  const upload = new tus.Upload(target.files[0], {
    endpoint: new URLSearchParams(location.search).get("to"),
    protocol: new URLSearchParams(location.search).get("protocol"),
    retryDelays: [0, 100, 200, 400, 800, 1600],
    metadata: { filename: target.files[0].name },
    removeFingerprintOnSuccess: true,
    onSuccess: () => { document.title = "done"; },
    onError: (error) => { document.title = String(error); },
  });
  const before = await upload.findPreviousUploads();
  window.known = before.length;
  if (before.length) upload.resumeFromPreviousUpload(before[0]);
  upload.start();
};
</script>"""


@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-05"])
async def test_upload_goes_on_when_the_page_is_loaded_anew(
    page: Any, tmp_path: Path, protocol: str
) -> None:
    node_with("tus-js-client")
    bodies: list[bytes] = []
    offsets: list[str] = []

    routes = RouteTableDef()

    @routes.post("/files")
    @resumable()
    async def store(request: web.Request) -> JSON:
        async with receive(request) as upload:
            [file] = upload.files.values()
            async with await file.open() as stream:
                bodies.append(await stream.read())
        return JSON({"key": file.key})

    @routes.get("/")
    async def show(_request: web.Request) -> HTML:
        return HTML(PAGE)

    @routes.get("/tus.js")
    async def give(_request: web.Request) -> File:
        return File(FOLDER / "node_modules/tus-js-client/dist/tus.min.js")

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        if request.method == "HEAD":
            offsets.append(response.headers["Upload-Offset"])

    app = web.Application()
    app.add_routes(routes)
    app.on_response_prepare.append(note)
    setup(app, storage=MemoryStorage(), resumable=ResumableUploads(cors="*"))
    film = tmp_path / "film.bin"
    film.write_bytes(DATA)
    async with (
        serving(app) as (_, port),
        Line(port, len(DATA) // 2).running() as line,
    ):
        to = f"{line.url}files"
        await page.goto(f"http://localhost:{port}/?to={to}&protocol={protocol}")
        await page.set_input_files("input", str(film))
        async with asyncio.timeout(20):
            await line.half.wait()
        await page.reload()
        await page.set_input_files("input", str(film))
        await page.wait_for_function("document.title != 'waiting'", timeout=20_000)
        assert await page.title() == "done"
        assert await page.evaluate("known") == 1
    assert bodies == [DATA]
    assert int(offsets[-1]) > 0
