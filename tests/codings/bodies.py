"""Bodies in every coding, cut in every way, and what comes of decoding them."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc

import pytest

from aiostreams import GiB, KiB, LimitExceeded, Limits, MalformedBody, Stream
from aiostreams.codings.registry import known_codings, make_encoder
from aiostreams.streams.threads import ThreadCall
from aiostreams.testing import DripStream

# A row that is added to the table is tested by all of this.
CODINGS = known_codings()
BACKENDS = ("zlib", "zlib_ng.zlib_ng", "isal.isal_zlib")
LOOSE = Limits(max_body=64 * GiB, max_ratio=10**9)
CUTS = (1, 2, 7, 4096, 10**9)
# What can be compressed, and with it what cannot, and what can be to almost nothing.
TEXT = b"".join(
    b"line %d of a text that can be compressed\n" % n for n in range(20_000)
)
MIXED = TEXT + os.urandom(300_000) + bytes(500_000)
on_all_backends = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have no module of these names."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def encode(data: bytes, coding: str, level: int | None = None) -> bytes:
    """``data`` in a coding, or several with commas."""
    for name in coding.split(", "):
        encoder = make_encoder(name, level)
        data = encoder.encode(data) + encoder.finish()
    return data


def drip(data: bytes, size: int) -> Stream:
    return DripStream(data, size, turns=0)


async def outcome(stream: Stream) -> tuple[bytes, type[Exception] | None]:
    """What came out, and why no more did; pieces are of a bounded size."""
    pieces = []
    try:
        async with stream:
            while piece := await stream.readany():
                assert len(piece) <= 256 * KiB
                pieces.append(piece)
    except (MalformedBody, LimitExceeded) as error:
        return b"".join(pieces), type(error)
    return b"".join(pieces), None


async def exploded(stream: Stream) -> tuple[int, int, float]:
    """How much came out before LimitExceeded, the memory peak and the CPU time."""
    await ThreadCall(int).finish()  # the pool costs some memory when it is made
    tracemalloc.start()
    got = 0
    try:
        before = tracemalloc.get_traced_memory()[0]
        started = time.process_time()
        with pytest.raises(LimitExceeded):
            while piece := await stream.readany():
                got += len(piece)
        spent = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        await stream.close()
    return got, peak, spent
