"""Request helpers: functions of the request that give its body, at once or in pieces.

All of them take any ``aiohttp.web.BaseRequest`` and share one :class:`RequestState`,
with or without the middleware. Without it the default limits hold, errors reach the
caller as ``StreamError``, and what was opened is the caller's to close.

``read_form``: a form read at once, whichever of the two ways a browser sent it in.

The parts of a multipart body, out of a request or any Stream.

A file of its own: it is what applications call.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from aiostreams.content.base import INLINE, offload, read_all
from aiostreams.content.file import File
from aiostreams.content.json import json_reader
from aiostreams.content.ndjson import NDJSON
from aiostreams.content.text import Text
from aiostreams.errors import UnsupportedContent
from aiostreams.multipart.form import Form
from aiostreams.multipart.multipart import MultiPart
from aiostreams.multipart.parts import PartReader
from aiostreams.multipart.whole import WHOLE, parse_form_parts, read_form_parts
from aiostreams.sansio.charsets import codec_of, decode_text
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.multipart import PartCount
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream
from aiostreams.uploads.formmodel import bind, json_fields
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from aiostreams.limits import Limits
    from aiostreams.multipart.part import Part
    from aiostreams.web.state import RequestState

__all__ = [
    "in_memory",
    "iter_ndjson",
    "iter_parts",
    "open_stream",
    "read_bytes",
    "read_form",
    "read_json",
    "read_text",
]

T = TypeVar("T")


def open_stream(request: web.BaseRequest) -> Stream:
    """Return the decoded, limited body; the same object at every call.

    Its content codings are undone (RFC 9110 section 8.4), its bytes counted against
    the limits of the route, and a client that is too slow is given up. What
    ``wrap_body`` puts around it is there. ``request.content``, and aiohttp's other
    calls, read the same. It is closed at the end of the request. Reading raises what
    is wrong with the body:
    ``MalformedBody``, ``LimitExceeded``, ``BodyTimeout`` or ``ClientGone``.

    Raises:
        LimitExceeded: Content-Length is above ``max_body``; nothing was read.
        LengthRequired: there is none, and the route requires one.
        UnsupportedContent: it has a content coding that is unknown here.
        MalformedBody: a digest field (RFC 9530) cannot be read, or it is a PUT with
            Content-Range and the route does not say ``@limit(partial_put=True)``.
        RuntimeError: another call has read the body, and its bytes are gone.
    """
    return body_of(request).stream


async def read_bytes(
    request: web.BaseRequest, *, limits: Limits | None = None
) -> bytes:
    """Read all of the body, at most ``max_memory`` bytes, and remember it.

    It can be had again, by this or any other helper, from its beginning and as often
    as wanted: a middleware that checks a signature and the handler can both have it.

    Args:
        request: whose body.
        limits: limits in place of the route's.

    Raises:
        LimitExceeded: the body is larger; when Content-Length says so, nothing is
            read.
        StreamError: as raised by the stream.
        RuntimeError: another call has read the body, and its bytes are gone.
    """
    return await _read_bytes(request, limits, "read_bytes()")


async def _read_bytes(
    request: web.BaseRequest, limits: Limits | None, call: str
) -> bytes:
    body = body_of(request)
    data = body.remembered
    if data is None:
        if limits is None:
            limits = body.limits
        data = body.take_arrived(call, limits.max_memory)
        if data is None:
            stream = body.source(call)
            whole = not stream.position
            data = await read_all(stream, limits)
            if whole:
                body.remember(data, stream)
    return data


async def in_memory(
    request: web.BaseRequest, limits: Limits | None, call: str
) -> ByteStream:
    """Read all of the body, for ``decode`` of a Content."""
    data = await _read_bytes(request, limits, call)
    return ByteStream(data, content_type=request.headers.get("Content-Type"))


async def read_text(request: web.BaseRequest, *, limits: Limits | None = None) -> str:
    """Read all of the body as text, by its Content-Type's ``charset``, else UTF-8.

    Raises:
        LimitExceeded: more than ``max_memory`` bytes.
        MalformedBody: it is not of its charset.
        UnsupportedContent: the charset is unknown.
        StreamError: as raised by the stream.
    """
    text = await Text.decode(
        await in_memory(request, limits, "read_text()"), limits=limits
    )
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
    """Read all of the body as a JSON value.

    Args:
        request: whose body.
        type: what the value has to be: a model of pydantic (extra ``pydantic``), a
            ``msgspec.Struct``, dataclass, attrs class, ``TypedDict`` or anything made
            of them (extra ``msgspec``).
        limits: limits in place of the route's.
        loads: parses in place of the built-in parser.
        content_type: what the request must have called it; ``None`` for anything,
            as in aiohttp's client. ``application/json`` lets ``*/*+json`` pass too,
            and a request without a Content-Type.

    Raises:
        UnsupportedContent: the request has another Content-Type.
        LimitExceeded: more than ``max_memory`` bytes.
        MalformedBody: it is not JSON.
        InvalidContent: it is not of ``type``; each fault is named by its JSON Pointer.
        ImportError: the extra that ``type`` needs is missing.
        TypeError: no validator supports ``type``.
        StreamError: as raised by the stream.
    """
    if content_type is not None:
        _expect(request, content_type)
    # What JSON.decode() does, without a stream over bytes that are at hand.
    read = json_reader(type, loads)
    codec = codec_of(request.headers.get("Content-Type"))
    data: bytes | str = await _read_bytes(request, limits, "read_json()")
    if codec == "utf-8" and len(data) <= INLINE:
        return read(data)
    if codec != "utf-8":
        data = await offload(partial(decode_text, codec=codec), data)
    return await offload(read, data)


def _expect(request: web.BaseRequest, expected: str) -> None:
    header = request.headers.get("Content-Type")
    if header is None:
        return
    media_type = media_type_of(header)
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
    """Read the values of a body of JSON lines, as they arrive.

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
        body.source("iter_ndjson()"),
        type=kind,
        limits=body.limits,
        max_line_length=max_line_length,
    )
    async for value in lines:
        yield value


_MULTIPART: Final = "multipart/form-data"
_URLENCODED: Final = "application/x-www-form-urlencoded"


@overload
async def read_form(
    request: web.BaseRequest, model: None = None, *, limits: Limits | None = None
) -> MultiPart: ...
@overload
async def read_form(
    request: web.BaseRequest,
    model: type[T],
    *,
    limits: Limits | None = None,
    unknown: Literal["ignore", "forbid"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
) -> T: ...
async def read_form(
    request: web.BaseRequest,
    model: type[Any] | None = None,
    *,
    limits: Limits | None = None,
    unknown: Literal["ignore", "forbid"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
) -> Any:
    """Read the form in the body: its fields in ``.form``, its files in ``.files``.

        form = await read_form(request)
        note, photo = form.form["note"], form.files.get("photo")

    Files are kept in memory together up to ``max_memory``, beyond that in one
    temporary file, until the end of the request; without the middleware until
    ``close()``. A file input that was left empty is no file. The form is remembered:
    another call gives the same one.

    Args:
        request: whose body; ``multipart/form-data`` or urlencoded, where there are no
            files.
        model: a model to make of the fields and files: of pydantic (extra
            ``pydantic``), a ``msgspec.Struct``, dataclass, attrs class or
            ``TypedDict`` (extra ``msgspec``). Members for files are of type
            :class:`File`.
        limits: limits in place of the route's.
        unknown: what becomes of fields that the model does not have, unless it says
            so itself.
        duplicates: which of several texts counts for a member that takes one.

    Raises:
        InvalidContent: the form does not make a ``model``; ``errors`` names each
            field (``#/name``) with what is wrong.
        ImportError: the extra that ``model`` needs is missing.
        TypeError: ``model`` has a type that no form can give.
        UnsupportedContent: the body is no form, or has text in a charset that nobody
            knows.
        MalformedBody: it breaks its syntax, or a field is not of its charset.
        LimitExceeded: it is over a limit: ``max_parts``, ``max_field``,
            ``max_file``, the headers', or ``max_memory`` for all fields together.
        StreamError: as raised by the stream.
    """
    body = body_of(request)
    form = body.form or _take_form(request, body, limits or body.limits)
    if form is None:
        form = body.form = await _read_form(request, body, limits or body.limits)
    if model is None:
        return form
    fields = list(form.form.items())
    files = list(form.files.items())
    texts = json_fields(model, file_type=File)
    ceilings = limits or body_of(request).limits
    for name, file in files:
        if name in texts:
            # A Blob of JSON, which browsers send with a filename.
            async with file as stream:
                text = await Text.decode(stream, limits=ceilings)
            fields.append((name, text.text))
    return bind(
        model,
        fields,
        [(name, file) for name, file in files if name not in texts],
        file_type=File,
        unknown=unknown,
        duplicates=duplicates,
    )


def _take_form(
    request: web.BaseRequest, body: RequestState, limits: Limits
) -> MultiPart | None:
    """Take the form, if it is an ordinary one that has arrived, without awaiting."""
    content_type = request.headers.get("Content-Type", "")
    if not content_type.startswith("multipart/form-data;"):
        return None
    data = body.take_arrived("read_form()", min(WHOLE, limits.max_memory))
    if data is None:
        return None
    parts = parse_form_parts(data, content_type, limits)
    if parts is None:
        return None
    _count(body, limits).add(parts.count)
    body.form = form = MultiPart.of_parts(parts)
    return form


async def _read_form(
    request: web.BaseRequest, body: RequestState, limits: Limits
) -> MultiPart:
    content_type = request.headers.get("Content-Type", "")
    media_type = media_type_of(content_type)
    if media_type == _URLENCODED:
        source = body.source("read_form()", record=True)
        return MultiPart.of_form(await Form.decode(source, limits=limits))
    if media_type != _MULTIPART:
        raise UnsupportedContent(
            f"the body must be a form, not {media_type[:80] or 'of no type'!r}",
            accept=f"{_MULTIPART}, {_URLENCODED}",
        )
    source = body.source("read_form()", record=True)
    parts = await read_form_parts(source, limits, count=_count(body, limits))
    form = MultiPart.of_parts(parts)
    if form.spooled:
        body.call_on_close(form.close)
    return form


def iter_parts(
    source: web.BaseRequest | Stream,
    content_type: str | None = None,
    *,
    limits: Limits | None = None,
    decode: bool | None = None,
) -> AsyncIterator[Part]:
    """Iterate over the parts of a multipart body while it arrives.

        async for part in iter_parts(request):
            if part.filename:
                await part.save(folder / part.safe_filename)

    A part is read before the next one is asked for; what is unread of it then is
    skipped. Leaving the loop early is fine. A part that is itself a multipart body,
    as a ``multipart/mixed``, is iterated by ``iter_parts(part)``.

    Args:
        source: a request, or any Stream: a part, the body of a client's response.
            A Stream is not closed.
        content_type: in place of the one that the source tells.
        limits: limits in place of the route's, of the outer part's, or of the
            defaults. The length of a request's body is held to the route's anyway.
        decode: whether a part's Content-Transfer-Encoding (base64,
            quoted-printable) and Content-Encoding are undone. Unless said, they are,
            but not in form-data: there its bytes are given as sent, as RFC 7578
            section 4.8 and most other readers have it.

    Raises:
        UnsupportedContent: the body is no multipart.
        MalformedBody: its boundary is missing or wrong, or it is inside of more than
            ``max_depth`` others; while iterating, it breaks its syntax.
        LimitExceeded: it is over a limit.
        StreamError: as raised by the stream.
    """
    if isinstance(source, Stream):
        return PartReader(source, content_type, limits=limits, decode=decode)
    body = body_of(source)
    limits = limits or body.limits
    return PartReader(
        body.source("iter_parts()"),
        source.headers.get("Content-Type") if content_type is None else content_type,
        limits=limits,
        decode=decode,
        count=_count(body, limits),
    )


def _count(body: RequestState, limits: Limits) -> PartCount:
    """Return what counts the parts of a body, for the statistics too."""
    count = PartCount(limits.max_parts)
    if body.tally is not None:
        body.tally.count_parts(count)
    return count
