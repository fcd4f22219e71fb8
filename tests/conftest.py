"""What every test runs under: no blocking call on the event loop goes unseen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def blockbuster(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Blocking calls from aiostreams on the event loop raise."""
    with blockbuster_ctx("aiostreams") as buster:
        yield buster
