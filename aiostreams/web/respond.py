"""Values to responses.

``respond``, and a value that a handler returns, become a ``BodyResponse``. It
decides late, in ``prepare``: then the request is known, the source is opened, and
``sansio.plan`` says which status, which bytes and which fields follow from them.

A source that can seek (see ``Stream.slice``) answers conditions and ranges; one that
cannot is sent whole. A file goes out by ``sendfile`` where that is possible. A whole
representation is sent in the content coding that the compression middleware chose.

A returned value that is a few bytes in memory: a plain ``web.Response``.

Most answers of an API are a few hundred bytes of JSON. They gain nothing from a
response that opens a source, evaluates conditions and writes a stream, and would pay
35 us for it, as much as aiohttp takes for the whole request. Where the request has a
condition or a range, or the bytes are many or not there yet, the answer is a stream,
and everything goes its usual way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from aiostreams.content.base import Content
from aiostreams.content.events import EventStream
from aiostreams.content.file import File
from aiostreams.limits import KiB
from aiostreams.sansio.disposition import content_disposition
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream
from aiostreams.web.digests import check_algorithms
from aiostreams.web.response import BodyResponse
from aiostreams.web.response_headers import given_validators, uncarriable
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from aiohttp import ETag

__all__ = ["respond", "respond_at_once", "response_of"]


def respond(
    source: Content | Stream,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    filename: str | None = None,
    disposition: str | None = None,
    etag: str | ETag | None = None,
    last_modified: float | dt.datetime | str | None = None,
    digest: str | Iterable[str] = (),
) -> web.StreamResponse:
    """A response whose body is ``source``, for when there is more to say.

    A body of known size has a Content-Length, another one is chunked. With status
    200, a source that can seek answers conditions and ranges (RFC 9110 sections 13
    and 14). A source that fails midway breaks the connection.

    Args:
        source: the body. A Content is encoded here and now.
        status: the status code.
        headers: more header fields; they win over what is set from the source.
        filename: the name to save it under; makes it an attachment.
        disposition: ``"inline"`` or ``"attachment"`` (RFC 6266).
        etag: the entity tag, unquoted, or an ``aiohttp.ETag``; strong.
        last_modified: POSIX seconds, a ``datetime``, or an HTTP date.
        digest: send ``Content-Digest`` and ``Repr-Digest`` (RFC 9530) by these
            algorithms: ``sha-256``, ``sha-512``. The source is read once more for
            each of the two that differ, and a file is not compressed on its way.

    Raises:
        ValueError: a header, name, tag or algorithm cannot be sent, a digest is
            wanted of a source that cannot be read twice, or ``source`` cannot be
            encoded.
    """
    algorithms = check_algorithms(digest)
    response = BodyResponse(
        source,
        status=status,
        headers=headers,
        validators=given_validators(etag, last_modified),
        digest=algorithms,
    )
    if algorithms and not response.stream.seekable:
        raise ValueError(
            f"the digest stands before the body, and {response.stream!r} can be "
            "read only once"
        )
    if filename is not None or disposition is not None:
        response.headers[hdrs.CONTENT_DISPOSITION] = content_disposition(
            disposition or "attachment", filename
        )
    return response


# More is sent in pieces of this size, each when there is room for it.
_FEW: Final = 256 * KiB
_CONDITIONS: Final = (
    hdrs.RANGE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
)


def respond_at_once(
    content: Content, request: web.BaseRequest
) -> web.Response | Stream | Content:
    """The response, or what is to be made a response in the usual way.

    Nothing is left to be closed with the response: the bytes belong to it.

    Raises:
        ValueError: ``content`` cannot be encoded.
    """
    if isinstance(content, (File, EventStream)):
        return content  # these have more to say than their bytes
    stream = content.encode()
    if type(stream) is not ByteStream or stream.position:
        return stream
    data = stream.getvalue()
    content_type = stream.content_type or "application/octet-stream"
    if len(data) > _FEW or uncarriable(content_type) or _says_more(stream):
        return stream
    headers = {hdrs.CONTENT_TYPE: content_type}
    if request.method in {"GET", "HEAD"}:
        asked = request.headers
        for name in _CONDITIONS:
            if name in asked:
                return stream
        headers[hdrs.ACCEPT_RANGES] = "bytes"
    return web.Response(body=data, headers=headers)


def _says_more(stream: ByteStream) -> bool:
    """Whether somebody gave it validators: see ``Stream.slice``."""
    said = vars(stream)
    return "etag" in said or "last_modified" in said


async def response_of(result: Any, request: web.Request) -> web.StreamResponse:
    """The response that a returned ``Content`` or ``Stream`` makes, with it open."""
    if isinstance(result, Content):
        result = respond_at_once(result, request)
    if isinstance(result, (Content, Stream)):
        try:
            result = respond(result)
        except BaseException:
            if isinstance(result, Stream):
                await result.abort()
            raise
    response: web.StreamResponse = result
    if isinstance(response, BodyResponse) and not response.prepared:
        await response.open()
        body_of(request).hold(response)
        response.held = True
    return response
