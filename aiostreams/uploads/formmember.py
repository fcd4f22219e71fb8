"""The members of a form model: each reads the texts or the files of its own field.

A member returns a value, ``DEFAULT`` when the model's default stands, or ``WRONG``
after it has said what is wrong. What a client sent is never part of that: fields are
named as the model names them, values not at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from aiostreams.content.node import WRONG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiostreams.uploads.rules import FileRule

__all__ = ["DEFAULT", "Duplicates", "FileMember", "Member", "ValueMember", "Wrong"]

Duplicates: TypeAlias = Literal["first", "last", "refuse"]

DEFAULT: Final = object()
# What is said of the items of one field; a body of wrong items could have 1,000.
_MOST_ERRORS: Final = 5
_SPACE: Final = " \t\n\f\r"
# What one message may take; an application's own may repeat a value.
_LONGEST: Final = 400


@dataclass(slots=True)
class Wrong:
    """What is wrong with a form: field names with messages, in order."""

    errors: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, message: str) -> Any:
        if not message.isprintable():
            message = message.encode("unicode_escape").decode()
        if len(message) > _LONGEST:
            message = message[: _LONGEST - 3] + "..."
        self.errors.append((name, message))
        return WRONG


@dataclass(frozen=True, slots=True)
class Member(ABC):
    """One member of a model.

    Attributes:
        attribute: what the model calls it.
        name: the form's field.
        required: whether the model has no default for it.
        nullable: whether ``None`` stands for nothing.
    """

    attribute: str
    name: str
    required: bool
    nullable: bool

    @abstractmethod
    def read(
        self,
        texts: Sequence[str],
        files: Sequence[Any],
        duplicates: Duplicates,
        wrong: Wrong,
    ) -> Any:
        """What the member is, given all that its field has."""

    def nothing(self) -> Any:
        """What stands for a field without content; ``WRONG`` if nothing does."""
        if not self.required:
            return DEFAULT
        return None if self.nullable else WRONG


@dataclass(frozen=True, slots=True)
class ValueMember(Member):
    """A member of text, or of JSON.

    Attributes:
        readers: how a text is read, or each of a fixed number of them; ``ValueError``
            says what is wrong.
        empty: whether ``""`` is a value.
        unticked: what a required member is when its field is not there, or ``WRONG``.
        make: makes the collection of a member with several values; ``None`` when it
            has one.
        whole: reads one text as the whole collection, where an array of JSON may
            stand for it.
        check: holds the value of a collection to its constraints.
        is_json: whether the texts are JSON.
    """

    readers: tuple[Callable[[str], Any], ...]
    empty: bool = False
    unticked: Any = WRONG
    make: Callable[[list[Any]], Any] | None = None
    whole: Callable[[str], Any] | None = None
    fixed: bool = False
    check: Callable[[Any], Any] | None = None
    is_json: bool = False

    def read(
        self,
        texts: Sequence[str],
        files: Sequence[Any],
        duplicates: Duplicates,
        wrong: Wrong,
    ) -> Any:
        if files:
            return wrong.add(self.name, "expected text, got a file")
        if self.is_json:
            # A byte order mark is no part of JSON (RFC 8259 section 8.1).
            texts = [text.removeprefix("\ufeff") for text in texts]
        if self.make is not None:
            filled = [text for text in texts if self.empty or text.strip(_SPACE)]
            return self._many(self.make, filled, wrong)
        if len(texts) > 1 and duplicates == "refuse":
            return wrong.add(self.name, f"expected once, got {len(texts)} times")
        text = "" if not texts else texts[0 if duplicates == "first" else -1]
        if not texts or not (self.empty or text.strip(_SPACE)):
            made = self.nothing()
            if made is WRONG:
                made = self.unticked
            return wrong.add(self.name, "required") if made is WRONG else made
        try:
            return self.readers[0](text)
        except ValueError as error:
            return wrong.add(self.name, str(error))

    def _many(
        self, make: Callable[[list[Any]], Any], texts: list[str], wrong: Wrong
    ) -> Any:
        if not texts and (made := self.nothing()) is not WRONG:
            return made
        try:
            if self.whole and len(texts) == 1 and texts[0].lstrip().startswith("["):
                value = self.whole(texts[0])
            else:
                items = self._items(texts, wrong)
                if items is None:
                    return WRONG
                value = make(items)
            return value if self.check is None else self.check(value)
        except ValueError as error:
            return wrong.add(self.name, str(error))
        except TypeError:  # an object of JSON, in a set
            return wrong.add(self.name, "an item cannot be in a set")

    def _items(self, texts: list[str], wrong: Wrong) -> list[Any] | None:
        readers: Sequence[Callable[[str], Any]] = self.readers
        if not self.fixed:
            readers = self.readers * len(texts)
        elif len(texts) != len(readers):
            count = len(readers)
            wrong.add(self.name, f"expected {count} values, got {len(texts)}")
            return None
        items = []
        errors = 0
        for index, (read, text) in enumerate(zip(readers, texts, strict=True), 1):
            try:
                items.append(read(text))
            except ValueError as error:
                errors += 1
                if errors > _MOST_ERRORS:
                    wrong.add(self.name, "and more")
                    break
                wrong.add(self.name, f"value {index}: {error}")
        return None if errors else items


@dataclass(frozen=True, slots=True)
class FileMember(Member):
    """A member of files.

    Attributes:
        rule: what is asked of them; the counts follow from the type.
        make: makes the collection of a member with several; ``None`` for one file.
    """

    rule: FileRule
    make: Callable[[list[Any]], Any] | None = None

    def read(
        self,
        texts: Sequence[str],
        files: Sequence[Any],
        duplicates: Duplicates,
        wrong: Wrong,
    ) -> Any:
        del duplicates  # one file too many is never dropped in silence
        if any(texts):  # an urlencoded form has an empty text for an empty input
            return wrong.add(self.name, "expected a file, got text")
        if not files and (made := self.nothing()) is not WRONG:
            return made
        message = self.rule.miscount(len(files))
        if message is not None:
            return wrong.add(self.name, message)
        return files[0] if self.make is None else self.make(list(files))
