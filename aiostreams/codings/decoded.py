"""A stream that undoes the content codings of another (RFC 9110 section 8.4).

What it gives is verified and bounded. It moves bytes between three others: the
``SourceReader`` reads the source, the ``Pipeline`` decodes under the limits, and a
``ThreadCall`` runs that in a worker thread when there is more to do than fits between
two turns of the event loop. What fits is done in place, which is cheaper than a thread
hop (40 µs of CPU here): 64 KiB of gzip take isal 0.2 ms and zlib 0.8 ms.

Decoding happens when somebody reads, plus one batch ahead in the worker. Closing, or
draining the source, decodes nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Final

from aiostreams.codings.registry import (
    coding_aliases,
    make_decoder,
    supported_codings,
)
from aiostreams.codings.source_reader import SourceReader
from aiostreams.errors import LimitExceeded, UnsupportedContent, exceeded
from aiostreams.limits import DEFAULT_LIMITS, KiB
from aiostreams.sansio.negotiation import parse_content_encoding
from aiostreams.streams.threads import ThreadCall
from aiostreams.streams.transforms import Transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiostreams.codings.base import Decoder
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = ["DecodedStream", "GUnzipStream", "Pipeline"]

# Turns of at most 64 KiB of output each: what a worker does at once, what is done
# in place for one read, and in place altogether before the event loop has a turn.
_JOB: Final = 4
_INLINE: Final = 1
_HOLD: Final = 4
# After a piece that is larger than this no other is read before it is used up: two
# of 256 KiB would be all the memory that a small body may cost.
_READ_AHEAD: Final = 128 * KiB


class DecodedStream(Transform):
    """``source`` with its content codings undone, from the right.

    gzip may have several members and zstd several frames; checksums and lengths are
    verified. A body that is cut short, or goes on after its end, is a
    ``MalformedBody``; zeros may follow the last gzip member. A body of no bytes at
    all decodes to no bytes, in every coding: clients that name a coding on an empty
    body exist, and servers and browsers read it so.

    Args:
        source: the encoded bytes; owned.
        coding: the value of ``Content-Encoding``: ``gzip`` (or ``x-gzip``),
            ``deflate`` (zlib-wrapped or bare), ``br``, ``zstd``, ``identity``, one
            that was registered, or several with commas between them (RFC 9110
            section 8.4).
        limits: ``max_body`` for the decoded bytes, ``max_ratio`` and
            ``max_codings`` count; the defaults when ``None``.

    Raises:
        UnsupportedContent: a coding is unknown or its library is missing, or there
            are more than ``max_codings``; ``accept_encoding`` says what is read.
        MalformedBody: by a read: not what the coding makes.
        LimitExceeded: by a read: over a limit, or a body of more than 1,000 gzip
            members or zstd frames and one for each KiB decoded.
    """

    def __init__(
        self, source: Stream, coding: str, *, limits: Limits | None = None
    ) -> None:
        super().__init__(source)
        self._limits = limits = limits or DEFAULT_LIMITS
        supported = ", ".join(supported_codings())
        codings = parse_content_encoding(
            coding, coding_aliases(), accept_encoding=supported
        )
        if len(codings) > limits.max_codings:
            raise UnsupportedContent(
                f"the body has {len(codings)} content codings, "
                f"limit {limits.max_codings}",
                accept_encoding=supported,
            )
        decoders = [make_decoder(coding) for coding in reversed(codings)]
        self._inline = min((decoder.inline for decoder in decoders), default=0)
        self._pipeline = Pipeline(decoders, limits)
        self._identity = not decoders
        self._passed = 0
        self._intake = SourceReader(source)
        self._job: ThreadCall[None] | None = None
        self._offload = False
        self._read_ahead = False
        self._held = 0

    @property
    def size(self) -> int | None:
        """The source's size when the coding is identity, else ``None``."""
        return self.source.size if self._identity else None

    async def readany(self) -> bytes:
        """Return the next decoded bytes, at most 256 KiB."""
        if self._identity:
            return await self._pass()
        pipeline = self._pipeline
        # While a job runs, the pipeline is the worker's.
        while self._job is not None or not pipeline.output:
            if self._job is not None:
                if self._read_ahead:
                    await self._intake.fill_during(self._job, 1)
                else:
                    await self._job.wait()
                self._job.result()
                self._job = None
            elif pipeline.error is not None:
                raise pipeline.error
            elif not pipeline.hungry:
                await self._work()
            elif self._intake.held:
                self._feed()
            elif not self._intake.ended:
                await self._intake.fill(1)
            elif self._intake.error is not None:
                raise self._intake.error
            else:
                pipeline.finish()
                return b""
        piece = pipeline.output.popleft()
        if not pipeline.output and self._offload and not pipeline.hungry:
            self._start()  # it decodes while this piece is being used
        return piece

    def _feed(self) -> None:
        piece = self._intake.take_chunk()
        self._offload = len(piece) > self._inline
        self._read_ahead = len(piece) <= _READ_AHEAD
        self._pipeline.feed(piece)

    async def _work(self) -> None:
        if self._offload:
            self._start()
            return
        if self._held >= _HOLD:
            self._held = 0
            await asyncio.sleep(0)
        self._held += 1
        self._pipeline.run(_INLINE)

    def _start(self) -> None:
        if self._pipeline.error is None:
            self._held = 0
            self._job = ThreadCall(functools.partial(self._pipeline.run, _JOB))

    async def _pass(self) -> bytes:
        limit = self._limits.max_body
        if self._passed > limit:
            raise self._too_long()
        piece = await self.source.readany()
        before = self._passed
        self._passed += len(piece)
        if self._passed > limit:
            piece = piece[: limit - before]
            if not piece:
                raise self._too_long()
        return piece

    def _too_long(self) -> LimitExceeded:
        return exceeded("the body", self._passed, self._limits.max_body)

    async def close(self) -> None:
        """Close the source. A batch in the worker ends by itself; it owns nothing."""
        self._intake.clear()
        await super().close()


class GUnzipStream(DecodedStream):
    """``source`` gunzipped (RFC 1952): ``DecodedStream`` for gzip.

    Args:
        source: gzip data, such as a part that is a ``.gz`` file; owned.
        limits: see :class:`DecodedStream`.

    Raises:
        MalformedBody, LimitExceeded: by a read, see :class:`DecodedStream`.
    """

    def __init__(self, source: Stream, *, limits: Limits | None = None) -> None:
        super().__init__(source, "gzip", limits=limits)


# One turn of one layer gives at most this much: 0.1 to 0.3 ms of work.
_TURN: Final = 64 * KiB
# The ratio counts after that much output; small and regular bodies go beyond any.
_FREE_OUTPUT: Final = 64 * KiB
# Bytes that pass beyond max_body and a 256th of it, on the wire and between layers:
# what a coding adds to incompressible bytes, its headers, and padding.
_SLACK: Final = 64 * KiB


class Pipeline:
    """Layers of decoders, the one for the wire first, under ``limits``.

    The wire feeds the first layer, each layer the next, and the last one gives the
    body. A piece goes down only when the layer below has used up the one before, so
    each holds one piece at most. Nothing here waits: it runs on the event loop or in
    a worker thread, a bounded number of turns at a time.

    What is held against the limits, for every layer: its output against ``max_body``,
    and against ``max_ratio`` times the bytes of the wire it took; both are looked at
    when the output crosses a multiple of 64 KiB, so that the verdict does not depend
    on how the body is cut. Only the body itself is delivered up to the very last
    byte.

    Attributes:
        output: decoded pieces to be taken from the left.
        error: why decoding has stopped; it is raised when the output is taken.
        hungry: more bytes of the wire are needed.
    """

    def __init__(self, decoders: Sequence[Decoder], limits: Limits) -> None:
        self._decoders = decoders
        self._limits = limits
        self._produced = [0] * len(decoders)
        self._wire = 0
        self.output: deque[bytes] = deque()
        self.error: Exception | None = None
        self.hungry: bool = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the wire, when hungry.

        Raises:
            LimitExceeded: they are too many, whatever they decode to.
        """
        self._wire += len(data)
        self._check_size(self._wire, 0)
        self._decoders[0].feed(data)
        self.hungry = False

    def run(self, turns: int) -> None:
        """Decode for at most ``turns`` turns, fewer when hungry or done for."""
        try:
            while turns and not self.hungry:
                turns -= 1
                self._turn()
        except Exception as error:  # noqa: BLE001 - raised when its turn comes
            self.error = error

    def finish(self) -> None:
        """Note that the wire has ended.

        Raises:
            MalformedBody: too early for one of the layers.
            LimitExceeded: a small body is over a ratio that is checked in steps.
        """
        if not self._wire:
            return  # see DecodedStream: no bytes are the coding of no bytes
        for index, decoder in enumerate(self._decoders):
            decoder.finish()
            self._check_ratio(index)

    def _turn(self) -> None:
        """Let the last layer that has something to do do it; for the others, feed."""
        last = len(self._decoders) - 1
        for index in range(last, -1, -1):
            before = self._produced[index]
            output = self._decoders[index].decode(_TURN - before % _TURN)
            if output is None:
                continue  # it needs input: ask the layer above
            self._produced[index] = after = before + len(output)
            if output and index == last:
                self._deliver(output)
            elif output:
                self._check_size(after, index + 1)
                self._decoders[index + 1].feed(output)
            if after // _TURN != before // _TURN:
                self._check_ratio(index)
            return
        self.hungry = True

    def _deliver(self, output: bytes) -> None:
        produced = self._produced[-1]
        limit = self._limits.max_body
        if produced <= limit:
            self.output.append(output)
            return
        promised = output[: len(output) - (produced - limit)]
        if promised:
            self.output.append(promised)
        raise exceeded("the body", produced, limit, "decoded bytes")

    def _check_size(self, size: int, layers: int) -> None:
        """Hold what is not the body itself to the same limit, with some slack."""
        limit = self._limits.max_body
        if size > limit + (limit >> 8) + _SLACK:
            undone = f"bytes with {layers} of {len(self._decoders)} codings undone"
            raise exceeded("the body", size, limit, undone)

    def _check_ratio(self, index: int) -> None:
        produced = self._produced[index]
        used = self._wire - self._decoders[0].held
        limit = self._limits.max_ratio
        if produced > _FREE_OUTPUT and produced > used * limit:
            raise LimitExceeded(
                f"{used} bytes of {self._decoders[index].coding} gave {produced} "
                f"decoded bytes, limit {limit} for each",
                limit=limit,
                seen=produced / used,
            )
