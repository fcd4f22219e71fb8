"""Uploads straight to the bucket, and their confirmation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import aiohttp
import pytest

from aiostreams import (
    DiskStorage,
    FileRule,
    InvalidContent,
    LimitExceeded,
    MemoryStorage,
    ObjectExists,
    ObjectNotFound,
    ObjectStorage,
    Storage,
    UnsupportedContent,
    confirm_upload,
    direct_upload,
)
from tests.storage.buckets import Bucket, store_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
KEY = "aiostreams-staged/one"


@pytest.fixture(params=["memory", "disk", "seaweed"])
def storage(request: pytest.FixtureRequest, tmp_path: Any) -> Storage:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "disk":
        return DiskStorage(tmp_path)
    bucket: Bucket = request.getfixturevalue("bucket")
    return ObjectStorage(store_of(bucket.port), "some")


async def keys(storage: Storage) -> list[str]:
    found = [found.key async for found in storage.list()]
    return found + [found.key async for found in storage.list("aiostreams-staged/")]


async def test_what_keeps_the_rule_is_moved(storage: Storage) -> None:
    seen = []

    async def check(stream: Any, file: Any) -> None:
        seen.append(await stream.read())
        with pytest.raises(ObjectNotFound):
            await storage.open("photo")

    await storage.put(KEY, PNG, content_type="text/plain")
    rule = FileRule(accept={"image/*"}, max_size=len(PNG), check=check)
    file = await confirm_upload(storage, KEY, rule, to="photo")
    assert (file.key, file.size, file.content_type) == ("photo", len(PNG), "image/png")
    assert seen == [PNG]
    assert await keys(storage) == ["photo"]
    async with await file.open() as stream:
        assert stream.content_type == "image/png"
        assert await stream.read() == PNG
    with pytest.raises(ObjectNotFound):
        await confirm_upload(storage, KEY, rule, to="again")


async def test_what_is_not_confirmed_shows_to_who_asks_for_it(storage: Storage) -> None:
    await storage.put(KEY, PNG)
    await storage.put("aiostreams-story", b"Once upon a time")
    assert [found.key async for found in storage.list()] == ["aiostreams-story"]
    assert [found.key async for found in storage.list("aio")] == ["aiostreams-story"]
    assert [found.key async for found in storage.list("aiostreams-staged/o")] == [KEY]


@pytest.mark.parametrize("declared", [None, "image/png", "application/octet-stream"])
async def test_what_has_the_right_type_is_moved_by_the_storage(
    storage: Storage, declared: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes do not pass through this process again."""
    data = PNG if declared == "image/png" else bytes([0, 1, 2, 3]) * 9
    await storage.put(KEY, data, content_type=declared)
    monkeypatch.setattr(type(storage), "create", None)
    file = await confirm_upload(storage, KEY, FileRule(), to="some")
    assert file.content_type == (declared or "application/octet-stream")
    assert file.size == len(data)
    assert await keys(storage) == ["some"]


async def refuse(stream: Any, file: Any) -> None:
    raise InvalidContent("refused")


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (FileRule(max_size=100), LimitExceeded),
        (FileRule(accept={"application/pdf"}), UnsupportedContent),
        (FileRule(check=refuse), InvalidContent),
        (FileRule(max_pixels=1), InvalidContent),
    ],
    ids=["size", "type", "check", "pixels"],
)
async def test_what_breaks_the_rule_is_removed(
    storage: Storage, rule: FileRule, error: type[Exception]
) -> None:
    await storage.put(KEY, PNG)
    with pytest.raises(error):
        await confirm_upload(storage, KEY, rule, to="photo")
    # One that was there makes sure that some folder can be listed.
    await storage.put("taken", b"another's")
    assert await keys(storage) == ["taken"]
    await storage.put(KEY, PNG)
    with pytest.raises(ObjectExists):
        await confirm_upload(storage, KEY, FileRule(), to="taken")
    assert await keys(storage) == ["taken"]


async def test_a_client_puts_by_the_url_alone(bucket: Bucket) -> None:
    storage = ObjectStorage(store_of(bucket.port), "some")
    upload = await direct_upload(
        storage, KEY, size=len(PNG), content_type="image/png", expires=60
    )
    sent = json.loads(json.dumps(dataclasses.asdict(upload)))
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            sent["method"], sent["url"], data=PNG, headers=sent["headers"]
        ) as answer,
    ):
        assert answer.status == 200
    file = await confirm_upload(storage, KEY, FileRule(accept="image/png"), to="me")
    assert (file.size, file.declared_type) == (len(PNG), "image/png")
    assert await keys(storage) == ["me"]
    # Never confirmed.
    await storage.put(KEY, PNG)
    assert await storage.sweep(older_than=-3600) == 1
    assert await keys(storage) == ["me"]


@pytest.mark.parametrize("make", [MemoryStorage, lambda: DiskStorage("nowhere")])
async def test_a_storage_without_urls_says_so(make: Any) -> None:
    with pytest.raises(NotImplementedError):
        await direct_upload(make(), KEY, size=1)
