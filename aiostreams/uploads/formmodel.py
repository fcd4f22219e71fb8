"""A form as an object of the application: a dataclass or a ``msgspec.Struct``.

    @dataclass
    class Profile:
        name: str
        born: date | None
        tags: list[str]
        photo: Annotated[StoredFile, FileRule(accept={"image/*"}, max_size=MiB)]

A model is compiled once into members, each of which reads its own field; ``bind`` lets
all of them look and then says all that is wrong, in one ``InvalidContent``. The rules:

- Fields are text, and converted as ``content.fieldtext`` says. Types of more than one
  text, such as dataclasses and ``dict``, are JSON, as strict as JSON is elsewhere.
- An empty text is an input that nobody filled in, except for ``str``. What is not
  filled in has its default; ``X | None`` without one is ``None``, a collection empty,
  and a ``bool`` false, since an unticked box is not sent at all. All else is required.
  So ``box: bool = True`` can only be made false by a field that says so.
- ``list``, ``set``, ``frozenset`` and ``tuple`` take every field of their name, empty
  ones aside. Those of JSON values take one field with an array as well.
- A member that is typed as a file takes a file and never text, and the other way
  round: no field can pretend to be a file that was stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aiostreams.content.node import WRONG
from aiostreams.errors import InvalidContent
from aiostreams.uploads.formmember import (
    DEFAULT,
    Duplicates,
    FileMember,
    ValueMember,
    Wrong,
)
from aiostreams.uploads.formtypes import FormField, members_of
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiostreams.uploads.rules import FileRule

__all__ = ["FormField", "bind", "file_rules", "json_fields"]

T = TypeVar("T")

# What one message names of fields that nobody asked for, and of each name.
_MOST_UNKNOWN: Final = 10
_LONGEST_NAME: Final = 40
# Of the WHATWG's multipart/form-data: tells the charset of the others.
_CHARSET: Final = "_charset_"


def bind(
    model: type[T],
    fields: Iterable[tuple[str, str]],
    files: Iterable[tuple[str, Any]] = (),
    *,
    file_type: type = StoredFile,
    unknown: Literal["ignore", "refuse"] = "ignore",
    duplicates: Duplicates = "last",
) -> T:
    """Make a model of the fields and files of a form.

    Args:
        model: a dataclass or a ``msgspec.Struct``.
        fields: names and texts, in the order sent.
        files: names and files.
        file_type: the class of the files; members of that type, or of one it
            inherits from, take them.
        unknown: what becomes of fields and files that the model does not have;
            ``_charset_`` is always ignored.
        duplicates: which of several texts counts for a member that takes one.
            Several files for a member that takes one are always refused.

    Raises:
        InvalidContent: something does not fit; ``errors`` has the name of each field
            with what is wrong, or ``""`` for what the model itself refuses.
        TypeError: the model has a type that no form can give.
    """
    if unknown not in {"ignore", "refuse"}:
        raise ValueError(f"unknown is 'ignore' or 'refuse', not {unknown!r}")
    if duplicates not in {"first", "last", "refuse"}:
        raise ValueError(
            f"duplicates is 'first', 'last' or 'refuse', not {duplicates!r}"
        )
    members = members_of(model, file_type)
    texts: dict[str, list[str]] = {name: [] for name in members}
    given: dict[str, list[Any]] = {name: [] for name in members}
    strangers: dict[str, None] = {}
    for name, text in fields:
        if name in texts:
            texts[name].append(text)
        elif name != _CHARSET:
            strangers[name] = None
    for name, file in files:
        if name in given:
            given[name].append(file)
        else:
            strangers[name] = None
    wrong = Wrong()
    found = {}
    for name, member in members.items():
        value = member.read(texts[name], given[name], duplicates, wrong)
        if value is not DEFAULT and value is not WRONG:
            found[member.attribute] = value
    if unknown == "refuse":
        _refuse(strangers, wrong)
    if not wrong.errors:
        try:
            return model(**found)
        except InvalidContent as error:
            if error.errors:
                raise
            wrong.add("", str(error))
        except (ValueError, TypeError) as error:  # what __post_init__ refuses
            wrong.add("", str(error))
    raise InvalidContent(
        "; ".join(f"{name}: {text}" if name else text for name, text in wrong.errors),
        errors=wrong.errors,
    )


def file_rules(model: type, *, file_type: type = StoredFile) -> Mapping[str, FileRule]:
    """What is asked of the files of each field that takes some, by its name.

    The counts say what the type says: one file at most where it is no list, and one
    at least where it has no default and ``None`` is no choice. A field that is not
    among these takes no file.

    Raises:
        TypeError: the model has a type that no form can give.
    """
    return {
        name: member.rule
        for name, member in members_of(model, file_type).items()
        if isinstance(member, FileMember)
    }


def json_fields(model: type, *, file_type: type = StoredFile) -> frozenset[str]:
    """The fields whose text is JSON.

    A browser sends a ``Blob`` of JSON with a filename: a part of one of these names
    is text, filename or not.

    Raises:
        TypeError: the model has a type that no form can give.
    """
    return frozenset(
        name
        for name, member in members_of(model, file_type).items()
        if isinstance(member, ValueMember) and member.is_json
    )


def _refuse(strangers: Iterable[str], wrong: Wrong) -> None:
    names = list(strangers)
    for name in names[:_MOST_UNKNOWN]:
        shown = name.encode("unicode_escape").decode()
        if len(shown) > _LONGEST_NAME:
            shown = shown[: _LONGEST_NAME - 3] + "..."
        wrong.add(shown, "no such field")
    if len(names) > _MOST_UNKNOWN:
        wrong.add(
            "", f"and {len(names) - _MOST_UNKNOWN} more fields that are not known"
        )
