"""Nodes: what a Schema compiles a type into, and those of types without parts.

A node knows which JSON types it takes, and checks a value of one of them: it returns
the value as the type has it, or notes an error under the value's path, a chain of
``(parent, key)``, and returns ``WRONG``. Strings turn into what JSON lacks by the
forms of RFC 3339 and RFC 9562 alone: Python's own parsers take more, and more of it
with each version.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import enum

__all__ = [
    "EVERYTHING",
    "JSON_NAMES",
    "SIMPLE",
    "WRONG",
    "Check",
    "Enough",
    "Errors",
    "Node",
    "Path",
    "apply",
    "enum_node",
    "literal_node",
    "same",
]

Path: TypeAlias = Any  # None, or (Path, str | int | None)
Check: TypeAlias = Callable[[Any, Path, "Errors"], Any]

WRONG: Final = object()
JSON_NAMES: Final[dict[type, str]] = {dict: "object", list: "array", type(None): "null"}
EVERYTHING: Final[frozenset[type]] = frozenset(
    {dict, list, str, int, float, bool, type(None)}
)


class Enough(Exception):
    """The list of errors is full."""


class Errors:
    """Messages with their paths, up to a number of them."""

    def __init__(self, most: int) -> None:
        self.messages: list[str] = []
        self._most = most

    def add(self, path: Path, message: str) -> Any:
        if len(self.messages) == self._most:
            self.messages.append("and more")
            raise Enough
        self.messages.append(f"{_path_text(path)}: {message}")
        return WRONG


def _path_text(path: Path) -> str:
    keys = []
    while path is not None:
        path, key = path
        if key is None:  # a key that the client chose is not repeated
            keys.append("[...]")
        else:
            keys.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "$" + "".join(reversed(keys))


def _json_name(value: object) -> str:
    return JSON_NAMES.get(type(value), type(value).__name__)


class Node(NamedTuple):
    """One compiled type.

    Attributes:
        name: for messages.
        takes: the types, as ``json`` makes them, that the check is for.
        check: value, path and errors to the converted value or ``WRONG``.
    """

    name: str
    takes: frozenset[type]
    check: Check


def apply(node: Node, value: Any, path: Path, errors: Errors) -> Any:
    """The value as the type of ``node``, or ``WRONG``, whatever type it has now."""
    if type(value) in node.takes:
        return node.check(value, path, errors)
    return errors.add(path, f"expected {node.name}, got {_json_name(value)}")


def literal_node(values: tuple[Any, ...]) -> Node:
    """For ``Literal``: 1, 1.0 and true are three values.

    Raises:
        TypeError: JSON cannot have one of them.
    """
    by_value = {(type(value), value): value for value in values}
    wanted = ", ".join(map(repr, values))
    if not {type(value) for value in values} <= EVERYTHING:
        raise TypeError(f"JSON has no literals {wanted}")

    def check(value: Any, path: Path, errors: Errors) -> Any:
        if (type(value), value) in by_value:
            return value
        return errors.add(path, f"expected one of {wanted}")

    return Node("Literal", frozenset(type(value) for value in values), check)


def enum_node(kind: type[enum.Enum]) -> Node:
    """For an Enum, by value.

    Raises:
        TypeError: a value is neither ``str`` nor ``int``.
    """
    values = [member.value for member in kind]
    takes = frozenset(type(value) for value in values)
    wanted = ", ".join(map(repr, values))
    if not takes <= {str, int}:
        raise TypeError(f"{kind!r} has values other than str and int")

    def check(value: Any, path: Path, errors: Errors) -> Any:
        try:
            return kind(value)
        except ValueError:
            return errors.add(path, f"expected one of {wanted}")

    return Node(kind.__name__, takes, check)


def _number(value: float, path: Path, errors: Errors) -> Any:
    try:
        return float(value)
    except OverflowError:
        return errors.add(path, "an integer too large for a float")


def _from_text(name: str, make: Callable[[Any], Any], *more: type) -> Node:
    """A node for what JSON writes as a string, or as one of ``more``."""

    def check(value: Any, path: Path, errors: Errors) -> Any:
        try:
            return make(value)
        except (ValueError, OverflowError, decimal.InvalidOperation):
            return errors.add(path, f"not a valid {name}")

    return Node(name, frozenset({str, *more}), check)


def _matched(pattern: str, make: Callable[[str], Any]) -> Callable[[str], Any]:
    """``make``, for text in that form only."""
    compiled = re.compile(pattern)

    def convert(text: str) -> Any:
        match = compiled.fullmatch(text)
        if match is None:
            raise ValueError("not in that form")
        fraction = match["fraction"] if "fraction" in compiled.groupindex else None
        if fraction is None or len(fraction) <= 6:
            return make(text)
        # To the nearest microsecond, which may be one of the next year.
        start, end = match.span("fraction")
        whole = make(text[: start - 1] + text[end:])
        rest = int(fraction[:6]) + (fraction[6] >= "5")
        later = dt.timedelta(microseconds=rest)
        if isinstance(whole, dt.time):
            day = dt.datetime.combine(dt.date(2000, 1, 1), whole)
            return (day + later).timetz()
        return whole + later

    return convert


_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = (
    r"(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.(?P<fraction>[0-9]+))?"
    r"(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)
_HEX: Final = "[0-9a-fA-F]"
_UUID: Final = rf"{_HEX}{{32}}|{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"


def same(value: Any, _path: Path, _errors: Errors) -> Any:
    """The check of a type that JSON has: nothing more to do."""
    return value


SIMPLE: Final[dict[Any, Node]] = {
    None: Node("null", frozenset({type(None)}), same),
    type(None): Node("null", frozenset({type(None)}), same),
    bool: Node("bool", frozenset({bool}), same),
    int: Node("int", frozenset({int}), same),
    float: Node("float", frozenset({float, int}), _number),
    str: Node("str", frozenset({str}), same),
    uuid.UUID: _from_text("UUID", _matched(_UUID, uuid.UUID)),
    dt.date: _from_text("date", _matched(_DATE, dt.date.fromisoformat)),
    # RFC 3339 lets T and Z be small; Python 3.11 does not.
    dt.time: _from_text(
        "time", _matched(_TIME, lambda text: dt.time.fromisoformat(text.upper()))
    ),
    dt.datetime: _from_text(
        "datetime",
        _matched(
            f"{_DATE}[Tt ]{_TIME}",
            lambda text: dt.datetime.fromisoformat(text.upper()),
        ),
    ),
    # A JSON number comes as a float: what a double lost is lost. Strings are exact.
    decimal.Decimal: _from_text(
        "decimal",
        lambda value: decimal.Decimal(str(value)),
        int,
        float,
        decimal.Decimal,  # from a parser of the caller's choice
    ),
}
