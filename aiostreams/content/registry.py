"""The registry of content types: which class a body of a media type is read as.

``register_content`` adds a class of one's own. The first type of a class is the one
that it is offered as; the others are read.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiostreams.content.base import Content
from aiostreams.content.csv import CSV
from aiostreams.content.json import JSON
from aiostreams.content.msgpack import MsgPack
from aiostreams.content.ndjson import NDJSON
from aiostreams.content.text import HTML, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["content_class", "register_content", "registered_types"]

C = TypeVar("C", bound=type[Content])

_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE: Final = re.compile(f"{_NAME}/{_NAME}")
_SUFFIX: Final = re.compile(rf"\+{_NAME}")
_types: dict[str, type[Content]] = {}
_suffixes: dict[str, type[Content]] = {}


def register_content(
    media_type: str, *more: str, suffix: str | None = None
) -> Callable[[C], C]:
    """Register a class for bodies of a media type, to read and to ``negotiate``.

        @register_content("text/x-mine", suffix="+mine")
        class Mine(Content): ...

    Args:
        media_type: without parameters; the class is offered as this.
        more: other names of the type, which are read as well.
        suffix: of other types that are read by it too, such as ``"+json"`` (RFC 6838
            section 4.2.8).

    Returns:
        A decorator, which returns the class.

    Raises:
        ValueError: a type or suffix is none.
        TypeError: what is decorated is no Content that can be read and made.
    """
    names = [name.lower() for name in (media_type, *more)]
    for name in names:
        if not _TYPE.fullmatch(name) or "*" in name:
            raise ValueError(f"{name!r} is not a media type")
    if suffix is not None and not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is not a suffix, expected one like '+json'")

    def register(cls: C) -> C:
        _check(cls)
        _types.update(dict.fromkeys(names, cls))
        if suffix is not None:
            _suffixes[suffix.lower()] = cls
        return cls

    return register


def _check(cls: Any) -> None:
    if not isinstance(cls, type) or not issubclass(cls, Content):
        raise TypeError(f"{cls!r} is not a class of Content")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise TypeError(f"{cls.__qualname__} lacks {missing}")
    decode = inspect.getattr_static(cls, "decode")
    if not isinstance(decode, classmethod):
        raise TypeError(f"{cls.__qualname__}.decode is not a classmethod")
    if not inspect.iscoroutinefunction(decode.__func__):
        raise TypeError(f"{cls.__qualname__}.decode is not a coroutine function")
    try:
        inspect.signature(decode.__func__).bind(cls, object(), limits=None)
    except TypeError as error:
        raise TypeError(
            f"{cls.__qualname__}.decode does not take (stream, *, limits): {error}"
        ) from None


def content_class(media_type: str) -> type[Content] | None:
    """Find the class that reads bodies of a media type; ``None`` if there is none."""
    found = _types.get(media_type)
    if found is None and "+" in media_type:
        found = _suffixes.get(media_type[media_type.rindex("+") :])
    return found


def registered_types(classes: Sequence[type[Content]] = ()) -> dict[str, type[Content]]:
    """Return the media types that are read, or that the classes read, in order."""
    if not classes:
        return dict(_types)
    return {
        name: known
        for name, known in _types.items()
        if issubclass(known, tuple(classes))
    }


register_content("application/json", suffix="+json")(JSON)
register_content(
    "application/x-ndjson",
    # Names that others have for it; none is registered.
    "application/jsonl",
    "application/ndjson",
    "application/x-jsonlines",
)(NDJSON)
register_content("text/plain")(Text)
register_content("text/html")(HTML)
register_content("text/csv")(CSV)
register_content(
    "application/vnd.msgpack", "application/msgpack", "application/x-msgpack"
)(MsgPack)
