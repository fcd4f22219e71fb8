"""Threads that wait for work, each at a gate of its own."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from aiostreams.streams import threads
from aiostreams.streams.threads import Threads

PATIENCE = 10.0


class Crew:
    """Calls that report the thread they ran in, and wait until they are let go."""

    def __init__(self, few: int, most: int | None = None) -> None:
        self.threads = Threads(few, most or few, "test")
        self.names: list[str] = []
        self.order: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, number: int = 0, *, waits: bool = False) -> None:
        def call() -> None:
            self.names.append(threading.current_thread().name)
            self.gate.wait(PATIENCE)
            self.order.append(number)

        self.threads.submit(call, waits=waits)

    def drain(self) -> None:
        assert self.threads.drain(PATIENCE)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_same_thread_serves_while_one_is_enough() -> None:
    crew = Crew(4)
    for _ in range(50):
        crew.submit()
        crew.drain()
    assert crew.names == ["test_0"] * 50


def test_another_thread_is_started_when_all_are_busy() -> None:
    crew = Crew(4)
    crew.gate.clear()
    for _ in range(3):
        crew.submit()
    until(lambda: len(crew.names) == 3)
    assert sorted(crew.names) == ["test_0", "test_1", "test_2"]
    crew.gate.set()
    crew.drain()


def test_the_thread_that_ran_last_runs_next() -> None:
    crew = Crew(3)
    crew.gate.clear()
    for _ in range(3):
        crew.submit()
    until(lambda: len(crew.names) == 3)
    crew.gate.set()
    crew.drain()
    crew.names.clear()
    for _ in range(20):
        crew.submit()
        crew.drain()
    assert len(set(crew.names)) == 1


def test_only_a_few_run_at_once_while_they_are_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_LONG", PATIENCE)
    pool = Threads(2, 8, "test")
    lock = threading.Lock()
    now = most = 0

    def call() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.001)
        with lock:
            now -= 1

    for _ in range(100):
        pool.submit(call)
    assert pool.drain(PATIENCE)
    assert most == 2


def test_calls_that_take_long_let_others_begin() -> None:
    """None of the few is free for as long as they hang: 4 of 6 are let through."""
    crew = Crew(2, 6)
    crew.gate.clear()
    for number in range(20):
        crew.submit(number)
    until(lambda: len(crew.names) == 6)
    time.sleep(3 * threads._LONG)
    assert len(crew.names) == 6
    crew.gate.set()
    crew.drain()
    assert sorted(crew.order) == list(range(20))
    # All that took long has ended, so only the few run at once again.
    assert crew.threads._running == 0
    crew.gate.clear()
    crew.names.clear()
    for number in range(3):
        crew.submit(number)
    until(lambda: len(crew.names) == 3)
    crew.gate.set()
    crew.drain()


def test_calls_that_wait_by_themselves_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_LONG", PATIENCE)
    crew = Crew(1, 4)
    crew.gate.clear()
    for number in range(5):
        crew.submit(number, waits=True)
    until(lambda: len(crew.names) == 4)
    crew.gate.set()
    crew.drain()
    assert sorted(crew.order) == list(range(5))
    assert crew.threads._running == 0


def test_garbage_that_submits_while_a_thread_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector may come at any allocation, also with the lock held."""
    crew = Crew(4)
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            crew.submit(2)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        crew.submit(1)
    crew.drain()
    assert sorted(crew.order) == [1, 2]


def test_calls_beyond_the_most_wait_in_order() -> None:
    crew = Crew(1)
    crew.gate.clear()
    for number in range(100):
        crew.submit(number)
    assert not crew.threads.drain(0.01)
    crew.gate.set()
    crew.drain()
    assert crew.order == list(range(100))
    assert set(crew.names) == {"test_0"}


@pytest.mark.parametrize("most", [1, 2, 7])
def test_every_call_is_made_once_from_many_threads(most: int) -> None:
    """Submitted while workers come to rest: none is forgotten or made twice."""
    pool = Threads(min(2, most), most, "test")
    made: list[tuple[int, int]] = []

    def submit(who: int) -> None:
        for number in range(500):
            pool.submit(lambda number=number: made.append((who, number)))  # type: ignore[misc]
            if number % 7 == 0:
                time.sleep(0)

    submitters = [threading.Thread(target=submit, args=(who,)) for who in range(4)]
    for submitter in submitters:
        submitter.start()
    for submitter in submitters:
        submitter.join()
    assert pool.drain(PATIENCE)
    assert sorted(made) == [(who, number) for who in range(4) for number in range(500)]


def test_call_that_raises_is_logged_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = Crew(1)

    def fail() -> None:
        raise SystemExit("not the thread's end")

    with caplog.at_level(logging.ERROR, "aiostreams.files"):
        crew.threads.submit(fail)
        crew.submit(1)
        crew.drain()
    assert crew.order == [1]
    assert "a file call has failed" in caplog.text


def test_idle_thread_keeps_nothing_alive() -> None:
    class Held:
        def call(self) -> None:
            pass

    pool = Threads(2, 2, "test")
    held = Held()
    gone = weakref.ref(held)
    pool.submit(held.call)
    assert pool.drain(PATIENCE)
    del held
    gc.collect()
    assert gone() is None


def test_no_thread_to_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With none at all; with one, the call waits for it."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew = Crew(4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            crew.submit(1)
    crew.gate.clear()
    crew.submit(2)
    until(lambda: len(crew.names) == 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        crew.submit(3)
    crew.gate.set()
    crew.drain()
    assert crew.order == [2, 3]
    assert set(crew.names) == {crew.names[0]}


def test_watch_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew = Crew(1, 2)
    crew.gate.clear()
    crew.submit(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        crew.submit(2)
    crew.submit(3)
    until(lambda: len(crew.names) == 2)
    crew.gate.set()
    crew.drain()
    assert sorted(crew.order) == [1, 2, 3]


_AT_THE_END = """
import asyncio, sys, time
from aiostreams.streams import threads as worker

async def main():
    worker.ThreadCall(lambda: (time.sleep(0.2), print("ended")))

if "hang" in sys.argv:
    worker._PATIENCE = 0.05
asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "output"), [("wait", b"ended\n"), ("hang", b"")])
def test_process_ends_after_its_calls_but_does_not_wait_for_ever(
    how: str, output: bytes
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AT_THE_END, how],
        capture_output=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == output
    assert (b"hang" in done.stderr) is (how == "hang")
