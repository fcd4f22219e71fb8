"""Models: the types that bodies are validated into, and the libraries that do it.

Three kinds of validators, asked in this order: those that an application has added,
pydantic for its own models and collections of them, msgspec for everything else. A
type is compiled once, into a :class:`Model`, which reads JSON text, checks a value
that was read already, and is filled with the texts and files of a form.

A library reads the text in one step where it can. What it refuses is parsed again,
strictly: text that is no JSON is one error (400), a value that does not fit another
(422). Then all that is wrong is said at once. pydantic does that by itself. msgspec
stops at the first fault, so the value is converted member by member, and only what has
no members by msgspec. Each fault is named by the JSON Pointer to the client's value;
what the client sent is not repeated.

Neither is imported before there is a model for it: most values are plain ones.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import importlib.util
import sys
import types
import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from aiostreams.content import members
from aiostreams.content.members import FormFile, name_of
from aiostreams.content.model import Model, failed
from aiostreams.errors import InvalidContent, MalformedBody

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiostreams.content.members import Member

__all__ = ["Validator", "add_validator", "dump", "model_of"]


class Validator(Protocol):
    """What validates types of a third kind: see :func:`add_validator`."""

    def accepts(self, type: Any, /) -> bool:  # noqa: A002 - the contract's name
        """Return whether it validates into that type."""
        ...

    def validate(
        self,
        type: Any,  # noqa: A002 - the contract's name
        value: Any,
        /,
        *,
        text: bool,
    ) -> Any:
        """Make an object of the type of a value.

        Args:
            type: the type.
            value: what JSON has; or, of a form or a line of CSV, a dict of texts,
                lists of texts and files by name.
            text: whether the scalars in it are texts, to be converted leniently.

        Raises:
            InvalidContent: the value does not fit.
        """
        ...

    def dump(self, value: Any, /) -> Any:
        """Return what JSON has for an object of a type that it accepts."""
        ...


_added: list[Validator] = []


def add_validator(validator: Validator) -> None:
    """Add a validator that is asked before earlier ones, pydantic and msgspec.

    Args:
        validator: has ``accepts(type) -> bool``, ``validate(type, value, *, text)``,
            which raises :class:`InvalidContent`, and ``dump(value)``.

    Raises:
        TypeError: it lacks one of these.
    """
    for method in ("accepts", "validate", "dump"):
        if not callable(getattr(validator, method, None)):
            raise TypeError(f"{validator!r} is not a validator: it has no {method}()")
    _added.append(validator)
    _cached_model.cache_clear()


def _added_for(kind: Any) -> Validator | None:
    for validator in reversed(_added):
        if validator.accepts(kind):
            return validator
    return None


def model_of(kind: Any, *, early: bool = False) -> Model:
    """Return the model of a type; compiled once.

    Args:
        kind: the type.
        early: whether this is before the first request.

    Raises:
        ImportError: the extra that it needs is missing.
        TypeError: no validator supports it.
    """
    try:
        hash(kind)
        cached = True
    except TypeError:  # Annotated with something unhashable
        cached = False
    try:
        found: Model = _cached_model(kind) if cached else _compile(kind)
    except (TypeError, ImportError) as error:
        if not early and not hasattr(error, "__notes__"):
            error.add_note(
                f"setup(app, models=[{name_of(kind)}]) finds this at start-up"
            )
        raise
    return found


def _compile(kind: Any) -> Model:
    validator = _added_for(kind)
    if validator is not None:
        return _AddedModel(validator, kind)
    if _is_pydantics(kind):
        from aiostreams.content.pydantic_model import PydanticModel  # noqa: PLC0415

        return PydanticModel(kind)
    if members.msgspec is None:
        more = ""
        if importlib.util.find_spec("pydantic") is None:
            more = ", or 'aiostreams[pydantic]' for models of pydantic"
        raise ImportError(
            f"validating into {name_of(kind)} needs msgspec: "
            f"pip install 'aiostreams[msgspec]'{more}",
            name="msgspec",
        )
    from aiostreams.content.msgspec_model import MsgspecModel  # noqa: PLC0415

    return MsgspecModel(kind, _other)


def _is_pydantics(kind: Any) -> bool:
    # Without the library there is no such type, and nothing need be imported.
    if "pydantic" not in sys.modules:
        return False
    from aiostreams.content.pydantic_model import is_pydantics  # noqa: PLC0415

    return is_pydantics(kind)


def _other(kind: Any) -> Model | None:
    """Return the model of a type inside of msgspec's, if another validator has it."""
    if _added_for(kind) is None and not _is_pydantics(kind):
        return None
    return model_of(kind, early=True)


_cached_model = lru_cache(maxsize=256)(_compile)


class _AddedModel(Model):
    """A type of a validator that the application has added."""

    opaque = True

    def __init__(self, validator: Validator, kind: Any) -> None:
        super().__init__(kind)
        self._validator = validator

    def members(self) -> Sequence[Member] | None:
        """Not known; its fields are told from each other by their names alone."""
        return None

    def check(self, value: Any, refusal: Exception | None = None) -> Any:
        del refusal
        return self._validate(value, text=False)

    def fill(self, values: Mapping[str, Any], texts: Collection[str] = ()) -> Any:
        del texts
        return self._validate(dict(values), text=True)

    def _validate(self, value: Any, *, text: bool) -> Any:
        try:
            return self._validator.validate(self.kind, value, text=text)
        except InvalidContent:
            raise
        except RecursionError as error:
            raise MalformedBody("nested too deeply") from error
        except Exception as error:  # noqa: BLE001 - whatever it raises
            raise failed(self.kind, error) from None


def dump(value: Any) -> Any:
    """Return what JSON has for an object unknown to ``json``, one level of it.

    Raises:
        TypeError: JSON has nothing for it.
    """
    kind: Any = type(value)
    if (validator := _added_for(kind) if _added else None) is not None:
        return validator.dump(value)
    if isinstance(value, FormFile):
        return value.to_dict()
    if hasattr(kind, "__pydantic_validator__") or kind.__module__.startswith(
        "pydantic"
    ):
        adapter = _adapter(kind)
        return adapter.dump_python(value, mode="json", by_alias=True, fallback=dump)
    if members.msgspec is not None and isinstance(value, members.msgspec.Struct):
        if not _holds_files(kind):
            return members.msgspec.to_builtins(value, enc_hook=dump)
        return {
            member.key: getattr(value, member.attribute)
            for member in members.members_of(kind) or ()
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, (dt.date, dt.time)):  # datetime is a date
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, types.MappingProxyType):
        return dict(value)
    if hasattr(kind, "__attrs_attrs__"):
        fields = getattr(kind, "__attrs_attrs__")  # noqa: B009 - attrs' own
        return {field.name: getattr(value, field.name) for field in fields}
    if members.msgspec is not None and isinstance(value, dt.timedelta):
        return members.msgspec.to_builtins(value)  # as ISO 8601 has it
    raise TypeError(f"{kind.__name__} is not JSON serializable")


@lru_cache(maxsize=256)
def _holds_files(kind: type) -> bool:
    return members.file_in(kind) is not None


@lru_cache(maxsize=256)
def _adapter(kind: type) -> Any:
    import pydantic  # noqa: PLC0415 - the type has imported it

    return pydantic.TypeAdapter(kind)
