"""Where jobs run: how many threads there are, and their end with the process."""

from __future__ import annotations

import asyncio
import functools
import os
import threading

import pytest

from aiostreams.streams import threads as worker
from aiostreams.streams.threads import ThreadCall


class Pool:
    """Drains at once, or never; notes that it was asked to."""

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.drained: list[float] = []

    def drain(self, patience: float) -> bool:
        self.drained.append(patience)
        return self.ends


@pytest.mark.parametrize("ends", [True, False])
def test_jobs_under_way_are_waited_for_at_the_end_of_the_process(
    ends: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(ends=ends)
    cached = functools.cache(lambda: pool)
    monkeypatch.setattr(worker, "_pool", cached)
    worker._drain()
    assert pool.drained == [], "there were no jobs, so there is no pool"
    cached()
    worker._drain()
    assert pool.drained == [worker._PATIENCE]
    assert ("file calls hang" in caplog.text) is not ends


@pytest.mark.parametrize("processors", [1, 3, 64, None])
def test_few_threads_for_few_processors_and_more_only_while_calls_wait(
    processors: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if processors is None:  # as on macOS
        monkeypatch.delattr(os, "sched_getaffinity")
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
    else:
        found = set(range(processors))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: found)
    assert worker._processors() == (processors or 5)


async def test_a_pool_is_made_for_the_first_job_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = functools.cache(worker._pool.__wrapped__)
    monkeypatch.setattr(worker, "_pool", made)
    threads = []
    for _ in range(3):
        job = ThreadCall(threading.current_thread)
        await job.wait()
        threads.append(job.result())
    assert made.cache_info().misses == 1
    assert all(thread.name.startswith("aiostreams") for thread in threads)
    # It waits for the last thread to be idle, and the event loop must not.
    assert await asyncio.to_thread(made().drain, 30)
