"""Batches on their way into a file: every byte, in order, in pieces of a good size."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiostreams import KiB
from aiostreams.files import writing as writebehind
from aiostreams.files.writing import _PIECE, BATCH, MOST, WriteBehind, write_all
from aiostreams.streams.iterable import BytesLike

DATA = os.urandom(300_000)


def cut(sizes: list[int]) -> list[BytesLike]:
    """``DATA`` in chunks of these sizes, over and over."""
    chunks: list[BytesLike] = []
    start = 0
    while start < len(DATA):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(DATA[start : start + size])
        start += size
    return chunks


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Where each ``writev`` began, and how much it wrote."""
    seen: list[tuple[int, int]] = []
    writev = os.writev

    def noted(fd: int, buffers: Any) -> int:
        assert len(buffers) <= writebehind._IOV_MAX
        place = os.lseek(fd, 0, os.SEEK_CUR)
        written = writev(fd, buffers)
        seen.append((place, written))
        return written

    monkeypatch.setattr(os, "writev", noted)
    return seen


@pytest.mark.parametrize("before", [0, 1, _PIECE, 200_001])
@pytest.mark.parametrize(
    "sizes",
    [
        [300_000],
        [_PIECE],
        [1, _PIECE - 1],
        [7, 50_000, 333],
        [3],
    ],
)
def test_writes_end_where_the_pages_of_a_folio_do(
    tmp_path: Path, writes: list[tuple[int, int]], sizes: list[int], before: int
) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(bytes(before))
        write_all(file.fileno(), cut(sizes))
        file.seek(before)
        assert file.read() == DATA
    for place, written in writes[:-1]:
        assert written <= _PIECE - place % _PIECE
    if sizes != [3]:  # more of these than one call takes
        assert all(not place % _PIECE for place, _ in writes[1:])


@pytest.mark.parametrize("most", [1, 1000, 40_000])
def test_a_write_that_takes_less_goes_on_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    data = DATA[:50_000]
    writev = os.writev

    def little(fd: int, buffers: Any) -> int:
        return writev(fd, [b"".join(buffers)[:most]])

    monkeypatch.setattr(os, "writev", little)
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        chunks: list[BytesLike] = [
            data[:1],
            data[1:20_000],
            memoryview(data)[20_000:],
            bytearray(),
        ]
        write_all(file.fileno(), chunks)
        file.seek(0)
        assert file.read() == data


def test_a_write_that_takes_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an endless loop."""
    monkeypatch.setattr(os, "writev", lambda _fd, _buffers: 0)
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OSError, match="nothing"),
    ):
        write_all(file.fileno(), [b"x"])


@pytest.mark.parametrize("fast", [True, False])
async def test_batches_grow_with_the_pace_of_the_chunks(
    monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    """A slow upload holds little, a fast one wakes a thread seldom."""
    clock = itertools.count(0, 0.001 if fast else 1.0)
    ticking = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(writebehind, "time", ticking)
    batches: list[int] = []
    behind = WriteBehind(lambda chunks: batches.append(sum(map(len, chunks))))
    for _ in range(8 * MOST // (128 * KiB)):
        await behind.write(bytes(128 * KiB))
        if behind.busy:
            await behind.settle()  # so that no batch grows because of another
    await behind.flush()
    assert sum(batches) == 8 * MOST
    assert batches[0] == BATCH
    assert set(batches[1:-1]) == {MOST if fast else BATCH}
