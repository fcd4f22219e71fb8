"""Blocking file work: each piece of it is a Job in a thread, and none is abandoned.

A thread cannot be cancelled, so whoever is cancelled while waiting for one leaves
the work under way. Three rules keep that safe:

* what a job works on (a descriptor, a temporary file) is an object that the job
  refers to; it is closed by a later job, or dies with the last reference to it;
* an owner has one job at a time, and ends (``finish``) it before it closes what
  the job uses;
* ``finish`` waits through cancellations and raises them afterwards. It does not
  wait for ever: see ``_PATIENCE``.

The threads are this module's own. In the default executor, threads that wait for a
stream in ``as_file()`` could take every place, and the stream would wait for one.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from aiostreams.limits import MiB
from aiostreams.streams.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Job", "finalize"]

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


class Job(Generic[T]):
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
        self._first: dict[None, Job[T] | None] = {}
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
        """What the call returned, or raise what it raised; once it is done, and once.

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
        cancelled: asyncio.CancelledError | None = None
        given_up = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            self._wake()

        timer = self._loop.call_later(_PATIENCE, give_up)
        while not (self.done or given_up):
            try:
                await self.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        timer.cancel()
        if not self.done:
            _logger.warning("file call hangs, left to its thread")
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                cancelled = None  # no cycle of the error and this frame
