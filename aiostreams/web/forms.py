"""``read_form``: a form read whole, whichever of the two ways a browser sent it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from aiostreams.content.file import File
from aiostreams.content.form import Form
from aiostreams.content.formreader import WHOLE, parse_form_parts, read_form_parts
from aiostreams.content.multipart import MultiPart
from aiostreams.content.text import Text
from aiostreams.errors import UnsupportedContent
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
    request: web.BaseRequest, body: RequestBody, limits: Limits
) -> MultiPart | None:
    """The form, if it is an ordinary one that has arrived: then nothing is awaited."""
    content_type = request.headers.get("Content-Type", "")
    if not content_type.startswith("multipart/form-data;"):
        return None
    data = take_arrived(request, body, min(WHOLE, limits.max_memory))
    if data is None:
        return None
    parts = parse_form_parts(data, content_type, limits)
    if parts is None:
        body.remembered = data  # and so the stream's
        return None
    if body.tally is not None:
        body.tally.divided(parts.count)
    body.form = form = MultiPart.of_parts(parts)
    return form


async def _read_form(
    request: web.BaseRequest, body: RequestBody, limits: Limits
) -> MultiPart:
    content_type = request.headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == _URLENCODED:
        return MultiPart.of_form(await Form.decode(body.source, limits=limits))
    if media_type != _MULTIPART:
        raise UnsupportedContent(
            f"the body must be a form, not {media_type[:80] or 'of no type'!r}",
            accept=f"{_MULTIPART}, {_URLENCODED}",
        )
    opened = None if body.tally is None else body.tally.divided
    parts = await read_form_parts(body.source, limits, opened=opened)
    form = MultiPart.of_parts(parts)
    if form.spooled:
        body.closing(form.close)
    return form
