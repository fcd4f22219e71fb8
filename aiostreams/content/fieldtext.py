"""The texts of a form or of a line of CSV, made ready for a library's lenient mode.

Such a text is what HTML's inputs write and people type: white space around a number,
a time without seconds, ``on`` for a box. Libraries differ in what they take of that, so
it is brought into the form that all of them take; the conversion itself is theirs.
Nothing that is filled in and nothing that is written wrongly is decided by them: a
blank text is no value, except of a ``str``; NaN and the infinities are no numbers.

``shape_of(hint)`` sorts a member once: a text, several, or JSON.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import re
import typing
from typing import Any, Final, Literal, NamedTuple

from aiostreams.content.members import (
    collection_of,
    is_fixed,
    is_mapping,
    members_of,
    peel,
    union_of,
)

__all__ = ["Shape", "is_blank", "prepared", "shape_of"]

_SPACE: Final = " \t\n\f\r"  # ASCII whitespace of the Infra standard


class Shape(NamedTuple):
    """How a member is read from texts.

    Attributes:
        kinds: the types of one text; empty where it is JSON.
        nullable: whether ``None`` is a value.
        empty: whether ``""`` is one; otherwise it means that nothing was filled in.
        several: whether it takes several texts.
        is_json: whether a text is JSON.
        whole: whether one text may be an array of all of them.
    """

    kinds: frozenset[Any]
    nullable: bool
    empty: bool
    several: bool = False
    is_json: bool = False
    whole: bool = False

    @property
    def is_bool(self) -> bool:
        """Whether it is a box, which is not sent when it is not ticked."""
        return self.kinds == {bool} and not self.several


def is_blank(text: str) -> bool:
    """Return whether nothing was filled in."""
    return not text.strip(_SPACE)


def shape_of(hint: Any) -> Shape:
    """Return how a member of that type is read.

    Raises:
        TypeError: an annotation in it cannot be read.
    """
    kind, metadata = peel(hint)
    choices, nullable = union_of(kind)
    if any(getattr(item, "__name__", "") == "Json" for item in metadata):
        return Shape(frozenset({object}), nullable, empty=False)  # pydantic parses it
    if len(choices) == 1:
        kind = peel(choices[0])[0]
        item, make = collection_of(kind)
        if make is not None:
            return _several(kind, item, nullable)
    texts = [_text_of(choice) for choice in choices]
    if None in texts:
        return Shape(frozenset(), nullable, empty=False, is_json=True)
    kinds = frozenset().union(*(kinds for kinds in texts if kinds is not None))
    return Shape(kinds, nullable, empty=any(map(_is_empty, kinds)))


def _several(kind: Any, item: Any, nullable: bool) -> Shape:  # noqa: FBT001
    items = typing.get_args(kind) if is_fixed(kind) else (item,)
    shapes = [shape_of(one) for one in items]
    if all(not shape.is_json and not shape.several for shape in shapes):
        kinds = frozenset[Any]().union(*(shape.kinds for shape in shapes))
        empty = is_fixed(kind) or any(shape.empty for shape in shapes)
        return Shape(kinds, nullable, empty, several=True)
    if is_fixed(kind):
        return Shape(frozenset(), nullable, empty=False, is_json=True)
    # Of arrays, one text is one of them.
    nested = shapes[0].several
    return Shape(
        frozenset(), nullable, empty=False, several=True, is_json=True, whole=not nested
    )


def _text_of(choice: Any) -> frozenset[Any] | None:
    """Return the types that one text can be; ``None`` where it has to be JSON."""
    kind = peel(choice)[0]
    choices, nullable = union_of(kind)
    if nullable or len(choices) > 1:
        parts = [_text_of(one) for one in choices]
        if None in parts:
            return None
        return frozenset().union(*(part for part in parts if part is not None))
    if (
        is_mapping(kind)
        or collection_of(kind)[1] is not None
        or members_of(kind) is not None
    ):
        return None
    return frozenset({kind})


def _is_empty(kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return "" in typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return any(member.value == "" for member in kind)
    return kind in (str, Any, object)


# -- one text --------------------------------------------------------------------------

_NUMBER: Final = re.compile(
    r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]{1,4})?", re.ASCII
)
_NO_NUMBER: Final = re.compile(r"[+-]?(?:s?nan[0-9]*|inf(?:inity)?)", re.IGNORECASE)
# No number that somebody means has more digits; int() refuses 4300.
_LONGEST_NUMBER: Final = 1000
_NUMBERS: Final = frozenset({int, float, decimal.Decimal})
_TIMES: Final = frozenset({dt.time, dt.datetime})
_BOOLS: Final = {"on": "true", "yes": "true", "off": "false", "no": "false"}
_CLOSED: Final = _NUMBERS | _TIMES | {bool, dt.date, dt.timedelta}


def prepared(text: str, shape: Shape) -> str:
    """Return a text as libraries take it.

    Raises:
        ValueError: it is no number that a member could be.
    """
    kinds = shape.kinds
    if not kinds <= _CLOSED:
        # A str is taken as it is.
        return text
    text = text.strip(_SPACE)
    if bool in kinds:
        text = _BOOLS.get(text.lower(), text)
    if kinds & _NUMBERS:
        text = _number(text, finite=float in kinds)
    # An input leaves out seconds that are zero.
    if kinds & _TIMES and text.count(":") == 1 and text[-3:-2] == ":":
        text += ":00"
    return text


def _number(text: str, *, finite: bool) -> str:
    if _NO_NUMBER.fullmatch(text):
        raise ValueError("not a finite number")
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        return text  # the library says what is wrong
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"the number has more than {_LONGEST_NUMBER} digits")
    sign = "-" if found[1] == "-" else ""
    fraction = f".{found[3]}" if found[3] else ""
    text = f"{sign}{found[2].lstrip('0') or '0'}{fraction}{found[4] or ''}"
    if finite and math.isinf(float(text)):
        raise ValueError("too large for a float")
    return text
