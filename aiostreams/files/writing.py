"""Chunks collected into batches, one batch being written while the next one fills.

A trip to a thread costs as much as writing 64 KiB, so chunks wait in memory until
there is enough to pay for it, and whoever writes goes on meanwhile. At most one batch
is in a thread and one is filling: that bounds the memory, and a slow disk slows the
writer down. A batch leaves at ``BATCH`` bytes, or at ``MOST`` if the last one came
fast: the faster the chunks come, the fewer trips they cost, and a slow upload holds
little. While the last one is being written a batch may grow to ``MOST`` as well; while
it only waits for a thread, many upload at once, and none of them holds more.

An error shows up one write late, or in ``flush``; it is then raised by each later
call.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from typing import TYPE_CHECKING

from aiostreams.limits import KiB, MiB
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from aiostreams.streams.iterable import BytesLike

__all__ = ["BATCH", "MOST", "ChunkList", "WriteBehind", "write_all", "write_new"]


# A PUT of 256 MiB to an idle machine took 2.0 x the CPU of blocking writes in batches
# of 512 KiB, 1.6 x of 1 MiB and 1.2 x of 2 MiB: a trip wakes a thread, and then both
# want the interpreter's lock.
BATCH = 512 * KiB
MOST = 2 * MiB

# What is fast, in bytes per second. Many uploads at once, each with its share of the
# network, are not, so that they hold little.
_FAST = 32 * MiB

# Smaller chunks are copied together: cheaper than an object or a vector element each,
# and a slice of a large buffer that is kept would keep all of that buffer.
_SMALL = 8 * KiB

# How many buffers one writev takes.
_IOV_MAX = os.sysconf("SC_IOV_MAX")

# A write of more takes larger folios for the page cache, and Linux finds these the
# harder the larger they are: writes of 512 KiB cost 61 to 350 ms of CPU time for 256
# MiB, of 32 KiB 76 to 81 ms, whatever the state of the memory. But each write takes the
# interpreter's lock anew, and so a PUT is at its best with this, and half as much again
# is lost where writes do not begin at a multiple of a folio.
_PIECE = 128 * KiB


def write_all(fd: int, chunks: Iterable[BytesLike]) -> None:
    """Write every byte of ``chunks`` where the file stands. Blocking.

    Raises:
        OSError: as ``os.writev``.
    """
    room = _PIECE - os.lseek(fd, 0, os.SEEK_CUR) % _PIECE
    vector: list[memoryview] = []
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            vector.append(rest[:room])
            room -= len(vector[-1])
            rest = rest[len(vector[-1]) :]
            if not room or len(vector) == _IOV_MAX:
                _write_vector(fd, vector)
                vector = []
                room = room or _PIECE
    if vector:
        _write_vector(fd, vector)


def write_new(fd: int, data: BytesLike) -> None:
    """Write ``data`` to a new file. Blocking.

    Few bytes take one call: it is known where the file stands.

    Raises:
        OSError: as ``os.writev``.
    """
    if len(data) > _PIECE:
        write_all(fd, [data])
    else:
        _write_vector(fd, [memoryview(data)])


def _write_vector(fd: int, vector: list[memoryview]) -> None:
    while vector:
        written = os.writev(fd, vector)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        while vector and written >= len(vector[0]):
            written -= len(vector.pop(0))
        if written:
            # A disk that fills up, or a signal: go on in the middle of a piece.
            vector[0] = vector[0][written:]


class ChunkList:
    """Chunks in order; ``held`` is the number of bytes in them."""

    __slots__ = ("_chunks", "_tail", "held")

    def __init__(self) -> None:
        self._chunks: list[BytesLike] = []
        self._tail: bytearray | None = None
        self.held: int = 0

    def add(self, chunk: BytesLike) -> None:
        """Append a chunk; a memoryview must be of bytes."""
        if len(chunk) >= _SMALL:
            self._chunks.append(chunk)
            self._tail = None
        elif self._tail is not None:
            self._tail += chunk
        else:
            self._tail = bytearray(chunk)
            self._chunks.append(self._tail)
        self.held += len(chunk)

    def take(self) -> list[BytesLike]:
        """Everything, which is then no longer here."""
        chunks, self._chunks = self._chunks, []
        self._tail = None
        self.held = 0
        return chunks

    def join(self) -> bytes:
        """Everything in one piece, which stays here."""
        if len(self._chunks) != 1 or type(self._chunks[0]) is not bytes:
            self._chunks = [b"".join(self._chunks)]
            self._tail = None
        piece = self._chunks[0]
        assert type(piece) is bytes
        return piece


class WriteBehind:
    """Writes in batches.

    Args:
        write: takes a batch; called in a thread, never twice at once.

    Attributes:
        taken: how many bytes it was given.
    """

    __slots__ = (
        "_batch",
        "_error",
        "_goal",
        "_job",
        "_since",
        "_trace",
        "_write",
        "taken",
    )

    def __init__(
        self, write: Callable[[list[BytesLike]], None], batch: ChunkList | None = None
    ) -> None:
        self._write = write
        self._batch = ChunkList() if batch is None else batch
        self._job: ThreadCall[None] | None = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None
        # At how many bytes the next batch leaves, and since when it is filling.
        self._goal = BATCH
        self._since = time.monotonic()
        self.taken: int = self._batch.held

    async def write(self, data: BytesLike) -> None:
        """Take ``data``, all of it or, when cancelled or failing, none of it.

        Raises:
            Exception: what writing an earlier batch raised.
        """
        if type(data) is not bytes:
            data = memoryview(data)
            data = data.cast("B") if data.c_contiguous else bytes(data)
        n = len(data)
        while (job := self._job) is not None:
            most = MOST if job.begun else BATCH
            if not job.done and self._batch.held + n < most:
                break
            await self._collect(job)
        if self._error is not None:
            self._raise()
        if n:
            self._batch.add(data)
            self.taken += n
            if self._batch.held >= self._goal and self._job is None:
                self._start()

    async def flush(self) -> None:
        """Write everything taken so far, at least an empty batch, and wait for it.

        Raises:
            Exception: what writing raised.
        """
        await self.settle()
        self._start()
        await self.settle()

    async def settle(self) -> None:
        """Wait for the batch under way.

        Raises:
            Exception: what writing raised.
        """
        while self._job is not None:
            await self._collect(self._job)
        if self._error is not None:
            self._raise()

    async def stop(self) -> None:
        """Forget what no thread has been given, and wait for the one that has.

        Waits through cancellations and raises them afterwards (``ThreadCall.finish``).
        """
        self._batch.take()
        if self._job is not None:
            await self._job.finish()

    def take(self) -> list[BytesLike]:
        """Take what no thread has been given yet."""
        return self._batch.take()

    @property
    def busy(self) -> bool:
        """Whether a thread is writing."""
        return self._job is not None and not self._job.done

    @property
    def held(self) -> int:
        """How many bytes no thread has been given yet."""
        return self._batch.held

    def _start(self) -> None:
        now = time.monotonic()
        fast = self._batch.held > (now - self._since) * _FAST
        self._goal = MOST if fast else BATCH
        self._since = now
        self._job = ThreadCall(functools.partial(self._write, self._batch.take()))

    async def _collect(self, job: ThreadCall[None]) -> None:
        if not job.done:
            await job.wait()
        if self._job is job:  # a flush in another task may have been faster
            self._job = None
            try:
                job.result()
            except BaseException as error:  # noqa: BLE001 - raised by the caller
                self._error = error
                self._trace = error.__traceback__

    def _raise(self) -> None:
        assert self._error is not None
        # With its first traceback: it must not grow with each raise.
        raise self._error.with_traceback(self._trace)
