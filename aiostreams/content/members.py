"""The members of a type, whichever library its class comes from.

A type is peeled of its names and annotations, a union divided, a class asked for its
members. Nothing is validated here: that is a library's matter (``content.models``).
What is known here serves to say all that is wrong with a value instead of the first
fault, and to read forms and CSV, whose texts have to be sorted by member first.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "FormFile",
    "Member",
    "collection_of",
    "file_in",
    "hints_of",
    "is_file",
    "is_fixed",
    "is_mapping",
    "is_named_tuple",
    "members_of",
    "name_of",
    "peel",
    "union_of",
    "unreadable",
]

msgspec: types.ModuleType | None
try:
    import msgspec
except ImportError:
    msgspec = None


class FormFile:
    """A class whose objects only a form gives: no JSON text makes one.

    pydantic takes it in a model as it is; msgspec never gets to see it.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Pydantic's schema: an object of this class, and nothing else."""
        return {
            "type": "is-instance",
            "cls": cls,
            "cls_repr": "a file of a form",
            "serialization": {
                "type": "function-plain",
                "function": _as_dict,
                "when_used": "json",
            },
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any:
        """JSON Schema of one: bytes (OpenAPI 3.1 section 4.8.14.2)."""
        return {"type": "string", "contentMediaType": "application/octet-stream"}

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON has for the file: what is known of it, not its bytes."""
        raise NotImplementedError


def _as_dict(file: FormFile) -> dict[str, Any]:
    return file.to_dict()


def is_file(kind: Any) -> bool:
    """Return whether it is a class of files, of which a form alone gives objects."""
    return isinstance(kind, type) and issubclass(kind, FormFile)


class Member(NamedTuple):
    """One member of a class.

    Attributes:
        attribute: what the class calls it.
        keys: what JSON calls it; the first is the usual one.
        hint: its type, with what that is annotated with.
        required: whether it has no default.
    """

    attribute: str
    keys: tuple[str, ...]
    hint: Any
    required: bool

    @property
    def key(self) -> str:
        """What JSON usually calls it."""
        return self.keys[0]


def name_of(kind: Any) -> str:
    """Return the name of a type for a message."""
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__qualname__
    return repr(kind)


def peel(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type without names and annotations, and the latter, outermost first."""
    found: list[Any] = []
    while True:
        if isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # typing's, from Python 3.12 on
            hint = getattr(hint, "__value__")  # noqa: B009 - unknown to 3.11
        elif type(typing.get_origin(hint)).__name__ == "TypeAliasType":
            hint = typing.get_origin(hint).__value__[typing.get_args(hint)]
        elif typing.get_origin(hint) is typing.Annotated:
            hint, *metadata = typing.get_args(hint)
            found += metadata
        else:
            return hint, found


def union_of(kind: Any) -> tuple[list[Any], bool]:
    """Return the members of a union but ``None``, and whether that is one of them."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return [kind], False
    members = typing.get_args(kind)
    rest = [member for member in members if member is not types.NoneType]
    return rest, len(rest) < len(members)


_COLLECTIONS: Final[dict[Any, Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_MAPPINGS: Final = {dict, collections.abc.Mapping, collections.abc.MutableMapping}


def collection_of(kind: Any) -> tuple[Any, Any]:
    """Return the type of the items, and what makes the collection; else ``None``."""
    make = _COLLECTIONS.get(typing.get_origin(kind) or kind)
    if make is None:
        return kind, None
    args = typing.get_args(kind)
    return (args[0] if args else Any), make


def is_fixed(kind: Any) -> bool:
    """Return whether it is a tuple of a fixed number of items."""
    args = typing.get_args(kind)
    # Bare, or with any number of items; tuple[()] has none.
    return typing.get_origin(kind) is tuple and args[-1:] != (...,)


def is_mapping(kind: Any) -> bool:
    """Return whether it is a ``dict``, or another mapping of any members."""
    return (typing.get_origin(kind) or kind) in _MAPPINGS


def is_named_tuple(kind: Any) -> bool:
    """Return whether it is a class of ``typing.NamedTuple``."""
    origin = typing.get_origin(kind) or kind
    return (
        isinstance(origin, type)
        and issubclass(origin, tuple)
        and hasattr(origin, "_field_defaults")
    )


def members_of(kind: Any) -> Sequence[Member] | None:
    """Return the members of a class, in its order; ``None`` if it has no members.

    Those of a pydantic model or dataclass, a ``msgspec.Struct``, a dataclass, an attrs
    class, a ``TypedDict`` and a ``NamedTuple``.

    Raises:
        TypeError: an annotation cannot be read, or the class wants an ``InitVar``.
    """
    if not isinstance(typing.get_origin(kind) or kind, type):
        return None
    return _members_of(kind)


@lru_cache(maxsize=512)
def _members_of(kind: Any) -> Sequence[Member] | None:
    origin: Any = typing.get_origin(kind) or kind
    if hasattr(origin, "__pydantic_validator__"):
        return list(_pydantics(origin))
    if hasattr(origin, "__struct_fields__") and msgspec is not None:
        try:
            fields = msgspec.structs.fields(kind)
        except NameError as error:
            raise unreadable(kind, error) from error
        return [
            Member(
                field.name,
                (field.encode_name,),
                _filled(field.type, {}),
                field.required,
            )
            for field in fields
        ]
    if hasattr(origin, "__dataclass_fields__"):
        return list(_of_dataclass(kind, origin))
    if hasattr(origin, "__attrs_attrs__"):
        hints = hints_of(kind)
        return [
            Member(field.alias, (field.name,), hints.get(field.name, Any), required)
            for field in getattr(origin, "__attrs_attrs__")  # noqa: B009 - attrs' own
            if field.init
            for required in [type(field.default).__name__ == "_Nothing"]
        ]
    if issubclass(origin, dict) and hasattr(origin, "__required_keys__"):
        return list(_of_typed_dict(kind, origin))
    if is_named_tuple(origin):
        hints = hints_of(kind)
        return [
            Member(name, (name,), hints.get(name, Any), name not in defaults)
            for defaults in [getattr(origin, "_field_defaults")]  # noqa: B009
            for name in getattr(origin, "_fields")  # noqa: B009 - a tuple has none
        ]
    return None


def _of_dataclass(kind: Any, origin: type) -> Iterator[Member]:
    hints = hints_of(kind)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{name_of(kind)} has an InitVar, which a body cannot set")
    for field in dataclasses.fields(origin):
        if field.init:
            required = (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            )
            yield Member(field.name, (field.name,), hints[field.name], required)


_QUALIFIERS: Final = {typing.Required: True, typing.NotRequired: False}


def _of_typed_dict(kind: Any, origin: Any) -> Iterator[Member]:
    for name, hint in hints_of(kind).items():
        # __required_keys__ does not see qualifiers in postponed annotations.
        required = name in origin.__required_keys__
        while (qualifier := typing.get_origin(hint)) in _QUALIFIERS or (
            getattr(qualifier, "_name", "") == "ReadOnly"
        ):
            required = _QUALIFIERS.get(qualifier, required)
            hint = typing.get_args(hint)[0]  # noqa: PLW2901 - peeled
        yield Member(name, (name,), hint, required)


def _pydantics(origin: Any) -> Iterator[Member]:
    fields = getattr(origin, "model_fields", None) or origin.__pydantic_fields__
    config = getattr(origin, "model_config", None) or getattr(
        origin, "__pydantic_config__", {}
    )
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    by_alias = config.get("validate_by_alias") is not False
    for name, field in fields.items():
        if field.init is False:
            continue
        keys: list[str] = []
        alias = field.validation_alias if by_alias else None
        for choice in getattr(alias, "choices", [alias]):
            # Of an AliasPath, the member that the path begins with.
            key = choice if isinstance(choice, str) else getattr(choice, "path", [0])[0]
            if isinstance(key, str) and key not in keys:
                keys.append(key)
        if (by_name or not keys) and name not in keys:
            keys.append(name)
        hint = field.annotation
        if field.metadata:
            hint = typing.Annotated[(hint, *field.metadata)]
        yield Member(name, tuple(keys), hint, field.is_required())


def hints_of(record: Any) -> dict[str, Any]:
    """Return the types of a class's members by name, with their annotations.

    Of ``Page[int]``, the members of a generic class have ``int`` where that says ``T``.

    Raises:
        TypeError: an annotation has a name that is not there.
    """
    origin: Any = typing.get_origin(record) or record
    try:
        hints = typing.get_type_hints(origin, include_extras=True)
    except NameError as error:
        raise unreadable(record, error) from error
    parameters = getattr(origin, "__parameters__", ())
    given = dict(zip(parameters, typing.get_args(record), strict=False))
    return {name: _filled(hint, given) for name, hint in hints.items()}


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, Any)
    if open_parameters := getattr(hint, "__parameters__", ()):
        return hint[tuple(given.get(one, Any) for one in open_parameters)]
    return hint


def file_in(hint: Any, seen: set[Any] | None = None) -> Any:
    """Find a class of files somewhere in a type; ``None`` if there is none."""
    seen = set() if seen is None else seen
    kind = peel(hint)[0]
    if is_file(kind):
        return kind
    origin = typing.get_origin(kind) or kind
    inner: list[Any] = list(typing.get_args(kind))
    if isinstance(origin, type) and origin not in seen:
        seen.add(origin)
        inner += [member.hint for member in members_of(kind) or ()]
    for one in inner:
        if (found := file_in(one, seen)) is not None:
            return found
    return None


def unreadable(kind: Any, error: NameError) -> TypeError:
    """Make the error for annotations of a type, or of one in it, without a meaning.

    Annotations are names until somebody asks: all of them from Python 3.14 on (PEP
    649), before it those of a module that postpones them (PEP 563). ``NameError``
    alone names neither the class nor a way out.
    """
    return TypeError(
        f"an annotation of {kind!r} cannot be read: {error} "
        "(is it imported for type checkers only?)"
    )
