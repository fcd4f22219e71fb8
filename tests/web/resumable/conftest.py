"""The service on each kind of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiostreams import EncryptedStorage, MemoryLedger, QuotaStorage, Storage

from .server import KINDS, storage_of


@pytest.fixture(params=[*KINDS, "encrypted", "quota"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "encrypted":
        pytest.importorskip("cryptography", reason="needs the extra encryption")
        return EncryptedStorage(storage_of("disk", tmp_path), {"k": bytes(32)})
    if request.param == "quota":
        return QuotaStorage(storage_of("disk", tmp_path), MemoryLedger(), limit=1 << 30)
    return storage_of(request.param, tmp_path)
