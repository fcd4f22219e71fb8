r"""A push parser for multipart bodies (RFC 2046, RFC 7578): bytes in, events out.

Feed it chunks as they arrive, get a list of events each time::

    PartBegin, data, data, ..., PART_END, PartBegin, ..., PART_END, BODY_END

``data`` is ``bytes`` or ``memoryview``, a slice of the chunk it came in. The
events, and the error that ends them, do not depend on how the body was cut.

* What is a delimiter, what only looks like one, and what must wait for the next
  chunk is :mod:`aiostreams.sansio.delimiter`'s business.
* The body, and the blank line after a part's headers, count as if CR LF preceded
  them: the first delimiter may open the body, and an empty part may lack the
  empty line that most senders give it (RFC 2046 allows both).
* Each byte is searched once, in C: ``bytes.find`` for the delimiter, and from the
  first line that only looks like one a regular expression for the rest of the
  chunk. No input takes a Python loop per occurrence, but of real parts.
* An error comes after all that stood before it: ``feed`` returns those events, and
  raises at the next call; ``error`` tells at once.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from aiostreams.errors import (
    LimitExceeded,
    MalformedBody,
    StreamClosed,
    StreamError,
    exceeded,
)
from aiostreams.limits import DEFAULT_LIMITS, Limits
from aiostreams.sansio.delimiter import BAD, CLOSE, CONTENT, OPEN, UNDECIDED, Delimiter
from aiostreams.sansio.parthead import PLAIN_HEAD, PartBegin, parse_head, plain_part

__all__ = [
    "BODY_END",
    "PART_END",
    "Event",
    "Mark",
    "MultipartParser",
    "PartBegin",
    "PartCount",
    "PreambleTooLong",
]

# Slices up to this size are copied: 58 ns, where a memoryview takes 176 ns and
# keeps the whole chunk in memory for as long as the slice lives.
_COPY: Final = 1024

_BLANK_LINE: Final = b"\r\n\r\n"
_plain_head: Final = re.compile(PLAIN_HEAD).match


class Mark(Enum):
    """The events that carry nothing."""

    PART_END = auto()
    BODY_END = auto()


PART_END: Final = Mark.PART_END
BODY_END: Final = Mark.BODY_END

Event = PartBegin | bytes | memoryview | Mark


class PreambleTooLong(LimitExceeded, MalformedBody):
    """No delimiter in the first ``max_preamble`` bytes: no multipart at all, so 400."""

    status = 400


class PartCount:
    """The parts of a body, and of those nested in it, all counted together.

    Args:
        limit: ``max_parts``.

    Attributes:
        parts: how many were let in.
    """

    __slots__ = ("limit", "parts")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.parts: int = 0

    def add(self, parts: int = 1) -> None:
        """Count another part, or several.

        Raises:
            LimitExceeded: they are too many.
        """
        parts += self.parts
        if parts > self.limit:
            raise exceeded("the body", parts, self.limit, "parts")
        self.parts = parts


class _State(Enum):
    PREAMBLE = auto()
    HEAD = auto()
    DATA = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Turns the chunks of one multipart body into events.

    Args:
        boundary: without the leading dashes; see :func:`boundary_of`.
        limits: ``max_parts``, ``max_headers``, ``max_header_size``,
            ``max_preamble``, ``max_field`` and ``max_file`` hold here.
        count: where parts are counted, if others are counted there too; its limit
            holds in place of ``max_parts``.
        form_data: hold the parts to RFC 7578: each a form-data with a name.
            Otherwise any multipart (mixed, related, byteranges, ...), where
            every part may be as long as a file.

    Attributes:
        error: the error that the next call raises, or None.
        parts: the parts begun so far.

    Raises:
        ValueError: the boundary is no boundary.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        limits: Limits = DEFAULT_LIMITS,
        form_data: bool = True,
        count: PartCount | None = None,
    ) -> None:
        self.error: StreamError | None = None
        self.parts: int = 0
        self._limits = limits
        self._count = PartCount(limits.max_parts) if count is None else count
        self._form_data = form_data
        self._state = _State.PREAMBLE
        self._delimiter = Delimiter(boundary, strict=form_data)
        # What the last chunk ended with, that may be (part of) a delimiter line;
        # the first `_virtual` bytes of it are the CR LF that precedes for form's
        # sake and is no content.
        self._held = b"\r\n"
        self._virtual = 2
        self._head = bytearray()
        # How many bytes the part may have, what it declared, what it may yet have
        # (and so for the preamble, before the first part).
        self._ceiling = 0
        self._declared: int | None = None
        self._room = limits.max_preamble
        self._plain = form_data and limits.max_headers >= 2

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Parse the next bytes of the body.

        ``bytes`` are not copied; anything else is, once, since it may change.

        Raises:
            MalformedBody: the body broke the syntax after the last event.
            LimitExceeded: or exceeded a limit there.
            StreamClosed: ``close`` was called before.
        """
        if self.error is not None:
            raise self.error
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        events: list[Event] = []
        if not chunk or self._state is _State.EPILOGUE:
            return events
        try:
            self._run(chunk, events)
        except StreamError as exc:
            self.error = exc
            if not events:
                raise
        return events

    def close(self) -> list[Event]:
        """End the body; there are no more events.

        Raises:
            MalformedBody: before its close delimiter, or an earlier error is due.
        """
        error = self.error
        if error is None and self._state is not _State.EPILOGUE:
            where = {
                _State.PREAMBLE: "before its first delimiter",
                _State.HEAD: f"in the headers of part {self.parts}",
                _State.DATA: f"in part {self.parts}, before its close delimiter",
            }[self._state]
            error = MalformedBody(f"the multipart body ends {where}")
        if error is not None:
            self.error = error
            raise error
        self.error = StreamClosed("the parser was closed")
        return []

    def _run(self, chunk: bytes, events: list[Event]) -> None:
        """Go through ``chunk``, a part in each round of the loop.

        One long method on purpose: 1,000 small fields in one chunk take 1.3 ms,
        1.5 ms with methods for content and for the end of a part.
        """
        pos = 0  # what stands before it is done with
        if self._state is _State.HEAD:
            pos = self._continue_head(chunk, pos, events)
            if pos < 0:
                return
        low = max(pos - 2, 0)  # a delimiter may begin here
        verdict = CONTENT
        if self._held:
            verdict, pos = self._resume(chunk, pos, events)
            if verdict >= UNDECIDED:
                return
            low = pos
        delimiter = self._delimiter.text
        length = len(delimiter)
        limits = self._limits
        find, append = chunk.find, events.append
        # One byte is found at 10 times the speed, and text may have no CR at all.
        low = find(b"\r", low)
        if low < 0:
            low = len(chunk)
        end = pos
        while True:
            if verdict == CONTENT:
                hit = find(delimiter, low)
                if hit >= 0:
                    end = hit + length + 2
                    after = chunk[end - 2 : end]
                    if after == b"\r\n":
                        verdict = OPEN
                    elif after == b"--":
                        verdict = CLOSE
                    else:
                        verdict, hit, end = self._delimiter.search(chunk, hit)
                if verdict == CONTENT:
                    hit, verdict = self._delimiter.hold_from(chunk, low), UNDECIDED
                count = hit - pos
                if 0 < count <= _COPY and count <= self._room and self.parts:
                    # What _emit does, without the call.
                    self._room -= count
                    append(chunk[pos:hit])
                elif count > 0:
                    self._emit(chunk, pos, hit, events)
                if verdict >= UNDECIDED:
                    self._held = chunk[hit:]
                    self._virtual = max(pos - hit, 0)
                    return
                pos = end
            if verdict == BAD:
                raise MalformedBody(
                    "a delimiter is not followed by CR LF or two dashes"
                )
            if self._declared and self._room:
                raise MalformedBody(
                    f"part {self.parts} has {self._declared - self._room} bytes, "
                    f"its Content-Length is {self._declared}"
                )
            if self._state is _State.DATA:
                append(PART_END)
            if verdict == CLOSE:
                self._state = _State.EPILOGUE
                append(BODY_END)
                return
            self.parts += 1
            self._count.add()
            match = _plain_head(chunk, pos) if self._plain else None
            stop = match.end() if match is not None else 0
            if match is not None and stop - pos - 2 <= limits.max_header_size:
                begin = plain_part(chunk[pos : stop - 2], match)
                pos = stop
                self._room = self._ceiling = (
                    limits.max_field if begin.filename is None else limits.max_file
                )
                self._declared = None
                self._state = _State.DATA
                append(begin)
            else:
                self._state = _State.HEAD
                self._head[:] = b"\r\n"
                pos = self._continue_head(chunk, pos, events)
                if pos < 0:
                    return
            low = pos - 2
            verdict = CONTENT

    def _resume(self, chunk: bytes, pos: int, events: list[Event]) -> tuple[int, int]:
        """Decide about what was held back, now that more bytes are here."""
        held = self._held
        delimiter = self._delimiter
        joined = held + chunk[pos : pos + delimiter.line_size - len(held)]
        verdict, end = delimiter.look(joined)
        if verdict >= UNDECIDED:
            self._held = joined
            return verdict, pos
        if verdict != CONTENT:
            self._held = b""
            return verdict, pos + end - len(held)
        self._held = b""
        if len(held) > self._virtual:
            self._emit(held, self._virtual, len(held), events)
        return CONTENT, pos

    def _emit(self, chunk: bytes, start: int, stop: int, events: list[Event]) -> None:
        """Hand on content, or count preamble, up to the limit and no further."""
        count = stop - start
        room = self._room
        if self._state is _State.PREAMBLE:
            if count > room:
                limit = self._limits.max_preamble
                raise PreambleTooLong(
                    f"no delimiter in the first {limit} bytes of the multipart body",
                    limit=limit,
                    seen=limit + 1,
                )
            self._room = room - count
            return
        if count > room:
            if room:
                self._emit(chunk, start, start + room, events)
            raise self._overrun()
        self._room = room - count
        if count == len(chunk):
            events.append(chunk)
        elif count <= _COPY:
            events.append(chunk[start:stop])
        else:
            events.append(memoryview(chunk)[start:stop])

    def _overrun(self) -> StreamError:
        """Return the error for content beyond the room that the part has."""
        if self._declared is not None:
            return MalformedBody(
                f"part {self.parts} is longer than its Content-Length of "
                f"{self._declared} bytes"
            )
        return exceeded(f"part {self.parts}", self._ceiling + 1, self._ceiling)

    def _allow(self, begin: PartBegin) -> None:
        """Set how long the part may be, by its kind and by what it declares."""
        field = self._form_data and begin.filename is None
        limit = self._limits.max_field if field else self._limits.max_file
        declared = begin.content_length
        if declared is not None and declared > limit:
            raise exceeded(f"part {self.parts}", declared, limit, exact=True)
        self._ceiling = limit
        self._declared = declared
        self._room = limit if declared is None else declared

    def _continue_head(self, chunk: bytes, pos: int, events: list[Event]) -> int:
        """Collect the headers of a part, up to the blank line behind them.

        Returns:
            Where the content begins, or -1 when the chunk ends before that.
        """
        head = self._head
        # The CR LF of the delimiter line, the headers, the CR LF of a blank line.
        limit = self._limits.max_header_size
        seen = len(head)
        head += chunk[pos : pos + limit + 4 - seen]
        blank = head.find(_BLANK_LINE, max(seen - 3, 0))
        if blank < 0:
            if len(head) >= limit + 4:
                part = f"part {self.parts}"
                raise exceeded(part, limit + 1, limit, "bytes of headers")
            return -1
        raw = bytes(head[2 : blank + 2])
        pos += blank + 4 - seen
        head.clear()
        begin = parse_head(raw, self._limits, form_data=self._form_data)
        self._allow(begin)
        self._state = _State.DATA
        events.append(begin)
        if pos < 2:
            self._held, self._virtual = b"\r\n", 2
        return pos
