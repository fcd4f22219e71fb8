"""The types of a form model, compiled into members, and refused where no form fits.

Each model is looked at once. What a type allows is ``fieldtext``'s matter for text and
``json``'s for all else; here it is decided which of them reads a member, and which
members take files. A class of files never gets to JSON, at any depth: what a client
writes must not become a file that was stored.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from functools import lru_cache
from typing import Any, Final

from aiostreams.content import jsontext
from aiostreams.content.fieldtext import check_of, field_text, peel, union_of
from aiostreams.content.file import File
from aiostreams.content.hints import hints_of, unreadable
from aiostreams.content.json import json_reader
from aiostreams.content.node import WRONG
from aiostreams.uploads.formmember import FileMember, Member, ValueMember
from aiostreams.uploads.rules import FileRule
from aiostreams.uploads.stored import StoredFile

__all__ = ["FormField", "members_of"]

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


@dataclasses.dataclass(frozen=True, slots=True)
class FormField:
    """Says in a model how a field is called: ``Annotated[str, FormField("e-mail")]``.

    Attributes:
        name: of the form's field; the member's own unless given.
    """

    name: str | None = None


def members_of(model: Any, file_type: type) -> dict[str, Member]:
    """The members of a model by the names of their fields, in the model's order.

    Raises:
        TypeError: it has a type that no form can give.
    """
    return _compiled(model, file_type)


@lru_cache(maxsize=256)
def _compiled(model: Any, file_type: type) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for attribute, alias, hint, required in _declared(model):
        member = _member(attribute, alias, hint, required=required, files=file_type)
        if member.name in members:
            raise TypeError(f"{model!r} has two members for the field {member.name!r}")
        members[member.name] = member
    return members


def _declared(model: Any) -> list[tuple[str, str, Any, bool]]:
    """Attribute, name, type, and whether it has no default, of each member."""
    if isinstance(model, type) and hasattr(model, "__struct_fields__"):
        assert jsontext.msgspec is not None
        try:
            fields = jsontext.msgspec.structs.fields(model)
        except NameError as error:
            raise unreadable(model, error) from error
        return [
            (field.name, field.encode_name, field.type, field.required)
            for field in fields
        ]
    if not (isinstance(model, type) and dataclasses.is_dataclass(model)):
        raise TypeError(f"{model!r} is neither a dataclass nor a msgspec.Struct")
    hints = hints_of(model)
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError(f"{model!r} has an InitVar, which no form can give")
    return [
        (
            field.name,
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(model)
        if field.init
    ]


def _member(
    attribute: str, alias: str, hint: Any, *, required: bool, files: type
) -> Member:
    kind, metadata = peel(hint)
    members, nullable = union_of(kind)
    if len(members) == 1:
        kind, more = peel(members[0])
        metadata += more
    for item in metadata:
        if isinstance(item, FormField) and item.name is not None:
            alias = item.name
            break
    rules = [item for item in metadata if isinstance(item, FileRule)]
    item_kind, make = (kind, None) if _is_fixed(kind) else _collection(kind)
    if make is not None:
        item_kind, more = peel(item_kind)
        rules += [item for item in more if isinstance(item, FileRule)]
    if _is_file(item_kind, files):
        if len(rules) > 1:
            raise TypeError(f"{attribute!r} has {len(rules)} rules for its files")
        rule = rules[0] if rules else FileRule()
        least = int(make is None and required and not nullable)
        try:
            rule = dataclasses.replace(
                rule,
                min_count=max(rule.min_count, least),
                max_count=rule.max_count if make is not None else 1,
            )
        except ValueError as error:
            raise TypeError(f"{attribute!r}: {error}") from error
        return FileMember(attribute, alias, required, nullable, rule, make)
    if rules:
        raise TypeError(f"{attribute!r} has a rule for files, but takes none")
    return _value_member(attribute, alias, (hint, kind, metadata), required, nullable)


def _value_member(
    attribute: str,
    name: str,
    typed: tuple[Any, Any, list[Any]],
    required: bool,  # noqa: FBT001 - as they stand in Member
    nullable: bool,  # noqa: FBT001
) -> ValueMember:
    hint, kind, metadata = typed
    start = attribute, name, required, nullable
    whole_type = typing.Annotated[(kind, *metadata)] if metadata else kind
    text = field_text(whole_type)
    if text is not None:
        unticked = False if text.kind is bool else WRONG
        return ValueMember(*start, (text.read,), text.empty, unticked)
    _refuse_files(hint, set())
    item_kind, make = _collection(kind)
    if make is None:
        _refuse_unreadable(kind)
        return ValueMember(*start, (json_reader(whole_type),), is_json=True)
    check = check_of(make, metadata)
    args = typing.get_args(kind)
    fixed = _is_fixed(kind)
    items = [field_text(item) for item in (args if fixed else (item_kind,))]
    if all(item is not None for item in items):
        texts = [item for item in items if item is not None]
        return ValueMember(
            *start,
            tuple(item.read for item in texts),
            empty=fixed or texts[0].empty,
            make=make,
            fixed=fixed,
            check=check,
        )
    if fixed:
        return ValueMember(*start, (json_reader(whole_type),), is_json=True)
    _refuse_unreadable(item_kind)
    # An array in one text: all items, unless each of them is an array.
    nested = _collection(peel(item_kind)[0])[1] is not None
    return ValueMember(
        *start,
        (json_reader(item_kind),),
        make=make,
        whole=None if nested else json_reader(whole_type),
        check=check,
        is_json=True,
    )


def _collection(kind: Any) -> tuple[Any, Any]:
    """The type of the items, and what makes the collection; else the type itself."""
    make = _COLLECTIONS.get(typing.get_origin(kind) or kind)
    if make is None:
        return kind, None
    args = typing.get_args(kind)
    return (args[0] if args else str), make


def _is_fixed(kind: Any) -> bool:
    """Whether it is a tuple of a fixed number of items."""
    args = typing.get_args(kind)
    return typing.get_origin(kind) is tuple and args[-1:] != (...,)


def _is_file(kind: Any, files: type) -> bool:
    """Whether members of that type take files.

    Raises:
        TypeError: they would take files of another class than there are.
    """
    if not isinstance(kind, type) or kind is object:
        return False
    if kind in files.__mro__:  # TypedDicts refuse to be asked by issubclass()
        return True
    if not {File, StoredFile, files}.isdisjoint(kind.__mro__):
        raise TypeError(f"the files of this form are {files!r}, not {kind!r}")
    return False


# What a dataclass, a Struct, a NamedTuple and a TypedDict have.
_RECORDS: Final = (
    "__dataclass_fields__",
    "__struct_fields__",
    "_fields",
    "__total__",
)


def _refuse_files(kind: Any, seen: set[Any]) -> None:
    """Raise ``TypeError`` for JSON that would make files out of what a client wrote."""
    kind = peel(kind)[0]
    for argument in typing.get_args(kind):
        _refuse_files(argument, seen)
    origin = typing.get_origin(kind) or kind
    if not isinstance(origin, type) or origin in seen:
        return
    seen.add(origin)
    if not {File, StoredFile}.isdisjoint(origin.__mro__):
        raise TypeError(f"{origin!r} cannot be a part of JSON")
    if dataclasses.is_dataclass(origin) or any(
        hasattr(origin, mark) for mark in _RECORDS
    ):
        for hint in hints_of(origin).values():
            _refuse_files(hint, seen)


def _refuse_unreadable(kind: Any) -> None:
    """Raise ``TypeError`` for a class that nothing here makes of JSON.

    msgspec would find out when the first client sends one.
    """
    msgspec = jsontext.msgspec
    if msgspec is None or not isinstance(kind, type):
        return
    if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
        raise TypeError(f"{kind!r} is no type that a form can give")
