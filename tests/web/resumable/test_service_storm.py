"""37 kills, at random, of processes that take uploads; ``make chaos`` does 1,000.

What holds all the time is written in ``storm.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.azurite import azurite_binary
from tests.storage.buckets import Bucket

from .storm import storage_called, storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("storage", "workers", "kills"),
    [
        ("memory", 1, 5),
        ("disk", 1, 6),
        ("disk", 3, 6),
        ("fsync", 1, 6),
        ("fsync", 3, 6),
    ],
)
async def test_uploads_survive(
    tmp_path: Path, storage: str, workers: int, kills: int
) -> None:
    count = await storm(tmp_path, storage, workers=workers, kills=kills)
    assert count["kill"] == kills
    assert count["offsets told"] > 10
    # In memory those of a process that has ended are gone, and only those.
    assert (count["began anew"] > 0) == (storage == "memory")


@pytest.mark.parametrize("workers", [1, 3])
async def test_uploads_survive_in_a_bucket(
    tmp_path: Path, bucket: Bucket, workers: int
) -> None:
    """The store fails too, before and after it has done what it was asked for."""
    count = await storm(tmp_path, f"s3:{bucket.port}", workers=workers, kills=4)
    assert count["store error"] + count["store drop"] + count["store lost"] > 10


async def test_uploads_survive_in_azurite(tmp_path: Path) -> None:
    if azurite_binary() is None:
        pytest.skip("azurite has 295 packages: python -m tests.node azurite")
    with storage_called("azurite") as storage:
        await storm(tmp_path, storage, workers=3, kills=6)
