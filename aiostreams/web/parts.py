"""The parts of a multipart body, out of a request or any Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiostreams.content.part import Part, open_parts
from aiostreams.errors import UnsupportedContent
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.streams.base import Stream
from aiostreams.streams.part import BodyPart
from aiostreams.web.body import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from aiostreams.limits import Limits

__all__ = ["iter_parts"]


def iter_parts(
    source: web.BaseRequest | Stream,
    content_type: str | None = None,
    *,
    limits: Limits | None = None,
    decode: bool | None = None,
    filename_extended: bool = False,
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
        limits: ceilings in place of the route's, of the outer part's, or of the
            defaults. The length of a request's body is held to the route's anyway.
        decode: whether a part's Content-Transfer-Encoding (base64,
            quoted-printable) and Content-Encoding are undone. Unless said, they are,
            but not in form-data: there its bytes are given as sent, as RFC 7578
            section 4.8 and most other readers have it.
        filename_extended: whether ``filename*`` gives the filename where there is no
            ``filename``. RFC 7578 section 4.2 forbids it, old clients send it.

    Raises:
        UnsupportedContent: the body is no multipart.
        MalformedBody: its boundary is missing or wrong, or it is inside of more than
            ``max_depth`` others; while iterating, it breaks its syntax.
        LimitExceeded: it goes over a ceiling.
        StreamError: as raised by the stream.
    """
    body = None
    if isinstance(source, Stream):
        stream = source
        found = source.content_type
        outer = source.limits if isinstance(source, BodyPart) else DEFAULT_LIMITS
    else:
        body = body_of(source)
        found = source.headers.get("Content-Type")
        outer = body.limits
        stream = body.source
    kind = found if content_type is None else content_type
    media_type = (kind or "").partition(";")[0].strip().lower()
    if not kind or not media_type.startswith("multipart/"):
        raise UnsupportedContent(
            f"the body must be multipart, not {media_type[:80] or 'of no type'!r}",
            accept="multipart/*",
        )
    reader = open_parts(
        stream, kind, limits or outer, decode=decode, extended=filename_extended
    )
    if body is not None and body.tally is not None:
        body.tally.divided(reader)
    return reader
