"""Codings of one's own, x-bz2 and x-xz: written as an application would, by public names."""

from __future__ import annotations

import bz2
import contextlib
import functools
import lzma
from collections.abc import Iterator
from typing import Any

from aiostreams import MiB
from aiostreams.codings import FrameDecoder, register_coding, registry

__all__ = [
    "Bz2Encoder",
    "XzEncoder",
    "new_decoder",
    "new_xz_decoder",
    "own_codings",
    "register_bz2",
]


class Bz2Encoder:
    """Streams of bzip2; a flush ends one, since bzip2 has no other way."""

    inline = 0

    def __init__(self, level: int) -> None:
        self._level = level
        self._stream: Any = None
        self._begun = False

    def _new(self) -> Any:
        return bz2.BZ2Compressor(self._level)

    def encode(self, data: bytes | memoryview) -> bytes:
        if self._stream is None:
            self._stream = self._new()
            self._begun = True
        return bytes(self._stream.compress(data))

    def flush(self) -> bytes:
        stream, self._stream = self._stream, None
        return b"" if stream is None else bytes(stream.flush())

    def finish(self) -> bytes:
        # No bytes are a stream, too.
        return self.flush() if self._begun else self.encode(b"") + self.flush()


class XzEncoder(Bz2Encoder):
    """The same of xz, which is quick with what repeats."""

    def _new(self) -> Any:
        return lzma.LZMACompressor(preset=self._level)


new_decoder = functools.partial(FrameDecoder, "x-bz2", bz2.BZ2Decompressor, OSError)
_new_xz = functools.partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=64 * MiB)
new_xz_decoder = functools.partial(FrameDecoder, "x-xz", _new_xz, lzma.LZMAError)


def register_bz2(**changes: Any) -> None:
    given: dict[str, Any] = {
        "encoder": Bz2Encoder,
        "decoder": new_decoder,
        "levels": (1, 9),
        "default_level": 9,
        "static_level": 5,
        "aliases": ["X-BZip2"],
        "extension": ".bz2",
    }
    register_coding("X-BZ2", **(given | changes))


@contextlib.contextmanager
def own_codings() -> Iterator[None]:
    """What is registered meanwhile is forgotten afterwards."""
    codings, aliases = dict(registry._codings), dict(registry._aliases)
    try:
        yield
    finally:
        registry._codings.clear()
        registry._codings.update(codings)
        registry._aliases.clear()
        registry._aliases.update(aliases)
