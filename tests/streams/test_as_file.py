"""as_file(), closed or dropped on the event loop, where nothing can be waited for."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
import zipfile
from pathlib import Path
from typing import Any

import pytest

from aiostreams import ByteStream, FileStream, SpooledStream, Stream


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_what_was_read_ahead_is_given_back_on_the_loop_too() -> None:
    stream = ByteStream(b"0123456789")
    file = stream.as_file()
    assert await asyncio.to_thread(file.read, 3) == b"012"
    file.close()
    assert await stream.read(3) == b"345"
    file = stream.as_file()
    assert await asyncio.to_thread(file.read, 1) == b"6"
    dropped = weakref.ref(file)
    del file
    while dropped() is not None:  # the thread may let go of it a little later
        gc.collect()
        await asyncio.sleep(0.001)
    assert await stream.read() == b"789"


async def test_a_stream_that_is_closed_or_busy_is_left_alone() -> None:
    stream = ByteStream(b"0123456789")
    file = stream.as_file()
    assert await asyncio.to_thread(file.read, 3) == b"012"
    await stream.close()
    file.close()
    assert file.closed

    class Waiting(Stream):
        begun = False

        async def readany(self) -> bytes:
            if self.begun:
                await asyncio.Event().wait()
            self.begun = True
            return b"abc"

    busy = Waiting()
    file = busy.as_file()
    assert await asyncio.to_thread(file.read, 1) == b"a"
    reading = asyncio.create_task(busy.read(1))
    await asyncio.sleep(0)
    file.close()
    reading.cancel()
    await asyncio.wait([reading])
    await busy.close()


async def spooled(data: bytes, _path: Path) -> Stream:
    stream = SpooledStream(max_memory=10)
    await stream.write(data)
    await stream.rewind()
    return stream


async def stored(data: bytes, path: Path) -> Stream:
    path.write_bytes(data)
    return FileStream(path)


@pytest.mark.parametrize("make", [spooled, stored])
async def test_a_file_that_was_sought_and_dropped_leaves_nothing_open(
    make: Any, tmp_path: Path
) -> None:
    """Libraries do not close what they did not open; a ResourceWarning would tell."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a", b"x" * 1000)

    def read(file: io.RawIOBase) -> bytes:
        return zipfile.ZipFile(file).read("a")

    async with await make(target.getvalue(), tmp_path / "f") as stream:
        assert await asyncio.to_thread(read, stream.as_file()) == b"x" * 1000
        gc.collect()
        await settled()
    gc.collect()


def test_a_file_at_its_end_is_closed_without_its_loop() -> None:
    """The garbage collector closes it in any thread, also when the loop has stopped."""
    loop = asyncio.new_event_loop()

    async def read() -> io.RawIOBase:
        file = ByteStream(b"abc").as_file()
        assert await asyncio.to_thread(file.read) == b"abc"
        return file

    try:
        file = loop.run_until_complete(read())
        closing = threading.Thread(target=file.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
