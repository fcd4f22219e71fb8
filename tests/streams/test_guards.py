"""The guards around a source's methods, where two things happen at once."""

from __future__ import annotations

import asyncio

import pytest

from aiostreams import Stream, StreamBusy, StreamClosed
from tests.waiting import turns


class Gated(Stream):
    """Reads and writes wait for a gate; as often as told, a cancellation is lost."""

    def __init__(self, swallows: int = 0) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.swallows = swallows
        self.written: list[bytes] = []

    async def wait(self) -> None:
        while not self.gate.is_set():
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                if not self.swallows:
                    raise
                self.swallows -= 1
                return

    async def readany(self) -> bytes:
        await self.wait()
        return b"x"

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self.wait()
        self.written.append(bytes(data))


async def begun(stream: Gated, what: str) -> asyncio.Task[object]:
    call = stream.write(b"x") if what == "write" else stream.readany()
    task: asyncio.Task[object] = asyncio.create_task(call)
    await turns()
    return task


both = pytest.mark.parametrize("what", ["read", "write"])


@both
async def test_a_call_that_waits_ends_when_the_stream_is_closed(what: str) -> None:
    stream = Gated()
    task = await begun(stream, what)
    await stream.close()
    with pytest.raises(StreamClosed, match="was closed during the call"):
        await task
    assert not task.cancelling()


@both
async def test_a_source_that_swallows_the_wake_up_does_not_hide_the_close(
    what: str,
) -> None:
    """Its call has ended well, on a stream that is closed: that is no success."""
    stream = Gated(swallows=1)
    task = await begun(stream, what)
    await stream.close()
    with pytest.raises(StreamClosed, match="was closed during the call"):
        await task


@both
async def test_a_cancellation_from_outside_is_never_swallowed(what: str) -> None:
    """Also when the stream is closed in the same moment, before or after."""
    for order in ("close first", "cancel first"):
        stream = Gated()
        task = await begun(stream, what)
        if order == "cancel first":
            task.cancel()
        await stream.close()
        if order == "close first":
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@both
async def test_a_stream_that_closes_itself_while_it_is_called(what: str) -> None:
    """Nobody woke the task: its cancellation is an ordinary one."""

    class ClosesItself(Gated):
        async def wait(self) -> None:
            await self.close()
            await super().wait()

    task = await begun(ClosesItself(), what)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stream = ClosesItself()
    stream.gate.set()
    with pytest.raises(StreamClosed, match="was closed during the call"):
        await (await begun(stream, what))


async def test_a_second_writer_is_refused_and_the_first_goes_on() -> None:
    stream = Gated()
    first = await begun(stream, "write")
    with pytest.raises(StreamBusy, match="another task is writing this Gated"):
        await stream.write(b"y")
    stream.gate.set()
    await first
    assert stream.written == [b"x"]
    await stream.write(b"z")


async def test_a_method_reached_through_super_is_the_plain_one() -> None:
    """Else the inner guard would take its own stream for busy."""

    class Doubled(Gated):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await super().write(data)
            await super().write(data)

        async def readany(self) -> bytes:
            return await super().readany() + await super().readany()

        async def close(self) -> None:
            await super().close()
            self.written.append(b"closed")

    stream = Doubled()
    stream.gate.set()
    await stream.write(b"a")
    assert await stream.readany() == b"xx"
    await stream.close()
    await stream.close()
    assert stream.written == [b"a", b"a", b"closed"]


async def test_an_error_of_a_write_leaves_the_stream_writable() -> None:
    class Picky(Gated):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            if data == b"bad":
                raise OSError("no")
            await super().write(data)

    stream = Picky()
    stream.gate.set()
    with pytest.raises(OSError, match="no"):
        await stream.write(b"bad")
    await stream.write(b"good")
    assert stream.written == [b"good"]
