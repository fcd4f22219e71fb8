"""Blocking calls in worker threads, none of which is abandoned.

``ThreadCall`` is one call. A thread cannot be cancelled, so a task that is cancelled
while it waits for one leaves the work under way. Three rules keep that safe:

* what a call works on (a descriptor, a temporary file) is an object that the call
  refers to; it is closed by a later call, or dies with the last reference to it;
* an owner has one call at a time, and ends (``finish``) it before it closes what
  the call uses;
* ``finish`` waits through cancellations and raises them afterwards. It does not
  wait forever: see ``_PATIENCE``.

``Threads`` is the pool that the calls run in: few at once while they are quick, many
once they wait. It is this package's own, because threads that wait for a stream in
``as_file()`` could take every place of the default executor, and the stream would wait
for one. It differs from ``ThreadPoolExecutor`` in three things.

A call wakes one thread, the one that ran last. The executor's threads all wait at one
queue, where each call wakes a second one, which finds nothing and takes the
interpreter's lock for that; and they take turns, so none of them is in any cache. Here
each waits at a gate of its own: a trip costs 21 us of CPU instead of 30, and with 16
under way at once 7 instead of 12.

Only a few calls run at once, as many as there are processors, since writing into the
page cache is work and not waiting: with 32 threads at it on two processors the event
loop gets its turn after all of them. 64 uploads then delayed every other request by
60 to 130 ms, and by 0.5 ms with two threads. A call that takes long, or is known to
wait for the disk (``fsync``), is not one of the few any more; a dead network file
system stops others only once it has taken all ``most`` threads. An executor with as
many threads as there are processors is stopped by two calls that hang.

A call may be submitted by the garbage collector in the middle of another submission.

The threads are daemons, so an idle one does not keep the process alive. At its end
calls under way are waited for, but not forever.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from aiostreams.limits import MiB
from aiostreams.streams.tasks import PostponedCancellation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadCall", "Threads", "call_in_thread", "finalize"]

T = TypeVar("T")

# As many as nginx keeps for its disk reads. They are started as they are needed.
_THREADS = 32
# Beyond so many that are not waiting, what they gain they lose at the interpreter's
# lock.
_BUSY = 8

# How long, in seconds, a clean-up waits for a call that hangs (a dead network file
# system). Then the thread is left to clean up by itself.
_PATIENCE = 10.0

_logger = logging.getLogger("aiostreams.files")


# Bytes; see _pool().
_KEPT: Final = 8 * MiB


@functools.cache
def _pool() -> Threads:
    # glibc gives free memory back to the system when there is twice as much as the
    # largest block that it has seen freed, and what a job takes next is a page fault
    # for each 4 KiB: a third of the CPU time of a br encoder in a thread. Seeing one
    # large block is enough; it is never touched, so it costs nothing.
    bytes(_KEPT)
    return Threads(max(2, min(_processors(), _BUSY)), _THREADS, "aiostreams")


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on macOS
        return os.cpu_count() or 1


@atexit.register
def _drain() -> None:
    if _pool.cache_info().currsize and not _pool().drain(_PATIENCE):
        _logger.warning("file calls hang, left to their threads")


# A forked child inherits the pool but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def finalize(function: Callable[[], None]) -> None:
    """Call ``function`` for a ``__del__``: in a thread, if an event loop runs here."""
    try:
        asyncio.get_running_loop()
        _pool().submit(function)
    except RuntimeError:  # no loop to block, or the interpreter is shutting down
        function()


class ThreadCall(Generic[T]):
    """One call in a thread, begun as soon as may be; make it on the event loop.

    Args:
        function: what is called.
        waits: whether it waits for the disk more than it works (``fsync``).

    Attributes:
        begun: whether a thread has taken it up.
        done: whether the call has returned or raised.
    """

    __slots__ = ("_error", "_first", "_function", "_loop", "_value", "_waiters",
                 "begun", "done")  # fmt: skip

    def __init__(self, function: Callable[[], T], *, waits: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._function: Callable[[], T] | None = function
        self._waiters: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        self._value: T
        # Who came first, the thread to its end or somebody to wait for it?
        # Waking the loop costs more than a small write; when nobody waits yet, it
        # is left out. setdefault() is atomic, so exactly one of them is first.
        self._first: dict[None, ThreadCall[T] | None] = {}
        self.begun: bool = False
        self.done: bool = False
        _pool().submit(self._run, waits=waits)

    def _run(self) -> None:
        assert self._function is not None
        self.begun = True
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - kept for result()
            # Without this frame, which refers to the job, which keeps the error.
            trace = error.__traceback__
            self._error = error.with_traceback(trace and trace.tb_next)
        self._function = None
        self.done = True
        if self._first.setdefault(None, self) is not self:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                pass  # the loop was closed: there is nobody left to tell

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def failed(self) -> bool:
        """Whether the call has raised."""
        return self._error is not None

    def result(self) -> T:
        """Return what the call returned, or raise what it raised; when done, and once.

        The thread may still be on its way out, and refers to the job for as long. It
        must not keep what the caller has got: a file is closed when it is dropped.
        """
        if self._error is not None:
            raise self._error
        value = self._value
        del self._value
        return value

    async def wait(self) -> None:
        """Wait until it is done. A cancelled wait leaves it under way."""
        if self.done or self._first.setdefault(None, None) is self:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    async def finish(self) -> None:
        """Wait for the end, through cancellations, and raise those afterwards.

        After 10 seconds the thread is left alone; ``done`` tells. What it uses must
        then be dropped, so that it dies with the thread's own reference.
        """
        if self.done:
            return
        given_up = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            self._wake()

        timer = self._loop.call_later(_PATIENCE, give_up)
        cancellation = PostponedCancellation()
        while not (self.done or given_up):
            with cancellation:
                await self.wait()
        timer.cancel()
        if not self.done:
            _logger.warning("file call hangs, left to its thread")
        cancellation.reraise()


async def call_in_thread(
    function: Callable[[], T], undo: Callable[[T], None] | None = None
) -> T:
    """Call ``function`` in a thread; a cancelled call is waited for, and undone.

    Args:
        function: what is called.
        undo: called in a thread, with what ``function`` returned to a cancelled call.
    """
    job = ThreadCall(function)
    try:
        await job.wait()
    except asyncio.CancelledError:
        try:
            await job.finish()
        finally:
            if undo is not None and job.done and not job.failed:
                await ThreadCall(functools.partial(undo, job.result())).finish()
        raise
    return job.result()


# After how long, in seconds, a call counts as one that waits. Nothing that a processor
# does in one call here takes half of it.
_LONG: Final = 0.010


class Threads:
    """Threads, started as they are needed, and kept.

    Args:
        few: how many calls run at once that do not wait; more of them queue up.
        most: how many threads there are at most.
        name: what the names of the threads begin with.
    """

    def __init__(self, few: int, most: int, name: str) -> None:
        self._few = few
        self._most = most
        self._name = name
        # Held for a few instructions, never while a call runs. The garbage collector
        # may come in between, and with it the __del__ of something that submits a
        # call: hence the R, and each list is in order whenever another function is
        # entered.
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        # Calls under way that count among the few.
        self._running = 0
        # Each with whether it is known to wait.
        self._backlog: deque[tuple[Callable[[], object], bool]] = deque()
        # The gate of the thread that looks for calls that take long; it is open
        # when there may be any that others queue up for.
        self._alarm: threading.Lock | None = None
        self._alarmed = False

    def submit(self, call: Callable[[], object], *, waits: bool = False) -> None:
        """Call ``call`` in a thread. What it raises is logged.

        Args:
            call: what to call.
            waits: whether it spends its time waiting for the disk.

        Raises:
            RuntimeError: there is no thread, and none can be started.
        """
        with self._lock:
            if (waits or self._running < self._few) and self._begin(call, waits):
                return
            self._backlog.append((call, waits))
            if not self._alarmed:
                self._alarmed = True
                self._raise_alarm()

    def drain(self, patience: float) -> bool:
        """Wait until nothing is left to do, at most ``patience`` seconds. Blocking.

        Returns:
            Whether that is so.
        """
        deadline = time.monotonic() + patience
        while True:
            with self._lock:
                if len(self._idle) == len(self._workers) and not self._backlog:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)

    # -- with the lock held --------------------------------------------------------

    def _begin(self, call: Callable[[], object], waits: bool) -> bool:  # noqa: FBT001
        """Give it to a thread, if there is one for it."""
        if self._idle:
            self._take(self._idle.pop(), call, waits).gate.release()
            return True
        if len(self._workers) == self._most:
            return False
        worker = self._take(_Worker(), call, waits)
        self._workers.append(worker)
        try:
            self._start(self._work, worker, len(self._workers) - 1)
        except RuntimeError:
            # The system has no more threads, or the interpreter is shutting down.
            self._workers.remove(worker)
            self._leave(worker)
            if not self._workers:
                raise
            return False
        return True

    def _take(
        self,
        worker: _Worker,
        call: Callable[[], object],
        waits: bool,  # noqa: FBT001
    ) -> _Worker:
        worker.call = call
        worker.counts = not waits
        worker.since = time.monotonic()
        self._running += worker.counts
        return worker

    def _leave(self, worker: _Worker) -> None:
        self._running -= worker.counts
        worker.counts = False

    def _start(self, target: Callable[..., None], *args: object) -> None:
        name = f"{self._name}_{args[-1]}"
        threading.Thread(target=target, args=args, name=name, daemon=True).start()

    def _raise_alarm(self) -> None:
        if self._alarm is None:
            self._alarm = threading.Lock()
            try:
                self._start(self._watch, "watch")
            except RuntimeError:
                # There is none for the calls either; perhaps the next time.
                self._alarm = None
                self._alarmed = False
        else:
            self._alarm.release()

    # -- in the threads ------------------------------------------------------------

    def _work(self, worker: _Worker, _: int) -> None:
        while True:
            worker.run()
            with self._lock:
                self._leave(worker)
                if self._backlog and (self._running < self._few or self._backlog[0][1]):
                    self._take(worker, *self._backlog.popleft())
                    continue
                self._idle.append(worker)
            worker.gate.acquire()

    def _watch(self, _: str) -> None:
        """While calls queue up: let one more begin for each that takes long."""
        assert self._alarm is not None
        self._alarm.acquire()
        while True:
            time.sleep(_LONG)
            with self._lock:
                if self._backlog:
                    self._overtake(time.monotonic() - _LONG)
                    continue
                self._alarmed = False
            self._alarm.acquire()

    def _overtake(self, before: float) -> None:
        for worker in self._workers:
            if worker.counts and worker.since < before:
                self._leave(worker)
        for _ in itertools.repeat(None, self._few - self._running):
            if not self._backlog or not self._begin(*self._backlog[0]):
                break
            self._backlog.popleft()


class _Worker:
    """What one thread is to call, and the gate where it waits for that.

    Attributes:
        counts: whether it is at a call that counts among the few.
        since: when that began.
    """

    __slots__ = ("call", "counts", "gate", "since")

    def __init__(self) -> None:
        self.call: Callable[[], object] | None = None
        self.counts = False
        self.since = 0.0
        self.gate = threading.Lock()
        self.gate.acquire()

    def run(self) -> None:
        # No reference is left while it waits for the next one: what it would keep
        # alive may have a descriptor to close.
        call, self.call = self.call, None
        assert call is not None
        try:
            call()
        except BaseException:
            _logger.exception("a file call has failed")
