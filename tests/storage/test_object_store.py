"""ObjectStorage against a real server, with every request spoiled in turn."""

from __future__ import annotations

import asyncio
import gc
import http.client
import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aiostreams import (
    GiB,
    InvalidKey,
    KiB,
    LimitExceeded,
    MiB,
    ObjectExists,
    ObjectNotFound,
    ObjectStorage,
    SizeMismatch,
    StorageError,
    StreamBusy,
    StreamError,
)
from aiostreams.storage import object_reader as objectreader
from aiostreams.storage import object_writer as objectwriter
from aiostreams.storage import obstore as client
from aiostreams.storage.object_writer import part_plan
from tests.files.disks import Suspensions
from tests.forks import forks

from .buckets import Bucket, store_of
from .faults import Fault, FaultProxy

pytest.importorskip("obstore", reason="needs the extra s3")

from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

SMALL = os.urandom(1000)
LARGE = os.urandom(11 * MiB + 1)
OLD = b"old"

NO_RETRIES: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=5)}
QUICK: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {
        "init_backoff": timedelta(milliseconds=5),
        "max_backoff": timedelta(milliseconds=10),
        "base": 2,
    },
}
PATIENT: Any = {"timeout": "20s"}


def storage_at(port: int, **kwargs: Any) -> ObjectStorage:
    kwargs.setdefault("retry_config", NO_RETRIES)
    kwargs.setdefault("client_options", PATIENT)
    return ObjectStorage(store_of(port, **kwargs), part_size=5 * MiB, concurrency=2)


async def store(
    storage: ObjectStorage, key: str, data: bytes, piece: int = 1 * MiB, **kwargs: Any
) -> None:
    async with await storage.create(key, **kwargs) as stream:
        for start in range(0, len(data), piece):
            await stream.write(data[start : start + piece])


async def load(storage: ObjectStorage, key: str) -> bytes:
    async with await storage.open(key) as stream:
        return await stream.read()


@pytest.fixture
async def memory() -> AsyncIterator[ObjectStorage]:
    async with ObjectStorage(MemoryStore(), part_size=5 * MiB) as storage:
        yield storage


@pytest.fixture
async def s3(bucket: Bucket) -> AsyncIterator[ObjectStorage]:
    async with storage_at(bucket.port) as storage:
        yield storage


# -- every request spoiled ---------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True], ids=["create", "overwrite"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("fault", ["error", "refuse", "drop", "lost"])
async def test_upload_is_whole_or_nothing_when_request_k_is_spoiled(
    fault: Fault, data: bytes, overwrite: bool, bucket: Bucket, proxy: FaultProxy
) -> None:
    """No retries: the one spoiled request has to be dealt with by us."""
    direct = storage_at(bucket.port)
    failures = 0
    for k in itertools.count(1):
        if overwrite:
            await store(direct, "o", OLD, overwrite=True)
        storage = storage_at(proxy.port)
        proxy.lines.clear()
        proxy.fault = lambda n, _line, k=k: fault if n == k else None  # type: ignore[misc]
        try:
            await store(storage, "o", data, overwrite=overwrite)
        except StreamError as error:
            failures += 1
            if not isinstance(error, StorageError) or "http" in str(error):
                raise
            left = await load(direct, "o") if overwrite else None
            assert left in {None, OLD}
        else:
            assert await load(direct, "o") == data
            await direct.delete("o")
        spoiled = proxy.lines[k - 1] if k <= len(proxy.lines) else ""
        await storage.close()
        keys = [key for key in bucket.names() if key != "o"]
        if "delete" in spoiled and fault != "lost":
            # That was the temporary object's own removal.
            assert len(keys) <= 1
            assert all(".aiostreams-temporary/" in key for key in keys)
        else:
            assert keys == []
        if spoiled.endswith("?uploads= HTTP/1.1") and fault == "lost":
            # Nobody has been told the id of the upload that was begun.
            assert len(bucket.uploads()) == 1
        else:
            assert bucket.uploads() == []
        if not overwrite and "o" in bucket.names():
            pytest.fail(f"{spoiled}: the object is there after an error")
        bucket.clear()
        if not spoiled:
            break
    # A request is spoiled without an error when looking shows that it was done.
    assert failures >= (1 if data is LARGE else fault != "lost")


@pytest.mark.parametrize("fault", ["error", "drop", "lost"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_one_spoiled_request_is_survived_by_retries(
    fault: Fault, data: bytes, bucket: Bucket, proxy: FaultProxy
) -> None:
    """A retried conditional request meets its own object, and that is success."""
    direct = storage_at(bucket.port)
    storage = storage_at(proxy.port, retry_config=QUICK)
    for k in itertools.count(1):
        proxy.lines.clear()
        proxy.fault = lambda n, _line, k=k: fault if n == k else None  # type: ignore[misc]
        try:
            await store(storage, "o", data, metadata={"a": "b"})
        except StorageError:
            # What is not idempotent is not retried when it may have been done.
            assert fault in {"drop", "lost"}
            assert bucket.names() == []
        else:
            assert await load(direct, "o") == data
            assert (await direct.stat("o")).metadata == {"a": "b"}
        spoiled = k <= len(proxy.lines)
        bucket.clear()
        if not spoiled:
            break
    assert k > (1 if data is SMALL else 6)
    await storage.close()


async def test_lost_answer_of_a_conditional_put_is_no_conflict(
    bucket: Bucket, proxy: FaultProxy
) -> None:
    storage = storage_at(proxy.port, retry_config=QUICK)
    proxy.fault = lambda n, _line: "lost" if n == 1 else None
    await store(storage, "o", SMALL)
    assert proxy.lines[0].startswith("PUT")
    assert await load(storage, "o") == SMALL
    with pytest.raises(ObjectExists):
        await store(storage, "o", b"other")


async def test_unknown_outcome_is_an_error_that_says_so(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    storage = storage_at(proxy.port)
    proxy.fault = lambda _n, _line: "error"
    with pytest.raises(StorageError, match="answered 500"):
        await store(storage, "o", SMALL)
    assert "unknown whether 'o' was stored" in caplog.text


async def test_first_error_is_kept_when_the_abort_fails_too(
    bucket: Bucket, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """obstore alone would tell of the failed DELETE only."""
    storage = storage_at(proxy.port)

    def fault(_n: int, line: str) -> Fault | None:
        if "partNumber" in line:
            return "refuse"
        return "error" if line.startswith("DELETE") else None

    proxy.fault = fault
    with pytest.raises(StorageError, match="answered 403 Forbidden"):
        await store(storage, "o", LARGE, overwrite=True)
    assert "left behind" in caplog.text
    assert bucket.names() == []


async def test_failure_of_an_earlier_part_is_raised_by_a_write(
    memory: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await memory.create("o", overwrite=True)

    class Failing:
        async def write(self, _data: bytes) -> None:
            raise OSError(28, "No space left on device (os error 28)")

        async def __aexit__(self, *_args: object) -> None:
            pass

    monkeypatch.setattr(stream, "_writer", Failing())
    await stream.write(bytes(2 * MiB))
    await stream.write(b"x")
    await stream.write(bytes(2 * MiB))
    for _ in range(2):
        with pytest.raises(StorageError, match="No space left") as caught:
            await stream.write(b"x")
        assert caught.value.status == 507
    with pytest.raises(StorageError, match="No space left"):
        await stream.close()
    assert [o.key async for o in memory.list()] == []


async def test_damaged_bytes_are_refused(bucket: Bucket, proxy: FaultProxy) -> None:
    """Payloads are signed, so the server sees that a byte has changed."""
    storage = storage_at(proxy.port)
    proxy.fault = lambda n, line: "flip" if line.startswith("PUT") else None
    for data in (SMALL, LARGE):
        with pytest.raises(StorageError):
            await store(storage, "o", data)
        await storage.close()
        assert bucket.names() == []
        assert bucket.uploads() == []


async def test_stalled_server_is_given_up(bucket: Bucket, proxy: FaultProxy) -> None:
    proxy.fault = lambda _n, line: "stall" if "partNumber=2" in line else None
    options = {"timeout": "1s", "connect_timeout": "1s"}
    storage = storage_at(proxy.port, client_options=options)
    async with asyncio.timeout(15):
        with pytest.raises(StorageError):
            await store(storage, "o", LARGE)
    await storage.close()
    assert bucket.names() == []
    assert bucket.uploads() == []


# -- cancellation ------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True], ids=["create", "overwrite"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_two_cancels_in_a_row_leave_nothing(
    data: bytes, overwrite: bool, bucket: Bucket, s3: ObjectStorage
) -> None:
    for k in range(1, 200):
        steps = Suspensions(k)

        async def upload(steps: Suspensions = steps) -> None:
            await steps.run(store(s3, "o", data, overwrite=overwrite))

        task = asyncio.create_task(upload())
        while steps.count < k and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        else:
            break
        await s3.close()
        assert bucket.uploads() == []
        left = bucket.names()
        if overwrite and left == ["o"]:
            # It had just been replaced: whole.
            assert await load(s3, "o") == data
            await s3.delete("o")
        else:
            assert left == []
    assert k > 1


async def test_cancelled_close_returns_although_the_server_hangs(
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.1)
    storage = storage_at(proxy.port, client_options={"timeout": "1s"})
    stream = await storage.create("o")
    await stream.write(SMALL)
    proxy.fault = lambda _n, _line: "stall"
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert "hangs" in caplog.text
    await storage.close()
    assert storage._tasks == set()


async def test_object_that_cannot_be_taken_back_is_logged(
    memory: ObjectStorage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(path: str) -> None:
        raise StorageError(f"cannot delete {path!r}")

    monkeypatch.setattr(memory, "remove", fail)
    stream = await memory.create("o")
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0)
    assert "unheard: cannot delete 'o'" in caplog.text


# -- reading -----------------------------------------------------------------------


async def test_reading_goes_on_where_a_body_was_cut(
    s3: ObjectStorage, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectreader, "_BACKOFF", 0.001)
    await store(s3, "o", LARGE)
    storage = storage_at(proxy.port)
    proxy.fault = lambda n, line: "cut" if line.startswith("GET") and n < 6 else None
    assert await load(storage, "o") == LARGE
    ranges = len([line for line in proxy.lines if line.startswith("GET")])
    assert ranges >= 2
    await storage.close()


async def test_reading_gives_up_after_three_failures(
    s3: ObjectStorage, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectreader, "_BACKOFF", 0.001)
    await store(s3, "o", SMALL)
    storage = storage_at(proxy.port)
    for fault in ("error", "drop"):
        stream = await storage.open("o")
        proxy.lines.clear()
        proxy.fault = lambda _n, _line, fault=fault: fault  # type: ignore[misc]
        with pytest.raises(StorageError, match="cannot read 'o'"):
            await stream.read()
        with pytest.raises(StorageError, match="cannot read 'o'"):
            await stream.read()
        assert len(proxy.lines) == 3
        await stream.close()
        proxy.fault = lambda _n, _line: None


async def test_slow_reader_outlives_the_timeout(
    s3: ObjectStorage, bucket: Bucket
) -> None:
    await store(s3, "o", LARGE)
    storage = storage_at(bucket.port, client_options={"timeout": "1s"})
    async with await storage.open("o") as stream:
        got = await stream.read(300 * KiB)
        await asyncio.sleep(1.3)
        got += await stream.read()
    assert got == LARGE


async def test_cut_object_is_a_size_mismatch(
    memory: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(memory, "o", SMALL)
    stream = await memory.open("o")
    assert isinstance(stream, objectreader.ObjectReader)

    async def nothing() -> Any:
        async def body() -> AsyncIterator[bytes]:
            pieces: list[bytes] = []
            for piece in pieces:
                yield piece

        return body()

    monkeypatch.setattr(stream, "_request", nothing)
    with pytest.raises(SizeMismatch):
        await stream.read()
    await stream.close()


async def test_replaced_or_deleted_object_is_not_read(s3: ObjectStorage) -> None:
    await store(s3, "o", SMALL)
    stream = await s3.open("o")
    other = await s3.open("o")
    await store(s3, "o", b"x" * 1000, overwrite=True)
    with pytest.raises(StorageError, match="was replaced"):
        await stream.read()
    await s3.delete("o")
    with pytest.raises(ObjectNotFound):
        await other.read()
    await stream.close()
    await other.close()


async def test_object_without_an_etag_is_read_all_the_same(
    memory: ObjectStorage,
) -> None:
    await store(memory, "o", SMALL)
    stream = await memory.open("o")
    assert isinstance(stream, objectreader.ObjectReader)
    stream._e_tag = None
    assert await stream.read() == SMALL
    await stream.close()


async def test_last_part_may_be_full(s3: ObjectStorage) -> None:
    async with await s3.create("o", overwrite=True) as stream:
        await stream.write(LARGE[: 5 * MiB])
        await stream.write(b"")
    assert await load(s3, "o") == LARGE[: 5 * MiB]


async def test_closing_a_reader_midway_forgets_what_is_fetched(
    s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(s3, "o", LARGE)
    stream = await s3.open("o")
    await stream.read(10)
    await stream.close()
    # A fetch that has failed by then is nobody's business.
    stream = await s3.open("o")
    await s3.delete("o")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await stream.read()
    await asyncio.sleep(0.2)
    await stream.close()


# -- what is special about the clouds ----------------------------------------------


async def test_defaults_are_set_unless_given() -> None:
    plain = client.with_defaults(S3Store("b", region="eu"))
    assert plain.client_options == client.CLIENT_OPTIONS
    assert plain.retry_config == client.RETRY_CONFIG
    assert plain.config["copy_if_not_exists"] == "header:if-none-match:*"
    assert plain.config["checksum_algorithm"].upper() == "SHA256"
    mine = client.with_defaults(
        S3Store(
            "b",
            prefix="p/q",
            copy_if_not_exists="multipart",
            checksum_algorithm="CRC64NVME",
            client_options={"timeout": "7s"},
            retry_config=NO_RETRIES,
        )
    )
    assert mine.client_options["timeout"] == "7s"
    assert mine.client_options["connect_timeout"] == "5s"
    assert mine.retry_config["max_retries"] == 0
    assert mine.config["copy_if_not_exists"] == "multipart"
    assert mine.config["checksum_algorithm"].upper() == "CRC64NVME"
    assert mine.prefix == "p/q"
    for other in (
        GCSStore("b"),
        AzureStore(container_name="c", account_name="a", account_key="aGk="),
    ):
        kept = client.with_defaults(other)
        assert kept.client_options == client.CLIENT_OPTIONS
        assert "copy_if_not_exists" not in kept.config
    memory = MemoryStore()
    assert client.with_defaults(memory) is memory


@pytest.mark.parametrize(
    ("size", "plan"),
    [
        (None, (8 * MiB, 4)),
        (0, (8 * MiB, 4)),
        (80_000 * MiB, (8 * MiB, 4)),
        (80_000 * MiB + 1, (9 * MiB, 3)),
        (200 * GiB, (21 * MiB, 1)),
        (5 * 1024 * GiB, (525 * MiB, 1)),
    ],
)
def test_parts_grow_so_that_ten_thousand_suffice(
    size: int | None, plan: tuple[int, int]
) -> None:
    assert part_plan(8 * MiB, 4, size) == plan
    assert plan[0] * 10_000 >= (size or 0)


async def test_size_given_makes_larger_parts(
    s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectwriter, "MAX_PARTS", 2)
    await store(s3, "o", LARGE, size=len(LARGE), overwrite=True)
    assert await load(s3, "o") == LARGE
    # S3's etag of several parts ends in their number.
    assert (await s3.stat("o")).etag.endswith("-2")  # type: ignore[union-attr]


async def test_too_many_parts_are_a_limit(
    s3: ObjectStorage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectwriter, "MAX_PARTS", 2)
    stream = await s3.create("o", overwrite=True)
    with pytest.raises(LimitExceeded, match="more than 10485760 bytes") as caught:
        for start in range(0, len(LARGE), 1 * MiB):
            await stream.write(LARGE[start : start + 1 * MiB])
    assert (caught.value.limit, caught.value.seen) == (10 * MiB, 11 * MiB)
    with pytest.raises(LimitExceeded):
        await stream.write(b"x")
    with pytest.raises(LimitExceeded):
        await stream.close()
    await stream.close()
    assert bucket.names() == []
    assert bucket.uploads() == []
    # Exactly as much as fits is no error.
    await store(s3, "o", LARGE[: 10 * MiB], overwrite=True)


async def test_new_object_is_limited_to_what_s3_copies(
    s3: ObjectStorage, memory: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectwriter, "MAX_COPY", 6 * MiB)
    with pytest.raises(LimitExceeded, match="overwrite=True"):
        await store(s3, "o", LARGE)
    await store(s3, "o", LARGE, overwrite=True)
    await store(memory, "o", LARGE)


async def test_large_object_that_exists_is_refused_while_it_is_written(
    s3: ObjectStorage,
) -> None:
    await store(s3, "o", OLD)
    stream = await s3.create("o")
    with pytest.raises(ObjectExists):
        for start in range(0, len(LARGE), 1 * MiB):
            await stream.write(LARGE[start : start + 1 * MiB])
    with pytest.raises(ObjectExists):
        await stream.write(b"x")
    await stream.abort()


async def test_buffer_may_be_reused_after_write(memory: ObjectStorage) -> None:
    """obstore keeps what it is given; ours is a copy, unless it cannot change."""
    buffer = bytearray(64 * KiB)
    async with await memory.create("o") as stream:
        for index in range(120):
            buffer[:] = bytes([index]) * len(buffer)
            await stream.write(buffer)
    got = await load(memory, "o")
    assert got == b"".join(bytes([i]) * len(buffer) for i in range(120))


async def test_views_are_measured_in_bytes(memory: ObjectStorage) -> None:
    async with await memory.create("o") as stream:
        await stream.write(memoryview(b"12345678").cast("I"))
        assert stream.position == 8
    assert (await memory.stat("o")).size == 8


async def test_close_during_a_write_discards(bucket: Bucket, proxy: FaultProxy) -> None:
    storage = storage_at(proxy.port, client_options={"timeout": "1s"})
    proxy.fault = lambda _n, line: "stall" if "uploads=" in line else None
    stream = await storage.create("o", overwrite=True)
    for _ in range(6):
        await stream.write(bytes(1 * MiB))
    writing = asyncio.create_task(stream.write(bytes(2 * MiB)))
    await asyncio.sleep(0.05)
    again = asyncio.create_task(stream.write(b"x"))
    await asyncio.sleep(0.05)
    for task in (writing, again):
        assert task.done() or task is writing or task is again
    with pytest.raises(StreamBusy, match="discarded"):
        await stream.close()
    results = await asyncio.gather(writing, again, return_exceptions=True)
    assert any(isinstance(result, Exception) for result in results)
    assert bucket.names() == []


async def test_unclosed_upload_is_warned_of(memory: ObjectStorage) -> None:
    stream = await memory.create("o")
    await stream.write(bytes(6 * MiB))
    await stream.write(b"x")
    await asyncio.gather(*memory._tasks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream
        gc.collect()
    assert [str(w.message) for w in caught] == ["unclosed upload of 'o'"]


async def test_foreign_objects_are_not_listed(bucket: Bucket) -> None:
    store_ = store_of(bucket.port)
    for path in ("p/ok", "p/.aiostreams-x/y", "other/p/x"):
        await store_.put_async(path, b"x")
    async with ObjectStorage(store_, "/p/") as storage:
        assert [o.key async for o in storage.list()] == ["ok"]
        assert repr(storage) == "<ObjectStorage S3Store 'p'>"


async def test_foreign_attributes_are_not_metadata(bucket: Bucket) -> None:
    store_ = store_of(bucket.port)
    attributes: Any = {"Cache-Control": "no-store", "Content-Type": "a/b", "x": "1%202"}
    await store_.put_async("o", b"x", attributes=attributes)
    async with ObjectStorage(store_) as storage:
        found = await storage.stat("o")
    assert found.metadata == {"x": "1 2"}
    assert found.content_type == "a/b"


async def test_sweep_removes_old_temporary_objects(
    s3: ObjectStorage, bucket: Bucket
) -> None:
    await s3.store.put_async(s3.temporary_path(), b"x")
    await store(s3, "o", b"x")
    assert await s3.sweep() == 0
    assert await s3.sweep(-10) == 1
    assert bucket.names() == ["o"]


async def test_store_that_is_away_is_a_storage_error(proxy: FaultProxy) -> None:
    storage = storage_at(proxy.port)
    proxy.fault = lambda _n, _line: "error"
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: storage.open("o"),
        lambda: storage.stat("o"),
        lambda: storage.delete("o"),
        lambda: storage.sweep(),
        lambda: anext(aiter(storage.list())),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="answered 500") as caught:
            await call()
        assert caught.value.status == 500


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_presigned_url_needs_no_credentials(
    method: str, s3: ObjectStorage
) -> None:
    if method != "PUT":
        await store(s3, "a b/ü", SMALL)
    url = await s3.presign("a b/ü", method, 60)

    def use(url: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        connection.request(
            method, f"{parts.path}?{parts.query}", SMALL if method == "PUT" else None
        )
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    spoiled = re.sub("Signature=.", "Signature=x", url)
    assert (await asyncio.to_thread(use, spoiled))[0] == 403
    status, body = await asyncio.to_thread(use, url)
    assert status in {200, 204}
    if method == "DELETE":
        with pytest.raises(ObjectNotFound):
            await s3.stat("a b/ü")
    else:
        assert await load(s3, "a b/ü") == SMALL
    assert body == (SMALL if method == "GET" else b"")


async def test_presign_says_what_it_cannot(
    s3: ObjectStorage, memory: ObjectStorage
) -> None:
    with pytest.raises(ValueError, match="DELETE, GET, HEAD, PUT"):
        await s3.presign("o", "PATCH")
    for expires in (0, -1, 8 * 86400):
        with pytest.raises(ValueError, match="7 days"):
            await s3.presign("o", expires=expires)
    with pytest.raises(InvalidKey):
        await s3.presign("../o")
    with pytest.raises(NotImplementedError, match="has no URLs"):
        await memory.presign("o")
    nobody = ObjectStorage(
        AzureStore(container_name="c", account_name="a", skip_signature=True)
    )
    with pytest.raises(StorageError, match="cannot sign"):
        await nobody.presign("o")


async def test_store_without_attributes_refuses_metadata(tmp_path: Path) -> None:
    storage = ObjectStorage(LocalStore(tmp_path))
    with pytest.raises(StorageError, match="keeps no metadata"):
        await storage.create("o", metadata={"a": "b"})
    await store(storage, "o", b"x", content_type="text/plain")
    assert (await storage.stat("o")).content_type is None


def test_arguments_are_checked() -> None:
    memory = MemoryStore()
    for size in (5 * MiB - 1, 5 * GiB + 1, 0):
        with pytest.raises(ValueError, match="5 MiB to 5 GiB"):
            ObjectStorage(memory, part_size=size)
    with pytest.raises(ValueError, match="positive"):
        ObjectStorage(memory, concurrency=0)
    with pytest.raises(InvalidKey):
        ObjectStorage(memory, "a/../b")


@pytest.mark.parametrize(
    ("error", "kind", "status", "text"),
    [
        (FileNotFoundError("x"), ObjectNotFound, 404, "no object 'k'"),
        (AlreadyExistsError("x"), ObjectExists, 409, "'k' exists already"),
        (RuntimeError("boom\nDebug source: x"), StorageError, 500, "RuntimeError"),
        (RuntimeError("No space (os error 28)"), StorageError, 507, "No space left"),
        (RuntimeError("x (os error 20)"), ObjectNotFound, 404, "no object 'k'"),
        (
            RuntimeError(
                "PUT http://secret - status code: 507 Insufficient Storage: <"
            ),
            StorageError,
            507,
            "the store answered 507 Insufficient Storage",
        ),
    ],
)
def test_errors_are_translated(
    error: Exception, kind: type[StreamError], status: int, text: str
) -> None:
    got = client.explain(error, "open", "k")
    assert type(got) is kind
    assert got.status == status
    assert text in str(got)
    assert "secret" not in str(got)
    assert client.explain(got, "open", "k") is got


def test_an_object_that_is_being_stored_is_not_missing() -> None:
    """The bucket is, or the store has thrown away the parts that it had."""
    got = client.explain(FileNotFoundError("x"), "store", "k")
    assert type(got) is StorageError
    assert got.status == 500


async def test_etags_that_cannot_be_strong_are_left_out() -> None:
    from aiostreams.storage.object_store import _describe

    class Now:
        @staticmethod
        def timestamp() -> float:
            return 1.0

    for e_tag, want in [
        ('W/"x"', None),
        ('"x"', "x"),
        ("x", "x"),
        (None, None),
        ('""', None),
    ]:
        meta = {"e_tag": e_tag, "size": 1, "last_modified": Now()}
        assert _describe("k", meta, {}).etag == want


# -- processes ---------------------------------------------------------------------


def run(
    script: str, *args: object, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    root = Path(client.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


async def test_process_that_did_not_begin_is_refused(
    memory: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(memory, "o", SMALL)
    monkeypatch.setattr(client, "_used_by", -1)
    with pytest.raises(StorageError, match="before this process was forked"):
        await memory.stat("o")
    with pytest.raises(StorageError, match="before this process was forked"):
        await store(memory, "p", SMALL)


def test_forked_child_gets_an_error_instead_of_hanging() -> None:
    done = run("""
        import asyncio, os, sys
        from obstore.store import MemoryStore
        from aiostreams import ObjectStorage, StorageError

        async def use():
            storage = ObjectStorage(MemoryStore())
            async with await storage.create("o", overwrite=True) as stream:
                await stream.write(b"x")

        if os.fork() == 0:  # before: fine
            asyncio.run(use())
            os._exit(0)
        assert os.wait()[1] == 0
        asyncio.run(use())
        if os.fork() == 0:
            try:
                asyncio.run(use())
            except StorageError as error:
                os._exit(7 if "forked" in str(error) else 1)
            os._exit(2)
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    assert done.returncode == 7, done.stderr


LEAVER = """
import asyncio, obstore.store
from tests.storage.buckets import store_of
from aiostreams import ObjectStorage

def main(port, key):
    asyncio.run(use(port, key))

async def use(port, key):
    storage = ObjectStorage(store_of(port))
    async with await storage.create(key, overwrite=True) as sink:
        await sink.write(bytes(9 << 20))
    stream = await storage.open(key)
    await stream.read(10)  # and neither closed, nor the storage
"""


@pytest.mark.slow
def test_interpreter_exits_cleanly_after_a_request(bucket: Bucket) -> None:
    """Without a moment at the end, about one in eight aborts (SIGABRT)."""
    with forks(LEAVER) as leavers:
        for k in range(20):
            leavers.start(bucket.port, f"exit/{k}")
            assert leavers.ended() == 0


WRITER = """
import asyncio, obstore.store
from tests.storage.buckets import store_of
from aiostreams import ObjectStorage

def main(port, key):
    asyncio.run(use(port, key))

async def use(port, key):
    storage = ObjectStorage(store_of(port), part_size=5 << 20)
    print("begun", flush=True)
    while True:
        async with await storage.create(key) as sink:
            for _ in range(12):
                await sink.write(bytes(1 << 20))
        await storage.delete(key)
"""


@pytest.mark.slow
async def test_killed_writer_leaves_no_object(bucket: Bucket) -> None:
    with forks(WRITER) as writers:
        for k in range(12):
            writer = writers.start(bucket.port, f"o/{k}")
            assert writers.line() == "begun\n"
            await asyncio.sleep(0.02 + k * 0.023)
            os.kill(writer, signal.SIGKILL)
            assert writers.ended() == -signal.SIGKILL
    # The server may still be at work on what it was asked for last.
    await asyncio.sleep(0.5)
    storage = storage_at(bucket.port)
    async for found in storage.list():
        assert len(await load(storage, found.key)) == 12 * MiB
        await storage.delete(found.key)
    await storage.sweep(-10)
    await storage.close()
    assert bucket.names() == []
    # Open uploads are for the bucket's lifecycle rule.


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_256_mib_take_less_than_64_mib_of_memory(bucket: Bucket) -> None:
    script = """
        import asyncio, os, sys, time
        from tests.storage.buckets import store_of
        from aiostreams import ObjectStorage

        def peak(name):
            with open("/proc/self/status") as status:
                return int(next(l for l in status if l.startswith(name)).split()[1])

        async def use():
            storage = ObjectStorage(store_of(int(sys.argv[1])))
            async with await storage.create("warm", overwrite=True) as stream:
                await stream.write(bytes(1 << 20))
            chunk = os.urandom(64 << 10)
            before = peak("VmRSS")
            cpu, wall = time.process_time(), time.monotonic()
            try:
                async with await storage.create("big", overwrite=True) as stream:
                    for _ in range(256 * 16):
                        await stream.write(chunk)
                        if sys.argv[2] == "fail" and _ == 200 * 16:
                            raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            print(peak("VmHWM") - before, cpu, wall)
            before = peak("VmRSS")
            if sys.argv[2] != "fail":
                size = 0
                async with await storage.open("big") as stream:
                    async for piece in stream.iter_any():
                        size += len(piece)
                assert size == 256 << 20
            await storage.delete("warm")
            await storage.close()

        asyncio.run(use())
    """
    for how in ("fail", "succeed"):
        done = run(script, bucket.port, how)
        assert done.returncode == 0, done.stderr
        growth, cpu, wall = map(float, done.stdout.split())
        print(f"{how}: {growth / 1024:.0f} MiB, {cpu:.2f} s CPU, {wall:.2f} s")
        assert growth < 64 * KiB
        assert bucket.names() == (["big"] if how == "succeed" else [])
        assert bucket.uploads() == []


def test_obstore_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'aiostreams[s3]'")):
        ObjectStorage(object())
