"""Uploads straight to a bucket in Chromium: by the example app's page, and by Uppy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aiostreams import MiB, ObjectStorage
from example_app.app import Settings, create_app
from tests.node import FOLDER, node_with
from tests.servers import serving
from tests.storage.buckets import Bucket, store_of

from .test_example_access import axe, violations
from .test_example_app import SUN, TEXT, file

MOST = 20 * MiB


@pytest_asyncio.fixture(loop_scope="session")
async def opened(page: Any, bucket: Bucket) -> AsyncIterator[Any]:
    """The page of an app that takes images and text, into a bucket."""
    settings = Settings(max_file=MOST, accept=frozenset({"image/*", "text/plain"}))
    storage = ObjectStorage(store_of(bucket.port), "app")
    async with serving(create_app(storage, settings), auto_decompress=False) as address:
        site = f"http://{address[0]}:{address[1]}"
        bucket.allow(site)
        try:
            await page.goto(f"{site}/")
            await page.click("text=straight to the bucket")
            yield page
        finally:
            bucket.allow_as_before()


async def test_page_sends_to_the_bucket_and_has_it_confirmed(
    opened: Any, bucket: Bucket
) -> None:
    puts: list[str] = []

    def note(sent: Any) -> None:
        if sent.method == "PUT":
            puts.append(sent.url)

    opened.on("request", note)
    large = TEXT * (12 * MiB // len(TEXT))
    await opened.set_input_files(
        "#picker",
        [
            file("sun.png", "image/png", SUN),
            file("words.txt", "text/plain", large),
            file("fake.png", "image/png", b"%PDF-1.7 not a picture"),
        ],
    )
    failed = opened.locator("#transfers li.failed")
    await failed.wait_for()
    assert "application/pdf; accepted" in await failed.inner_text()
    await opened.wait_for_function(
        "() => document.querySelectorAll('#transfers li.done').length == 2"
    )
    assert len(puts) == 3
    assert all(url.startswith(f"http://127.0.0.1:{bucket.port}/bkt") for url in puts)
    assert len(bucket.names()) == 2
    for name, data in (("sun.png", SUN), ("words.txt", large)):
        url = await opened.locator("#transfers a", has_text=name).get_attribute("href")
        answer = await opened.request.get(f"{opened.url.removesuffix('/direct')}{url}")
        assert await answer.body() == data


async def test_what_is_too_large_or_cancelled_leaves_nothing(
    opened: Any, bucket: Bucket, tmp_path: Path
) -> None:
    network = await opened.context.new_cdp_session(opened)
    await network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    await network.send(
        "Network.emulateNetworkConditions", {**slow, "uploadThroughput": MiB}
    )
    files = []
    for name, size in (("big.txt", MOST + 1), ("slow.txt", MOST)):
        files.append(tmp_path / name)
        files[-1].write_bytes(b"a" * size)
    await opened.set_input_files("#picker", files)
    await opened.locator(
        "#transfers li.failed", has_text="This is too large"
    ).wait_for()
    await opened.wait_for_function(
        "() => document.querySelector('#transfers progress')?.value > 0.05"
    )
    await opened.locator("#transfers button", has_text="Cancel").click()
    await opened.wait_for_selector("#transfers li.cancelled")
    assert bucket.names() == []


async def test_bucket_that_lets_no_page_upload_is_said(
    opened: Any, bucket: Bucket
) -> None:
    bucket.allow("https://another.example")
    await opened.set_input_files("#picker", [file("a.txt", "text/plain", TEXT)])
    failed = opened.locator("#transfers li.failed")
    await failed.wait_for()
    assert "its CORS configuration does not let this site" in await failed.inner_text()
    assert bucket.names() == []


async def test_page_may_ask_the_bucket_and_no_other_origin(
    opened: Any, bucket: Bucket
) -> None:
    blocked = """async url => {
        let blocked = '';
        addEventListener('securitypolicyviolation', e => blocked = e.effectiveDirective);
        await fetch(url, {mode: 'no-cors'}).catch(() => {});
        await new Promise(resolve => setTimeout(resolve, 100));
        return blocked;
    }"""
    own = f"http://127.0.0.1:{bucket.port}/"
    assert await opened.evaluate(blocked, own) == ""
    assert await opened.evaluate(blocked, "http://127.0.0.1:9/") == "connect-src"
    await opened.goto(opened.url.removesuffix("direct"))
    assert await opened.evaluate(blocked, own) == "connect-src"


@pytest.fixture(scope="session")
def uppy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One script of Uppy and its plugin."""
    node = node_with("@uppy/aws-s3")
    bundle = tmp_path_factory.mktemp("uppy") / "uppy.js"
    options = {
        "entryPoints": [str(Path(__file__).with_name("uppy.js"))],
        "nodePaths": [str(FOLDER / "node_modules")],
        "outfile": str(bundle),
        "bundle": True,
        "format": "esm",
    }
    build = f"require('esbuild').buildSync({json.dumps(options)})"
    subprocess.run([node, "-e", build], cwd=FOLDER, check=True, timeout=60)
    return bundle


async def test_uppy_uploads_by_the_same_routes(
    opened: Any, bucket: Bucket, uppy: Path
) -> None:
    """Its plugin @uppy/aws-s3, under the policy of the app's page."""

    async def bundled(route: Any) -> None:
        await route.fulfill(path=uppy, content_type="text/javascript")

    await opened.route("**/static/uppy.js", bundled)
    result = await opened.evaluate(
        """async size => {
            const [{upload}, routes] = await Promise.all(
                ['/static/uppy.js', '/static/direct.js'].map(url => import(url)));
            const files = [
                new File(['a few words'], 'words.txt', {type: 'text/plain'}),
                new File(['%PDF-1.7'], 'fake.txt', {type: 'text/plain'}),
                new File([new Uint8Array(size)], 'big.txt', {type: 'text/plain'}),
                new File([], 'empty.txt', {type: 'text/plain'}),
            ];
            return upload(files, routes);
        }""",
        MOST + 1,
    )
    stored = {found["name"]: found for found in result["stored"]}
    assert stored["words.txt"]["size"] == len("a few words")
    assert stored["empty.txt"]["size"] == 0
    assert stored["fake.txt"]["problem"]["status"] == 415
    [refused] = result["refused"]
    assert refused["name"] == "big.txt"
    assert "is the most" in refused["error"]
    assert len(bucket.names()) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_is_for_everybody(opened: Any, scheme: str) -> None:
    """As the other pages: axe-core finds nothing, and it fits a phone."""
    await opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await opened.set_viewport_size({"width": 320, "height": 700})
    files = [
        file("a" * 100 + ".txt", "text/plain", TEXT),
        file("fake.png", "image/png", b"%PDF-1.7 not a picture"),
    ]
    await opened.set_input_files("#picker", files)
    await opened.locator("#transfers li.failed").wait_for()
    await opened.locator("#transfers li.done").wait_for()
    assert await opened.evaluate("document.documentElement.scrollWidth") <= 320
    await opened.evaluate(axe())
    assert await violations(opened) == []
