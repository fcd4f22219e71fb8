"""receive(): files to storage while they arrive, all of them or none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import functools
import hashlib
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ClientGone,
    DiskStorage,
    FileRule,
    InvalidContent,
    LimitExceeded,
    Limits,
    MalformedBody,
    MemoryStorage,
    ObjectExists,
    Storage,
    StorageError,
    StoredFile,
    Stream,
    UnsupportedContent,
    iter_parts,
    open_stream,
    read_form,
    receive,
    setup,
)
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
PDF = b"%PDF-1.7\n" + b"x" * 5000
BOUNDARY = "frontier"
Part = tuple[str, str | None, str | None, bytes]

FORM: list[Part] = [
    ("note", None, None, b"hello"),
    ("photo", "C:\\me.png", "application/octet-stream", PNG),
    ("tag", None, None, b"one"),
    ("photo", "you.png", "image/png", PNG + b"2"),
    ("tag", None, None, "zwei ü".encode()),
    ("empty", "", "application/octet-stream", b""),
    ("paper", "p.pdf", None, PDF),
]


def multipart(parts: list[Part]) -> bytes:
    body = b""
    for name, filename, content_type, data in parts:
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        )
        if filename is not None:
            body += f'; filename="{filename}"'.encode()
        if content_type is not None:
            body += f"\r\nContent-Type: {content_type}".encode()
        body += b"\r\n\r\n" + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


FORM_TYPE = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")


def posted(parts: list[Part], **kwargs: Any) -> bytes:
    return post(multipart(parts), headers=[FORM_TYPE], **kwargs)


def chunked(parts: list[Part], size: int) -> list[bytes]:
    body = multipart(parts)
    pieces = [chunk(body[i : i + size]) for i in range(0, len(body), size)]
    return [post(headers=[FORM_TYPE, *CHUNKED]) + b"".join(pieces) + chunk(b"")]


Script = Callable[[web.Request], Awaitable[Any]]


async def run(
    script: Script, *pieces: bytes, leave: bool = False, **kwargs: Any
) -> Any:
    """What the script returns or raises for this request."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> Any:
        try:
            result.set_result(await script(request))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/", handler)
    setup(app, **kwargs)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(*pieces)
        if leave:
            raw.writer.close()
        return await result


async def keys(storage: Storage) -> list[str]:
    return [found.key async for found in storage.list()]


def folder(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


@pytest.fixture(params=["memory", "disk"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else DiskStorage(tmp_path)


@pytest.mark.parametrize("pieces", [None, 1, 1000], ids=["whole", "bytes", "1000"])
async def test_fields_and_files_in_any_order(
    storage: Storage, pieces: int | None
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, hash=("sha256", "md5")) as upload:
            stored = []
            for file in upload.files.values():
                async with await file.open() as stream:
                    stored.append(await stream.read())
            return upload, stored

    sent = [posted(FORM)] if pieces is None else chunked(FORM, pieces)
    upload, stored = await run(script, *sent)
    assert list(upload.form.items()) == [
        ("note", "hello"),
        ("tag", "one"),
        ("tag", "zwei ü"),
    ]
    assert stored == [PNG, PNG + b"2", PDF]
    assert [name for name, _ in upload.files.items()] == ["photo", "photo", "paper"]
    first = upload.files["photo"]
    assert (first.filename, first.size) == ("C:\\me.png", len(PNG))
    assert first.digests["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert first.digests["md5"] == hashlib.md5(PNG).hexdigest()
    assert json.loads(json.dumps(first.digests)) == first.digests
    assert first.content_type == "image/png"
    assert first.declared_type == "application/octet-stream"
    assert first.key.endswith(".png")
    assert len(first.key) == 36
    assert (await storage.stat(first.key)).content_type == "image/png"
    paper = upload.files["paper"]
    assert (paper.content_type, paper.declared_type) == ("application/pdf", None)
    assert len(await keys(storage)) == 3


@pytest.mark.parametrize("key", [None, lambda _: "mine"], ids=["random", "given"])
async def test_a_large_file_has_its_digest_and_what_is_kept_is_what_was_hashed(
    storage: Storage, key: Any
) -> None:
    data = bytes(range(256)) * 12_345

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, key=key, hash=("sha256", "md5")) as upload:
            file = upload.files["file"]
            async with await file.open() as stream:
                return file, await stream.read()

    file, stored = await run(script, post(data, method="PUT"))
    assert stored == data
    assert file.digests == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
    }


async def test_a_hash_that_fails_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Any, _pieces: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("aiostreams.streams.hashing.Hashes.update", fail)

    async def script(request: web.Request) -> Any:
        async with receive(request, storage):
            raise AssertionError("an upload without its digest")

    with pytest.raises(MemoryError):
        await run(script, post(bytes(3_000_000), method="PUT"))
    assert await keys(storage) == []


async def test_a_raw_body_is_one_file(storage: Storage) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage) as upload:
            return upload

    fields = [("Content-Type", "image/png")]
    fields += [("Content-Disposition", 'attachment; filename="me.png"')]
    upload = await run(script, post(PNG, headers=fields, method="PUT"))
    file = upload.files["file"]
    assert (file.filename, file.size, file.content_type) == (
        "me.png",
        10248,
        "image/png",
    )
    assert not upload.form
    odd = [("Content-Disposition", 'attachment; filename="unclosed')]
    upload = await run(script, post(b"plain", headers=odd))
    assert upload.files["file"].filename is None
    empty = await run(script, post(b""))
    assert empty.files["file"].size == 0
    assert len(await keys(storage)) == 3


async def test_an_urlencoded_form_has_no_files() -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request) as upload:
            return upload

    fields = [("Content-Type", "application/x-www-form-urlencoded")]
    upload = await run(script, post(b"a=1&a=2%2B", headers=fields))
    assert list(upload.form.items()) == [("a", "1"), ("a", "2+")]
    assert not upload.files
    mixed = [("Content-Type", "multipart/mixed; boundary=x")]
    with pytest.raises(UnsupportedContent):
        await run(script, post(b"--x--", headers=mixed))


async def test_the_storage_of_setup_is_taken() -> None:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        async with receive(request) as upload:
            return [file.key for file in upload.files.values()]

    assert await run(script, posted(FORM), storage=storage) == await keys(storage)
    with pytest.raises(RuntimeError, match="storage"):
        await run(script, posted(FORM))


# -- what is refused ---------------------------------------------------------------

RULES = {"photo": FileRule(max_size=20_000, accept={"image/*"}, max_count=2)}


@pytest.mark.parametrize(
    ("kwargs", "parts", "error"),
    [
        ({"accept": {"image/*"}}, FORM, UnsupportedContent),
        (
            {"accept": {"image/*"}},
            [("a", "a.png", "image/png", PDF)],
            UnsupportedContent,
        ),
        ({"files": RULES}, [("photo", "a", None, PDF)], UnsupportedContent),
        ({"files": RULES}, [("photo", "a", None, PNG + PNG)], LimitExceeded),
        ({"files": RULES}, [("photo", "a", None, PNG)] * 3, InvalidContent),
        ({"files": {"photo": FileRule(min_count=3)}}, FORM, InvalidContent),
        ({"quota": len(PNG) * 2 + len(PDF)}, FORM, LimitExceeded),
        ({"limits": Limits(max_file=len(PNG))}, FORM, LimitExceeded),
        ({"limits": Limits(max_field=4)}, FORM, LimitExceeded),
        ({"limits": Limits(max_memory=14)}, FORM, LimitExceeded),
        ({"limits": Limits(max_parts=6)}, FORM, LimitExceeded),
        ({"key": lambda part: "../escape"}, FORM, ValueError),
        ({"key": lambda part: "same"}, FORM, ObjectExists),
    ],
)
async def test_what_is_refused_leaves_nothing(
    storage: Storage,
    tmp_path: Path,
    kwargs: dict[str, Any],
    parts: list[Part],
    error: type[Exception],
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, **kwargs):
            raise AssertionError("entered")

    for sent in ([posted(parts)], chunked(parts, 100)):
        with pytest.raises(error):
            await run(script, *sent)
        assert await keys(storage) == []
        assert folder(tmp_path) == []


@pytest.mark.parametrize("pieces", [None, 100], ids=["whole", "100"])
@pytest.mark.parametrize(
    ("kwargs", "message", "limit"),
    [
        ({"accept": {"image/*"}}, "the file 'p.pdf' in 'paper' is appl", None),
        (
            {"files": {"photo": FileRule(max_size=len(PNG))}},
            "the file 'you.png' in 'photo' has [a-z ]*10249 bytes, limit 10248$",
            len(PNG),
        ),
        (  # enough is left of the quota
            {"files": {"photo": FileRule(max_size=len(PNG))}, "quota": len(PNG) * 4},
            "the file 'you.png' in 'photo' has [a-z ]*10249 bytes, limit 10248$",
            len(PNG),
        ),
        (
            {"limits": Limits(max_file=len(PNG))},
            f"the file 'you.png' in 'photo'(: part 4)? has .* {len(PNG)}( bytes)?$",
            len(PNG),
        ),
        (
            {"quota": len(PNG) * 2},
            "'you.png' in 'photo' has .* bytes, limit 10248 .left of the quota of 20496.$",
            len(PNG),
        ),
    ],
)
async def test_an_error_names_the_file_and_the_field(
    kwargs: dict[str, Any], message: str, limit: int | None, pieces: int | None
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, MemoryStorage(), **kwargs):
            raise AssertionError("entered")

    sent = [posted(FORM)] if pieces is None else chunked(FORM, pieces)
    with pytest.raises((LimitExceeded, UnsupportedContent), match=message) as caught:
        await run(script, *sent)
    assert getattr(caught.value, "limit", None) == limit
    if limit is not None:
        assert getattr(caught.value, "seen", None) == len(PNG) + 1


@pytest.mark.parametrize(
    "kwargs",
    [
        {"accept": {"image/png", "application/pdf"}},
        {"files": {"photo": FileRule(max_size=len(PNG) + 1, max_count=2, min_count=2)}},
        {"quota": len(PNG) * 2 + 1 + len(PDF)},
        {"limits": Limits(max_file=len(PNG) + 1)},
        {"limits": Limits(max_memory=15)},
        {"limits": Limits(max_parts=7)},
    ],
)
async def test_what_is_just_allowed_passes(
    storage: Storage, kwargs: dict[str, Any]
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, **kwargs) as upload:
            return len(upload.files)

    assert await run(script, posted(FORM)) == 3


async def test_a_refused_file_is_not_read_to_its_end() -> None:
    async def script(request: web.Request) -> Any:
        with pytest.raises(UnsupportedContent) as caught:
            async with receive(request, MemoryStorage(), accept={"image/*"}):
                pass
        return caught.value.accept, request.content.total_bytes

    body = multipart([("a", "a.png", "image/png", b"<html>" + b"x" * 10_000_000)])
    head = post(headers=[FORM_TYPE, ("Content-Length", str(len(body)))])
    accept, seen = await run(script, head, body[:20_000])
    assert accept == "image/*"
    assert seen <= 20_000


async def test_a_sniffer_of_ones_own() -> None:
    async def script(request: web.Request) -> Any:
        def sniffer(head: bytes) -> str | None:
            return "image/x-mine" if head.startswith(b"mine") else None

        storage = MemoryStorage()
        async with receive(
            request, storage, sniffer=sniffer, accept={"image/*", "text/plain"}
        ) as upload:
            return [file.content_type for file in upload.files.values()]

    parts: list[Part] = [
        ("a", "a", None, b"mine, all mine"),
        ("a", "b", "text/plain", b"whatever"),
    ]
    assert await run(script, posted(parts)) == ["image/x-mine", "text/plain"]
    with pytest.raises(UnsupportedContent):
        await run(script, posted([("a", "a", None, b"\0\1\2")]))


async def test_a_sniffer_needs_no_place_in_the_loops_own_executor() -> None:
    """Whatever blocks there, an application's work say, no upload waits for it."""
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word")
    free = threading.Event()

    def sniffer(head: bytes) -> str:
        return f"text/x-{word.get()}"

    async def script(request: web.Request) -> Any:
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        loop.set_default_executor(pool)
        blocked = loop.run_in_executor(None, free.wait)
        word.set("mine")
        try:
            async with receive(request, MemoryStorage(), sniffer=sniffer) as upload:
                assert not blocked.done()
                return upload.files["a"].content_type
        finally:
            free.set()
            await blocked

    assert await run(script, posted([("a", "a", None, b"x")])) == "text/x-mine"


async def test_what_a_sniffer_raises_is_the_uploads_error() -> None:
    def sniffer(head: bytes) -> str | None:
        raise UnsupportedContent("not this one")

    async def script(request: web.Request) -> Any:
        async with receive(request, MemoryStorage(), sniffer=sniffer):
            raise AssertionError("entered")

    with pytest.raises(UnsupportedContent, match="not this one"):
        await run(script, posted([("a", "a", None, b"x")]))


async def test_a_storage_of_a_fields_own() -> None:
    shared, photos = MemoryStorage(), MemoryStorage()

    async def script(request: web.Request) -> Any:
        rules = {"photo": FileRule(storage=photos)}
        async with receive(request, shared, files=rules, staged=False):
            assert (len(await keys(shared)), len(await keys(photos))) == (1, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(script, posted(FORM))
    assert await keys(shared) == await keys(photos) == []


async def test_keys_from_what_is_known() -> None:
    async def script(request: web.Request) -> Any:
        async def key(part: Any) -> str:
            await asyncio.sleep(0)
            return f"{part.name}/{part.safe_filename}"

        async with receive(request, MemoryStorage(), key=key) as upload:
            return [file.key for file in upload.files.values()]

    assert await run(script, posted(FORM)) == [
        "photo/me.png",
        "photo/you.png",
        "paper/p.pdf",
    ]


@pytest.mark.parametrize("slow", [False, True])
async def test_progress_is_told_now_and_then_and_at_the_end(slow: bool) -> None:
    told: list[tuple[int, int | None]] = []

    async def later(done: int, total: int | None) -> None:
        await asyncio.sleep(0)
        told.append((done, total))

    async def script(request: web.Request) -> Any:
        callback = later if slow else lambda done, total: told.append((done, total))
        async with receive(request, MemoryStorage(), on_progress=callback):
            pass

    body = posted([("a", "a", None, b"x" * 1_000_000)])
    await run(script, *(body[i : i + 50_000] for i in range(0, len(body), 50_000)))
    total = len(body) - body.index(b"\r\n\r\n") - 4
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) < 21


# -- failures ----------------------------------------------------------------------


async def test_an_exception_in_the_block_removes_everything(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage) as upload:
            assert len(upload.files) == 3
            assert await keys(storage) == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(script, posted(FORM))
    assert folder(tmp_path) == []
    assert await keys(storage) == []


@pytest.mark.parametrize("cut", [0, 100, 400, 5000, 11_000, 21_000, 26_000])
async def test_a_client_that_leaves_midway_leaves_nothing(
    storage: Storage, tmp_path: Path, cut: int
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage):
            raise AssertionError("entered")

    body = multipart(FORM)
    head = post(headers=[FORM_TYPE, ("Content-Length", str(len(body)))])
    with pytest.raises(ClientGone):
        await run(script, head + body[:cut], leave=True)
    assert await keys(storage) == []
    assert folder(tmp_path) == []


@pytest.mark.parametrize("cut", [-1, -10, -3000, 300])
async def test_a_body_that_ends_too_early_is_no_upload(
    storage: Storage, cut: int
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage):
            raise AssertionError("entered")

    body = multipart(FORM)[:-2][:cut]
    with pytest.raises(MalformedBody):
        await run(script, post(body, headers=[FORM_TYPE]))
    assert await keys(storage) == []


class Faulty(MemoryStorage):
    """Fails at the k-th of all its calls and those of its streams."""

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self.left = fail_at

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise StorageError("no", OSError(28, "full"))

    async def create(self, *args: Any, **kwargs: Any) -> Stream:
        self.step()
        return _FaultySink(self, await super().create(*args, **kwargs))


class _FaultySink(Stream):
    def __init__(self, storage: Faulty, sink: Stream) -> None:
        super().__init__()
        self.storage = storage
        self.sink = sink

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.storage.step()
        await self.sink.write(data)

    async def close(self) -> None:
        try:
            self.storage.step()
        except BaseException:
            await self.sink.abort()
            raise
        await self.sink.close()

    async def abort(self) -> None:
        await self.sink.abort()


async def test_a_storage_that_fails_at_any_step() -> None:
    for fail_at in range(1, 100):
        storage = Faulty(fail_at)

        async def script(request: web.Request, storage: Faulty = storage) -> Any:
            async with receive(request, storage) as upload:
                return len(upload.files)

        if storage_full := await _outcome(run(script, posted(FORM))):
            assert storage_full.status == 507
            assert await keys(storage) == []
        else:
            break
    assert 9 < fail_at < 50


async def _outcome(call: Awaitable[Any]) -> StorageError | None:
    try:
        await call
    except StorageError as error:
        return error
    return None


@pytest.mark.parametrize("where", ["entering", "in the block"])
async def test_a_cancel_at_every_step_leaves_nothing(
    tmp_path: Path, where: str
) -> None:
    storage = DiskStorage(tmp_path)
    finished = False

    async def work(request: web.Request) -> Any:
        async with receive(request, storage) as upload:
            if where == "in the block":
                for _ in range(50):
                    await asyncio.sleep(0)
                raise ZeroDivisionError
            return len(upload.files)

    for steps in range(0, 400, 7):
        if finished:
            break

        async def script(request: web.Request, steps: int = steps) -> Any:
            task = asyncio.create_task(work(request))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                return "cancelled"
            return type(task.exception()) if task.exception() else task.result()

        outcome = await run(script, *chunked(FORM, 3000))
        if outcome == "cancelled":
            assert folder(tmp_path) == [], steps
        else:
            finished = True
    for file in tmp_path.iterdir():
        file.unlink()


async def test_an_undo_that_fails_is_logged_and_keeps_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Sticky(MemoryStorage):
        async def delete(self, key: str) -> None:
            raise StorageError("read-only")

    async def script(request: web.Request) -> Any:
        async with receive(request, Sticky(), staged=False):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(script, posted(FORM))
    records = [r for r in caplog.records if r.name == "aiostreams.uploads"]
    assert len(records) == 3


async def test_an_undo_that_hangs_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiostreams.uploads.receiver._PATIENCE", 0.1)

    class Hanging(MemoryStorage):
        async def delete(self, key: str) -> None:
            await asyncio.Event().wait()

    async def script(request: web.Request) -> Any:
        async with receive(request, Hanging(), staged=False):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(script, posted(FORM))
    assert "remain: 3" in caplog.text


async def test_a_cancel_during_the_undo_waits_for_it() -> None:
    class Slow(MemoryStorage):
        async def delete(self, key: str) -> None:
            await asyncio.sleep(0.02)
            await super().delete(key)

    storage = Slow()

    async def script(request: web.Request) -> Any:
        async def fail() -> None:
            async with receive(request, storage, staged=False):
                raise ZeroDivisionError

        task = asyncio.create_task(fail())
        while not await keys(storage):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    await run(script, posted(FORM))
    assert await keys(storage) == []


# -- through the middleware --------------------------------------------------------


async def test_statuses_and_a_connection_that_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    storage = MemoryStorage()

    async def handler(request: web.Request) -> Any:
        async with receive(request, accept={"image/*"}) as upload:
            return JSON([file.size for file in upload.files.values()])

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, storage=storage, limits=Limits(max_file=30_000))
    images = [part for part in FORM if part[0] != "paper"]
    async with serving(app) as address, connected(address) as raw:
        await _ask(raw, posted(images), 200, b"[10248,10249]")
        await _ask(raw, posted(FORM), 415, None)
        await _ask(raw, posted([("a", "a", None, PNG * 3)]), 413, None)
        await _ask(raw, post(b"--x", headers=[FORM_TYPE]), 400, None)
        await _ask(raw, posted(images), 200, b"[10248,10249]")
    assert len(await keys(storage)) == 4


async def _ask(raw: Raw, request: bytes, status: int, body: bytes | None) -> None:
    await raw.send(request)
    got = await raw.response()
    assert got[0] == status
    assert body is None or got[2] == body


# -- declarative forms -------------------------------------------------------------


@dataclasses.dataclass
class Profile:
    note: str
    photo: Annotated[list[StoredFile], FileRule(accept={"image/*"}, max_count=2)]
    tag: list[str]
    paper: StoredFile | None = None
    age: int = 7


async def test_a_form_as_a_dataclass(storage: Storage) -> None:
    async def script(request: web.Request) -> Profile:
        async with receive(request, storage, form=Profile) as profile:
            return profile

    profile = await run(script, posted(FORM))
    assert (profile.note, profile.tag, profile.age) == ("hello", ["one", "zwei ü"], 7)
    assert [file.size for file in profile.photo] == [10248, 10249]
    assert profile.paper.content_type == "application/pdf"


async def test_a_form_that_does_not_fit_leaves_nothing(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, storage, form=Profile):
            raise AssertionError("entered")

    bad = [part for part in FORM if part[0] != "note"]
    with pytest.raises(InvalidContent, match="note"):
        await run(script, posted([*bad, ("age", None, None, b"old")]))
    with pytest.raises(UnsupportedContent):
        await run(script, posted([("photo", "a.png", None, PDF)]))
    assert await keys(storage) == []
    assert folder(tmp_path) == []


@dataclasses.dataclass
class Search:
    q: str
    page: int = 1


async def test_read_form_into_a_dataclass() -> None:
    async def script(request: web.Request) -> Any:
        return await read_form(request, Search)

    fields = [("Content-Type", "application/x-www-form-urlencoded")]
    assert await run(script, post(b"q=x&page=3", headers=fields)) == Search("x", 3)
    with pytest.raises(InvalidContent, match="page"):
        await run(script, post(b"q=x&page=y", headers=fields))


@dataclasses.dataclass
class Tags:
    tags: dict[str, int]
    title: str = ""


async def test_a_blob_of_json_is_a_value_filename_or_not() -> None:
    async def stored(request: web.Request) -> Any:
        async with receive(request, form=Tags) as tags:
            return tags

    async def read(request: web.Request) -> Any:
        return await read_form(request, Tags)

    sent: list[Part] = []
    for mark in (b"", b"\xef\xbb\xbf"):
        sent.append(("tags", "blob", "application/json", mark + b'{"a": 1}'))
        sent.append(("tags", None, None, mark + b'{"a": 1}'))
    for script in (stored, read):
        for part in sent:
            assert await run(script, posted([part])) == Tags({"a": 1})
        with pytest.raises(InvalidContent, match="tags"):
            await run(script, posted([("tags", "blob", None, b'{"a": "x"}')]))


@dataclasses.dataclass
class Pages:
    pages: Annotated[list[StoredFile], FileRule(min_count=2)] = dataclasses.field(
        default_factory=list
    )


async def test_a_rule_that_is_not_met_is_an_error_although_all_can_be_bound() -> None:
    async def script(request: web.Request) -> Any:
        async with receive(request, MemoryStorage(), form=Pages) as form:
            return len(form.pages)

    page: Part = ("pages", "p.pdf", None, PDF)
    assert await run(script, posted([page, page])) == 2
    wrong: list[list[Part]] = [[page], []]
    for parts in wrong:
        with pytest.raises(InvalidContent) as caught:
            await run(script, posted(parts))
        assert [field for field, _ in caught.value.errors] == ["#/pages"]


async def test_what_is_accepted_holds_for_fields_with_other_rules_too() -> None:
    async def script(request: web.Request) -> Any:
        storage = MemoryStorage()
        async with receive(
            request, storage, form=Pages, accept={"application/pdf"}
        ) as form:
            return len(form.pages)

    page: Part = ("pages", "p.pdf", None, PDF)
    assert await run(script, posted([page, page])) == 2
    with pytest.raises(UnsupportedContent) as caught:
        await run(script, posted([page, ("pages", "x.pdf", None, PNG)]))
    assert caught.value.accept == "application/pdf"


@dataclasses.dataclass
class Titled:
    title: str


@pytest.mark.parametrize("pieces", [None, 10], ids=["whole", "in pieces"])
async def test_a_file_that_the_model_does_not_know_is_not_stored(
    pieces: int | None,
) -> None:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, form=Titled) as form:
            return form.title

    parts: list[Part] = [("title", None, None, b"x"), ("odd", "odd", None, b"y")]
    sent = [posted(parts)] if pieces is None else chunked(parts, pieces)
    assert await run(script, *sent) == "x"
    assert await keys(storage) == []


async def test_progress_of_a_body_that_is_there_already() -> None:
    told = []

    async def script(request: web.Request) -> Any:
        async with receive(
            request, on_progress=lambda done, total: told.append((done, total))
        ) as upload:
            return upload.form["title"]

    request = posted([("title", None, None, b"x")])
    size = len(multipart([("title", None, None, b"x")]))
    assert await run(script, request) == "x"
    assert told[-1] == (size, size)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (None, "file"),
        ('attachment; filename="../me.txt"', "me.txt"),
        ("attachment; filename=", "file"),
        ('attachment; filename="never closed', "file"),
    ],
)
async def test_a_file_that_is_the_body_has_the_name_of_its_head(
    disposition: str | None, name: str
) -> None:
    async def script(request: web.Request) -> Any:
        def key(file: Any) -> str:
            return f"mine/{file.safe_filename}"

        async with receive(request, MemoryStorage(), key=key) as upload:
            return upload.files["file"].key

    headers = [("Content-Type", "text/plain")]
    if disposition is not None:
        headers.append(("Content-Disposition", disposition))
    assert await run(script, post(b"hello", headers=headers)) == f"mine/{name}"


async def test_a_key_may_be_made_of_the_name_of_a_file_in_a_form() -> None:
    """However it is read: with an escape in it, in chunks, or plain and in one piece."""

    async def script(request: web.Request) -> Any:
        storage = MemoryStorage()
        async with receive(
            request, storage, key=lambda file: f"mine/{file.safe_filename}"
        ) as upload:
            return [file.key for file in upload.files.values()]

    found = [f"mine/{name}" for name in ("me.png", "you.png", "p.pdf")]
    assert await run(script, posted(FORM)) == found
    assert await run(script, *chunked(FORM, 1000)) == found
    plain = [part for part in FORM if "\\" not in (part[1] or "")]
    assert await run(script, posted(plain)) == found[1:]


@pytest.mark.parametrize(
    ("body", "declared", "filename", "key", "kind"),
    [
        (b"1,2", None, None, "a/b.csv", "text/csv; charset=utf-8"),
        (b"1,2", None, "x.json", "a/b.csv", "application/json"),
        (b"1,2", None, "x.unknown", "a/b.csv", "text/csv; charset=utf-8"),
        (b"1,2", "text/plain", None, "b.csv", "text/plain"),
        (b"1,2", "application/octet-stream", None, "b.csv", "application/octet-stream"),
        (b"1,2", None, None, "b.png", "application/octet-stream"),
        (b"\0\1", None, None, "b.csv", "application/octet-stream"),
        (b"\0\1", None, None, "b.stl", "model/stl"),
        (PNG, None, None, "b.csv", "image/png"),
        (b"1,2", None, None, "csv", "application/octet-stream"),
        (b"1,2", None, "x.csv", None, "text/csv; charset=utf-8"),
    ],
)
async def test_a_body_of_no_declared_type_is_what_its_name_or_key_says(
    body: bytes, declared: str | None, filename: str | None, key: str | None, kind: str
) -> None:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        making: Any = None if key is None else lambda file: key
        async with receive(request, storage, key=making) as upload:
            return upload.files["file"]

    headers = []
    if declared is not None:
        headers.append(("Content-Type", declared))
    if filename is not None:
        headers.append(("Content-Disposition", f'attachment; filename="{filename}"'))
    file = await run(script, post(body, headers=headers, method="PUT"))
    assert (file.content_type, file.declared_type) == (kind, declared)
    assert (await storage.stat(file.key)).content_type == kind


async def test_a_key_does_not_widen_what_is_accepted() -> None:
    async def script(request: web.Request) -> Any:
        async with receive(
            request,
            MemoryStorage(),
            key=lambda file: "a.stl",
            accept={"application/octet-stream"},
        ) as upload:
            return upload.files["file"].content_type

    assert await run(script, post(b"\0\1")) == "application/octet-stream"


async def test_policies_for_fields_unknown_and_twice() -> None:
    parts: list[Part] = [
        ("tags", None, None, b"{}"),
        ("title", None, None, b"one"),
        ("title", None, None, b"two"),
        ("odd", "odd.txt", None, b"never stored"),
    ]

    async def stored(request: web.Request, **policies: Any) -> Any:
        storage = MemoryStorage()
        async with receive(request, storage, form=Tags, **policies) as tags:
            assert await keys(storage) == []
            return tags.title

    async def read(request: web.Request, **policies: Any) -> Any:
        return (await read_form(request, Tags, **policies)).title

    for script in (stored, read):
        assert await run(script, posted(parts)) == "two"
        first = functools.partial(script, duplicates="first")
        assert await run(first, posted(parts)) == "one"
        twice = functools.partial(script, duplicates="refuse")
        with pytest.raises(InvalidContent, match="title"):
            await run(twice, posted(parts))
        strict = functools.partial(script, unknown="forbid")
        with pytest.raises(InvalidContent, match="odd"):
            await run(strict, posted(parts))


async def test_a_handler_takes_over_part_by_part(
    storage: Storage, tmp_path: Path
) -> None:
    async def script(request: web.Request) -> Any:
        saved = []
        async for part in iter_parts(request):
            if part.filename:
                saved.append(await part.save(storage, f"mine/{part.safe_filename}"))
        return saved

    assert await run(script, posted(FORM)) == [len(PNG), len(PNG) + 1, len(PDF)]
    assert sorted(await keys(storage)) == ["mine/me.png", "mine/p.pdf", "mine/you.png"]


# -- answers that are raised ---------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [web.HTTPSeeOther("/done"), web.HTTPFound("/done"), web.HTTPCreated()]
)
async def test_an_answer_below_400_that_is_raised_keeps_the_files(
    answer: web.HTTPException,
) -> None:
    """As aiohttp's own examples raise redirects."""
    storage = MemoryStorage()

    async def handler(request: web.Request) -> Any:
        async with receive(request, key=lambda part: part.safe_filename):
            raise answer

    app = web.Application()
    app.router.add_post("/", handler)
    setup(app, storage=storage)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(posted(FORM))
        status, headers, _ = await raw.response()
    assert status == answer.status
    assert headers.get("location") == answer.headers.get("Location")
    assert sorted(await keys(storage)) == ["me.png", "p.pdf", "you.png"]


@pytest.mark.parametrize(
    "answer", [web.HTTPBadRequest(), web.HTTPConflict(), web.HTTPBadGateway()]
)
async def test_an_error_that_is_raised_removes_them(answer: web.HTTPException) -> None:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        with pytest.raises(type(answer)):
            async with receive(request):
                raise answer

    await run(script, posted(FORM), storage=storage)
    assert await keys(storage) == []


async def test_a_body_that_was_used_up_is_not_called_the_clients_mistake() -> None:
    async def script(request: web.Request) -> Any:
        await open_stream(request).read()
        async with receive(request, MemoryStorage()):
            pass

    for pieces in ([posted(FORM)], chunked(FORM, 1000)):
        with pytest.raises(RuntimeError) as caught:
            await run(script, *pieces)
        assert str(caught.value).startswith(
            "receive() comes too late: open_stream() has read the body"
        )


@pytest.mark.parametrize("storage", [DiskStorage, lambda _: MemoryStorage()])
async def test_a_stored_file_is_json(
    storage: Callable[[Path], Storage], tmp_path: Path
) -> None:
    """Alone and inside of other values; its storage is nobody's business."""
    files = storage(tmp_path)

    async def handler(request: web.Request) -> Any:
        async with receive(request, files) as upload:
            file = upload.files["f"]
            if request.path == "/alone":
                return JSON(file)
            return JSON({"files": list(upload.files.values()), "form": [{"f": file}]})

    answers = []
    async with serving(setup(one_handler(handler))) as address:
        for path in ("/alone", "/inside"):
            async with connected(address) as raw:
                raw.writer.write(posted([("f", "a.txt", None, b"hello")], path=path))
                status, _, body = await raw.response()
                assert status == 200
                answers.append(json.loads(body))
    alone, inside = answers
    key = alone.pop("key")
    assert key.endswith(".txt")
    assert alone == {
        "field": "f",
        "filename": "a.txt",
        "content_type": "text/plain; charset=utf-8",
        "size": 5,
        "digests": {"sha256": hashlib.sha256(b"hello").hexdigest()},
    }
    key = inside["files"][0]["key"]
    assert inside == {
        "files": [{**alone, "key": key}],
        "form": [{"f": {**alone, "key": key}}],
    }


def one_handler(handler: Any) -> web.Application:
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    return app
