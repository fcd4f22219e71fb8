"""Values to responses: ``respond``, and what a handler returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from aiostreams.content.base import Content
from aiostreams.sansio.disposition import content_disposition
from aiostreams.streams.base import Stream
from aiostreams.web.digests import check_algorithms
from aiostreams.web.response import BodyResponse, MemoryResponse, make_response
from aiostreams.web.response_headers import given_validators
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from aiohttp import ETag

__all__ = ["respond", "response_of"]


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
    response = make_response(
        source,
        status=status,
        headers=headers,
        validators=(
            None
            if etag is None and last_modified is None
            else given_validators(etag, last_modified)
        ),
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


async def response_of(result: Any, request: web.Request) -> web.StreamResponse:
    """The response that a returned ``Content`` or ``Stream`` makes, with it open."""
    if isinstance(result, Content):
        result = make_response(result)
    elif isinstance(result, Stream):
        try:
            result = make_response(result)
        except BaseException:
            await result.abort()
            raise
    response: web.StreamResponse = result
    if type(response) is MemoryResponse:
        return response  # as most are; there is nothing to open
    if (
        isinstance(response, BodyResponse)
        and not response.at_hand
        and not response.prepared
    ):
        await response.open()
        body_of(request).hold(response)
        response.held = True
    return response
