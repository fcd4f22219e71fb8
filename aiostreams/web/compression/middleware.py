"""Response compression: who has it, and aiohttp's own responses encoded.

``compression_middleware`` says that the response to a request is to be compressed, and
how. A ``BodyResponse`` then does it by itself, when it is prepared: only then it is
known whether a whole representation is sent, and what signals have made of it. So that
they see plain bytes of aiohttp's own ``web.Response`` and errors as well, these are
encoded when their header section is about to be written.

A file of its own: it applies what ``config`` says.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from aiohttp import HttpVersion11, Payload, hdrs, web

from aiostreams.codings.encoded import WHOLE, EncodedStream, encode_whole
from aiostreams.streams.memory import ByteStream
from aiostreams.web.compression.coding import (
    check_acceptable,
    choose,
    is_whole,
    may_refuse,
)
from aiostreams.web.compression.config import DEFAULT_COMPRESSION, Compression
from aiostreams.web.marks import mark, mark_of
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream, prompt
from aiostreams.web.respond import response_of
from aiostreams.web.response import BodyResponse
from aiostreams.web.response_headers import before_head, mark_encoded, match_variant
from aiostreams.web.state import body_of, compression_of, count_plain

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware
    from multidict import CIMultiDict

__all__ = [
    "compression_middleware",
    "encode_later",
    "is_uncompressed",
    "may_encode",
    "uncompressed",
]

_Handler = TypeVar("_Handler")
_OFF: Final = "__aiostreams_uncompressed__"
# The middleware of a sub-application has it encoded; the outer one leaves it at that.
_DECIDED: Final = web.ResponseKey("aiostreams.compression", bool)


def uncompressed(handler: _Handler) -> _Handler:
    """Send the responses of one handler as they are.

    Also for a class-based view, or one of its methods. Of a bound method or a partial,
    register what this returns.
    """
    return mark(handler, _OFF, value=True)


def is_uncompressed(request: web.Request) -> bool:
    """Return whether the handler of ``request`` opts out."""
    handler: Any = request.match_info.handler
    if mark_of(handler, _OFF):
        return True
    if not isinstance(handler, type):
        return False
    return bool(mark_of(getattr(handler, request.method.lower(), None), _OFF))


def compression_middleware(
    compression: Compression = DEFAULT_COMPRESSION,
) -> Middleware:
    """Compress responses as :class:`Compression` says (RFC 9110 section 12.5.3).

    Other middlewares, and what ``on_response_prepare`` calls, see plain bodies. Left
    alone are 206, 204 and 304, a ``StreamResponse`` written by hand, one that asked
    aiohttp to compress it, and what says something about its bytes: a coding, a range,
    a digest, ``no-transform``. Events stay live. What is compressed, or would have
    been, has ``Vary: Accept-Encoding``; a strong entity tag becomes a weak one.

    BREACH: where a response has a secret and something its reader can choose, the
    length of the compressed body tells about the secret: ``@uncompressed``.

    A client that refuses every coding, and the body as it is, gets a 406 when it asked
    to GET something. Responses to other methods, and errors, are sent uncompressed.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_uncompressed(request):
            body_of(request).compression = compression
        try:
            response = await handler(request)
            if not isinstance(cast("Any", response), web.StreamResponse):  # yet to be
                response = await response_of(response, request)
        except web.HTTPException as error:
            if may_encode(request, error):
                await encode_later(request, error)
            raise
        if may_encode(request, response):
            await encode_later(request, response)
        return response

    return middleware


def may_encode(request: web.Request, response: web.StreamResponse) -> bool:
    """Return whether :func:`encode_later` decides about ``response``.

    It is not to that of a usual small answer, or what encodes itself.
    """
    compression = compression_of(request)
    if compression is None or response.prepared:
        return False
    if type(response) is not web.Response and (
        not isinstance(response, web.Response) or isinstance(response, BodyResponse)
    ):
        return False
    # A KeyError takes ten times as long as to see that there is nothing.
    if response.compression or (len(response) and response.get(_DECIDED, False)):
        return False
    body = response.body
    if response.status == 304 or (body is not None and type(body) is not bytes):
        return True
    if body is None:
        return False
    return len(body) >= compression.minimum_size or may_refuse(request)


async def encode_later(request: web.Request, response: web.StreamResponse) -> None:
    """Arrange for a response of aiohttp's own to be encoded when it is sent.

    Raises:
        web.HTTPNotAcceptable: nothing that there is can be sent.
    """
    compression = compression_of(request)
    assert compression is not None
    assert isinstance(response, web.Response)
    body = response.body
    response[_DECIDED] = True
    if response.status == 304:
        before_head(request, functools.partial(_match, request, response))
        return
    assert body is not None
    if type(body) is not bytes and isinstance(body, Payload):
        size = body.size
    else:
        size = len(body)
    headers = response.headers
    try:
        check_acceptable(request, response, size, compression)
        coding = choose(
            request,
            response,
            size,
            compression,
            static=hdrs.ETAG in headers or hdrs.LAST_MODIFIED in headers,
        )
    except BaseException:
        if isinstance(body, Payload):
            await body.close()
        raise
    if coding is not None:
        before_head(request, functools.partial(_encode, request, response, *coding))


async def _match(
    request: web.Request, response: web.Response, fields: CIMultiDict[str]
) -> None:
    if response.headers is fields:
        match_variant(request, fields)


async def _encode(
    request: web.Request,
    response: web.Response,
    coding: str,
    level: int | None,
    fields: CIMultiDict[str],
) -> None:
    """Encode the body of one of aiohttp's own responses, if it is the one that is sent.

    Its fields and the writer are those of the plain body by now.
    """
    headers, body, writer = response.headers, response.body, request.writer
    if headers is not fields or not body or not is_whole(response.status, headers):
        return
    mark_encoded(headers, coding)
    if request.method == "HEAD":
        # The length of the encoded body is not known, and another would be wrong.
        return
    if isinstance(body, (bytes, bytearray)) and len(body) <= WHOLE:
        count_plain(request, len(body))
        encoded = await encode_whole(bytes(body), coding, level)
        response.body = encoded
        if not response.chunked:
            writer.length = len(encoded)
            headers[hdrs.CONTENT_LENGTH] = str(len(encoded))
        return
    if isinstance(body, StreamPayload):
        stream = prompt(body.stream)
    elif isinstance(body, Payload):
        stream = PayloadStream(body)
    else:
        stream = ByteStream(body)
    count_plain(request, stream)
    encoding = EncodedStream(stream, coding, level=level)
    if isinstance(body, StreamPayload):
        body.stream = encoding
    else:
        response.body = StreamPayload(encoding)
    writer.length = None
    if request.version >= HttpVersion11:
        writer.enable_chunking()
        headers[hdrs.TRANSFER_ENCODING] = "chunked"
    else:
        headers.popall(hdrs.CONNECTION, None)
        response.force_close()
