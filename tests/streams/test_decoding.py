"""Decoding: every gzip there is in every cut, the other codings, bombs, the loop."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostreams.codings import base
from aiostreams.codings import registry as codecs
from aiostreams.codings.decoded import DecodedStream, GUnzipStream
from aiostreams.codings.encoded import EncodedStream
from aiostreams.codings.registry import make_encoder
from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.errors import LimitExceeded, MalformedBody, UnsupportedContent
from aiostreams.limits import GiB, KiB, Limits, MiB
from aiostreams.streams.base import Stream
from aiostreams.streams.iterable import IterStream
from aiostreams.streams.memory import ByteStream
from aiostreams.testing import DripStream, FailStream, SpyStream, StallStream
from aiostreams.testing.laws import LAWS
from tests.streams.gzips import ACCEPT, PAYLOAD, REJECT, member

CODINGS = ("gzip", "deflate", "br", "zstd")
BACKENDS = ("zlib", "zlib_ng.zlib_ng", "isal.isal_zlib")
LOOSE = Limits(max_body=64 * GiB, max_ratio=10**9)
CUTS = (1, 2, 7, 4096, 10**9)


@pytest.fixture(autouse=True, params=[None])
def backend(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The best back end, or for ``on_all_backends`` each of them."""
    name = request.param
    set_zlib_backend(
        None
        if name is None
        else pytest.importorskip(name, reason="needs the extra speedups")
    )
    yield name
    set_zlib_backend(None)


on_all_backends = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


def encode(data: bytes, coding: str, level: int | None = None) -> bytes:
    for name in coding.split(", "):
        encoder = make_encoder(name, level)
        data = encoder.encode(data) + encoder.finish()
    return data


def drip(data: bytes, size: int) -> Stream:
    return DripStream(data, size, turns=0)


async def outcome(stream: Stream) -> tuple[bytes, type[Exception] | None]:
    pieces = []
    try:
        async with stream:
            while piece := await stream.readany():
                assert len(piece) <= 256 * KiB
                pieces.append(piece)
    except (MalformedBody, LimitExceeded) as error:
        return b"".join(pieces), type(error)
    return b"".join(pieces), None


# -- gzip, by hand and from the corpus ---------------------------------------------


@on_all_backends
@pytest.mark.parametrize("name", ACCEPT)
async def test_gzip_is_accepted_in_every_cut(name: str) -> None:
    body, payload = ACCEPT[name]
    for size in CUTS:
        assert await outcome(GUnzipStream(drip(body, size))) == (payload, None)
    for split in range(len(body) if len(body) < 1000 else 0):
        stream = GUnzipStream(IterStream([body[:split], body[split:]]))
        assert await outcome(stream) == (payload, None)


@on_all_backends
@pytest.mark.parametrize("name", REJECT)
async def test_gzip_is_refused_in_every_cut(name: str) -> None:
    body = REJECT[name]
    for size in CUTS:
        _, error = await outcome(GUnzipStream(drip(body, size)))
        assert error is MalformedBody
    for split in range(len(body) if len(body) < 1000 else 0):
        stream = GUnzipStream(IterStream([body[:split], body[split:]]))
        assert (await outcome(stream))[1] is MalformedBody


def ends(body: bytes) -> set[int]:
    """Where a gzip body may end: nowhere, after a member, and within its padding."""
    found = {0}
    rest = body
    while rest.strip(b"\0"):
        inflater = zlib.decompressobj(31)
        inflater.decompress(rest)
        rest = inflater.unused_data
        found.add(len(body) - len(rest))
    return found | set(range(len(body) - len(rest), len(body) + 1))


@on_all_backends
@pytest.mark.parametrize(
    "name", ["plain", "all fields", "empty members", "zero padding", "two members"]
)
async def test_truncated_gzip_is_refused_at_every_byte(name: str) -> None:
    body, payload = ACCEPT[name]
    good = ends(body)
    for end in range(len(body)):
        for size in (10**9, 1) if end % 9 == 0 else (10**9,):
            data, error = await outcome(GUnzipStream(drip(body[:end], size)))
            assert payload.startswith(data)
            assert error is (None if end in good else MalformedBody), end


def corpus() -> list[Any]:
    folder = os.environ.get("AIOSTREAMS_CORPUS", "")
    missing = pytest.mark.skip(reason="AIOSTREAMS_CORPUS has no folder gzip")
    return sorted(Path(folder, "gzip").glob("*.json")) or [
        pytest.param(Path("none"), marks=missing)
    ]


@on_all_backends
@pytest.mark.parametrize("file", corpus(), ids=lambda file: file.stem)
async def test_gzip_corpus(file: Path) -> None:
    case = json.loads(file.read_text("utf-8"))
    body = file.with_suffix(".bin").read_bytes()
    for size in CUTS:
        data, error = await outcome(GUnzipStream(drip(body, size), limits=LOOSE))
        if case["expect"] == "reject":
            assert error is MalformedBody
        elif case["expect"] == "accept" or error is None:
            assert error is None
            assert len(data) == case["payload"]["length"]
            assert hashlib.sha256(data).hexdigest() == case["payload"]["sha256"]
    if case["expect"] == "accept" and len(body) <= 4096:
        good = ends(body)
        for end in range(len(body)):
            _, error = await outcome(GUnzipStream(drip(body[:end], 10**9)))
            assert error is (None if end in good else MalformedBody), end


async def test_messages_have_numbers_and_no_bytes() -> None:
    stream = GUnzipStream(ByteStream(member(b"secret") + b"garbage garbage"))
    assert await stream.readany() == b"secret"
    for _ in range(2):
        with pytest.raises(MalformedBody) as caught:
            await stream.readany()
        assert (
            str(caught.value) == "no gzip member after 6 decoded bytes of the gzip body"
        )


async def test_gzip_header_that_does_not_end_is_refused() -> None:
    def endless() -> Iterator[bytes]:
        yield member(flags=8)[:10]
        yield from itertools.repeat(b"n" * 4096)

    with pytest.raises(LimitExceeded, match="header has more than 262144 bytes"):
        await GUnzipStream(IterStream(endless())).read()


async def test_padding_that_does_not_end_is_refused() -> None:
    def endless() -> Iterator[bytes]:
        yield member(b"x")
        yield from itertools.repeat(bytes(4096))

    stream = GUnzipStream(IterStream(endless()), limits=Limits(max_body=1000))
    assert await stream.readany() == b"x"
    with pytest.raises(LimitExceeded, match="with 0 of 1 codings undone") as caught:
        await stream.readany()
    assert caught.value.limit == 1000


# -- the other codings -------------------------------------------------------------


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


@on_all_backends
@pytest.mark.parametrize("wbits", [15, -15, 9])
@pytest.mark.parametrize("level", [0, 1, 9])
async def test_deflate_is_read_with_and_without_the_zlib_format(
    wbits: int, level: int
) -> None:
    for data in (b"", PAYLOAD):
        deflater = zlib.compressobj(level, zlib.DEFLATED, wbits)
        body = deflater.compress(data) + deflater.flush()
        for size in CUTS:
            stream = DecodedStream(drip(body, size), "deflate")
            assert await outcome(stream) == (data, None)
        for end in range(1, len(body)):
            stream = DecodedStream(drip(body[:end], 10**9), "deflate")
            assert (await outcome(stream))[1] is MalformedBody


@on_all_backends
@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xff\xff\xff",
        b"plain text",
        zlib.compress(b"x")[:-1] + b"\0",
        zlib.compress(PAYLOAD)[:-4] + b"\0\0\0\1",
    ],
)
async def test_deflate_that_is_none_is_refused(body: bytes) -> None:
    for size in CUTS:
        stream = DecodedStream(drip(body, size), "deflate")
        assert (await outcome(stream))[1] is MalformedBody


async def test_deflate_with_a_dictionary_is_refused() -> None:
    deflater = zlib.compressobj(zdict=b"some words")
    body = deflater.compress(b"some words") + deflater.flush()
    stream = DecodedStream(ByteStream(body), "deflate")
    assert (await outcome(stream))[1] is MalformedBody


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
    zstd: Any = codecs._library("zstd")
    frame = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = frame.compress(b"x" * 100) + frame.flush()
    stream = DecodedStream(ByteStream(body), "zstd")
    assert (await outcome(stream)) == (b"", MalformedBody)


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


async def exploded(stream: Stream) -> tuple[int, int, float]:
    """How much came out before LimitExceeded, the memory peak and the CPU time."""
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


@on_all_backends
async def test_million_tiny_gzip_members_are_refused_at_once() -> None:
    for one in (member(b""), member(b"x")):
        wire = one * 1_000_000
        got, peak, spent = await exploded(GUnzipStream(ByteStream(wire), limits=LOOSE))
        assert got <= 1001
        assert peak <= 512 * KiB
        assert spent < 0.5


@pytest.mark.needs_codings("zstd")
async def test_million_tiny_zstd_frames_are_refused_at_once() -> None:
    wire = encode(b"", "zstd") * 1_000_000
    _, peak, spent = await exploded(DecodedStream(ByteStream(wire), "zstd"))
    assert peak <= 512 * KiB
    assert spent < 0.5


async def test_members_that_bear_data_may_be_many() -> None:
    data = os.urandom(1024)
    wire = member(data, level=1) * 3000
    assert await GUnzipStream(ByteStream(wire)).read() == data * 3000


async def test_time_is_linear_in_the_number_of_members() -> None:
    one = member(os.urandom(1100), level=1)

    async def spent(count: int) -> float:
        best = 9.0
        for _ in range(3):
            stream = GUnzipStream(ByteStream(one * count), limits=LOOSE)
            started = time.process_time()
            while await stream.readany():
                pass
            best = min(best, time.process_time() - started)
        return best

    assert await spent(8000) < 16 * await spent(1000)


# -- the event loop, errors, cancelling, closing -----------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("coding", ["identity", *CODINGS, "gzip, br"])
async def test_laws(law: Any, coding: str) -> None:
    limits = Limits(max_ratio=10**9)

    def there_and_back(source: Stream) -> Stream:
        return DecodedStream(EncodedStream(source, coding), coding, limits=limits)

    await law(there_and_back)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_gunzip_keeps_the_laws(backend: str) -> None:
    body = member(b"line\n" * 3000 + os.urandom(200_000))
    for law in LAWS:
        await law(lambda: GUnzipStream(DripStream(body, 30_000)))


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
    decode = base.Decoder.decode

    def counted(self: base.Decoder, max_length: int) -> bytes | None:
        nonlocal calls
        calls += 1
        return decode(self, max_length)

    monkeypatch.setattr(base.Decoder, "decode", counted)
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
    assert calls <= 12


async def test_read_under_way_is_given_up_with_its_caller() -> None:
    """Between reads of the coded stream, the source is free for others."""
    wire = encode(os.urandom(600_000), "gzip")
    source = StallStream(wire[:300_000], 150_000, turns=1)
    stream = GUnzipStream(source)
    await stream.readexactly(200_000)
    waiting = asyncio.create_task(stream.read())
    await asyncio.sleep(0.01)
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


async def test_lines_of_a_gzipped_stream() -> None:
    async def source() -> AsyncIterator[bytes]:
        body = member(b"a,1\nb,2\n") + member(b"c,3")
        for byte in body:
            yield bytes([byte])

    lines = [line async for line in GUnzipStream(IterStream(source()))]
    assert lines == [b"a,1\n", b"b,2\n", b"c,3"]
