"""Each kind of staging, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aiostreams.resumable.staging import Staging

from .stagings import KINDS, staging_of


@pytest.fixture(params=KINDS)
def make_staging(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], Staging]:
    """Gives a staging; all that it gives share what is stored, like workers do."""
    return staging_of(request.param, tmp_path)
