"""Every storage, held to every promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiostreams.testing.storages import PROMISES
from aiostreams.uploads.disk import DiskStorage
from aiostreams.uploads.memory import MemoryStorage

Promise = Callable[[Any], Awaitable[None]]
every_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)


@every_promise
async def test_memory_keeps(promise: Promise) -> None:
    storage = MemoryStorage()
    await promise(lambda: storage)


@every_promise
@pytest.mark.parametrize("fsync", [False, True])
async def test_disk_keeps(promise: Promise, fsync: bool, tmp_path: Path) -> None:
    await promise(lambda: DiskStorage(tmp_path / "root", fsync=fsync))
    assert list((tmp_path / "root").rglob("*")) == []
