"""Whole servers in processes of their own: doubled, filled, told to end, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiostreams import DiskStorage, MiB, ObjectStorage, storage_from_url
from aiostreams.files.draft import TEMPORARY_PREFIX
from example_app.app import Settings, create_app
from tests.servers import serving
from tests.waiting import until

from .buckets import Bucket, store_of
from .faults import Fault, FaultProxy
from .seaweed import free_ports
from .server import running

LARGE = os.urandom(12 * MiB + 7)


def bucket_url(bucket: Bucket) -> str:
    return (
        f"s3://bkt/kept?endpoint=http://127.0.0.1:{bucket.port}"
        "&region=us-east-1&part_size=5&concurrency=2"
    )


async def blocks(
    count: int, pause: Callable[[int], float] = lambda _n: 0
) -> AsyncIterator[bytes]:
    """So many MiB."""
    block = bytearray(os.urandom(1 * MiB))
    for number in range(count):
        await asyncio.sleep(pause(number))
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block)


async def ask(
    address: str, worker: int, method: str, path: str, **kwargs: Any
) -> tuple[int, bytes, str]:
    """Status, body and media type, as this one of the workers behind one port says."""
    for _ in range(100):
        # A connection of its own: the system gives each to any of them.
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{address}/-/memory") as response:
                if response.headers["X-Worker"] != str(worker):
                    continue
            async with session.request(method, address + path, **kwargs) as response:
                assert response.headers["X-Worker"] == str(worker)
                return response.status, await response.read(), response.content_type
    raise AssertionError("this worker never answers")


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_servers_on_one_store(bucket: Bucket) -> None:
    """What one stores the other serves, with ranges; of one name one wins."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    url = bucket_url(bucket)
    async with running(url, port) as one, running(url, port) as two:
        for writer, reader in ((one.pid, two.pid), (two.pid, one.pid)):
            path = f"/from/{writer}.bin"
            status, body, _ = await ask(
                address, writer, "PUT", path, data=blocks_of(LARGE)
            )
            assert status == 201
            assert hashlib.sha256(LARGE).hexdigest().encode() in body
            for worker in (reader, writer):
                assert (await ask(address, worker, "GET", path))[:2] == (200, LARGE)
                for first, last in [
                    (0, 0),
                    (5 * MiB - 3, 5 * MiB + 3),
                    (12 * MiB, None),
                ]:
                    wanted = f"bytes={first}-{'' if last is None else last}"
                    status, body, _ = await ask(
                        address, worker, "GET", path, headers={"Range": wanted}
                    )
                    assert status == 206
                    stop = None if last is None else last + 1
                    assert body == LARGE[first:stop]
            status, _, _ = await ask(address, reader, "PUT", path, data=b"mine")
            assert status == 409
        both = await asyncio.gather(
            *(
                ask(address, worker, "PUT", "/same", data=blocks_of(LARGE))
                for worker in (one.pid, two.pid)
            )
        )
        assert sorted(answer[0] for answer in both) == [201, 409]
        assert (await ask(address, one.pid, "GET", "/same"))[1] == LARGE
    assert len(bucket.names()) == 3
    assert bucket.uploads() == []


async def blocks_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MiB):
        yield data[start : start + MiB]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_large_upload_to_the_store_takes_little_memory(bucket: Bucket) -> None:
    """256 MiB; and one that fails leaves neither object nor open multipart upload."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    async with (
        running(bucket_url(bucket), port),
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{address}/-/memory") as response:
            await response.read()
        async with session.put(f"{address}/big", data=blocks(256)) as response:
            assert response.status == 201
            await response.read()
        async with session.get(f"{address}/-/memory") as response:
            growth = await response.json()
        print(f"memory grew by {(growth or 0) / MiB:.1f} MiB")
        assert growth is None or growth < 64 * MiB
        assert bucket.names() == ["kept/big"]
        bucket.clear()

        sent = asyncio.Event()

        async def broken() -> AsyncIterator[bytes]:
            async for block in blocks(40):
                yield block
            sent.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(
            session.request("PUT", f"{address}/half", data=broken()).__aenter__()
        )
        await sent.wait()
        assert bucket.uploads() != []
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: not (bucket.uploads() or bucket.names()))


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_example_app_on_the_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    image = b"\x89PNG\r\n\x1a\n" + bytes(6 * MiB)
    settings = Settings(max_file=64 * MiB)
    app = create_app(storage_from_url(bucket_url(bucket)), settings)
    async with (
        serving(app, auto_decompress=False) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        form = aiohttp.FormData()
        form.add_field("file", blocks_of(image), filename="sun.png")
        form.add_field("file", blocks_of(b"words"), filename="a.txt")
        async with session.post("/files", data=form) as response:
            sun, words = (await response.json())["files"]
        async with session.get("/files") as response:
            listed = (await response.json())["files"]
        assert {file["url"]: file["preview"] for file in listed} == {
            sun["url"]: sun["preview"],
            words["url"]: None,
        }
        for path in (sun["url"], sun["preview"]):
            async with session.get(path, headers={"Range": "bytes=1-3"}) as response:
                assert (response.status, await response.read()) == (206, b"PNG")
        async with session.get(sun["url"].replace("files", "sha256")) as response:
            assert (await response.json())["sha256"] == sun["sha256"]
        for file in (sun, words):
            async with session.delete(file["url"]) as response:
                assert response.status == 204
        async with session.delete(sun["url"]) as response:
            assert response.status == 404
    assert (bucket.names(), bucket.uploads()) == ([], [])


def signed(size: int) -> bytes:
    """Bytes that tell whether they are complete."""
    data = os.urandom(size)
    return hashlib.sha256(data).digest() + data


def complete(path: Path) -> bool:
    data = path.read_bytes()
    return hashlib.sha256(data[32:]).digest() == data[:32]


def files(root: Path) -> tuple[list[Path], list[Path]]:
    """Those that are somebody's, and temporaries."""
    found = [path for path in root.rglob("*") if path.is_file()]
    temporary = [path for path in found if path.name.startswith(TEMPORARY_PREFIX)]
    return [path for path in found if path not in temporary], temporary


async def upload(address: str, files: int, size: int) -> list[str]:
    """The keys, if it has succeeded."""
    form = aiohttp.FormData()
    for number in range(files):
        content = blocks_of(signed(random.randrange(size)))
        form.add_field("file", content, filename=f"{number}.bin")
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(address, data=form) as response:
                if response.status == 200:
                    keys: list[str] = await response.json()
                    return keys
                return []
        # aiohttp says AttributeError if the connection is lost between the last byte
        # of the request and the first wait for the response.
        except (aiohttp.ClientError, AttributeError):
            return []


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_worker_killed_at_any_moment_leaves_only_what_is_swept(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    swept = done = 0
    for _ in range(8):
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}/"
        async with running(f"file://{root}", port) as process:
            clients = [
                asyncio.create_task(
                    upload(address, n % 3 + 1, 4 * MiB if n % 2 else 999)
                )
                for n in range(12)
            ]
            await until(lambda: files(root)[1])
            await asyncio.sleep(random.uniform(0, 0.2))
            process.kill()
            await process.wait()
            done += sum(map(bool, await asyncio.gather(*clients)))
        kept, temporary = files(root)
        assert all(map(complete, kept))
        async with DiskStorage(root, sweep_after=None) as storage:
            assert await storage.sweep(0) == len(temporary)
        swept += len(temporary)
        assert files(root) == (kept, [])
    print(f"{done} uploads done, {swept} temporaries swept")
    # Most kills came while files were written.
    assert swept


def hidden(bucket: Bucket) -> list[str]:
    """What is in the bucket and has no key yet."""
    staged = [name for name in bucket.names() if "/.aiostreams-" in name]
    return staged + [key for key, _ in bucket.uploads()]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_two_workers_on_a_bucket_killed_while_they_receive(
    bucket: Bucket,
) -> None:
    """First one, while the other goes on, then that one as well."""
    direct = ObjectStorage(store_of(bucket.port), "kept")
    confirmed: set[str] = set()
    swept = 0
    for _ in range(4):
        (port,) = free_ports(1)
        url, address = bucket_url(bucket), f"http://127.0.0.1:{port}/"
        async with running(url, port) as one, running(url, port) as two:
            for process in (one, two):
                clients = [
                    asyncio.create_task(
                        upload(address, n % 3 + 1, 12 * MiB if n % 2 else 99_999)
                    )
                    for n in range(6)
                ]
                await until(lambda: hidden(bucket))
                await asyncio.sleep(random.uniform(0, 0.3))
                process.kill()
                await process.wait()
                for keys in await asyncio.gather(*clients):
                    confirmed.update(keys)
        left = hidden(bucket)
        async with asyncio.timeout(20):
            while hidden(bucket):
                # What the store was sent before the kill it may do after it.
                swept += await direct.sweep(older_than=-3600)
        shown = {name.removeprefix("kept/") for name in bucket.names()}
        print(f"{len(shown)} stored, {len(left)} left")
        # What a client was told of is there, and whatever is there is complete.
        assert confirmed <= shown
        for key in shown:
            async with await direct.open(key) as stream:
                data = await stream.read()
            assert hashlib.sha256(data[32:]).digest() == data[:32]
            assert (await direct.stat(key)).metadata == {"by": "a worker"}
            await direct.delete(key)
        confirmed.clear()
    await direct.close()
    assert swept


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_large_upload_through_a_bucket_that_fails_now_and_then(
    bucket: Bucket, proxy: FaultProxy
) -> None:
    """100 MiB, staged: 503s are waited out; a part that is refused ends it."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/"
    busy = False

    def now_and_then(number: int, line: str) -> Fault | None:
        if busy:
            return "refuse" if "partNumber=15&" in line else None
        return "busy" if number % 7 == 0 else None

    proxy.fault = now_and_then
    url = bucket_url(bucket).replace(str(bucket.port), str(proxy.port))
    async with running(url, port), aiohttp.ClientSession() as session:
        async with session.put(f"{address}big", data=blocks(100)) as response:
            assert response.status == 201
            digest = (await response.json())["sha256"]
        hashed = hashlib.sha256()
        async with session.get(f"{address}big") as response:
            async for piece in response.content.iter_any():
                hashed.update(piece)
        assert hashed.hexdigest() == digest
        assert bucket.names() == ["kept/big"]
        bucket.clear()
        busy = True
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.put(f"{address}big", data=blocks(100)) as response:
                assert response.status == 500
        await until(lambda: not (bucket.names() or bucket.uploads()))
    assert any("partNumber=15&" in line for line in proxy.lines)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_server_told_to_end_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/"
    async with running(f"file://{root}", port) as process:
        under_way = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            async for block in blocks(1000, lambda n: 0 if n < 8 else 0.1):
                yield block
                if files(root)[1]:
                    under_way.set()

        async def put(number: int) -> None:
            with contextlib.suppress(aiohttp.ClientError):
                async with (
                    aiohttp.ClientSession() as session,
                    session.put(f"{address}{number}", data=endless()) as response,
                ):
                    await response.read()

        tasks = [asyncio.create_task(put(number)) for number in range(3)]
        await under_way.wait()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 15)
        assert time.monotonic() - started < 10
        await asyncio.gather(*tasks)
    assert process.returncode == 0
    assert files(root) == ([], [])
