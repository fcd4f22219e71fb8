"""Tasks: waiting through cancellations, pending calls, producers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from aiostreams.streams.tasks import (
    PendingCall,
    PostponedCancellation,
    Producer,
    end,
    finish,
    settle,
    start,
)
from tests.waiting import turns


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


async def waiting(call: PendingCall[int], work: Work) -> asyncio.Task[int]:
    task = asyncio.create_task(call.run(work))
    await turns()
    return task


async def test_the_next_caller_collects_what_a_cancelled_one_began() -> None:
    call: PendingCall[int] = PendingCall()
    work = Work()
    first = await waiting(call, work)
    first.cancel()
    await asyncio.wait([first])
    assert work.ended == []
    work.gate.set()
    assert await call.run(work) == 1
    assert await call.run(work) == 2, "collected once, then begun anew"


async def test_an_error_reaches_whoever_collects_and_the_next_call_begins() -> None:
    call: PendingCall[int] = PendingCall()

    async def fail() -> int:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await call.run(fail)
    work = Work()
    work.gate.set()
    assert await call.run(work) == 1


async def test_what_does_not_wait_is_done_at_once() -> None:
    async def value() -> int:
        return 7

    assert await PendingCall[int]().run(value) == 7
    assert await start(value()) == 7


async def test_cancel_waits_for_the_end() -> None:
    call: PendingCall[int] = PendingCall()
    work = Work()
    waiter = await waiting(call, work)
    await call.cancel()
    assert work.ended == ["cancelled"]
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await call.cancel()  # nothing is under way


async def test_end_marks_an_error_as_seen() -> None:
    """Else the loop reports it as never retrieved, which fails a test here."""

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
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
    await turns()
    ending.cancel()
    await turns()
    assert not ending.done()
    assert cancels == 2, "its own cancellation is passed on"
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.done()


async def until(condition: Callable[[], object]) -> None:
    """Turn the event loop until ``condition`` holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def cancel_at(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` where it waits, and let it deal with that."""
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)


async def cancelled_by(message: str) -> None:
    raise asyncio.CancelledError(message)


async def test_a_postponed_cancellation_is_raised_once_and_other_errors_pass() -> None:
    cancellation = PostponedCancellation()
    cancellation.reraise()  # none has come
    for message in ("first", "last"):
        with cancellation:
            await cancelled_by(message)
    with pytest.raises(asyncio.CancelledError, match="last"):
        cancellation.reraise()
    cancellation.reraise()
    with pytest.raises(OSError, match="other"), cancellation:
        raise OSError("other")


async def test_finish_waits_through_every_cancellation() -> None:
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(finish(future))
    for _ in range(3):
        await cancel_at(waiting)
        assert not waiting.done()
    future.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.cancelled()
    await finish(future)
    await settle(future)


async def test_finish_gives_up_after_its_timeout() -> None:
    future = asyncio.get_running_loop().create_future()
    await finish(future, timeout=0.01)
    assert not future.done()
    waiting = asyncio.create_task(finish(future, timeout=0.01))
    await cancel_at(waiting)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.done()


async def test_a_cancelled_settle_leaves_the_future_alone() -> None:
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(settle(future))
    await cancel_at(waiting)
    assert waiting.cancelled()
    assert not future.cancelled()


async def test_a_call_is_begun_before_somebody_waits_for_it() -> None:
    call: PendingCall[int] = PendingCall()
    work = Work()
    pending = [call.pending]
    call.begin(work)
    pending.append(call.pending)
    work.gate.set()
    assert await call.run(work) == 1
    assert [*pending, call.pending] == [False, True, False]


class Counting(Producer):
    """Makes "0", "1", ... and says how far it is."""

    def __init__(self, *, ahead: int = 0, end: int | None = None) -> None:
        super().__init__(ahead=ahead)
        self.made = 0
        self.last = end
        self.ended: list[str] = []
        self.failure: Exception | None = None

    async def _run(self) -> None:
        try:
            while self.made != self.last:
                self.made += 1
                await self.put(b"%d" % (self.made - 1))
            if self.failure is not None:
                raise self.failure
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


async def test_without_ahead_the_next_piece_is_made_when_it_is_wanted() -> None:
    producer = Counting()
    assert not producer.begun
    for n in range(3):
        assert await producer.next() == b"%d" % n
        for _ in range(5):
            await asyncio.sleep(0)
        assert producer.made == n + 1
    await producer.close()
    assert producer.ended == ["cancelled"]


async def test_ahead_bounds_what_is_made_and_all_of_it_comes_at_once() -> None:
    producer = Counting(ahead=4)
    assert await producer.next() == b"0123"
    await until(lambda: producer.made == 8)
    for _ in range(5):
        await asyncio.sleep(0)
    assert producer.made == 8
    assert await producer.next() == b"4567"
    await producer.close()
    await producer.close()


async def test_what_was_made_before_a_failure_comes_first_and_the_failure_stays() -> (
    None
):
    producer = Counting(ahead=100, end=2)
    producer.failure = OSError("broken")
    assert await producer.next() == b"01"
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            await producer.next()
    await producer.close()


async def test_a_producer_that_is_cancelled_from_elsewhere_is_no_end() -> None:
    class Cancelled(Producer):
        async def _run(self) -> None:
            await self.put(b"a")
            raise asyncio.CancelledError

    producer = Cancelled()
    assert await producer.next() == b"a"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cancelled"):
            await producer.next()


async def test_a_cancelled_next_loses_nothing() -> None:
    gate = asyncio.Event()

    class Gated(Producer):
        async def _run(self) -> None:
            await gate.wait()
            await self.put(b"late")

    producer = Gated()
    waiting = asyncio.create_task(producer.next())
    await asyncio.sleep(0)
    await cancel_at(waiting)
    assert waiting.cancelled()
    gate.set()
    assert await producer.next() == b"late"
    assert await producer.next() == b""


async def test_a_producer_that_swallows_its_cancellation_ends_at_its_next_piece() -> (
    None
):
    class Deaf(Producer):
        async def _run(self) -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                await self.put(b"more")

    producer = Deaf()
    waiting = asyncio.create_task(producer.next())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await producer.close()
    await cancel_at(waiting)


@pytest.mark.parametrize("cancels", [0, 1, 3])
async def test_closing_a_producer_waits_through_cancellations(cancels: int) -> None:
    """Each is passed on, or a clean-up that hangs could never be left."""

    class Slow(Producer):
        async def _run(self) -> None:
            try:
                await self.put(b"a")
            finally:
                for _ in range(cancels):
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()

    producer = Slow()
    assert await producer.next() == b"a"
    closing = asyncio.create_task(producer.close())
    for _ in range(cancels):
        await cancel_at(closing)
    if cancels:
        with pytest.raises(asyncio.CancelledError):
            await closing
    else:
        await closing
    assert asyncio.all_tasks() == {asyncio.current_task()}
