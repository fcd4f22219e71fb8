"""Ledgers: the one in memory, and the one that the documentation shows."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import MemoryLedger, QuotaEntry, QuotaLedger
from tests.docs.page import ROOT, Page

GUIDE = Page(ROOT / "docs/guides/quotas.md").files["ledger.py"]


def sqlite_ledger(folder: Path) -> Any:
    """The ledger of the guide, as another program would import it."""
    file = folder / "guide_ledger.py"
    file.write_text(GUIDE)
    spec = importlib.util.spec_from_file_location("guide_ledger", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guide_ledger"] = module
    spec.loader.exec_module(module)
    return module.SQLiteLedger(str(folder / "ledger.db"))


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryLedger() if request.param == "memory" else sqlite_ledger(tmp_path)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clocks on."""
    ahead = 0.0
    clocks = {name: getattr(time, name) for name in ("time", "monotonic")}
    for name, clock in clocks.items():
        monkeypatch.setattr(time, name, lambda clock=clock: clock() + ahead)

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    return move


async def used(ledger: Any, account: str = "ann") -> int:
    told = ledger.used(account)
    return int(await told if asyncio.iscoroutine(told) else told)


def entry(token: str, size: int, key: str = "k", account: str = "ann") -> QuotaEntry:
    return QuotaEntry(token, account, key, size)


async def reserve(ledger: QuotaLedger, one: QuotaEntry, limit: int = 100) -> int:
    return await ledger.reserve(one, limit=limit, expires=60)


async def test_reservations_count_up_to_the_limit(ledger: QuotaLedger) -> None:
    assert await reserve(ledger, entry("a", 60, "x")) == 60
    assert await reserve(ledger, entry("b", 41, "y")) == 101
    assert await used(ledger) == 60
    assert await reserve(ledger, entry("b", 40, "y")) == 100
    assert await reserve(ledger, entry("c", 100, "y", "bob")) == 100
    assert await used(ledger) == 100


async def test_a_reservation_that_cannot_grow_stays_as_it_was(
    ledger: QuotaLedger,
) -> None:
    await reserve(ledger, entry("a", 60))
    assert await reserve(ledger, entry("a", 101)) == 101
    assert await used(ledger) == 60
    assert await reserve(ledger, entry("a", 100)) == 100
    # To another account, and back.
    assert await reserve(ledger, entry("a", 30, "k", "bob")) == 30
    assert (await used(ledger), await used(ledger, "bob")) == (0, 30)


async def test_the_largest_entry_of_a_key_counts(ledger: QuotaLedger) -> None:
    await ledger.settle(entry("old", 80))
    assert await reserve(ledger, entry("new", 90)) == 90
    assert await reserve(ledger, entry("other", 10, "x")) == 100
    await ledger.settle(entry("new", 70), ["old"])
    assert await used(ledger) == 80
    await ledger.release(["new", "other", "never was"])
    assert await used(ledger) == 0


async def test_settled_entries_are_found(ledger: QuotaLedger) -> None:
    await reserve(ledger, entry("a", 5))
    assert await ledger.find("k") == []
    await ledger.settle(entry("a", 6))
    await ledger.settle(entry("a", 6))
    assert await ledger.find("k") == [entry("a", 6)]
    await ledger.settle(entry("a", 7), ["a", "b"])
    await ledger.settle(entry("x", 1, "other", "bob"))
    assert await ledger.find("k") == [entry("a", 7)]
    assert await ledger.find("nothing") == []
    listed = [one async for one in ledger.entries()]
    assert sorted(listed, key=lambda one: one.token) == [
        entry("a", 7),
        entry("x", 1, "other", "bob"),
    ]
    # Settled, whatever the limit is.
    await ledger.settle(entry("large", 10**12, "large"))
    assert await used(ledger) == 10**12 + 7


async def test_reservations_lapse_and_can_be_renewed(
    ledger: QuotaLedger, later: Callable[[float], None]
) -> None:
    await reserve(ledger, entry("a", 5, "x"))
    await reserve(ledger, entry("b", 6, "y"))
    later(50)
    assert await ledger.lapsed() == []
    await reserve(ledger, entry("b", 6, "y"))
    later(50)
    assert await ledger.lapsed() == [entry("a", 5, "x")]
    assert await used(ledger) == 11  # until it ends
    await ledger.settle(entry("a", 5, "x"))
    assert await ledger.lapsed() == []
    later(50)
    assert await ledger.lapsed() == [entry("b", 6, "y")]
    await ledger.release(["b"])
    assert await ledger.lapsed() == []


async def test_not_all_that_has_lapsed_is_told_at_once(
    ledger: QuotaLedger, later: Callable[[float], None]
) -> None:
    for number in range(130):
        await reserve(ledger, entry(f"{number}", 1, f"{number}"), limit=1000)
    later(100)
    assert len(await ledger.lapsed()) == 100


async def test_many_entries_are_listed(ledger: QuotaLedger) -> None:
    for number in range(30):
        await ledger.settle(entry(f"{number}", 1, f"{number}"))
    seen = [one.token async for one in ledger.entries()]
    assert sorted(seen) == sorted(f"{number}" for number in range(30))
    # What ends meanwhile may show or not.
    listing = aiter(ledger.entries())
    await anext(listing)
    await ledger.release([f"{number}" for number in range(30)])
    assert len([one async for one in listing]) < 30


class Model:
    """What a ledger is, in the fewest words."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[QuotaEntry, bool]] = {}

    def used(self, account: str) -> int:
        most: dict[str, int] = {}
        for one, _ in self.rows.values():
            if one.account == account:
                most[one.key] = max(most.get(one.key, 0), one.size)
        return sum(most.values())


entries = st.builds(
    QuotaEntry,
    st.sampled_from("abcd"),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from("xyz"),
    st.integers(0, 60),
)
steps = st.one_of(
    st.tuples(st.just("reserve"), entries),
    st.tuples(st.just("settle"), entries, st.lists(st.sampled_from("abcd"))),
    st.tuples(st.just("release"), st.lists(st.sampled_from("abcd"))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=30))
async def test_the_one_in_memory_counts_as_its_contract_says(
    todo: list[tuple[Any, ...]],
) -> None:
    ledger, model = MemoryLedger(), Model()
    for name, *given_ in todo:
        if name == "reserve":
            [one] = given_
            before = dict(model.rows)
            model.rows[one.token] = (one, False)
            want = model.used(one.account)
            if want > 100:
                model.rows = before
            assert await reserve(ledger, one) == want
        elif name == "settle":
            one, replaced = given_
            for token in replaced:
                model.rows.pop(token, None)
            model.rows[one.token] = (one, True)
            await ledger.settle(one, replaced)
        else:
            for token in given_[0]:
                model.rows.pop(token, None)
            await ledger.release(given_[0])
        for account in ("ann", "bob"):
            assert ledger.used(account) == model.used(account)
        for key in "xyz":
            want_found = [
                one for one, done in model.rows.values() if done and one.key == key
            ]
            found = await ledger.find(key)
            assert sorted(found, key=repr) == sorted(want_found, key=repr)
