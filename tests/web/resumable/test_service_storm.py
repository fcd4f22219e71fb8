"""Kills, at random, of processes that take uploads; ``make chaos`` does more of it.

What holds all the time is written in ``storm.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.buckets import Bucket

from .storm import storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("storage", ["disk", "fsync"])
async def test_uploads_survive_on_disk(
    tmp_path: Path, storage: str, workers: int
) -> None:
    count = await storm(tmp_path, storage, workers=workers, kills=12)
    assert count["kill"]


@pytest.mark.parametrize("workers", [1, 3])
async def test_uploads_survive_in_a_bucket(
    tmp_path: Path, bucket: Bucket, workers: int
) -> None:
    await storm(tmp_path, bucket.port, workers=workers, kills=6)


async def test_uploads_survive_a_bad_network(tmp_path: Path) -> None:
    """In memory; what a killed process had there is gone, of course."""
    await storm(tmp_path, "memory", workers=1, kills=0, uploads=30)
