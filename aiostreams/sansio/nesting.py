r"""How deep JSON text nests, told while it arrives and before it is parsed.

A streaming parser keeps one entry per open bracket, and ijson one whole path: 100,000
opening brackets, a tenth of a megabyte, take it 25 GB. So the text is gauged first:
strings are cut out, then only brackets count. Nothing else is judged here; text that
is not JSON is the parser's to refuse.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

from aiostreams.errors import MalformedBody

__all__ = ["MAX_NESTING", "NestingGauge"]

# About what the standard library's parser bears, too.
MAX_NESTING: Final = 1000

# A string, with its closing quote as the group; without one it goes on to the end (or
# to a backslash there that waits for what it escapes). Possessive, and it never fails
# after its first quote: each byte is looked at once.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
# The rest of a string that began in an earlier piece.
_REST = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class NestingGauge:
    """Counts open brackets over pieces of one JSON text.

    Args:
        limit: how many may be open at once.
    """

    def __init__(self, limit: int = MAX_NESTING) -> None:
        self._limit = limit
        self._depth = 0
        self._escaped = False
        # Whether the last piece ends within a string, and where the string ends in it
        # that began in an earlier one.
        self.in_string: bool = False
        self.begin: int = 0

    def feed(self, piece: bytes) -> bytes:
        """Gauge the next piece.

        Returns:
            What of it is no part of a string, but for quotes, and a backslash at the
            end of the piece.

        Raises:
            MalformedBody: it nests deeper than the limit.
        """
        self.begin = start = 0
        if not piece:
            return b""
        if self.in_string:
            rest = _REST.match(piece, 1 if self._escaped else 0)
            assert rest is not None
            self.begin = start = rest.end()
            self._escaped = start < len(piece) and not rest[1]
            if not rest[1]:
                return b""
            self.in_string = False
        # Text, quote, text, quote, ..., text.
        parts = _STRING.split(piece[start:] if start else piece)
        if len(parts) > 1 and not parts[-2]:
            self.in_string = True
            self._escaped = parts[-1] == b"\\"
        text = b"".join(parts)
        brackets = text.translate(None, _NOT_BRACKETS)
        opened = brackets.count(b"[") + brackets.count(b"{")
        if self._depth + opened > self._limit:
            steps = accumulate(map(_STEP.__getitem__, brackets), initial=self._depth)
            if max(steps) > self._limit:
                raise MalformedBody(f"the JSON nests deeper than {self._limit} levels")
        self._depth += opened - (len(brackets) - opened)
        return text
