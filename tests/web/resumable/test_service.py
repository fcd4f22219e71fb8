"""The uploads of an application: where they are kept, swept and handed over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    DiskStorage,
    MemoryStorage,
    MiB,
    ObjectStorage,
    ResumableUploads,
    Storage,
    StorageError,
    receive,
    respond,
    resumable,
    setup,
    sweep_uploads,
    upload_of,
)
from aiostreams.storage.base import STAGED
from aiostreams.web.resumable import service as service_module
from aiostreams.web.resumable.service import APP_UPLOADS
from tests.servers import connected, post, serving
from tests.storage.buckets import begin_upload, store_of

from .server import KINDS, Service, client, storage_of

DATA = bytes(range(256)) * 4096


def files_below(path: Path) -> list[str]:
    return [
        str(found.relative_to(path)) for found in path.rglob("*") if found.is_file()
    ]


async def test_staging_is_hidden_and_goes(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    service = Service(storage)
    app = service.app()
    async with serving(app) as address, client(address) as send:
        url = await send.create(len(DATA))
        await send.tus("PATCH", url, DATA[:1000], Upload_Offset="0")
        assert await service.keys() == []
        assert any(name.endswith("/data") for name in files_below(tmp_path))
        await send.tus("PATCH", url, DATA[1000:], Upload_Offset="1000")
        [key] = await service.keys()
        while any(name.endswith("/data") for name in files_below(tmp_path)):
            await asyncio.sleep(0.01)
        await send.tus("DELETE", url)
    assert files_below(tmp_path) == [key]


async def test_a_file_on_a_disk_is_moved_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The staged file gets its name: nothing is read, and nothing written."""
    storage = DiskStorage(tmp_path)
    created: list[str] = []
    create = DiskStorage.create

    async def spy(self: Any, key: str, **kwargs: Any) -> Any:
        created.append(key)
        return await create(self, key, **kwargs)

    monkeypatch.setattr(DiskStorage, "create", spy)
    service = Service(storage)
    inodes: list[int] = []

    async def handle(request: web.Request) -> Any:
        [data] = await asyncio.to_thread(lambda: list(tmp_path.rglob("data")))
        inodes.append((await asyncio.to_thread(data.stat)).st_ino)
        async with receive(request, accept={"text/plain"}) as upload:
            file = upload.files["file"]
            return JSON({"key": file.key, "sha256": file.digests["sha256"]})

    service.handler = handle
    async with service.running() as send:
        for sizes in ((10,), (4, 6)):
            url = await send.create(10, Upload_Metadata="filename YS50eHQ=")
            at = 0
            for size in sizes:
                answer = await send.tus(
                    "PATCH", url, b"0123456789"[at : at + size], Upload_Offset=str(at)
                )
                at += size
            assert answer.status == 204
    assert created == []
    found = [stored async for stored in storage.list()]
    assert {tmp_path.joinpath(o.key).stat().st_ino for o in found} == set(inodes)
    for stored in found:
        assert stored.content_type == "text/plain"
        assert stored.key.endswith(".txt")
        path = tmp_path / stored.key
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask()
        assert path.stat().st_nlink == 1
        assert path.read_bytes() == b"0123456789"


def umask() -> int:
    import os

    mask = os.umask(0o22)
    os.umask(mask)
    return mask


async def test_a_key_that_is_taken_is_a_conflict_and_undoes_nothing(
    storage: Storage,
) -> None:
    await storage.put("taken", b"first")
    service = Service(storage)

    async def handle(request: web.Request) -> Any:
        async with receive(request, key=lambda file: "taken"):
            return JSON("ok")

    service.handler = handle
    async with service.running() as send:
        url = await send.create(3)
        answer = await send.tus("PATCH", url, b"123", Upload_Offset="0")
        assert answer.status == 409
    async with await storage.open("taken") as stream:
        assert await stream.read() == b"first"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [False, True])
async def test_a_handler_that_was_killed_behind_its_file(
    tmp_path: Path, kind: str, own: bool
) -> None:
    """It runs again, and what it has stored before is its own, under the same key."""
    storage = storage_of(kind, tmp_path)
    keys: list[str] = []
    ids: list[str] = []

    async def handle(request: web.Request) -> Any:
        upload = upload_of(request)
        assert upload is not None
        ids.append(upload.id)
        key = None if own else (lambda file: "mine")
        async with receive(request, key=key) as received:
            keys.append(received.files["file"].key)
            if len(ids) == 1:
                # As a kill has it: nothing of what follows in this process happens.
                await asyncio.get_running_loop().create_future()
            return JSON("ok")

    def app() -> web.Application:
        made = web.Application()
        made.router.add_post("/files", resumable()(handle))
        setup(made, storage=storage, resumable=ResumableUploads(claim=0.3))
        return made

    async def stopped(*args: Any) -> None:
        await asyncio.get_running_loop().create_future()

    first = app()
    # A process that is stopped renews no claim.
    first[APP_UPLOADS].uploads._renew = stopped  # type: ignore[method-assign, assignment]
    async with serving(first) as address, client(address) as send:
        url = await send.create(3)
        path = url.partition(f":{address[1]}")[2]
        hanging = asyncio.create_task(send.tus("PATCH", url, b"123", Upload_Offset="0"))
        while not keys:
            await asyncio.sleep(0.01)
        async with serving(app()) as other, client(other) as ask:
            answer = await ask.tus("PATCH", path, b"", Upload_Offset="3")
            assert answer.status == 423
            assert int(answer.headers["Retry-After"]) >= 1
            refused = await ask.rufh(
                "PATCH", path, b"", Upload_Offset="3", Upload_Complete="?1"
            )
            assert (refused.status, refused.complete) == (503, False)
            told = await ask.tus("HEAD", path)
            assert (told.status, told.offset) == (200, 3)
            while answer.status == 423:
                await asyncio.sleep(0.05)
                answer = await ask.tus("PATCH", path, b"", Upload_Offset="3")
            assert answer.status == 204, answer
        assert ids == [ids[0]] * 2
        assert keys == [keys[0]] * 2
        assert [o.key async for o in storage.list()] == keys[:1]
        hanging.cancel()
        await asyncio.wait([hanging])


@pytest.mark.parametrize("protocol", ["tus", "rufh"])
@pytest.mark.parametrize("how", ["refuses", "fails", "answers otherwise"])
async def test_the_first_answer_is_given_to_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, protocol: str, how: str
) -> None:
    """Its process was stopped for longer than its claim lasts, and another one began."""
    storage = DiskStorage(tmp_path)
    ran = 0
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> Any:
        nonlocal ran
        ran += 1
        if ran == 1:
            await may_end.wait()
            return respond(JSON("first"), status=201, headers={"X-Key": "first"})
        may_end.set()
        await has_ended.wait()
        if how == "refuses":
            raise web.HTTPConflict
        if how == "fails":
            raise RuntimeError("boom")
        return respond(JSON("second"), status=202)

    async def stopped(*args: Any) -> None:
        await asyncio.get_running_loop().create_future()

    def app() -> web.Application:
        made = web.Application()
        made.router.add_post("/files", resumable()(handle))
        setup(made, storage=storage, resumable=ResumableUploads(claim=0.3))
        return made

    first = app()
    first[APP_UPLOADS].uploads._renew = stopped  # type: ignore[method-assign, assignment]
    async with serving(first) as address, client(address) as send:
        url = await send.create(3)
        path = url.partition(f":{address[1]}")[2]
        begun = asyncio.create_task(send.tus("PATCH", url, b"123", Upload_Offset="0"))
        while not ran:
            await asyncio.sleep(0.01)

        async def end() -> None:
            answer = await begun
            assert (answer.status, answer.headers["X-Key"]) == (204, "first")
            has_ended.set()

        async with serving(app()) as other, client(other) as ask:
            ending = asyncio.create_task(end())
            while True:
                if protocol == "tus":
                    answer = await ask.tus("PATCH", path, b"", Upload_Offset="3")
                else:
                    answer = await ask.rufh(
                        "PATCH", path, b"", Upload_Offset="3", Upload_Complete="?1"
                    )
                if answer.status not in {423, 503}:
                    break
                await asyncio.sleep(0.05)
            assert answer.status == (204 if protocol == "tus" else 201)
            assert answer.headers["X-Key"] == "first"
            await ending
    assert ran == 2
    assert ("boom" in caplog.text) == (how == "fails")


async def test_tus_asks_by_head_when_the_handler_was_killed(tmp_path: Path) -> None:
    """tus-js-client takes the last offset for success, and sends no PATCH any more."""
    storage = DiskStorage(tmp_path)
    service = Service(storage, uploads={"claim": 0.2})
    app = service.app()
    from aiostreams.resumable.engine import Append
    from aiostreams.streams.memory import ByteStream

    async with serving(app) as address, client(address) as send:
        uploads = app[APP_UPLOADS].uploads
        for process in (False, True):
            url = await send.create(3)
            # Killed right behind the last byte, or right behind the claim.
            await uploads.append(
                url[-26:],
                lambda *_: None,
                Append(offset=0, content_length=3, process=process),
                ByteStream(b"123"),
            )
            ran = len(service.ran)
            told = await send.tus("HEAD", url)
            assert (told.status, told.offset) == (200, 3)
            while len(service.ran) == ran:
                await asyncio.sleep(0.05)
                told = await send.tus("HEAD", url)
                assert (told.status, told.offset) == (200, 3)
            assert (await send.tus("HEAD", url)).status == 200
            assert len(service.ran) == ran + 1
    assert service.bodies == [b"123"] * 2


# -- the sweep ---------------------------------------------------------------------------


async def test_uploads_are_swept(storage: Storage) -> None:
    service = Service(storage, expires=0.1)
    app = service.app()
    async with serving(app) as address, client(address) as send:
        url = await send.create(5)
        await send.tus("PATCH", url, b"12", Upload_Offset="0")
        done = await send.create(2)
        await send.tus("PATCH", done, b"12", Upload_Offset="0")
        await asyncio.sleep(0.15)
        assert await sweep_uploads(app) == 2
        assert (await send.tus("HEAD", url)).status == 404
        hidden: Any = storage.hidden  # type: ignore[attr-defined]
        assert [found.key async for found in hidden.list()] == []
        # What was received stays.
        assert len(await service.keys()) == 1
        assert await sweep_uploads(app) == 0


async def test_an_application_sweeps_when_it_starts(storage: Storage) -> None:
    service = Service(storage, expires=0.05)
    async with service.running() as send:
        await send.create(5)
    await asyncio.sleep(0.1)
    hidden: Any = storage.hidden  # type: ignore[attr-defined]
    assert [found.key async for found in hidden.list()] != []
    async with service.running():
        while [found.key async for found in hidden.list()]:
            await asyncio.sleep(0.01)


async def test_sweep_without_setup() -> None:
    with pytest.raises(RuntimeError, match="setup"):
        await sweep_uploads(web.Application())


async def test_temporary_files_of_the_storage_are_swept(tmp_path: Path) -> None:
    import os

    storage = DiskStorage(tmp_path, sweep_after=None)
    service = Service(storage, uploads={"expires": 100})
    app = service.app()
    async with serving(app):
        left = tmp_path / ".aiostreams-0123"
        left.write_bytes(b"x")
        await sweep_uploads(app)
        assert left.exists()
        os.utime(left, (0, 0))
        await sweep_uploads(app)
        assert not left.exists()


@pytest.mark.parametrize("kind", [*KINDS, "bucket"])
async def test_one_sweep_does_all_however_many_sweep(
    tmp_path: Path,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = request.getfixturevalue("bucket") if kind == "bucket" else None
    storage: Any = storage_of(kind, tmp_path) if bucket is None else (
        ObjectStorage(store_of(bucket.port))
    )  # fmt: skip
    apps = [Service(storage, uploads={"expires": 1}).app() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serving(app)) for app in apps]
        send = await stack.enter_async_context(client(addresses[0]))
        for k in range(5):
            url = await send.create(5)
            await send.tus("PATCH", url, bytes(k), Upload_Offset="0")
        await send.create(2)
        await storage.put("kept", b"1")
        await storage.put(f"{STAGED}one", b"1")
        # Written at this moment.
        going_on = await storage.create("large")
        await going_on.write(bytes(12 * MiB))
        await asyncio.gather(*map(sweep_uploads, apps))
        await going_on.close()
        if bucket is not None:
            await begin_upload(bucket, storage.store, "never")
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 2 * 86400)
        removed = await asyncio.gather(*map(sweep_uploads, apps))
        assert sum(removed) >= 6
        assert await asyncio.gather(*map(sweep_uploads, apps)) == [0, 0, 0]
    assert sorted([found.key async for found in storage.list()]) == ["kept", "large"]
    assert [found.key async for found in storage.list(STAGED)] == []
    if bucket is not None:
        assert sorted(bucket.names()) == ["kept", "large"]
        assert bucket.uploads() == []
    elif kind == "disk":
        left = {Path(path).name for path in files_below(tmp_path)}
        assert left == {"kept", "large"}


# -- storages ----------------------------------------------------------------------------


async def test_staging_elsewhere(tmp_path: Path) -> None:
    """Then a finished upload is copied."""
    storage, staging = MemoryStorage(), DiskStorage(tmp_path / "staging")
    service = Service(storage, uploads={"staging": staging})
    async with service.running() as send:
        url = await send.create(5)
        await send.tus("PATCH", url, b"12", Upload_Offset="0")
        assert any(name.endswith("data") for name in files_below(tmp_path))
        answer = await send.tus("PATCH", url, b"345", Upload_Offset="2")
        assert answer.status == 204
    assert service.bodies == [b"12345"]
    assert len(await service.keys()) == 1


class Foreign(Storage):
    """A storage that knows nothing of this package's own."""

    def __init__(self) -> None:
        self.memory = MemoryStorage()
        self.careful = True

    async def create(self, key: str, **kwargs: Any) -> Any:
        if not self.careful:
            kwargs["overwrite"] = True
        return await self.memory.create(key, **kwargs)

    async def open(self, key: str) -> Any:
        return await self.memory.open(key)

    async def stat(self, key: str) -> Any:
        return await self.memory.stat(key)

    async def delete(self, key: str) -> None:
        await self.memory.delete(key)

    def list(self, prefix: str = "") -> Any:
        return self.memory.list(prefix)


async def test_any_other_storage() -> None:
    storage = Foreign()
    service = Service(storage)
    async with service.running() as send:
        url = await send.create(5)
        await send.tus("PATCH", url, b"12", Upload_Offset="0")
        keys = await service.keys()
        assert keys
        assert all(key.startswith("aiostreams-uploads/") for key in keys)
        await send.tus("PATCH", url, b"345", Upload_Offset="2")
        await send.tus("DELETE", url)
    assert service.bodies == [b"12345"]


async def test_a_storage_that_breaks_its_promises_is_refused() -> None:
    storage = Foreign()
    storage.careful = False
    service = Service(storage)
    with pytest.raises(StorageError, match="conditional writes"):
        async with service.running():
            raise AssertionError


async def test_a_storage_that_is_not_there_yet(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application starts; it may be there in a minute."""
    storage = Foreign()
    create = storage.create

    async def fail(key: str, **kwargs: Any) -> Any:
        raise StorageError("no route to the store")

    storage.create = fail  # type: ignore[method-assign]
    service = Service(storage)
    with caplog.at_level(logging.WARNING, "aiostreams.resumable"):
        async with service.running() as send:
            assert "not tried" in caplog.text
            storage.create = create  # type: ignore[method-assign]
            assert (await send.tus("POST", "/files", Upload_Length="5")).status == 201


async def test_a_storage_that_hangs_holds_up_no_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_TRIAL", 0.05)
    storage = Foreign()

    async def hang(key: str, **kwargs: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", hang)
        async with Service(storage).running() as send:
            assert "not tried: it hangs" in caplog.text
            patch.undo()
            answer = await send.tus("POST", "/files", Upload_Length="5")
            assert answer.status == 201


async def test_a_storage_that_was_not_there_is_tried_before_the_first_upload(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Foreign()

    async def fail(key: str, **kwargs: Any) -> Any:
        raise StorageError("no route to the store")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", fail)
        async with Service(storage).running() as send:
            patch.undo()
            storage.careful = False
            answer = await send.tus("POST", "/files", Upload_Length="5")
            assert answer.status == 500
            assert "conditional writes" in caplog.text
            storage.careful = True
            answer = await send.tus("POST", "/files", Upload_Length="5")
            assert answer.status == 201


async def test_an_s3_server_that_ignores_conditions_is_refused() -> None:
    """As some do: they take any PUT."""
    pytest.importorskip("obstore", reason="needs the extra s3")
    objects: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PUT":
            assert request.headers["If-None-Match"] == "*"
            objects[request.path] = await request.read()
            return web.Response(headers={"ETag": '"1"'})
        if request.method == "POST":
            [key] = re.findall("<Key>(.*?)</Key>", await request.text())
            del objects[f"/bkt/{key}"]
            deleted = f"<Deleted><Key>{key}</Key></Deleted>"
            return web.Response(text=f"<DeleteResult>{deleted}</DeleteResult>")
        if request.path not in objects:
            return web.Response(status=404)
        return web.Response(
            body=objects[request.path],
            headers={
                "ETag": '"1"',
                "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
            },
        )

    async with serving(answer) as (_, port):
        with pytest.raises(StorageError, match="ignores conditional writes"):
            async with Service(ObjectStorage(store_of(port))).running():
                raise AssertionError
    assert objects == {}


# -- the end of a process ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_stops_keeps_what_has_arrived(
    tmp_path: Path, kind: str
) -> None:
    service = Service(storage_of(kind, tmp_path))
    app = service.app()
    async with serving(app) as address, client(address) as send:
        url = await send.create(len(DATA))
        path = url.partition(f":{address[1]}")[2]
        async with connected(address) as raw:
            head = post(
                DATA, method="PATCH", path=path,
                headers=[
                    ("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0"),
                    ("Content-Type", "application/offset+octet-stream"),
                ],
            )  # fmt: skip
            await raw.send(head[: -len(DATA) + 3000])
            uploads = app[APP_UPLOADS].uploads
            while not uploads._active:
                await asyncio.sleep(0.01)
            # What runs when aiohttp is told to stop.
            await app.shutdown()
            status, headers, _ = await raw.response()
            assert status == 503
            assert headers["upload-offset"] == "3000"
            assert int(headers["retry-after"]) >= 1
    async with serving(service.app()) as address, client(address) as send:
        assert (await send.tus("HEAD", path)).offset == 3000
