"""Contents by media type: what a body is read as, and a value is answered as.

``register_content`` adds a class of one's own to those of the package. The first type
of a class is the one that it is offered as by ``negotiate``; ``read_content`` reads the
others too.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import hdrs

from aiostreams.content.base import Content
from aiostreams.content.csv import CSV
from aiostreams.content.file import File
from aiostreams.content.json import JSON
from aiostreams.content.msgpack import MsgPack
from aiostreams.content.ndjson import NDJSON
from aiostreams.content.text import HTML, Text
from aiostreams.errors import UnsupportedContent
from aiostreams.multipart.form import Form
from aiostreams.multipart.multipart import MultiPart
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.negotiation import choose_type
from aiostreams.web.errors import not_acceptable
from aiostreams.web.request import in_memory, read_form
from aiostreams.web.respond import respond
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

__all__ = ["negotiate", "read_content", "register_content"]

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


def _class_of(media_type: str) -> type[Content] | None:
    """Find the class that reads bodies of a media type; ``None`` if there is none."""
    found = _types.get(media_type)
    if found is None and "+" in media_type:
        found = _suffixes.get(media_type[media_type.rindex("+") :])
    return found


def _registered(classes: Sequence[type[Content]] = ()) -> dict[str, type[Content]]:
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
register_content("application/x-www-form-urlencoded")(Form)
register_content("multipart/form-data")(MultiPart)


async def read_content(request: web.BaseRequest, *types: type[Content]) -> Content:
    """Read the body as the Content of its Content-Type.

    JSON (and ``*/*+json``), MessagePack, forms, multipart forms and text are parsed;
    NDJSON and CSV are parsed as they are iterated; what ``register_content`` was given
    is read by its class; anything else is a ``File`` over the stream.

    Args:
        request: whose body.
        types: the classes that are welcome; all unless given.

    Raises:
        UnsupportedContent: the Content-Type is of none of ``types``.
        TypeError: none of ``types`` is registered.
        StreamError: as raised by ``decode`` of the class, and by the stream.
    """
    header = request.headers.get("Content-Type") or "application/octet-stream"
    media_type = media_type_of(header)
    kind = _class_of(media_type) or File
    if types and not issubclass(kind, types):
        accept = ", ".join(_registered(types))
        if not accept:
            raise TypeError(f"{types[0].__name__} is not registered: register_content")
        raise UnsupportedContent(
            f"the body must be one of {accept}, not {media_type[:80]!r}", accept=accept
        )
    body = body_of(request)
    if kind is MultiPart:
        return await read_form(request)
    if kind.reads_stream:
        source = body.source("read_content()")
        return await kind.decode(source, limits=body.limits)
    stream = await in_memory(request, body.limits, "read_content()")
    return await kind.decode(stream, limits=body.limits)


# Not what a client should get of a value without being asked: markup that is not
# escaped, and what browsers send.
_ASKED_FOR: Final = frozenset(
    {"text/html", "application/x-www-form-urlencoded", "multipart/form-data"}
)


def negotiate(
    request: web.BaseRequest, value: Any, *classes: type[Content]
) -> web.StreamResponse:
    """Make a response with ``value`` as the content type that the client likes best.

        return negotiate(request, rows, JSON, CSV)

    Args:
        request: whose ``Accept`` counts (RFC 9110 section 12.5.1).
        value: what each class is made of, as its only argument.
        classes: what is offered, best first; every registered class that can be made
            of ``value`` unless given, but HTML and forms.

    Raises:
        HTTPNotAcceptable: the client accepts nothing of that; the answer names it.
        TypeError: no class can be made of ``value``, or one is not registered.
    """
    offers: dict[str, Content] = {}
    seen = set()
    for media_type, known in _offered(classes):
        if known in seen:
            continue
        seen.add(known)
        make: Any = known
        try:
            offers[media_type] = make(value)
        except (TypeError, ValueError):
            continue  # it cannot be made of this
    accept = request.headers.getall(hdrs.ACCEPT, ())
    vary: dict[str, str] = {hdrs.VARY: hdrs.ACCEPT}
    failure: Exception | None = None
    while offers:
        chosen = choose_type(accept, list(offers))
        if chosen is None:
            names = ", ".join(offers)
            raise not_acceptable(
                f"no acceptable media type; available: {names}", request, vary
            )
        try:
            return respond(offers.pop(chosen), headers=vary)
        except (TypeError, ValueError) as error:
            failure = failure or error  # a value that it has nothing for
    raise failure or TypeError(f"no content can be made of {type(value).__name__}")


def _offered(classes: Sequence[type[Content]]) -> list[tuple[str, type[Content]]]:
    if not classes:
        every = _registered()
        return [pair for pair in every.items() if pair[0] not in _ASKED_FOR]
    found = []
    for known in classes:
        names = [name for name, one in _registered().items() if one is known]
        if not names:
            raise TypeError(f"{known.__name__} is not registered: register_content")
        found.append((names[0], known))
    return found
