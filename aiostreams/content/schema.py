"""Schema: a JSON value checked against a type, and made into it.

Works without msgspec for dataclasses, TypedDicts, and what they are made of; and
beside msgspec, which stops at the first error, to say all that is wrong. The rules
are msgspec's, so that a body is accepted or refused alike with and without it: no
conversion but of what JSON lacks (``"2026-01-31"`` to a date, 1 to ``1.0`` where a
float is asked for), unknown members are ignored.

A type is compiled once into nodes, one per type in it. A node knows which JSON types
it takes; a union uses that to pick its member. Checks return ``WRONG`` after having
noted the error under its path, a chain of ``(parent, key)``.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import math
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Final

from aiostreams.content.hints import hints_of
from aiostreams.content.node import (
    EVERYTHING,
    JSON_NAMES,
    SIMPLE,
    WRONG,
    Enough,
    Errors,
    Node,
    Path,
    apply,
    enum_node,
    literal_node,
    same,
)
from aiostreams.errors import InvalidContent, MalformedBody

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Schema"]

# What one message names; a body of wrong items could have 100,000.
_MOST_ERRORS: Final = 20
_SEQUENCES: Final = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_MAPPINGS: Final = {dict, collections.abc.Mapping, collections.abc.MutableMapping}
_QUALIFIERS: Final = {typing.Required: True, typing.NotRequired: False}

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(_INTEGER.pattern + r"(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Schema:
    """A type that JSON values can be validated into.

    Args:
        kind: a dataclass, a TypedDict, an Enum, a Literal, a date, time, datetime,
            UUID, Decimal, a type of JSON itself, or a collection, union, NewType
            or Annotated of those.

    Raises:
        TypeError: there is some other type in it, or an annotation cannot be read.
    """

    def __init__(self, kind: Any) -> None:
        self._known: dict[Any, Node] = {}
        self._root = self._node(kind)

    def validate(self, value: Any) -> Any:
        """``value`` as the type.

        Raises:
            InvalidContent: it does not fit; the message has the path and the reason
                of each error, up to 20.
            MalformedBody: it is nested too deeply to be checked.
        """
        errors = Errors(_MOST_ERRORS)
        try:
            made = apply(self._root, value, None, errors)
        except Enough:
            made = WRONG
        except RecursionError as exc:
            raise MalformedBody("JSON: nested too deeply") from exc
        if errors.messages:
            raise InvalidContent("; ".join(errors.messages))
        return made

    def _node(self, kind: Any) -> Node:
        if kind is Any or kind is object:
            return Node("any", EVERYTHING, same)
        simple = SIMPLE.get(kind) if isinstance(kind, type) or kind is None else None
        if simple is not None:
            return simple
        if isinstance(kind, typing.NewType):
            return self._node(kind.__supertype__)
        if type(kind).__name__ == "TypeAliasType":  # typing's, from Python 3.12 on
            return self._node(getattr(kind, "__value__"))  # noqa: B009 - unknown to 3.11
        origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin is typing.Annotated:
            return self._node(args[0])
        if origin is typing.Literal:
            return literal_node(args)
        if origin in (typing.Union, types.UnionType):
            return self._union(args)
        if origin is tuple:
            # Bare, or with any number of items; tuple[()] has none.
            if kind in (tuple, typing.Tuple) or args[-1:] == (...,):  # noqa: UP006
                return self._sequence(tuple, args)
            return self._tuple(args)
        if origin in _SEQUENCES:
            return self._sequence(_SEQUENCES[origin], args)
        if origin in _MAPPINGS:
            return self._mapping(args)
        if isinstance(kind, type):
            if issubclass(kind, enum.Enum):
                return enum_node(kind)
            if _is_typeddict(kind) or dataclasses.is_dataclass(kind):
                return self._record(kind)
        raise TypeError(
            f"{kind!r} cannot be validated here; msgspec may know it: "
            "pip install aiostreams[msgspec]"
        )

    # -- collections ---------------------------------------------------------------

    def _sequence(self, make: Callable[[Any], Any], args: tuple[Any, ...]) -> Node:
        item = self._node(args[0] if args else Any)

        def check(value: Any, path: Path, errors: Errors) -> Any:
            before = len(errors.messages)
            found = [
                apply(item, part, (path, index), errors)
                for index, part in enumerate(value)
            ]
            return make(found) if len(errors.messages) == before else WRONG

        return Node("array", frozenset({list}), check)

    def _tuple(self, args: tuple[Any, ...]) -> Node:
        items = [self._node(arg) for arg in args]

        def check(value: Any, path: Path, errors: Errors) -> Any:
            if len(value) != len(items):
                return errors.add(
                    path, f"expected array of {len(items)} items, got {len(value)}"
                )
            before = len(errors.messages)
            found = [
                apply(item, part, (path, index), errors)
                for index, (item, part) in enumerate(zip(items, value, strict=True))
            ]
            return tuple(found) if len(errors.messages) == before else WRONG

        return Node("array", frozenset({list}), check)

    def _mapping(self, args: tuple[Any, ...]) -> Node:
        key_node, value_node = (self._node(arg) for arg in args or (Any, Any))
        if key_node.takes.isdisjoint({str, int}):
            raise TypeError(f"no member name of JSON is {key_node.name}")

        def check(value: Any, path: Path, errors: Errors) -> Any:
            before = len(errors.messages)
            found = {}
            for name, part in value.items():
                place = (path, None)
                key = apply(key_node, _key(name, key_node.takes), place, errors)
                made = apply(value_node, part, place, errors)
                if len(errors.messages) == before:
                    found[key] = made
            return found if len(errors.messages) == before else WRONG

        return Node("object", frozenset({dict}), check)

    # -- dataclass and TypedDict ---------------------------------------------------

    def _record(self, kind: Any) -> Node:
        if kind in self._known:
            return self._known[kind]
        members: dict[str, tuple[Node, bool]] = {}

        def check(value: Any, path: Path, errors: Errors) -> Any:
            before = len(errors.messages)
            found = {}
            for name, (node, required) in members.items():
                if name in value:
                    found[name] = apply(node, value[name], (path, name), errors)
                elif required:
                    errors.add((path, name), "required, but missing")
            if len(errors.messages) != before:
                return WRONG
            try:
                return kind(**found)
            except (ValueError, TypeError) as exc:  # what __post_init__ refuses
                return errors.add(path, str(exc))

        node = Node("object", frozenset({dict}), check)
        # Known before its members are: one of them may be of the same type.
        self._known[kind] = node
        hints = hints_of(kind)
        for name, hint, required in _members(kind, hints):
            members[name] = self._node(hint), required
        return node

    # -- unions --------------------------------------------------------------------

    def _union(self, args: tuple[Any, ...]) -> Node:
        nodes = [self._node(arg) for arg in args]
        for kind in (dict, list):
            # Trying one after the other, at every level, would take time that
            # doubles with the depth of the body.
            if sum(kind in node.takes for node in nodes) > 1:
                raise TypeError(
                    f"a union has more than one type for a JSON {JSON_NAMES[kind]}"
                )
        # 1 is an int where both int and float will do.
        nodes.sort(key=lambda node: node.name == "float")
        name = " | ".join(dict.fromkeys(node.name for node in nodes))

        def check(value: Any, path: Path, errors: Errors) -> Any:
            fitting = [node for node in nodes if type(value) in node.takes]
            if len(fitting) == 1:
                return fitting[0].check(value, path, errors)
            # Only scalars come here, each with one error at most.
            for node in fitting:
                made = node.check(value, path, Errors(1))
                if made is not WRONG:
                    return made
            return errors.add(path, f"fits none of {name}")

        return Node(
            name, frozenset[type]().union(*(node.takes for node in nodes)), check
        )


def _key(name: str, takes: frozenset[type]) -> str | int | float:
    """A member's name as the type that its node takes; names are all strings."""
    if str not in takes:
        try:
            if _INTEGER.fullmatch(name):
                return int(name)
            if float in takes and _NUMBER.fullmatch(name):
                number = float(name)
                return number if math.isfinite(number) else name
        except ValueError:  # more digits than int() takes
            pass
    return name


def _is_typeddict(kind: type) -> bool:
    """Also one of ``typing_extensions``, whose class is another."""
    return issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _members(kind: Any, hints: dict[str, Any]) -> list[tuple[str, Any, bool]]:
    """Name, type and whether it must be there, of each member of a record."""
    if dataclasses.is_dataclass(kind):
        if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
            raise TypeError(f"{kind!r} has an InitVar, which JSON cannot give")
        return [
            (
                field.name,
                hints[field.name],
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(kind)
            if field.init
        ]
    members = []
    for name, hint in hints.items():
        # __required_keys__ does not see qualifiers in postponed annotations.
        required = name in kind.__required_keys__
        while (origin := typing.get_origin(hint)) in _QUALIFIERS or (
            getattr(origin, "_name", "") == "ReadOnly"
        ):
            required = _QUALIFIERS.get(origin, required)
            hint = typing.get_args(hint)[0]  # noqa: PLW2901 - peeled
        members.append((name, hint, required))
    return members
