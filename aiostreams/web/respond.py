"""Values to responses: ``respond``, and what a handler returns."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

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
    etag: str | ETag | Literal[False] | None = None,
    last_modified: float | dt.datetime | str | None = None,
    digest: str | Iterable[str] = (),
    cache: str | float | Literal[False] | None = None,
) -> web.StreamResponse:
    """Make a response whose body is ``source``, for when there is more to say.

    A body of known size has a Content-Length, another one is chunked. With status
    200, a source that can seek answers conditions and ranges (RFC 9110 sections 13
    and 14). A source that fails midway breaks the connection.

    Args:
        source: the body. A Content is encoded here and now.
        status: the status code.
        headers: more header fields; they win over what is set from the source.
        filename: the name to save it under; makes it an attachment.
        disposition: ``"inline"`` or ``"attachment"`` (RFC 6266).
        etag: the entity tag, unquoted, or an ``aiohttp.ETag``; strong. ``False``: none,
            where one would be made of a JSON or Text, or known to the source.
        last_modified: POSIX seconds, a ``datetime``, or an HTTP date.
        digest: send ``Content-Digest`` and ``Repr-Digest`` (RFC 9530) by these
            algorithms: ``sha-256``, ``sha-512``. The source is read once more for
            each of the two that differ, and a file is not compressed on its way.
        cache: for how many seconds it may be kept (``max-age``); or ``Cache-Control``
            in full, as ``"public, max-age=3600, immutable"``; ``False``: not at all
            (``no-store``). See RFC 9111 section 5.2.2.

    Raises:
        ValueError: a header, name, tag, algorithm or time cannot be sent, a digest is
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
            if (etag is None or etag is False) and last_modified is None
            else given_validators(etag or None, last_modified)
        ),
        digest=algorithms,
    )
    if etag is False:
        response.untagged = True
    if cache is not None:
        response.headers[hdrs.CACHE_CONTROL] = _cache_control(cache)
    if algorithms and not response.stream.seekable:
        raise ValueError(
            f"the digest is sent before the body, but {response.stream!r} can be "
            "read only once"
        )
    if filename is not None or disposition is not None:
        response.headers[hdrs.CONTENT_DISPOSITION] = content_disposition(
            disposition or "attachment", filename
        )
    return response


def _cache_control(cache: str | float | Literal[False]) -> str:
    if isinstance(cache, str):
        if not cache.isprintable():
            raise ValueError(f"Cache-Control: {cache!r} cannot be sent")
        return cache
    if cache is False:
        return "no-store"
    if cache is True or not (isfinite(cache) and cache >= 0):
        raise ValueError(f"cache is {cache!r}; expected seconds, a text, or False")
    return f"max-age={int(cache)}"


async def response_of(result: Any, request: web.Request) -> web.StreamResponse:
    """Make the response to a returned ``Content`` or ``Stream``, with it open."""
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
    if isinstance(response, BodyResponse) and not (
        response.at_hand or response.held or response.prepared
    ):
        await response.open()
        body_of(request).hold(response)
        response.held = True
    return response
