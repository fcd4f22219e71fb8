"""Structured field values (RFC 9651): the grammar, and the items that are read here.

A parser of all of RFC 9651 (``http-sf``) would be a dependency for two types of item:
an Integer and a Boolean are all that resumable uploads read, and the digest fields have
their own dictionary of byte sequences. The grammar of keys, items and parameters is
here once, as regular expressions that never go back over what they have matched.

A field of another type, or that breaks the grammar, is ``None``: whoever reads it
ignores the field, as the specifications of these fields have it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiostreams.sansio.negotiation import join_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.sansio.negotiation import FieldLines

__all__ = [
    "ITEM",
    "KEY",
    "MAX_INTEGER",
    "PARAMETERS",
    "format_boolean",
    "format_integers",
    "parse_boolean",
    "parse_integer",
]

# Section 3.3.1: fifteen digits.
MAX_INTEGER: Final = 999_999_999_999_999

KEY: Final = r"[a-z*][a-z0-9_.*-]*+"
# A bare item (section 3.3): number or date, string, token, byte sequence, boolean,
# display string.
ITEM: Final = (
    r"(?:-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\"(?:[ !#-\[\]-~]|\\[\"\\])*+\""
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*+|:[A-Za-z0-9+/=]*+:|\?[01]"
    r"|%\"(?:[ !#$&-~]|%[0-9a-f]{2})*+\")"
)
PARAMETERS: Final = rf"(?:; *+{KEY}(?:={ITEM})?)*+"

_integer = re.compile(rf" *+(-?[0-9]{{1,15}}){PARAMETERS} *+", re.ASCII).fullmatch
_boolean = re.compile(rf" *+\?([01]){PARAMETERS} *+", re.ASCII).fullmatch


def parse_integer(lines: FieldLines) -> int | None:
    """Read an Item that is an Integer of 0 or more; its parameters are ignored.

    Args:
        lines: the values of the field's lines; several are a list, and no item.

    Returns:
        The number; ``None`` when the field is absent or anything else.
    """
    found = _integer(join_lines(lines) or "")
    if found is None or (number := int(found[1])) < 0:
        return None
    return number


def parse_boolean(lines: FieldLines) -> bool | None:
    """Read an Item that is a Boolean; its parameters are ignored.

    Returns:
        The value; ``None`` when the field is absent or anything else.
    """
    found = _boolean(join_lines(lines) or "")
    return None if found is None else found[1] == "1"


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
