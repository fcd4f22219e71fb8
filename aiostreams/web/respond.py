"""Values to responses: ``respond``, and what a handler returns."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import hdrs, web

from aiostreams.content.base import Content
from aiostreams.content.registry import registered_types
from aiostreams.sansio.disposition import content_disposition
from aiostreams.sansio.negotiation import choose_type
from aiostreams.streams.base import Stream
from aiostreams.web.digests import check_algorithms
from aiostreams.web.errors import not_acceptable
from aiostreams.web.response import BodyResponse, MemoryResponse, make_response
from aiostreams.web.response_headers import given_validators
from aiostreams.web.state import body_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from aiohttp import ETag

__all__ = ["negotiate", "respond", "response_of"]


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
            f"the digest stands before the body, and {response.stream!r} can be "
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
            raise not_acceptable(f"what there is: {names}", request, vary)
        try:
            return respond(offers.pop(chosen), headers=vary)
        except (TypeError, ValueError) as error:
            failure = failure or error  # a value that it has nothing for
    raise failure or TypeError(f"no content can be made of {type(value).__name__}")


def _offered(classes: Sequence[type[Content]]) -> list[tuple[str, type[Content]]]:
    if not classes:
        every = registered_types()
        return [pair for pair in every.items() if pair[0] not in _ASKED_FOR]
    found = []
    for known in classes:
        names = [name for name, one in registered_types().items() if one is known]
        if not names:
            raise TypeError(f"{known.__name__} is not registered: register_content")
        found.append((names[0], known))
    return found
