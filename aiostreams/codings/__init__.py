"""Content codings: gzip, deflate, br and zstd, read and written.

``register_coding`` adds one of an application's own; the classes are for those.
"""

from __future__ import annotations

from aiostreams.codings.base import Decoder, Decompressor, Encoder, FrameDecoder
from aiostreams.codings.registry import register_coding, supported_codings

__all__ = [
    "Decoder",
    "Decompressor",
    "Encoder",
    "FrameDecoder",
    "register_coding",
    "supported_codings",
]
