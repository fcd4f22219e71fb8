"""A call for a middleware to put a stream around the body of a response.

Of one of our own responses only the stream changes. aiohttp's are made ours: a
``web.Response`` of the same body, a ``FileResponse`` of the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import Payload, hdrs, web

from aiostreams.content.file import File
from aiostreams.files.file import FileStream
from aiostreams.sansio.mediatype import media_type_of
from aiostreams.sansio.validators import Validators
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream
from aiostreams.web.payload import StreamPayload
from aiostreams.web.payload_stream import PayloadStream
from aiostreams.web.response import BodyResponse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wrap_response"]

# What is said of bytes that may be others now.
_OF_THE_BYTES: Final = (
    hdrs.CONTENT_LENGTH,
    hdrs.ETAG,
    hdrs.ACCEPT_RANGES,
    "Content-Digest",
    "Repr-Digest",
    "Digest",
    hdrs.CONTENT_MD5,
)


def wrap_response(
    response: web.StreamResponse, make: Callable[[Stream], Stream]
) -> web.StreamResponse:
    """Put a stream around the body of a response.

        @web.middleware
        async def paced(request, handler):
            response = await handler(request)
            return wrap_response(response, lambda body: RateStream(body, 100 * KiB))

    ``make`` gets the plain body as a stream, and gives a stream over it, such as a
    :class:`Transform`; it is called here and now. A later wrap stands around the
    earlier ones, and a content coding around them all. Length, digests, ranges and
    the entity tag of the body are taken back. What the stream that was made says
    counts in their place: its ``size``; that it can seek; its ``etag`` and
    ``last_modified``; a ``content_type`` other than the body's. It is closed when
    the response was sent, or could not be, and so is what it stands on.

    A WebSocket, and a response whose status has no body (1xx, 204, 304), stay as
    they are. The answer to a HEAD says what that to a GET would; nothing is read
    from the stream.

    What the stream raises before its first byte is answered like an error of the
    handler; later, it breaks the connection.

    Args:
        response: of this package or of aiohttp; an ``HTTPException`` as well. It is
            not to be used any more.
        make: gives a stream over the one that it gets; no coroutine.

    Returns:
        What to send instead: return it, also for an exception.

    Raises:
        RuntimeError: the response was begun already.
        TypeError: ``make`` gave no Stream, or the response writes itself.
    """
    if isinstance(response, web.WebSocketResponse) or (
        response.status < 200 or response.status in {204, 304}
    ):
        return response
    if response.prepared:
        raise RuntimeError(
            f"{type(response).__name__} was sent, or begun: wrap a response before it "
            "is prepared"
        )
    ours, body = _taken(response)
    made = make(body)
    if not isinstance(made, Stream):
        raise TypeError(f"make gave {type(made).__name__}, expected a Stream")
    ours.replace(made)
    ours.call_on_close(body.close)
    if ours.given is not None:
        ours.given = Validators(last_modified=ours.given.last_modified)
    for name in _OF_THE_BYTES:
        ours.headers.popall(name, None)
    if made.content_type is not None and made.content_type != body.content_type:
        ours.headers[hdrs.CONTENT_TYPE] = made.content_type
    return ours


def _taken(response: web.StreamResponse) -> tuple[BodyResponse, Stream]:
    """Return a response of ours that says the same, and the body to be wrapped."""
    if isinstance(response, BodyResponse):
        body = response.stream
        if not response.at_hand:
            return response, body
        ours = BodyResponse(body, validators=response.given)
        ours.digest = response.digest
        if response.wish is not None:
            ours.enable_compression(*response.wish)
    else:
        body = _body_of(response)
        ours = BodyResponse(body)
        if response.compression:
            ours.enable_compression()
    # What middlewares have noted on it, and said of it, goes along.
    for key in response:
        ours[key] = response[key]
    ours.cookies.update(response.cookies)
    ours.set_status(response.status, response.reason)
    if hdrs.CONTENT_TYPE in response.headers:
        del ours.headers[hdrs.CONTENT_TYPE]
    ours.headers.extend(response.headers)
    if response.keep_alive is False:
        ours.force_close()
    if response.chunked:
        ours.enable_chunked_encoding()
    return ours, body


def _body_of(response: web.StreamResponse) -> Stream:
    """Return the body that one of aiohttp's responses would send.

    Raises:
        TypeError: it is unknown before it is sent.
    """
    kind = type(response)
    if isinstance(response, web.FileResponse):
        path = _path_of(response)
        # Without a charset, of which aiohttp says nothing either.
        return FileStream(path, content_type=media_type_of(File(path).content_type))
    if not isinstance(response, web.Response):
        if kind is web.StreamResponse:
            return ByteStream()  # nobody has written to it, nor will
        raise TypeError(f"{kind.__name__} writes itself, so it cannot be wrapped")
    if kind.prepare is not web.Response.prepare or (
        kind.write_eof is not web.Response.write_eof
    ):
        raise TypeError(f"{kind.__name__} sends itself, so it cannot be wrapped")
    body = response.body
    content_type = response.headers.get(hdrs.CONTENT_TYPE)
    if isinstance(body, StreamPayload):
        return body.stream
    if isinstance(body, Payload):
        return PayloadStream(body)
    return ByteStream(body or b"", content_type=content_type)


def _path_of(response: web.FileResponse) -> str:
    """Return the file that it sends: aiohttp has no public way to it."""
    return str(response._path)  # noqa: SLF001 - see above
