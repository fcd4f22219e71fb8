"""Response compression: what to compress, in which coding, and how to say so.

``Compression`` is the configuration, ``compression_middleware`` applies it: to a
``BodyResponse`` when that prepares itself, since only then it is known whether a
whole representation is sent; to aiohttp's own ``web.Response`` and errors at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, cast

from aiohttp import Payload, hdrs, web

from aiostreams.codings.encoded import WHOLE, EncodedStream, encode_whole
from aiostreams.codings.registry import coding_aliases, supported_codings
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.negotiation import choose_coding, join_lines
from aiostreams.streams.memory import ByteStream
from aiostreams.web.compression.config import (
    DEFAULT_COMPRESSION,
    Candidate,
    Compression,
)
from aiostreams.web.compression.precompressed import open_precompressed
from aiostreams.web.errors import not_acceptable
from aiostreams.web.marks import mark, mark_of
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream, prompt
from aiostreams.web.respond import response_of
from aiostreams.web.response import BodyResponse
from aiostreams.web.response_headers import (
    OF_THE_BYTES,
    mark_encoded,
    match_variant,
    vary,
)
from aiostreams.web.state import count_plain

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware
    from multidict import CIMultiDict

__all__ = ["compression_middleware", "uncompressed"]

_Handler = TypeVar("_Handler")
_OFF: Final = "__aiostreams_uncompressed__"
# The middleware of a sub-application has decided; the outer one leaves it at that.
_DECIDED: Final = web.ResponseKey("aiostreams.compression", bool)


def uncompressed(handler: _Handler) -> _Handler:
    """Have the responses of one handler sent as they are.

    Also for a class-based view, or one of its methods. Of a bound method or a partial,
    register what this returns.
    """
    return mark(handler, _OFF, value=True)


def _is_uncompressed(request: web.Request) -> bool:
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

    It stands outermost, so that other middlewares see plain bodies. Left alone are
    206, 204 and 304, a ``StreamResponse`` written by hand, one that asked aiohttp to
    compress it, and what says something about its bytes: a coding, a range, a digest,
    ``no-transform``. Events stay live. What is compressed, or would have been, has
    ``Vary: Accept-Encoding``; a strong entity tag becomes a weak one.

    BREACH: where a response has a secret and something its reader can choose, the
    length of the compressed body tells about the secret: ``@uncompressed``.

    A client that refuses every coding, and the body as it is, gets a 406 when it asked
    to GET something. When a method has done its work, or failed, it is sent as it is.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
            if not isinstance(cast("Any", response), web.StreamResponse):  # yet to be
                response = await response_of(response, request)
        except web.HTTPException as error:
            if _is_concerned(error, compression, request):
                await _compress(compression, request, error)
            raise
        if _is_concerned(response, compression, request):
            await _compress(compression, request, response)
        return response

    return middleware


def _is_concerned(
    response: web.StreamResponse, compression: Compression, request: web.Request
) -> TypeGuard[web.Response]:
    """Whether there may be something to decide."""
    return not (
        not isinstance(response, web.Response)
        or _plainly_small(compression, request, response)
        or response.prepared
        or response.compression
        or response.get(_DECIDED, False)
        or _is_uncompressed(request)
    )


async def _compress(
    compression: Compression, request: web.Request, response: web.Response
) -> None:
    response[_DECIDED] = True
    negotiation = _Negotiation(compression, request)
    try:
        if isinstance(response, BodyResponse):
            await response.adopt()
            await _choose_for_body(negotiation, response)
        else:
            await _encode_response(negotiation, response)
    except BaseException:
        if isinstance(response, BodyResponse):
            await response.discard()
        elif isinstance(response.body, Payload):
            await response.body.close()
        raise


def _plainly_small(
    compression: Compression, request: web.Request, response: web.Response
) -> bool:
    """Whether there is nothing to decide: the usual small answer, 6 us earlier."""
    body = response.body
    if type(body) is not bytes or response.status == 304:
        return False
    if len(body) >= compression.minimum_size:
        return False
    # Without a zero, no weight can refuse the body as it is.
    return "0" not in "".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))


class _Negotiation:
    """What the client accepts, and what there is."""

    def __init__(self, compression: Compression, request: web.Request) -> None:
        self.request = request
        self.accepted = request.headers.getall(hdrs.ACCEPT_ENCODING, None)
        self.compression = compression

    def worth_it(self, headers: CIMultiDict[str], size: int | None) -> bool:
        """Whether the body shrinks, whatever the client accepts."""
        media_type = media_type_of(headers.get(hdrs.CONTENT_TYPE))
        return self.compression.when(Candidate(self.request, media_type, size))

    def choose(self, response: web.Response, size: int | None) -> str | None:
        """The coding for a body, or ``None`` to leave it; says so in ``Vary``.

        Raises:
            web.HTTPNotAcceptable: the client refuses the body as it is, and every
                coding there is (RFC 9110 section 12.5.3).
        """
        if size == 0:
            return None
        headers = response.headers
        small = size is not None and size < self.compression.minimum_size
        # Refused as it is, it has to be encoded whatever that gains.
        refused = choose_coding(self.accepted, (), {}) is None
        if not refused and (small or not self.worth_it(headers, size)):
            return None
        vary(headers)
        supported = supported_codings()
        available = [name for name in self.compression.preference if name in supported]
        coding = choose_coding(self.accepted, available, coding_aliases())
        if (
            coding is None
            and self.request.method in {"GET", "HEAD"}
            and response.status < 300
        ):
            raise not_acceptable(
                "no acceptable content coding; there are "
                + ", ".join([*available, "identity"]),
                self.request,
                {hdrs.VARY: headers[hdrs.VARY]},
            )
        return None if coding == "identity" else coding


def _is_whole(status: int, headers: CIMultiDict[str]) -> bool:
    """Whether the body is a representation that nothing forbids to encode."""
    if status < 200 or status in {204, 206, 304}:
        return False
    if any(name in headers for name in OF_THE_BYTES):
        return False
    control = join_lines(headers.getall(hdrs.CACHE_CONTROL, ())) or ""
    return "no-transform" not in {
        directive.strip().lower() for directive in control.split(",")
    }


async def _choose_for_body(negotiation: _Negotiation, response: BodyResponse) -> None:
    """Choose the coding of one of ours; it applies it when it is prepared."""
    headers = response.headers
    stream = response.stream
    compression = negotiation.compression
    if not _is_whole(response.status, headers):
        return
    if (
        response.path is not None
        and response.status == 200
        and compression.precompressed
        and negotiation.worth_it(headers, stream.size)
    ):
        vary(headers)
        found = await open_precompressed(
            response.path, negotiation.accepted, compression.preference
        )
        if found is not None:
            await response.send_instead(*found)
            return
    if response.digest and not isinstance(stream, ByteStream):
        # The digest is of the encoded bytes, and stands before them.
        return
    coding = negotiation.choose(response, stream.size)
    if coding is not None:
        validators = response.validators
        static = validators.etag is not None or validators.last_modified is not None
        response.stream = prompt(stream)
        response.coding = coding, compression.level(coding, static=static)


async def _encode_response(negotiation: _Negotiation, response: web.Response) -> None:
    """Encode the body of one of aiohttp's own responses."""
    headers = response.headers
    if response.status == 304:
        match_variant(negotiation.request, headers)
        return
    body = response.body
    if body is None or not _is_whole(response.status, headers):
        return
    size = body.size if isinstance(body, Payload) else len(body)
    coding = negotiation.choose(response, size)
    if coding is None:
        return
    static = hdrs.ETAG in headers or hdrs.LAST_MODIFIED in headers
    level = negotiation.compression.level(coding, static=static)
    if negotiation.request.method == "HEAD":
        # The length of the encoded body is not known, and another would be wrong.
        if isinstance(body, Payload):
            await body.close()
        response.body = None
    elif isinstance(body, StreamPayload):
        body.stream = EncodedStream(prompt(body.stream), coding, level=level)
    elif isinstance(body, Payload):
        stream = EncodedStream(PayloadStream(body), coding, level=level)
        response.body = StreamPayload(stream)
    elif len(body) > WHOLE:
        stream = EncodedStream(ByteStream(body), coding, level=level)
        response.body = StreamPayload(stream)
    else:
        count_plain(negotiation.request, len(body))
        response.body = await encode_whole(bytes(body), coding, level)
    mark_encoded(headers, coding)
