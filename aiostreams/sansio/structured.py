"""Structured field values (RFC 9651): the grammar, and the items that are read here.

A parser of all of RFC 9651 (``http-sf``) would be a dependency for two types of item:
an Integer and a Boolean are all that resumable uploads read, and the digest fields have
their own dictionary of byte sequences. The grammar of keys, items and parameters is
here once; what has been matched is never looked at again.

A field of another type, or that breaks the grammar, is ``None``: whoever reads it
ignores the field, as the specifications of these fields have it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiostreams.sansio.negotiation import FieldLines

__all__ = [
    "MAX_INTEGER",
    "end_of_parameters",
    "end_of_value",
    "format_boolean",
    "format_integers",
    "match_key",
    "parse_boolean",
    "parse_integer",
]

# Section 3.3.1: fifteen digits.
MAX_INTEGER: Final = 999_999_999_999_999

_KEY: Final = r"[a-z*][a-z0-9_.*-]*+"
_key = re.compile(_KEY).match
_parameter = re.compile(rf"; *+{_KEY}(=)?").match
# A bare item (section 3.3): number or date, string, token, byte sequence, boolean,
# display string.
_item = re.compile(
    r"-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\"(?:[ !#-\[\]-~]|\\[\"\\])*+\""
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*+|:[A-Za-z0-9+/=]*+:|\?[01]"
    r"|%\"(?:[ !#$&-~]|%[0-9a-f]{2})*+\""
).match
_integer = re.compile(r" *+(-?[0-9]{1,15})").match
_boolean = re.compile(r" *+\?([01])").match


def match_key(text: str, at: int) -> str | None:
    """Return the key at ``at``, or ``None``."""
    found = _key(text, at)
    return None if found is None else found[0]


def end_of_parameters(text: str, at: int) -> int:
    """Return where the parameters end that begin at ``at``; that, if there are none."""
    while (found := _parameter(text, at)) is not None:
        at = found.end()
        if found[1] is not None:
            item = _item(text, at)
            if item is None:
                return at - 1
            at = item.end()
    return at


def end_of_value(text: str, at: int) -> int:
    """Return where the item or inner list ends that begins at ``at``; -1 for none."""
    if not text.startswith("(", at):
        item = _item(text, at)
        return -1 if item is None else item.end()
    at += 1
    divided = True  # the first one needs no space
    while True:
        while text.startswith(" ", at):
            at, divided = at + 1, True
        if text.startswith(")", at):
            return at + 1
        item = _item(text, at)
        if item is None or not divided:
            return -1
        at, divided = end_of_parameters(text, item.end()), False


def _only(match: Callable[[str], re.Match[str] | None], lines: FieldLines) -> str:
    """Return what is matched of a field that is one item; ``""`` for anything else."""
    text = join_lines(lines) or ""
    found = match(text)
    if found is None or text[end_of_parameters(text, found.end()) :].strip(" "):
        return ""
    return found[1]


def parse_integer(lines: FieldLines) -> int | None:
    """Read an Item that is an Integer of 0 or more; its parameters are ignored.

    Args:
        lines: the values of the field's lines; several are a list, and no item.

    Returns:
        The number; ``None`` when the field is absent or anything else.
    """
    found = _only(_integer, lines)
    if not found or (number := int(found)) < 0:
        return None
    return number


def parse_boolean(lines: FieldLines) -> bool | None:
    """Read an Item that is a Boolean; its parameters are ignored.

    Returns:
        The value; ``None`` when the field is absent or anything else.
    """
    found = _only(_boolean, lines)
    return found == "1" if found else None


def format_boolean(value: bool) -> str:  # noqa: FBT001 - the value itself
    """Write a Boolean."""
    return "?1" if value else "?0"


def format_integers(members: Mapping[str, int]) -> str:
    """Write a Dictionary of Integers.

    Larger numbers than an Integer has become the largest one: all are limits, and
    nothing reaches that.
    """
    return ", ".join(
        f"{key}={min(number, MAX_INTEGER)}" for key, number in members.items()
    )
