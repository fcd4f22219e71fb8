"""MemoryStorage, beside the promises that it keeps like all storages."""

from __future__ import annotations

from aiostreams import MemoryStorage


async def test_it_says_how_much_it_has_and_nothing_of_it() -> None:
    storage = MemoryStorage()
    assert repr(storage) == "<MemoryStorage 0 objects>"
    async with await storage.create("secret") as stream:
        assert stream.position == 0
        await stream.write(b"ab")
        await stream.write(memoryview(b"c"))
        assert stream.position == 3
    assert repr(storage) == "<MemoryStorage 1 objects>"


async def test_what_is_written_is_a_copy() -> None:
    storage = MemoryStorage()
    data = bytearray(b"abc")
    async with await storage.create("o") as stream:
        await stream.write(data)
        data[:] = b"xyz"
    async with await storage.open("o") as stream:
        assert await stream.read() == b"abc"
