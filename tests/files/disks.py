"""Disks that fail, stall and write short, and what must not be left of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import os
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aiostreams.files import draft, spooled
from aiostreams.files import reading as openfile
from aiostreams.files import writing as writebehind
from tests.waiting import until

T = TypeVar("T")

CALLS = frozenset({
    "open", "writev", "pread", "fsync", "close", "replace", "link", "unlink",
    "fchmod", "stat", "fstat",
})  # fmt: skip


class Disk:
    """The ``os`` module, with a say in each call to the file system.

    Attributes:
        calls: the names of the calls so far.
        fail_at: the calls (from 1) to fail with ``error``.
        delay: seconds that each call takes.
        gates: calls that wait for an event before they go on.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_at: Callable[[int], bool] = lambda _k: False
        self.error = errno.EIO
        self.delay = 0.0
        self.gates: dict[str, threading.Event] = {}
        self.reached: dict[str, threading.Event] = {}
        self.write_most = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.delay:
                time.sleep(self.delay)
            if name in self.gates:
                self.reached[name].set()
                self.gates[name].wait(10)
            if self.fail_at(len(self.calls)):
                if name == "close":
                    real(*args)  # Linux: the descriptor is gone all the same
                raise OSError(self.error, os.strerror(self.error))
            if name == "writev" and self.write_most:
                return os.write(args[0], memoryview(args[1][0])[: self.write_most])
            return real(*args, **kwargs)

        return call

    def gate(self, name: str) -> threading.Event:
        """Make calls wait from now on; set the event to let them go."""
        self.reached[name] = threading.Event()
        self.gates[name] = threading.Event()
        return self.gates[name]

    async def arrive(self, name: str) -> None:
        """Wait until a thread stands before the gate."""
        await until(lambda: self.reached[name].is_set())


def install(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    for module in (draft, openfile, spooled, writebehind):
        monkeypatch.setattr(module, "os", disk)
    return disk


def descriptors() -> set[str]:
    gc.collect()
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            # /dev/null is what uvloop holds in reserve for when descriptors run out.
            if not target.startswith(
                ("anon_inode", "socket", "pipe", "/proc", "/dev/null")
            ):
                found.add(f"{fd} {target}")
    return found


@contextlib.contextmanager
def no_leak(folder: Path) -> Iterator[None]:
    """No descriptor and no temporary file more than before."""
    before = descriptors()
    yield
    until = time.monotonic() + 5
    while not descriptors() <= before and time.monotonic() < until:
        time.sleep(0.01)  # a thread is about to close it
    assert descriptors() <= before
    assert temporaries(folder) == []


def temporaries(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".aiostreams-")]


class Suspensions:
    """Runs a coroutine, and cancels its task at the k-th time it waits."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.count = 0

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await self._drive(coroutine)

    @types.coroutine
    def _drive(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        steps = coroutine.__await__()
        task = asyncio.current_task()
        assert task is not None
        step: Callable[[], Any] = functools.partial(next, steps)
        while True:
            try:
                signal = step()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            self.count += 1
            if self.count == self.k:
                task.get_loop().call_soon(task.cancel)
            try:
                sent = yield signal
            except BaseException as error:
                step = functools.partial(steps.throw, error)
            else:
                step = functools.partial(steps.send, sent)
