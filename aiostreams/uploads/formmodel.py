"""A form as an object of the application: a model of pydantic or msgspec.

    @dataclass
    class Profile:
        name: str
        born: date | None
        tags: list[str]
        photo: Annotated[StoredFile, FileRule(accept={"image/*"}, max_size=MiB)]

A model is compiled once: each member learns how its field is read. ``bind`` gathers
the fields and files of all of them, has the model's library make the object, and says
all that is wrong in one ``InvalidContent``. The rules:

- Fields are text, and converted by the library's own lenient mode
  (``content.fieldtext``). Types of more than one text, such as dataclasses and
  ``dict``, are JSON, as strict as JSON is elsewhere.
- An empty text is an input that was not filled in, except for ``str``. What is not
  filled in has its default; ``X | None`` without one is ``None``, a collection empty,
  and a ``bool`` false, since an unticked box is not sent at all. All else is required.
  So ``box: bool = True`` can only be made false by a field that says so.
- ``list``, ``set``, ``frozenset`` and ``tuple`` take every field of their name, empty
  ones aside. Those of JSON values take one field with an array as well.
- A member that is typed as a file takes a file and never text, and the other way
  round: no field can pretend to be a file that was stored.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
)

from aiostreams.content import jsontext
from aiostreams.content.fieldtext import Shape, is_blank, prepared, shape_of
from aiostreams.content.file import File
from aiostreams.content.members import (
    collection_of,
    file_in,
    is_file,
    is_fixed,
    name_of,
    peel,
    union_of,
)
from aiostreams.content.model import REQUIRED
from aiostreams.content.models import model_of
from aiostreams.errors import InvalidContent, pointer_to
from aiostreams.uploads.rules import FileRule
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aiostreams.content.members import Member
    from aiostreams.content.model import Model

__all__ = [
    "FormField",
    "FormMember",
    "FormModel",
    "bind",
    "check_model",
    "file_rules",
    "form_members",
    "json_fields",
]

T = TypeVar("T")
Duplicates: TypeAlias = Literal["first", "last", "refuse"]
Fault: TypeAlias = tuple[str, str]

# What one message names of fields that nobody asked for, and of each name.
_MOST_UNKNOWN: Final = 10
# Of the WHATWG's multipart/form-data: tells the charset of the others.
_CHARSET: Final = "_charset_"
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class FormField:
    """Says in a model how a field is called: ``Annotated[str, FormField("e-mail")]``.

    Attributes:
        name: of the form's field; the member's own unless given.
    """

    name: str | None = None


class FormMember(NamedTuple):
    """How one member of a model is read from a form.

    Attributes:
        name: of its fields and files.
        key: what the model takes it by.
        required: whether the model has no default for it.
        shape: how its texts are read.
        rule: what is asked of its files; ``None`` where it takes text.
        make: makes the collection of its files; ``None`` for one.
    """

    name: str
    key: str
    required: bool
    shape: Shape
    rule: FileRule | None = None
    make: Callable[[list[Any]], Any] | None = None

    def nothing(self) -> Any:
        """Return the value of a field without content."""
        if not self.required:
            return _ABSENT
        if self.shape.nullable:
            return None
        if self.shape.several:
            return []
        return False if self.shape.is_bool and self.rule is None else _ABSENT

    def texts(self, texts: Sequence[str], duplicates: Duplicates) -> Any:
        """Make the value of these texts.

        Raises:
            InvalidContent: one has a wrong form.
        """
        shape = self.shape
        if shape.is_json:
            # A byte order mark is no part of JSON (RFC 8259 section 8.1).
            texts = [text.removeprefix("\ufeff") for text in texts]
        if shape.several:
            return self._several(
                [one for one in texts if shape.empty or not is_blank(one)]
            )
        if len(texts) > 1 and duplicates == "refuse":
            raise _fault(f"expected once, got {len(texts)} times", self.name)
        text = "" if not texts else texts[0 if duplicates == "first" else -1]
        if not texts or not (shape.empty or not is_blank(text)):
            return self.nothing()
        return self._one(text, self.name)

    def _several(self, texts: list[str]) -> Any:
        if not texts:
            return self.nothing()
        if self.shape.whole and len(texts) == 1 and texts[0].lstrip().startswith("["):
            return self._one(texts[0], self.name)
        values: list[Any] = []
        faults: list[Fault] = []
        for index, text in enumerate(texts):
            try:
                values.append(self._one(text, self.name, index))
            except InvalidContent as error:
                faults += error.errors
        if faults:
            raise InvalidContent(errors=faults)
        return values

    def _one(self, text: str, *path: str | int) -> Any:
        try:
            if self.shape.is_json:
                return jsontext.parse(text)
            return prepared(text, self.shape)
        except ValueError as error:
            raise _fault(str(error), *path) from error

    def files(self, files: Sequence[Any]) -> Any:
        """Make the value of these files.

        Raises:
            InvalidContent: they are too many or too few.
        """
        assert self.rule is not None
        if not files and (made := self.nothing()) is not _ABSENT:
            return made
        if not files and not self.required:
            return _ABSENT
        most = self.rule.max_count
        extra = files[most] if most is not None and len(files) > most else None
        message = self.rule.miscount(len(files), getattr(extra, "filename", None))
        if message is not None:
            raise _fault(message, self.name)
        return files[0] if self.make is None else list(files)


def _fault(detail: str, *path: str | int) -> InvalidContent:
    return InvalidContent(errors=[(pointer_to(path), detail)])


def bind(
    model: type[T],
    fields: Iterable[tuple[str, str]],
    files: Iterable[tuple[str, Any]] = (),
    *,
    file_type: type = StoredFile,
    unknown: Literal["ignore", "forbid"] = "ignore",
    duplicates: Duplicates = "last",
) -> T:
    """Make a model of the fields and files of a form.

    Args:
        model: a class with members: see ``content.models``.
        fields: names and texts, in the order sent.
        files: names and files.
        file_type: the class of the files; members of that type, or of one it
            inherits from, take them.
        unknown: what becomes of fields and files that the model does not have, unless
            it says so itself; ``_charset_`` is always ignored.
        duplicates: which of several texts counts for a member that takes one.
            Several files for a member that takes one are always refused.

    Raises:
        InvalidContent: something does not fit; ``errors`` has the pointer of each field
            with what is wrong.
        ImportError: the extra that the model needs is missing.
        TypeError: the model has a type that no form can give.
    """
    if unknown not in {"ignore", "forbid"}:
        raise ValueError(f"unknown must be 'ignore' or 'forbid', not {unknown!r}")
    if duplicates not in {"first", "last", "refuse"}:
        raise ValueError(
            f"duplicates must be 'first', 'last' or 'refuse', not {duplicates!r}"
        )
    compiled = model_of(model)
    known = form_members(compiled, file_type)
    texts = _grouped(fields)
    texts.pop(_CHARSET, None)
    given = _grouped(files)
    if known is None:
        both = {
            name: [*texts.get(name, ()), *given.get(name, ())] for name in texts | given
        }
        filled: T = compiled.fill(
            {name: some[0] if len(some) == 1 else some for name, some in both.items()}
        )
        return filled
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for field in known:
        try:
            value = _value(
                field, texts.pop(field.name, []), given.pop(field.name, []), duplicates
            )
        except InvalidContent as error:
            faults += error.errors
            wrong.add(field.key)
        else:
            if value is not _ABSENT:
                values[field.key] = value
    if unknown == "forbid" or compiled.extra == "forbid":
        faults += _unknown([*texts, *given])
    elif compiled.extra == "allow":
        values |= {
            name: some[0] if len(some) == 1 else some for name, some in texts.items()
        }
    lenient = {field.key for field in known if not field.shape.is_json}
    try:
        made: T = compiled.fill(values, lenient)
    except InvalidContent as error:
        faults += _named(error, known, wrong)
    else:
        if not faults:
            return made
    order = {pointer_to([field.name]): index for index, field in enumerate(known)}
    faults.sort(
        key=lambda fault: order.get("/".join(fault[0].split("/")[:2]), len(order))
    )
    raise InvalidContent(errors=faults)


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _value(
    field: FormMember, texts: list[str], files: list[Any], duplicates: Duplicates
) -> Any:
    if field.rule is None:
        if files:
            raise _fault("expected text, got a file", field.name)
        return field.texts(texts, duplicates)
    if any(texts):  # an urlencoded form has an empty text for an empty input
        raise _fault("expected a file, got text", field.name)
    return field.files(files)


def _named(
    error: InvalidContent, known: Iterable[FormMember], wrong: set[str]
) -> Iterator[Fault]:
    """Name the faults of a library by fields; not where one is wrong anyway."""
    names = {pointer_to([field.key]): field for field in known}
    for pointer, detail in error.errors:
        first, slash, rest = pointer[2:].partition("/")
        field = names.get(f"#/{first}")
        if field is None:
            yield pointer, detail
        elif field.key not in wrong:
            missing = detail == REQUIRED and not slash and field.rule is not None
            yield (
                pointer_to([field.name]) + slash + rest,
                "a file is required" if missing else detail,
            )


def _unknown(names: Iterable[str]) -> Iterator[Fault]:
    strangers = list(dict.fromkeys(names))
    for name in strangers[:_MOST_UNKNOWN]:
        yield pointer_to([name]), "no such field"
    if len(strangers) > _MOST_UNKNOWN:
        count = len(strangers) - _MOST_UNKNOWN
        yield "#", f"and {count} more fields that are not known"


def check_model(model: Any) -> Mapping[str, FileRule]:
    """See now whether bodies can be validated into a type, and forms bound to it.

    Returns:
        The rules for its files, by field.

    Raises:
        ImportError: the extra that it needs is missing.
        TypeError: no validator supports it.
    """
    compiled = model_of(model, early=True)
    kind = file_in(model)
    if kind is None or compiled.members() is None:
        return {}
    return file_rules(model, file_type=File if issubclass(File, kind) else StoredFile)


def file_rules(model: Any, *, file_type: type = StoredFile) -> Mapping[str, FileRule]:
    """Return the rule for the files of each field that takes some, by its name.

    The counts say what the type says: one file at most where it is no list, and one
    at least where it has no default and ``None`` is no choice. A field that is not
    among these takes no file.

    Raises:
        ImportError: the extra that the model needs is missing.
        TypeError: the model has a type that no form can give.
    """
    known = form_members(model_of(model), file_type) or ()
    return {field.name: field.rule for field in known if field.rule is not None}


class FormModel(Generic[T]):
    """A model that ``receive`` makes of the fields and files of a form.

    Args:
        model: see :func:`bind`.
        unknown: likewise.
        duplicates: likewise.

    Attributes:
        rules: for the files of each field that takes some, by its name.
        json_fields: the fields whose text is JSON.

    Raises:
        ImportError: the extra that the model needs is missing.
        TypeError: the model has a type that no form can give.
    """

    def __init__(
        self,
        model: type[T],
        unknown: Literal["ignore", "forbid"],
        duplicates: Duplicates,
    ) -> None:
        self._model = model
        self._unknown: Literal["ignore", "forbid"] = unknown
        self._duplicates: Duplicates = duplicates
        self.rules: Mapping[str, FileRule] = file_rules(model)
        self.json_fields: frozenset[str] = json_fields(model)
        self._open = form_members(model_of(model), StoredFile) is None

    def takes_file(self, name: str) -> bool:
        """Return whether a file of that field is one of the model's."""
        return self._open or name in self.rules

    def bind(
        self, fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, Any]]
    ) -> T:
        """Make the model, see :func:`bind`."""
        return bind(
            self._model,
            fields,
            files,
            unknown=self._unknown,
            duplicates=self._duplicates,
        )


def json_fields(model: Any, *, file_type: type = StoredFile) -> frozenset[str]:
    """Return the fields whose text is JSON.

    A browser sends a ``Blob`` of JSON with a filename: a part of one of these names
    is text, filename or not.

    Raises:
        ImportError: the extra that the model needs is missing.
        TypeError: the model has a type that no form can give.
    """
    known = form_members(model_of(model), file_type) or ()
    return frozenset(field.name for field in known if field.shape.is_json)


# -- compiled --------------------------------------------------------------------------


@lru_cache(maxsize=256)
def form_members(model: Model, file_type: type) -> tuple[FormMember, ...] | None:
    """Return how the members of a model are read; ``None`` if they are unknown."""
    members = model.members()
    if members is None:
        if model.opaque:
            return None
        raise TypeError(f"{name_of(model.kind)} has no members that a form could give")
    fields: dict[str, FormMember] = {}
    for member in members:
        field = _field(member, f"{name_of(model.kind)}.{member.attribute}", file_type)
        if field.name in fields:
            raise TypeError(
                f"{name_of(model.kind)} has two members for the field {field.name!r}"
            )
        fields[field.name] = field
    return tuple(fields.values())


def _field(member: Member, where: str, file_type: type) -> FormMember:
    kind, metadata = peel(member.hint)
    choices, nullable = union_of(kind)
    if len(choices) == 1:
        kind, more = peel(choices[0])
        metadata += more
    name = member.key
    for item in metadata:
        if isinstance(item, FormField) and item.name is not None:
            name = item.name
            break
    rules = [item for item in metadata if isinstance(item, FileRule)]
    item_kind, make = (kind, None) if is_fixed(kind) else collection_of(kind)
    if make is not None:
        item_kind, more = peel(item_kind)
        rules += [item for item in more if isinstance(item, FileRule)]
    if not _is_file(item_kind, file_type):
        if rules:
            raise TypeError(f"{where} has a rule for files, but takes none")
        if (found := file_in(member.hint)) is not None:
            raise TypeError(f"{where} has {name_of(found)} in JSON, which has no files")
        shape = shape_of(member.hint)
        return FormMember(name, member.key, member.required, shape)
    if len(rules) > 1:
        raise TypeError(f"{where} has {len(rules)} rules for its files")
    rule = rules[0] if rules else FileRule()
    least = int(make is None and member.required and not nullable)
    try:
        rule = dataclasses.replace(
            rule,
            min_count=max(rule.min_count, least),
            max_count=rule.max_count if make is not None else 1,
        )
    except ValueError as error:
        raise TypeError(f"{where}: {error}") from error
    shape = Shape(frozenset(), nullable, empty=False, several=make is not None)
    return FormMember(name, member.key, member.required, shape, rule, make)


def _is_file(kind: Any, files: type) -> bool:
    """Return whether members of that type take files.

    Raises:
        TypeError: they would take files of another class than there are.
    """
    if not is_file(kind):
        return False
    if issubclass(files, kind):
        return True
    raise TypeError(f"the files of this form are {name_of(files)}, not {name_of(kind)}")
