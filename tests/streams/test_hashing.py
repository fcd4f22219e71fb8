"""Digests: those of hashlib, however the bytes come, and beside the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aiostreams import ByteStream, HashStream, KiB, MiB
from aiostreams.streams import hashing
from aiostreams.streams.hashing import hash_whole
from aiostreams.testing import DripStream

LARGE = os.urandom(3 * MiB + 1)


def expected(data: bytes, *names: str) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in names}


@pytest.mark.parametrize("size", [0, 1, 32 * KiB, 32 * KiB + 1, len(LARGE)])
async def test_hash_whole_is_what_hashlib_says(size: int) -> None:
    data = LARGE[:size]
    names = ("sha256", "md5")
    assert await hash_whole(data, names) == expected(data, *names)


@pytest.mark.parametrize("pieces", [1 * KiB, 64 * KiB, 4 * MiB])
async def test_a_stream_that_is_hashed_passes_unchanged(pieces: int) -> None:
    stream = HashStream(DripStream(LARGE, pieces, turns=0), "sha256", "blake2b")
    assert await stream.read() == LARGE
    assert stream.digests == expected(LARGE, "sha256", "blake2b")
    await stream.close()


async def test_sha256_unless_told() -> None:
    stream = HashStream(ByteStream(b"abc"))
    await stream.read()
    assert stream.digests == expected(b"abc", "sha256")


async def test_large_bodies_are_hashed_in_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = set()
    plain: Any = hashing.Hashes.update

    def noted(*args: Any) -> None:
        threads.add(threading.get_ident())
        plain(*args)

    monkeypatch.setattr(hashing.Hashes, "update", noted)
    async with HashStream(DripStream(LARGE, 64 * KiB, turns=0)) as stream:
        await stream.read()
    await hash_whole(LARGE, ("sha256",))
    assert threads
    assert threading.get_ident() not in threads


async def test_a_read_that_is_cancelled_hashes_nothing_twice() -> None:
    stream = HashStream(DripStream(LARGE, 256 * KiB, turns=0))
    got = b""
    while True:
        task = asyncio.create_task(stream.readany())
        for _ in range(len(got) % 3):
            await asyncio.sleep(0)
        task.cancel()
        try:
            got += await task
        except asyncio.CancelledError:
            piece = await stream.readany()
            if not piece:
                break
            got += piece
    assert got == LARGE
    assert stream.digests == expected(LARGE, "sha256")


@pytest.mark.parametrize("name", ["sha257", "shake_128"])
async def test_an_algorithm_that_is_unknown_or_has_no_length(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        HashStream(ByteStream(b""), name)
    with pytest.raises(ValueError, match=name):
        await hash_whole(b"", (name,))


async def test_hashes_where_every_thread_of_the_default_executor_waits_for_it() -> None:
    # The usual way to read a file in a thread must not take the hash's own place.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    stream = HashStream(ByteStream(bytes(2 * MiB)))
    async with asyncio.timeout(10):
        assert len(await asyncio.to_thread(stream.as_file().readall)) == 2 * MiB
    assert stream.digests["sha256"] == hashlib.sha256(bytes(2 * MiB)).hexdigest()
