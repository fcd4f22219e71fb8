"""Byte ranges: RFC 9110 section 14, from a ``Range`` field to the bytes to send.

``select_ranges`` has three answers: ``None``, ignore the field and send everything;
an empty tuple, nothing of it can be satisfied (416); else the ranges, in the order
they were asked for. It never raises, whatever the field says.

Ignoring is always allowed (14.2), and the policy here, nginx's and Go's with
the RFC's two warnings taken at their word. Ignored, so answered 200, are

    another unit, or a malformed set: one bad member spoils it (14.1.1)
    any range of an empty representation: 206 cannot describe no bytes
    more than 100 ranges: each costs a part's header and a seek, or a request to an
        object store; no client of good will asks for so many (Apache allows 200)
    three or more ranges that overlap: what CVE-2011-3192 was made of
    ranges that add up to more than the representation: the whole is cheaper

Nothing is coalesced: those who ask politely get the parts they asked for, and the
others the one answer that cannot be amplified, instead of a merge done for them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

__all__ = [
    "MAX_RANGES",
    "ByteRange",
    "select_ranges",
    "unsatisfied_content_range",
]

MAX_RANGES: Final = 100

_OWS: Final = " \t"
# [0-9]: \d and str.isdigit() take digits of every script.
_range_spec = re.compile(r"([0-9]+)-([0-9]*)|-([0-9]+)").fullmatch
# Larger than any size there is, and below the 4,300 digits where int() raises.
_MAX_DIGITS: Final = 19


class _Run(NamedTuple):
    start: int
    length: int


class ByteRange(_Run):
    """A run of bytes of a representation, never empty.

    Attributes:
        start: the offset of its first byte.
        length: how many bytes it has.

    Raises:
        ValueError: ``start`` is negative, or ``length`` is less than one.
    """

    __slots__ = ()

    def __new__(cls, start: int, length: int) -> Self:
        """Check the numbers."""
        if start < 0 or length < 1:
            raise ValueError(f"no range has {length} bytes from {start}")
        return super().__new__(cls, start, length)

    @property
    def stop(self) -> int:
        """The offset behind its last byte."""
        return self.start + self.length

    def content_range(self, total: int | None) -> str:
        """Return the ``Content-Range`` (14.4); ``total`` in bytes, None if unknown.

        Raises:
            ValueError: the range ends behind ``total``.
        """
        if total is not None and self.stop > total:
            raise ValueError(f"a range ends at {self.stop}, behind {total} bytes")
        return f"bytes {self.start}-{self.stop - 1}/{'*' if total is None else total}"


def unsatisfied_content_range(total: int) -> str:
    """Return the ``Content-Range`` value of a 416 (15.5.17)."""
    return f"bytes */{total}"


def select_ranges(value: str | None, size: int) -> tuple[ByteRange, ...] | None:
    """Choose what to send of a representation, for a GET.

    Args:
        value: the ``Range`` field, or ``None``.
        size: the bytes the representation has.

    Returns:
        ``None``: everything; ``()``: answer 416; else one range or several, in the
        order of the field, all inside the representation.
    """
    if value is None or size <= 0:
        return None
    unit, _, range_set = value.partition("=")
    # Unit names are case-insensitive (14.1). Counting before splitting keeps the
    # work and the memory constant, however long the field.
    if unit.lower() != "bytes" or range_set.count(",") >= MAX_RANGES:
        return None
    # A list may have empty members, which count for nothing (5.6.1.2).
    members = [member.strip(_OWS) for member in range_set.split(",")]
    specs = [_parse_spec(member) for member in members if member]
    ranges: list[ByteRange] = []
    for spec in specs:
        if spec is None:
            return None
        first, last = spec
        if first is None:  # a suffix: last is its length
            first, last = max(0, size - last), size - 1
        stop = min(last + 1, size)
        if first < stop:
            ranges.append(ByteRange(first, stop - first))
    if not specs or _is_abusive(ranges, size):
        return None
    return tuple(ranges)


def _parse_spec(member: str) -> tuple[int | None, int] | None:
    """First and last position; ``(None, length)`` for a suffix; None if malformed."""
    match = _range_spec(member)
    if match is None:
        return None
    if match[3]:
        return None, _position(match[3].lstrip("0"))
    first, last = match[1].lstrip("0"), match[2].lstrip("0")
    if not match[2]:
        return _position(first), 10**_MAX_DIGITS
    # Reversed is malformed, not unsatisfiable (14.1.1). Compared as strings, for
    # both may be cut to the same largest number below.
    if (len(last), last) < (len(first), first):
        return None
    return _position(first), _position(last)


def _position(digits: str) -> int:
    return 10**_MAX_DIGITS if len(digits) > _MAX_DIGITS else int(digits or "0")


def _is_abusive(ranges: list[ByteRange], size: int) -> bool:
    if sum(one.length for one in ranges) > size:
        return True
    # Sorted by start, a range overlaps an earlier one when it starts before the
    # furthest stop so far; that one's owner is then overlapping as well.
    overlapping: set[int] = set()
    furthest = owner = -1
    for index, one in sorted(enumerate(ranges), key=lambda pair: pair[1].start):
        if one.start < furthest:
            overlapping |= {index, owner}
        if one.stop > furthest:
            furthest, owner = one.stop, index
    return len(overlapping) > 2
