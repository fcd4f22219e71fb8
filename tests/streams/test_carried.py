"""Operations that outlive who waits for them, and their ends."""

from __future__ import annotations

import asyncio

import pytest

from aiostreams.streams.tasks import Carried, end, start


class Work:
    """An operation that waits for its gate; counts how often it began."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = 0
        self.ended: list[str] = []

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return self.begun


async def waiting(carried: Carried[int], work: Work) -> asyncio.Task[int]:
    task = asyncio.create_task(carried.run(work))
    await asyncio.sleep(0.001)
    return task


async def test_the_next_caller_collects_what_a_cancelled_one_began() -> None:
    carried: Carried[int] = Carried()
    work = Work()
    first = await waiting(carried, work)
    first.cancel()
    await asyncio.wait([first])
    assert work.ended == []
    work.gate.set()
    assert await carried.run(work) == 1
    assert await carried.run(work) == 2, "collected once, then begun anew"


async def test_an_error_reaches_whoever_collects_and_the_next_call_begins() -> None:
    carried: Carried[int] = Carried()

    async def fail() -> int:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await carried.run(fail)
    work = Work()
    work.gate.set()
    assert await carried.run(work) == 1


async def test_what_does_not_wait_is_done_at_once() -> None:
    async def value() -> int:
        return 7

    assert await Carried[int]().run(value) == 7
    assert await start(value()) == 7


async def test_cancel_waits_for_the_end() -> None:
    carried: Carried[int] = Carried()
    work = Work()
    waiter = await waiting(carried, work)
    await carried.cancel()
    assert work.ended == ["cancelled"]
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await carried.cancel()  # nothing is under way


async def test_end_marks_an_error_as_seen() -> None:
    """Else the loop reports it as never retrieved, which fails a test here."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise OSError("in its last moment")

    task = start(stubborn())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()


async def test_end_is_cancelled_itself_and_waits_all_the_same() -> None:
    leave = asyncio.Event()
    cancels = 0

    async def slow() -> None:
        nonlocal cancels
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                cancels += 1

    task = start(slow())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(task))
    await asyncio.sleep(0.001)
    ending.cancel()
    await asyncio.sleep(0.001)
    assert not ending.done()
    assert cancels == 2, "its own cancellation is passed on"
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.done()
