"""Content-Transfer-Encoding of a body part, undone piece by piece (RFC 2045).

RFC 7578 section 4.7 deprecates it and no browser sends it, but mail-like clients
do. A decoder takes bytes as they come, cut anywhere, gives what they decode to,
and keeps back at most three bytes. All work is done by C functions over whole
chunks, so a flood of blanks or of escapes costs as much as any other input.

What is wrong is an error, not skipped over: a base64 character that is none, a
quartet cut short, anything but blanks after the padding, an ``=`` that begins no
escape. Blanks at the end of a quoted-printable line are kept: nothing on the way
of an HTTP body puts them there but the sender.

A file of its own: decoders without I/O, of one RFC.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, Protocol

from aiostreams.errors import MalformedBody, UnsupportedContent

__all__ = [
    "Base64Decoder",
    "QuotedPrintableDecoder",
    "TransferDecoder",
    "transfer_decoder",
]

_BLANKS: Final = b" \t\r\n"
_NO_ESCAPE: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")


class TransferDecoder(Protocol):
    """Undoes one Content-Transfer-Encoding."""

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Decode the next bytes; the result may be empty."""
        ...

    def close(self) -> None:
        """End the part."""


class Base64Decoder:
    """Base64 (RFC 2045 section 6.8) with line breaks and blanks anywhere."""

    __slots__ = ("_ended", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Decode the next bytes; the result may be empty.

        Raises:
            MalformedBody: they are not base64.
        """
        data = self._rest + bytes(chunk).translate(None, _BLANKS)
        cut = len(data) & ~3
        block, self._rest = data[:cut], data[cut:]
        if self._ended and data:
            raise MalformedBody("base64 goes on after its padding")
        # The module accepts more "=" than two behind a whole group.
        core = block.rstrip(b"=")
        if len(block) - len(core) > 2 or b"=" in core:
            raise MalformedBody("base64 has wrong padding")
        try:
            decoded = binascii.a2b_base64(block, strict_mode=True)
        except binascii.Error as exc:
            raise MalformedBody("base64 has a character outside its alphabet") from exc
        if block:
            self._ended = block.endswith(b"=")
        if self._ended and self._rest:
            raise MalformedBody("base64 goes on after its padding")
        return decoded

    def close(self) -> None:
        """End the part.

        Raises:
            MalformedBody: inside of a group of four characters.
        """
        if self._rest:
            raise MalformedBody(
                f"base64 ends {len(self._rest)} characters into a group of 4"
            )


class QuotedPrintableDecoder:
    """Quoted-printable (RFC 2045 section 6.7); line ends are kept as sent."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Decode the next bytes; the result may be empty.

        Raises:
            MalformedBody: an ``=`` is followed by neither two hexadecimal digits
                nor a line end.
        """
        data = self._rest + bytes(chunk)
        self._rest = b""
        cut = data.rfind(b"=", max(len(data) - 2, 0))
        if cut >= 0 and data[cut:] != b"=\n":
            data, self._rest = data[:cut], data[cut:]
        if _NO_ESCAPE.search(data):
            raise MalformedBody("an '=' in a part's quoted-printable begins no escape")
        return binascii.a2b_qp(data)

    def close(self) -> None:
        """End the part.

        Raises:
            MalformedBody: inside of an escape.
        """
        if self._rest:
            raise MalformedBody("quoted-printable ends inside of an escape")


def transfer_decoder(encoding: str | None) -> TransferDecoder | None:
    """Make the decoder for a Content-Transfer-Encoding; None when none is needed.

    Raises:
        UnsupportedContent: it is not one of those in RFC 2045 section 6.
    """
    name = "binary" if encoding is None else encoding.strip().lower()
    if name in {"7bit", "8bit", "binary"}:
        return None
    if name == "base64":
        return Base64Decoder()
    if name == "quoted-printable":
        return QuotedPrintableDecoder()
    raise UnsupportedContent("the Content-Transfer-Encoding of a part is not supported")
