"""Incomplete multipart uploads: in a real bucket, and by literal answers."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from aiostreams import ObjectStorage, StorageError
from aiostreams.storage.incomplete import IncompleteUploads
from tests.servers import serving

from .buckets import Bucket, begin_upload, store_of

pytest.importorskip("obstore", reason="needs the extra s3")


async def begin(port: int, key: str, **kwargs: Any) -> ObjectStorage:
    storage = ObjectStorage(store_of(port, **kwargs))
    await begin_upload(Bucket(port), storage.store, key)
    return storage


async def test_sweep_aborts_uploads_below_the_prefix(bucket: Bucket) -> None:
    for key in (
        "files/a b+ü.bin",
        "files/.aiostreams-temporary/x",
        "filesX",
        "other/b",
    ):
        storage = await begin(bucket.port, key)
    storage = ObjectStorage(storage.store, "files")
    assert await storage.sweep() == 0  # they are new
    assert len(bucket.uploads()) == 4
    assert await storage.sweep(-60) == 2
    assert sorted(key for key, _ in bucket.uploads()) == ["filesX", "other/b"]
    assert await ObjectStorage(storage.store).sweep(-60) == 2
    assert bucket.uploads() == []


async def test_sweep_aborts_below_the_prefix_of_the_store(bucket: Bucket) -> None:
    storage = await begin(bucket.port, "files/x", prefix="our/own")
    await begin(bucket.port, "files/x")
    assert await ObjectStorage(storage.store, "files").sweep(-60) == 1
    assert [key for key, _ in bucket.uploads()] == ["files/x"]


@pytest.mark.parametrize("kind", ["plain", "coroutine", "of another key"])
async def test_sweep_has_the_keys_of_a_provider(
    bucket: Bucket, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    from obstore.store import S3Store

    await begin(bucket.port, "x")
    keys = {"access_key_id": "AK", "secret_access_key": "SK", "expires_at": None}
    calls = 0

    def plain() -> Any:
        nonlocal calls
        calls += 1
        if kind == "of another key" and calls > 1:
            return {**keys, "access_key_id": "new"}
        return keys

    async def coroutine() -> Any:
        return keys

    storage = ObjectStorage(
        S3Store(
            "bkt",
            endpoint=f"http://127.0.0.1:{bucket.port}",
            region="us-east-1",
            client_options={"allow_http": True},
            credential_provider=coroutine if kind == "coroutine" else plain,
        )
    )
    swept = await storage.sweep(-60)
    if kind == "of another key":
        assert swept == 0
        assert "the store's keys cannot be had" in caplog.text
    else:
        assert swept == 1


async def test_sweep_has_the_keys_of_the_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.store import S3Store

    await begin(bucket.port, "x")
    monkeypatch.setitem(os.environ, "AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "SK")
    monkeypatch.setitem(os.environ, "AWS_REGION", "us-east-1")
    endpoint = f"http://127.0.0.1:{bucket.port}"
    store = S3Store("bkt", endpoint=endpoint, client_options={"allow_http": True})
    assert await ObjectStorage(store).sweep(-60) == 1


# -- literal answers -------------------------------------------------------------------


class Server:
    """An S3 server that says what it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answers: list[tuple[int, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        split = urlsplit(request.raw_path)
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        if "list-type" in query:
            return web.Response(text="<ListBucketResult/>")
        self.asked.append((request.method, split.path, query))
        status, text = self.answers.pop(0)
        return web.Response(status=status, text=text)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    made = Server()
    async with serving(made.answer) as (_, port):
        yield made, port


def page(*uploads: tuple[str, str], more: str = "") -> str:
    listed = "".join(
        f"<Upload><Key>{key}</Key><UploadId>{upload}</UploadId>"
        "<Initiator><ID>me</ID></Initiator>"
        "<Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>"
        for key, upload in uploads
    )
    rest = "<IsTruncated>false</IsTruncated>"
    if more:
        rest = (
            f"<IsTruncated>true</IsTruncated><NextKeyMarker>{more}</NextKeyMarker>"
            f"<NextUploadIdMarker>id-{more}</NextUploadIdMarker>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{rest}{listed}</ListMultipartUploadsResult>"
    )


async def test_abort_goes_through_all_pages(server: tuple[Server, int]) -> None:
    there, port = server
    there.answers = [
        (200, page(("a+b%2Bc", "1"), more="k")),
        (204, ""),
        (200, page(("a+b%2Bc", "2"))),
        (404, "NoSuchUpload"),
    ]
    assert await ObjectStorage(store_of(port), "p/q").sweep() == 2
    asked = {"uploads": "", "prefix": "p/q/"}
    assert there.asked == [
        ("GET", "/bkt", asked),
        ("DELETE", "/bkt/a%2Bb%252Bc", {"uploadId": "1"}),
        ("GET", "/bkt", {**asked, "key-marker": "k", "upload-id-marker": "id-k"}),
        ("DELETE", "/bkt/a%2Bb%252Bc", {"uploadId": "2"}),
    ]


async def test_abort_ends_when_a_page_comes_again(server: tuple[Server, int]) -> None:
    there, port = server
    there.answers = [(200, page(more="k")), (200, page(more="k"))]
    assert await ObjectStorage(store_of(port)).sweep() == 0
    assert there.answers == []


@pytest.mark.parametrize(
    ("status", "text", "why"),
    [
        (403, "", "S3 answered 403 Forbidden"),
        (200, "<html>", "not understood"),
        (200, page(("a", "b")).replace("2010-11-10T20:48:33.000Z", "now"), "not under"),
        (200, page(("a", "b")).replace("UploadId", "Id"), "not understood"),
    ],
)
async def test_sweep_says_once_that_it_cannot(
    server: tuple[Server, int],
    status: int,
    text: str,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    there, port = server
    storage = ObjectStorage(store_of(port))
    for _ in range(2):
        there.answers = [(status, text)]
        assert await storage.sweep() == 0
    [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "a lifecycle rule has to abort them" in record.getMessage()
    assert why in record.getMessage()


async def test_abort_of_a_server_that_is_not_there(server: tuple[Server, int]) -> None:
    _, port = server
    uploads = await IncompleteUploads.of(store_of(port))
    assert uploads is not None
    uploads._host = "127.0.0.1:1"
    with pytest.raises(StorageError, match="not reached"):
        await uploads.abort("", 0)


async def test_no_keys_of_another_kind_of_store() -> None:
    from obstore.store import MemoryStore

    assert await IncompleteUploads.of(MemoryStore()) is None


async def test_url_of_a_bucket_as_a_host_name() -> None:
    from obstore.store import S3Store

    store = S3Store(
        "bkt",
        prefix="a b",
        access_key_id="AK",
        secret_access_key="SK",
        session_token="token",
        region="eu-west-1",
        virtual_hosted_style_request=True,
    )
    uploads = await IncompleteUploads.of(store)
    assert uploads is not None
    assert uploads._host == "bkt.s3.eu-west-1.amazonaws.com"
    assert uploads._path == ""
    assert uploads._is_secure
    assert uploads._keys.session_token == "token"
