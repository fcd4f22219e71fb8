"""Decoding: every coding in every cut, limits, bombs, the event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams import (
    ByteStream,
    DecodedStream,
    EncodedStream,
    GiB,
    GUnzipStream,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
    MiB,
    Stream,
    UnsupportedContent,
)
from aiostreams.codings import base
from aiostreams.codings.registry import make_encoder
from aiostreams.testing import DripStream, FailStream, SpyStream
from aiostreams.testing.laws import LAWS
from tests.codings.bodies import CODINGS, CUTS, LOOSE, drip, encode, exploded, outcome
from tests.codings.gzips import PAYLOAD, member


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("data", [b"", b"x", PAYLOAD, os.urandom(5000), bytes(70_000)])
async def test_coding_in_every_cut_and_truncated_at_every_byte(
    coding: str, data: bytes
) -> None:
    body = encode(data, coding)
    for size in CUTS:
        stream = DecodedStream(drip(body, size), coding, limits=LOOSE)
        assert await outcome(stream) == (data, None)
    for end in range(1, len(body), max(1, len(body) // 300)):
        for size in (1, 10**9):
            if size == 1 and end > 200:
                continue
            stream = DecodedStream(drip(body[:end], size), coding, limits=LOOSE)
            got, error = await outcome(stream)
            assert data.startswith(got)
            assert error is MalformedBody, end


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd"])
@pytest.mark.parametrize("tail", [b"x", b"\0", b"more bytes than one"])
async def test_bytes_after_the_end_are_refused(coding: str, tail: bytes) -> None:
    body = encode(PAYLOAD, coding) + tail
    for size in (*CUTS, len(body) - len(tail)):
        got, error = await outcome(DecodedStream(drip(body, size), coding))
        assert error is MalformedBody
        assert PAYLOAD.startswith(got)


@pytest.mark.parametrize("coding", CODINGS)
async def test_corrupt_bytes_are_refused_or_change_nothing(coding: str) -> None:
    """Where there is a checksum, no flipped bit passes."""
    body = encode(PAYLOAD, coding)
    for index in range(len(body)):
        changed = bytearray(body)
        changed[index] ^= 1 << index % 8
        got, error = await outcome(DecodedStream(ByteStream(bytes(changed)), coding))
        if coding in {"gzip", "zstd"}:
            assert error is not None or got == PAYLOAD


@pytest.mark.parametrize("coding", ["", "identity", "Identity, identity", " , "])
async def test_identity_passes_through(coding: str) -> None:
    source = ByteStream(PAYLOAD, content_type="text/plain")
    stream = DecodedStream(source, coding)
    assert stream.size == len(PAYLOAD)
    assert stream.content_type == "text/plain"
    assert await stream.read() == PAYLOAD


@pytest.mark.parametrize(
    "coding", ["gzip, br", "GZip,identity,ZSTD", "deflate, gzip", "x-gzip, x-gzip"]
)
async def test_stacked_codings_are_undone_from_the_right(coding: str) -> None:
    names = coding.replace("x-", "").lower().replace("identity,", "")
    body = encode(PAYLOAD, ", ".join(name.strip() for name in names.split(",")))
    for size in CUTS:
        source = DripStream(body, size, turns=0, known_size=True, content_type="a/b")
        stream = DecodedStream(source, coding)
        assert stream.size is None
        assert stream.content_type == "a/b"
        assert await outcome(stream) == (PAYLOAD, None)
    for end in range(1, len(body)):
        stream = DecodedStream(ByteStream(body[:end]), coding)
        assert (await outcome(stream))[1] is MalformedBody


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, zstd"])
async def test_empty_body_is_empty_in_every_coding(coding: str) -> None:
    assert await DecodedStream(ByteStream(b""), coding).read() == b""


async def test_empty_layer_below_the_wire_is_cut_short() -> None:
    """Only who sent nothing at all may have meant nothing."""
    stream = DecodedStream(ByteStream(encode(b"", "gzip")), "gzip, gzip")
    assert (await outcome(stream))[1] is MalformedBody


@pytest.mark.needs_codings(*CODINGS)
@pytest.mark.parametrize(
    ("coding", "limits"),
    [
        ("foo", None),
        ("gzip, foo", None),
        ("compress", None),
        ("gz ip", None),
        ("gzip, br, gzip", None),
        ("gzip, gzip", Limits(max_codings=1)),
    ],
)
def test_refused_codings_say_what_is_read(coding: str, limits: Limits | None) -> None:
    with pytest.raises(UnsupportedContent) as caught:
        DecodedStream(ByteStream(b""), coding, limits=limits)
    assert caught.value.accept_encoding == "zstd, br, gzip, deflate"


@settings(max_examples=150, deadline=None)
@pytest.mark.needs_codings(*CODINGS)
@given(
    data=st.binary(max_size=3000),
    repeat=st.integers(1, 100),
    coding=st.lists(st.sampled_from(CODINGS), min_size=1, max_size=2).map(", ".join),
    cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
)
def test_what_was_encoded_decodes(
    data: bytes, repeat: int, coding: str, cuts: list[int]
) -> None:
    data *= repeat

    async def run() -> None:
        encoded = EncodedStream(DripStream(data, cuts, turns=0), coding)
        body = await encoded.read()
        assert await EncodedStream(ByteStream(data), coding).read() == body
        decoded = DecodedStream(DripStream(body, cuts, turns=0), coding, limits=LOOSE)
        assert await decoded.read() == data

    asyncio.run(run())


@pytest.mark.parametrize(
    ("coding", "command"),
    [("gzip", ["gzip"]), ("zstd", ["zstd", "-q"]), ("br", ["brotli"])],
)
async def test_what_the_command_line_writes_is_read(
    coding: str, command: list[str], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    plain = tmp_path / "plain"
    data = PAYLOAD * 2000 + os.urandom(300_000)
    plain.write_bytes(data)
    run = await asyncio.to_thread(
        subprocess.run, [*command, "-c", str(plain)], capture_output=True, check=True
    )
    stream = DecodedStream(ByteStream(run.stdout), coding, limits=LOOSE)
    assert await stream.read() == data


# -- limits ------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["identity", *CODINGS, "gzip, br"])
@pytest.mark.parametrize("n", [1, 1000, 200_000])
async def test_max_body_is_exact(coding: str, n: int) -> None:
    data = os.urandom(n)
    body = data if coding == "identity" else encode(data, coding)
    for size in (n // 3 + 1, 10**9):
        exact = DecodedStream(drip(body, size), coding, limits=Limits(max_body=n))
        assert await outcome(exact) == (data, None)
        over = DecodedStream(drip(body, size), coding, limits=Limits(max_body=n - 1))
        assert await outcome(over) == (data[: n - 1], LimitExceeded)


async def test_max_body_says_the_numbers() -> None:
    for stream in (
        DecodedStream(ByteStream(bytes(10)), "identity", limits=Limits(max_body=4)),
        GUnzipStream(ByteStream(member(bytes(10))), limits=Limits(max_body=4)),
    ):
        assert await stream.readany() == bytes(4)
        for _ in range(2):
            with pytest.raises(LimitExceeded) as caught:
                await stream.readany()
            assert (caught.value.limit, caught.value.seen) == (4, 10)


@pytest.mark.parametrize("coding", CODINGS)
async def test_max_ratio_counts_after_64_kib(coding: str) -> None:
    for n, error in ((64 * KiB, None), (64 * KiB + 1, LimitExceeded)):
        body = encode(bytes(n), coding)
        for size in CUTS:
            data, found = await outcome(DecodedStream(drip(body, size), coding))
            assert found is error
            assert bytes(n).startswith(data)


async def test_max_ratio_does_not_depend_on_the_cut() -> None:
    """A burst of zeros in honest data: judged at the same places in each cut."""
    for zeros in (90_000, 1_000_000):
        body = member(os.urandom(3000) + bytes(zeros) + os.urandom(9000))
        found = {(await outcome(GUnzipStream(drip(body, size))))[1] for size in CUTS}
        assert len(found) == 1


async def test_max_ratio_says_the_numbers() -> None:
    with pytest.raises(LimitExceeded, match=r"gave 131072 decoded bytes") as caught:
        await GUnzipStream(ByteStream(member(bytes(10**6)))).read()
    assert caught.value.limit == 100
    assert caught.value.seen > 100


def zeros(total: int, coding: str) -> Iterator[bytes]:
    """``total`` zeros in a coding, made on the way."""
    encoder = make_encoder(coding, 1)
    block = bytes(1 * MiB)
    for _ in range(total // len(block)):
        yield encoder.encode(block)
    yield encoder.finish()


def bomb_gzip_gzip(total: int) -> Iterator[bytes]:
    outer = make_encoder("gzip", 1)
    for piece in zeros(total, "gzip"):
        yield outer.encode(piece)
    yield outer.finish()


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("limits", [Limits(), Limits(max_body=MiB, max_ratio=10**9)])
async def test_bombs_are_refused_in_little_memory(coding: str, limits: Limits) -> None:
    wire = b"".join(zeros(10 * MiB, coding))
    got, peak, _ = await exploded(
        DecodedStream(ByteStream(wire), coding, limits=limits)
    )
    assert got <= MiB
    assert peak <= 512 * KiB + got


async def test_bomb_of_10_gib_is_refused_before_it_has_gone_off() -> None:
    source = SpyStream(IterStream(zeros(10 * GiB, "gzip")))
    got, _, _ = await exploded(GUnzipStream(source))
    assert got <= MiB
    assert source.pulled <= 64 * KiB


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(max_body=MiB, max_ratio=10**9)], ids=["ratio", "body"]
)
async def test_nested_bomb_is_refused(limits: Limits) -> None:
    wire = b"".join(bomb_gzip_gzip(100 * MiB))
    stream = DecodedStream(ByteStream(wire), "gzip, gzip", limits=limits)
    got, peak, _ = await exploded(stream)
    assert got <= MiB
    assert peak <= 512 * KiB + got


async def test_bomb_between_the_layers_is_refused() -> None:
    """Nothing comes out, but what goes between the layers is counted as well."""
    outer = make_encoder("gzip")
    wire = outer.encode(encode(b"x", "gzip") + bytes(20 * MiB)) + outer.finish()
    limits = Limits(max_body=1000, max_ratio=10**9)
    stream = DecodedStream(ByteStream(wire), "gzip, gzip", limits=limits)
    assert await stream.readany() == b"x"
    with pytest.raises(LimitExceeded, match="with 1 of 2 codings undone"):
        await stream.readany()


# -- the event loop, errors, cancelling, closing -----------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("coding", ["identity", *CODINGS, "gzip, br"])
async def test_laws(law: Any, coding: str) -> None:
    limits = Limits(max_ratio=10**9)

    def there_and_back(source: Stream) -> Stream:
        return DecodedStream(EncodedStream(source, coding), coding, limits=limits)

    await law(there_and_back)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("pieces", [4000, 200_000])
async def test_event_loop_is_not_held_by_100_mib(coding: str, pieces: int) -> None:
    block = os.urandom(30_000) + b"some text to be found again\n" * 3500
    encoder = make_encoder(coding, 1)
    wire = b"".join(encoder.encode(block) for _ in range(100 * MiB // len(block)))
    wire += encoder.finish()
    stalls = [0.0]

    async def heartbeat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    beating = asyncio.create_task(heartbeat())
    got = 0
    async with DecodedStream(drip(wire, pieces), coding, limits=LOOSE) as stream:
        while piece := await stream.readany():
            got += len(piece)
    beating.cancel()
    assert got == 100 * MiB // len(block) * len(block)
    # One outlier may be the garbage collector's.
    assert sorted(stalls)[-2] < 0.2


async def test_error_of_the_source_comes_after_its_data() -> None:
    data = os.urandom(500_000)
    wire = encode(data, "gzip")
    for after in (0, 1000, 200_000):
        source = FailStream(wire, after, OSError("lost"), pieces=100_000)
        stream = GUnzipStream(source)
        got = b""
        with pytest.raises(OSError, match="lost"):
            while piece := await stream.readany():
                got += piece
        assert data.startswith(got)
        assert len(got) >= after - 32 * KiB


async def test_closing_and_draining_decode_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    decode = base.GeneratorDecoder.decode

    def counted(self: base.GeneratorDecoder, max_length: int) -> bytes | None:
        nonlocal calls
        calls += 1
        return decode(self, max_length)

    monkeypatch.setattr(base.GeneratorDecoder, "decode", counted)
    source = ByteStream(encode(os.urandom(10 * MiB), "gzip"))
    stream = GUnzipStream(source)
    await stream.readexactly(10)
    await asyncio.sleep(0.05)  # what is in the worker ends
    before = calls
    while await source.readany():
        pass  # as a server drains what nobody read
    await stream.close()
    await asyncio.sleep(0.05)
    assert calls == before
    assert 0 < calls <= 12
