"""storage_from_url: what it makes, and what it refuses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from aiostreams import DiskStorage, MemoryStorage, MiB, ObjectStorage, storage_from_url

from .buckets import Bucket


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory:/", URL("memory:")])
def test_memory(url: str | URL) -> None:
    assert isinstance(storage_from_url(url), MemoryStorage)


async def test_file(tmp_path: Path) -> None:
    storage = storage_from_url(f"file://{tmp_path}/with%20space?fsync=true")
    assert isinstance(storage, DiskStorage)
    assert storage._fsync
    async with await storage.create("o") as stream:
        await stream.write(b"x")
    assert (tmp_path / "with space" / "o").read_bytes() == b"x"
    await storage.close()
    assert not storage_from_url("file://localhost/x")._fsync  # type: ignore[attr-defined]


async def test_s3(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    url = (
        f"s3://bkt/pre/fix?endpoint=http://127.0.0.1:{bucket.port}&region=us-east-1"
        "&part_size=5&concurrency=2"
    )
    async with storage_from_url(url) as storage:
        assert isinstance(storage, ObjectStorage)
        assert (storage._part_size, storage._concurrency) == (5 * MiB, 2)
        async with await storage.create("o") as stream:
            await stream.write(b"x")
    assert bucket.names() == ["pre/fix/o"]


@pytest.mark.parametrize(
    ("url", "config"),
    [
        ("s3://b", {"bucket": "b"}),
        ("s3://b/?region=eu", {"bucket": "b", "region": "eu"}),
        ("gs://b/p", {"bucket": "b"}),
        ("az://c/p?account=a", {"container_name": "c", "account_name": "a"}),
        (
            "az://c?account=a&endpoint=https://x/",
            {"container_name": "c", "account_name": "a", "endpoint": "https://x/"},
        ),
    ],
)
def test_clouds(url: str, config: dict[str, str]) -> None:
    pytest.importorskip("obstore", reason="needs the extra s3")
    storage = storage_from_url(url)
    assert isinstance(storage, ObjectStorage)
    assert config.items() <= storage.store.config.items()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected one of memory:, file:, s3:, gs:, az:"),
        ("uploads", "expected one of"),
        ("ftp://x/y", "the scheme 'ftp'"),
        ("http://[::1", "not the URL of a storage"),
        ("memory:x", "must not have a path"),
        ("memory://x", "must not have a path"),
        ("memory:?a=1", "has no option 'a'"),
        ("file:relative", "file:///an/absolute/path"),
        ("file://host/path", "file:///an/absolute/path"),
        ("file:///x?fsync=maybe", "fsync must be true or false"),
        ("file:///x#y", "must not have a fragment"),
        ("s3://", "s3: lacks the name of a bucket"),
        ("s3://b:80/", "name of a bucket"),
        ("az:///x", "name of a container"),
        ("s3://key:secret@b/", "the URL has credentials"),
        ("s3://b?secret=1", "has no option 'secret'"),
        ("s3://b?region=a&region=b", "given twice"),
        ("s3://b?endpoint=host:80", "http(s) URL"),
        ("s3://b?part_size=x", "must be a number"),
        ("gs://b?region=x", "has no option 'region'"),
    ],
)
def test_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        storage_from_url(url)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("az://c", "Account must be specified"),
        ("s3://b?part_size=4", "5 MiB to 5 GiB"),
        ("s3://b?concurrency=0", "positive"),
        ("s3://b/a%0Ab", "control character"),
    ],
)
def test_refused_by_the_storage(url: str, message: str) -> None:
    pytest.importorskip("obstore", reason="needs the extra s3")
    test_refused(url, message)


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, Any] = {"obstore": None, "obstore.store": None}
    for name, value in modules.items():
        monkeypatch.setitem(sys.modules, name, value)
    with pytest.raises(ImportError, match="aiostreams\\[s3\\]"):
        storage_from_url("s3://b")
