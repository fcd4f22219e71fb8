"""Request helpers: functions of the request that give its body, whole or in pieces.

All of them take any ``aiohttp.web.BaseRequest`` and share one :class:`RequestBody`,
with or without the middleware. Without it the default limits hold, errors reach the
caller as ``StreamError``, and what was opened is the caller's to close.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiostreams.content.base import INLINE, offload, read_all
from aiostreams.content.file import File
from aiostreams.content.form import Form
from aiostreams.content.json import JSON, json_reader
from aiostreams.content.multipart import MultiPart
from aiostreams.content.ndjson import NDJSON
from aiostreams.content.text import HTML, Text
from aiostreams.errors import UnsupportedContent
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.streams.memory import ByteStream
from aiostreams.web.arrived import take_arrived
from aiostreams.web.body import body_of
from aiostreams.web.forms import read_form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from aiostreams.content.base import Content
    from aiostreams.limits import Limits
    from aiostreams.streams.base import Stream

__all__ = [
    "iter_ndjson",
    "open_stream",
    "read_bytes",
    "read_content",
    "read_json",
    "read_text",
]

T = TypeVar("T")


def open_stream(request: web.BaseRequest) -> Stream:
    """The decoded, limited body; the same object at every call.

    Its content codings are undone (RFC 9110 section 8.4), its bytes counted against
    the ceilings of the route, and a client that is too slow is given up. It is closed
    at the end of the request. Reading raises what is wrong with the body:
    ``MalformedBody``, ``LimitExceeded``, ``BodyTimeout`` or ``ClientGone``.

    Raises:
        LimitExceeded: Content-Length is above ``max_body``; nothing was read.
        LengthRequired: there is none, and the route requires one.
        UnsupportedContent: it has a content coding that nobody here undoes.
        MalformedBody: a digest field (RFC 9530) cannot be read.
    """
    return body_of(request).stream


async def read_bytes(
    request: web.BaseRequest, *, limits: Limits | None = None
) -> bytes:
    """The whole body, at most ``max_memory`` bytes, and remembered.

    It can be had again, by this or any other helper, from its beginning and as often
    as wanted: a middleware that checks a signature and the handler can both have it.

    Args:
        request: whose body.
        limits: ceilings in place of the route's.

    Raises:
        LimitExceeded: the body is larger; when Content-Length says so, nothing is
            read.
        StreamError: as raised by the stream.
        RuntimeError: ``read_form`` has read the body before.
    """
    body = body_of(request)
    if body.remembered is None:
        if limits is None:
            limits = body.limits
        data = take_arrived(request, body, limits.max_memory)
        if data is None:
            stream = body.source
            whole = not stream.position
            data = await read_all(stream, limits)
            if not whole:
                return data
            # Also for those who take the stream.
            stream.unread(data)
        body.remembered = data
    return body.remembered


async def _in_memory(request: web.BaseRequest, limits: Limits | None) -> ByteStream:
    data = await read_bytes(request, limits=limits)
    return ByteStream(data, content_type=request.headers.get("Content-Type"))


async def read_text(request: web.BaseRequest, *, limits: Limits | None = None) -> str:
    """The whole body as text, by the ``charset`` of its Content-Type, else UTF-8.

    Raises:
        LimitExceeded: more than ``max_memory`` bytes.
        MalformedBody: it is not of its charset.
        UnsupportedContent: nobody knows the charset.
        StreamError: as raised by the stream.
    """
    text = await Text.decode(await _in_memory(request, limits), limits=limits)
    return str(text)


@overload
async def read_json(
    request: web.BaseRequest,
    *,
    type: type[T],
    limits: Limits | None = None,
    loads: Callable[[Any], Any] | None = None,
    content_type: str | None = "application/json",
) -> T: ...
@overload
async def read_json(
    request: web.BaseRequest,
    *,
    type: Any = None,
    limits: Limits | None = None,
    loads: Callable[[Any], Any] | None = None,
    content_type: str | None = "application/json",
) -> Any: ...
async def read_json(
    request: web.BaseRequest,
    *,
    type: Any = None,  # noqa: A002 - the contract's name
    limits: Limits | None = None,
    loads: Callable[[Any], Any] | None = None,
    content_type: str | None = "application/json",
) -> Any:
    """The whole body as a JSON value.

    Args:
        request: whose body.
        type: what the value has to be: a dataclass, TypedDict, ``msgspec.Struct``,
            or anything made of them.
        limits: ceilings in place of the route's.
        loads: parses in place of the built-in parser.
        content_type: what the request must have called it; ``None`` for anything,
            as in aiohttp's client. ``application/json`` lets ``*/*+json`` pass too,
            and a request without a Content-Type.

    Raises:
        UnsupportedContent: the request has another Content-Type.
        LimitExceeded: more than ``max_memory`` bytes.
        MalformedBody: it is not JSON.
        InvalidContent: it is not of ``type``; each error is named with its path.
        StreamError: as raised by the stream.
    """
    if content_type is not None:
        _expect(request, content_type)
    # What JSON.decode() does, without a stream over bytes that are at hand.
    read = json_reader(type, loads)
    codec = codec_of(request.headers.get("Content-Type"))
    data: bytes | str = await read_bytes(request, limits=limits)
    if codec == "utf-8" and len(data) <= INLINE:
        return read(data)
    if codec != "utf-8":
        data = await offload(partial(decode_text, codec=codec), data)
    return await offload(read, data)


def _expect(request: web.BaseRequest, expected: str) -> None:
    header = request.headers.get("Content-Type")
    if header is None:
        return
    media_type = header.partition(";")[0].strip().lower()
    if media_type == expected:
        return
    if media_type.endswith("+json") and expected == "application/json":
        return
    raise UnsupportedContent(
        f"the body must be {expected}, not {media_type[:80]!r}", accept=expected
    )


def iter_ndjson(
    request: web.BaseRequest,
    *,
    type: Any = None,  # noqa: A002 - the contract's name
    max_line_length: int | None = None,
    content_type: str | None = None,
) -> AsyncIterator[Any]:
    """The values of a body of JSON lines, as they arrive.

    Args:
        request: whose body.
        type: what each value has to be.
        max_line_length: bytes of one line; the route's ``max_memory`` unless given.
        content_type: what the request must have called it; anything unless given.

    Raises:
        UnsupportedContent: the request has another Content-Type.
        LimitExceeded: a line, or the body, is too long.
        MalformedBody: a line is not JSON; it is named by its number.
        InvalidContent: a value is not of ``type``.
        StreamError: as raised by the stream.
    """
    if content_type is not None:
        _expect(request, content_type)
    return _iter_ndjson(request, type, max_line_length)


async def _iter_ndjson(
    request: web.BaseRequest, kind: Any, max_line_length: int | None
) -> AsyncIterator[Any]:
    body = body_of(request)
    lines = await NDJSON.decode(
        body.source, type=kind, limits=body.limits, max_line_length=max_line_length
    )
    async for value in lines:
        yield value


_CONTENTS: dict[str, type[Content]] = {
    "application/json": JSON,
    "application/x-ndjson": NDJSON,
    # Names that others have for it; none is registered.
    "application/jsonl": NDJSON,
    "application/ndjson": NDJSON,
    "application/x-jsonlines": NDJSON,
    "application/x-www-form-urlencoded": Form,
    "multipart/form-data": MultiPart,
    "text/html": HTML,
    "text/plain": Text,
}


async def read_content(request: web.BaseRequest, *types: type[Content]) -> Content:
    """The body as the Content of its Content-Type.

    JSON (and ``*/*+json``), forms, multipart forms and text are parsed; NDJSON is
    parsed as it is iterated; anything else is a ``File`` over the stream.

    Args:
        request: whose body.
        types: the classes that are welcome; all unless given.

    Raises:
        UnsupportedContent: the Content-Type is of none of ``types``.
        StreamError: as raised by ``decode`` of the class, and by the stream.
    """
    header = request.headers.get("Content-Type") or "application/octet-stream"
    media_type = header.partition(";")[0].strip().lower()
    kind = _CONTENTS.get(media_type, File)
    if media_type.endswith("+json"):
        kind = JSON
    if types and not issubclass(kind, types):
        accept = ", ".join(
            name for name, known in _CONTENTS.items() if issubclass(known, types)
        )
        raise UnsupportedContent(
            f"the body must be one of {accept}, not {media_type[:80]!r}", accept=accept
        )
    body = body_of(request)
    if kind is MultiPart:
        return await read_form(request)
    if kind in {File, NDJSON}:
        return await kind.decode(body.source, limits=body.limits)
    stream = await _in_memory(request, body.limits)
    return await kind.decode(stream, limits=body.limits)
