"""Errors to responses: the only place that knows ``HTTPException``.

A ``StreamError`` becomes the HTTPException of its status with a problem document
(RFC 9457), or plain text for a client that does not accept one. One log record is
written for each.
"""

from __future__ import annotations

import asyncio
import json
import logging
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import hdrs, web

from aiostreams.errors import (
    BodyTimeout,
    ClientGone,
    InvalidContent,
    LimitExceeded,
    StreamError,
    UnsupportedContent,
    as_pointer,
)
from aiostreams.sansio.negotiation import choose_type, merge_vary
from aiostreams.web.state import tally_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

__all__ = [
    "BrokenConnection",
    "Problem",
    "describe",
    "describe_failure",
    "ends_well",
    "error_response",
    "not_acceptable",
]

_logger = logging.getLogger("aiostreams.web")


class _Locked(web.HTTPClientError):
    status_code = 423


class _ChecksumMismatch(web.HTTPClientError):
    """tus's own status: no other software has a phrase for it."""

    status_code = 460

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(reason="Checksum Mismatch", **kwargs)


# What an error may say, also one that an application derives: each status with its
# exception and its phrase. The phrases are RFC 9110's (section 15; RFC 4918, 6585
# and 8470 for the newer ones): those of ``http.HTTPStatus`` change with Python.
_ANSWERS: Final[dict[int, tuple[type[web.HTTPException], str]]] = {
    400: (web.HTTPBadRequest, "Bad Request"),
    401: (web.HTTPUnauthorized, "Unauthorized"),
    402: (web.HTTPPaymentRequired, "Payment Required"),
    403: (web.HTTPForbidden, "Forbidden"),
    404: (web.HTTPNotFound, "Not Found"),
    406: (web.HTTPNotAcceptable, "Not Acceptable"),
    408: (web.HTTPRequestTimeout, "Request Timeout"),
    409: (web.HTTPConflict, "Conflict"),
    410: (web.HTTPGone, "Gone"),
    411: (web.HTTPLengthRequired, "Length Required"),
    412: (web.HTTPPreconditionFailed, "Precondition Failed"),
    413: (web.HTTPRequestEntityTooLarge, "Content Too Large"),
    415: (web.HTTPUnsupportedMediaType, "Unsupported Media Type"),
    416: (web.HTTPRequestRangeNotSatisfiable, "Range Not Satisfiable"),
    422: (web.HTTPUnprocessableEntity, "Unprocessable Content"),
    423: (_Locked, "Locked"),
    424: (web.HTTPFailedDependency, "Failed Dependency"),
    428: (web.HTTPPreconditionRequired, "Precondition Required"),
    429: (web.HTTPTooManyRequests, "Too Many Requests"),
    460: (_ChecksumMismatch, "Checksum Mismatch"),
    500: (web.HTTPInternalServerError, "Internal Server Error"),
    501: (web.HTTPNotImplemented, "Not Implemented"),
    502: (web.HTTPBadGateway, "Bad Gateway"),
    503: (web.HTTPServiceUnavailable, "Service Unavailable"),
    504: (web.HTTPGatewayTimeout, "Gateway Timeout"),
    507: (web.HTTPInsufficientStorage, "Insufficient Storage"),
}
# A client that takes JSON takes a problem document, which is JSON.
_OFFERS = ("application/problem+json", "application/json", "text/plain")
# What a message may take in a log line or a response: it can hold a name that the
# client chose.
_LONGEST = 400
# How long the rest of a body that came too slowly is read and dropped, in seconds.
_LINGER = 1.0


class BrokenConnection(web.Response):
    """Answers by closing the connection: nothing (more) can be said on it.

    aiohttp takes the ``ConnectionError`` for a client that has left, quietly. The
    status is nginx's for the access log.
    """

    def __init__(self) -> None:
        super().__init__(status=499, reason="Client Closed Request")

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Refuse to be sent."""
        del request
        raise ConnectionResetError("the body cannot be answered on this connection")


class Problem(NamedTuple):
    """A problem document (RFC 9457), or its plain text."""

    status: int
    headers: dict[str, str]
    text: str


def error_response(
    error: StreamError, request: web.BaseRequest
) -> web.HTTPException | BrokenConnection:
    """Make the answer to ``error``: an exception to raise, or a response to return."""
    if isinstance(error, ClientGone):
        _note(error, request, error.status)
        _logger.info("client gone: %s %s: %s", request.method, _path(request), error)
        return BrokenConnection()
    problem = describe(error, request)
    if request.writer.output_size > 0:
        return BrokenConnection()
    kind, _ = _ANSWERS[problem.status]
    if kind is web.HTTPRequestEntityTooLarge:  # the one that wants to know more
        exception: web.HTTPException = web.HTTPRequestEntityTooLarge(
            max_size=getattr(error, "limit", 0),
            actual_size=getattr(error, "seen", 0),
            headers=problem.headers,
        )
    else:
        exception = kind(headers=problem.headers)
    exception.text = problem.text
    if isinstance(error, BodyTimeout):
        exception.force_close()
        # aiohttp reads on for ten seconds, so that a client that is still sending
        # gets to read the answer. This one has had its time: one second will do. A
        # TimeoutError is how that reading ends by itself.
        asyncio.get_running_loop().call_later(
            _LINGER, request.content.set_exception, TimeoutError()
        )
    return exception


def describe(error: StreamError, request: web.BaseRequest) -> Problem:
    """Log ``error``, once, and say to the client what concerns it."""
    status = error.status if error.status in _ANSWERS else 500
    message = str(error)[:_LONGEST]
    _note(error, request, status)
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if error.retry_after is not None:
        headers[hdrs.RETRY_AFTER] = str(ceil(error.retry_after))
    if status >= 500 and not headers:
        # A fault of the application or its storage, and no business of the client.
        _logger.error(
            "body failed: %s %s: %s",
            request.method,
            _path(request),
            message,
            exc_info=error,
        )
        message = "the server could not read, store or send the body"
    else:
        _logger.info(
            "body refused: %d %s %s: %s",
            status,
            request.method,
            _path(request),
            message if error.logged is None else error.logged[:_LONGEST],
        )
    if isinstance(error, LimitExceeded):
        numbers = {"limit": error.limit, "seen": error.seen}
        extra = {name: value for name, value in numbers.items() if isfinite(value)}
    elif isinstance(error, InvalidContent) and error.errors:
        extra["errors"] = [
            {"pointer": as_pointer(pointer), "detail": text}
            for pointer, text in error.errors
        ]
    elif isinstance(error, UnsupportedContent):
        if error.accept is not None:
            headers[hdrs.ACCEPT] = error.accept
        if error.accept_encoding is not None:
            headers[hdrs.ACCEPT_ENCODING] = error.accept_encoding
    extra.update(error.members)
    return _problem(status, message, request, headers, extra)


def describe_failure(error: Exception, request: web.BaseRequest) -> Problem:
    """Log ``error``, which is a fault of the application, and say so to the client."""
    _note(error, request, 500)
    _logger.error(
        "body failed: %s %s: %s",
        request.method,
        _path(request),
        type(error).__name__,
        exc_info=error,
    )
    return _problem(500, "the server could not make the body", request, {}, {})


def not_acceptable(
    message: str, request: web.BaseRequest, headers: Mapping[str, str]
) -> web.HTTPNotAcceptable:
    """Make the error for a client that accepts nothing that can be made."""
    problem = _problem(406, message, request, headers, {})
    exception = web.HTTPNotAcceptable(headers=problem.headers)
    exception.text = problem.text
    return exception


def _problem(
    status: int,
    message: str,
    request: web.BaseRequest,
    headers: Mapping[str, str],
    extra: Mapping[str, Any],
) -> Problem:
    fields = {"X-Content-Type-Options": "nosniff", **headers}
    # A 404 may be cached, and the next client may not take JSON.
    fields[hdrs.VARY] = merge_vary(fields.get(hdrs.VARY), hdrs.ACCEPT)
    accepted = choose_type(request.headers.getall(hdrs.ACCEPT, ()), _OFFERS)
    if accepted is None or accepted == "text/plain":
        fields[hdrs.CONTENT_TYPE] = "text/plain; charset=utf-8"
        return Problem(status, fields, f"{status}: {message}")
    fields[hdrs.CONTENT_TYPE] = "application/problem+json; charset=utf-8"
    document = {
        "type": "about:blank",
        "title": _ANSWERS[status][1],
        "status": status,
        "detail": message,
        **extra,
    }
    return Problem(status, fields, json.dumps(document, separators=(",", ":")))


def ends_well(error: BaseException | None) -> bool:
    """Tell whether a block that is left by ``error`` has done its work.

    aiohttp's habit is to raise redirects, and other answers below 400.
    """
    if error is None:
        return True
    return isinstance(error, web.HTTPException) and error.status < 400


def _note(error: Exception, request: web.BaseRequest, status: int) -> None:
    tally = tally_of(request)
    if tally is not None:
        tally.answered = type(error), status


def _path(request: web.BaseRequest) -> str:
    return request.path[:200].encode("unicode_escape").decode()
