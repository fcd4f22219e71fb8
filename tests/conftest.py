"""What every test runs under: no blocking call on the event loop goes unseen.

And hypothesis without deadlines: a busy machine is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def blockbuster(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Blocking calls from aiostreams on the event loop raise."""
    with blockbuster_ctx("aiostreams") as buster:
        yield buster
