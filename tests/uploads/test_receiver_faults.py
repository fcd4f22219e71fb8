"""A thousand uploads, each with something going wrong, and nothing left of any.

Each upload is made by a seed: a form or a raw body, small or large, into a folder or
into memory, and one fault: the disk fails at some call, the client vanishes at some
byte (by FIN or RST), the request is cancelled at some wait, the handler raises, the
body is malformed, a file is one too many or of the wrong type. After every few of
them, and at the end, everything is counted: files, temporaries, folders, descriptors,
tasks, threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import DiskStorage, FileRule, MemoryStorage, Storage, receive, setup
from aiostreams.limits import KiB
from aiostreams.storage import disk as disk_module
from aiostreams.storage import disk_draft as folders
from aiostreams.storage import disk_draft as objectdraft
from tests.files import disks
from tests.files.disks import Disk, Suspensions, descriptors
from tests.servers import connected, post, serving

FAULTS = (
    "disk", "vanish", "reset", "cancel", "handler", "syntax", "type", "count", "none",
)  # fmt: skip
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE)
TYPE = ("Content-Type", "multipart/form-data; boundary=b")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    more = {"mkdir", "setxattr", "getxattr"}
    # What cannot be removed stays; that is another test's.
    kept = disks.CALLS - {"unlink"}
    monkeypatch.setattr(disks, "CALLS", kept | more)
    installed = disks.install(monkeypatch)
    for module in (disk_module, folders, objectdraft):
        monkeypatch.setattr(module, "os", installed)
    return installed


class Script:
    """One upload, by its seed."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        self.fault = chance.choice(FAULTS)
        self.to_disk = self.fault == "disk" or chance.random() < 0.8
        self.raw = self.fault not in {"syntax", "type", "count"} and (
            chance.random() < 0.3
        )
        size = chance.choice([0, 10, 5 * KiB, 300 * KiB, 1500 * KiB])
        self.count = 1 if self.raw else chance.randrange(1, 4)
        self.files = [chance.randbytes(size) for _ in range(self.count)]
        self.k = chance.randrange(1, 40 if self.fault == "disk" else 8)

    def body(self) -> bytes:
        if self.raw:
            return self.files[0]
        parts = [b"--b\r\nContent-Disposition: form-data; name=note\r\n\r\nhello\r\n"]
        for number, data in enumerate(self.files):
            start = b"<html>" if self.fault == "type" and not number else b""
            parts.append(
                b"--b\r\nContent-Disposition: form-data; name=f; filename=x.bin\r\n\r\n"
                + start + data + b"\r\n"
            )  # fmt: skip
        if self.fault == "syntax":
            return b"".join(parts)
        return b"".join(parts) + b"--b--\r\n"

    @property
    def rule(self) -> FileRule:
        if self.fault == "type":
            return FileRule(accept={"image/*", "application/octet-stream"})
        if self.fault == "count":
            return FileRule(max_count=max(0, self.count - 1))
        return FileRule()


class Uploads:
    """The server's side: what is received is thrown away again."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.disk = disk
        self.stored: list[str] = []
        self.on_disk = DiskStorage(root, sweep_after=None)
        self.in_memory = MemoryStorage()
        self.script = Script(0)
        self.outcomes: Counter[str] = Counter()
        self.ended = asyncio.Event()

    async def handler(self, request: web.Request) -> Any:
        script = self.script
        storage = self.on_disk if script.to_disk else self.in_memory
        try:
            if script.fault == "cancel":
                run = Suspensions(script.k)
                await run.run(self.receive(request, storage, script))
            else:
                await self.receive(request, storage, script)
        except BaseException as error:
            self.outcomes[f"{script.fault}: {type(error).__name__}"] += 1
            raise
        else:
            self.outcomes[f"{script.fault}: done"] += 1
            self.disk.fail_at = lambda _k: False
            for key in self.stored:
                await storage.delete(key)
            return web.Response()
        finally:
            self.ended.set()

    async def receive(
        self, request: web.Request, storage: Storage, script: Script
    ) -> None:
        async with receive(request, storage, files={"f": script.rule}) as upload:
            if script.fault == "handler":
                raise ZeroDivisionError
            for file in upload.files.values():
                async with await file.open() as stream:
                    assert await stream.read() in script.files
        self.stored = [file.key for file in upload.files.values()]


async def send(address: tuple[str, int], script: Script) -> None:
    body = script.body()
    headers = [("Content-Length", str(len(body)))]
    if not script.raw:
        headers.append(TYPE)
    message = post(headers=headers) + body
    async with connected(address) as client:
        if script.fault in {"vanish", "reset"}:
            # Not before the head: of that nobody would hear.
            head = len(message) - len(body)
            cut = script.chance.randrange(head, max(head + 1, len(message)))
            client.writer.write(message[:cut])
            with contextlib.suppress(ConnectionError):
                await client.writer.drain()
            await asyncio.sleep(script.chance.choice([0, 0.001, 0.01]))
            if script.fault == "reset":
                client.reset()
            return
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            client.writer.write(message)
            await client.writer.drain()
            async with asyncio.timeout(15):
                await client.response()


async def tidy(root: Path, uploads: Uploads) -> None:
    """Nothing is there, or soon will not be."""
    async with asyncio.timeout(5):
        while found := list(root.iterdir()) if root.exists() else []:
            await asyncio.sleep(0.01)
            assert not any(path.is_dir() for path in found)
    assert [stored async for stored in uploads.in_memory.list()] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cancelling", [False, True])
async def test_a_thousand_uploads_that_go_wrong_leave_nothing(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, cancelling: bool
) -> None:
    caplog.set_level(logging.CRITICAL)
    root = tmp_path / "root"
    uploads = Uploads(root, disk)
    app = web.Application()
    app.router.add_post("/", uploads.handler)
    setup(app)
    async with serving(
        app, auto_decompress=False, handler_cancellation=cancelling
    ) as address:
        before: tuple[set[str], int, int] | None = None
        for seed in range(500):
            script = uploads.script = Script(seed + 1000 * cancelling)
            uploads.ended.clear()
            disk.calls.clear()
            disk.error = script.chance.choice(ERRORS)
            disk.write_most = script.chance.choice([0, 0, 0, 50_000])
            fails = script.k if script.fault == "disk" else -1
            disk.fail_at = fails.__eq__
            await send(address, script)
            async with asyncio.timeout(20):
                await uploads.ended.wait()
            if seed % 20 == 19:
                disk.fail_at = lambda _k: False
                await tidy(root, uploads)
            if seed == 99:
                before = await counted()
        await tidy(root, uploads)
        after = await counted()
    print(dict(sorted(uploads.outcomes.items())))
    assert uploads.outcomes.total() == 500
    assert before is not None
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    # Threads are made as they are needed, up to the pools' ceilings.
    assert after[2] <= before[2] + 40


async def counted() -> tuple[set[str], int, int]:
    """Descriptors, tasks, threads, when all is quiet."""
    for _ in range(20):
        await asyncio.sleep(0.01)
    gc.collect()
    return descriptors(), len(asyncio.all_tasks()), threading.active_count()


# -- a slow storage ----------------------------------------------------------------


async def test_storage_that_is_slow_pauses_the_socket(
    tmp_path: Path, disk: Disk
) -> None:
    """What a fast client sends while the disk stands still is not held in memory."""
    gate = disk.gate("writev")
    size = 64 * 1024 * KiB

    async def upload(request: web.Request) -> Any:
        async with receive(request, DiskStorage(tmp_path, sweep_after=None)) as got:
            return web.Response(text=str(got.files["file"].size))

    app = web.Application()
    app.router.add_post("/", upload)
    setup(app)
    async with serving(app) as address, connected(address) as client:
        await client.send(post(headers=[("Content-Length", str(size))]))
        sent = 0

        async def send_all() -> None:
            nonlocal sent
            block = os.urandom(64 * KiB)
            while sent < size:
                client.writer.write(block)
                await client.writer.drain()
                sent += len(block)

        sending = asyncio.create_task(send_all())
        await disk.arrive("writev")
        while True:
            before = sent
            await asyncio.sleep(0.3)
            if sent == before:
                break
        # Two batches, the reader's buffer, and those of both sockets.
        assert sent < 16 * 1024 * KiB
        assert not sending.done()
        gate.set()
        assert (await client.response())[2] == str(size).encode()
        await sending
