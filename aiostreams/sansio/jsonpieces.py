"""JSON text on its way into a streaming parser: what that would misread.

The parsers that ijson has are none of ours, and differ: yajl makes a "?" or another
character of a lone surrogate, takes a form feed for white space and refuses integers
of more than 64 bits; the one in pure Python takes digits of every script, and makes
infinities. Whole documents are read by RFC 8259 to the letter (``content.jsontext``),
and their values must not depend on which way was chosen. So the pieces are looked at
before they are parsed, mostly by searches that find nothing:

- A byte order mark is left out.
- Nesting beyond the limit, lone surrogates, and what JSON has in strings only, are
  refused.
- An integer of more than 64 bits becomes a string that no document can have by
  accident, and what is parsed is turned back by :meth:`JSONPieces.restore`.

A number may be cut by the end of a piece, so its digits wait for the next one.

How deep JSON text nests, told while it arrives and before it is parsed.

A streaming parser keeps one entry per open bracket, and ijson one whole path: 100,000
opening brackets, a tenth of a megabyte, take it 25 GB. So the text is gauged first:
strings are cut out, then only brackets count. Nothing else is judged here; text that
is not JSON is the parser's to refuse.
"""

from __future__ import annotations

import re
import secrets
import sys
from itertools import accumulate
from typing import Any, Final

from aiostreams.errors import MalformedBody

__all__ = ["MAX_NESTING", "JSONPieces", "NestingGauge"]
_BOM: Final = b"\xef\xbb\xbf"
_DIGITS: Final = b"0123456789"
# Where sys.get_int_max_str_digits() sets no limit.
_MOST_DIGITS: Final = 100_000
# One fast search finds what may be a long integer.
_SHAPE: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = b"0" * 19
_RUN: Final = re.compile(rb"0*")
# A string, or an integer that may not fit in 64 bits.
_TOKEN: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?'
    rb"|(?<![0-9.eE+])(?<![eE]-)(-?(?:[1-9][0-9]{19,}+|9[2-9][0-9]{17}))(?![0-9.eE])",
    re.DOTALL,
)
_MAYBE_LONE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_PAIR: Final = 12
# Everything but a lone surrogate, and an escape that the end cuts off.
_PAIRED: Final = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?:[^dD]|[dD][^89a-fA-F])"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+",
    re.DOTALL,
)
_CUT: Final = re.compile(
    rb"\\(?:u(?:[dD](?:[89abAB](?:[0-9a-fA-F](?:[0-9a-fA-F]"
    rb"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?)?)?)?)?"
)


class JSONPieces:
    """Pieces of one JSON text, made safe to parse; and the values, restored.

    Args:
        doubtful: whether the parser makes infinities of numbers beyond a double.
    """

    def __init__(self, *, doubtful: bool = False) -> None:
        self._gauge = NestingGauge()
        self._mark = b""
        self._doubtful = doubtful
        # The first bytes, while they may be a byte order mark; later the beginning of
        # an integer at the end of the last piece.
        self._held = b""
        self._begun = False
        # Whether the last piece ends in a number that is no integer.
        self._in_fraction = False
        # An escape at the end of the last piece that may be half of a pair.
        self._escape = b""
        self._most_digits = sys.get_int_max_str_digits() or _MOST_DIGITS

    def feed(self, piece: bytes) -> bytes:
        """The next piece, to be parsed; may be empty, or hold some of the last one.

        Raises:
            MalformedBody: it is not JSON, or nests too deeply.
        """
        if not self._begun:
            piece = self._held + piece
            self._held = b""
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._held = piece
                return b""
            self._begun = True
            piece = piece.removeprefix(_BOM)
        text = self._gauge.feed(piece)
        if b"\x0c" in text or b"\x0b" in text or not text.isascii():
            raise MalformedBody("the JSON has characters between its values")
        self._check_escapes(piece)
        return self._with_integers(piece, text)

    def end(self) -> bytes:
        """What was held back, at the end of the text.

        Raises:
            MalformedBody: it ends within a surrogate pair.
        """
        if self._escape:
            raise MalformedBody("the JSON ends within an escape")
        held, self._held = self._held, b""
        return _TOKEN.sub(self._marked, held) if self._begun else held

    def restore(self, value: Any) -> Any:
        """A parsed value with its long integers; changed in place.

        Raises:
            MalformedBody: a number does not fit in a double.
        """
        if not self._doubtful:
            return value
        root = [value]
        open_values: list[Any] = [root]
        while open_values:
            holder = open_values.pop()
            pairs = holder.items() if type(holder) is dict else enumerate(holder)
            for key, item in pairs:
                if type(item) is dict or type(item) is list:
                    open_values.append(item)
                elif type(item) is str or type(item) is float:
                    holder[key] = self._restored(item)
        return root[0]

    def _restored(self, item: str | float) -> str | float:
        if isinstance(item, str):
            mark = self._mark.decode()
            if mark and item.startswith(mark):
                return int(item.removeprefix(mark))
        elif item - item:  # NaN for an infinity, and NaN is true
            raise MalformedBody("a number of the JSON text does not fit in a double")
        return item

    def _check_escapes(self, piece: bytes) -> None:
        """Refuse surrogates without their other half; backslashes are in strings."""
        if self._escape:
            piece = self._escape + piece
            self._escape = b""
        elif b"\\" not in piece[-_LONGEST_PAIR:] and not _MAYBE_LONE.search(piece):
            return
        paired = _PAIRED.match(piece)
        assert paired is not None
        if paired.end() < len(piece):
            if _CUT.fullmatch(piece, paired.end()) is None:
                raise MalformedBody("JSON: a string has a lone surrogate")
            self._escape = piece[paired.end() :]

    def _with_integers(self, piece: bytes, text: bytes) -> bytes:
        """The piece, with marks for long integers, and without the last digits."""
        long = _has_long_integer(text)
        begin = self._gauge.begin
        if self._held:
            after = piece.lstrip(_DIGITS)
            long = long or len(self._held) + len(piece) - len(after) >= len(_LONG)
            piece = self._held + piece
            self._held = b""
        elif self._in_fraction and piece:
            begin = len(piece) - len(piece.lstrip(b"0123456789.+-eE"))
        self._hold(piece, begin)
        if self._held:
            piece = piece[: -len(self._held)]
        if not long:
            return piece
        return piece[:begin] + _TOKEN.sub(self._marked, piece[begin:])

    def _hold(self, piece: bytes, begin: int) -> None:
        if not piece:
            return
        if self._gauge.in_string:
            self._in_fraction = False
            return
        before = piece.rstrip(_DIGITS)
        if before.endswith(b"-"):
            before = before[:-1]
        at = len(before)
        # Nothing of what began as a fraction is an integer.
        if at < begin or before.endswith((b".", b"e", b"E", b"+", b"-")):
            self._in_fraction = True
            return
        self._in_fraction = False
        self._held = piece[at:]
        if len(self._held) > self._most_digits:
            self._refuse_digits()

    def _marked(self, found: re.Match[bytes]) -> bytes:
        number = found[1]
        if number is None:
            return found[0]
        if len(number) > self._most_digits:
            self._refuse_digits()
        if not self._mark:
            # From the private use area; short, since it counts towards the limit.
            self._mark = "\uf8ff".encode() + secrets.token_hex(6).encode()
            self._doubtful = True
        return b'"' + self._mark + number + b'"'

    def _refuse_digits(self) -> None:
        raise MalformedBody(f"JSON: an integer of more than {self._most_digits} digits")


def _has_long_integer(text: bytes) -> bool:
    """Whether 19 digits in a row are there, and no fraction or exponent."""
    shape = text.translate(_SHAPE)
    at = shape.find(_LONG)
    while at >= 0:
        if shape[at - 1 : at] not in {b".", b"e", b"E", b"+"}:
            return True
        run = _RUN.match(shape, at)
        assert run is not None
        at = shape.find(_LONG, run.end())
    return False


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
