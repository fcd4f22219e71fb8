"""Models of msgspec.

A file of its own, as each library of models has one. msgspec stops at the first
fault, and makes objects of its own accord. So a value that it has refused, one with
files, and the texts of a form are converted member by member, and only what has no
members by msgspec.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from aiostreams.content import members
from aiostreams.content.members import (
    collection_of,
    is_file,
    is_fixed,
    is_mapping,
    is_named_tuple,
    members_of,
    name_of,
    peel,
    union_of,
    unreadable,
)
from aiostreams.content.model import (
    NO_SUCH_MEMBER,
    REQUIRED,
    WRONG,
    Enough,
    Faults,
    Model,
    Undecided,
    failed,
    told,
)
from aiostreams.errors import InvalidContent, MalformedBody

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from aiostreams.content.members import Member
    from aiostreams.content.model import Place

    # The model of a type that is another validator's.
    Others: TypeAlias = Callable[[Any], Model | None]
    # A value, its place, faults, and whether it is text; the object or ``WRONG``.
    Check: TypeAlias = Callable[[Any, Place, Faults, bool], Any]

__all__ = ["MsgspecModel"]

# What msgspec adds to a message; a key that the client chose is "[...]".
_PLACE: Final = re.compile(r"(.*?)(?: - at (?:`key` in )?`\$([^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]")
_CHOICE: Final = re.compile(r"Invalid (?:enum )?value .*", re.DOTALL)
_MISSING_MEMBER: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN_MEMBER: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_JSON_NAMES: Final[dict[type, str]] = {
    dict: "object",
    list: "array",
    type(None): "null",
}
_NO_FILE: Final = "expected a file of a form"
# So many items are tried at once.
_CHUNK: Final = 64
# Whose constraints msgspec does not know.
_FOREIGN: Final = frozenset({"annotated_types", "pydantic"})


class MsgspecModel(Model):
    """A type that msgspec validates."""

    def __init__(self, kind: Any, others: Others) -> None:
        super().__init__(kind)
        self._others = others
        assert members.msgspec is not None
        self._msgspec = members.msgspec
        # Classes with files, or with validators of attrs, are not made by msgspec.
        self._by_members = False
        # What checks each type in this one; made when it is needed.
        self._checks: dict[Any, Check] = {}
        self._decode: Callable[[Any], Any] | None = None
        self._look(kind, "", set())
        if getattr(_config(kind), "forbid_unknown_fields", False):
            self.extra: Literal["ignore", "forbid", "allow"] = "forbid"
        if self._by_members:
            return
        try:
            decoder = self._msgspec.json.Decoder(kind, dec_hook=self._from_others)
        except NameError as error:
            raise unreadable(kind, error) from error
        except TypeError as error:
            raise TypeError(
                f"msgspec cannot validate into {name_of(kind)}: {error}"
            ) from error
        self._decode = decoder.decode

    def _look(self, hint: Any, where: str, seen: set[Any]) -> None:
        """Refuse what would be found out by the first value."""
        kind, metadata = peel(hint)
        for item in metadata:
            if type(item).__module__.partition(".")[0] in _FOREIGN:
                raise TypeError(
                    f"{where or name_of(kind)}: msgspec does not know {item!r}; use "
                    "msgspec.Meta, or a model or dataclass of pydantic"
                )
        if is_file(kind):
            self._by_members = True
            return
        if self._others(kind) is not None:
            return
        origin = typing.get_origin(kind) or kind
        found = members_of(kind)
        if found is not None:
            if kind not in seen:
                seen.add(kind)
                self._by_members |= any(
                    field.validator or field.converter
                    for field in getattr(origin, "__attrs_attrs__", ())
                )
                for member in found:
                    place = f"{name_of(kind)}.{member.attribute}"
                    self._look(member.hint, place, seen)
            return
        if origin in (typing.Union, types.UnionType) or (
            is_mapping(kind) or collection_of(kind)[1] is not None
        ):
            for argument in typing.get_args(kind):
                if argument is not ...:
                    self._look(argument, where, seen)
            return
        try:
            info = self._msgspec.inspect.type_info(kind)
        except (TypeError, NameError) as error:
            raise TypeError(f"{where or name_of(kind)}: {error}") from error
        if isinstance(info, self._msgspec.inspect.CustomType) and kind is not object:
            place = f" ({where})" if where else ""
            raise TypeError(f"no validator supports {name_of(kind)}{place}")

    def decode(self, text: bytes | str) -> Any:
        if self._decode is None:
            raise Undecided
        try:
            return self._decode(text)
        except self._msgspec.ValidationError as error:
            raise Undecided(error) from None
        except (
            self._msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            TypeError,  # an object in a set, to some versions
        ):
            raise Undecided from None
        except Exception as error:  # noqa: BLE001 - whatever __post_init__ raises
            raise failed(self.kind, error) from None

    def check(self, value: Any, refusal: Exception | None = None) -> Any:
        faults = Faults()
        made = WRONG
        if self._decode is not None and refusal is None:
            try:
                return self._convert(value, self.kind)
            except (self._msgspec.ValidationError, TypeError) as error:
                refusal = error
            except Exception as error:  # noqa: BLE001 - as below
                raise self._other_error(error) from None
        try:
            made = self._check_of(self.kind)(value, None, faults, False)
        except Enough:
            pass
        except Exception as error:  # noqa: BLE001 - whatever __post_init__ raises
            if refusal is None or not isinstance(error, RecursionError):
                raise self._other_error(error) from None
        if refusal is None and not len(faults):
            return made
        if not len(faults):
            self._add(refusal, None, faults)
        raise faults.error()

    def schema(self, template: str) -> tuple[dict[str, Any], dict[str, Any]]:
        ((schema,), named) = self._schemas([self.kind], template)
        prefix = template.partition("{name}")[0]
        if set(schema) == {"$ref"} and (name := schema["$ref"].removeprefix(prefix)):
            return dict(named[name]), named
        return schema, named

    def member_schemas(
        self, template: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        found = [
            member
            for member in members_of(self.kind) or ()
            if members.file_in(member.hint) is None
        ]
        schemas, named = self._schemas([member.hint for member in found], template)
        keys = [member.key for member in found]
        return dict(zip(keys, schemas, strict=True)), named

    def _schemas(
        self, kinds: Sequence[Any], template: str
    ) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
        more: dict[str, Any] = {}

        def of_others(kind: type) -> dict[str, Any]:
            model = self._others(kind)
            if model is None:
                return {}
            schema, named = model.schema(template)
            more.update(named)
            return schema

        schemas, named = self._msgspec.json.schema_components(
            kinds, schema_hook=of_others, ref_template=template
        )
        return schemas, {**named, **more}

    def fill(self, values: Mapping[str, Any], texts: Collection[str] = ()) -> Any:
        faults = Faults()
        made = WRONG
        try:
            record = self._check_of(self.kind)
            assert isinstance(record, _Record)  # who fills has asked for members
            made = record.fill(values, texts, faults)
        except Enough:
            pass
        except Exception as error:  # noqa: BLE001 - whatever __post_init__ raises
            raise self._other_error(error) from None
        if len(faults):
            raise faults.error()
        return made

    def _other_error(self, error: Exception) -> Exception:
        if isinstance(error, RecursionError):
            return MalformedBody("JSON: nested too deeply")
        return failed(self.kind, error)

    def _convert(self, value: Any, kind: Any, *, strict: bool = True) -> Any:
        return self._msgspec.convert(
            value, kind, strict=strict, str_keys=True, dec_hook=self._from_others
        )

    def _from_others(self, kind: type, value: Any) -> Any:
        """Make an object of a class that msgspec does not know (``dec_hook``)."""
        model = self._others(kind)
        return value if model is None else model.check(value)

    # -- member by member --------------------------------------------------------------

    def _check_of(self, hint: Any) -> Check:
        """Return the check of a type; of several kinds, by what msgspec gives."""
        try:
            return self._checks[hint]
        except TypeError:  # annotated with something unhashable
            return self._compiled(hint)
        except KeyError:
            found = self._checks[hint] = self._compiled(hint)
            return found

    def _compiled(self, hint: Any) -> Check:
        kind, metadata = peel(hint)
        choices, nullable = union_of(kind)
        if nullable or len(choices) > 1:
            return self._union(choices, nullable)
        if is_file(kind):
            return _file(kind)
        if (other := self._others(kind)) is not None:
            return _of_other(other)
        if (found := members_of(kind)) is not None and not _is_array_like(kind):
            if kind not in self._checks:
                self._checks[kind] = _Record(kind, found, self._check_of)
            return self._checks[kind]
        constraints = [one for one in metadata if isinstance(one, self._msgspec.Meta)]
        item, make = collection_of(kind)
        if make is not None:
            held = self._leaf(list, constraints) if constraints else None
            if not is_fixed(kind):
                return self._collection(item, make, held)
            items = [self._check_of(one) for one in typing.get_args(kind)]
            return _tuple(items, held)
        leaf = self._leaf(kind, constraints)
        if is_mapping(kind):
            held = self._leaf(dict, constraints) if constraints else None
            return self._mapping(kind, leaf, held)
        return leaf

    def _leaf(self, kind: Any, constraints: Sequence[Any] = ()) -> Check:
        """Return the check of what has no members: all of it is msgspec's."""
        if constraints:
            kind = typing.Annotated[(kind, *constraints)]
        refusal = self._msgspec.ValidationError
        convert = self._convert

        def check(value: Any, place: Place, faults: Faults, text: bool) -> Any:  # noqa: FBT001
            try:
                return convert(value, kind, strict=not text)
            except refusal as error:
                return self._add(error, place, faults, kind)

        return check

    def _add(self, error: Any, place: Place, faults: Faults, kind: Any = None) -> Any:
        """Say what msgspec has found."""
        found = _PLACE.fullmatch(str(error))
        assert found is not None  # it takes any text
        message, steps = found[1], found[2] or ""
        for step in _STEP.finditer(steps.partition("[...]")[0]):
            place = (place, step[1] or int(step[2]))
        if missing := _MISSING_MEMBER.fullmatch(message):
            place, message = (place, missing[1]), REQUIRED
        elif unknown := _UNKNOWN_MEMBER.fullmatch(message):
            place, message = (place, unknown[1]), NO_SUCH_MEMBER
        elif _CHOICE.fullmatch(message):
            message = _wanted(kind)
        return faults.add(place, message)

    def _union(self, choices: list[Any], nullable: bool) -> Check:  # noqa: FBT001
        files = tuple(kind for one in choices if is_file(kind := peel(one)[0]))
        rest = [one for one in choices if peel(one)[0] not in files]
        objects = [one for one in rest if _takes_object(peel(one)[0])]
        arrays = [one for one in rest if _takes_array(peel(one)[0])]
        tags = {}
        tag_field = ""
        for choice in objects if len(objects) > 1 else ():
            config = _config(peel(choice)[0])
            if config is not None and config.tag is not None:
                tag_field = config.tag_field
                tags[config.tag] = self._check_of(choice)
        only = self._check_of(choices[0]) if len(choices) == 1 else None
        of_object = self._check_of(objects[0]) if len(objects) == 1 else None
        of_array = self._check_of(arrays[0]) if len(arrays) == 1 else None
        leaf = self._leaf(typing.Union[tuple(rest)]) if rest else None  # noqa: UP007

        def check(value: Any, place: Place, faults: Faults, text: bool) -> Any:  # noqa: FBT001
            if value is None and nullable:
                return None
            if files and isinstance(value, files):
                return value
            chosen = only
            if chosen is None and type(value) is list:
                chosen = of_array
            elif chosen is None and type(value) is dict:
                chosen = of_object
                if tags:
                    if tag_field not in value:
                        return faults.add((place, tag_field), REQUIRED)
                    tag = value[tag_field]
                    chosen = tags.get(tag) if isinstance(tag, (str, int)) else None
                    if chosen is None:
                        wanted = f"Expected one of {_listed(tags)}"
                        return faults.add((place, tag_field), wanted)
            chosen = chosen or leaf
            if chosen is None:
                return faults.add(place, _NO_FILE)
            return chosen(value, place, faults, text)

        return check

    def _collection(
        self, item: Any, make: Callable[[Any], Any], held: Check | None
    ) -> Check:
        one = self._check_of(item)
        # Most items are right: msgspec takes those at once that are not nested any
        # deeper than their type says. Else each level would be gone through again.
        many = (
            None if self._by_members or _recurs(item) else list.__class_getitem__(item)
        )
        convert, refusal = self._convert, self._msgspec.ValidationError

        def check(value: Any, place: Place, faults: Faults, text: bool) -> Any:  # noqa: FBT001
            if type(value) is not list:
                return faults.add(place, _expected("array", value))
            before = len(faults)
            made: list[Any] = []
            for start in range(0, len(value), _CHUNK):
                chunk = value[start : start + _CHUNK]
                if many is not None:
                    try:
                        made += convert(chunk, many, strict=not text)
                        continue
                    except refusal:
                        pass
                for index, part in enumerate(chunk, start):
                    made.append(one(part, (place, index), faults, text))
            if held is not None:
                held(value, place, faults, False)
            if len(faults) != before:
                return WRONG
            try:
                return make(made)
            except TypeError:  # an object, in a set
                return faults.add(place, "an item cannot be in a set")

        return check

    def _mapping(self, kind: Any, leaf: Check, held: Check | None) -> Check:
        key_kind, item = typing.get_args(kind) or (Any, Any)
        check_item = self._check_of(item)
        keys = None
        if key_kind not in (str, Any):
            keys = self._leaf(dict.__class_getitem__((key_kind, Any)))

        def check(value: Any, place: Place, faults: Faults, text: bool) -> Any:  # noqa: FBT001
            if type(value) is not dict:
                return leaf(value, place, faults, text)
            before = len(faults)
            made = {}
            for name, part in value.items():
                inside = (place, name)
                entry = check_item(part, inside, faults, text)
                key = name
                if keys is not None:
                    keyed = keys({name: None}, inside, faults, text)
                    key = next(iter(keyed)) if keyed is not WRONG else name
                made[key] = entry
            if held is not None:
                held(value, place, faults, False)
            return made if len(faults) == before else WRONG

        return check


class _Record:
    """The check of a class with members.

    Args:
        kind: the class.
        members: its members.
        check_of: gives the check of a member.
    """

    def __init__(
        self, kind: Any, members: Sequence[Member], check_of: Callable[[Any], Check]
    ) -> None:
        self._class: Any = typing.get_origin(kind) or kind
        self._members = members
        self._check_of = check_of
        self._positional = is_named_tuple(kind)
        config = _config(kind)
        # What msgspec refuses besides; of a NamedTuple, what is too long.
        self._known: set[Any] | None = None
        if self._positional:
            self._known = set(range(len(members)))
        elif getattr(config, "forbid_unknown_fields", False):
            self._known = {member.key for member in members}
            self._known.add(getattr(config, "tag_field", None))

    def __call__(self, value: Any, place: Place, faults: Faults, _text: bool) -> Any:  # noqa: FBT001
        if self._positional:
            if type(value) is not list:
                return faults.add(place, _expected("array", value))
            value = dict(enumerate(value))
            places = range(len(self._members))
            return self._make(value, places, place, faults, known=self._known)
        if type(value) is not dict:
            return faults.add(place, _expected("object", value))
        keys = [member.key for member in self._members]
        return self._make(value, keys, place, faults, known=self._known)

    def fill(
        self, values: Mapping[str, Any], texts: Collection[str], faults: Faults
    ) -> Any:
        """Make an object of the values of its members; those of ``texts`` are text."""
        keys = [member.key for member in self._members]
        known = None if self._positional else self._known
        return self._make(values, keys, None, faults, texts=texts, known=known)

    def _make(
        self,
        values: Mapping[Any, Any],
        keys: Sequence[Any],
        place: Place,
        faults: Faults,
        *,
        texts: Collection[Any] = (),
        known: set[Any] | None,
    ) -> Any:
        before = len(faults)
        made = {}
        for key, check, member in zip(keys, self._checks, self._members, strict=True):
            if key in values:
                inside = (place, key)
                text = key in texts
                made[member.attribute] = check(values[key], inside, faults, text)
            elif member.required:
                faults.add((place, key), REQUIRED)
        if known is not None:
            for key in values:
                if key not in known:
                    faults.add((place, key), NO_SUCH_MEMBER)
        if len(faults) != before:
            return WRONG
        try:
            return self._class(**made)
        except InvalidContent as error:
            return faults.add_all(place, error)
        except (ValueError, TypeError) as error:  # what __post_init__ refuses
            return faults.add(place, told(str(error), values))

    @cached_property
    def _checks(self) -> list[Check]:
        # Not before the first value: one of them may be of the same class.
        return [self._check_of(member.hint) for member in self._members]


def _tuple(checks: Sequence[Check], held: Check | None) -> Check:
    def check(value: Any, place: Place, faults: Faults, text: bool) -> Any:  # noqa: FBT001
        if type(value) is not list:
            return faults.add(place, _expected("array", value))
        if len(value) != len(checks):
            wanted = f"Expected `array` of length {len(checks)}, got {len(value)}"
            return faults.add(place, wanted)
        before = len(faults)
        made = [
            one(part, (place, index), faults, text)
            for index, (one, part) in enumerate(zip(checks, value, strict=True))
        ]
        if held is not None:
            held(value, place, faults, False)
        return tuple(made) if len(faults) == before else WRONG

    return check


def _recurs(hint: Any, outer: frozenset[Any] = frozenset()) -> bool:
    """Return whether a type has itself among its members."""
    kind = peel(hint)[0]
    origin = typing.get_origin(kind) or kind
    inner = list(typing.get_args(kind))
    if isinstance(origin, type) and (found := members_of(kind)) is not None:
        if origin in outer:
            return True
        outer |= {origin}
        inner += [member.hint for member in found]
    return any(_recurs(one, outer) for one in inner)


def _file(kind: Any) -> Check:
    def check(value: Any, place: Place, faults: Faults, _text: bool) -> Any:  # noqa: FBT001
        return value if isinstance(value, kind) else faults.add(place, _NO_FILE)

    return check


def _of_other(model: Model) -> Check:
    def check(value: Any, place: Place, faults: Faults, _text: bool) -> Any:  # noqa: FBT001
        try:
            return model.check(value)
        except InvalidContent as error:
            return faults.add_all(place, error)

    return check


def _config(kind: Any) -> Any:
    return getattr(typing.get_origin(kind) or kind, "__struct_config__", None)


def _is_array_like(kind: Any) -> bool:
    return bool(getattr(_config(kind), "array_like", False))


def _takes_array(kind: Any) -> bool:
    return (
        collection_of(kind)[1] is not None
        or is_named_tuple(kind)
        or _is_array_like(kind)
    )


def _takes_object(kind: Any) -> bool:
    return is_mapping(kind) or (members_of(kind) is not None and not _takes_array(kind))


def _expected(wanted: str, value: Any) -> str:
    name = _JSON_NAMES.get(type(value), type(value).__name__)
    return f"Expected `{wanted}`, got `{name}`"


def _wanted(kind: Any) -> str:
    """Return the message for a value that is none of a choice."""
    choices: list[Any] = []
    for one in union_of(peel(kind)[0])[0]:
        if typing.get_origin(one) is Literal:
            choices += typing.get_args(one)
        elif isinstance(one, type) and issubclass(one, enum.Enum):
            choices += [member.value for member in one]
    return f"Expected one of {_listed(choices)}" if choices else "Invalid value"


def _listed(choices: Iterable[Any]) -> str:
    return ", ".join(map(repr, choices))
