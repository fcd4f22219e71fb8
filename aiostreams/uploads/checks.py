"""Checks of a file while it arrives: each reads a stream of its own.

    Checks.write -> one _Feed for each check -> the stream that the check reads

A piece is handed on when every check has room for it, so the slowest sets the pace,
and each holds ``_AHEAD`` bytes and one piece at most. A check that has returned gets no
more. It is a file of its own because a rule names a check, and a receiver runs it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from aiostreams.errors import StorageError
from aiostreams.limits import MiB
from aiostreams.streams.base import Stream
from aiostreams.streams.tasks import end, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from aiostreams.streams.base import Sink
    from aiostreams.uploads.stored import StoredFile

    Check: TypeAlias = Callable[[Stream, StoredFile], Awaitable[object]]

__all__ = ["Checks", "all_checks"]

# With room for a single piece of 256 KiB the next one, which is there already, waits
# for the check's turn of the loop: a task and a timer for most pieces of a large file.
# All checks of a file hold the same bytes.
_AHEAD: Final = 1 * MiB


def all_checks(check: Check | Iterable[Check] | None) -> tuple[Check, ...]:
    """Return the checks that an argument ``check=`` means."""
    if check is None:
        return ()
    return (check,) if callable(check) else tuple(check)


class Checks:
    """The checks of one file; ``async with`` ends those that still run.

    Args:
        checks: what is to see the bytes.
        file: what is known of it before it is read: no size, no digests.
        timeout: for how many seconds a check may neither read nor return.
        data: all of the bytes, where they are here already: nothing is written then.
    """

    def __init__(
        self,
        checks: Iterable[Check],
        file: StoredFile,
        timeout: float | None,
        data: bytes | None = None,
    ) -> None:
        self._feeds = [_Feed(check, file, timeout, data) for check in checks]
        self._sink: Sink | None = None

    def __bool__(self) -> bool:
        return bool(self._feeds)

    def before(self, sink: Sink) -> Sink:
        """Return a sink that gives each piece to the checks, and then to ``sink``."""
        if not self._feeds:
            return sink
        self._sink = sink
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Give a piece to all checks.

        Raises:
            StorageError: a check takes too long.
            Exception: what a check has raised.
        """
        piece = bytes(data)
        for feed in self._feeds:
            await feed.offer(piece)
        if self._sink is not None:
            await self._sink.write(piece)

    async def verdict(self) -> None:
        """Say that this was all, and wait for every check.

        Raises:
            StorageError: a check takes too long.
            Exception: what a check has raised.
        """
        for feed in self._feeds:
            feed.finish()
        if not all(feed.task.done() for feed in self._feeds):
            # Most need no more than a turn, and to wait for one costs several.
            await asyncio.sleep(0)
        for feed in self._feeds:
            await feed.verdict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for feed in self._feeds:
            await end(feed.task)


class _Feed:
    """The bytes on their way to one check."""

    def __init__(
        self,
        check: Check,
        file: StoredFile,
        timeout: float | None,
        data: bytes | None = None,
    ) -> None:
        self._timeout = timeout
        self._pieces: deque[bytes] = deque([data] if data else ())
        self._held = len(data or b"")
        self._over = data is not None
        self._given = asyncio.Event()
        self._moved = asyncio.Event()
        self.task: asyncio.Task[None] = start(self._run(check, file))
        self.task.add_done_callback(lambda _: self._moved.set())

    async def _run(self, check: Check, file: StoredFile) -> None:
        async with _CheckStream(self, file.content_type) as stream:
            await check(stream, file)

    async def take(self) -> bytes:
        """Return the next piece; ``b""`` when there will be no more."""
        while not self._pieces:
            if self._over:
                return b""
            self._given.clear()
            await self._given.wait()
        piece = self._pieces.popleft()
        self._held -= len(piece)
        self._moved.set()
        return piece

    async def offer(self, piece: bytes) -> None:
        while self._held >= _AHEAD and not self.task.done():
            await self._wait()
        if self.task.done():
            self._result()
            return
        self._pieces.append(piece)
        self._held += len(piece)
        self._given.set()

    def finish(self) -> None:
        self._over = True
        self._given.set()

    async def verdict(self) -> None:
        while not self.task.done():
            await self._wait()
        self._result()

    def _result(self) -> None:
        if self.task.cancelled():
            raise StorageError("a check of the file was cancelled")
        self.task.result()

    async def _wait(self) -> None:
        """Wait until the check has read something, or has returned."""
        self._moved.clear()
        if self.task.done():
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._moved.wait()
        except TimeoutError:
            error = StorageError(
                f"a check of the file neither read nor returned for {self._timeout} "
                "seconds"
            )
            error.status = 503
            raise error from None


class _CheckStream(Stream):
    """What a check reads."""

    def __init__(self, feed: _Feed, content_type: str) -> None:
        super().__init__(content_type=content_type)
        self._feed = feed

    async def readany(self) -> bytes:
        return await self._feed.take()
