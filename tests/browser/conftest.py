"""A page of the machine's own Chromium, for the tests that need a real browser.

Nothing is downloaded: playwright drives the Chromium of the operating system, the one
without a window where there is one: it costs half of the other's CPU time. Where either
is missing the tests are skipped, and say which.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

# Starting it takes a second or two; longer on a machine that is busy.
SECONDS = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # Of all tests there are; others have parameters of that name.
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(SECONDS))
            # The event loop that the browser was started in; their fixtures say so too.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """One for all tests: to start it costs a second."""
    playwright = pytest.importorskip(
        "playwright.async_api", reason="playwright is not installed"
    )
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("chromium is not installed")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Any) -> AsyncIterator[Any]:
    """A page that shares nothing with those of other tests."""
    try:
        yield await browser.new_page()
    finally:
        for context in browser.contexts:
            await context.close()
