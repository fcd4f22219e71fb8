"""Quotas: nobody gets beyond one, and nothing is lost to one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    DiskStorage,
    EncryptedStorage,
    FileRule,
    InvalidContent,
    KiB,
    LimitExceeded,
    MemoryLedger,
    MemoryStorage,
    MiB,
    ObjectExists,
    ObjectNotFound,
    ObjectStorage,
    QuotaEntry,
    QuotaStorage,
    StorageError,
    Stream,
    StreamBusy,
    StreamError,
    by_digest,
    confirm_upload,
    receive,
    setup,
)
from aiostreams.storage import quota
from aiostreams.testing.storages import (
    PROMISES,
    promise_14_a_cancelled_create_stores_nothing,
)
from tests.forks import Forks, forks
from tests.servers import connected, post, serving
from tests.waiting import until

from .buckets import Bucket, store_of
from .ledgers import FaultyLedger
from .test_ledger import GUIDE, later, sqlite_ledger

__all__ = ["later"]  # a fixture


class Shelf:
    """A storage of 100 bytes for each account, which is the first part of a key."""

    def __init__(self, inner: Any = None, ledger: Any = None, **options: Any) -> None:
        self.inner: Any = inner or MemoryStorage()
        self.ledger: Any = ledger or MemoryLedger()
        options.setdefault("limit", 100)
        options.setdefault("account", lambda key: key.split("/")[0])
        self.storage = QuotaStorage(self.inner, self.ledger, **options)

    @property
    def used(self) -> int:
        return int(self.ledger.used("ann"))

    async def stored(self) -> dict[str, int]:
        return {o.key: o.size async for o in self.inner.list()}

    async def entries(self) -> list[tuple[str, int]]:
        return sorted([(e.key, e.size) async for e in self.ledger.entries()])

    async def write(self, key: str, *sizes: int, **options: Any) -> None:
        async with await self.storage.create(key, **options) as sink:
            for size in sizes:
                await sink.write(bytes(size))


# -- the limit ---------------------------------------------------------------------


async def test_the_limit_is_exact() -> None:
    shelf = Shelf()
    await shelf.storage.put("ann/a", bytes(60))
    await shelf.storage.put("ann/b", bytes(40))
    with pytest.raises(LimitExceeded) as caught:
        await shelf.storage.put("ann/c", bytes(1))
    error = caught.value
    assert (error.status, error.limit, error.seen) == (413, 100, 101)
    assert str(error) == "the stored objects would have 101 bytes, quota 100"
    await shelf.storage.put("ann/empty", b"")
    await shelf.storage.put("bob/a", bytes(100))
    assert await shelf.stored() == {
        "ann/a": 60, "ann/b": 40, "ann/empty": 0, "bob/a": 100,
    }  # fmt: skip
    assert shelf.used == 100


async def test_an_upload_grows_up_to_the_limit() -> None:
    """What is reserved ahead never refuses what has room."""
    shelf = Shelf(limit=200 * KiB)
    await shelf.write("ann/a", 64 * KiB, 64 * KiB, 70 * KiB, 2 * KiB)
    assert shelf.used == 200 * KiB
    await shelf.storage.delete("ann/a")
    with pytest.raises(LimitExceeded, match="would have 204801 bytes, quota 204800"):
        await shelf.write("ann/a", 64 * KiB, 64 * KiB, 72 * KiB, 1)
    assert (await shelf.stored(), shelf.used) == ({}, 0)


async def test_a_refused_write_has_taken_nothing() -> None:
    shelf = Shelf()
    async with await shelf.storage.create("ann/a") as sink:
        await sink.write(bytes(90))
        with pytest.raises(LimitExceeded):
            await sink.write(bytes(11))
        assert sink.position == 90
        await sink.write(bytes(10))
    assert await shelf.stored() == {"ann/a": 100}


async def test_a_size_that_is_known_is_reserved_at_once() -> None:
    shelf = Shelf()
    sink = await shelf.storage.create("ann/a", size=80)
    assert shelf.used == 80
    with pytest.raises(LimitExceeded, match="would have 101 bytes"):
        await shelf.storage.create("ann/b", size=21)
    with pytest.raises(LimitExceeded):
        await (await shelf.storage.stage("ann/b", size=21)).create()
    await sink.write(bytes(30))
    await sink.close()
    assert (shelf.used, await shelf.stored()) == (30, {"ann/a": 30})
    # More than was said is asked for.
    with pytest.raises(LimitExceeded):
        await shelf.write("ann/b", 71, size=70)
    await shelf.write("ann/b", 70, size=1)
    assert shelf.used == 100


async def test_what_is_deleted_is_free() -> None:
    shelf = Shelf()
    await shelf.storage.put("ann/a", bytes(100))
    for _ in range(3):
        await shelf.storage.delete("ann/a")
    assert shelf.used == 0
    await shelf.storage.put("ann/a", bytes(100))


async def test_the_difference_counts_where_an_object_is_replaced() -> None:
    shelf = Shelf()
    await shelf.storage.put("ann/a", bytes(80))
    await shelf.storage.put("ann/b", bytes(10))
    for size in (90, 20, 90, 0, 90):
        await shelf.storage.put("ann/a", bytes(size), overwrite=True)
        assert shelf.used == 10 + size
    with pytest.raises(LimitExceeded, match="would have 101 bytes"):
        await shelf.storage.put("ann/a", bytes(91), overwrite=True)
    with pytest.raises(LimitExceeded):
        await shelf.write("ann/a", 91, overwrite=True)
    assert await shelf.stored() == {"ann/a": 90, "ann/b": 10}
    with pytest.raises(ObjectExists):
        await shelf.storage.put("ann/a", b"x")
    with pytest.raises(ObjectExists):
        await shelf.write("ann/b", 1)
    assert shelf.used == 100


async def test_copies_count_and_moves_do_not() -> None:
    shelf = Shelf()
    storage = shelf.storage
    await storage.put("ann/a", bytes(60))
    with pytest.raises(LimitExceeded, match="would have 120 bytes"):
        await storage.copy("ann/a", "ann/b")
    await storage.copy("ann/a", "bob/a")
    assert shelf.ledger.used("bob") == 60
    await storage.move("ann/a", "ann/b")  # although twice 60 is too much
    assert shelf.used == 60
    with pytest.raises(LimitExceeded, match="would have 120 bytes"):
        await storage.move("ann/b", "bob/b")
    assert await shelf.stored() == {"ann/b": 60, "bob/a": 60}
    await storage.move("ann/b", "bob/a", overwrite=True)
    assert (shelf.used, shelf.ledger.used("bob")) == (0, 60)
    await storage.put("ann/c", bytes(10))
    await storage.put("ann/d", bytes(20))
    await storage.move("ann/c", "ann/d", overwrite=True)
    assert shelf.used == 10
    await storage.copy("ann/d", "ann/d", overwrite=True)
    await storage.move("ann/d", "ann/d", overwrite=True)
    for step in (storage.copy, storage.move):
        with pytest.raises(ObjectExists):
            await step("ann/d", "bob/a")
        with pytest.raises(ObjectNotFound):
            await step("ann/none", "ann/e")
    assert (shelf.used, shelf.ledger.used("bob")) == (10, 60)


async def test_staged_objects_are_reserved_until_they_have_their_keys() -> None:
    shelf = Shelf()
    staged = await shelf.storage.stage("ann/a")
    async with await staged.create() as sink:
        await sink.write(bytes(70))
    assert (shelf.used, await shelf.stored()) == (70, {})
    await staged.publish()
    assert (shelf.used, await shelf.stored()) == (70, {"ann/a": 70})
    await staged.undo()
    assert (shelf.used, await shelf.stored()) == (0, {})
    # Discarded; aborted; to another account in the end.
    staged = await shelf.storage.stage("ann/a")
    async with await staged.create() as sink:
        await sink.write(bytes(70))
    await staged.undo()
    assert shelf.used == 0
    staged = await shelf.storage.stage("ann/a", size=70)
    await (await staged.create()).abort()
    await staged.undo()
    assert shelf.used == 0
    await shelf.storage.put("bob/a", bytes(40))
    for key, size, fits in (("bob/b", 61, False), ("bob/b", 60, True)):
        staged = await shelf.storage.stage("ann/a")
        async with await staged.create() as sink:
            await sink.write(bytes(size))
        staged.key = key
        if fits:
            await staged.publish()
        else:
            with pytest.raises(LimitExceeded, match="would have 101 bytes"):
                await staged.publish()
            await staged.undo()
    assert (shelf.used, shelf.ledger.used("bob")) == (0, 100)
    assert await shelf.stored() == {"bob/a": 40, "bob/b": 60}
    # To a key that is not counted.
    staged = await shelf.storage.stage("ann/a")
    async with await staged.create() as sink:
        await sink.write(bytes(50))
    staged.key = "aiostreams-staged/x"
    await staged.publish()
    assert shelf.used == 0


async def test_limits_differ_and_may_be_asked_for() -> None:
    async def limit(account: str) -> int:
        await asyncio.sleep(0)
        return {"ann": 5, "eve": -1}.get(account, 7)

    for told in (limit, lambda account: {"ann": 5, "eve": -1}.get(account, 7)):
        shelf = Shelf(limit=told)
        await shelf.storage.put("ann/a", bytes(5))
        await shelf.storage.put("bob/a", bytes(7))
        for key, size in (("ann/b", 1), ("bob/b", 1), ("eve/b", 0)):
            with pytest.raises(LimitExceeded):
                await shelf.storage.put(key, bytes(size))
        # One that was lowered refuses, and everything else goes on.
        await shelf.storage.delete("ann/a")
        assert shelf.used == 0


async def test_an_account_that_has_too_much_can_only_give_back() -> None:
    ledger = MemoryLedger()
    await Shelf(ledger=ledger, limit=1000).storage.put("ann/big", bytes(500))
    shelf = Shelf(ledger=ledger)
    for size in (0, 1, 100):
        with pytest.raises(LimitExceeded):
            await shelf.storage.put("ann/a", bytes(size))
    await shelf.storage.delete("ann/big")
    await shelf.storage.put("ann/a", bytes(100))


async def test_one_account_for_all_unless_told() -> None:
    ledger = MemoryLedger()
    storage = QuotaStorage(MemoryStorage(), ledger, limit=10)
    await storage.put("a/b", bytes(6))
    with pytest.raises(LimitExceeded):
        await storage.put("c/d", bytes(5))
    assert ledger.used("") == 6


async def test_keys_without_an_account_are_not_counted() -> None:
    shelf = Shelf(account=lambda key: None if key.startswith("public/") else "ann")
    await shelf.storage.put("public/a", bytes(1000))
    await shelf.write("public/b", 1000)
    await shelf.storage.copy("public/a", "public/c")
    assert shelf.used == 0
    with pytest.raises(LimitExceeded):
        await shelf.storage.move("public/a", "mine")
    await shelf.storage.put("mine", bytes(50))
    await shelf.storage.move("mine", "public/mine")
    await shelf.storage.delete("public/a")
    assert shelf.used == 0


@pytest.mark.parametrize(
    "wrong", [{"limit": -1}, {"limit": 1, "expires": 0}, {"limit": 1, "timeout": 0}]
)
def test_numbers_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        QuotaStorage(MemoryStorage(), MemoryLedger(), **wrong)


# -- side by side ------------------------------------------------------------------


class Watched(MemoryStorage):
    """Takes its time, and holds what is there to a ceiling at every commit."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.chance = random.Random(5)

    async def create(self, key: str, **kwargs: Any) -> Stream:
        await asyncio.sleep(0)
        return Slow(await super().create(key, **kwargs), self)

    def check(self) -> None:
        assert sum(o.stored.size for o in self._objects.values()) <= self.most


class Slow(Stream):
    def __init__(self, sink: Stream, storage: Watched) -> None:
        super().__init__()
        self.sink = sink
        self.storage = storage

    async def _wait(self) -> None:
        for _ in range(self.storage.chance.randrange(4)):
            await asyncio.sleep(0)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._wait()
        await self.sink.write(data)

    async def close(self) -> None:
        await self._wait()
        await self.sink.close()
        self.storage.check()
        await self._wait()

    async def abort(self) -> None:
        await self._wait()
        await self.sink.abort()


class SlowLedger(MemoryLedger):
    """Waits before each answer, and after."""

    async def _slowly(self, call: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)
        told = await call()
        await asyncio.sleep(0)
        return told

    async def reserve(self, entry: QuotaEntry, **kwargs: Any) -> int:
        call = super().reserve
        total: int = await self._slowly(lambda: call(entry, **kwargs))
        return total

    async def settle(self, entry: QuotaEntry, replaced: Collection[str] = ()) -> None:
        call = super().settle
        await self._slowly(lambda: call(entry, replaced))

    async def release(self, tokens: Collection[str]) -> None:
        call = super().release
        await self._slowly(lambda: call(tokens))

    async def find(self, key: str) -> Sequence[QuotaEntry]:
        call = super().find
        found: Sequence[QuotaEntry] = await self._slowly(lambda: call(key))
        return found


@pytest.mark.parametrize("known", [False, True])
async def test_a_hundred_uploads_at_once_never_get_beyond_the_limit(
    known: bool,
) -> None:
    size, room = 300, 10
    inner = Watched(room * size)
    shelf = Shelf(inner, SlowLedger(), limit=room * size)
    chance = random.Random(1)

    async def upload(number: int) -> bool:
        pieces = [100] * 3
        options = {"size": size} if known else {}
        try:
            await shelf.write(f"ann/{number}", *pieces, **options)
        except LimitExceeded:
            return False
        return True

    tasks = [asyncio.create_task(upload(number)) for number in range(100)]
    cancelled = chance.sample(tasks, 20)
    for task in cancelled:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    stored = await shelf.stored()
    assert all(
        end in (True, False) or isinstance(end, asyncio.CancelledError) for end in ends
    )
    assert len(stored) == ends.count(True) <= room
    assert shelf.used == sum(stored.values())
    # What the others had reserved is free: the rest of the room can be had.
    for number in range(room - len(stored)):
        await shelf.write(f"ann/more-{number}", size)
    assert shelf.used == room * size


UPLOADS = ("put", "write", "new", "delete")


@pytest.mark.parametrize("kinds", [UPLOADS, (*UPLOADS, "move", "copy")])
async def test_any_order_of_steps_keeps_the_ledger_true(kinds: Sequence[str]) -> None:
    """Uploads, replacements, moves and deletions side by side: it counts enough."""
    for seed in range(60):
        chance = random.Random(seed)
        inner = Watched(10**9)
        inner.chance = chance
        shelf = Shelf(inner, SlowLedger(), limit=1000)
        keys = ["ann/a", "ann/b", "ann/c"]

        async def step(kind: str, one: str, other: str, size: int) -> None:
            storage = shelf.storage  # noqa: B023 - all end in this turn
            with contextlib.suppress(StreamError):
                if kind == "put":
                    await storage.put(one, bytes(size), overwrite=True)
                elif kind == "write":
                    await shelf.write(one, size, size, overwrite=True)  # noqa: B023
                elif kind == "new":
                    await shelf.write(one, size)  # noqa: B023
                elif kind == "move":
                    await storage.move(one, other, overwrite=True)
                elif kind == "copy":
                    await storage.copy(one, other, overwrite=True)
                else:
                    await storage.delete(one)

        tasks = []
        for _ in range(40):
            kind = chance.choice(kinds)
            one, other = chance.sample(keys, 2)
            task = asyncio.create_task(step(kind, one, other, chance.randrange(300)))
            tasks.append(task)
            if chance.random() < 0.2:
                task.cancel()
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                chance.choice(tasks).cancel()
            stored = sum((await shelf.stored()).values())
            # What is copied is measured before, and again afterwards.
            if kinds == UPLOADS:
                assert shelf.used >= stored, f"seed {seed}: too little is counted"
        await asyncio.gather(*tasks, return_exceptions=True)
        stored = sum((await shelf.stored()).values())
        assert shelf.used >= stored, f"seed {seed}: too little is counted"
        await shelf.storage.recount()
        assert shelf.used == stored, f"seed {seed}"
        for key in keys:
            await shelf.storage.delete(key)
        assert shelf.used == 0


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
async def test_a_slow_ledger_keeps(promise: Callable[[Any], Awaitable[None]]) -> None:
    """The promises of a storage, with a wait at each question; cancelled at each."""
    inner, ledger = MemoryStorage(), SlowLedger()
    await promise(lambda: QuotaStorage(inner, ledger, limit=100 * MiB))
    assert ledger.used("") == 0
    if promise is promise_14_a_cancelled_create_stores_nothing:
        assert [one async for one in ledger.entries()] == []


# -- a ledger that fails -----------------------------------------------------------


@pytest.mark.parametrize("how", ["raise", "hang", "late"])
@pytest.mark.parametrize("where", ["reserve", "find"])
async def test_a_ledger_that_cannot_be_asked_stores_nothing(
    where: str, how: str, later: Callable[[float], None]
) -> None:
    shelf = Shelf(ledger=FaultyLedger(), timeout=0.01)
    await shelf.storage.put("ann/old", bytes(10))
    shelf.ledger.fault = (where, how)

    async def staged() -> None:
        one = await shelf.storage.stage("ann/a", size=5)
        try:
            async with await one.create() as sink:
                await sink.write(bytes(5))
            await one.publish()
        finally:
            await one.undo()

    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: shelf.storage.put("ann/a", bytes(5)),
        lambda: shelf.write("ann/a", 5),
        lambda: shelf.write("ann/a", 5, size=5),
        lambda: shelf.write("ann/old", 5, overwrite=True),
        lambda: shelf.storage.copy("ann/old", "ann/a"),
        lambda: shelf.storage.move("ann/old", "bob/a"),
        staged,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="the ledger of the quota") as caught:
            await call()
        assert caught.value.status == 503
        assert "secret" not in str(caught.value)
    assert await shelf.stored() == {"ann/old": 10}
    shelf.ledger.fault = None
    assert shelf.used == 10
    # Answers that nobody waits for any more are forgotten when they lapse.
    for call in shelf.ledger.late:
        await call()
    later(4000)
    await shelf.storage.sweep()
    assert (shelf.used, await shelf.stored()) == (10, {"ann/old": 10})
    assert [one.key async for one in shelf.ledger.entries()] == ["ann/old"]


@pytest.mark.parametrize("how", ["raise", "hang"])
async def test_an_object_that_could_not_be_settled_is_settled_later(
    how: str, later: Callable[[float], None]
) -> None:
    shelf = Shelf(ledger=FaultyLedger(), timeout=0.01)
    await shelf.storage.put("ann/old", bytes(10))
    shelf.ledger.fault = ("settle", how)
    await shelf.storage.put("ann/a", bytes(20))
    await shelf.write("ann/old", 30, overwrite=True)
    await shelf.storage.copy("ann/a", "ann/b")
    shelf.ledger.fault = None
    stored = {"ann/old": 30, "ann/a": 20, "ann/b": 20}
    assert await shelf.stored() == stored
    assert shelf.used >= 70
    with pytest.raises(LimitExceeded):
        await shelf.storage.put("ann/c", bytes(31))
    later(4000)
    assert await shelf.storage.sweep() == 3
    assert shelf.used == 70
    assert await shelf.entries() == sorted(stored.items())


async def test_entries_that_cannot_be_ended_remain_and_count(
    later: Callable[[float], None],
) -> None:
    shelf = Shelf(ledger=FaultyLedger())
    await shelf.storage.put("ann/old", bytes(10))
    shelf.ledger.fault = ("release", "raise")
    await shelf.storage.delete("ann/old")
    with pytest.raises(ZeroDivisionError):
        async with await shelf.storage.create("ann/a", size=50):
            raise ZeroDivisionError
    assert (shelf.used, await shelf.stored()) == (60, {})
    shelf.ledger.fault = None
    # What was deleted is found out at once, what was reserved when it lapses.
    await shelf.storage.put("ann/b", bytes(50))
    with pytest.raises(LimitExceeded):
        await shelf.storage.put("ann/c", bytes(1))
    later(4000)
    await shelf.storage.put("ann/c", bytes(50))
    assert shelf.used == 100


@pytest.mark.parametrize("how", ["raise", "hang"])
async def test_what_is_deleted_is_gone_whatever_the_ledger_does(how: str) -> None:
    shelf = Shelf(ledger=FaultyLedger(), timeout=0.01)
    for number in range(3):
        await shelf.storage.put(f"ann/{number}", bytes(30))
    shelf.ledger.fault = ("find", how)
    await shelf.storage.delete("ann/0")
    shelf.ledger.fault = ("release", how)
    await shelf.storage.delete("ann/1")
    shelf.ledger.fault = None
    assert (await shelf.stored(), shelf.used) == ({"ann/2": 30}, 90)
    assert await shelf.storage.sweep() == 2
    assert shelf.used == 30
    assert await shelf.storage.sweep() == 0


async def test_no_more_than_so_many_deletions_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quota, "_MOST_DOUBTS", 2)
    shelf = Shelf(ledger=FaultyLedger())
    for number in range(3):
        await shelf.storage.put(f"ann/{number}", bytes(30))
    shelf.ledger.fault = ("find", "raise")
    for number in range(3):
        await shelf.storage.delete(f"ann/{number}")
    shelf.ledger.fault = None
    assert await shelf.storage.sweep() == 2
    assert shelf.used == 30
    await shelf.storage.recount()
    assert shelf.used == 0


async def test_what_a_ledger_says_to_the_client_is_passed_on() -> None:
    class Strict(MemoryLedger):
        async def reserve(self, entry: QuotaEntry, **_: Any) -> int:
            raise InvalidContent(f"{entry.account} has not paid")

    shelf = Shelf(ledger=Strict())
    with pytest.raises(InvalidContent, match="ann has not paid"):
        await shelf.storage.put("ann/a", b"x")


async def test_a_storage_that_hangs_at_the_end_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quota, "_PATIENCE", 0.01)
    gate = asyncio.Event()

    class Hanging(MemoryStorage):
        async def put(self, key: str, *args: Any, **kwargs: Any) -> None:
            raise StorageError("the answer is lost")

        async def stat(self, key: str) -> Any:
            await gate.wait()
            return await super().stat(key)

    shelf = Shelf(Hanging())
    with pytest.raises(StorageError, match="lost"):
        await shelf.storage.put("ann/a", bytes(30))
    assert shelf.used == 30
    gate.set()
    while shelf.used:  # what was left alone ends by itself
        await asyncio.sleep(0)


async def test_opening_a_writer_opens_the_file(tmp_path: Path) -> None:
    shelf = Shelf(DiskStorage(tmp_path))
    sink = await shelf.storage.create("ann/a")
    assert await sink.open() is sink
    assert len(list(tmp_path.rglob(".aiostreams-*"))) == 1
    await sink.abort()
    assert list(tmp_path.iterdir()) == []


async def test_a_deletion_that_is_cancelled_is_found_out_later() -> None:
    gate = asyncio.Event()

    class Waiting(MemoryLedger):
        async def release(self, tokens: Collection[str]) -> None:
            await gate.wait()
            await super().release(tokens)

    shelf = Shelf(ledger=Waiting())
    await shelf.storage.put("ann/a", bytes(100))
    deleting = asyncio.create_task(shelf.storage.delete("ann/a"))
    while await shelf.stored():
        await asyncio.sleep(0)
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    assert shelf.used == 100
    gate.set()
    await shelf.storage.put("ann/b", bytes(100))


async def test_a_storage_that_fails_at_the_end_is_asked_what_is_there() -> None:
    class Failing(MemoryStorage):
        stores = False

        async def put(self, key: str, *args: Any, **kwargs: Any) -> None:
            if self.stores:
                await super().put(key, *args, **kwargs)
            raise StorageError("the answer is lost")

    shelf = Shelf(Failing())
    for stores in (False, True):
        shelf.inner.stores = stores
        with pytest.raises(StorageError, match="lost"):
            await shelf.storage.put("ann/a", bytes(30))
        assert shelf.used == sum((await shelf.stored()).values()) == 30 * stores

    class Gone(Failing):
        async def stat(self, key: str) -> Any:
            raise StorageError("the disk is away")

    shelf = Shelf(Gone())
    with pytest.raises(StorageError, match="lost"):
        await shelf.storage.put("ann/a", bytes(30))
    assert shelf.used == 30  # until it is known


# -- kills -------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["ledger", "storage"])
async def test_a_refusal_is_one_whatever_else_is_wrong(
    away: str, later: Callable[[float], None]
) -> None:
    class Gone(MemoryStorage):
        async def stat(self, key: str) -> Any:
            raise StorageError("the disk is away")

    shelf = Shelf(Gone(), FaultyLedger())
    await shelf.storage.create("ann/gone", size=80)
    later(4000)
    if away == "ledger":
        shelf.ledger.fault = ("lapsed", "raise")
    with pytest.raises(LimitExceeded, match="would have 110 bytes"):
        await shelf.storage.put("ann/a", bytes(30))
    with pytest.raises(StorageError):
        await shelf.storage.sweep()


async def test_what_was_reserved_by_a_process_that_is_gone_comes_back(
    later: Callable[[float], None],
) -> None:
    shelf = Shelf(expires=600)
    sink = await shelf.storage.create("ann/gone", size=80)
    await sink.write(bytes(10))
    del sink
    with pytest.raises(LimitExceeded):
        await shelf.storage.put("ann/a", bytes(30))
    later(500)
    with pytest.raises(LimitExceeded):
        await shelf.storage.put("ann/a", bytes(30))
    later(200)
    await shelf.storage.put("ann/a", bytes(30))
    assert shelf.used == 30


async def test_a_slow_upload_keeps_what_it_has_reserved(
    later: Callable[[float], None],
) -> None:
    shelf = Shelf(expires=600)
    sink = await shelf.storage.create("ann/slow", size=80)
    for _ in range(8):
        later(400)
        await sink.write(bytes(10))
        with pytest.raises(LimitExceeded):
            await shelf.storage.put("ann/a", bytes(30))
    # One that was away for too long, and comes back when others have its room.
    later(700)
    await shelf.storage.put("ann/a", bytes(30))
    with pytest.raises(LimitExceeded, match="would have 110 bytes"):
        await sink.close()
    assert await shelf.stored() == {"ann/a": 30}
    assert shelf.used == 30
    # And when there is room.
    sink = await shelf.storage.create("ann/slow", size=50)
    await sink.write(bytes(50))
    later(700)
    await shelf.storage.sweep()
    assert shelf.used == 30
    await sink.close()
    assert shelf.used == 80


WORKER = """
import asyncio, contextlib, random
with contextlib.suppress(ImportError):
    import cryptography.hazmat.primitives.ciphers.aead, obstore.store
from guide_ledger import SQLiteLedger
from aiostreams import (
    DiskStorage, EncryptedStorage, LimitExceeded, ObjectStorage, QuotaStorage
)
from tests.storage.buckets import store_of

def main(seed, port):
    asyncio.run(work(seed, port))

async def work(seed, port):
    chance = random.Random(seed)
    inner = DiskStorage("root")
    if port:
        inner = EncryptedStorage(ObjectStorage(store_of(port)), {"k": bytes(32)})
    storage = QuotaStorage(
        inner, SQLiteLedger("ledger.db"), limit=1_000_000, expires=2, timeout=30
    )
    async def upload(number):
        key = f"{seed}/{number}"
        try:
            async with await storage.create(key) as sink:
                for _ in range(chance.randrange(1, 5)):
                    await sink.write(bytes(chance.randrange(30_000)))
            if chance.random() < 0.3:
                await storage.delete(key)
        except LimitExceeded:
            pass
    print("begun", flush=True)
    for turn in range(1000):
        await asyncio.gather(*(upload(f"{turn}-{n}") for n in range(10)))
"""


@contextlib.contextmanager
def running(
    parents: Sequence[Forks], seeds: Iterable[int], port: int
) -> Iterator[None]:
    """Run a worker of each, and kill them in the end."""
    pids = [
        parent.start(seed, port) for parent, seed in zip(parents, seeds, strict=True)
    ]
    try:
        for parent in parents:
            assert parent.line() == "begun\n"
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for parent in parents:
            parent.ended()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Forks]]:
    """Three that can run side by side."""
    (tmp_path / "guide_ledger.py").write_text(GUIDE)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(forks(WORKER, tmp_path)) for _ in range(3)]


async def come_true(storage: QuotaStorage, ledger: Any) -> None:
    """Wait until what was reserved has lapsed, and the ledger says what is there."""
    async with asyncio.timeout(60):
        while True:
            await storage.sweep(0)
            # Deletions that were cut short are left to be counted anew.
            await storage.recount()
            if await ledger.used("") == await total_of(storage):
                return
            await asyncio.sleep(0.1)


async def total_of(storage: QuotaStorage) -> int:
    return sum([one.size async for one in storage.list()])


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_processes_that_are_killed_leave_nothing_reserved(
    tmp_path: Path, workers: list[Forks]
) -> None:
    """Three processes share a quota and are killed anywhere; it holds all the time."""
    ledger, root = sqlite_ledger(tmp_path), tmp_path / "root"

    def stored() -> int:
        return sum(
            path.stat().st_size
            for path in root.rglob("*")
            if path.is_file() and not path.name.startswith(".aiostreams-")
        )

    chance = random.Random(3)
    for turn in range(6):
        with running(workers, range(3 * turn, 3 * turn + 3), 0):
            for _ in range(3):
                await asyncio.sleep(chance.random() * 0.4)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    assert stored() <= 1_000_000
        there = stored()
        assert there <= 1_000_000
        assert await ledger.used("") >= there
    storage = QuotaStorage(DiskStorage(root), ledger, limit=1_000_000)
    await come_true(storage, ledger)
    assert list(root.rglob(".aiostreams-*")) == []
    async for one in storage.list():
        await storage.delete(one.key)
    assert await ledger.used("") == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_two_workers_that_are_killed_on_one_bucket(
    tmp_path: Path, workers: list[Forks], bucket: Bucket
) -> None:
    """Encrypted and counted; what is there is complete, and no more than may be."""
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    ledger = sqlite_ledger(tmp_path)
    inner = EncryptedStorage(ObjectStorage(store_of(bucket.port)), {"k": bytes(32)})
    async with QuotaStorage(inner, ledger, limit=1_000_000) as storage:
        chance = random.Random(4)
        for turn in range(3):
            with running(workers[:2], (2 * turn, 2 * turn + 1), bucket.port):
                for _ in range(3):
                    await asyncio.sleep(chance.random() * 0.4)
                    assert await total_of(storage) <= 1_000_000
                await until(lambda: total_of(storage))
            there = await total_of(storage)
            assert there <= 1_000_000
            assert await ledger.used("") >= there
        await come_true(storage, ledger)
        assert await total_of(storage) > 0
        async for one in storage.list():
            async with await storage.open(one.key) as stream:
                assert await stream.read() == bytes(one.size)
            await storage.delete(one.key)
    assert bucket.names() == []
    assert await ledger.used("") == 0


# -- counting anew -----------------------------------------------------------------


async def test_recount_holds_the_ledger_to_what_is_stored() -> None:
    shelf = Shelf()
    await shelf.inner.put("ann/before", bytes(30))
    await shelf.inner.put("aiostreams-staged/x", bytes(1000))
    await shelf.storage.put("ann/a", bytes(10))
    await shelf.storage.put("ann/b", bytes(10))
    await shelf.storage.put("bob/c", bytes(10))
    await shelf.inner.delete("ann/a")
    await shelf.inner.put("ann/b", bytes(25), overwrite=True)
    await shelf.ledger.settle(QuotaEntry("double", "ann", "ann/b", 50))
    sink = await shelf.storage.create("ann/growing", size=20)
    await shelf.storage.recount()
    assert shelf.used == 30 + 25 + 20
    assert shelf.ledger.used("bob") == 10
    await sink.write(bytes(20))
    await sink.close()
    await shelf.storage.recount()
    # One for each object.
    assert await shelf.entries() == [
        ("ann/b", 25), ("ann/before", 30), ("ann/growing", 20), ("bob/c", 10),
    ]  # fmt: skip


# -- with the rest -----------------------------------------------------------------


async def test_a_writer_that_is_closed_during_a_write_stores_nothing() -> None:
    gate = asyncio.Event()

    class Waiting(MemoryLedger):
        async def reserve(self, entry: QuotaEntry, **kwargs: Any) -> int:
            await gate.wait()
            return await super().reserve(entry, **kwargs)

    shelf = Shelf(ledger=Waiting())
    sink = await shelf.storage.create("ann/a")
    writing = asyncio.create_task(sink.write(b"x"))
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await sink.close()
    with pytest.raises(ValueError, match="closed"):
        await writing
    assert (shelf.used, await shelf.stored()) == (0, {})


async def test_a_subclass_sees_all_bytes() -> None:
    seen: list[str] = []

    class Noting(QuotaStorage):
        async def create(self, key: str, **kwargs: Any) -> Stream:
            seen.append(key)
            return await super().create(key, **kwargs)

    ledger = MemoryLedger()
    storage = Noting(MemoryStorage(), ledger, limit=100)
    await storage.put("put", b"x")
    staged = await storage.stage("staged")
    async with await staged.create() as sink:
        await sink.write(b"y")
    await staged.publish()
    assert len(seen) == 2
    assert ledger.used("") == 2


async def test_urls_do_not_pass_by_the_quota() -> None:
    class Signing(MemoryStorage):
        async def presign(
            self, key: str, method: str = "GET", expires: float = 3600.0
        ) -> str:
            return f"{method} {key} {expires}"

    shelf = Shelf(Signing())
    assert await shelf.storage.presign("ann/a") == "GET ann/a 3600.0"
    staged = "aiostreams-staged/0123"
    assert await shelf.storage.presign(staged, "PUT", 5) == f"PUT {staged} 5"
    for method in ("PUT", "DELETE"):
        with pytest.raises(NotImplementedError, match="bypass its quota"):
            await shelf.storage.presign("ann/a", method)
    # What came by such a URL counts once it is confirmed.
    for size, fits in ((101, False), (100, True)):
        await shelf.inner.put(staged, bytes(size))
        confirming = confirm_upload(shelf.storage, staged, FileRule(), to="ann/a")
        if fits:
            assert (await confirming).size == 100
        else:
            with pytest.raises(LimitExceeded, match="would have 101 bytes"):
                await confirming
            assert (shelf.used, await shelf.stored()) == (0, {})
    assert shelf.used == 100


async def test_what_is_hidden_is_the_storage_s_own() -> None:
    shelf = Shelf()
    assert shelf.storage.hidden is shelf.inner.hidden
    assert repr(shelf.storage) == "<QuotaStorage <MemoryStorage 0 objects>>"


FORM = (
    b"--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n%b\r\n"
    b"--b\r\nContent-Disposition: form-data; name=f; filename=b\r\n\r\n%b\r\n--b--\r\n"
)
TYPE = ("Content-Type", "multipart/form-data; boundary=b")


async def test_uploads_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    shelf = Shelf(DiskStorage(tmp_path), limit=MiB, account=lambda _: "ann")
    handled = 0

    async def upload(request: web.Request) -> web.Response:
        nonlocal handled
        async with receive(request) as got:
            handled += 1
            return web.json_response([f.size for f in got.files.values()])

    async def shared(request: web.Request) -> web.Response:
        async with receive(request, key=by_digest()) as got:
            return web.json_response([f.key for f in got.files.values()])

    app = web.Application()
    app.router.add_post("/", upload)
    app.router.add_post("/shared", shared)
    setup(app, storage=shelf.storage)

    async def send(body: bytes, *fields: tuple[str, str], path: str = "/") -> Any:
        length = ("Content-Length", str(len(body)))
        async with connected(address) as client:
            await client.send(post(path=path, headers=[length, *fields]) + body)
            status, _, answer = await client.response()
            return status, json.loads(answer)

    async with serving(app) as address:
        for sizes in (
            (700_000, 348_577),
            (1_048_577, 10),
            (10, 1_048_570),
            (40_000, 1_010_000),
        ):
            form = FORM % tuple(bytes(size) for size in sizes)
            status, problem = await send(form, TYPE)
            assert (status, problem["limit"]) == (413, MiB), problem
            assert problem["seen"] > MiB
            assert f"quota {MiB}" in problem["detail"]
            assert (shelf.used, list(tmp_path.iterdir())) == (0, [])
        status, problem = await send(bytes(MiB + 1))
        assert (status, problem["seen"]) == (413, MiB + 1)
        # By its Content-Length: little of it was read.
        async with connected(address) as client:
            await client.send(
                post(headers=[("Content-Length", "90000000"), ("Accept", "text/plain")])
                + bytes(5000)
            )
            status, _, answer = await client.response()
        assert status == 413
        assert b"would have 90000000 bytes, quota 1048576" in answer
        assert handled <= 1
        assert (shelf.used, list(tmp_path.iterdir())) == (0, [])
        # Two at once, of which nobody knows how long they are.
        form = FORM % (bytes(100_000), bytes(200_000))
        for answer in await asyncio.gather(send(form, TYPE), send(form, TYPE)):
            assert answer == (200, [100_000, 200_000])
        assert shelf.used == 600_000
        for key in await shelf.stored():
            await shelf.storage.delete(key)
        # What is there already takes its room only while it arrives.
        form = FORM % (bytes(100_000), bytes(200_000))
        status, keys = await send(form, TYPE, path="/shared")
        assert status == 200
        assert (await send(form, TYPE, path="/shared")) == (200, keys)
        assert shelf.used == 300_000
        status, problem = await send(
            FORM % (b"a" * 400_000, b"b" * 400_000), TYPE, path="/shared"
        )
        assert status == 413
        assert shelf.used == 300_000 == sum((await shelf.stored()).values())


async def test_a_ledger_that_is_away_is_a_503(tmp_path: Path) -> None:
    shelf = Shelf(DiskStorage(tmp_path), FaultyLedger(), timeout=0.01, limit=MiB)

    async def upload(request: web.Request) -> web.Response:
        async with receive(request) as got:
            return web.json_response([f.size for f in got.files.values()])

    app = web.Application()
    app.router.add_post("/", upload)
    setup(app, storage=shelf.storage)
    async with serving(app) as address:
        for fault in (("reserve", "raise"), ("reserve", "hang"), ("find", "raise")):
            for size in (10, 300_000):
                shelf.ledger.fault = fault
                body = bytes(size)
                async with connected(address) as client:
                    length = ("Content-Length", str(size))
                    await client.send(post(headers=[length]) + body)
                    status, _, answer = await client.response()
                assert status == 503
                assert b"database" not in answer
                shelf.ledger.fault = None
                assert list(tmp_path.iterdir()) == []
                assert [one async for one in shelf.ledger.entries()] == []
                assert shelf.used == 0
