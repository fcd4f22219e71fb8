"""Decoders and encoders for gzip (RFC 1952) and deflate (RFC 1950, RFC 1951).

The gzip header and trailer are read here rather than by zlib: back ends differ in
what they check (reserved flags, the header's CRC), none of them treats several
members as one stream, and the checksum costs the same on either side.

A file of its own: one format a file, and the registry only names it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aiostreams.codings.base import GeneratorDecoder
from aiostreams.codings.zlib_backend import zlib_backend
from aiostreams.errors import MalformedBody, exceeded
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["DeflateDecoder", "DeflateEncoder", "GzipDecoder", "GzipEncoder"]

# A decompressor copies what it was given and has not used, so it is given little at
# a time; and each new member copies what follows it, so members begin with less.
_WINDOW: Final = 32 * KiB
_FIRST_WINDOW: Final = 512
# The optional fields of a gzip header are skipped, and the client chooses how long
# they are; an extra field has at most 64 KiB, a name and a comment need far less.
_MAX_HEADER: Final = 256 * KiB

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 2, 4, 8, 16, 0xE0


class _Inflater(GeneratorDecoder):
    """What gzip and deflate share: the compressed blocks of RFC 1951."""

    def __init__(self) -> None:
        self._backend = zlib_backend()
        self._errors = self._backend.errors
        self.inline: int = self._backend.inflate_inline
        super().__init__()

    def _inflate(
        self, inflater: Any, window: int = _WINDOW
    ) -> Generator[bytes | None, None, None]:
        while not inflater.eof:
            if self._empty():
                yield None
                continue
            data = self._slice(window)
            window = min(window * 8, _WINDOW)
            output = b"\0"
            # Without input there may still be output that had no room.
            while (data or output) and not inflater.eof:
                try:
                    output = inflater.decompress(data, self._room)
                except self._errors as error:
                    raise self._malformed("not deflate data") from error
                data = inflater.unconsumed_tail
                self._unused = len(data)
                if output:
                    yield output
        self._unused = 0
        self._position -= len(inflater.unused_data)


class GzipDecoder(_Inflater):
    """Any number of members (section 2.2), each verified; then zeros, or nothing.

    Zeros may pad the last member, as tape drives did; no member follows them.
    """

    coding = "gzip"

    def _steps(self) -> Generator[bytes | None, None, None]:
        window = _WINDOW
        while True:
            if self._begin_member():
                yield b""
            yield from self._header()
            yield from self._member(window)
            window = _FIRST_WINDOW
            self._complete = True
            while self._empty():
                yield None
            if not self._data[self._position]:
                break
        while not self._data[self._position :].strip(b"\0"):
            self._position = len(self._data)
            yield None
        raise MalformedBody("there are bytes after the padding of the gzip body")

    def _header(self) -> Generator[bytes | None, None, None]:
        fixed = yield from self._exactly(10)
        if fixed[:2] != b"\x1f\x8b":
            raise self._malformed("no gzip member")
        method, flags = fixed[2], fixed[3]
        if method != 8 or flags & _RESERVED:
            raise self._malformed(
                f"gzip method {method} and flags {flags:#04x} are not defined"
            )
        if not flags:
            return
        crc32 = self._backend.crc32
        crc = crc32(fixed)
        length = 0
        if flags & _FEXTRA:
            size = yield from self._exactly(2)
            length = int.from_bytes(size, "little")
            extra = yield from self._exactly(length)
            crc = crc32(extra, crc32(size, crc))
        for flag in (_FNAME, _FCOMMENT):
            end = not flags & flag
            while not end:
                end = (found := self._data.find(b"\0", self._position)) >= 0
                text = self._slice(found + 1 - self._position if end else self.held)
                crc = crc32(text, crc)
                length += len(text)
                if length > _MAX_HEADER:
                    raise exceeded("a gzip header", length, _MAX_HEADER)
                if not end:
                    yield None
        if flags & _FHCRC:
            expected = yield from self._exactly(2)
            if crc & 0xFFFF != int.from_bytes(expected, "little"):
                raise self._malformed("wrong CRC of a gzip header")

    def _member(self, window: int) -> Generator[bytes | None, None, None]:
        crc32 = self._backend.crc32
        crc = size = 0
        inflater = self._backend.module.decompressobj(wbits=-15)
        for output in self._inflate(inflater, window):
            if output:
                crc = crc32(output, crc)
                size += len(output)
            yield output
        trailer = yield from self._exactly(8)
        if int.from_bytes(trailer[:4], "little") != crc:
            raise self._malformed("wrong CRC of a gzip member")
        if int.from_bytes(trailer[4:], "little") != size & 0xFFFFFFFF:
            raise self._malformed("wrong length of a gzip member")


class DeflateDecoder(_Inflater):
    """What RFC 9110 section 8.4.1.2 calls deflate, and what it does not.

    It means deflate data in the zlib format; some clients send bare deflate data.
    The two bytes of a zlib header tell: bare data that looks like them would begin
    with a stored block whose padding is not zero.
    """

    coding = "deflate"

    def _steps(self) -> Generator[bytes | None, None, None]:
        first = yield from self._exactly(2)
        wrapped = first[0] & 0x8F == 8 and int.from_bytes(first, "big") % 31 == 0
        # Begin again with both bytes; the piece may have had only the second.
        self._data = first + self._data[self._position :]
        self._position = 0
        wbits = 15 if wrapped else -15
        yield from self._inflate(self._backend.module.decompressobj(wbits=wbits))
        yield from self._end()


# RFC 1952 section 2.3: magic, deflate, no flags, no time, no extra flags, unknown OS.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class DeflateEncoder:
    """deflate as RFC 9110 section 8.4.1.2 means it: in the zlib format.

    Args:
        level: 0 to 9; the back end's choice when -1, which zlib has for that.
    """

    _wbits: ClassVar[int] = 15

    def __init__(self, level: int) -> None:
        self._backend = backend = zlib_backend()
        module = backend.module
        self._deflater = module.compressobj(
            level=backend.level(level), wbits=self._wbits
        )
        self._sync = getattr(module, "Z_SYNC_FLUSH", 2)
        # zlib's own levels above the default take up to twice the time.
        self.inline: int = backend.deflate_inline // (2 if level > 6 else 1)

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
        level: 0 to 9; the back end's choice when -1, which zlib has for that.
    """

    _wbits = -15

    def __init__(self, level: int) -> None:
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
