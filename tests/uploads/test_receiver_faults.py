"""A thousand uploads, each with something going wrong, and nothing left of any.

Each upload is made by a seed: a form or a raw body, small or large, into a folder or
into memory, staged or not, with metadata, under keys that are digests, seen by checks;
and one fault: the disk fails at some call, the client vanishes at some byte (by FIN or
RST), the request is cancelled at some wait, the handler raises, the body is malformed,
a file is one too many or of the wrong type, a check refuses it, dies midway, hangs or
does not let itself be ended, a picture is larger than it seemed. The client gets the
status of that fault. After every few of them, and at the end, everything is counted:
files, temporaries, folders, descriptors, tasks, threads.

All of it again into storages that encrypt, and into storages with a quota. There the
quota may be too small by a byte, and the ledger may fail at some call, or hang.

``AIOSTREAMS_FAULTS`` says how many uploads there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import random
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    DiskStorage,
    EncryptedStorage,
    FileRule,
    InvalidContent,
    KiB,
    Limits,
    MemoryStorage,
    QuotaStorage,
    Storage,
    StoredFile,
    Stream,
    by_digest,
    receive,
    setup,
)
from aiostreams.storage import disk as disk_module
from aiostreams.storage import disk_draft as folders
from aiostreams.storage import disk_draft as objectdraft
from tests.files import disks
from tests.files.disks import Disk, Suspensions, descriptors
from tests.servers import connected, post, serving
from tests.storage.ledgers import FaultyLedger

COUNT = int(os.environ.get("AIOSTREAMS_FAULTS", "1000"))
# What goes wrong, and what the client may hear of it; None: it is not there any more,
# or its connection is closed.
FAULTS: dict[str, set[int | None]] = {
    "disk": {200, 500, 503, 507},
    "vanish": {None},
    "reset": {None},
    "cancel": {200, 500, None},
    "handler": {500},
    "syntax": {400},
    "type": {415},
    "count": {422},
    "metadata": {500},
    "check refuses": {422},
    "check dies": {500},
    "check hangs": {503},
    "check clings": {503},
    "picture": {422},
    "none": {200},
}
# Of a quota, besides. An object that could not be settled is stored all the same.
QUOTA_FAULTS: dict[str, set[int | None]] = {"full": {413}, "ledger": {200, 503}}
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


def picture(width: int = 1, height: int = 1, filler: int = 0) -> bytes:
    """A GIF whose only frame has that size; its screen has one pixel."""
    size = struct.pack("<HH", width, height)
    comment = b"!\xfe" + (b"\xff" + bytes(255)) * (filler // 256) + b"\0"
    frame = b"," + bytes(4) + size + b"\0\2\1\0\0"
    return b"GIF89a\1\0\1\0\0\0\0" + comment + frame + b";"


def lie(chance: random.Random, size: int) -> bytes:
    """A picture that is larger than it seems, or whose size cannot be told."""
    huge = struct.pack(">HH", 9000, 9000)
    return chance.choice([
        picture(9000, 9000, filler=size),
        picture()[: chance.randrange(6, 10)],
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0" * 2 + bytes(size),
        b"\xff\xd8" + b"\xff\xfe\xff\xff" + bytes(65_533)
        + b"\xff\xc0\0\x11\x08" + huge + bytes(size),
        chance.randbytes(size),
    ])  # fmt: skip


class Script:
    """One upload, by its seed."""

    def __init__(self, seed: int, faults: Iterable[str] = FAULTS) -> None:
        chance = self.chance = random.Random(seed)
        self.fault = chance.choice(list(faults))
        self.to_disk = self.fault == "disk" or chance.random() < 0.8
        self.raw = self.fault not in {"syntax", "type", "count"} and (
            chance.random() < 0.3
        )
        size = chance.choice([0, 10, 5 * KiB, 300 * KiB, 1500 * KiB])
        self.count = 1 if self.raw else chance.randrange(1, 4)
        self.files = [chance.randbytes(size) for _ in range(self.count)]
        self.k = chance.randrange(1, 40 if self.fault == "disk" else 8)
        self.staged = chance.random() < 0.7
        self.shared = self.staged and chance.random() < 0.3
        self.told = chance.choice([None, {"by": "a test"}, self.words])
        self.pictures = self.fault == "picture" or (
            self.fault == "none" and chance.random() < 0.3
        )
        if self.pictures:
            self.files = [picture(filler=size)] * self.count
        if self.fault == "picture":
            self.files[-1] = lie(chance, size)
        self.seen = chance.random() < 0.4
        self.limit = 1 << 40
        if self.fault == "full":
            self.limit = sum(map(len, self.files)) - 1

    def words(self, file: Any) -> dict[str, str]:
        return {"name": file.safe_filename}

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
        if self.pictures:
            return FileRule(max_pixels=1)
        return FileRule(check=self.checks)

    @property
    def checks(self) -> list[Any]:
        checks: list[Any] = [read_all, leave] if self.seen else []
        if self.fault.startswith("check "):
            checks.insert(self.k % (len(checks) + 1), self.check)
        return checks

    @property
    def options(self) -> dict[str, Any]:
        """What ``receive`` is told beside its rules."""
        options: dict[str, Any] = {"staged": self.staged, "metadata": self.told}
        if self.fault == "metadata":
            options["metadata"] = self.chance.choice([{"no name": "x"}, fail])
        if self.shared:
            options["key"] = by_digest("sha256", "some/")
        if self.fault in {"check hangs", "check clings"}:
            options["limits"] = Limits(idle_timeout=0.1)
        return options

    async def check(self, stream: Stream, _file: StoredFile) -> None:
        await stream.read(self.k * 100 * KiB)
        if self.fault == "check refuses":
            raise InvalidContent("not liked")
        if self.fault == "check dies":
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.fault == "check clings":
                await asyncio.sleep(0.05)
            raise


async def read_all(stream: Stream, _file: StoredFile) -> None:
    while await stream.readany():
        pass


async def leave(stream: Stream, _file: StoredFile) -> None:
    await stream.read(1)


def fail(_file: Any) -> dict[str, str]:
    raise ZeroDivisionError


class Uploads:
    """The server's side: what is received, until it is removed again."""

    def __init__(self, root: Path, disk: Disk, kind: str) -> None:
        self.disk = disk
        self.stored: list[StoredFile] = []
        self.ledger = FaultyLedger()
        self.on_disk = self.made(kind, DiskStorage(root, sweep_after=None))
        self.in_memory = self.made(kind, MemoryStorage())
        self.script = Script(0)
        self.outcomes: Counter[str] = Counter()
        self.ended = asyncio.Event()

    def made(self, kind: str, storage: Storage) -> Storage:
        if kind == "encrypted":
            pytest.importorskip("cryptography", reason="needs the extra encryption")
            return EncryptedStorage(storage, {"k": bytes(32)})
        if kind == "quota":
            return QuotaStorage(
                storage,
                self.ledger,
                limit=lambda _: self.script.limit,
                expires=0.3,
                timeout=0.05,
            )
        return storage

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
            return web.Response()
        finally:
            self.ended.set()

    async def receive(
        self, request: web.Request, storage: Storage, script: Script
    ) -> None:
        # A raw body is the file of the field "file".
        rules = {"file" if script.raw else "f": script.rule}
        async with receive(request, storage, files=rules, **script.options) as upload:
            if script.fault == "handler":
                raise ZeroDivisionError
            for file in upload.files.values():
                async with await file.open() as stream:
                    assert await stream.read() in script.files
        self.stored = list(upload.files.values())

    async def remove_stored(self) -> None:
        """Remove what an upload has stored; it is complete, and knows its digests."""
        stored, self.stored = self.stored, []
        for file in stored:
            async with await file.open() as stream:
                assert await stream.read() in self.script.files
            assert file.storage is not None
            async with await file.storage.open(file.key) as stream:
                assert stream.known_digests in ({}, file.digests)
        for file in stored:
            assert file.storage is not None
            await file.storage.delete(file.key)


async def send(address: tuple[str, int], script: Script) -> int | None:
    """The status of the answer, if there is one."""
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
            return None
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            client.writer.write(message)
            await client.writer.drain()
            async with asyncio.timeout(15):
                return (await client.response())[0]
    return None


async def tidy(root: Path, uploads: Uploads) -> None:
    """Nothing is there, or soon will not be."""
    async with asyncio.timeout(20):
        while found := list(root.iterdir()) if root.exists() else []:
            await asyncio.sleep(0.01)
            assert not any(path.is_dir() for path in found)
    assert [stored async for stored in uploads.in_memory.list()] == []
    # Answers of the ledger that came too late, and entries that could not be ended.
    late, uploads.ledger.late = uploads.ledger.late, []
    for call in late:
        await call()
    if late:  # an object may have been settled after it was deleted
        assert isinstance(uploads.on_disk, QuotaStorage)
        await uploads.on_disk.recount()
    async with asyncio.timeout(10):
        while uploads.ledger.used(""):
            await uploads.on_disk.sweep()
            await uploads.in_memory.sweep()
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(300 + COUNT // 5)
@pytest.mark.parametrize("cancelling", [False, True])
@pytest.mark.parametrize("kind", ["plain", "encrypted", "quota"])
async def test_a_thousand_uploads_that_go_wrong_leave_nothing(
    tmp_path: Path,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    cancelling: bool,
    kind: str,
) -> None:
    caplog.set_level(logging.CRITICAL)
    root = tmp_path / "root"
    uploads = Uploads(root, disk, kind)
    faults = FAULTS | QUOTA_FAULTS if kind == "quota" else FAULTS
    count = COUNT // 2 if kind == "plain" else COUNT // 4
    app = web.Application()
    app.router.add_post("/", uploads.handler)
    setup(app)
    async with serving(
        app, auto_decompress=False, handler_cancellation=cancelling
    ) as address:
        before: tuple[set[str], int, int] | None = None
        for seed in range(count):
            script = uploads.script = Script(seed + 1_000_000 * cancelling, faults)
            uploads.ended.clear()
            disk.calls.clear()
            disk.error = script.chance.choice(ERRORS)
            disk.write_most = script.chance.choice([0, 0, 0, 50_000])
            fails = script.k if script.fault == "disk" else -1
            disk.fail_at = fails.__eq__
            if script.fault == "ledger":
                how = script.chance.choice(["raise", "hang", "late"])
                uploads.ledger.fault = ("any", how)
                uploads.ledger.after = script.k
            status = await send(address, script)
            async with asyncio.timeout(20):
                await uploads.ended.wait()
            disk.fail_at = lambda _k: False
            uploads.ledger.fault = None
            await uploads.remove_stored()
            assert status in faults[script.fault], (seed, script.fault)
            if seed % 20 == 19:
                await tidy(root, uploads)
            if seed == 99:
                before = await counted()
        await tidy(root, uploads)
        after = await counted()
    print(dict(sorted(uploads.outcomes.items())))
    assert uploads.outcomes.total() == count
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
