"""The routes for uploads straight to the bucket, with SeaweedFS as the bucket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import KiB, MiB, ObjectStorage
from example_app.app import Settings, create_app
from tests.servers import serving
from tests.storage.buckets import Bucket, store_of
from tests.waiting import until

from .service import PNG, problem

QUOTA = 64 * KiB


@pytest.fixture
async def bucket_url(bucket: Bucket) -> AsyncIterator[URL]:
    settings = Settings(
        max_file=MiB, accept=frozenset({"image/*", "text/plain"}), quota=QUOTA
    )
    storage = ObjectStorage(store_of(bucket.port), "app")
    app = create_app(storage, settings)
    async with serving(app, auto_decompress=False) as (host, port):
        yield URL.build(scheme="http", host=host, port=port)


async def signed(client: ClientSession, url: URL, **file: Any) -> dict[str, Any]:
    async with client.post(url / "direct/sign", json=file) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        answer: dict[str, Any] = await response.json()
        return answer


async def sent(client: ClientSession, url: URL, data: bytes, kind: str = "") -> str:
    """The key of a file that was sent to the bucket, and not confirmed."""
    upload = await signed(client, url, name="any", size=len(data), content_type=kind)
    async with client.request(
        upload["method"], upload["url"], data=data, headers=upload["headers"]
    ) as response:
        assert response.status == 200
    key: str = upload["key"]
    return key


async def test_file_is_sent_confirmed_and_downloaded(
    client: ClientSession, bucket_url: URL, bucket: Bucket
) -> None:
    key = await sent(client, bucket_url, PNG, "text/plain")
    assert bucket.names() == [f"app/{key}"]
    # Until then nobody sees it, and what waits there cannot be put there.
    async with client.get(bucket_url / "files") as response:
        assert (await response.json())["count"] == 0
    async with client.put(bucket_url / "files" / key, data=b"x") as response:
        assert "waits to be confirmed" in await problem(response, 400)
    body = {"key": key, "name": "../a <sun>.png"}
    async with client.post(bucket_url / "direct/confirm", json=body) as response:
        assert response.status == 201
        [file] = (await response.json())["files"]
        assert response.headers["Location"] == file["url"]
    assert file["path"] == "_a _sun_.png"
    assert (file["size"], file["content_type"]) == (len(PNG), "image/png")
    async with client.get(bucket_url.join(URL(file["url"]))) as response:
        assert response.content_type == "image/png"
        assert await response.read() == PNG
    assert len(bucket.names()) == 1
    async with client.post(bucket_url / "direct/confirm", json=body) as response:
        await problem(response, 404)
    assert len(bucket.names()) == 1


async def test_what_breaks_a_rule_is_removed_at_confirmation(
    client: ClientSession, bucket_url: URL, bucket: Bucket
) -> None:
    kept = await sent(client, bucket_url, b"a few words")
    # The bucket lets in what it was not asked for: more, and of another type.
    for data, status, why in [
        (b"%PDF-1.7", 415, "application/pdf; accepted"),
        (b"words " * (64 * KiB), 413, "limit"),
    ]:
        upload = await signed(client, bucket_url, name="a", size=1)
        async with client.put(upload["url"], data=data) as response:
            assert response.status == 200
        body = {"key": upload["key"], "name": "a"}
        async with client.post(bucket_url / "direct/confirm", json=body) as response:
            assert why in await problem(response, status)
        assert bucket.names() == [f"app/{kept}"]


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("sign", {"name": "a", "size": MiB + 1}, 413, "1.0 MiB is the most"),
        ("sign", {"name": "a", "size": 3 * QUOTA}, 413, "room for 64 KiB more"),
        ("sign", {"name": "a", "size": -1}, 422, "must not be negative"),
        ("sign", {"name": "a"}, 422, "size"),
        ("confirm", {"key": "some/file", "name": "a"}, 400, "no key of"),
        ("confirm", {"key": "aiostreams-staged/a", "name": "a"}, 400, "no key of"),
        ("confirm", {"key": f"aiostreams-staged/{'0' * 32}", "name": ""}, 404, "no"),
    ],
)
async def test_what_cannot_be_is_said(
    client: ClientSession,
    bucket_url: URL,
    path: str,
    body: dict[str, Any],
    status: int,
    why: str,
) -> None:
    async with client.post(bucket_url / "direct" / path, json=body) as response:
        assert response.status == status
        assert why in str(await response.json())


async def test_what_is_never_confirmed_is_swept_when_the_app_starts(
    client: ClientSession,
    bucket_url: URL,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await sent(client, bucket_url, PNG)
    now = time.time()
    monkeypatch.setattr("aiostreams.storage.base.time.time", lambda: now + 90_000)
    storage = ObjectStorage(store_of(bucket.port), "app")
    async with serving(create_app(storage, Settings(max_file=MiB))):
        await until(lambda: not bucket.names())


async def test_only_the_page_that_sends_there_may_ask_the_bucket(
    client: ClientSession, bucket_url: URL, bucket: Bucket
) -> None:
    policies = {}
    for path in ("", "direct", "api"):
        async with client.get(bucket_url / path) as response:
            assert response.status == 200
            policies[path] = response.headers["Content-Security-Policy"]
            assert ('href="/direct"' in await response.text()) == (path == "")
    assert f"connect-src 'self' http://127.0.0.1:{bucket.port};" in policies["direct"]
    assert "connect-src 'self';" in policies[""]
    assert policies[""] == policies["api"]


async def test_a_folder_has_none_of_it(client: ClientSession, url: URL) -> None:
    async with client.get(url / "direct") as response:
        assert response.status == 405  # PUT /direct is a file of that name
    async with client.post(url / "direct/sign", json={}) as response:
        assert response.status == 404
    async with client.get(url) as response:
        assert "/direct" not in await response.text()
