"""The text of a form field as a value: ``"42"`` to 42, ``"on"`` to true.

A form has nothing but text, so here conversion is lenient where JSON's is strict, but
no more than what HTML's inputs write and people type into them: white space around a
number does not matter, seconds may be missing from a time. Dates, times and UUIDs are
then those of ``node``. What Python's own constructors take besides (``1_000``, ``nan``,
digits of other scripts) is refused.

``field_text(kind)`` compiles a type once; ``None`` means it is no type of one text, and
JSON has to say it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import re
import types
import typing
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiostreams.content import jsontext
from aiostreams.content.node import SIMPLE, WRONG, Errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FieldText", "check_of", "field_text", "peel", "union_of"]


class FieldText(NamedTuple):
    """How one text is read.

    Attributes:
        read: text to value; ``ValueError`` says what is wrong with it.
        empty: whether ``""`` is a value. Otherwise it means that nothing was filled in.
        kind: the type, without what it is annotated with.
    """

    read: Callable[[str], Any]
    empty: bool
    kind: Any


def peel(hint: Any) -> tuple[Any, list[Any]]:
    """A type without its names and annotations, and the latter, outermost first."""
    found: list[Any] = []
    while True:
        if isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # typing's, from Python 3.12 on
            hint = getattr(hint, "__value__")  # noqa: B009 - unknown to 3.11
        elif typing.get_origin(hint) is typing.Annotated:
            hint, *metadata = typing.get_args(hint)
            found += metadata
        else:
            return hint, found


def union_of(kind: Any) -> tuple[list[Any], bool]:
    """The members of a union but ``None``, and whether that is one of them."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return [kind], False
    members = typing.get_args(kind)
    rest = [member for member in members if member is not types.NoneType]
    return rest, len(rest) < len(members)


def field_text(hint: Any) -> FieldText | None:
    """How a field of that type is read; ``None`` if one text cannot say it.

    Raises:
        TypeError: an Enum or Literal has values that no text can name, or a
            constraint does not go with its type.
    """
    kind, metadata = peel(hint)
    found = _plain(kind)
    if found is None:
        return None
    check = check_of(found.kind, metadata)
    if check is None:
        return found
    return FieldText(lambda text: check(found.read(text)), found.empty, found.kind)


def check_of(kind: Any, metadata: list[Any]) -> Callable[[Any], Any] | None:
    """What holds a value of that type to its ``msgspec.Meta``, if it has any.

    Raises:
        TypeError: the constraint does not go with the type.
    """
    msgspec = jsontext.msgspec
    if msgspec is None:
        return None
    constraints = [item for item in metadata if isinstance(item, msgspec.Meta)]
    if not constraints:
        return None
    constrained = typing.Annotated[(kind, *constraints)]
    msgspec.json.Decoder(constrained)  # knows whether that makes sense

    def check(value: Any) -> Any:
        try:
            msgspec.convert(value, constrained)
        except msgspec.ValidationError as error:
            # It names what is asked for, never what came.
            message = str(error)
            raise ValueError(message[:1].lower() + message[1:]) from None
        return value

    return check


def _plain(kind: Any) -> FieldText | None:
    if kind is Any or kind is object:
        return _READERS[str]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind)
    if isinstance(kind, type):
        return _READERS.get(kind)
    if typing.get_origin(kind) is typing.Literal:
        values = typing.get_args(kind)
        return _named(_names(kind, {value: value for value in values}), kind)
    members, nullable = union_of(kind)
    if nullable or len(members) < 2:
        return None
    readers = [reader for member in members if (reader := field_text(member))]
    if len(readers) < len(members):
        return None
    return _union(readers, kind)


def _union(readers: list[FieldText], kind: Any) -> FieldText:
    # Text fits everything, so it is the last to be tried.
    readers.sort(key=lambda reader: reader.kind is str)

    def read(text: str) -> Any:
        messages = []
        for reader in readers:
            try:
                return reader.read(text)
            except ValueError as error:
                messages.append(str(error))
        raise ValueError("; ".join(messages))

    return FieldText(read, any(reader.empty for reader in readers), kind)


# -- choices ---------------------------------------------------------------------------


def _enum(kind: type[enum.Enum]) -> FieldText:
    choices = {member.value: member for member in kind}
    found = _named(_names(kind, choices), kind)

    def read(text: str) -> Any:
        try:
            return found.read(text)
        except ValueError:
            try:
                return kind(text)  # an enum may know more by its _missing_()
            except ValueError:
                pass
            raise

    return FieldText(read, found.empty, kind)


def _names(kind: Any, choices: dict[Any, Any]) -> dict[str, Any]:
    if not {type(value) for value in choices} <= {str, int, bool}:
        raise TypeError(f"{kind!r} has values that no text of a form can name")
    return {
        str(value).lower() if isinstance(value, bool) else str(value): choice
        for value, choice in choices.items()
    }


def _named(by_name: dict[str, Any], kind: Any) -> FieldText:
    wanted = ", ".join(map(repr, by_name))

    def read(text: str) -> Any:
        try:
            return by_name[text]
        except KeyError:
            raise ValueError(f"expected one of {wanted}") from None

    return FieldText(read, "" in by_name, kind)


# -- numbers, times --------------------------------------------------------------------

_SPACE: Final = " \t\n\f\r"  # ASCII whitespace of the Infra standard
_INT: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?"
)
# No number that somebody means has more digits; int() refuses 4300.
_LONGEST_NUMBER: Final = 1000
_TRUE: Final = frozenset({"on", "true", "1", "yes"})
_FALSE: Final = frozenset({"off", "false", "0", "no"})


def _bool(text: str) -> bool:
    word = text.strip(_SPACE).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("not a valid bool")


def _number(
    pattern: re.Pattern[str], make: Callable[[str], Any], name: str
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        digits = text.strip(_SPACE)
        if len(digits) > _LONGEST_NUMBER or pattern.fullmatch(digits) is None:
            raise ValueError(f"not a valid {name}")
        value = make(digits)
        if isinstance(value, float) and math.isinf(value):
            raise ValueError("too large for a float")
        return value

    return read


def _from_node(kind: type, *, timed: bool = False) -> Callable[[str], Any]:
    node = SIMPLE[kind]

    def read(text: str) -> Any:
        text = text.strip(_SPACE)
        # An input leaves out seconds that are zero.
        if timed and text.count(":") == 1 and text[-3:-2] == ":":
            text += ":00"
        value = node.check(text, None, Errors(1))
        if value is WRONG:
            raise ValueError(f"not a valid {node.name}")
        return value

    return read


_READERS: Final[dict[type, FieldText]] = {
    kind: FieldText(read, kind is str, kind)
    for kind, read in {
        str: lambda text: text,
        bool: _bool,
        int: _number(_INT, int, "int"),
        float: _number(_NUMBER, float, "float"),
        decimal.Decimal: _number(_NUMBER, decimal.Decimal, "decimal"),
        uuid.UUID: _from_node(uuid.UUID),
        dt.date: _from_node(dt.date),
        dt.time: _from_node(dt.time, timed=True),
        dt.datetime: _from_node(dt.datetime, timed=True),
    }.items()
}
