"""The promises of a ``Storage``, one function each, so that a failure names it.

Each promise takes ``make``, which gives a storage (or a coroutine that does), and
raises ``AssertionError``. All of them work on keys of their own, so that ``make`` may
give the same storage, or the same bucket, again and again; they remove what they
stored. ``PROMISES`` are all of them, :func:`check_storage` holds a storage to them.

A file of its own: the promises of storages, as ``laws`` are those of streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
import types
from typing import TYPE_CHECKING, Any, TypeAlias

from aiostreams.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    StreamClosed,
    StreamError,
)
from aiostreams.limits import KiB, MiB
from aiostreams.storage.base import Storage, StoredObject
from aiostreams.testing.laws import SAMPLE, check_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    Make: TypeAlias = Callable[[], Storage | Awaitable[Storage]]

__all__ = [
    "PROMISES",
    "check_storage",
    "promise_01_what_was_written_is_stored",
    "promise_02_nothing_shows_before_close",
    "promise_03_abort_leaves_nothing",
    "promise_04_keys_are_kept_or_refused",
    "promise_05_nothing_is_overwritten_unasked",
    "promise_06_overwriting_is_atomic",
    "promise_07_objects_are_described",
    "promise_08_attributes_are_kept",
    "promise_09_streams_keep_the_laws",
    "promise_10_streams_can_seek",
    "promise_11_prefixes_select",
    "promise_12_deleted_is_gone",
    "promise_13_versions_do_not_mix",
    "promise_14_a_cancelled_create_stores_nothing",
    "promise_15_many_at_once",
    "promise_16_copies_are_objects_of_their_own",
    "promise_17_moves_lose_nothing",
    "promise_18_staged_objects_wait_for_their_keys",
]

# Beyond one part of every object store (5 MiB), and not a multiple of anything.
LARGE = 11 * MiB + 123

GOOD_KEYS = (
    "a",
    "a/b/c",
    "..a/b..",
    "with space /and tab-less",
    "ünï/文/👍",
    "%2e%2e/%2F",
    "#?&=+:*'\"<>|{}[]^`~!$(),;@",
    ".hidden",
    "-rf",
    "e\u0301-é",
    "x" * 200 + "/" + "y" * 200,
)
BAD_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../../b",
    "a/..",
    "./a",
    "a\\b",
    "..\\a",
    "a\0",
    "a\nb",
    "a\x7f",
    "a\x85",
    "\udcff",
    ".aiostreams-x",
    "a/.aiostreams-x",
    "x" * 256,
    "é" * 128,
    "/".join(["x" * 200] * 6),
)


def _promise(condition: object, message: str) -> None:
    # Not `assert`: the kit must work under python -O.
    if not condition:
        raise AssertionError(message)


async def _raises(kind: type[BaseException], call: Awaitable[Any], what: str) -> None:
    try:
        result = await call
    except kind:
        return
    _promise(False, f"{what} returned {type(result).__name__}, not {kind.__name__}")


class _Room:
    """A storage, and a prefix of its own in it."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.prefix = f"check-{secrets.token_hex(6)}/"

    def key(self, name: str) -> str:
        return self.prefix + name

    async def store(
        self, name: str, data: bytes, *, piece: int = 64 * KiB, **kwargs: Any
    ) -> str:
        key = self.key(name)
        async with await self.storage.create(key, **kwargs) as stream:
            for start in range(0, len(data), piece):
                await stream.write(data[start : start + piece])
        return key

    async def load(self, name: str) -> bytes:
        async with await self.storage.open(self.key(name)) as stream:
            return await stream.read()

    async def names(self, start: str = "") -> list[str]:
        listed = [o.key async for o in self.storage.list(self.prefix + start)]
        return sorted(key.removeprefix(self.prefix) for key in listed)

    async def is_free(self, name: str) -> bool:
        try:
            await self.storage.stat(self.key(name))
        except ObjectNotFound:
            return name not in await self.names()
        return False


@contextlib.asynccontextmanager
async def _room(make: Make) -> AsyncIterator[_Room]:
    made = make()
    storage = made if isinstance(made, Storage) else await made
    room = _Room(storage)
    try:
        yield room
    finally:
        for name in await room.names():
            await storage.delete(room.key(name))
        await storage.close()


async def promise_01_what_was_written_is_stored(make: Make) -> None:
    """Bytes come back as they were written, however they were cut."""
    async with _room(make) as room:
        for size in (0, 1, len(SAMPLE), 300 * KiB + 1):
            data = (SAMPLE * (size // len(SAMPLE) + 1))[:size]
            for piece in (7, 64 * KiB, 1 * MiB):
                if size > 1000 * piece:
                    continue
                await room.store(f"o-{size}-{piece}", data, piece=piece)
                got = await room.load(f"o-{size}-{piece}")
                _promise(got == data, f"{size} bytes in {piece}s came back otherwise")
        stream = await room.storage.create(room.key("kinds"))
        async with stream:
            buffer = bytearray(b"bytearray")
            await stream.write(bytes(buffer))
            await stream.write(b"")
            await stream.write(memoryview(b"-memoryview-")[1:-1])
        got = await room.load("kinds")
        _promise(got == b"bytearraymemoryview", "bytes-likes came back otherwise")


async def promise_02_nothing_shows_before_close(make: Make) -> None:
    """An object appears by ``close()``, at once and complete."""
    async with _room(make) as room:
        for size in (10, LARGE):
            data = bytes(size)
            stream = await room.storage.create(room.key("o"))
            for start in range(0, size, 1 * MiB):
                await stream.write(data[start : start + 1 * MiB])
            _promise(await room.is_free("o"), f"{size} bytes show before close()")
            await stream.close()
            await stream.close()
            _promise(stream.closed, "closed is not true after close()")
            found = await room.storage.stat(room.key("o"))
            _promise(found.size == size, f"stored {found.size} of {size} bytes")
            await room.storage.delete(room.key("o"))


async def promise_03_abort_leaves_nothing(make: Make) -> None:
    """``abort()`` and an exception in ``async with`` leave nothing behind."""
    async with _room(make) as room:
        for size in (0, 10, LARGE):
            data = bytes(size)
            stream = await room.storage.create(room.key("deep/o"))
            await stream.write(data)
            await stream.abort()
            await stream.abort()
            await stream.close()
            _promise(await room.is_free("deep/o"), f"abort() left {size} bytes")
            with contextlib.suppress(ZeroDivisionError):
                async with await room.storage.create(room.key("deep/o")) as stream:
                    await stream.write(data)
                    raise ZeroDivisionError
            _promise(await room.is_free("deep/o"), f"an exception left {size} bytes")
        await room.store("deep/o", b"now")
        _promise(await room.load("deep/o") == b"now", "no object after abort()")


async def promise_04_keys_are_kept_or_refused(make: Make) -> None:
    """Every key of the grammar works, every other one is an ``InvalidKey``."""
    async with _room(make) as room:
        for index, name in enumerate(GOOD_KEYS):
            # Each in a folder of its own: where one is, another cannot be below.
            await room.store(f"{index}/{name}", name.encode())
        for index, name in enumerate(GOOD_KEYS):
            got = await room.load(f"{index}/{name}")
            _promise(got == name.encode(), f"{name!r} has another object's bytes")
        told = await room.names()
        want = sorted(f"{index}/{name}" for index, name in enumerate(GOOD_KEYS))
        _promise(told == want, f"listed {set(told) ^ set(want)} otherwise")
        for key in BAD_KEYS:
            storage = room.storage
            await _raises(InvalidKey, storage.create(key), f"create({key!r})")
            await _raises(InvalidKey, storage.open(key), f"open({key!r})")
            await _raises(InvalidKey, storage.stat(key), f"stat({key!r})")
            await _raises(InvalidKey, storage.delete(key), f"delete({key!r})")
        for prefix in ("/", "../", "a/../", "..\\", "a//", "\0"):
            listing = aiter(room.storage.list(prefix))
            await _raises(InvalidKey, anext(listing), f"list({prefix!r})")


async def promise_05_nothing_is_overwritten_unasked(make: Make) -> None:
    """Without ``overwrite`` an object stays; of several at once, one wins."""
    async with _room(make) as room:
        for size in (10, LARGE):
            key = await room.store("o", b"first")
            with contextlib.suppress(ObjectExists):
                await room.store("o", bytes(size))
                _promise(False, f"{size} bytes replaced an object unasked")
            _promise(await room.load("o") == b"first", "the object has changed")
            await room.storage.delete(key)
            await _race(room, size)


async def _race(room: _Room, size: int) -> None:
    bodies = [bytes([65 + index]) * size for index in range(4)]
    results = await asyncio.gather(
        *(room.store("raced", body, piece=1 * MiB) for body in bodies),
        return_exceptions=True,
    )
    won = [b for b, r in zip(bodies, results, strict=True) if isinstance(r, str)]
    lost = [r for r in results if isinstance(r, ObjectExists)]
    _promise(
        len(won) == 1 and len(lost) == len(bodies) - 1,
        f"of {len(bodies)} creates of {size} bytes {len(won)} won: {results}",
    )
    _promise(await room.load("raced") == won[0], "the object is not the winner's")
    await room.storage.delete(room.key("raced"))


async def promise_06_overwriting_is_atomic(make: Make) -> None:
    """A reader sees the old object or the new one, never a mixture."""
    async with _room(make) as room:
        old, new = b"o" * (700 * KiB), b"n" * (700 * KiB + 1)
        key = await room.store("o", old)
        before = await room.storage.stat(key)
        writing = asyncio.create_task(room.store("o", new, overwrite=True))
        while not writing.done():
            await asyncio.sleep(0)
            try:
                got = await room.load("o")
            except StreamError as error:
                _promise(not isinstance(error, ObjectNotFound), "it was away")
            else:
                _promise(got in {old, new}, f"a reader saw {len(got)} other bytes")
        await writing
        _promise(await room.load("o") == new, "it was not replaced")
        after = await room.storage.stat(key)
        _promise(before.etag is None or before.etag != after.etag, "one etag for both")
        with contextlib.suppress(ZeroDivisionError):
            stream = await room.storage.create(key, overwrite=True)
            async with stream:
                await stream.write(bytes(LARGE))
                raise ZeroDivisionError
        _promise(await room.load("o") == new, "a discarded object replaced another")


async def promise_07_objects_are_described(make: Make) -> None:
    """``stat``, ``list`` and the stream tell the same of an object."""
    async with _room(make) as room:
        begun = time.time()
        for size in (5, LARGE):
            key = await room.store(f"o{size}", bytes(size))
            found = await room.storage.stat(key)
            _promise(isinstance(found, StoredObject), f"stat() gave {type(found)}")
            _promise((found.key, found.size) == (key, size), f"stat() gave {found}")
            modified = found.modified
            _promise(
                modified is None or begun - 60 < modified < time.time() + 60,
                f"modified is {modified}, now is {time.time()}",
            )
            etag = found.etag
            _promise(
                etag is None or (etag.isascii() and etag.isprintable() and etag),
                f"etag is {etag!r}",
            )
            _promise(etag is None or '"' not in etag, "etag has quotes")
            [listed] = [o async for o in room.storage.list(key)]
            _promise(
                (listed.key, listed.size, listed.etag) == (key, size, etag),
                f"list() gave {listed}, stat() {found}",
            )
            async with await room.storage.open(key) as stream:
                told: Any = stream
                _promise(stream.size == size, f"open() has size {stream.size}")
                _promise(told.etag == etag, f"open() has etag {told.etag!r}")
                _promise(told.last_modified == modified, "open() has another time")


async def promise_08_attributes_are_kept(make: Make) -> None:
    """The content type and the metadata come back as they were given."""
    kept = {"name": "Ünïcode 100% “x”.txt", "empty": "", "a_1": "b" * 1000}
    kind = 'text/plain; charset="utf-8"'
    async with _room(make) as room:
        for size in (5, LARGE):
            for overwrite in (False, True):
                key = await room.store(
                    "o",
                    bytes(size),
                    content_type=kind,
                    metadata=kept,
                    overwrite=overwrite,
                )
                found = await room.storage.stat(key)
                _promise(found.content_type == kind, f"type is {found.content_type!r}")
                _promise(found.metadata == kept, f"metadata are {found.metadata}")
                async with await room.storage.open(key) as stream:
                    _promise(stream.content_type == kind, "open() has another type")
            copied, moved = room.key("copied"), room.key("moved")
            await room.storage.copy(key, copied)
            await room.storage.move(key, moved)
            for other in (copied, moved):
                found = await room.storage.stat(other)
                _promise(found.content_type == kind, "a copy or a move lost the type")
                _promise(found.metadata == kept, "a copy or a move lost metadata")
                await room.storage.delete(other)
        await room.store("bare", b"")
        found = await room.storage.stat(room.key("bare"))
        _promise(not found.metadata, f"metadata from nowhere: {found.metadata}")
        bad: list[dict[str, Any]] = [
            {"content_type": "text/plain\r\nX: y"},
            {"content_type": ""},
            {"metadata": {"Name": "x"}},
            {"metadata": {"a-b": "x"}},
            {"metadata": {"a": "x\ny"}},
            {"metadata": {"a": "x" * 3000}},
        ]
        for given in bad:
            call = room.storage.create(room.key("bad"), **given)
            await _raises(ValueError, call, f"create({str(given)[:60]})")


async def promise_09_streams_keep_the_laws(make: Make) -> None:
    """What ``open`` gives is a Stream by all twelve laws."""
    async with _room(make) as room:
        for name, data in (("sample", SAMPLE), ("long", SAMPLE * 400), ("none", b"")):
            key = await room.store(name, data)
            await check_stream(functools.partial(room.storage.open, key))
        writer = await room.storage.create(room.key("w"))
        await _raises(NotImplementedError, writer.readany(), "readany() of a writer")
        await writer.write(b"x")
        await writer.abort()
        await _raises(StreamClosed, writer.write(b"x"), "write() after abort()")


async def promise_10_streams_can_seek(make: Make) -> None:
    """``slice`` gives any part, also of a stream that is being read or closed."""
    data = bytes(range(256)) * 2000
    async with _room(make) as room:
        key = await room.store("o", data)
        stream = await room.storage.open(key)
        _promise(stream.seekable, "the stream says it cannot seek")
        await stream.read(1000)
        for offset, length in (
            (0, None),
            (0, 1),
            (1, 3),
            (300_000, 300_000),
            (len(data) - 1, None),
            (len(data), None),
            (len(data) + 5, 5),
            (7, 0),
        ):
            end = None if length is None else offset + length
            async with await stream.slice(offset, length) as part:
                want = data[offset:end]
                _promise(part.size == len(want), f"slice({offset}, {length}).size")
                got = await part.read()
                _promise(got == want, f"slice({offset}, {length}) gave other bytes")
        outer = await stream.slice(100, 100)
        async with outer, await outer.slice(10, 500) as inner:
            _promise(await inner.read() == data[110:200], "a slice of a slice")
        part = await stream.slice(5, 5)
        await stream.close()
        _promise(await part.read() == data[5:10], "the slice did not outlive it")
        await part.close()
        for offset, length in ((-1, None), (0, -1)):
            async with await room.storage.open(key) as stream:
                await _raises(
                    ValueError, stream.slice(offset, length), f"slice({offset}, ...)"
                )


async def promise_11_prefixes_select(make: Make) -> None:
    """``list`` gives the keys that begin with the prefix, and no others."""
    names = ["a", "ab/x", "ab/y/z", "abc", "b/ab", "ä/x"]
    async with _room(make) as room:
        _promise(await room.names() == [], "a listing from nowhere")
        for name in names:
            await room.store(name, name.encode())
        for start in ("", "a", "ab", "ab/", "ab/y", "ab/y/", "ab/y/z", "b", "ä/", "no"):
            want = sorted(name for name in names if name.startswith(start))
            got = await room.names(start)
            _promise(got == want, f"list({start!r}) gave {got}, not {want}")
        many = [f"many/{index:03}" for index in range(130)]
        for name in many:
            await room.store(name, b"")
        _promise(await room.names("many/") == many, "some of many are missing")
        listing = room.storage.list(room.prefix)
        await anext(aiter(listing))
        # Any async iterator is a listing; one that can be closed is over then.
        if (close := getattr(listing, "aclose", None)) is not None:
            await close()
            _promise(
                await anext(aiter(listing), None) is None, "a closed listing goes on"
            )


async def promise_12_deleted_is_gone(make: Make) -> None:
    """``delete`` removes one object, and none is needed for it."""
    async with _room(make) as room:
        storage = room.storage
        for name in ("d/e/f", "d/e/g"):
            await room.store(name, b"x")
        await storage.delete(room.key("d/e/f"))
        await storage.delete(room.key("d/e/f"))
        await storage.delete(room.key("d/e"))
        await storage.delete(room.key("never/was"))
        _promise(await room.names() == ["d/e/g"], "another one was deleted")
        for name in ("d/e/f", "d/e", "d", "never/was", "d/e/g/h"):
            key = room.key(name)
            await _raises(ObjectNotFound, storage.open(key), f"open({name!r})")
            await _raises(ObjectNotFound, storage.stat(key), f"stat({name!r})")
        await room.store("d/e/f", b"again")
        _promise(await room.load("d/e/f") == b"again", "a deleted key is not free")


async def promise_13_versions_do_not_mix(make: Make) -> None:
    """A stream that was open when its object changed gives no other bytes."""
    old, new = b"o" * (3 * MiB), b"n" * (3 * MiB)
    async with _room(make) as room:
        for replaced in (True, False):
            key = await room.store("o", old, overwrite=True)
            stream = await room.storage.open(key)
            got = await stream.read(10)
            if replaced:
                await room.store("o", new, overwrite=True)
            else:
                await room.storage.delete(key)
            with contextlib.suppress(StreamError):
                got += await stream.read()
            with contextlib.suppress(StreamError):
                async with await stream.slice(100, 10) as part:
                    got += await part.read()
            _promise(set(got) == {ord("o")}, "bytes of another version")
            await stream.close()


async def promise_14_a_cancelled_create_stores_nothing(make: Make) -> None:
    """Cancelled at any ``await``, an upload leaves no object, and can be repeated."""
    async with _room(make) as room:
        for size in (10, LARGE):
            k = 0
            while True:
                k += 1
                steps = _Steps(k)

                async def upload(size: int = size) -> None:
                    await room.store("deep/o", bytes(size), piece=3 * MiB)

                task = asyncio.create_task(_run(steps, upload()))
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                if not task.cancelled():
                    break
                _promise(
                    await room.is_free("deep/o"),
                    f"cancelled at await {k}, {size} bytes were stored",
                )
            await room.storage.delete(room.key("deep/o"))


async def _run(steps: _Steps, coroutine: Coroutine[Any, Any, None]) -> None:
    await steps.run(coroutine)


class _Steps:
    """Runs a coroutine, and cancels its task at the k-th time it waits."""

    def __init__(self, k: int) -> None:
        self.k = k

    @types.coroutine
    def run(self, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        steps = coroutine.__await__()
        step: Callable[[], Any] = functools.partial(next, steps)
        while True:
            try:
                signal = step()
            except StopIteration:
                return
            self.k -= 1
            if not self.k:
                task = asyncio.current_task()
                assert task is not None
                task.get_loop().call_soon(task.cancel)
            try:
                sent = yield signal
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, sent)


async def promise_15_many_at_once(make: Make) -> None:
    """Uploads and downloads of many keys at once do not disturb each other."""
    async with _room(make) as room:

        async def turn(index: int) -> None:
            data = bytes([index]) * (200 * KiB + index)
            await room.store(f"{index % 4}/{index}", data, piece=10_000)
            got = await room.load(f"{index % 4}/{index}")
            _promise(got == data, f"object {index} came back otherwise")
            await room.storage.delete(room.key(f"{index % 4}/{index}"))

        await asyncio.gather(*map(turn, range(24)))
        _promise(await room.names() == [], "something was left")


async def promise_16_copies_are_objects_of_their_own(make: Make) -> None:
    """``copy`` keeps bytes, type and metadata, and replaces nothing unasked."""
    async with _room(make) as room:
        copy = room.storage.copy
        for size in (0, 1000, LARGE):
            data = (SAMPLE * (size // len(SAMPLE) + 1))[:size]
            source = await room.store(f"s/{size}", data, piece=MiB)
            for target in (f"t/{size}", f"deep/er/{size}"):
                await copy(source, room.key(target))
                _promise(await room.load(target) == data, "a copy has other bytes")
            _promise(await room.load(f"s/{size}") == data, "copying changed the source")
        await room.storage.delete(room.key("s/1000"))
        _promise(
            await room.load("t/1000") == (SAMPLE * 1000)[:1000],
            "deleting the source changed its copy",
        )
        source, taken = await room.store("new", b"new"), await room.store("old", b"old")
        await _raises(ObjectExists, copy(source, taken), "copying onto an object")
        _promise(await room.load("old") == b"old", "copying replaced an object unasked")
        await copy(source, taken, overwrite=True)
        _promise(await room.load("old") == b"new", "overwrite=True did not replace")
        await _raises(ObjectExists, copy(source, source), "copying onto itself")
        await copy(source, source, overwrite=True)
        _promise(await room.load("new") == b"new", "copied onto itself, it was lost")
        missing = room.key("missing")
        for overwrite in (False, True):
            await _raises(
                ObjectNotFound,
                copy(missing, room.key("x"), overwrite=overwrite),
                "copying what is not there",
            )
            for bad in BAD_KEYS:
                await _raises(
                    InvalidKey,
                    copy(source, bad, overwrite=overwrite),
                    f"copy to {bad!r}",
                )
        _promise(await room.is_free("x"), "a copy of nothing is there")


async def promise_17_moves_lose_nothing(make: Make) -> None:
    """``move`` takes the object along; of two moves at least one succeeds."""
    async with _room(make) as room:
        move = room.storage.move
        for size in (0, 1000, LARGE):
            data = (SAMPLE * (size // len(SAMPLE) + 1))[:size]
            source = await room.store(f"s/{size}", data, piece=MiB)
            await move(source, room.key(f"t/u/{size}"))
            _promise(await room.load(f"t/u/{size}") == data, "a move changed the bytes")
            _promise(await room.is_free(f"s/{size}"), "the source is there still")
        source, taken = await room.store("new", b"new"), await room.store("old", b"old")
        await _raises(ObjectExists, move(source, taken), "moving onto an object")
        _promise(await room.load("new") == b"new", "a refused move lost its source")
        _promise(await room.load("old") == b"old", "moving replaced an object unasked")
        await _raises(ObjectExists, move(source, source), "moving onto itself")
        await move(source, source, overwrite=True)
        _promise(await room.load("new") == b"new", "moved onto itself, it was lost")
        await move(source, taken, overwrite=True)
        _promise(await room.load("old") == b"new", "overwrite=True did not replace")
        _promise(await room.is_free("new"), "the source is there still")
        await room.storage.copy(taken, room.key("twin"))
        await move(taken, room.key("twin"), overwrite=True)
        _promise(await room.is_free("old"), "moved onto its copy, the source is there")
        _promise(await room.load("twin") == b"new", "moved onto its copy, it was lost")
        missing = room.key("missing")
        await _raises(
            ObjectNotFound, move(missing, room.key("x")), "moving what is not there"
        )
        for turn in range(10):
            for same in (False, True):
                await _race_of_moves(room, turn, same=same)


async def _race_of_moves(room: _Room, turn: int, *, same: bool) -> None:
    data = secrets.token_bytes(100)
    source = await room.store(f"race/{turn}", data)
    targets = [f"won/{turn}/a", f"won/{turn}/a" if same else f"won/{turn}/b"]
    ends = await asyncio.gather(
        *(room.storage.move(source, room.key(target)) for target in targets),
        return_exceptions=True,
    )
    _promise(None in ends, f"neither of two moves succeeded: {ends}")
    for end in ends:
        if end is not None and not isinstance(end, (ObjectNotFound, ObjectExists)):
            raise end
    for target, end in zip(targets, ends, strict=True):
        if end is None:
            _promise(await room.load(target) == data, "a move that won lost bytes")
    for target in targets:
        await room.storage.delete(room.key(target))
    _promise(await room.is_free(f"race/{turn}"), "the source is there still")


async def promise_18_staged_objects_wait_for_their_keys(make: Make) -> None:
    """A staged object can be read, and is at its key once it is published."""
    async with _room(make) as room:
        key = room.key("staged")
        for size in (0, 3, 5 * MiB + 7):
            data = SAMPLE * (size // len(SAMPLE)) + SAMPLE[: size % len(SAMPLE)]
            staged = await room.storage.stage(key, content_type="text/plain")
            async with await staged.create() as sink:
                await sink.write(data)
            _promise(await room.is_free("staged"), "a staged object is at its key")
            async with await staged.open() as stream:
                _promise(await stream.read() == data, "other bytes are staged")
            await staged.publish()
            _promise(await room.load("staged") == data, "other bytes were published")
            await _raises(ObjectNotFound, staged.open(), "what was published")
            await staged.undo()
            _promise(await room.is_free("staged"), "undone, and still there")
        for other in (False, True):
            staged = await room.storage.stage(key)
            async with await staged.create() as sink:
                await sink.write(b"mine")
            if not other:
                await staged.undo()
                _promise(await room.is_free("staged"), "discarded, and at its key")
                await _raises(ObjectNotFound, staged.open(), "what was discarded")
                continue
            await room.store("staged", b"theirs")
            await _raises(ObjectExists, staged.publish(), "a taken key")
            await staged.undo()
            _promise(await room.load("staged") == b"theirs", "another's was undone")


PROMISES: tuple[Callable[[Make], Awaitable[None]], ...] = (
    promise_01_what_was_written_is_stored,
    promise_02_nothing_shows_before_close,
    promise_03_abort_leaves_nothing,
    promise_04_keys_are_kept_or_refused,
    promise_05_nothing_is_overwritten_unasked,
    promise_06_overwriting_is_atomic,
    promise_07_objects_are_described,
    promise_08_attributes_are_kept,
    promise_09_streams_keep_the_laws,
    promise_10_streams_can_seek,
    promise_11_prefixes_select,
    promise_12_deleted_is_gone,
    promise_13_versions_do_not_mix,
    promise_14_a_cancelled_create_stores_nothing,
    promise_15_many_at_once,
    promise_16_copies_are_objects_of_their_own,
    promise_17_moves_lose_nothing,
    promise_18_staged_objects_wait_for_their_keys,
)
"""What every ``Storage`` keeps, each a coroutine function of ``make``."""


async def check_storage(make: Make, *, attributes: bool = True) -> None:
    """Hold the storages of ``make`` to all promises.

    Args:
        make: gives a storage, or a coroutine that does; called for each promise.
        attributes: whether it keeps content types and metadata.

    Raises:
        AssertionError: a promise is broken; the message says which and how.
    """
    for promise in PROMISES:
        if promise is promise_08_attributes_are_kept and not attributes:
            continue
        try:
            await promise(make)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{promise.__name__}: {error!r}") from error
