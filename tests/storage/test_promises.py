"""Every storage, held to every promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    DiskStorage,
    EncryptedStorage,
    MemoryLedger,
    MemoryStorage,
    MiB,
    ObjectStorage,
    QuotaStorage,
    Storage,
)
from aiostreams.testing.storages import PROMISES, promise_08_attributes_are_kept

from .buckets import Bucket, store_of

Promise = Callable[[Any], Awaitable[None]]


def obstore() -> Any:
    return pytest.importorskip("obstore.store", reason="needs the extra s3")


every_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)


@every_promise
async def test_memory_keeps(promise: Promise) -> None:
    storage = MemoryStorage()
    await promise(lambda: storage)


class Minimal(MemoryStorage):
    """Copies and moves as the base class does: by bytes."""

    copy = Storage.copy


@every_promise
async def test_the_base_class_keeps(promise: Promise) -> None:
    storage = Minimal()
    await promise(lambda: storage)


@every_promise
@pytest.mark.parametrize("fsync", [False, True])
async def test_disk_keeps(promise: Promise, fsync: bool, tmp_path: Path) -> None:
    await promise(lambda: DiskStorage(tmp_path / "root", fsync=fsync))
    assert list((tmp_path / "root").rglob("*")) == []


@every_promise
async def test_seaweed_keeps(promise: Promise, bucket: Bucket) -> None:
    store = store_of(bucket.port)
    await promise(lambda: ObjectStorage(store, "some/prefix", part_size=5 * MiB))
    assert bucket.names() == []
    assert bucket.uploads() == []


@every_promise
async def test_obstore_memory_keeps(promise: Promise) -> None:
    store = obstore().MemoryStore()
    await promise(lambda: ObjectStorage(store, part_size=5 * MiB))
    assert [m["path"] for batch in store.list() for m in batch] == []


@every_promise
async def test_obstore_local_keeps(promise: Promise, tmp_path: Path) -> None:
    if promise is promise_08_attributes_are_kept:
        pytest.skip("LocalStore has no attributes")
    store = obstore().LocalStore(tmp_path)
    await promise(lambda: ObjectStorage(store, part_size=5 * MiB))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- encrypted ---------------------------------------------------------------------

KEYS = {"2026": bytes(range(32)), "2025": bytes(32)}


def encrypted(storage: Storage) -> EncryptedStorage:
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    return EncryptedStorage(storage, KEYS)


@every_promise
async def test_encrypted_memory_keeps(promise: Promise) -> None:
    storage = MemoryStorage()
    await promise(lambda: encrypted(storage))


@every_promise
async def test_encrypted_disk_keeps(promise: Promise, tmp_path: Path) -> None:
    await promise(lambda: encrypted(DiskStorage(tmp_path / "root")))
    assert list((tmp_path / "root").rglob("*")) == []


@every_promise
async def test_encrypted_seaweed_keeps(promise: Promise, bucket: Bucket) -> None:
    store = store_of(bucket.port)
    await promise(lambda: encrypted(ObjectStorage(store, "p", part_size=5 * MiB)))
    assert bucket.names() == []
    assert bucket.uploads() == []


# -- with a quota ------------------------------------------------------------------


@every_promise
async def test_quota_in_memory_keeps(promise: Promise) -> None:
    storage, ledger = MemoryStorage(), MemoryLedger()
    await promise(lambda: QuotaStorage(storage, ledger, limit=100 * MiB))
    assert ledger.used("") == 0


@every_promise
async def test_quota_on_disk_keeps(promise: Promise, tmp_path: Path) -> None:
    storage, ledger = DiskStorage(tmp_path / "root"), MemoryLedger()
    await promise(lambda: QuotaStorage(storage, ledger, limit=100 * MiB))
    assert ledger.used("") == 0
    assert list((tmp_path / "root").rglob("*")) == []


@every_promise
async def test_quota_on_seaweed_keeps(promise: Promise, bucket: Bucket) -> None:
    store, ledger = store_of(bucket.port), MemoryLedger()
    storage = ObjectStorage(store, "some/prefix", part_size=5 * MiB)
    await promise(lambda: QuotaStorage(storage, ledger, limit=100 * MiB))
    assert ledger.used("") == 0
    assert bucket.names() == []
    assert bucket.uploads() == []
