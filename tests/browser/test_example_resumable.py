"""Uploads of the example app's page that are interrupted, in Chromium.

By the network, by a page that is loaded anew or closed, by workers that are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving

from .line import Line
from .test_example_access import axe, violations

ROOT = Path(__file__).parents[2]
DATA = random.Random(1).randbytes(3 * MiB)
HALF = len(DATA) // 2
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film (1)'ü.bin"
    path.write_bytes(DATA)
    return path


@pytest_asyncio.fixture(loop_scope="session")
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    app = create_app(DiskStorage(tmp_path / "root"), Settings(max_file=64 * MiB))
    async with (
        serving(app, auto_decompress=False) as (_, port),
        Line(port, HALF).running() as line,
    ):
        yield line


@pytest.fixture
def complaints(page: Any) -> list[str]:
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


async def send_half(page: Any, line: Line, film: Path) -> None:
    """Open the page, and choose a file, of which half arrives for now."""
    await page.goto(line.url)
    await page.set_input_files("#picker", str(film))
    async with asyncio.timeout(20):
        await line.half.wait()


async def done(page: Any) -> None:
    item = page.locator("#transfers li.done")
    await item.wait_for(timeout=20_000)
    assert DIGEST in await item.inner_text()


async def resumed_at(page: Any) -> str:
    """What the log says of how far the upload was."""
    line = page.locator("#log .resumed").first
    await line.wait_for()
    found = re.search(r"that has (.*)", await line.inner_text())
    assert found
    return found[1]


def kept(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in tmp_path.glob("root/*/film*")]


async def test_upload_goes_on_when_the_network_is_back(
    page: Any, line: Line, film: Path, tmp_path: Path, complaints: list[str]
) -> None:
    await send_half(page, line, film)
    line.cut()
    state = page.locator("#transfers .state")
    await state.filter(has_text="interrupted, trying again").wait_for()
    assert await page.inner_text("#news") == f"{film.name}: interrupted, trying again"
    source = axe()
    await page.evaluate(source)
    assert await violations(page) == []
    line.mend()
    await done(page)
    assert not (await resumed_at(page)).startswith("0 ")
    assert kept(tmp_path) == [DATA]
    assert await page.locator("#files a.name").inner_text() == film.name
    assert complaints == []


async def test_upload_goes_on_when_the_page_is_loaded_anew(
    page: Any, line: Line, film: Path, tmp_path: Path, complaints: list[str]
) -> None:
    await send_half(page, line, film)
    await page.reload()
    line.mend()
    await done(page)
    assert not (await resumed_at(page)).startswith("0 ")
    assert kept(tmp_path) == [DATA]
    # And nothing is left to go on with.
    await page.reload()
    await page.wait_for_selector("#files li")
    assert (
        await page.evaluate(
            "import('/static/resumable.js').then(module => module.interrupted())"
        )
        == []
    )
    assert await page.locator("#transfers li").count() == 0
    assert complaints == []


async def test_upload_that_is_not_there_any_more_is_begun_anew(
    page: Any, line: Line, film: Path, tmp_path: Path, complaints: list[str]
) -> None:
    await send_half(page, line, film)
    line.cut()
    await page.locator("#transfers .state", has_text="interrupted").wait_for()
    shutil.rmtree(tmp_path / "root/.aiostreams-uploads")
    line.mend()
    await done(page)
    assert kept(tmp_path) == [DATA]
    assert complaints == []


async def test_large_file_is_chosen_again(
    page: Any, line: Line, film: Path, tmp_path: Path, complaints: list[str]
) -> None:
    """One that the browser would have to copy is not."""

    async def smaller(route: Any) -> None:
        response = await route.fetch()
        text = await response.text()
        assert "256 * 1024 * 1024" in text
        await route.fulfill(
            response=response, body=text.replace("256 * 1024 * 1024", "1024")
        )

    await page.route("**/static/resumable.js", smaller)
    await send_half(page, line, film)
    await page.reload()
    item = page.locator("#transfers li.resting")
    await item.locator("text=Choose the same file again").wait_for()
    await page.evaluate(axe())
    assert await violations(page) == []
    line.mend()
    await page.set_input_files("#picker", str(film))
    await done(page)
    assert not (await resumed_at(page)).startswith("0 ")
    assert await page.locator("#transfers li").count() == 1
    assert kept(tmp_path) == [DATA]
    assert complaints == []


async def test_upload_that_rests_is_discarded(
    page: Any, line: Line, film: Path, tmp_path: Path
) -> None:
    # As it is without TLS, unless on localhost: then no page goes on by itself.
    await page.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})"
    )
    await send_half(page, line, film)
    await page.reload()
    line.mend()
    await page.click("#transfers button:has-text('Discard')")
    await page.locator("#log .cancelled").wait_for()
    await page.reload()
    await page.wait_for_selector("#live.live")
    assert await page.locator("#transfers li").count() == 0
    assert not [path for path in (tmp_path / "root").rglob("data") if path.is_file()]


async def test_two_tabs_do_not_send_one_upload(
    page: Any, line: Line, film: Path, tmp_path: Path
) -> None:
    context = await page.context.browser.new_context()
    page, other = await context.new_page(), await context.new_page()
    await send_half(page, line, film)
    await other.goto(line.url)
    await other.wait_for_selector("#live")
    assert (
        await other.evaluate(
            "import('/static/resumable.js').then(module => module.interrupted())"
        )
        == []
    )
    assert await other.locator("#transfers li").count() == 0
    line.mend()
    await done(page)
    assert await page.locator("#log .resumed").count() == 0
    assert kept(tmp_path) == [DATA]


async def test_file_that_was_changed_is_not_sent_on(
    page: Any, line: Line, film: Path, tmp_path: Path
) -> None:
    await send_half(page, line, film)
    film.write_bytes(DATA[::-1] + b"more")
    failed = page.locator("#transfers li.failed")
    line.cut()
    line.mend()
    await failed.locator("text=The file cannot be read").wait_for()
    assert kept(tmp_path) == []


def workers_of(supervisor: int) -> list[int]:
    """The processes that serve; not the tracker of multiprocessing."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
    return [
        int(pid)
        for pid in children.split()
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@contextlib.asynccontextmanager
async def several_workers(storage: str) -> AsyncIterator[tuple[int, int]]:
    """The command with three workers; gives their port and the supervisor."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "example_app", "--port", "0", "--workers", "3",
        "--storage", storage,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while not (
                found := re.search(
                    rb"http://[^:]+:(\d+)", await process.stdout.readline()
                )
            ):
                pass
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
@pytest.mark.parametrize("kind", ["disk", "bucket"])
async def test_upload_goes_on_when_all_workers_are_killed(
    page: Any,
    film: Path,
    tmp_path: Path,
    complaints: list[str],
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "root"
    storage = str(root)

    def arrived() -> bool:
        """Whether a worker has made bytes count; else a queue outlives them all."""
        if kind == "bucket":  # where that is done every ten seconds
            return any(name.endswith("log/00000002") for name in bucket.names())
        return any(path.stat().st_size for path in root.rglob("data"))

    if kind == "bucket":
        bucket = request.getfixturevalue("bucket")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
        storage = f"s3://bkt/films?endpoint=http://127.0.0.1:{bucket.port}"
    async with (
        several_workers(storage) as (port, supervisor),
        Line(port, HALF).running() as line,
    ):
        await send_half(page, line, film)
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(arrived):
                await asyncio.sleep(0.02)
        for pid in workers_of(supervisor):
            os.kill(pid, signal.SIGKILL)
        line.mend()
        await done(page)
        assert not (await resumed_at(page)).startswith("0 ")
        url = await page.get_attribute("#transfers li.done a", "href")
        answer = await page.request.get(f"{line.url.rstrip('/')}{url}")
        assert await answer.body() == DATA
    assert complaints == []
