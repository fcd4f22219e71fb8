"""Model: a type that bodies are validated into, compiled; and what is wrong with one.

Each library has a class of models of its own. All of them say all that is wrong at
once: a :class:`Faults` gathers it. Each fault is named by the JSON Pointer to the
client's value, and no message repeats what the client sent.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

from aiostreams.content.members import members_of, name_of
from aiostreams.errors import InvalidContent, StreamError, pointer_to

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiostreams.content.members import Member

__all__ = [
    "NO_SUCH_MEMBER",
    "REQUIRED",
    "WRONG",
    "Enough",
    "Faults",
    "Model",
    "Place",
    "Undecided",
    "failed",
    "told",
]

# A place in a value: ``None`` for all of it, or ``(place, key)``.
Place: TypeAlias = Any
WRONG: Final = object()
# What is said of one value; a body of wrong items could have 100,000.
_MOST_FAULTS: Final = 100
REQUIRED: Final = "required"
NO_SUCH_MEMBER: Final = "no such member"


class Undecided(Exception):
    """Text that a library has refused.

    Attributes:
        refusal: why, if it is about the value; ``None`` if it may be about the text.
    """

    def __init__(self, refusal: Exception | None = None) -> None:
        super().__init__()
        self.refusal = refusal


class Model(ABC):
    """A type, compiled.

    Attributes:
        kind: the type.
        strict: whether ``decode`` takes JSON by RFC 8259 and nothing more.
        extra: what becomes of members that the type does not have.
        opaque: whether its members are not known although it may have some.
    """

    strict: bool = True
    opaque: bool = False
    extra: Literal["ignore", "forbid", "allow"] = "ignore"

    def __init__(self, kind: Any) -> None:
        self.kind: Any = kind

    def decode(self, text: bytes | str) -> Any:
        """Make an object of JSON text in one step.

        Raises:
            Undecided: it has to be parsed, and then checked.
        """
        del text
        raise Undecided

    @abstractmethod
    def check(self, value: Any, refusal: Exception | None = None) -> Any:
        """Make an object of a value that JSON has.

        Args:
            value: the value.
            refusal: why ``decode`` did not.

        Raises:
            InvalidContent: it does not fit.
            MalformedBody: it is nested too deeply.
        """

    @abstractmethod
    def fill(self, values: Mapping[str, Any], texts: Collection[str] = ()) -> Any:
        """Make an object of the values of its members.

        Args:
            values: by key; files are objects of their class.
            texts: the keys whose scalars are texts.

        Raises:
            InvalidContent: one does not fit.
        """

    def schema(self, template: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the JSON Schema (2020-12), and the named ones that it refers to.

        Args:
            template: how it refers to one, with ``{name}`` in it.
        """
        del template
        return {}, {}  # everything: nobody knows better

    def member_schemas(
        self, template: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return the JSON Schemas of the members by key, but of files."""
        schema, named = self.schema(template)
        found: dict[str, dict[str, Any]] = schema.get("properties", {})
        return found, named

    def members(self) -> Sequence[Member] | None:
        """Return the type's members; ``None`` if it has none, or they are unknown."""
        return members_of(self.kind)


class Enough(Exception):
    """No more faults are said."""


class Faults:
    """What is wrong with a value, and where."""

    def __init__(self) -> None:
        # In order, each once.
        self._found: dict[tuple[str, str], None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, place: Place, detail: str) -> Any:
        self._add(pointer_to(_path(place)), detail)
        return WRONG

    def add_all(self, place: Place, error: InvalidContent) -> Any:
        for pointer, detail in error.within(*_path(place)).errors:
            self._add(pointer, detail)
        return WRONG

    def _add(self, pointer: str, detail: str) -> None:
        if len(self._found) == _MOST_FAULTS:
            self.end()
        self._found[pointer, detail] = None

    def end(self) -> NoReturn:
        """Say that there are more, and take no more."""
        self._found["#", f"and more than these {len(self._found)} faults"] = None
        raise Enough

    def error(self) -> InvalidContent:
        return InvalidContent(errors=self._found)


def _path(place: Place) -> list[str | int]:
    path = []
    while place is not None:
        place, key = place
        path.append(key)
    path.reverse()
    return path


_REFUSED: Final = "the value is refused"
_MOST_LEAVES: Final = 10_000
_WINDOW: Final = 12


def told(detail: str, value: Any) -> str:
    """Return an application's message, unless it repeats some of the client's value.

    What is too short to be told from the message's own words may stand in it.
    """
    text = detail.casefold()
    windows = {text[at : at + _WINDOW] for at in range(len(text) - _WINDOW + 1)}
    waiting = [value]
    count = 0
    while waiting:
        leaf = waiting.pop()
        count += 1
        if isinstance(leaf, dict):
            waiting.extend(leaf.values())
            continue
        if isinstance(leaf, (list, tuple, set, frozenset)):
            waiting.extend(leaf)
            continue
        least = 3 if isinstance(leaf, str) else 4
        raw = str(leaf).casefold()
        if count > _MOST_LEAVES:
            return _REFUSED
        for shown in {raw, raw.strip(), repr(raw)[1:-1], ascii(raw)[1:-1]}:
            if least <= len(shown) <= len(text) and shown in text:
                return _REFUSED
            if len(shown) > _WINDOW and any(one in shown[:65536] for one in windows):
                return _REFUSED
    return detail


class _ValidatorFailed(RuntimeError):
    """A validator has raised something of its own."""


def failed(kind: Any, error: Exception) -> Exception:
    """Make the error where a validator raises something of its own.

    That may have the client's value in its message, so its class stands for it, and
    where it was raised.
    """
    # An answer, such as aiohttp's HTTPException, is meant for the client.
    if isinstance(error, (StreamError, _ValidatorFailed)) or hasattr(error, "status"):
        return error
    failed = _ValidatorFailed(
        f"validating into {name_of(kind)} raised {type(error).__name__}"
    )
    failed.add_note("".join(traceback.format_tb(error.__traceback__)).rstrip())
    return failed
