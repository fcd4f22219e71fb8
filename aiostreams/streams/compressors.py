"""Encoders for the content codings: bytes in, bytes out, with flush points.

``encode`` takes bytes and gives what is ready. ``flush`` makes everything taken so
far readable at the other end. ``finish`` ends the body; an encoder that is dropped
before that has written no trailer, so what it wrote is never a whole body.

The output is a function of the input alone: no time, no name, one byte for the
operating system whatever it is (255: unknown).
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Final, Protocol

from aiostreams.limits import KiB
from aiostreams.streams.zlib_backend import zlib_backend

__all__ = [
    "BrotliEncoder",
    "DeflateEncoder",
    "Encoder",
    "GzipEncoder",
    "ZstdEncoder",
]

# RFC 1952 section 2.3: magic, deflate, no flags, no time, no extra flags, unknown OS.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
# RFC 9659: a window of 8 MiB at most. Levels from 20 on would take more.
_ZSTD_WINDOW_LOG: Final = 23
# 1 MiB. brotli's own default of 4 MiB costs each stream that memory, for no fewer
# bytes in a body of 1 MiB and 1 % in one of 8 MiB.
_BROTLI_WINDOW_LOG: Final = 20


class Encoder(Protocol):
    """One layer of encoding.

    Attributes:
        inline: input of this size is encoded in less than about half a
            millisecond; more goes to a worker thread.
    """

    inline: int

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        ...

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now."""
        ...

    def finish(self) -> bytes:
        """Give everything and the end."""
        ...


class DeflateEncoder:
    """deflate as RFC 9110 section 8.4.1.2 means it: in the zlib format.

    Args:
        level: 0 to 9; the back end's choice when ``None``.

    Raises:
        ValueError: there is no such level.
    """

    _wbits: ClassVar[int] = 15

    def __init__(self, level: int | None = None) -> None:
        self._backend = backend = zlib_backend()
        module = backend.module
        self._deflater = module.compressobj(
            level=backend.level(level), wbits=self._wbits
        )
        self._sync = getattr(module, "Z_SYNC_FLUSH", 2)
        # zlib's own levels above the default take up to twice the time.
        self.inline: int = backend.deflate_inline // (2 if (level or 0) > 6 else 1)

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        output: bytes = self._deflater.compress(data)
        return output

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now."""
        output: bytes = self._deflater.flush(self._sync)
        return output

    def finish(self) -> bytes:
        """Give everything and the end."""
        output: bytes = self._deflater.flush()
        return output


class GzipEncoder(DeflateEncoder):
    """gzip (RFC 1952), one member; header and trailer are the same on any back end.

    Args:
        level: 0 to 9; the back end's choice when ``None``.

    Raises:
        ValueError: there is no such level.
    """

    _wbits = -15

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        self._header = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        self._crc = self._backend.crc32(data, self._crc)
        self._size += len(data)
        return self._with_header(super().encode(data))

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now."""
        return self._with_header(super().flush())

    def finish(self) -> bytes:
        """Give everything and the end."""
        trailer = struct.pack("<2I", self._crc, self._size & 0xFFFFFFFF)
        return self._with_header(super().finish()) + trailer

    def _with_header(self, data: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + data if header else data


class ZstdEncoder:
    """zstd (RFC 8878), one frame with a checksum.

    Args:
        module: ``compression.zstd`` or ``backports.zstd``.
        level: -7 to 22; 3 when ``None``.

    Raises:
        ValueError: there is no such level.
    """

    def __init__(self, module: Any, level: int | None = None) -> None:
        level = 3 if level is None else level
        if not -7 <= level <= 22:
            raise ValueError(f"zstd has levels -7 to 22, not {level}")
        parameter = module.CompressionParameter
        options = {parameter.compression_level: level, parameter.checksum_flag: 1}
        if level > 19:
            options[parameter.window_log] = _ZSTD_WINDOW_LOG
        self._frame = module.ZstdCompressor(options=options)
        self.inline = 64 * KiB if level <= 3 else 16 * KiB if level <= 6 else 0

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
        module: ``brotli``.
        level: 0 to 11; 4 when ``None``: the last one that is quick.

    Raises:
        ValueError: there is no such level.
    """

    def __init__(self, module: Any, level: int | None = None) -> None:
        level = 4 if level is None else level
        if not 0 <= level <= 11:
            raise ValueError(f"br has levels 0 to 11, not {level}")
        self._stream = module.Compressor(quality=level, lgwin=_BROTLI_WINDOW_LOG)
        self.inline = 64 * KiB if level <= 1 else 16 * KiB if level <= 5 else 0

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
