"""A coding of one's own, x-bz2: written as an application would, by public names."""

from __future__ import annotations

import bz2
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from aiostreams.codings import FrameDecoder, register_coding, registry

__all__ = ["Bz2Encoder", "new_decoder", "own_codings", "register_bz2"]


class Bz2Encoder:
    """Streams of bzip2; a flush ends one, since bzip2 has no other way."""

    inline = 0

    def __init__(self, level: int) -> None:
        self._level = level
        self._stream: bz2.BZ2Compressor | None = None
        self._begun = False

    def encode(self, data: bytes | memoryview) -> bytes:
        if self._stream is None:
            self._stream = bz2.BZ2Compressor(self._level)
            self._begun = True
        return self._stream.compress(data)

    def flush(self) -> bytes:
        stream, self._stream = self._stream, None
        return b"" if stream is None else stream.flush()

    def finish(self) -> bytes:
        # No bytes are a stream, too.
        return self.flush() if self._begun else self.encode(b"") + self.flush()


new_decoder = functools.partial(FrameDecoder, "x-bz2", bz2.BZ2Decompressor, OSError)


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
