"""gzip and deflate: every one there is, in every cut, on every zlib."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    DecodedStream,
    EncodedStream,
    GUnzipStream,
    GZipStream,
    IterStream,
    KiB,
    LimitExceeded,
    Limits,
    MalformedBody,
)
from aiostreams.codings.registry import make_encoder
from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.testing import DripStream
from aiostreams.testing.laws import LAWS
from tests.codings.bodies import (
    BACKENDS,
    CUTS,
    LOOSE,
    MIXED,
    TEXT,
    drip,
    exploded,
    on_all_backends,
    outcome,
)
from tests.codings.gzips import ACCEPT, PAYLOAD, REJECT, member


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

    with pytest.raises(
        LimitExceeded, match=r"header has at least .* bytes, limit 262144$"
    ):
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


@on_all_backends
async def test_million_tiny_gzip_members_are_refused_at_once() -> None:
    for one in (member(b""), member(b"x")):
        wire = one * 1_000_000
        got, peak, spent = await exploded(GUnzipStream(ByteStream(wire), limits=LOOSE))
        assert got <= 1001
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


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
async def test_gunzip_keeps_the_laws(backend: str) -> None:
    body = member(b"line\n" * 3000 + os.urandom(200_000))
    for law in LAWS:
        await law(lambda: GUnzipStream(DripStream(body, 30_000)))


async def test_lines_of_a_gzipped_stream() -> None:
    async def source() -> AsyncIterator[bytes]:
        body = member(b"a,1\nb,2\n") + member(b"c,3")
        for byte in body:
            yield bytes([byte])

    lines = [line async for line in GUnzipStream(IterStream(source()))]
    assert lines == [b"a,1\n", b"b,2\n", b"c,3"]


# -- deflate -----------------------------------------------------------------------


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


# -- what is written ---------------------------------------------------------------


@on_all_backends
@pytest.mark.parametrize("data", [b"", b"x", TEXT[:20_000], MIXED])
async def test_gzip_is_read_by_the_standard_library(data: bytes) -> None:
    encoded = await GZipStream(ByteStream(data)).read()
    assert gzip.decompress(encoded) == data
    assert encoded[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no flags, time or name
    encoded = await EncodedStream(ByteStream(data), "deflate").read()
    assert zlib.decompress(encoded) == data


@on_all_backends
@pytest.mark.parametrize("level", [0, 1, 6, 9])
async def test_level_is_used(level: int) -> None:
    encoded = await GZipStream(ByteStream(TEXT), level=level).read()
    assert gzip.decompress(encoded) == TEXT


@on_all_backends
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_gzip_keeps_the_laws(law: Any) -> None:
    await law(lambda: GZipStream(DripStream(MIXED[:900_000], 100_000)))


@pytest.mark.parametrize("module", ["zlib", "zlib_ng.zlib_ng", "isal.isal_zlib"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("level", [None, -1, *range(10)])
def test_every_level_works_on_every_backend(
    module: str, coding: str, level: int | None
) -> None:
    set_zlib_backend(pytest.importorskip(module, reason="needs the extra speedups"))
    encoder = make_encoder(coding, level)
    encoded = encoder.encode(PAYLOAD) + encoder.finish()
    assert zlib.decompress(encoded, 47) == PAYLOAD
