"""The service on each kind of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiostreams.storage.base import Storage

from .server import KINDS, storage_of


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_of(request.param, tmp_path)
