"""The values at a path of a JSON text, cut out while the text arrives.

Only the way to the values is parsed here: brackets, names, colons and commas. A value
is cut out as bytes and left to the parser of whole documents, so it is the same value
however it is read. What is not on the way is cut out too, and checked by that parser.
So memory holds one value, at the path or next to it.

Each byte is looked at once, wherever the pieces are cut. Nesting is bounded: the
standard library's parser bears no more either.

A file of its own: a parser without I/O, tested at every split.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from aiostreams.errors import LimitExceeded, MalformedBody, exceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    # Where a value is in the document, and its text.
    Found: TypeAlias = "tuple[tuple[str | int, ...], bytes]"
    T = TypeVar("T")
    # Yields when more of the text is needed.
    Steps: TypeAlias = "Generator[None, None, T]"

__all__ = ["MAX_NESTING", "JSONCutter"]

MAX_NESTING: Final = 1000

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile(rb"[ \t\n\r]*+")
_SCALAR: Final = re.compile(rb"[^ \t\n\r,\]}]*+")
# The rest of a string; the group is empty if it is cut off.
_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
# What is inside of brackets, up to the next one, or to a string that is cut off.
_INSIDE_TEXT: Final = rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"%b)*+'
_INSIDE: Final = re.compile(_INSIDE_TEXT % b"", re.DOTALL)
# One expression for nearly every value that is not cut off: a string, a number or
# literal, or what has up to three levels of brackets. It finds where a value ends in a
# tenth of the time that a loop over brackets takes; the parser finds what is wrong.
_BRACKETS: Final = rb"[\[{]" + _INSIDE_TEXT + rb"[\]}]"
_VALUE: Final = rb'"(?:[^"\\]++|\\.)*+"|[^ \t\n\r,\]}"\[{:]++|' + _BRACKETS % (
    b"|" + _BRACKETS % (b"|" + _BRACKETS % b"")
)
# A value, or a member, with the comma behind it.
_ELEMENT: Final = re.compile(rb"[ \t\n\r]*+(%b)[ \t\n\r]*+," % _VALUE, re.DOTALL)
_MEMBER: Final = re.compile(
    rb'[ \t\n\r]*+("(?:[^"\\]++|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+'
    rb"(%b)[ \t\n\r]*+," % _VALUE,
    re.DOTALL,
)

_QUOTE, _COMMA, _COLON = b'",:'
_ARRAY, _END_OF_ARRAY, _OBJECT, _END_OF_OBJECT = b"[]{}"
_OPENING: Final = b"[{"


class JSONCutter:
    """Cuts out the values at ``path``.

    Args:
        path: names, and ``item`` for each element of an array, joined by dots;
            ``""`` for the document. With ``*`` at its end, the members of an object.
        parse: the parser of whole documents; it raises ``MalformedBody``.
        ceiling: the most bytes that a value may have.
    """

    def __init__(
        self, path: str, parse: Callable[[bytes], Any], *, ceiling: int
    ) -> None:
        self._members = path == "*" or path.endswith(".*")
        self._path = path[:-1].removesuffix(".") if self._members else path
        self._parse = parse
        self._ceiling = ceiling
        self._data = bytearray()
        self._at = 0
        # Where the value begins that is being cut out.
        self._start: int | None = None
        self._ended = False
        self._depth = 0
        self._place: list[str | int] = []
        self._found: list[Found] = []
        self._steps = self._document()

    def feed(self, piece: bytes) -> Iterator[Found]:
        """Return the values that are complete with ``piece``; ``b""`` ends the text.

        All of them have to be taken before the next call.

        Raises:
            MalformedBody: it is not JSON, ends too early, or nests deeper than 1,000.
            LimitExceeded: a value has more bytes than that.
        """
        done = self._at if self._start is None else self._start
        del self._data[:done]
        self._at -= done
        if self._start is not None:
            self._start = 0
        self._data += piece
        self._ended = not piece
        found = self._found = []
        failure: Exception | None = None
        try:
            next(self._steps, None)
        except (MalformedBody, LimitExceeded) as error:
            failure = error
        yield from found
        if failure is not None:
            raise failure

    def _wait(self) -> None:
        """More of the text is needed to go on.

        Raises:
            MalformedBody: there is none.
            LimitExceeded: the value is too large already.
        """
        if self._ended:
            raise MalformedBody("the JSON ends too early")
        if self._start is not None:
            self._bound(len(self._data) - self._start)

    def _bound(self, size: int) -> None:
        if size > self._ceiling:
            seen = self._ceiling + 1
            raise exceeded("a value of the JSON", seen, self._ceiling)

    def _document(self) -> Steps[None]:
        while len(self._data) < len(_BOM) and _BOM.startswith(self._data):
            if self._ended:
                break
            yield
        if self._data.startswith(_BOM):
            self._at = len(_BOM)
        yield from self._value(None)
        while True:
            self._at = _end(_SPACE, self._data, self._at)
            if self._at < len(self._data):
                raise MalformedBody("the JSON has text after its value")
            if self._ended:
                return
            yield

    def _value(self, path: str | None) -> Steps[None]:
        first = yield from self._first()
        here = (path or "") == self._path
        on_the_way = path is None or self._path.startswith(f"{path}.")
        if here and not self._members:
            self._take((yield from self._cut()))
        elif first == _OBJECT and (here or on_the_way):
            yield from self._object(path, here=here)
        elif first == _ARRAY and on_the_way and not here:
            yield from self._array(path)
        else:
            self._parse((yield from self._cut()))

    def _array(self, path: str | None) -> Steps[None]:
        self._enter()
        if (yield from self._first()) == _END_OF_ARRAY:
            self._leave()
            return
        inner = "item" if path is None else f"{path}.item"
        here = inner == self._path and not self._members
        place = self._place
        place.append(0)
        index = 0
        while True:
            if here:
                index = self._take_elements(index)
                place[-1] = index
                yield from self._first()
                self._take((yield from self._cut()))
            else:
                place[-1] = index
                yield from self._value(inner)
            if not (yield from self._goes_on(_END_OF_ARRAY)):
                break
            index += 1
        place.pop()

    def _take_elements(self, index: int) -> int:
        """Take those that are there, commas and all; how many there were then."""
        match = _ELEMENT.match(self._data, self._at)
        place = self._place
        while match is not None:
            place[-1] = index
            self._at = match.end()
            self._take(bytes(match[1]))
            index += 1
            match = _ELEMENT.match(self._data, self._at)
        return index

    def _object(self, path: str | None, *, here: bool) -> Steps[None]:
        self._enter()
        if (yield from self._first()) == _END_OF_OBJECT:
            self._leave()
            return
        place = self._place
        place.append("")
        while True:
            if here:
                self._take_members()
            if (yield from self._first()) != _QUOTE:
                raise MalformedBody("the JSON has a member without a name")
            name = place[-1] = self._parse((yield from self._cut()))
            if (yield from self._first()) != _COLON:
                raise MalformedBody("the JSON has a name without a colon")
            self._at += 1
            if here:
                yield from self._first()
                self._take((yield from self._cut()))
            else:
                yield from self._value(name if path is None else f"{path}.{name}")
            if not (yield from self._goes_on(_END_OF_OBJECT)):
                break
        place.pop()

    def _take_members(self) -> None:
        """Take those that are there, commas and all."""
        match = _MEMBER.match(self._data, self._at)
        while match is not None:
            self._at = match.end()
            self._place[-1] = self._parse(bytes(match[1]))
            self._take(bytes(match[2]))
            match = _MEMBER.match(self._data, self._at)

    def _take(self, text: bytes) -> None:
        self._bound(len(text))
        self._found.append((tuple(self._place), text))

    def _enter(self) -> None:
        self._at += 1
        self._depth += 1
        self._check_depth(self._depth)

    def _leave(self) -> None:
        self._at += 1
        self._depth -= 1

    def _goes_on(self, end: int) -> Steps[bool]:
        """Return whether a comma is next, and not the end of the array or object."""
        byte = yield from self._first()
        if byte == end:
            self._leave()
            return False
        if byte != _COMMA:
            raise MalformedBody("the JSON has two values without a comma")
        self._at += 1
        return True

    def _first(self) -> Steps[int]:
        """Find the next byte that is no white space; it stays where it is."""
        while True:
            self._at = _end(_SPACE, self._data, self._at)
            if self._at < len(self._data):
                return self._data[self._at]
            self._wait()
            yield

    # -- one value, without a look at what it is ---------------------------------------

    def _cut(self) -> Steps[bytes]:
        data = self._data
        self._start = self._at
        first = data[self._at]
        if first in _OPENING:
            yield from self._skip_brackets()
        elif first == _QUOTE:
            yield from self._skip_string()
        else:
            yield from self._skip_scalar()
        self._bound(self._at - self._start)
        text = bytes(data[self._start : self._at])
        self._start = None
        return text

    def _skip_brackets(self) -> Steps[None]:
        data = self._data
        depth = 0
        while True:
            depth += 1 if data[self._at] in _OPENING else -1
            self._at += 1
            if not depth:
                return
            self._check_depth(self._depth + depth)
            self._at = _end(_INSIDE, data, self._at)
            while self._at == len(data) or data[self._at] == _QUOTE:
                if self._at == len(data):
                    self._wait()
                    yield
                else:
                    yield from self._skip_string()
                self._at = _end(_INSIDE, data, self._at)

    def _skip_string(self) -> Steps[None]:
        self._at += 1
        while True:
            rest = _STRING.match(self._data, self._at)
            assert rest is not None
            self._at = rest.end()
            if rest[1]:
                return
            self._wait()
            yield

    def _skip_scalar(self) -> Steps[None]:
        while True:
            self._at = _end(_SCALAR, self._data, self._at)
            if self._at < len(self._data) or self._ended:
                break
            self._wait()
            yield
        if self._at == self._start:
            raise MalformedBody("the JSON has no value where one is expected")

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_NESTING:
            raise MalformedBody(f"the JSON nests deeper than {MAX_NESTING} levels")


def _end(pattern: re.Pattern[bytes], data: bytearray, at: int) -> int:
    """Return where the match ends of a pattern that matches anything."""
    match = pattern.match(data, at)
    assert match is not None
    return match.end()
