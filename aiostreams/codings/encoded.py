"""A stream that encodes another in a content coding (RFC 9110 section 8.4).

Bytes are gathered to blocks of a fixed size, so that the output does not depend on
how the source cuts its bytes. A block that takes less than half a millisecond is
encoded in place, else in a worker thread, while the next block is read and, once
there is one, while the reader uses the last. A small body is one block, in place.

Live bodies: bytes that must reach the client now cannot wait for a block. A source
that says so (``live``) has each of its pieces encoded and flushed at once: an
attribute of that name on the source is looked at after each piece, so a source can
change its mind, or the caller decides with ``EncodedStream(..., live=True)``. And
``flush()`` does it once, for everything that went in so far.

A body that is in memory needs no stream: ``encode_whole`` gives its bytes.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from aiostreams.codings.registry import coding_aliases, make_encoder
from aiostreams.codings.source_reader import SourceReader
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.negotiation import parse_content_encoding
from aiostreams.streams.threads import ThreadCall
from aiostreams.streams.transforms import Transform

if TYPE_CHECKING:
    from aiostreams.streams.base import Stream

__all__ = ["WHOLE", "EncodedStream", "GZipStream", "encode_whole"]

# Large enough that a thread hop (40 µs of CPU) does not matter, small enough that
# its output is at most 256 KiB whatever is in it.
_BLOCK: Final = 128 * KiB
# In place altogether before the event loop has a turn, in blocks.
_HOLD: Final = 4


class _End(enum.Enum):
    """What follows the bytes of a block."""

    MORE = enum.auto()
    FLUSH = enum.auto()
    FINISH = enum.auto()


class EncodedStream(Transform):
    """``source`` in a content coding (RFC 9110 section 8.4.1).

    The output is deterministic: it depends on the source's bytes, the level, where
    it is flushed, and the library that does the work. When the source fails, what
    arrived is delivered, flushed, and then the error is raised; without the end of
    the coding, no decoder takes the bytes for a whole body. Closing midway is alike.

    Args:
        source: the bytes; owned.
        coding: ``gzip`` (or ``x-gzip``), ``deflate``, ``br``, ``zstd``,
            ``identity``, one that was registered, or several with commas, applied
            from the left.
        level: the codings' own: 0 to 9 for gzip and deflate, 0 to 11 for br, -7 to
            22 for zstd. ``None`` is quick and good.
        live: whether every piece of the source is flushed at once. ``None``: as
            the source says in its attribute ``live``.

    Raises:
        ValueError: no such coding or level.
        ImportError: the coding needs an extra that is not installed.
        UnsupportedContent: ``coding`` is not a list of names.
    """

    def __init__(
        self,
        source: Stream,
        coding: str,
        *,
        level: int | None = None,
        live: bool | None = None,
    ) -> None:
        super().__init__(source)
        codings = parse_content_encoding(coding, coding_aliases())
        self._encoders = [make_encoder(name, level) for name in codings]
        self._inline = min((encoder.inline for encoder in self._encoders), default=0)
        self._block = self._inline if self._inline >= _BLOCK // 2 else _BLOCK
        self._intake = SourceReader(source, live=live)
        self._output: deque[bytes] = deque()
        self._job: ThreadCall[bytes] | None = None
        self._in_place = 0
        # Bytes that went into the encoders since they were last flushed.
        self._dirty = 0
        # How many flushes are due: see flush().
        self._flushes = 0
        self._finished = False

    @property
    def size(self) -> int | None:
        """The source's size when the coding is identity, else ``None``."""
        return None if self._encoders else self.source.size

    @property
    def live(self) -> bool:  # type: ignore[override] # a source may say it plainly
        """Whether pieces are flushed out at once, for a stream around this one."""
        return self._intake.live

    async def readany(self) -> bytes:
        """Return the next encoded bytes."""
        if not self._encoders:
            return await self.source.readany()
        intake = self._intake
        while not self._output:
            if self._job is not None:
                await intake.fill_during(self._job, self._block)
                self._collect()
            elif self._finished:
                if intake.error is not None:
                    raise intake.error
                return b""
            elif self._has_work():
                await self._work()
            else:
                await intake.fill(1 if self._flushes else self._block)
        output = self._output.popleft()
        if intake.held >= self._block > self._inline:
            self._start()  # it encodes while this piece is being used
        return output

    async def flush(self) -> None:
        """Let everything that went in so far be decodable from what comes out.

        The output then comes by the next ``readany``, or by one that waits now. A
        piece that the source is just about to give counts as having gone in. Each
        flush costs about five bytes and a little of the ratio.

        Raises:
            StreamClosed: the stream was closed.
        """
        self.check_open()
        if self._intake.held or self._dirty or self._job is not None:
            # One for what is inside, one for the piece that may be on its way.
            self._flushes = 2
        else:
            self._flushes = 1
        self._intake.interrupt()

    def _has_work(self) -> bool:
        intake = self._intake
        return intake.held >= self._block or intake.ended or self._flush_is_due()

    def _flush_is_due(self) -> bool:
        held = self._intake.held
        return bool(self._intake.urgent or (self._flushes and (held or self._dirty)))

    def _next_block(self) -> tuple[bytes, _End]:
        """Return what to encode now, and what must follow it."""
        intake = self._intake
        flush = self._flush_is_due()
        data = intake.take(self._block)
        self._dirty += len(data)
        if intake.held:
            return data, _End.MORE
        if intake.ended:
            self._finished = True
            # A body that broke off is readable to its last byte, and has no end.
            return data, _End.FLUSH if intake.error is not None else _End.FINISH
        if flush:
            self._flushes = max(0, self._flushes - 1)
            self._dirty = 0
            return data, _End.FLUSH
        return data, _End.MORE

    async def _work(self) -> None:
        # What encoders have put off they do at the next flush or at the end.
        if min(self._intake.held + self._dirty, self._block) > self._inline:
            self._start()
            return
        if self._in_place >= _HOLD * self._inline:
            self._in_place = 0
            await asyncio.sleep(0)
        data, end = self._next_block()
        self._in_place += len(data)
        self._put(self._encode(data, end))

    def _start(self) -> None:
        self._in_place = 0
        self._job = ThreadCall(functools.partial(self._encode, *self._next_block()))

    def _collect(self) -> None:
        job, self._job = self._job, None
        assert job is not None
        self._put(job.result())

    def _put(self, data: bytes) -> None:
        if data:
            self._output.append(data)

    def _encode(self, data: bytes, end: _End) -> bytes:
        for encoder in self._encoders:
            if data:
                data = encoder.encode(data)
            if end is _End.FLUSH:
                data += encoder.flush()
            elif end is _End.FINISH:
                data += encoder.finish()
        return data

    async def close(self) -> None:
        """Close the source; no end is written."""
        self._intake.clear()
        self._output.clear()
        await super().close()


class GZipStream(EncodedStream):
    """``source`` gzipped (RFC 1952): ``EncodedStream`` for gzip, without time and name.

    Args:
        source: the bytes; owned.
        level: 0 to 9.
        live: see :class:`EncodedStream`.

    Raises:
        ValueError: there is no such level.
    """

    def __init__(
        self, source: Stream, *, level: int | None = None, live: bool | None = None
    ) -> None:
        super().__init__(source, "gzip", level=level, live=live)


# A body in memory of up to this size is encoded before its header section is sent,
# and so has a Content-Length. It then is there twice; a larger one goes in pieces.
WHOLE: Final = 2 * MiB
# An encoder is quick that takes as much in half a millisecond at the worst; then a
# thread hop costs more than it is worth. How much it is given at a time, and after how
# many seconds the event loop has a turn: each costs it 10 us.
_QUICK: Final = 64 * KiB
_PIECE: Final = 128 * KiB
_TURN: Final = 0.0005


async def encode_whole(data: bytes, coding: str, level: int | None) -> bytes:
    """Encode a body that is in memory.

    A quick encoder does it in place, with turns of the event loop in between; a slow
    one in a worker thread, in one call: cut to blocks as by ``EncodedStream``, br has
    8 % more bytes.

    Args:
        data: the body.
        coding: the name of one coding.
        level: of the coding's own; its default when ``None``.

    Raises:
        ValueError: there is no such coding or level.
        ImportError: the coding needs an extra that is not installed.
    """
    encoder = make_encoder(coding, level)
    if len(data) <= encoder.inline:
        return encoder.encode(data) + encoder.finish()
    if encoder.inline < _QUICK:
        job = ThreadCall(lambda: encoder.encode(data) + encoder.finish())
        await job.wait()
        return job.result()
    output = []
    view = memoryview(data)
    turn = time.perf_counter()
    for start in range(0, len(data), _PIECE):
        output.append(encoder.encode(view[start : start + _PIECE]))
        if time.perf_counter() - turn > _TURN:
            await asyncio.sleep(0)
            turn = time.perf_counter()
    return b"".join([*output, encoder.finish()])
