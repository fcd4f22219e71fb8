"""``read_form``: a form read whole, whichever of the two ways a browser sent it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from aiostreams.content.form import Form
from aiostreams.content.multipart import MultiPart
from aiostreams.errors import UnsupportedContent
from aiostreams.web.body import body_of

if TYPE_CHECKING:
    from aiostreams.limits import Limits

__all__ = ["read_form"]

_FORM: Final = web.RequestKey("aiostreams.form", MultiPart)
_MULTIPART: Final = "multipart/form-data"
_URLENCODED: Final = "application/x-www-form-urlencoded"


async def read_form(
    request: web.BaseRequest, *, limits: Limits | None = None
) -> MultiPart:
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
        limits: ceilings in place of the route's.

    Raises:
        UnsupportedContent: the body is no form, or has text in a charset that nobody
            knows.
        MalformedBody: it breaks its syntax, or a field is not of its charset.
        LimitExceeded: it goes over a ceiling: ``max_parts``, ``max_field``,
            ``max_file``, the headers', or ``max_memory`` for all fields together.
        StreamError: as raised by the stream.
    """
    known: MultiPart | None = request.get(_FORM)
    if known is not None:
        return known
    body = body_of(request)
    limits = limits or body.limits
    content_type = request.headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == _MULTIPART:
        form = await MultiPart.decode(body.stream, limits=limits)
        body.closing(form.close)
    elif media_type == _URLENCODED:
        form = MultiPart.of_form(await Form.decode(body.stream, limits=limits))
    else:
        raise UnsupportedContent(
            f"the body must be a form, not {media_type[:80] or 'of no type'!r}",
            accept=f"{_MULTIPART}, {_URLENCODED}",
        )
    request[_FORM] = form
    return form
