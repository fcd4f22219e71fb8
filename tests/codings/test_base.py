"""A decoder over any library that has the interface of bz2.BZ2Decompressor."""

from __future__ import annotations

import bz2
import functools
import lzma
import os
from collections.abc import Callable
from typing import Any

import pytest

from aiostreams import KiB, LimitExceeded, Limits, MalformedBody, MiB
from aiostreams.codings import Decoder, FrameDecoder
from aiostreams.codings.decoded import Pipeline
from tests.codings.bodies import CUTS, LOOSE
from tests.codings.gzips import PAYLOAD
from tests.codings.own import new_decoder, new_xz_decoder


class Lz4Like:
    """``lz4.frame`` has ``None`` where others have no bytes."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()
        self.decompress = self._inner.decompress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name) or None


def lz4_like() -> Any:
    return Lz4Like()


FORMATS: dict[str, tuple[Callable[[bytes], bytes], Callable[[], Decoder]]] = {
    "bz2": (bz2.compress, new_decoder),
    "xz": (lzma.compress, new_xz_decoder),
    "lz4": (
        bz2.compress,
        functools.partial(FrameDecoder, "lz4", lz4_like, (OSError, EOFError)),
    ),
}
every_format = pytest.mark.parametrize("name", FORMATS)


def decode(name: str, body: bytes, cut: int, limits: Limits = LOOSE) -> bytes:
    """Decode by the pipeline that streams use, under ``limits``.

    Raises:
        StreamError: why it stopped.
    """
    pipeline = Pipeline([FORMATS[name][1]()], limits)
    output = b""
    for start in range(0, len(body), cut):
        pipeline.feed(body[start : start + cut])
        while not pipeline.hungry:
            pipeline.run(1)
            while pipeline.output:
                piece = pipeline.output.popleft()
                assert 0 < len(piece) <= 64 * KiB
                output += piece
            if pipeline.error is not None:
                raise pipeline.error
    pipeline.finish()
    return output


@every_format
@pytest.mark.parametrize(
    "data", [b"", b"x", PAYLOAD, os.urandom(70_000), bytes(200_000)]
)
def test_frames_are_decoded_in_every_cut(name: str, data: bytes) -> None:
    one = FORMATS[name][0](data)
    for body, expected in (
        (one, data),
        (one + one, data * 2),
        (FORMATS[name][0](b"") + one + FORMATS[name][0](b"end"), data + b"end"),
    ):
        for cut in CUTS if len(body) < 5000 else CUTS[-2:]:
            assert decode(name, body, cut) == expected
        for split in range(1, len(body) if len(body) < 300 else 0):
            assert decode(name, body, split) == expected


@every_format
def test_a_frame_that_is_cut_short_is_refused_at_every_byte(name: str) -> None:
    first, second = FORMATS[name][0](PAYLOAD), FORMATS[name][0](b"second")
    body = first + second
    for end in range(1, len(body)):
        for cut in (7, 10**9):
            if end == len(first):
                assert decode(name, body[:end], cut) == PAYLOAD
                continue
            with pytest.raises(MalformedBody):
                decode(name, body[:end], cut)


@every_format
@pytest.mark.parametrize("more", [b"x", b"\0", b"garbage that goes on"])
def test_bytes_after_a_frame_are_another_frame_or_refused(
    name: str, more: bytes
) -> None:
    body = FORMATS[name][0](PAYLOAD) + more
    for cut in CUTS:
        with pytest.raises(MalformedBody):
            decode(name, body, cut)


def test_a_body_that_is_none_says_so_with_the_name_of_the_coding() -> None:
    with pytest.raises(MalformedBody) as caught:
        decode("xz", b"plain text, which is no xz", 99)
    assert str(caught.value) == "not x-xz data after 0 decoded bytes of the x-xz body"
    with pytest.raises(MalformedBody) as caught:
        decode("bz2", bz2.compress(b"text")[:-1], 99)
    assert str(caught.value) == "the x-bz2 body is cut short after 4 decoded bytes"


@every_format
def test_frames_without_content_are_limited(name: str) -> None:
    empty = FORMATS[name][0](b"")
    assert decode(name, empty * 1000, 4096) == b""
    with pytest.raises(LimitExceeded, match="1001 members in its first 0"):
        decode(name, empty * 1001, 4096)


@every_format
def test_a_ratio_is_limited(name: str) -> None:
    body = FORMATS[name][0](bytes(20 * MiB))
    for cut in (100, 10**9):
        with pytest.raises(LimitExceeded, match=r"gave \d+ decoded bytes, limit 100"):
            decode(name, body, cut, Limits())
