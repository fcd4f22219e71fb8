"""Models of pydantic.

A file of its own, as each library of models has one. pydantic says all faults by
itself, with what the client sent and with names of types among the places; both are
taken out here.
"""

from __future__ import annotations

import json
import re
import sys
import typing
from typing import TYPE_CHECKING, Any, Final, Literal

from aiostreams.content.members import is_file, members_of, name_of, peel, unreadable
from aiostreams.content.model import (
    NO_SUCH_MEMBER,
    REQUIRED,
    Enough,
    Faults,
    Model,
    Undecided,
    failed,
    told,
)
from aiostreams.errors import InvalidContent, MalformedBody

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from aiostreams.content.members import Member
    from aiostreams.content.model import Place
    from aiostreams.errors import StreamError

__all__ = ["PydanticModel", "is_pydantics"]


def is_pydantics(kind: Any) -> bool:
    """Return whether it is for pydantic: a model, an adapter, or a collection."""
    # It need not be imported: who has such a type did that.
    pydantic = sys.modules.get("pydantic")
    if isinstance(kind, getattr(pydantic, "TypeAdapter", ())):
        return True
    kind, metadata = peel(kind)
    if any(type(item).__module__.startswith("pydantic.") for item in metadata):
        return True
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type) and (
        hasattr(origin, "__pydantic_validator__")
        or (hasattr(origin, "__get_pydantic_core_schema__") and not is_file(origin))
    ):
        return True
    return typing.get_origin(kind) is not Literal and any(
        is_pydantics(argument) for argument in typing.get_args(kind)
    )


# More are not listed; then the first items of each array are looked at by themselves.
_MOST_ERRORS: Final = 1000
_SAMPLES: Final = (101, 10, 1)
# Messages of the library that have a piece of the value.
_TELLING: Final = re.compile(r"[`'\"]")
_MISSING: Final = frozenset(
    {
        "missing",
        "missing_argument",
        "missing_keyword_only_argument",
        "missing_positional_only_argument",
    }
)
_UNKNOWN: Final = frozenset(
    {"extra_forbidden", "unexpected_keyword_argument", "unexpected_positional_argument"}
)
_TAGS: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})


class PydanticModel(Model):
    """A type that pydantic validates."""

    # NaN, Infinity and 1e999 are numbers to its parser.
    strict = False

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        import pydantic  # noqa: PLC0415 - the type has imported it

        try:
            adapter: Any = kind
            if not isinstance(kind, pydantic.TypeAdapter):
                adapter = pydantic.TypeAdapter(kind)
            if not getattr(adapter, "pydantic_complete", True):
                adapter.rebuild(raise_errors=True)
        except NameError as error:
            raise unreadable(kind, error) from error
        except pydantic.errors.PydanticUserError as error:
            raise TypeError(
                f"pydantic cannot validate into {name_of(kind)}: {error}"
            ) from error
        self._adapter = adapter
        self._refusal = pydantic.ValidationError
        peeled = peel(kind)[0]
        config = getattr(peeled, "model_config", None) or getattr(
            peeled, "__pydantic_config__", {}
        )
        self.extra: Literal["ignore", "forbid", "allow"] = (
            config.get("extra") or "ignore"
        )

    def members(self) -> Sequence[Member] | None:
        if self.kind is not self._adapter:
            return super().members()
        # Of an adapter, those of the class that it is made for, if it is one.
        schema: Any = self._adapter.core_schema
        named = {one.get("ref"): one for one in schema.get("definitions", ())}
        while isinstance(schema, dict) and "cls" not in schema:
            inner = schema.get("schema")
            schema = named.get(schema.get("schema_ref")) if inner is None else inner
        return None if schema is None else members_of(schema["cls"])

    def decode(self, text: bytes | str) -> Any:
        try:
            return self._adapter.validate_json(text)
        except self._refusal as error:
            # Its parser has read the text to the end before, unless that is the error.
            about_text = error.error_count() == 1 and _is_about_text(error.errors()[0])
            raise Undecided(None if about_text else error) from None
        except RecursionError:
            raise Undecided from None
        except Exception as error:  # noqa: BLE001 - whatever a validator raises
            raise failed(self.kind, error) from None

    def check(self, value: Any, refusal: Exception | None = None) -> Any:
        if refusal is not None:
            raise self._invalid(refusal, value)
        # As text: what is a date or a tuple in JSON is none in Python to a model that
        # is strict.
        try:
            text = json.dumps(value, default=_as_text)
        except _NotJSON:  # of MessagePack
            return self._validated(value, self._adapter.validate_python, value)
        except RecursionError as error:
            raise MalformedBody("JSON: nested too deeply") from error
        return self._validated(value, self._adapter.validate_json, text)

    def schema(self, template: str) -> tuple[dict[str, Any], dict[str, Any]]:
        schema = self._adapter.json_schema(
            ref_template=template.replace("{name}", "{model}")
        )
        named = schema.pop("$defs", {})
        prefix = template.partition("{name}")[0]
        # A model that refers to itself is one of the named ones.
        if set(schema) == {"$ref"} and (name := schema["$ref"].removeprefix(prefix)):
            return dict(named[name]), named
        return schema, named

    def fill(self, values: Mapping[str, Any], texts: Collection[str] = ()) -> Any:
        del texts  # lenient is what it is by default
        value = dict(values)
        return self._validated(
            value,
            lambda value: self._adapter.validate_python(value, strict=False),
            value,
        )

    def _validated(self, value: Any, call: Callable[[Any], Any], given: Any) -> Any:
        try:
            return call(given)
        except self._refusal as error:
            raise self._invalid(error, value) from None
        except RecursionError as error:
            raise MalformedBody("nested too deeply") from error
        except Exception as error:  # noqa: BLE001 - whatever a validator raises
            raise failed(self.kind, error) from None

    def _invalid(self, error: Any, value: Any) -> StreamError:
        faults = Faults()
        count = error.error_count()
        sampled = False
        if count > _MOST_ERRORS:
            # A list of all of them would take a kilobyte for two bytes of the body.
            error = self._sample(value)
            if error is None:
                faults.add(None, f"{count} faults")
                return faults.error()
            sampled = True
        try:
            for one in error.errors():
                if _is_about_text(one):
                    # The text was written here: its parser takes 200 levels.
                    return MalformedBody("JSON: nested too deeply")
                if sampled and one["type"] == "too_short":
                    continue
                place = _pydantic_place(one, value)
                reason = (one.get("ctx") or {}).get("error")
                if isinstance(reason, InvalidContent):
                    faults.add_all(place, reason)
                else:
                    faults.add(place, _pydantic_detail(one))
            if sampled:
                faults.end()
        except Enough:
            pass
        return faults.error()

    def _sample(self, value: Any) -> Any:
        """Find what is wrong with the first items of each array, if not too much."""
        for most in _SAMPLES:
            text = json.dumps(_thinned(value, most), default=_as_text)
            try:
                self._adapter.validate_json(text)
            except self._refusal as error:
                if error.error_count() <= _MOST_ERRORS:
                    return error
        return None


class _NotJSON(Exception):
    """A value has bytes in it."""


def _as_text(value: Any) -> str:
    """Return a ``Decimal`` that another parser has made, or a date of MessagePack."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise _NotJSON
    return str(value)


def _thinned(value: Any, most: int) -> Any:
    """Return a value with the first items of its arrays."""
    if isinstance(value, dict):
        return {key: _thinned(part, most) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_thinned(part, most) for part in value[:most]]
    return value


def _is_about_text(error: Mapping[str, Any]) -> bool:
    return error["type"] == "json_invalid" and not error["loc"]


def _pydantic_detail(error: Mapping[str, Any]) -> str:
    kind, message = error["type"], str(error["msg"])
    context: Mapping[str, Any] = error.get("ctx") or {}
    if kind in _MISSING or kind == "union_tag_not_found":
        return REQUIRED
    if kind in _UNKNOWN:
        return NO_SUCH_MEMBER
    if kind == "union_tag_invalid":
        return f"Input should be one of {context['expected_tags']}"
    if kind == "timezone_offset":
        return f"Timezone offset of {context['tz_expected']} required"
    reason = context.get("error")
    if isinstance(reason, Exception):  # of the application
        return told(str(reason), error["input"])
    if isinstance(reason, str) and _TELLING.search(reason):
        message = message.replace(reason, "").rstrip(" ,:")
    # The library's own have a page in its documentation.
    return message if "url" in error else told(message, error["input"])


def _pydantic_place(error: Mapping[str, Any], value: Any) -> Place:
    """Return where in the value an error is.

    pydantic names the types of unions, validators and keys between the members, by
    words that may be names of members as well.
    """
    path: tuple[str | int, ...] = tuple(error["loc"])
    last: tuple[str | int, ...] = ()
    if error["type"] in _MISSING:
        path, last = path[:-1], path[-1:]
    elif error["type"] in _TAGS:
        name = str(error["ctx"]["discriminator"])
        last = (name[1:-1],) if name[:1] == "'" == name[-1:] else ()
    places: list[tuple[Place, Any]] = [(None, value)]
    for key in path:
        further = []
        for place, node in places:
            if isinstance(node, dict) and key in node:
                further.append(((place, key), node[key]))
                further.append((place, node))
            elif isinstance(node, (list, tuple)) and isinstance(key, int):
                inside = 0 <= key < len(node)
                further.append(((place, key), node[key] if inside else None))
            else:
                further.append((place, node))
        places = further[:32]
    given = error["input"]
    place = next((place for place, node in places if _alike(node, given)), places[0][0])
    for key in last:
        place = (place, key)
    return place


def _alike(node: Any, given: Any) -> bool:
    """Return whether both may be one value; the parser has made it twice."""
    if node is given:
        return True
    if isinstance(node, (dict, list)):
        return type(node) is type(given) and len(node) == len(given)
    return type(node) is type(given) and bool(node == given)
