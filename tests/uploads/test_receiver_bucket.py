"""Uploads into a bucket that fails: complete with a 200, else nothing that shows.

Each upload is made by a seed: one file or several, held, sent by one request or in
parts, staged or not, with checks, under keys that are digests. One request to the
bucket is spoiled, or every tenth: it is answered 500, 503 or 403, breaks before or
after the bucket has seen it, or is done twice. Then the bucket is looked at from
outside. What is left out of sight there, one sweep removes. The same again for objects
that are encrypted, and for those that a quota counts.

``AIOSTREAMS_FAULTS`` says how many uploads there are: a twentieth of that.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    EncryptedStorage,
    KiB,
    MemoryLedger,
    MiB,
    ObjectStorage,
    QuotaStorage,
    Storage,
    StoredFile,
    Stream,
    by_digest,
    receive,
    setup,
)
from tests.servers import serving
from tests.storage.buckets import Bucket, store_of
from tests.storage.faults import Fault, FaultProxy

COUNT = int(os.environ.get("AIOSTREAMS_FAULTS", "1000")) // 20
FAULTS: list[Fault] = ["error", "busy", "refuse", "drop", "lost", "twice"]
RETRIES: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=9),
    "backoff": {
        "init_backoff": timedelta(milliseconds=1),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    },
}


def storage_at(port: int) -> ObjectStorage:
    store = store_of(port, retry_config=RETRIES, client_options={"timeout": "20s"})
    return ObjectStorage(store, "kept", part_size=5 * MiB, concurrency=2)


def made(kind: str, storage: Storage, ledger: MemoryLedger) -> Storage:
    if kind == "encrypted":
        pytest.importorskip("cryptography", reason="needs the extra encryption")
        return EncryptedStorage(storage, {"k": bytes(32)})
    if kind == "quota":
        return QuotaStorage(storage, ledger, limit=1 << 40, expires=0.01)
    return storage


class Script:
    """One upload, by its seed."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        sizes = [0, 100, 300 * KiB, 6 * MiB]
        self.files = [
            chance.randbytes(chance.choice(sizes))
            for _ in range(chance.randrange(1, 4))
        ]
        self.fault: Fault = chance.choice(FAULTS)
        # At which request; 0: at every tenth, more or less.
        self.k = chance.choice([0, *range(1, 15)])
        self.options: dict[str, Any] = {"staged": chance.random() < 0.8}
        if self.options["staged"] and chance.random() < 0.3:
            self.options["key"] = by_digest("sha256", "some/")
        if chance.random() < 0.4:
            self.options["check"] = [read_all, leave]
        self.options["metadata"] = chance.choice([None, {"by": "a test"}])

    def spoiled(self, number: int, _line: str) -> Fault | None:
        if self.k:
            return self.fault if number == self.k else None
        if self.chance.random() < 0.1:
            return self.chance.choice(FAULTS)
        return None

    def body(self) -> aiohttp.MultipartWriter:
        form = aiohttp.MultipartWriter("form-data")
        for number, data in enumerate(self.files):
            part = form.append(io.BytesIO(data))
            part.set_content_disposition("form-data", name="f", filename=f"{number}.x")
        return form


async def read_all(stream: Stream, _file: StoredFile) -> None:
    while await stream.readany():
        pass


async def leave(stream: Stream, _file: StoredFile) -> None:
    await stream.read(1)


def visible(bucket: Bucket) -> list[str]:
    return [name for name in bucket.names() if "/.aiostreams-" not in name]


@pytest.mark.slow
@pytest.mark.timeout(120 + COUNT)
@pytest.mark.parametrize("kind", ["plain", "encrypted", "quota"])
async def test_uploads_into_a_bucket_that_fails(
    bucket: Bucket, proxy: FaultProxy, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    ledger = MemoryLedger()
    storage = made(kind, storage_at(proxy.port), ledger)
    direct = made(kind, storage_at(bucket.port), ledger)
    script = Script(0)

    async def upload(request: web.Request) -> Any:
        async with receive(request, storage, **script.options) as received:
            pass
        return JSON({file.key: file.digests for file in received.files.values()})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/", upload)
    outcomes: Counter[str] = Counter()
    async with (
        serving(setup(app)) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        for seed in range(COUNT):
            script = Script(seed)
            caplog.clear()
            caplog.set_level(logging.WARNING)
            proxy.lines.clear()
            proxy.fault = script.spoiled
            async with session.post("/", data=script.body()) as response:
                status, stored = response.status, await response.json()
            proxy.fault = lambda _k, _line: None
            await storage.close()
            outcomes[f"{script.fault} {status}"] += 1
            shown = visible(bucket)
            if status == 200:
                assert sorted(shown) == sorted(f"kept/{key}" for key in stored), seed
                sent = {hashlib.sha256(data).hexdigest() for data in script.files}
                assert {digests["sha256"] for digests in stored.values()} == sent
                for key, digests in stored.items():
                    async with await direct.open(key) as stream:
                        data = await stream.read()
                    assert hashlib.sha256(data).hexdigest() == digests["sha256"], seed
                    await direct.delete(key)
            else:
                assert status in {500, 503}, (seed, status, stored)
                # One that could not be removed, since that was spoiled too, is logged.
                unknown = [key for key in shown if key[5:] not in caplog.text]
                assert unknown == [], (seed, script.fault, script.k)
                assert not (shown and script.k), (seed, script.fault, script.k)
                for key in shown:
                    await direct.delete(key.removeprefix("kept/"))
            await direct.sweep(older_than=-3600)
            assert bucket.names() == [], seed
            assert bucket.uploads() == [], seed
            async with asyncio.timeout(10):
                while ledger.used(""):  # until what is in doubt has lapsed
                    await direct.sweep()
                    await storage.sweep()
    await direct.close()
    print(dict(sorted(outcomes.items())))
    assert any(name.endswith(" 200") for name in outcomes)
    assert any(name.endswith(" 500") for name in outcomes)
