"""Encoders for the content codings: bytes in, bytes out, with flush points.

``encode`` takes bytes and gives what is ready. ``flush`` makes everything taken so
far readable at the other end. ``finish`` ends the body; an encoder that is dropped
before that has written no trailer, so what it wrote is never a whole body.

The output is a function of the input alone: no time, no name, one byte for the
operating system whatever it is (255: unknown).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from aiostreams.errors import MalformedBody, exceeded
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Decoder", "Encoder"]


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


# Members (gzip) or frames (zstd) that one body may have: these, and one more for each
# KiB decoded. bgzip writes one for 64 KiB, a concatenation of log files a handful.
# A member costs microseconds however little is in it, and empty ones escape every
# ceiling on output: a million would take seconds.
_FREE_MEMBERS: Final = 1000
_MEMBER_SIZE: Final = 1 * KiB
# Without output, this many members and then a rest for the event loop.
_MEMBERS_AT_ONCE: Final = 32


class Decoder(ABC):
    """One layer of decoding; a subclass writes ``_steps``.

    Attributes:
        coding: its name, for messages.
        inline: input of this size is decoded in less than about half a
            millisecond; more goes to a worker thread.
    """

    coding: str = ""
    inline: int = 0

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        # Given to the decompressor and, as it says, not used yet.
        self._unused = 0
        self._room = 0
        self._complete = False
        self._produced = 0
        self._members = 0
        self._run = self._steps()

    @abstractmethod
    def _steps(self) -> Generator[bytes | None, None, None]:
        """Read the format: yields output, ``b""`` for a rest, ``None`` for input."""

    @property
    def held(self) -> int:
        """How many bytes of the input have not been used yet."""
        return len(self._data) - self._position + self._unused

    def feed(self, data: bytes) -> None:
        """Give the next piece of input; the one before must be used up."""
        self._data = data
        self._position = 0

    def decode(self, max_length: int) -> bytes | None:
        """Decode about ``max_length`` bytes or less.

        Returns:
            Output; ``b""``: ask again, some work is done; ``None``: feed me.

        Raises:
            MalformedBody: the input breaks the format.
            LimitExceeded: it has too many members, or too long a header.
        """
        self._room = max_length
        output = next(self._run)
        if output:
            self._produced += len(output)
        return output

    def finish(self) -> None:
        """The input has ended.

        Raises:
            MalformedBody: it must not end here.
        """
        if not self._complete:
            raise MalformedBody(
                f"the {self.coding} body is cut short after "
                f"{self._produced} decoded bytes"
            )

    # -- for the formats -------------------------------------------------------------

    def _empty(self) -> bool:
        return self._position == len(self._data)

    def _slice(self, size: int) -> bytes:
        """The next ``size`` bytes of the piece, or what there is of them."""
        start = self._position
        data = self._data[start : start + size]
        self._position += len(data)
        return data

    def _exactly(self, size: int) -> Generator[bytes | None, None, bytes]:
        data = self._slice(size)
        while len(data) < size:
            yield None
            data += self._slice(size - len(data))
        return data

    def _begin_member(self) -> bool:
        """Count one more; whether it is time for a rest.

        Raises:
            LimitExceeded: that is one too many.
        """
        self._complete = False
        self._members += 1
        limit = _FREE_MEMBERS + self._produced // _MEMBER_SIZE
        if self._members > limit:
            unit = f"members in its first {self._produced} decoded bytes"
            raise exceeded(f"the {self.coding} body", self._members, limit, unit)
        return self._members % _MEMBERS_AT_ONCE == 0

    def _end(self) -> Generator[bytes | None, None, None]:
        """Nothing may follow."""
        self._complete = True
        while self._empty():
            yield None
        raise MalformedBody(f"there are bytes after the end of the {self.coding} body")

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(
            f"{what} after {self._produced} decoded bytes of the {self.coding} body"
        )
