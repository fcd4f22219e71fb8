"""The example app on a folder, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(raise_for_status=False) as session:
        yield session


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[URL]:
    (tmp_path / "uploads").mkdir()
    app = create_app(DiskStorage(tmp_path / "uploads"), Settings(max_file=64 * MiB))
    async with serving(app, auto_decompress=False) as (host, port):
        yield URL.build(scheme="http", host=host, port=port)
