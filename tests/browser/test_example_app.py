"""The example app in Chromium: several files, progress, cancel, refusals, deletion."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving


def png() -> bytes:
    def piece(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\xff\0\0" * 2 + b"\0" + b"\0\0\xff" * 2)
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", header)
        + piece(b"IDAT", rows)
        + piece(b"IEND", b"")
    )


SUN = png()
TEXT = b"a few words\n" * 1000


@pytest.fixture
async def opened(page: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """The page of an app that takes images and text; it must not complain."""
    settings = Settings(
        max_file=30 * MiB, accept=frozenset({"image/*", "text/plain", "video/*"})
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            # What the browser says of any answer above 399 is not a complaint.
            if message.type in {"error", "warning"}
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    storage = DiskStorage(tmp_path / "root")
    async with serving(create_app(storage, settings), auto_decompress=False) as address:
        await page.goto(f"http://{address[0]}:{address[1]}/")
        yield page
    assert complaints == []


def file(name: str, kind: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def stored(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


async def test_several_files_are_stored_shown_and_deleted(
    opened: Any, tmp_path: Path
) -> None:
    files = [
        file("sun.png", "image/png", SUN),
        file("<b>words</b>.txt", "text/plain", TEXT),
        file("fake.png", "image/png", b"<html><script>alert(1)</script>"),
    ]
    await opened.set_input_files("#picker", files)
    await opened.wait_for_selector("#transfers li.failed")
    await opened.wait_for_function(
        "() => document.querySelectorAll('#transfers li.done').length == 2"
    )
    transfers = await opened.locator("#transfers").inner_text()
    assert hashlib.sha256(SUN).hexdigest() in transfers
    assert hashlib.sha256(TEXT).hexdigest() in transfers
    assert "This kind of file is not welcome here" in transfers
    await opened.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 2"
        " && document.querySelector('#files img')?.naturalWidth == 2"
    )
    assert len(stored(tmp_path)) == 2
    # Of a name nothing becomes markup.
    assert await opened.locator("#files b").count() == 0

    item = opened.locator("#files li", has_text="sun.png")
    await item.locator("a", has_text="SHA-256").click()
    await item.locator(f"text={hashlib.sha256(SUN).hexdigest()}").wait_for()
    async with opened.expect_download() as download:
        await item.locator("a.name").click()
    saved = await (await download.value).path()
    assert Path(saved).read_bytes() == SUN
    await item.locator("button", has_text="Delete").click()
    await opened.locator("#confirm button", has_text="Keep").click()
    assert len(stored(tmp_path)) == 2
    await item.locator("button", has_text="Delete").click()
    await opened.locator("#confirm button", has_text="Delete").click()
    await opened.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 1"
    )
    assert [path.read_bytes() for path in stored(tmp_path)] == [TEXT]


async def test_upload_that_is_cancelled_leaves_nothing(
    opened: Any, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(20 * MiB))
    network = await opened.context.new_cdp_session(opened)
    await network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    await network.send(
        "Network.emulateNetworkConditions", {**slow, "uploadThroughput": 2 * MiB}
    )
    await opened.set_input_files("#picker", str(film))
    await opened.wait_for_function(
        "() => document.querySelector('#transfers progress')?.value > 0.05"
    )
    await opened.locator("#transfers button", has_text="Cancel").click()
    await opened.wait_for_selector("#transfers li.cancelled")
    async with asyncio.timeout(5):
        while stored(tmp_path):
            await asyncio.sleep(0.05)


async def test_refusal_reaches_a_browser_that_is_still_sending(
    opened: Any, tmp_path: Path
) -> None:
    """It is of a wrong type by its first bytes; 20 MiB are on their way."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"%PDF-1.7\n" + bytes(20 * MiB))
    await opened.set_input_files("#picker", str(fake))
    failed = opened.locator("#transfers li.failed")
    await failed.wait_for()
    assert "application/pdf; accepted" in await failed.inner_text()
    assert stored(tmp_path) == []


async def test_page_fits_a_phone(opened: Any) -> None:
    await opened.set_viewport_size({"width": 320, "height": 700})
    long = "a" * 120 + ".txt"
    await opened.set_input_files("#picker", [file(long, "text/plain", TEXT)])
    await opened.wait_for_selector("#files li")
    assert await opened.evaluate("document.documentElement.scrollWidth") <= 320
