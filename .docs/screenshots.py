"""Take the documentation's pictures of the app: ``python .docs/screenshots.py``.

They are looked at by people before they are committed, and made anew when the page has
changed. Also taken, into build/screenshots, are the other widths and colours.
"""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from aiohttp import ClientSession, FormData
from playwright.async_api import async_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
DESKTOP, PHONE = {"width": 1120, "height": 860}, {"width": 390, "height": 860}
PICTURES = {
    ("desktop", "light"): ROOT / "docs/assets/example-app-light.png",
    ("phone", "dark"): ROOT / "docs/assets/example-app-dark.png",
    ("desktop", "dark"): ROOT / "build/screenshots/desktop-dark.png",
    ("phone", "light"): ROOT / "build/screenshots/phone-light.png",
}


def png(width: int, height: int, hue: int) -> bytes:
    """Make a picture: a gradient, so that its preview shows something."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return (
            struct.pack(">I", len(data))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    rows = b"".join(
        b"\0"
        + bytes(
            value
            for x in range(width)
            for value in (hue, 255 * x // width, 255 * y // height)
        )
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


FILES = {
    "lake.png": png(320, 200, 40),
    "forest at night.png": png(320, 200, 120),
    "notes.txt": b"Once upon a time\n" * 400,
    "measurements.csv": b"time,value\n" + b"1,2\n" * 20_000,
    "backup.tar.gz": bytes(3_000_000),
}


async def take(url: str) -> None:
    """Fill the app, and take each picture."""
    async with ClientSession() as session:
        for name, content in FILES.items():
            form = FormData(quote_fields=False)
            form.add_field("file", content, filename=name)
            async with session.post(f"{url}/files", data=form) as answer:
                answer.raise_for_status()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for (size, scheme), file in PICTURES.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            page = await browser.new_page(
                viewport=DESKTOP if size == "desktop" else PHONE,  # type: ignore[arg-type]
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            await page.goto(url)
            await page.wait_for_selector("text=lake.png")
            await page.wait_for_load_state("load")
            await page.screenshot(path=file)
            print(file.relative_to(ROOT))
        await browser.close()


def main() -> None:
    """Run the app, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "example_app",
            "--port=0",
            f"--storage={folder}/files",
        ]
        app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert app.stdout is not None
            url = next(line for line in app.stdout if "http://" in line).split()[3]
            asyncio.run(take(url))
        finally:
            app.terminate()
            app.wait()


if __name__ == "__main__":
    main()
