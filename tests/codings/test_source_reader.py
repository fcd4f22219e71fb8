"""Reading ahead while a worker thread has the bytes before, and giving it up."""

from __future__ import annotations

import asyncio
import os
import threading
import zlib

import pytest

from aiostreams import ByteStream, GUnzipStream, GZipStream, KiB, Stream
from aiostreams.codings.source_reader import SourceReader
from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.streams.threads import ThreadCall
from aiostreams.testing import DripStream, SpyStream, StallStream
from tests.codings.bodies import MIXED, encode
from tests.waiting import turns


@pytest.mark.parametrize("backend", ["zlib"], indirect=True)
async def test_source_is_read_while_the_worker_decodes(backend: str) -> None:
    wire = encode(b"".join(b"%d\n" % n for n in range(400_000)), "gzip")
    source = SpyStream(DripStream(wire, 100_000, turns=0))
    async with GUnzipStream(source) as stream:
        assert await stream.readany()
        assert source.pulled == 200_000
    big = SpyStream(DripStream(wire, 200_000, turns=0))
    async with GUnzipStream(big) as stream:
        assert await stream.readany()
        assert big.pulled == 200_000


async def test_read_under_way_is_given_up_with_its_caller() -> None:
    """Between reads of the coded stream, the source is free for others."""
    wire = encode(os.urandom(600_000), "gzip")
    source = StallStream(wire[:300_000], 150_000, turns=1)
    stream = GUnzipStream(source)
    await stream.readexactly(200_000)
    waiting = asyncio.create_task(stream.read())
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.unread(b"free")
    assert await source.readany() == b"free"
    await stream.close()


async def test_reader_that_is_cancelled_twice_loses_nothing() -> None:
    """The second time while the read of the source is being taken back."""

    class Slow(Stream):
        """Takes three turns to give up a read."""

        def __init__(self, data: bytes) -> None:
            self.data = data

        async def readany(self) -> bytes:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                for _ in range(3):
                    await asyncio.sleep(0)
                raise
            piece, self.data = self.data[:100_000], self.data[100_000:]
            return piece

    data = os.urandom(1_500_000)
    stream = GUnzipStream(Slow(encode(data, "gzip")))
    got = b""
    turn = 0
    while True:
        reader = asyncio.create_task(stream.readany())
        turn += 1
        if turn % 2:
            await asyncio.sleep(0.0005 * (turn % 9))
            reader.cancel()
            await asyncio.sleep(0)
            reader.cancel()
        try:
            piece = await reader
        except asyncio.CancelledError:
            continue
        if not piece:
            break
        got += piece
    assert got == data


async def test_source_that_is_busy_is_told_and_not_fatal() -> None:
    wire = encode(os.urandom(300_000), "gzip")
    source = DripStream(wire, 150_000, turns=5)
    stream = GUnzipStream(source)
    other = asyncio.create_task(source.readany())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task is reading"):
        await stream.readany()
    other.cancel()
    await asyncio.sleep(0)
    assert len(await stream.read()) == 300_000


async def test_interruption_of_an_intake_that_nobody_fills() -> None:
    intake = SourceReader(ByteStream(b"x"))
    intake.interrupt()
    await intake.fill(1)
    assert intake.take(5) == b"x"
    assert intake.take(5) == b""


async def test_intake_waits_for_a_read_that_is_slow_to_be_given_up() -> None:
    class Slow(Stream):
        async def readany(self) -> bytes:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
                raise
            return b"piece"

    intake = SourceReader(Slow())
    wake = threading.Event()
    waiting = asyncio.create_task(intake.fill_during(ThreadCall(wake.wait), 1))
    for _ in range(2):
        await asyncio.sleep(0.001)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await intake.fill(1)  # not StreamBusy
    assert intake.take_chunk() == b"piece"
    wake.set()


async def test_source_is_read_while_the_worker_encodes() -> None:
    set_zlib_backend(zlib)
    source = SpyStream(DripStream(MIXED, 128 * KiB, turns=0))
    async with GZipStream(source) as stream:
        await stream.readany()
        assert source.pulled == 2 * 128 * KiB


async def test_stalled_source_is_left_alone_between_reads() -> None:
    set_zlib_backend(zlib)
    source = StallStream(MIXED[: 300 * KiB], 128 * KiB, turns=0)
    stream = GZipStream(source)
    await stream.readany()
    await asyncio.sleep(0.02)
    source.unread(b"free")  # would be StreamBusy
    await stream.close()
