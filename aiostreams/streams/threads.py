"""Threads for calls that block: few at once while these are quick, many once they wait.

Two things are unlike ``ThreadPoolExecutor``.

A call wakes one thread, the one that ran last. The executor's threads all wait at one
queue, where each call wakes a second one, which finds nothing and takes the
interpreter's lock for that; and they take turns, so none of them is in any cache. Here
each waits at a gate of its own, and a trip costs 25 us of CPU instead of 40.

Only a few calls run at once, as many as there are processors, since writing into the
page cache is work and not waiting: with 32 threads at it on two processors the event
loop gets its turn after all of them. 64 uploads then delayed every other request by
60 to 130 ms, and by 0.5 ms with two threads. A call that takes long, or is known to
wait for the disk (``fsync``), is not one of the few any more; a dead network file
system stops nobody until it has taken all ``most`` threads.

The threads are daemons, so an idle one does not keep the process. At its end calls
under way are waited for, but not for ever.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]

# After how long, in seconds, a call counts as one that waits. Nothing that a processor
# does in one call here takes half of it.
_LONG: Final = 0.010

_logger = logging.getLogger("aiostreams.files")


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
        """Have ``call`` called in a thread. What it raises is logged.

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
