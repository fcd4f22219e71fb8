"""The example app for everybody: checked by axe-core, by keyboard alone, by contrast.

axe-core is the engine that accessibility auditors use; the package
``axe-playwright-python`` brings it along, and no more than its file is used of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving

ROOT = Path(__file__).parents[2]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


@pytest_asyncio.fixture(loop_scope="session")
async def address(tmp_path: Path) -> AsyncIterator[str]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "notes.txt").write_text("some words\n" * 2000)
    (root / "sun.png").write_bytes(PNG)
    (root / "archive.tar.gz").write_bytes(b"\x1f\x8b")
    settings = Settings(max_file=MiB, accept=frozenset({"image/*", "text/plain"}))
    app = create_app(DiskStorage(root), settings)
    async with serving(app, auto_decompress=False) as (host, port):
        yield f"http://{host}:{port}"


def axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    return Path(found.origin).with_name("axe.min.js").read_text("utf-8")


async def violations(page: Any) -> list[str]:
    """What axe-core finds wrong, and where."""
    found = await page.evaluate(
        """async () => (await axe.run(document, {runOnly: [
            'wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice',
        ]})).violations"""
    )
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
async def test_axe_finds_nothing(
    page: Any, address: str, scheme: str, width: int
) -> None:
    source = axe()
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/",
        "/?q=nothing-of-this",
        "/api",
        "/delete/notes.txt",
        "/none/x",
    ):
        await page.goto(f"{address}{path}")
        await page.evaluate(source)
        assert await violations(page) == [], path
    await page.goto(address)
    await page.evaluate(source)
    await page.set_input_files(
        "#picker",
        [
            {"name": "a.png", "mimeType": "image/png", "buffer": PNG},
            {"name": "b.png", "mimeType": "image/png", "buffer": b"<html>"},
        ],
    )
    await page.wait_for_selector("#transfers .done")
    await page.wait_for_selector("#transfers .failed")
    await page.wait_for_selector("#log .refused")
    await page.locator("#files [data-action=digest]").first.click()
    assert await violations(page) == [], "transfers"
    item = page.locator("#files li", has_text="notes.txt")
    await item.locator("[data-action=preview]").click()
    await page.wait_for_function(
        "() => document.querySelector('#shown pre')?.textContent.length > 9"
    )
    assert await violations(page) == [], "preview"
    await page.keyboard.press("Escape")
    await item.locator("[data-action=delete]").click()
    assert await violations(page) == [], "confirm"
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def focused(page: Any) -> str:
    """What has the focus, as a screen reader would say it; and it can be seen."""
    name, outlined = await page.evaluate(
        """() => {
            const at = document.activeElement;
            const box = at.id === 'picker' ? document.getElementById('drop') : at;
            const style = getComputedStyle(box);
            const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
            const words = at.getAttribute('aria-label') || at.textContent.trim() || at.id;
            return [words, seen];
        }"""
    )
    assert outlined, f"the focus on {name!r} cannot be seen"
    return str(name)


async def tab_to(page: Any, name: str) -> None:
    for _ in range(40):
        await page.keyboard.press("Tab")
        if name in await focused(page):
            return
    raise AssertionError(f"{name!r} is not reached by the keyboard")


async def test_everything_is_done_by_keyboard(
    page: Any, address: str, tmp_path: Path
) -> None:
    # Listened for from the beginning: to begin takes Chromium a while.
    chosen = asyncio.get_running_loop().create_future()
    page.on("filechooser", lambda found: chosen.set_result(found))
    await page.goto(address)
    await page.keyboard.press("Tab")
    assert await focused(page) == "Skip to the content"
    await tab_to(page, "picker")
    await page.keyboard.press("Enter")
    chooser = await asyncio.wait_for(chosen, 20)
    assert chooser.is_multiple()
    await chooser.set_files({"name": "k.png", "mimeType": "image/png", "buffer": PNG})
    await page.wait_for_selector("#transfers .done")
    assert await page.inner_text("#news") == "k.png: done"

    await tab_to(page, "Search the files")
    await page.keyboard.type("notes")
    await page.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 1"
    )
    assert page.url.endswith("?q=notes")
    assert await page.inner_text("#news") == "1 file with “notes”"

    await tab_to(page, "Preview notes.txt")
    await page.keyboard.press("Enter")
    assert await focused(page) == "Close the preview"
    await page.keyboard.press("Escape")
    assert await focused(page) == "Preview notes.txt"  # back to where it was

    await tab_to(page, "Delete notes.txt")
    await page.keyboard.press("Enter")
    assert await focused(page) == "Keep"  # Enter by mistake does no harm
    await page.keyboard.press("Enter")
    assert (tmp_path / "root/notes.txt").exists()
    assert await focused(page) == "Delete notes.txt"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await focused(page) == "Delete"
    await page.keyboard.press("Enter")
    await page.wait_for_function(
        "() => document.querySelectorAll('#files li').length == 0"
    )
    assert not (tmp_path / "root/notes.txt").exists()
    assert await page.evaluate("document.activeElement.id") == "files-title"


async def test_nothing_moves_for_those_who_want_it_still(
    page: Any, address: str
) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.goto(address)
    assert await page.evaluate(
        """() => [...document.querySelectorAll('*')].every(each => {
            const style = getComputedStyle(each);
            return style.animationName === 'none' && style.transitionDuration === '0s';
        })"""
    )


# -- contrast, from the colours themselves -------------------------------------------

STYLE = (ROOT / "example_app/static/style.css").read_text("utf-8")
# Text on what it stands on: 4.5 (WCAG 2.2, 1.4.3). Edges and marks: 3 (1.4.11).
TEXT = [
    ("ink", "page"), ("ink", "card"), ("ink", "field"), ("ink", "bad-soft"),
    ("ink", "accent-soft"), ("soft", "page"), ("soft", "card"), ("soft", "accent-soft"),
    ("soft", "field"), ("soft", "bad-soft"), ("accent", "card"), ("accent", "accent-soft"),
    ("accent-ink", "accent"), ("bad", "card"), ("bad", "bad-soft"), ("bad-ink", "bad"),
]  # fmt: skip
MARKS = [("edge", "card"), ("edge", "field"), ("accent", "line"), ("accent", "page")]


def colours(scheme: str) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(blocks) == 2
    found: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme: str) -> None:
    known = colours(scheme)
    for pairs, least in ((TEXT, 4.5), (MARKS, 3.0)):
        for pair in pairs:
            dark, light = sorted(luminance(known[name]) for name in pair)
            assert (light + 0.05) / (dark + 0.05) >= least, (pair, scheme)
