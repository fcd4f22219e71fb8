"""Hints: what the members of a record are annotated with, as types.

Annotations are names until somebody asks: all of them from Python 3.14 on (PEP 649),
before it those of a module that postpones them (PEP 563). So a class can be made whose
annotations cannot be read, for a name that only type checkers import, and nobody knows
before the first request. Then it is said which class and which name. It is no mistake
in a request, and ``NameError`` alone names neither the class nor a way out.
"""

from __future__ import annotations

import typing
from typing import Any

__all__ = ["hints_of", "unreadable"]


def hints_of(record: Any) -> dict[str, Any]:
    """The types of a record's members by name, with what they are annotated with.

    Args:
        record: a dataclass, a TypedDict or a NamedTuple.

    Raises:
        TypeError: an annotation has a name that is not there.
    """
    try:
        return typing.get_type_hints(record, include_extras=True)
    except NameError as error:
        raise unreadable(record, error) from error


def unreadable(kind: Any, error: NameError) -> TypeError:
    """What to raise when the annotations of a type, or of one in it, have no meaning.

    Args:
        kind: the type.
        error: which name is missing.
    """
    return TypeError(
        f"an annotation of {kind!r} cannot be read: {error} "
        "(is it imported for type checkers only?)"
    )
