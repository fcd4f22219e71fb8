"""zstd and br: frames, windows, levels, and libraries that are too old."""

from __future__ import annotations

import asyncio
import random
import sys
import types
from typing import Any

import pytest

from aiostreams import ByteStream, DecodedStream, EncodedStream, KiB, MalformedBody
from aiostreams.codings import zstd_brotli
from aiostreams.codings.registry import make_decoder, make_encoder, supported_codings
from tests.codings.bodies import CUTS, drip, encode, exploded, outcome
from tests.codings.gzips import PAYLOAD


@pytest.mark.needs_codings("zstd")
async def test_zstd_frames_and_skippable_frames_are_one_body() -> None:
    skippable = b"\x50\x2a\x4d\x18\x05\x00\x00\x00aside"
    body = (
        encode(b"one", "zstd") + skippable + encode(b"", "zstd") + encode(b"2", "zstd")
    )
    for size in CUTS:
        assert await outcome(DecodedStream(drip(body, size), "zstd")) == (b"one2", None)


@pytest.mark.needs_codings("zstd")
async def test_zstd_window_beyond_8_mib_is_refused() -> None:
    """RFC 9659; the frame would make the decoder take the memory."""
    zstd: Any = zstd_brotli._zstd()
    frame = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = frame.compress(b"x" * 100) + frame.flush()
    stream = DecodedStream(ByteStream(body), "zstd")
    assert (await outcome(stream)) == (b"", MalformedBody)


@pytest.mark.needs_codings("zstd")
async def test_million_tiny_zstd_frames_are_refused_at_once() -> None:
    wire = encode(b"", "zstd") * 1_000_000
    _, peak, spent = await exploded(DecodedStream(ByteStream(wire), "zstd"))
    assert peak <= 512 * KiB
    assert spent < 0.5


@pytest.mark.parametrize(("coding", "low", "high"), [("br", 1, 9), ("zstd", 1, 12)])
async def test_higher_level_is_smaller(coding: str, low: int, high: int) -> None:
    words = random.Random(1)
    text = " ".join(f"word{words.randint(1, 2000)}" for _ in range(20_000)).encode()
    sizes = [
        len(await EncodedStream(ByteStream(text), coding, level=level).read())
        for level in (low, high)
    ]
    assert sizes[0] > sizes[1]


@pytest.mark.needs_codings("zstd")
def test_zstd_has_a_checksum() -> None:
    zstd: Any = zstd_brotli._zstd()
    encoded = asyncio.run(EncodedStream(ByteStream(b"x"), "zstd").read())
    assert zstd.get_frame_info(encoded) is not None
    assert encoded[4] & 4  # RFC 8878 section 3.1.1.1.1: Content_Checksum_flag


@pytest.mark.parametrize(("coding", "level"), [("zstd", 19), ("zstd", 22), ("br", 11)])
def test_high_levels_stay_within_the_window_that_decoders_take(
    coding: str, level: int
) -> None:
    """RFC 9659: 8 MiB for zstd; our own decoder refuses more."""
    encoder = make_encoder(coding, level)
    assert encoder.inline == 0  # never on the event loop
    decoder = make_decoder(coding)
    decoder.feed(encoder.encode(PAYLOAD) + encoder.finish())
    assert decoder.decode(10**6) == PAYLOAD
    assert decoder.decode(1) is None
    decoder.finish()


@pytest.mark.usefixtures("fresh_libraries")
@pytest.mark.parametrize("version", ["0.9", "1.1.0"])
def test_brotli_that_cannot_bound_its_output_counts_as_missing(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = types.ModuleType("brotli")
    old.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert "br" not in supported_codings()
