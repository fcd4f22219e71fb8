"""Decoders and encoders for zstd (RFC 8878) and brotli (RFC 7932).

    zstd    compression.zstd (Python 3.14) or backports.zstd (extra ``zstd``)
    br      brotli 1.2 or newer (extra ``brotli``)

The libraries are imported when they are first asked for.

A file of its own: the formats of optional libraries, which the registry only names.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from aiostreams.codings.base import FrameDecoder, GeneratorDecoder
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "BrotliDecoder",
    "BrotliEncoder",
    "ZstdDecoder",
    "ZstdEncoder",
    "missing_brotli",
    "missing_zstd",
]


@functools.cache
def _zstd() -> Any:
    """Return the module for zstd, or ``None``."""
    return _import("compression.zstd") or _import("backports.zstd")


@functools.cache
def _brotli() -> Any:
    """Return the module for brotli, or ``None``."""
    library = _import("brotli")
    # Older ones give all output at once: a bomb's, too.
    version = getattr(library, "__version__", "0").split(".")
    return library if [int(part) for part in version[:2]] >= [1, 2] else None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def missing_zstd() -> str | None:
    """Say what brings the library for zstd; ``None`` when it is there."""
    if _zstd() is not None:
        return None
    if sys.version_info >= (3, 14):  # no extra brings it
        return "this Python was built without compression.zstd"
    return 'pip install "aiostreams[zstd]"'


def missing_brotli() -> str | None:
    """Say what brings the library for brotli; ``None`` when it is there."""
    return None if _brotli() is not None else 'pip install "aiostreams[brotli]"'


# RFC 9659: a decoder supports 8 MiB of window for this coding, an encoder uses no
# more: levels from 20 on would. Without the ceiling a frame may ask for 2 GiB.
_ZSTD_WINDOW_LOG: Final = 23


class ZstdDecoder(FrameDecoder):
    """Any number of frames, skippable ones too; their checksums are verified."""

    def __init__(self) -> None:
        zstd = _zstd()
        options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        new_frame = functools.partial(zstd.ZstdDecompressor, options=options)
        super().__init__("zstd", new_frame, zstd.ZstdError, inline=64 * KiB)


# What brotli is given at a time.
_BROTLI_PIECE: Final = 16 * KiB
# brotli's buffer grows in steps of 32, 64 and 256 KiB and may end one step beyond
# the limit: with this one it ends at 96 KiB.
_BROTLI_ROOM: Final = 64 * KiB


class BrotliDecoder(GeneratorDecoder):
    """One brotli stream; the library itself refuses bytes after its end."""

    coding = "br"
    inline = 32 * KiB

    def _steps(self) -> Generator[bytes | None, None, None]:
        brotli = _brotli()
        stream = brotli.Decompressor()
        drained = True
        while not stream.is_finished():
            data = b""
            # It accepts data also while it has more output; only b"" tells.
            if drained and stream.can_accept_more_data():
                while self._empty():
                    yield None
                data = self._slice(_BROTLI_PIECE)
            room = min(self._room, _BROTLI_ROOM)
            try:
                output = stream.process(data, output_buffer_limit=room)
            except brotli.error as exc:
                raise self._malformed("not brotli data") from exc
            drained = not output
            if output:
                yield output
        yield from self._end()


# 1 MiB. brotli's own default of 4 MiB costs each stream that memory, for no fewer
# bytes in a body of 1 MiB and 1 % in one of 8 MiB.
_BROTLI_WINDOW_LOG: Final = 20


class ZstdEncoder:
    """zstd (RFC 8878), one frame with a checksum.

    Args:
        level: -7 to 22.
    """

    def __init__(self, level: int) -> None:
        zstd = _zstd()
        parameter = zstd.CompressionParameter
        options = {parameter.compression_level: level, parameter.checksum_flag: 1}
        if level > 19:
            options[parameter.window_log] = _ZSTD_WINDOW_LOG
        self._frame = zstd.ZstdCompressor(options=options)
        self.inline: int = 64 * KiB if level <= 3 else 16 * KiB if level <= 6 else 0

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        output: bytes = self._frame.compress(data)
        return output

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now."""
        output: bytes = self._frame.flush(self._frame.FLUSH_BLOCK)
        return output

    def finish(self) -> bytes:
        """Give everything and the end."""
        output: bytes = self._frame.flush()
        return output


class BrotliEncoder:
    """brotli (RFC 7932).

    Args:
        level: 0 to 11.
    """

    def __init__(self, level: int) -> None:
        self._stream = _brotli().Compressor(quality=level, lgwin=_BROTLI_WINDOW_LOG)
        self.inline: int = 64 * KiB if level <= 1 else 16 * KiB if level <= 5 else 0

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        output: bytes = self._stream.process(data)
        return output

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now."""
        output: bytes = self._stream.flush()
        return output

    def finish(self) -> bytes:
        """Give everything and the end."""
        output: bytes = self._stream.finish()
        return output
