"""MPEG sound and transport streams: formats without a signature.

They are runs of frames, each behind a few fixed bits. A single one proves nothing, so
there have to be two, the second where the first one ends (MIME Sniffing section 6.2.4
for MP3; ISO/IEC 13818-7 section 6.2 for ADTS, 13818-1 section 2.4.3 for packets).
"""

from __future__ import annotations

from typing import Final

__all__ = ["adts_type", "mp3_type", "transport_type"]

# kbit/s of layer III, by the field's value: version 1, and versions 2 and 2.5.
_RATES: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Hz of version 1; version 2 has a half of it, version 2.5 a quarter.
_FREQUENCIES: Final = (44100, 48000, 32000)
_HALVINGS: Final = {3: 0, 2: 1, 0: 2}
_PACKET: Final = 188


def mp3_type(head: bytes) -> str | None:
    """``audio/mpeg`` for two frames of layer III."""
    size = _mp3_frame(head, 0)
    return "audio/mpeg" if size and _mp3_frame(head, size) else None


def _mp3_frame(head: bytes, at: int) -> int:
    """The size of the frame at ``at``; 0 when there is none."""
    if len(head) < at + 4:
        return 0
    first, second, third = head[at : at + 3]
    version, layer = (second >> 3) & 3, (second >> 1) & 3
    rate, frequency = third >> 4, (third >> 2) & 3
    if first != 0xFF or second < 0xE0 or version == 1 or layer != 1:
        return 0
    if rate in {0, 15} or frequency == 3:
        return 0
    halvings = _HALVINGS[version]
    bits = _RATES[halvings > 0][rate] * 1000
    samples_in_bytes = 72 if halvings else 144
    padding = (third >> 1) & 1
    return samples_in_bytes * bits // (_FREQUENCIES[frequency] >> halvings) + padding


def adts_type(head: bytes) -> str | None:
    """``audio/aac`` for two ADTS frames."""
    if len(head) < 7:
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    follows = head[size : size + 2] == head[:2] and size >= 7
    return "audio/aac" if follows else None


def transport_type(head: bytes) -> str | None:
    """``video/mp2t`` for packets of 188 bytes that begin with ``G``.

    No text does: the tables that come first have zeros in them.
    """
    starts = head[: 5 * _PACKET : _PACKET]
    if len(starts) < 3 or starts.strip(b"G") or b"\x00" not in head:
        return None
    return "video/mp2t"
