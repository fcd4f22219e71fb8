"""Streams of many files have one of them open at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiostreams import ByteStream, ChainStream, FileStream, MultiPartStream, Stream

FDS = Path("/proc/self/fd")
needs_fds = pytest.mark.skipif(not FDS.exists(), reason="open files are counted there")


def files(folder: Path, count: int) -> list[Stream]:
    streams: list[Stream] = []
    for number in range(count):
        path = folder / str(number)
        path.write_bytes(b"x" * 100)
        streams.append(FileStream(path))
    return streams


async def most_open(stream: Stream) -> int:
    before = len(os.listdir(FDS))
    most = 0
    async with stream:
        while await stream.readany():
            most = max(most, len(os.listdir(FDS)) - before)
        assert len(os.listdir(FDS)) == before
    return most


@needs_fds
async def test_a_form_of_many_files(tmp_path: Path) -> None:
    parts = [({"Content-Type": "a/b"}, stream) for stream in files(tmp_path, 40)]
    assert await most_open(MultiPartStream(parts)) == 1


@needs_fds
async def test_a_chain_of_many_files(tmp_path: Path) -> None:
    assert await most_open(ChainStream(*files(tmp_path, 40))) == 1


async def test_what_cannot_seek_says_so_when_it_was_begun(tmp_path: Path) -> None:
    async with ChainStream(*files(tmp_path, 2)) as chain:
        assert not chain.seekable
        assert len(await chain.read()) == chain.size == 200
        assert not chain.seekable
        with pytest.raises(NotImplementedError):
            await chain.slice(0, 1)


async def test_what_can_seek_can_do_so_at_its_end(tmp_path: Path) -> None:
    chains = [
        ChainStream(ByteStream(b"ab"), ByteStream(b"cd")),
        await ChainStream(*files(tmp_path, 2)).open(),
    ]
    for chain in chains:
        async with chain:
            whole = await chain.read()
            assert chain.seekable
            async with await chain.slice(1, 2) as part:
                assert await part.read() == whole[1:3]
