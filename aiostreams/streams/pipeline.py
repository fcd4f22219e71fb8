"""Layers of decoders upon another, and the ceilings that hold over all of them.

The wire feeds the first layer, each layer the next, and the last one gives the body.
A piece goes down only when the layer below has used up the one before, so each holds
one piece at most. Nothing here waits: it runs on the event loop or in a worker
thread, a bounded number of turns at a time.

What is held against the limits, for every layer: its output against ``max_body``,
and against ``max_ratio`` times the bytes of the wire it took; both are looked at
when the output crosses a multiple of 64 KiB, so that the verdict does not depend on
how the body is cut. Only the body itself is delivered up to the very last byte.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from aiostreams.errors import LimitExceeded
from aiostreams.limits import KiB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiostreams.limits import Limits
    from aiostreams.streams.inflate import Decoder

__all__ = ["Pipeline"]

# One turn of one layer gives at most this much: 0.1 to 0.3 ms of work.
_TURN: Final = 64 * KiB
# The ratio counts after that much output; small and regular bodies go beyond any.
_FREE_OUTPUT: Final = 64 * KiB
# Bytes that pass beyond max_body and a 256th of it, on the wire and between layers:
# what a coding adds to incompressible bytes, its headers, and padding.
_SLACK: Final = 64 * KiB


class Pipeline:
    """Decoders, the one for the wire first, under ``limits``.

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
        """The wire has ended.

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
        raise LimitExceeded(
            f"the decoded body has at least {produced} bytes, limit {limit}",
            limit=limit,
            seen=produced,
        )

    def _check_size(self, size: int, layers: int) -> None:
        """Hold what is not the body itself to the same limit, with some slack."""
        limit = self._limits.max_body
        if size > limit + (limit >> 8) + _SLACK:
            raise LimitExceeded(
                f"the body has at least {size} bytes with {layers} of "
                f"{len(self._decoders)} codings undone, limit {limit} without any",
                limit=limit,
                seen=size,
            )

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
