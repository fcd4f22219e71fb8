r"""The delimiter of a multipart body, and what may follow it (RFC 2046 section 5.1.1).

A delimiter is CR LF, two dashes and the boundary. Behind it stand

* two dashes: the close delimiter, whatever comes next (RFC 2046's epilogue);
* or blanks, 64 at most (transport padding), and CR LF: a part begins;
* or a bare CR or LF: an error, since readers that take it and readers that do not
  would see different parts;
* or anything else. In form-data that is an error for the same reason, and RFC 2046
  forbids it. Elsewhere the line is content: boundaries that extend the one around
  them ("b" and "b_alt") are found in the wild.

CR occurs in a delimiter only as its first byte. So what must be held back at the
end of a chunk starts at the chunk's last CR, and one look decides about it.

A file of its own: a grammar that can be read and tested without the parser around it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BAD", "CLOSE", "CONTENT", "OPEN", "UNDECIDED", "Delimiter"]

MAX_PADDING: Final = 64

_BOUNDARY: Final = re.compile(rb"[ -~]{0,69}[!-~]")

# Verdicts; the positive ones are numbers of groups in the patterns below, where
# groups beyond UNDECIDED mean the same.
BAD, CONTENT, CLOSE, OPEN, UNDECIDED = -1, 0, 1, 2, 3

# What stands behind a delimiter's text, as much as decides something: group 1 for a
# close delimiter, 2 for a whole line, 3 and 4 when the end of the input leaves it
# open, no group for an error, no match for content.
_TAIL: Final = rb"(?:(--)|[ \t]{0,%d}+(?:(\r\n)|(\r?\Z))|(-\Z)|%%s)" % MAX_PADDING
_STRICT: Final = _TAIL % b""
_LENIENT: Final = _TAIL % rb"[ \t]{0,%d}+[ \t\r\n]" % MAX_PADDING
_strict_tail: Final = re.compile(_STRICT)
_lenient_tail: Final = re.compile(_LENIENT)


class Delimiter:
    """Recognises the delimiter lines of one body.

    Args:
        boundary: without the leading dashes.
        strict: a line that only begins as a delimiter is an error, not content.

    Attributes:
        text: CR LF, two dashes and the boundary.
        line_size: the most bytes that a decision needs.

    Raises:
        ValueError: the boundary is no boundary.
    """

    __slots__ = ("_line", "_tail", "line_size", "text")

    def __init__(self, boundary: bytes, *, strict: bool) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise ValueError("the boundary is not 1 to 70 printable ASCII characters")
        self.text: Final = b"\r\n--" + boundary
        self.line_size: Final = len(self.text) + MAX_PADDING + 2
        self._tail = _strict_tail if strict else _lenient_tail
        self._line: re.Pattern[bytes] | None = None

    def hold_from(self, chunk: bytes, low: int) -> int:
        """Return where the bytes begin that may be the start of a delimiter.

        Only for a chunk in which no delimiter was found from ``low`` on.
        """
        cut = chunk.rfind(b"\r", max(low, len(chunk) - len(self.text) + 1))
        if cut >= 0 and self.text.startswith(chunk[cut:]):
            return cut
        return len(chunk)

    def look(self, piece: bytes) -> tuple[int, int]:
        """Return the verdict about ``piece``, and how many bytes it covers."""
        if piece.startswith(self.text):
            match = self._tail.match(piece, len(self.text))
            if match is not None:
                return match.lastindex or BAD, match.end()
        elif self.text.startswith(piece):
            return UNDECIDED, len(piece)
        return CONTENT, 0

    def search(self, chunk: bytes, hit: int) -> tuple[int, int, int]:
        """Return the first delimiter from the one at ``hit`` on that is not content.

        Returns:
            The verdict, where the delimiter begins and where it ends; for CONTENT
            the chunk has no more.
        """
        tail = self._tail.match(chunk, hit + len(self.text))
        if tail is not None:
            return tail.lastindex or BAD, hit, tail.end()
        # A line that only looks like a delimiter: whoever sends one may send a
        # million, and a loop here would take as many rounds. Compiling takes
        # 200 us, so never before that (each body has a boundary of its own).
        if self._line is None:
            self._line = re.compile(re.escape(self.text) + _LENIENT)
        match = self._line.search(chunk, hit + len(self.text))
        if match is None:
            return CONTENT, -1, -1
        return match.lastindex or BAD, match.start(), match.end()
