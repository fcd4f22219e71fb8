"""Marks on handlers, for what a decorator says of one route.

A mark is an attribute of the handler. A bound method can have none of its own, and one
of its function would count for every other instance: it is wrapped. A partial shows
the marks of what it calls.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

__all__ = ["mark", "mark_of"]

H = TypeVar("H")


def mark(handler: H, name: str, value: object) -> H:
    """Mark ``handler``: a function, method or partial, or a view class.

    Returns:
        What to register: the handler itself, or a partial of a bound method.
    """
    marked: Any = handler
    try:
        setattr(marked, name, value)
    except AttributeError:
        marked = functools.update_wrapper(functools.partial(marked), marked)
        setattr(marked, name, value)
    return marked  # type: ignore[no-any-return] # called just as the handler


def mark_of(handler: object, name: str) -> Any:
    """Return the value of a mark, or ``None``."""
    while True:
        value = getattr(handler, name, None)
        if value is not None:
            return value
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif (inner := getattr(handler, "__wrapped__", None)) is not None:
            handler = inner  # may have been marked after it was wrapped
        else:
            return None
