"""The grammar of keys and attributes, and the smallest storage a user may write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import (
    ByteStream,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    Storage,
    StoredObject,
    Stream,
)
from aiostreams.storage.base import check_attributes, check_key, check_prefix
from aiostreams.testing import check_storage
from aiostreams.testing.storages import BAD_KEYS, GOOD_KEYS


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_key_is_split(key: str) -> None:
    assert "/".join(check_key(key)) == key


@pytest.mark.parametrize("key", BAD_KEYS)
def test_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        check_key(key)
    assert caught.value.status == 400


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        segments = check_key(text)
    except InvalidKey:
        return
    assert "/".join(segments) == text
    assert not {"", ".", ".."} & set(segments)
    assert not any(ord(c) < 32 or c in "\\\x7f" for c in text)
    # Every beginning of a key is a prefix, up to the half of ".." or of a name.
    check_prefix(text)


@pytest.mark.parametrize(
    ("prefix", "want"),
    [
        ("", ((), "")),
        ("a", ((), "a")),
        ("..", ((), "..")),
        ("a/", (("a",), "")),
        ("a/b/.", (("a", "b"), ".")),
    ],
)
def test_prefix_is_split(prefix: str, want: tuple[tuple[str, ...], str]) -> None:
    assert check_prefix(prefix) == want


@pytest.mark.parametrize(
    "prefix", ["/", "//", "../", "a//", "a/../b", "\\", "x" * 256, "a\0", "\ud800"]
)
def test_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        check_prefix(prefix)


def test_key_of_another_type_is_a_type_error() -> None:
    for wrong in (b"a", None, 1):
        with pytest.raises(TypeError):
            check_key(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            check_prefix(wrong)  # type: ignore[arg-type]


def test_limits_are_exact() -> None:
    check_key("x" * 255)
    check_key("/".join(["x" * 127] * 8))
    with pytest.raises(InvalidKey, match="has 1025 bytes, limit 1024"):
        check_key("/".join(["x" * 127] * 8) + "/x")
    with pytest.raises(InvalidKey, match="has 256 bytes, limit 255"):
        check_key("x" * 256)
    check_attributes("x" * 255, {"a": "x" * 2047})
    with pytest.raises(ValueError, match="2049 bytes, limit 2048"):
        check_attributes(None, {"a": "x" * 2048})
    with pytest.raises(ValueError, match="255 printable"):
        check_attributes("x" * 256, None)


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "ü", "x" * 65, "aiostreams"])
def test_name_of_metadata_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the metadata name"):
        check_attributes(None, {name: "x"})


def test_description_cannot_change() -> None:
    given = {"a": "b"}
    stored = StoredObject("k", 1, metadata=given)
    given["a"] = "c"
    assert stored.metadata == {"a": "b"}
    with pytest.raises(TypeError):
        stored.metadata["a"] = "d"  # type: ignore[index]
    with pytest.raises(AttributeError):
        stored.size = 2  # type: ignore[misc]
    assert stored == StoredObject("k", 1, metadata={"a": "b"})


class Tiny(Storage):
    """All that is needed."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, StoredObject]] = {}

    async def create(
        self,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stream:
        check_key(key)
        attributes = check_attributes(content_type, metadata)

        def commit(data: bytes) -> None:
            if key in self.objects and not overwrite:
                raise ObjectExists(key)
            stored = StoredObject(key, len(data), content_type, metadata=attributes)
            self.objects[key] = (data, stored)

        return Upload(commit)

    async def open(self, key: str) -> Stream:
        stored = await self.stat(key)
        return Download(self.objects[key][0], stored)

    async def stat(self, key: str) -> StoredObject:
        check_key(key)
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key][1]

    async def delete(self, key: str) -> None:
        check_key(key)
        self.objects.pop(key, None)

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        check_prefix(prefix)
        for key, (_, stored) in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield stored


class Upload(Stream):
    def __init__(self, commit: Any) -> None:
        super().__init__()
        self.commit = commit
        self.data = bytearray()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    async def close(self) -> None:
        self.commit(bytes(self.data))

    async def abort(self) -> None:
        self.data.clear()


class Download(ByteStream):
    def __init__(self, data: bytes, stored: StoredObject) -> None:
        super().__init__(data, content_type=stored.content_type)
        self.etag = stored.etag
        self.last_modified = stored.modified


async def test_a_storage_of_forty_lines_keeps_all_promises() -> None:
    await check_storage(Tiny)


async def test_storage_has_no_urls_and_closes_by_default() -> None:
    async with Tiny() as tiny:
        with pytest.raises(NotImplementedError, match="Tiny has no URLs"):
            await tiny.presign("k")
    await tiny.close()
    assert repr(tiny) == "<Tiny>"
