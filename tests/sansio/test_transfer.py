"""Transfer decoders: RFC 2045, cut anywhere, nothing wrong passes."""

from __future__ import annotations

import base64
import quopri
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams import MalformedBody, UnsupportedContent
from aiostreams.sansio.transfer import (
    Base64Decoder,
    QuotedPrintableDecoder,
    TransferDecoder,
    transfer_decoder,
)
from tests.multiparts import cut, splits


def decode(make: Callable[[], TransferDecoder], pieces: list[bytes]) -> bytes | None:
    """What the pieces decode to; None when they are malformed."""
    decoder = make()
    try:
        decoded = b"".join([decoder.feed(piece) for piece in pieces])
        decoder.close()
    except MalformedBody:
        return None
    return decoded


def stable(make: Callable[[], TransferDecoder], data: bytes) -> bytes | None:
    whole = decode(make, [data])
    for pieces in [cut(data, 1), cut(data, 3), [data, b""], *splits(data)]:
        assert decode(make, pieces) == whole
    return whole


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b" \r\n\t", b""),
        (b"VGVzdA==", b"Test"),
        (b"VGVzdDE=\r\n", b"Test1"),
        (b"VGVz\r\ndCAx\r\nMjM=", b"Test 123"),
        (b" V G V z d A = = ", b"Test"),
        (b"+/+/", b"\xfb\xff\xbf"),
    ],
)
def test_base64_decodes(data: bytes, expected: bytes) -> None:
    assert stable(Base64Decoder, data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"A",
        b"AA",
        b"AAA",
        b"AAAAA",
        b"AA=",
        b"A===",
        b"=",
        b"====",
        b"!",
        b"Zsg\xc2\xa3",
        b"AA==AAAA",
        b"AA== A",
        b"AA==\r\n=",
        b"AAA=AAA=",
        b"AA-_",
        b"AA=A",
        b"3www====",
        b"AAAA==",
        b"AAA==AAA",
        b"AAAA\x00",
    ],
)
def test_bad_base64_is_malformed(data: bytes) -> None:
    assert stable(Base64Decoder, data) is None


@given(st.binary(max_size=60), st.integers(1, 20))
def test_base64_round_trip(data: bytes, size: int) -> None:
    for encoded in (base64.b64encode(data), base64.encodebytes(data)):
        assert decode(Base64Decoder, cut(encoded, size)) == data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"foo=3Dbar", b"foo=bar"),
        (b"=e4=C3", b"\xe4\xc3"),
        (b"soft=\r\nbreak", b"softbreak"),
        (b"soft=\nbreak", b"softbreak"),
        (b"hard\r\nbreak\n", b"hard\r\nbreak\n"),
        (b"blanks \t\r\nkept _ ", b"blanks \t\r\nkept _ "),
        (b"\xff raw", b"\xff raw"),
        (b"=0D=0A", b"\r\n"),
        (b"=\r\n=\r\n", b""),
    ],
)
def test_quoted_printable_decodes(data: bytes, expected: bytes) -> None:
    assert stable(QuotedPrintableDecoder, data) == expected


@pytest.mark.parametrize(
    "data", [b"=", b"=4", b"=XY", b"a=\r", b"=\rx", b"==", b"= \r\n"]
)
def test_bad_quoted_printable_is_malformed(data: bytes) -> None:
    assert stable(QuotedPrintableDecoder, data) is None


@given(st.binary(max_size=60), st.integers(1, 20))
def test_quoted_printable_round_trip(data: bytes, size: int) -> None:
    # quopri makes line ends alike, so CR does not come back from it.
    data = data.replace(b"\r", b"")
    encoded = quopri.encodestring(data)
    assert decode(QuotedPrintableDecoder, cut(encoded, size)) == data


@pytest.mark.parametrize("make", [Base64Decoder, QuotedPrintableDecoder])
@pytest.mark.parametrize("unit", [b" ", b"\r\n", b"=3D=\r\n", b"AAAA"])
@pytest.mark.parametrize("size", [1, 65_536])
def test_time_is_linear(
    make: Callable[[], TransferDecoder], unit: bytes, size: int
) -> None:
    def best(count: int) -> float:
        times = []
        for _ in range(3):
            pieces = cut(unit * (count // len(unit)), size)
            start = time.process_time()
            decode(make, pieces)
            times.append(time.process_time() - start)
        return min(times)

    count = 3_000_000 if size > 1 else 30_000
    # 4 if it is linear, 16 if it is quadratic; a busy machine came to 6.3.
    assert best(4 * count) < 8 * best(count) + 0.005


def test_a_memoryview_is_decoded_too() -> None:
    assert Base64Decoder().feed(memoryview(b"VGVzdA==")) == b"Test"
    assert QuotedPrintableDecoder().feed(memoryview(b"=3D")) == b"="


def test_the_decoder_is_chosen_by_its_name() -> None:
    for name in (None, "7bit", "8BIT", " binary "):
        assert transfer_decoder(name) is None
    assert isinstance(transfer_decoder("BASE64"), Base64Decoder)
    assert isinstance(transfer_decoder("quoted-Printable "), QuotedPrintableDecoder)
    for name in ("", "badstuff", "x-uuencode", "base64, base64"):
        with pytest.raises(UnsupportedContent):
            transfer_decoder(name)
