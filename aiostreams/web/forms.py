"""``read_form``: a form read whole, whichever of the two ways a browser sent it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from aiostreams.content.file import File
from aiostreams.content.form import Form
from aiostreams.content.formreader import WHOLE, parse_form_parts, read_form_parts
from aiostreams.content.multipart import MultiPart
from aiostreams.content.text import Text
from aiostreams.errors import UnsupportedContent
from aiostreams.streams.memory import ByteStream
from aiostreams.uploads.formmodel import bind, json_fields
from aiostreams.web.arrived import take_arrived
from aiostreams.web.body import body_of

if TYPE_CHECKING:
    from aiohttp import web

    from aiostreams.limits import Limits
    from aiostreams.web.body import RequestBody

__all__ = ["read_form"]

T = TypeVar("T")

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
    unknown: Literal["ignore", "refuse"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
) -> T: ...
async def read_form(
    request: web.BaseRequest,
    model: type[Any] | None = None,
    *,
    limits: Limits | None = None,
    unknown: Literal["ignore", "refuse"] = "ignore",
    duplicates: Literal["first", "last", "refuse"] = "last",
) -> Any:
    """The form in the body: its fields in ``.form``, its files in ``.files``.

        form = await read_form(request)
        note, photo = form.form["note"], form.files.get("photo")

    Files are kept in memory together up to ``max_memory``, beyond that in one
    temporary file, until the end of the request; without the middleware until
    ``close()``. A file input that was left empty is no file. The form is remembered:
    another call gives the same one.

    Args:
        request: whose body; ``multipart/form-data`` or urlencoded, where there are no
            files.
        model: a dataclass or ``msgspec.Struct`` to make of the fields and files;
            members for files are of type :class:`File`.
        limits: ceilings in place of the route's.
        unknown: what becomes of fields that the model does not have.
        duplicates: which of several texts counts for a member that takes one.

    Raises:
        InvalidContent: the form does not make a ``model``; ``errors`` names each
            field with what is wrong.
        UnsupportedContent: the body is no form, or has text in a charset that nobody
            knows.
        MalformedBody: it breaks its syntax, or a field is not of its charset.
        LimitExceeded: it goes over a ceiling: ``max_parts``, ``max_field``,
            ``max_file``, the headers', or ``max_memory`` for all fields together.
        StreamError: as raised by the stream.
    """
    form = await _read_form(request, limits)
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


async def _read_form(request: web.BaseRequest, limits: Limits | None) -> MultiPart:
    body = body_of(request)
    if body.form is not None:
        return body.form
    limits = limits or body.limits
    content_type = request.headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == _MULTIPART:
        form = await _multipart(request, body, content_type, limits)
    elif media_type == _URLENCODED:
        form = MultiPart.of_form(await Form.decode(body.stream, limits=limits))
    else:
        raise UnsupportedContent(
            f"the body must be a form, not {media_type[:80] or 'of no type'!r}",
            accept=f"{_MULTIPART}, {_URLENCODED}",
        )
    body.form = form
    return form


async def _multipart(
    request: web.BaseRequest, body: RequestBody, content_type: str, limits: Limits
) -> MultiPart:
    tally = body.tally
    data = take_arrived(request, body, min(WHOLE, limits.max_memory))
    if data is None:
        stream = body.stream
    else:
        whole = parse_form_parts(data, content_type, limits)
        if whole is not None:
            if tally is not None:
                tally.divided(whole.count)
            return MultiPart.of_parts(whole)
        stream = ByteStream(data, content_type=content_type)
    opened = None if tally is None else tally.divided
    parts = await read_form_parts(stream, limits, opened=opened)
    form = MultiPart.of_parts(parts)
    if form.spooled:
        body.closing(form.close)
    return form
