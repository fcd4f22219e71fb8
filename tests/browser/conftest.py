"""A page of the machine's own Chromium, for the tests that need a real browser.

Nothing is downloaded: playwright drives the ``chromium`` of the operating system.
Where either is missing the tests are skipped, and say which.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

# Starting it takes a second or two; longer on a machine that is busy.
SECONDS = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    """A page of a browser that was started for this test."""
    playwright = pytest.importorskip(
        "playwright.async_api", reason="playwright is not installed"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield await browser.new_page()
        finally:
            await browser.close()
