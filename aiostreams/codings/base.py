"""Interfaces of an encoder and a decoder, and what decoders have in common.

``Encoder`` and ``Decoder`` are all that the streams know of a coding. Both take bytes
and give bytes, on the event loop or in a worker thread, and wait for nothing.

A decoder is fed a piece with ``feed`` and asked with ``decode`` until it returns
``None``: it needs more. Each ``decode`` is bounded, in output by its argument and in
time by what that output costs, so that the caller can stop in between. When the input
has ended, ``finish`` raises unless it ended where it may.

``GeneratorDecoder`` is one whose format is read by a generator, ``FrameDecoder`` one
over a library with the interface of ``bz2.BZ2Decompressor``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from aiostreams.errors import MalformedBody, exceeded
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Decoder", "Decompressor", "Encoder", "FrameDecoder", "GeneratorDecoder"]


class Encoder(Protocol):
    """Encoder of one body in one coding.

    The output is a function of the input, the level and the flushes alone: no time,
    no name. An encoder that is dropped before ``finish`` has written no end, so that
    no decoder takes its output for a complete body.

    Attributes:
        inline: input of up to this size, in bytes, takes less than about half a
            millisecond, and is encoded on the event loop; more goes to a worker
            thread. 0: always a thread.
    """

    inline: int

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take ``data``; give what is ready."""
        ...

    def flush(self) -> bytes:
        """Give everything, so that it can be decoded now; and no end of the body."""
        ...

    def finish(self) -> bytes:
        """Give everything and the end; also of a body of no bytes."""
        ...


class Decoder(Protocol):
    """Decoder of one body in one coding.

    Attributes:
        coding: the name of the coding, for messages.
        inline: input of up to this size, in bytes, takes less than about half a
            millisecond, and is decoded on the event loop; more goes to a worker
            thread. 0: always a thread.
    """

    coding: str
    inline: int

    @property
    def held(self) -> int:
        """How many bytes of the input have not been used yet.

        What was used is what ``max_ratio`` multiplies.
        """
        ...

    def feed(self, data: bytes) -> None:
        """Give the next piece of input; the one before has been used up."""
        ...

    def decode(self, max_length: int) -> bytes | None:
        """Decode about ``max_length`` bytes or less.

        Returns:
            Output; ``b""``: ask again, some work is done; ``None``: feed me.

        Raises:
            MalformedBody: the input breaks the format.
            LimitExceeded: a limit of the format's own is exceeded.
        """
        ...

    def finish(self) -> None:
        """Take note that the input has ended.

        Raises:
            MalformedBody: it must not end here.
        """
        ...


# Members (gzip) or frames (zstd) that one body may have: so many, and one for each KiB
# decoded. bgzip writes one for 64 KiB, a concatenation of log files a handful.
# A member costs microseconds however little is in it, and empty ones escape every
# ceiling on output: a million would take seconds.
_FREE_MEMBERS: Final = 1000
_MEMBER_SIZE: Final = 1 * KiB
# Without output, this many members and then a rest for the event loop.
_MEMBERS_AT_ONCE: Final = 32


class GeneratorDecoder(ABC):
    """Decoder whose format is read by a generator, in the order it has on the wire.

    A subclass writes ``_steps``, which yields output, ``b""`` after a while without
    any, or ``None`` for input.
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
        """Take note that the input has ended.

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
        """Return the next ``size`` bytes of the piece, or what there is of them."""
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


class Decompressor(Protocol):
    """Interface of ``bz2.BZ2Decompressor``, and of those in ``lzma`` and ``zstd``."""

    @property
    def eof(self) -> bool:
        """Whether the end of the frame was reached."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether there is no more output without more input."""
        ...

    @property
    def unused_data(self) -> bytes | None:
        """What was given beyond the end of the frame."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Decompress ``data`` to at most ``max_length`` bytes; keep the rest."""
        ...


# A library keeps input to itself while it still has output, so it is given little at a
# time: what counts as used is then never far off. After the first frame less, since
# what follows a short frame is copied with each of them.
_WINDOW: Final = 16 * KiB
_NEXT_WINDOW: Final = 512


class FrameDecoder(GeneratorDecoder):
    """Decoder over a library that has the interface of ``bz2.BZ2Decompressor``.

    So do ``lzma``, ``compression.zstd`` and ``lz4.frame``. A body is one frame (or
    stream, or member) or several, one behind another; nothing else may follow. More
    than 1,000 of them, and one for each KiB decoded, are a ``LimitExceeded``.

    Args:
        coding: the name of the coding, for messages.
        new_frame: makes the decompressor of one frame. It bounds the memory that a
            frame may ask for, where the format lets frames ask.
        errors: what the decompressor raises for bytes that break the format.
        inline: see :class:`Decoder`.
    """

    def __init__(
        self,
        coding: str,
        new_frame: Callable[[], Decompressor],
        errors: type[Exception] | tuple[type[Exception], ...],
        *,
        inline: int = 0,
    ) -> None:
        super().__init__()
        self.coding: str = coding
        self.inline: int = inline
        self._new_frame = new_frame
        self._errors = errors

    def _steps(self) -> Generator[bytes | None, None, None]:
        window = _WINDOW
        while True:
            if self._begin_member():
                yield b""
            frame = self._new_frame()
            while not frame.eof:
                data = b""
                if frame.needs_input:
                    while self._empty():
                        yield None
                    data = self._slice(window)
                    window = min(window * 8, _WINDOW)
                try:
                    output = frame.decompress(data, self._room)
                except self._errors as error:
                    raise self._malformed(f"not {self.coding} data") from error
                if output:
                    yield output
            self._position -= len(frame.unused_data or b"")
            window = _NEXT_WINDOW
            self._complete = True
            while self._empty():
                yield None
