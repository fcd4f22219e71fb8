"""A WebM file out of frames: enough of Matroska to be played, and sought in.

The frames are a browser's own (WebCodecs); the index (Cues) stands before them, as in
any video that is meant for the web. Between the clusters there is emptiness (Void),
so that the file is large without anybody having to encode much.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["webm"]


def _element(number: int, *content: bytes) -> bytes:
    """An element; its size always takes eight bytes, so that places can be counted."""
    identifier = number.to_bytes((number.bit_length() + 7) // 8)
    data = b"".join(content)
    return identifier + b"\x01" + len(data).to_bytes(7) + data


def _number(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(8))


def webm(
    seconds: Sequence[Sequence[bytes]], *, width: int, height: int, empty: int
) -> bytes:
    """A VP8 video.

    Args:
        seconds: the frames of each second; the first of each is a key frame.
        width: in pixels.
        height: likewise.
        empty: bytes of nothing behind each second.
    """
    head = _element(
        0x1A45DFA3,
        _number(0x4286, 1),
        _number(0x42F7, 1),
        _number(0x42F2, 4),
        _number(0x42F3, 8),
        _element(0x4282, b"webm"),
        _number(0x4287, 2),
        _number(0x4285, 2),
    )
    info = _element(
        0x1549A966,
        _number(0x2AD7B1, 1_000_000),  # times are in milliseconds
        _element(0x4489, struct.pack(">d", len(seconds) * 1000)),
        _element(0x4D80, b"tests"),
        _element(0x5741, b"tests"),
    )
    video = _element(0xE0, _number(0xB0, width), _number(0xBA, height))
    track = (_number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1))
    tracks = _element(
        0x1654AE6B, _element(0xAE, *track, _element(0x86, b"V_VP8"), video)
    )
    clusters = [_cluster(number, frames) for number, frames in enumerate(seconds)]
    void = _element(0xEC, bytes(empty))
    # The index has the same length whatever the places are.
    start = len(info + tracks + _cues([0] * len(clusters)))
    places = []
    for cluster in clusters:
        places.append(start)
        start += len(cluster) + len(void)
    body = b"".join(cluster + void for cluster in clusters)
    return head + _element(0x18538067, info, tracks, _cues(places), body)


def _cues(places: Sequence[int]) -> bytes:
    return _element(
        0x1C53BB6B,
        *(
            _element(
                0xBB,
                _number(0xB3, number * 1000),
                _element(0xB7, _number(0xF7, 1), _number(0xF1, place)),
            )
            for number, place in enumerate(places)
        ),
    )


def _cluster(number: int, frames: Sequence[bytes]) -> bytes:
    blocks = []
    for index, frame in enumerate(frames):
        time = index * 1000 // len(frames)
        flags = 0 if index else 0x80  # a key frame
        head = b"\x81" + struct.pack(">hB", time, flags)
        blocks.append(_element(0xA3, head, frame))
    return _element(0x1F43B675, _number(0xE7, number * 1000), *blocks)
