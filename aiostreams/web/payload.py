"""A Stream as an aiohttp payload: what writes it to a connection.

Registered for ``Stream`` and ``Content``, so that ``web.Response(body=...)`` and
``session.post(url, data=...)`` take them.

A client must never take a cut body for a complete one. Under a Content-Length the body
is complete for the client with its last byte, so the piece that would complete it
is held back until the source has ended well. A chunked body is complete only with
its terminating chunk, which aiohttp writes after this has returned; one that ends
with the connection, as in HTTP/1.0, is complete unless the connection is reset.

aiohttp's client may have to send a body again: after a 307 or 308, to answer a
challenge, when a connection of its pool was closed meanwhile. It asks a payload
whether it is ``consumed``; what can be made once more is not.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from aiohttp import Payload, hdrs, payload

from aiostreams.content.base import Content
from aiostreams.errors import SizeMismatch
from aiostreams.files.file import FileStream
from aiostreams.streams.base import Stream
from aiostreams.streams.memory import ByteStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter

__all__ = ["StreamPayload", "mismatch", "register", "reset_unless_chunked", "send"]

_OF_A_PART: Final = (
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TRANSFER_ENCODING,
)


async def send(
    stream: Stream, writer: AbstractStreamWriter, length: int | None
) -> None:
    """Write the whole of ``stream`` and close it, unless that fails.

    It is closed before the last piece is written: the answer to that may be the end of
    the request, and aiohttp's client gives up a connection whose body is not done then.

    Args:
        stream: what to write.
        writer: the connection.
        length: the Content-Length that was promised, or ``None`` when the body is
            chunked or ends with the connection.

    Raises:
        SizeMismatch: the stream has fewer or more bytes than promised.
        ConnectionError: the other side has gone.
    """
    if stream.live and hasattr(writer, "send_headers"):  # not a part's writer
        # They would wait for the first piece, and the client with them.
        writer.send_headers()
    sent = 0
    last = b""
    while piece := await stream.readany():
        if last:
            raise mismatch(length, sent + len(last) + len(piece), "gave at least")
        if length is not None and sent + len(piece) >= length:
            if sent + len(piece) > length:
                raise mismatch(length, sent + len(piece), "gave at least")
            last = piece
            continue
        await writer.write(piece)
        sent += len(piece)
    if length is not None and sent + len(last) != length:
        raise mismatch(length, sent + len(last), "ended after")
    await stream.close()
    if last:
        await writer.write(last)


def mismatch(length: int | None, seen: int, what: str) -> SizeMismatch:
    """Make the error for a body that is not as long as its Content-Length."""
    assert length is not None
    return SizeMismatch(
        f"Content-Length promised {length} bytes, the body {what} {seen}",
        expected=length,
        seen=seen,
    )


class StreamPayload(Payload):
    """The payload of a Stream, or of the Stream that a Content encodes to.

    Attributes:
        stream: what is written.
        failure: the class of the error that reading it ended in.
    """

    failure: type[BaseException] | None = None

    def __init__(self, value: Stream | Content, *args: Any, **kwargs: Any) -> None:
        self.stream: Stream = value.encode() if isinstance(value, Content) else value
        if kwargs.get("content_type") is None:
            kwargs["content_type"] = (
                self.stream.content_type or self._default_content_type
            )
        super().__init__(self.stream, *args, **kwargs)
        self._content = value if isinstance(value, Content) else None
        self._in_memory = _value_of(self.stream) is not None
        self._again: Callable[[], Stream | None] | None = None
        self._told: int | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._writing = 0
        self._closed = self._close_later = False

    @property
    def size(self) -> int | None:
        """What is left of the stream, in bytes, or ``None`` when unknown.

        aiohttp cannot wait for the answer: a file that is not open yet is looked at,
        as its own payloads do it.
        """
        if not self._writing:
            self._renew()
        stream = self.stream
        size = stream.size
        if size is not None:
            return size - stream.position
        if self._told is None and not (
            self._writing or stream.closed or stream.position
        ):
            with contextlib.suppress(OSError):  # who reads it will say so
                self._told = stream.measure()
        return self._told

    @property
    def consumed(self) -> bool:
        """Whether it was written, or closed, and cannot be written again.

        Bytes can, a file can, and a Content that is not of a generator.
        """
        return self._consumed and (self._closed or not self._renew())

    @property
    def autoclose(self) -> bool:
        """Whether nothing is held that would have to be closed."""
        return self._in_memory

    def _renew(self) -> bool:
        """Make a new stream of the same, if the last one was written and one can be."""
        again, self._again = self._again, None
        if again is None:
            return False
        try:
            stream = again()
        except Exception:  # noqa: BLE001 (of a stream that can be encoded once, say)
            return False
        if stream is None:
            return False
        if type(stream) is FileStream:
            self._told = self.stream.size  # this one is not open yet
        self._value = self.stream = stream
        self._in_memory = _value_of(stream) is not None
        self._consumed = self._closed = False
        return True

    def _repeatable(self, stream: Stream) -> Callable[[], Stream | None] | None:
        """Return what makes another stream like this one, before it is written."""
        data = _value_of(stream)
        if data is not None:
            # The very bytes: a value may have changed since its length was told.
            left = data[stream.position :]
            return functools.partial(ByteStream, left, content_type=stream.content_type)
        if stream is not self._value or stream.live or stream.position:
            return None
        if type(stream) is FileStream:
            return stream.reopened
        return None if self._content is None else self._content.encode

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it; the writer knows the promised length, if any."""
        promised = None if self._is_part else getattr(writer, "length", None)
        await self.write_with_length(writer, promised)

    @property
    def _is_part(self) -> bool:
        """Whether a ``MultipartWriter`` writes it, among others.

        It cannot know; but aiohttp gives the fields of a part only to a part.
        """
        headers = self.headers
        return headers.get(hdrs.CONTENT_DISPOSITION, "").startswith("form-data") or any(
            name in headers for name in _OF_A_PART
        )

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write all of it, which is ``content_length`` bytes if that is known."""
        self._renew()
        stream = self.stream
        self._again = self._repeatable(stream)
        self._consumed = True
        self._writing += 1
        length = self.size if content_length is None else content_length
        try:
            await send(stream, writer, length)
        except BaseException as error:
            if stream.failed:
                self.failure = type(error)
                self._again = None
            if length is None:
                reset_unless_chunked(writer)
            await stream.abort()
            raise
        finally:
            self._writing -= 1
            if self._close_later and not self._writing:
                await self.close()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text of a body that is in memory.

        Raises:
            TypeError: it is not; reading it would mean waiting.
        """
        self._renew()
        data = self.stream.getvalue()
        if data is None:
            raise TypeError(f"{self.stream!r} can only be read asynchronously")
        return data.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return all of it, read into memory and put back."""
        del encoding, errors
        self._renew()
        data = await self.stream.read()
        self.stream.unread(data)
        return data

    def call_on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Register ``closer``, awaited when aiohttp closes the payload."""
        self._closers.append(closer)

    async def close(self) -> None:
        """Close the stream, or leave that to the write that is under way.

        aiohttp's client closes the body of its request as soon as a response begins,
        and that may be before the body has ended: a dialogue, line by line. When the
        connection ends, it cancels the write.

        What needs no closing may be written yet again, as a ``FormData`` is that is
        used for several requests. Bytes are let go of.
        """
        if self._writing:
            self._close_later = True
            return
        again = self._again or self._repeatable(self.stream)
        self._again = None if self.autoclose else again
        self._consumed = self._closed = True
        self._close_later = False
        closers, self._closers = self._closers, []
        try:
            await self.stream.close()
        finally:
            for closer in closers:
                await closer()


def _value_of(stream: Stream) -> bytes | None:
    return None if stream.closed else stream.getvalue()


def reset_unless_chunked(writer: AbstractStreamWriter) -> None:
    """Break a connection whose orderly end would complete the body.

    That is how HTTP/1.0 ends a body of unknown length (RFC 9112 section 6.3); only a
    reset then tells the client that something is missing.
    """
    transport = getattr(writer, "transport", None)
    if transport is None or getattr(writer, "chunked", True):
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def register() -> None:
    """Make aiohttp take Streams and Contents as bodies; done when imported."""
    payload.PAYLOAD_REGISTRY.register(StreamPayload, (Stream, Content))


register()
