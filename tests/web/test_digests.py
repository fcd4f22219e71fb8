"""Content-Digest and Repr-Digest, verified on requests and sent with responses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    ByteStream,
    DiskStorage,
    File,
    FileStream,
    InvalidContent,
    IterStream,
    KiB,
    MemoryStorage,
    MiB,
    ObjectStorage,
    Storage,
    Text,
    open_stream,
    read_bytes,
    read_json,
    receive,
    respond,
    setup,
)
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.storage.buckets import Bucket, store_of
from tests.web.variants import LONG, Answer, ask, asked, every_coding


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    plain = hashlib.new(algorithm.replace("-", ""), data).digest()
    return f"{algorithm}=:{base64.b64encode(plain).decode()}:"


# -- requests --------------------------------------------------------------------------

committed: list[bytes] = []


async def commit(request: web.Request) -> web.Response:
    data = b""
    async for piece in open_stream(request).iter_any():
        data += piece
    committed.append(data)
    return web.Response(text="done")


async def put(
    body: bytes, *fields: tuple[str, str], own: bool = True, handler: Any = commit
) -> tuple[int, bytes]:
    """The status, also when the body comes in pieces, which makes no difference."""
    app = web.Application()
    app.router.add_post("/", handler)
    setup(app)
    committed.clear()
    async with (
        serving(app, auto_decompress=not own) as address,
        connected(address) as raw,
    ):
        await raw.send(post(body, headers=fields))
        status, _, answer = await raw.response()
        await raw.send(
            post(None, headers=[*fields, *CHUNKED]),
            *(chunk(body[i : i + 4000]) for i in range(0, len(body), 4000)),
            b"0\r\n\r\n",
        )
        assert (await raw.response())[::2] == (status, answer)
    return status, answer


@pytest.mark.parametrize("name", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_a_body_is_held_to_its_digest(name: str, algorithm: str) -> None:
    for body in (b"", b"data", LONG * 50):
        assert await put(body, (name, digest(body, algorithm))) == (200, b"done")
        assert committed == [body] * 2
        status, answer = await put(body, (name, digest(body + b"x", algorithm)))
        assert status == 422
        assert b"digest of the body differs" in answer
        assert committed == []


async def test_the_digest_is_of_the_encoded_bytes() -> None:
    encoded = gzip.compress(LONG)
    fields = [("Content-Encoding", "gzip"), ("Content-Digest", digest(encoded))]
    assert await put(encoded, *fields) == (200, b"done")
    assert committed == [LONG] * 2
    fields[1] = ("Content-Digest", digest(LONG))
    assert (await put(encoded, *fields))[0] == 422
    assert committed == []


async def test_every_helper_raises_before_it_gives_the_body() -> None:
    async def handler(request: web.Request) -> web.Response:
        helper = read_json if request.query else read_bytes
        with pytest.raises(InvalidContent):
            await helper(request)
        with pytest.raises(InvalidContent):
            await helper(request)
        return web.Response(text="refused")

    fields = ("Content-Digest", digest(b"something else"))
    assert await put(b"[1, 2]", fields, handler=handler) == (200, b"refused")


async def test_both_fields_and_all_algorithms_count() -> None:
    right, wrong = digest(b"data"), digest(b"atad")
    other = digest(b"atad", "sha-512")
    for fields in (
        [("Content-Digest", right), ("Repr-Digest", wrong)],
        [("Content-Digest", wrong), ("Repr-Digest", right)],
        [("Content-Digest", f"{right}, {other}")],
        [("Content-Digest", right), ("Content-Digest", other)],
    ):
        assert (await put(b"data", *fields))[0] == 422


async def test_a_part_is_not_held_to_the_digest_of_the_whole() -> None:
    fields = [("Content-Range", "bytes 0-3/9"), ("Repr-Digest", digest(b"data more"))]
    assert await put(b"data", *fields) == (200, b"done")
    fields.append(("Content-Digest", digest(b"more")))
    assert (await put(b"data", *fields))[0] == 422


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("sha-256", 400),
        ("sha-256=abc", 400),
        ("sha-256=:YWJj:", 400),
        ("sha-256=:*:", 400),
        ("=", 400),
        ("md5=:YWJj:", 200),
        ("unixsum=30637", 200),
        ("", 200),
    ],
)
async def test_fields_that_are_malformed_or_unknown(value: str, status: int) -> None:
    assert (await put(b"data", ("Content-Digest", value)))[0] == status


async def test_what_aiohttp_decodes_cannot_be_held_to_a_digest() -> None:
    encoded = gzip.compress(LONG)
    fields = [("Content-Encoding", "gzip"), ("Content-Digest", digest(b"other"))]
    assert await put(encoded, *fields, own=False) == (200, b"done")
    # What it does not decode can.
    assert (await put(LONG, fields[1], own=False))[0] == 422


# -- responses -------------------------------------------------------------------------


def check(answer: Answer, *, whole: bytes | None = None) -> None:
    """Both fields are of what came, or of the ``whole`` it is a part of."""
    assert answer.headers["content-digest"] == digest(answer.raw)
    expected = answer.raw if whole is None else whole
    assert answer.headers["repr-digest"] == digest(expected)


async def test_the_digest_of_a_body_in_memory() -> None:
    async def handler(request: web.Request) -> Any:
        return respond(JSON([LONG.decode()]), digest="sha-256", etag="v1")

    async with asked(handler) as raw:
        answer = await ask(raw)
        check(answer)
        for coding in ("gzip", "br", "zstd"):
            encoded = await ask(raw, coding)
            assert (encoded.coding, encoded.body) == (coding, answer.raw)
            check(encoded)
            assert encoded.headers["content-length"] == str(len(encoded.raw))
            head = await ask(raw, coding, method="HEAD")
            assert head.headers["repr-digest"] == encoded.headers["repr-digest"]
            assert "content-digest" not in head.headers
        part = await ask(raw, "gzip", Range="bytes=2-5")
        assert (part.status, part.raw) == (206, answer.raw[2:6])
        check(part, whole=answer.raw)
        parts = await ask(raw, Range="bytes=0-1, 5-6")
        assert parts.headers["content-type"].startswith("multipart/byteranges")
        assert parts.headers["repr-digest"] == digest(answer.raw)
        assert "content-digest" not in parts.headers
        unchanged = await ask(raw, If_None_Match='"v1"')
        assert unchanged.status == 304
        assert "repr-digest" not in unchanged.headers


async def test_the_digest_of_a_file(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    data = LONG * 300
    page.write_bytes(data)

    async def handler(request: web.Request) -> Any:
        return respond(File(page), digest=("sha-256",))

    async with asked(handler) as raw:
        answer = await ask(raw)
        assert answer.raw == data
        check(answer)
        # It is not read, encoded and hashed before the first byte is sent.
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.raw) == (None, data)
        check(answer)
        part = await ask(raw, Range="bytes=700000-")
        assert part.status == 206
        check(part, whole=data)
        Path(f"{page}.gz").write_bytes(gzip.compress(data))
        answer = await ask(raw, "gzip")
        assert (answer.coding, answer.body) == ("gzip", data)
        check(answer)


async def test_several_algorithms_and_statuses() -> None:
    async def handler(request: web.Request) -> Any:
        return respond(Text("made"), status=201, digest=["sha-512", "sha-256"])

    async with asked(handler) as raw:
        answer = await ask(raw)
        expected = f"{digest(b'made', 'sha-512')}, {digest(b'made')}"
        assert (answer.status, answer.headers["content-digest"]) == (201, expected)
        assert answer.headers["repr-digest"] == expected


def test_digests_that_cannot_be_sent() -> None:
    with pytest.raises(
        ValueError, match="unknown digest 'md5'; expected one of sha-256, sha-512"
    ):
        respond(Text("x"), digest="md5")
    with pytest.raises(ValueError, match="can be read only once"):
        respond(IterStream([b"x"]), digest="sha-256")
    assert respond(ByteStream(b"x"), digest=())


@every_coding
async def test_a_response_without_a_digest_has_none(coding: str) -> None:
    async def handler(request: web.Request) -> Any:
        return Text(LONG.decode())

    async with asked(handler) as raw:
        answer = await ask(raw, coding)
        assert not {"content-digest", "repr-digest"} & answer.headers.keys()


# -- what a client wants -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "algorithm"),
    [
        ("sha-256=1", "sha-256"),
        ("sha-512=10", "sha-512"),
        ("sha-256=3, sha-512=4", "sha-512"),
        ("sha-256=4, sha-512=4", "sha-256"),
        ("sha-256=10, sha-512=0", "sha-256"),
        ("*=1", "sha-256"),
        ("*=5, sha-256=0", "sha-512"),
        ("md5=10, sha-512=1", "sha-512"),
        ("md5=10", None),
        ("*=0", None),
        ("sha-256=0", None),
        ("sha-256", None),
        ("sha-256=11", None),
        ("sha-256=0.5", None),
        ("sha-256=;", None),
        ("", None),
    ],
)
async def test_a_client_gets_the_digest_that_it_likes_best(
    wanted: str, algorithm: str | None
) -> None:
    async def handler(_request: web.Request) -> Any:
        return JSON([LONG.decode()])

    async with asked(handler) as raw:
        for field in ("Content-Digest", "Repr-Digest"):
            for coding in (None, "gzip"):
                fields = {f"Want_{field.replace('-', '_')}": wanted}
                answer = await ask(raw, coding, **fields)
                got = answer.headers.get(field.lower())
                assert answer.coding == coding
                assert got == (algorithm and digest(answer.raw, algorithm))
                other = {"Content-Digest", "Repr-Digest"} - {field}
                assert other.pop().lower() not in answer.headers


async def test_what_a_client_wants_of_a_part_and_of_a_head(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(LONG)

    async def handler(request: web.Request) -> Any:
        return File(path) if request.query_string else Text(LONG.decode())

    wants = {"Want_Content_Digest": "sha-256=1", "Want_Repr_Digest": "sha-512=1"}
    async with asked(handler) as raw:
        for where in ("/", "/?file"):
            part = await ask(raw, path=where, Range="bytes=2-9", **wants)
            assert part.status == 206
            assert part.headers["content-digest"] == digest(LONG[2:10])
            assert part.headers["repr-digest"] == digest(LONG, "sha-512")
            head = await ask(raw, path=where, method="HEAD", **wants)
            assert head.headers["repr-digest"] == digest(LONG, "sha-512")
            assert "content-digest" not in head.headers
            same = await ask(raw, path=where, If_None_Match="*", **wants)
            assert (same.status, "repr-digest" in same.headers) == (304, False)


async def test_a_client_may_refuse_what_a_handler_sends() -> None:
    async def handler(_request: web.Request) -> Any:
        return respond(Text("x"), digest="sha-256")

    async with asked(handler) as raw:
        answer = await ask(raw, Want_Repr_Digest="sha-256=0")
        assert "repr-digest" not in answer.headers
        assert answer.headers["content-digest"] == digest(b"x")
        answer = await ask(raw, Want_Repr_Digest="sha-512=1, sha-256=1")
        assert answer.headers["repr-digest"] == digest(b"x")


async def test_what_cannot_be_read_twice_or_is_large_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiostreams.web.response._HASHED_UNASKED", 100)
    path = tmp_path / "a.txt"
    path.write_bytes(LONG)
    known = {"sha256": hashlib.sha256(b"as it was received").hexdigest()}

    async def handler(request: web.Request) -> Any:
        if request.path == "/stream":
            return IterStream([LONG])
        stream = FileStream(path)
        if request.path == "/known":
            stream.known_digests = known
        if request.path == "/said":
            return respond(stream, digest="sha-512")
        return stream

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with asked(app) as raw:
        for where in ("/stream", "/file"):
            answer = await ask(raw, path=where, Want_Repr_Digest="*=1")
            assert (answer.raw, "repr-digest" in answer.headers) == (LONG, False)
        answer = await ask(raw, path="/known", Want_Repr_Digest="*=1")
        assert answer.headers["repr-digest"] == digest(b"as it was received")
        part = await ask(
            raw, path="/known", Want_Repr_Digest="sha-256=1", Range="bytes=0-1"
        )
        assert (part.status, part.raw) == (206, LONG[:2])
        assert part.headers["repr-digest"] == digest(b"as it was received")
        answer = await ask(raw, path="/said", Want_Repr_Digest="sha-256=1")
        assert answer.headers["repr-digest"] == digest(LONG)


async def test_a_stored_file_knows_the_digests_of_its_upload(tmp_path: Path) -> None:
    stored: list[Any] = []

    async def upload(request: web.Request) -> Any:
        async with receive(request, hash=("sha256", "sha512")) as received:
            stored.append(received.files["file"])
        return Text("stored")

    async def download(_request: web.Request) -> Any:
        stream = await stored[0].open()
        assert stream.known_digests == stored[0].digests
        return stream

    app = web.Application()
    app.router.add_post("/", upload)
    app.router.add_get("/", download)
    setup(app, storage=DiskStorage(tmp_path))
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(LONG))
        assert (await raw.response())[0] == 200
        answer = await ask(raw, Want_Repr_Digest="sha-512=1")
        assert answer.raw == LONG
        assert answer.headers["repr-digest"] == digest(LONG, "sha-512")


@pytest.fixture(params=["memory", "disk", "seaweed"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "disk":
        return DiskStorage(tmp_path)
    bucket: Bucket = request.getfixturevalue("bucket")
    return ObjectStorage(store_of(bucket.port), part_size=5 * MiB)


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("size", [0, 100, 300 * KiB, 6 * MiB])
async def test_a_storage_knows_the_digests_of_what_was_received(
    storage: Storage, size: int, staged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens the object later, by its key alone; nothing is read for that."""
    monkeypatch.setattr("aiostreams.web.response._HASHED_UNASKED", -1)
    data = os.urandom(size)
    in_parts = isinstance(storage, ObjectStorage) and size > 5 * MiB

    async def upload(request: web.Request) -> Any:
        async with receive(
            request,
            key=lambda _file: "some/key",
            hash=("sha256", "sha512"),
            metadata={"by": "me"},
            staged=staged,
        ):
            pass
        return Text("stored")

    async def download(_request: web.Request) -> Any:
        assert (await storage.stat("some/key")).metadata == {"by": "me"}
        return await storage.open("some/key")

    app = web.Application()
    app.router.add_post("/", upload)
    app.router.add_get("/", download)
    setup(app, storage=storage)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(data))
        assert (await raw.response())[0] == 200
        for name in ("sha-512", "sha-256"):
            answer = await ask(raw, Want_Repr_Digest=f"{name}=1")
            assert answer.raw == data
            # A store that has to know all before the first part knows no digest.
            expected = None if in_parts else digest(data, name)
            assert answer.headers.get("repr-digest") == expected


async def test_what_a_subclass_stores_has_no_digests_of_other_bytes(
    tmp_path: Path,
) -> None:
    """What it does with the bytes may change them."""
    stores = pytest.importorskip("obstore.store", reason="needs the extra s3")

    class Upper(DiskStorage):
        async def put(self, key: str, data: Any, **kwargs: Any) -> None:
            await super().put(key, bytes(data).upper(), **kwargs)

    class Reversed(MemoryStorage):
        async def put(self, key: str, data: Any, **kwargs: Any) -> None:
            await super().put(key, bytes(data)[::-1], **kwargs)

    class Headed(ObjectStorage):
        async def create(self, key: str, **kwargs: Any) -> Any:
            sink = await super().create(key, **kwargs)
            await sink.write(b"head of ")
            return sink

    storages: list[tuple[Storage, bytes]] = [
        (Upper(tmp_path), b"ABC"),
        (Reversed(), b"cba"),
        (Headed(stores.MemoryStore()), b"head of abc"),
    ]
    for storage, expected in storages:
        await storage.put_known("o", b"abc", {"sha256": "00" * 32})
        async with await storage.open("o") as stream:
            assert stream.known_digests == {}
            assert await stream.read() == expected
