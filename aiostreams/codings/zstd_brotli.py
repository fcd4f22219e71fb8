"""Decoders for zstd (RFC 8878) and brotli (RFC 7932), bounded as ``inflate``'s are.

Both libraries keep input to themselves while they still have output, so they are
given little at a time: what counts as used is then never far off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiostreams.codings.base import Decoder
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["BrotliDecoder", "BrotliEncoder", "ZstdDecoder", "ZstdEncoder"]

_WINDOW: Final = 16 * KiB
# RFC 9659: a decoder supports 8 MiB of window for this coding, an encoder uses no
# more. Without the ceiling a frame may ask for 2 GiB of memory.
_WINDOW_LOG: Final = 23
# brotli's buffer grows in steps of 32, 64 and 256 KiB and may end one step beyond
# the limit: with this one it ends at 96 KiB.
_BROTLI_ROOM: Final = 64 * KiB


class ZstdDecoder(Decoder):
    """Any number of frames, skippable ones too; their checksums are verified.

    Args:
        module: ``compression.zstd`` or ``backports.zstd``.
    """

    coding = "zstd"
    inline = 64 * KiB

    def __init__(self, module: Any) -> None:
        self._module = module
        super().__init__()

    def _steps(self) -> Generator[bytes | None, None, None]:
        options = {self._module.DecompressionParameter.window_log_max: _WINDOW_LOG}
        error = self._module.ZstdError
        while True:
            if self._begin_member():
                yield b""
            frame = self._module.ZstdDecompressor(options=options)
            window = 512 if self._members > 1 else _WINDOW
            while not frame.eof:
                data = b""
                if frame.needs_input:
                    while self._empty():
                        yield None
                    data = self._slice(window)
                    window = min(window * 8, _WINDOW)
                try:
                    output = frame.decompress(data, self._room)
                except error as exc:
                    raise self._malformed("not zstd data") from exc
                if output:
                    yield output
            self._position -= len(frame.unused_data)
            self._complete = True
            while self._empty():
                yield None


class BrotliDecoder(Decoder):
    """One brotli stream; the library itself refuses bytes after its end.

    Args:
        module: ``brotli``, 1.2 or newer: older ones cannot bound their output.
    """

    coding = "br"
    inline = 32 * KiB

    def __init__(self, module: Any) -> None:
        self._module = module
        super().__init__()

    def _steps(self) -> Generator[bytes | None, None, None]:
        stream = self._module.Decompressor()
        drained = True
        while not stream.is_finished():
            data = b""
            # It accepts data also while it has more output; only b"" tells.
            if drained and stream.can_accept_more_data():
                while self._empty():
                    yield None
                data = self._slice(_WINDOW)
            room = min(self._room, _BROTLI_ROOM)
            try:
                output = stream.process(data, output_buffer_limit=room)
            except self._module.error as exc:
                raise self._malformed("not brotli data") from exc
            drained = not output
            if output:
                yield output
        yield from self._end()


# RFC 9659: a window of 8 MiB at most. Levels from 20 on would take more.
_ZSTD_WINDOW_LOG: Final = 23
# 1 MiB. brotli's own default of 4 MiB costs each stream that memory, for no fewer
# bytes in a body of 1 MiB and 1 % in one of 8 MiB.
_BROTLI_WINDOW_LOG: Final = 20


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
