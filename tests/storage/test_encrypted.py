"""Encrypted objects: the format, what was changed in it, ranges, and master keys."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import (
    DiskStorage,
    EncryptedStorage,
    IterStream,
    KiB,
    LimitExceeded,
    MemoryStorage,
    MiB,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoredObject,
    Stream,
    StreamBusy,
    copy,
    direct_upload,
    receive,
    respond,
    setup,
)
from aiostreams.storage import encrypted
from aiostreams.testing import check_stream
from tests.docs.page import ROOT, Page
from tests.forks import forks
from tests.servers import connected, post, serving

pytest.importorskip("cryptography", reason="needs the extra encryption")

MASTER = {"2026": bytes(range(32))}
OTHER = {"2025": bytes(range(32, 64))}
HEADER = 171
CHUNK = 64 * KiB
SEALED = CHUNK + 16
# Around every border of a chunk, and of a batch of them.
SIZES = [
    0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK, 4 * CHUNK + 1, 9 * CHUNK + 7,
]  # fmt: skip


def bytes_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def page_reader() -> Callable[[bytes, dict[str, bytes]], bytes]:
    """The reader that the documentation shows, which shares no code with the package."""
    text = Page(ROOT / "docs/guides/encryption.md").files["reader.py"]
    assert "aiostreams" not in text
    assert len(text.split("if __name__")[0].splitlines()) <= 36
    names: dict[str, Any] = {"__name__": "reader"}
    exec(text, names)
    decrypt: Callable[[bytes, dict[str, bytes]], bytes] = names["decrypt"]
    return decrypt


class Shelf:
    """An encrypted storage, and the one in memory that it encrypts for."""

    def __init__(self, keys: dict[str, bytes] | None = None) -> None:
        self.inner = MemoryStorage()
        self.storage = EncryptedStorage(self.inner, keys or MASTER)

    async def sealed(self, key: str = "k") -> bytes:
        async with await self.inner.open(key) as stream:
            return await stream.read()

    async def change(self, data: bytes, key: str = "k", **attributes: Any) -> None:
        """Put other bytes into the store, or other attributes."""
        found = await self.inner.stat(key)
        attributes = {
            "content_type": found.content_type,
            "metadata": found.metadata,
            **attributes,
        }
        await self.inner.put(key, data, overwrite=True, **attributes)

    async def read(self, key: str = "k") -> bytes:
        async with await self.storage.open(key) as stream:
            return await stream.read()

    async def refuses(self, data: bytes, match: str = "was changed|is cut") -> None:
        await self.change(data)
        with pytest.raises(StorageError, match=match) as caught:
            await self.read()
        assert caught.value.status == 500


# -- the format --------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_objects_can_be_read_by_the_documentation_alone(size: int) -> None:
    shelf, decrypt, data = Shelf(), page_reader(), bytes_of(size)
    await shelf.storage.put("put", data)
    async with await shelf.storage.create("written") as sink:
        for start in range(0, size, 50_000):
            await sink.write(data[start : start + 50_000])
    for key in ("put", "written"):
        sealed = await shelf.sealed(key)
        assert len(sealed) == size + HEADER + 16 * max(1, -(-size // CHUNK))
        assert decrypt(sealed, MASTER) == data
        assert await shelf.read(key) == data
        [listed] = [o async for o in shelf.storage.list(key)]
        assert listed.size == (await shelf.storage.stat(key)).size == size


# Made once; they must be readable for ever. The random bytes are 0, 1, 2 and so on.
VECTORS = [
    (
        b"",
        (
            "61696f7365616c01323032360000000000000000000000000000000000000000"
            "0000000000000000000102030405060708090a0b4703d418c1e0c41c85489d80"
            "bde4766293c79527e46e496b207eff9e01741ead0111acffabc4144457374fa4"
            "503740300f00765496a5f80ff7b8e26747d962eab2ca3a7e267353ef98a8d101"
            "76d2e7e5d4ee4dbf1df34843dfdea39ea02d5b1deb252fecaf6df32f8cc6574b"
            "cf9fb8d9f31a14b3d791b5a0fa5837f2c478d27d0f5a6820b8fbda"
        ),
    ),
    (
        b"hello",
        (
            "61696f7365616c01323032360000000000000000000000000000000000000000"
            "0000000000000000000102030405060708090a0b4703d418c1e0c41c85489d80"
            "bde4766293c79527e46e496b207eff9e01741ead0111acffabc4144457374fa4"
            "503740300f00765496a5f80ff7b8e26747d962eab2ca3a7e267353ef98a8d101"
            "76d2e7e5d4ee4dbf1df34843dfdea39ea02d5b1deb252fecaf6df32f8cc6574b"
            "cf9fb8d9f31a14b3d791b51d13d932e842b97bf50adf74731121db8446688029"
        ),
    ),
]
LONG_VECTOR = "0d6d5da30b7f821f5cca43f002b7ddd4331be0a3e3e23005f7f4e23edf67bde1"


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: bytes(range(size)))


@pytest.mark.parametrize(("data", "sealed"), VECTORS)
@pytest.mark.usefixtures("no_chance")
async def test_vector(data: bytes, sealed: str) -> None:
    shelf = Shelf()
    attributes: dict[str, Any] = {
        "content_type": "text/plain",
        "metadata": {"b": "", "a": "ä"},
    }
    await shelf.storage.put("k", data, **attributes)
    assert (await shelf.sealed()).hex() == sealed
    await shelf.inner.put("old", bytes.fromhex(sealed), **attributes)
    assert await shelf.read("old") == data
    assert (await shelf.storage.stat("old")).metadata == attributes["metadata"]


@pytest.mark.usefixtures("no_chance")
async def test_vector_of_several_chunks() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", bytes_of(2 * CHUNK + 1))
    assert hashlib.sha256(await shelf.sealed()).hexdigest() == LONG_VECTOR


async def test_two_objects_of_the_same_bytes_share_none() -> None:
    shelf = Shelf()
    for key in ("a", "b"):
        await shelf.storage.put(key, b"the same")
    one, other = await shelf.sealed("a"), await shelf.sealed("b")
    assert one[:40] == other[:40]  # magic, version, and the id of the master key
    assert one[40:52] != other[40:52]
    assert one[HEADER:] != other[HEADER:]
    assert b"the same" not in one


@pytest.mark.parametrize("piece", [1, 7, CHUNK, CHUNK + 1, 5 * CHUNK])
async def test_bytes_are_the_same_however_they_are_cut(piece: int) -> None:
    shelf = Shelf()
    data = bytes_of(3000 if piece < 10 else 7 * CHUNK + 3)
    async with await shelf.storage.create("k") as sink:
        for start in range(0, len(data), piece):
            await sink.write(memoryview(data)[start : start + piece])
        assert sink.position == len(data)
    assert page_reader()(await shelf.sealed(), MASTER) == data


async def test_a_view_with_gaps_is_written() -> None:
    shelf = Shelf()
    async with await shelf.storage.create("k") as sink:
        await sink.write(memoryview(b"a-b-c-")[::2])
    assert await shelf.read() == b"abc"


# -- changed objects ---------------------------------------------------------------


async def test_any_flipped_bit_is_noticed() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", b"hello", content_type="text/plain")
    sealed = await shelf.sealed()
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        await shelf.change(bytes(changed))
        for call in (shelf.storage.open, shelf.storage.stat):
            with pytest.raises(StorageError):
                await call("k")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 5 * CHUNK + 9]), st.data())
async def test_a_flipped_bit_gives_no_byte_that_is_wrong(
    size: int, draw: st.DataObject
) -> None:
    shelf, data = Shelf(), bytes_of(size)
    await shelf.storage.put("k", data)
    changed = bytearray(await shelf.sealed())
    at = draw.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= draw.draw(st.integers(1, 255))
    await shelf.change(bytes(changed))
    got = b""
    with pytest.raises(StorageError) as caught:
        async with await shelf.storage.open("k") as stream:
            while piece := await stream.readany():
                got += piece
    # What came before the chunk is given first, all of it.
    chunk = max(0, at - HEADER) // SEALED
    if at >= HEADER:
        assert f"chunk {chunk} does not fit" in str(caught.value)
    last = (len(changed) - HEADER - 1) // SEALED
    assert got == (data[: chunk * CHUNK] if chunk < last else b"")


@pytest.mark.parametrize("chunk", range(7))
async def test_the_chunk_that_was_changed_is_named(chunk: int) -> None:
    """Wherever it is in what is read at once; what comes before it is given."""
    shelf, data = Shelf(), bytes_of(7 * CHUNK + 1)
    await shelf.storage.put("k", data)
    changed = bytearray(await shelf.sealed())
    changed[HEADER + chunk * SEALED] ^= 1
    await shelf.change(bytes(changed))
    got = b""
    with pytest.raises(StorageError, match=f"chunk {chunk} does not fit"):
        async with await shelf.storage.open("k") as stream:
            while piece := await stream.readany():
                got += piece
    assert got == data[: chunk * CHUNK]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([0, 1, CHUNK, CHUNK + 1, 3 * CHUNK]),
    st.one_of(
        st.integers(0, 3 * SEALED + HEADER),
        st.sampled_from(
            [HEADER + n * SEALED + d for n in range(3) for d in range(-17, 18)]
        ),
    ),
)
async def test_an_object_that_was_cut_cannot_be_opened(size: int, length: int) -> None:
    shelf = Shelf()
    await shelf.storage.put("k", bytes_of(size))
    sealed = await shelf.sealed()
    if length >= len(sealed):
        return
    await shelf.refuses(sealed[:length])
    with pytest.raises(StorageError):
        await shelf.storage.stat("k")
    # It is listed, so that it can be deleted.
    [listed] = [o async for o in shelf.storage.list()]
    assert 0 <= listed.size <= size


async def test_chunks_that_were_moved_are_noticed() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", bytes(4 * CHUNK))
    await shelf.storage.put("other", bytes(4 * CHUNK))
    sealed, other = await shelf.sealed(), await shelf.sealed("other")

    def chunks(of: bytes) -> list[bytes]:
        return [of[at : at + SEALED] for at in range(HEADER, len(of), SEALED)]

    header, (a, b, c, d) = sealed[:HEADER], chunks(sealed)
    foreign = chunks(other)
    for wrong in (
        [b, a, c, d],
        [a, b, d, c],
        [a, b, c],
        [a, b, d],
        [a, b, c, d, d],
        [a, b, c, d, foreign[3]],
        [a, foreign[1], c, d],
        [a, b, c, foreign[3]],
        [a, a, c, d],
        [d],
        [],
    ):
        await shelf.refuses(header + b"".join(wrong))
    await shelf.refuses(other[:HEADER] + b"".join([a, b, c, d]))
    await shelf.refuses(sealed + b"x")
    await shelf.refuses(b"plain text, stored by somebody else" * 10, "is not encrypted")
    await shelf.change(sealed)
    assert await shelf.read() == bytes(4 * CHUNK)


async def test_attributes_that_were_changed_are_noticed() -> None:
    shelf = Shelf()
    stat, kind = shelf.storage.stat, "image/png"
    await shelf.storage.put("k", b"x", content_type=kind, metadata={"owner": "ann"})
    sealed = await shelf.sealed()
    for words in ({"owner": "bob"}, {}, {"owner": "ann", "more": ""}, {"ownera": "nn"}):
        await shelf.change(sealed, metadata=words)
        with pytest.raises(StorageError, match="the metadata of 'k' were changed"):
            await stat("k")
        await shelf.change(sealed, metadata={"owner": "ann"})
    assert (await stat("k")).metadata == {"owner": "ann"}
    await shelf.change(sealed, content_type="text/html")
    for call in (stat, shelf.storage.open):
        with pytest.raises(StorageError, match="the content type of 'k' was changed"):
            await call("k")
    [listed] = [o async for o in shelf.storage.list()]
    assert (listed.content_type, listed.metadata) == (None, {})
    # As on a file system that keeps none.
    await shelf.change(sealed, content_type=None)
    assert (await stat("k")).content_type is None
    async with await shelf.storage.open("k") as stream:
        assert stream.content_type is None
    # As by a store that makes one up.
    await shelf.storage.put("bare", b"x")
    await shelf.change(await shelf.sealed("bare"), "bare", content_type="binary/x")
    assert (await stat("bare")).content_type is None


async def test_an_object_that_is_replaced_while_it_is_described() -> None:
    """The description is of one version, never of two."""
    shelf = Shelf()
    stat = shelf.inner.stat
    turns = 3

    async def replacing(key: str) -> StoredObject:
        nonlocal turns
        found = await stat(key)
        if turns:
            turns -= 1
            await shelf.storage.put(
                "k", bytes(turns), metadata={"n": str(turns)}, overwrite=True
            )
        return found

    await shelf.storage.put("k", b"first")
    shelf.inner.stat = replacing  # type: ignore[method-assign]
    found = await shelf.storage.stat("k")
    assert (found.size, found.metadata) == (0, {"n": "0"})
    turns = 1000
    with pytest.raises(StorageError, match="replaced all the time"):
        await shelf.storage.stat("k")


# -- ranges ------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SIZES),
    st.one_of(
        st.integers(0, 10 * CHUNK),
        st.sampled_from(
            [n * CHUNK + d for n in range(4) for d in (-1, 0, 1) if n or d >= 0]
        ),
    ),
    st.one_of(
        st.none(), st.integers(0, 10 * CHUNK), st.sampled_from([0, 1, CHUNK, CHUNK + 1])
    ),
)
async def test_any_range(size: int, offset: int, length: int | None) -> None:
    shelf, data = Shelf(), bytes_of(size)
    await shelf.storage.put("k", data)
    want = data[offset:] if length is None else data[offset : offset + length]
    async with (
        await shelf.storage.open("k") as stream,
        await stream.slice(offset, length) as part,
    ):
        assert part.size == len(want)
        assert await part.read() == want


class Recorder(MemoryStorage):
    """Says which bytes were read."""

    def __init__(self) -> None:
        super().__init__()
        self.slices: list[tuple[int, int | None]] = []

    async def open(self, key: str) -> Stream:
        return Recording(await super().open(key), self.slices)


class Recording(Stream):
    def __init__(self, source: Stream, slices: list[tuple[int, int | None]]) -> None:
        super().__init__(size=source.size, content_type=source.content_type)
        self.source = source
        self.slices = slices

    async def readany(self) -> bytes:
        raise AssertionError("all of it is read")

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        part = await self.source.slice(offset, length)
        if (offset, length) == (0, None) and (self.size or 0) > SEALED + HEADER:
            return Recording(part, self.slices)
        self.slices.append((offset, length))
        return part


async def test_a_range_reads_and_decrypts_only_what_it_touches() -> None:
    inner = Recorder()
    storage = EncryptedStorage(inner, MASTER)
    data = bytes_of(100 * CHUNK)
    await storage.put("k", data)
    async with await storage.open("k") as stream:
        # The header, and the last chunk.
        assert inner.slices == [(0, HEADER), (HEADER + 99 * SEALED, None)]
        inner.slices.clear()
        async with await stream.slice(50 * CHUNK - 1, 2) as part:
            assert await part.read() == data[50 * CHUNK - 1 : 50 * CHUNK + 1]
        assert inner.slices == [(HEADER + 49 * SEALED, 2 * SEALED)]
        inner.slices.clear()
        # What is known already is not read again.
        async with await stream.slice(100 * CHUNK - 5) as part:
            assert await part.read() == data[-5:]
        async with await stream.slice(7, 0) as part:
            assert await part.read() == b""
        assert inner.slices == []


async def test_a_small_object_is_read_once() -> None:
    inner = Recorder()
    storage = EncryptedStorage(inner, MASTER)
    await storage.put("k", b"hello")
    async with await storage.open("k") as stream:
        assert await stream.read() == b"hello"
    assert inner.slices == [(0, None)]


@pytest.mark.parametrize("size", [0, 10, CHUNK + 1, 6 * CHUNK])
async def test_laws(size: int) -> None:
    shelf = Shelf()
    await shelf.storage.put("k", bytes_of(size))

    async def part() -> Stream:
        stream = await shelf.storage.open("k")
        async with stream:
            return await stream.slice(size // 3, size // 2)

    await check_stream(lambda: shelf.storage.open("k"))
    await check_stream(part)


async def test_a_store_that_fails_midway_has_given_its_chunks_first() -> None:
    shelf = Shelf()
    data = bytes_of(6 * CHUNK)
    await shelf.storage.put("k", data)

    class Failing(MemoryStorage):
        async def open(self, key: str) -> Stream:
            return Breaking(await shelf.inner.open(key))

    class Breaking(Stream):
        def __init__(self, source: Stream) -> None:
            super().__init__(size=source.size)
            self.source = source

        async def readany(self) -> bytes:
            if self.received >= 2 * SEALED + 100:
                raise StorageError("the disk is gone")
            return await self.source.read(30_000)

        async def slice(self, offset: int, length: int | None = None) -> Stream:
            part = Breaking(await self.source.slice(offset, length))
            if length is not None and length > SEALED:
                return part
            return part.source if length else part

    storage = EncryptedStorage(Failing(), MASTER)
    got = b""
    with pytest.raises(StorageError, match="the disk is gone"):
        async with await storage.open("k") as stream:
            while piece := await stream.read(1000):
                got += piece
    assert got == data[: 2 * CHUNK]


async def test_a_store_that_ends_early_and_says_no_size_is_noticed() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", bytes_of(6 * CHUNK))

    class Short(MemoryStorage):
        async def open(self, key: str) -> Stream:
            return Sizeless(await shelf.inner.open(key))

    class Sizeless(Stream):
        def __init__(self, source: Stream) -> None:
            super().__init__(size=source.size)
            self.source = source

        async def readany(self) -> bytes:
            return await self.source.readany()

        async def slice(self, offset: int, length: int | None = None) -> Stream:
            part = await self.source.slice(offset, length)
            if length is None or length <= SEALED:
                return part
            return IterStream([await part.read(3 * SEALED + 5)])

    got = b""
    with pytest.raises(StorageError, match="'k' ends before its last chunk"):
        async with await EncryptedStorage(Short(), MASTER).open("k") as stream:
            while piece := await stream.readany():
                got += piece
    assert got == bytes_of(3 * CHUNK)


# -- writing -----------------------------------------------------------------------


async def test_a_write_that_was_cancelled_is_never_stored() -> None:
    class Stuck(MemoryStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            return Waiting(await super().create(key, **kwargs))

    class Waiting(Stream):
        def __init__(self, sink: Stream) -> None:
            super().__init__()
            self.sink = sink

        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await self.sink.write(data)
            await gate.wait()

        async def close(self) -> None:
            await self.sink.close()

        async def abort(self) -> None:
            await self.sink.abort()

    gate = asyncio.Event()
    storage = EncryptedStorage(Stuck(), MASTER)
    for again in (False, True):
        sink = await storage.create("k")
        writing = asyncio.create_task(sink.write(bytes(5 * CHUNK)))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        if again:
            with pytest.raises(StorageError, match="an earlier write"):
                await sink.write(b"x")
        with pytest.raises(StorageError, match="has failed: discarded"):
            await sink.close()
        with pytest.raises(ObjectNotFound):
            await storage.stat("k")
    # Closed by another task, in the middle of it.
    sink = await storage.create("k")
    writing = asyncio.create_task(sink.write(bytes(5 * CHUNK)))
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await sink.close()
    with pytest.raises(ValueError, match="closed"):
        await writing
    with pytest.raises(ObjectNotFound):
        await storage.stat("k")


async def test_opening_a_writer_opens_the_file(tmp_path: Path) -> None:
    storage = EncryptedStorage(DiskStorage(tmp_path), MASTER)
    sink = await storage.create("k")
    assert await sink.open() is sink
    assert len(list(tmp_path.iterdir())) == 1
    await sink.abort()
    assert list(tmp_path.iterdir()) == []


async def test_a_last_chunk_that_cannot_be_written_stores_nothing() -> None:
    class Full(Stream):
        aborted = False

        async def write(self, data: bytes | bytearray | memoryview) -> None:
            raise StorageError("the disk is full")

        async def close(self) -> None:
            raise AssertionError("it is stored")

        async def abort(self) -> None:
            Full.aborted = True

    class Filling(MemoryStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            return Full()

    sink = await EncryptedStorage(Filling(), MASTER).create("k")
    await sink.write(b"x")
    with pytest.raises(StorageError, match="full"):
        await sink.close()
    assert Full.aborted


async def test_other_tasks_have_their_turn_while_much_is_encrypted() -> None:
    shelf = Shelf()
    turns = 0
    over = False

    async def count() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await shelf.storage.put("put", bytes(16 * MiB))
    put, turns = turns, 0
    async with await shelf.storage.create("written") as sink:
        await sink.write(bytes(16 * MiB))
    over = True
    await counting
    # 1 MiB at once, some tenths of a millisecond.
    assert put >= 15
    assert turns >= 15


async def test_the_counter_never_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted, "_MAX_CHUNKS", 3)
    shelf = Shelf()
    await shelf.storage.put("full", b"")
    async with await shelf.storage.create("k") as sink:
        await sink.write(bytes(3 * CHUNK))
    with pytest.raises(LimitExceeded, match="'more' has at least 196609 bytes"):
        async with await shelf.storage.create("more") as sink:
            await sink.write(bytes(3 * CHUNK + 1))
    assert [o.key async for o in shelf.storage.list("more")] == []


async def test_the_size_that_is_known_is_passed_on() -> None:
    sizes: list[int | None] = []

    class Noting(MemoryStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            sizes.append(kwargs["size"])
            return await super().create(key, **kwargs)

    inner = Noting()
    storage = EncryptedStorage(inner, MASTER)
    for size in SIZES:
        async with await storage.create(f"{size}", size=size) as sink:
            await sink.write(bytes(size))
        assert (await inner.stat(f"{size}")).size == sizes.pop()
        staged = await storage.stage(f"s{size}", size=size)
        async with await staged.create() as sink:
            await sink.write(bytes(size))
        await staged.publish()
        assert (await inner.stat(f"s{size}")).size == sizes.pop()
    await (await storage.create("unknown")).abort()
    assert sizes == [None]


async def test_a_subclass_sees_all_bytes() -> None:
    seen: list[str] = []

    class Noting(EncryptedStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            seen.append(key)
            return await super().create(key, **kwargs)

    storage = Noting(MemoryStorage(), MASTER)
    await storage.put("put", b"x")
    staged = await storage.stage("staged")
    async with await staged.create() as sink:
        await sink.write(b"y")
    await staged.publish()
    assert seen[0] == "put"
    assert len(seen) == 2
    async with await storage.open("staged") as stream:
        assert await stream.read() == b"y"


# -- master keys -------------------------------------------------------------------


async def test_wrong_keys() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", b"secret")
    with pytest.raises(StorageError, match="the master key '2026', which is not given"):
        await EncryptedStorage(shelf.inner, OTHER).open("k")
    with pytest.raises(StorageError, match="'2026' is not the one it was made with"):
        await EncryptedStorage(shelf.inner, {"2026": bytes(32)}).open("k")


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({}, "there is no key"),
        ({"": bytes(32)}, "the key id '' is not 1 to 32"),
        ({"ä": bytes(32)}, "printable ASCII"),
        ({"a\0": bytes(32)}, "printable ASCII"),
        ({"a" * 33: bytes(32)}, "is not 1 to 32"),
        ({"a": bytes(31)}, "the key 'a' has 31 bytes, expected 32"),
        ({"b": bytes(32), "a": bytes(16)}, "the key 'a' has 16 bytes, expected 32"),
    ],
)
def test_keys_that_are_refused(keys: dict[str, bytes], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        EncryptedStorage(MemoryStorage(), keys)


def test_no_key_is_shown() -> None:
    storage = EncryptedStorage(MemoryStorage(), {"a": b"k" * 32})
    assert repr(storage) == "<EncryptedStorage <MemoryStorage 0 objects>>"


async def test_master_keys_are_rotated() -> None:
    shelf = Shelf(OTHER)
    data = bytes_of(3 * CHUNK + 5)
    attributes: dict[str, Any] = {
        "content_type": "text/plain", "metadata": {"a": "b"},
    }  # fmt: skip
    await shelf.storage.put("k", data, **attributes)
    chunks = (await shelf.sealed())[HEADER:]
    both = EncryptedStorage(shelf.inner, MASTER | OTHER)
    new = EncryptedStorage(shelf.inner, MASTER)
    async with await both.open("k") as stream:
        assert await stream.read() == data
    await both.put("later", data)
    async with await new.open("later") as stream:
        assert await stream.read() == data
    assert await both.rewrap("k")
    assert not await both.rewrap("k")
    assert not await both.rewrap("later")
    assert (await shelf.sealed())[HEADER:] == chunks
    found = await new.stat("k")
    assert (found.content_type, found.metadata) == ("text/plain", {"a": "b"})
    async with await new.open("k") as stream:
        assert await stream.read() == data
    with pytest.raises(StorageError, match="not given"):
        await shelf.storage.open("k")
    with pytest.raises(ObjectNotFound):
        await both.rewrap("missing")
    await shelf.inner.put("plain", b"x")
    with pytest.raises(StorageError, match="is cut, or not encrypted"):
        await both.rewrap("plain")


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_is_replaced_meanwhile_is_not_rewrapped(deleted: bool) -> None:
    class Changing(MemoryStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            sink = await super().create(key, **kwargs)
            if armed:
                armed.clear()
                if deleted:
                    await self.delete(key)
                else:
                    await EncryptedStorage(self, OTHER).put(
                        key, b"newer", overwrite=True
                    )
            return sink

    armed: list[bool] = []
    inner = Changing()
    await EncryptedStorage(inner, OTHER).put("k", b"old")
    armed.append(True)
    both = EncryptedStorage(inner, MASTER | OTHER)
    with pytest.raises(ObjectNotFound if deleted else StorageError):
        await both.rewrap("k")
    if deleted:
        assert [o async for o in inner.list()] == []
    else:
        async with await both.open("k") as stream:
            assert await stream.read() == b"newer"


# -- with the rest -----------------------------------------------------------------


async def test_copies_of_the_store_can_be_decrypted(tmp_path: Path) -> None:
    """A copy is a link of the file: nothing is decrypted and encrypted again."""
    storage = EncryptedStorage(DiskStorage(tmp_path), MASTER)
    data = bytes_of(2 * CHUNK)
    await storage.put("k", data)
    await storage.copy("k", "copied")
    await storage.move("k", "moved")
    assert (tmp_path / "copied").samefile(tmp_path / "moved")
    for key in ("copied", "moved"):
        async with await storage.open(key) as stream:
            assert await stream.read() == data
    sealed = (tmp_path / "copied").read_bytes()
    assert page_reader()(sealed, MASTER) == data


async def test_there_are_no_urls() -> None:
    with pytest.raises(NotImplementedError):
        await direct_upload(Shelf().storage, "k", size=5)


async def test_what_is_hidden_is_encrypted_too() -> None:
    shelf = Shelf()
    hidden = shelf.storage.hidden
    assert hidden is not None
    await hidden.put("k", b"growing")
    async with await shelf.inner.hidden.open("k") as stream:
        assert page_reader()(await stream.read(), MASTER) == b"growing"

    class Bare(MemoryStorage):
        hidden = None  # type: ignore[assignment]

    assert EncryptedStorage(Bare(), MASTER).hidden is None


async def test_a_listing_that_ends_early_is_closed() -> None:
    ended: list[bool] = []

    class Listing(MemoryStorage):
        async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:  # type: ignore[override]
            try:
                async for stored in super().list(prefix):
                    yield stored
            finally:
                ended.append(True)

    storage = EncryptedStorage(Listing(), MASTER)
    await storage.put("a", b"")
    await storage.put("b", b"")
    listing = storage.list()
    await anext(listing)
    await listing.aclose()
    assert ended == [True]


@pytest.fixture
def app_of() -> Callable[[EncryptedStorage], web.Application]:
    def make(storage: EncryptedStorage) -> web.Application:
        async def upload(request: web.Request) -> web.StreamResponse:
            async with receive(request) as got:
                file = got.files["file"]
                assert file.digests["sha256"]
                return web.json_response([file.key, file.size, file.digests["sha256"]])

        async def download(request: web.Request) -> web.StreamResponse:
            return respond(await storage.open(request.match_info["key"]))

        app = web.Application()
        app.router.add_post("/", upload)
        app.router.add_get("/{key}", download)
        setup(app, storage=storage)
        return app

    return make


async def get(address: Any, key: str, *fields: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether that was complete."""
    async with connected(address) as client:
        head = "".join(f"{field}\r\n" for field in fields)
        client.writer.write(
            f"GET /{key} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n".encode()
        )
        raw = await client.reader.read()
    start, _, body = raw.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in start.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return int(start.split()[1]), body, len(body) == length


async def test_uploads_and_downloads(
    app_of: Callable[[EncryptedStorage], web.Application],
) -> None:
    shelf = Shelf()
    data = bytes_of(3 * CHUNK + 1)
    async with serving(app_of(shelf.storage)) as address:
        for body in (data, b"small"):
            async with connected(address) as client:
                length = ("Content-Length", str(len(body)))
                await client.send(post(headers=[length]) + body)
                status, _, answer = await client.response()
            assert status == 200, answer
            key, size, digest = json.loads(answer)
            assert (size, digest) == (len(body), hashlib.sha256(body).hexdigest())
            assert await get(address, key) == (200, body, True)
            assert await get(address, key, "Range: bytes=2-4") == (206, body[2:5], True)
            sealed = await shelf.sealed(key)
            assert page_reader()(sealed, MASTER) == body


async def test_changed_objects_are_500_or_a_broken_connection(
    app_of: Callable[[EncryptedStorage], web.Application],
) -> None:
    shelf = Shelf()
    data = bytes_of(9 * CHUNK)
    await shelf.storage.put("k", data)
    sealed = await shelf.sealed()

    def flipped(at: int) -> bytes:
        return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]

    async with serving(app_of(shelf.storage)) as address:
        other = EncryptedStorage(shelf.inner, OTHER)
        await other.put("lost", data)
        for wrong in (
            flipped(5),
            flipped(60),
            flipped(len(sealed) - 1),
            sealed[:-SEALED],
        ):
            await shelf.change(wrong)
            status, answer, _ = await get(address, "k")
            assert status == 500
            assert b"could not read" in answer
            for secret in (b"chunk", b"master", b"key", b"aioseal", b"2026"):
                assert secret not in answer
        status, answer, _ = await get(address, "lost")
        assert status == 500
        assert b"2025" not in answer
        await shelf.change(flipped(HEADER + 6 * SEALED))
        status, body, complete = await get(address, "k")
        assert (status, complete) == (200, False)
        assert body == data[: len(body)]
        assert len(body) <= 6 * CHUNK
        # What is whole can still be had.
        ranged = await get(address, "k", f"Range: bytes={7 * CHUNK}-")
        assert ranged == (206, data[7 * CHUNK :], True)


WORKER = """
import asyncio, random
import cryptography.hazmat.primitives.ciphers.aead
from aiostreams import DiskStorage, EncryptedStorage

def main(seed):
    asyncio.run(work(seed))

async def work(seed):
    chance = random.Random(seed)
    storage = EncryptedStorage(DiskStorage("root"), {"2026": bytes(range(32))})
    async def upload(number):
        async with await storage.create(f"{number % 7}/{number}") as sink:
            for _ in range(chance.randrange(6)):
                await sink.write(bytes(chance.randrange(200_000)))
    print("begun", flush=True)
    for turn in range(10_000):
        await asyncio.gather(*(upload(10 * turn + n) for n in range(10)))
"""


@pytest.mark.slow
async def test_a_process_that_is_killed_leaves_complete_objects(tmp_path: Path) -> None:
    chance = random.Random(1)
    with forks(WORKER, tmp_path) as workers:
        for turn in range(5):
            worker = workers.start(turn)
            assert workers.line() == "begun\n"
            await asyncio.sleep(chance.random() * 0.5)
            os.kill(worker, signal.SIGKILL)
            assert workers.ended() == -signal.SIGKILL
            storage = EncryptedStorage(DiskStorage(tmp_path / "root"), MASTER)
            await storage.sweep(older_than=-1)
            assert list(tmp_path.rglob(".aiostreams-*")) == []
            async for stored in storage.list():
                async with await storage.open(stored.key) as stream:
                    assert stream.size == stored.size
                    while piece := await stream.readany():
                        assert not any(piece)
                await storage.delete(stored.key)


async def test_a_taken_key_is_refused_as_ever() -> None:
    shelf = Shelf()
    await shelf.storage.put("k", b"first")
    with pytest.raises(ObjectExists):
        await shelf.storage.put("k", b"second")
    source = await shelf.storage.open("k")
    async with await shelf.storage.create("k2") as sink, source:
        await copy(source, sink)
    assert await shelf.read("k2") == b"first"
