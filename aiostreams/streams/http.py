"""The Stream over aiohttp's own reader.

``HTTPStream`` adapts an ``aiohttp.StreamReader``, a server's request or a client's
response, complete: besides the laws it has every method that aiohttp's Streaming API
documents, so code written for ``request.content`` runs on it unchanged. What it
puts right: ``read(n)`` is exact, bytes that had arrived before a disconnect are
delivered before the error, and ``unread_data`` is here to stay.

Bytes pushed back live in the stream's own buffer, in front of the reader's; each
method below serves them first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from aiohttp import EMPTY_PAYLOAD, ClientError, StreamReader, hdrs, web

from aiostreams.errors import ClientGone, MalformedBody, SizeMismatch
from aiostreams.sansio.headers import header_text
from aiostreams.streams.base import MAX_LINE_LENGTH, Stream
from aiostreams.streams.guards import OPEN, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import ClientResponse

__all__ = ["HTTPStream", "arrived_before", "content_type_of", "is_decoded", "size_of"]

# What aiohttp puts in place of a body that is not there.
_NoBody = type(EMPTY_PAYLOAD)


class HTTPStream(Stream):
    """The body behind an ``aiohttp.StreamReader``.

    Errors are aiohttp's on the client side. On the server side a disconnect is
    ``ClientGone`` and a body that aiohttp cannot decode ``MalformedBody``.

    Args:
        reader: where the bytes come from; not owned.
        size: their number, if known.
        content_type: the media type, if known.
    """

    def __init__(
        self,
        reader: StreamReader,
        *,
        size: int | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__(size=size, content_type=content_type)
        self._http = reader
        self._response: ClientResponse | None = None
        # Whether a call takes no more than it needs, so that borders are noted.
        self._piecewise = False
        # The ends of HTTP chunks in what was taken, as positions in the body.
        self._borders: deque[int] = deque()

    @classmethod
    def from_request(cls, request: web.BaseRequest) -> Self:
        """Return the body of a request, as aiohttp gives it.

        ``size`` is the Content-Length, unless aiohttp decodes the body.
        """
        reader = request.content
        return cls(
            reader,
            size=size_of(reader, request.content_length),
            content_type=content_type_of(request.headers),
        )

    @classmethod
    def from_response(cls, response: ClientResponse) -> Self:
        """Return the body of a client's response; its close closes the response.

        The connection goes back to the pool when the body was read to its end.
        """
        reader = response.content
        stream = cls(
            reader,
            size=size_of(reader, response.content_length),
            content_type=content_type_of(response.headers),
        )
        stream._response = response
        return stream

    @property
    def reader(self) -> StreamReader:
        """The original reader."""
        return self._http

    async def readany(self) -> bytes:
        """Return what has arrived, or wait for the next bytes."""
        try:
            if self._piecewise:
                return await self._next_piece()
            return await self._http.readany()
        except Exception as error:  # noqa: BLE001 (raised in there)
            return arrived_before(error, self._http)

    async def _next_piece(self) -> bytes:
        """Read the next piece, at most up to the end of an HTTP chunk; note that."""
        while True:
            data, ends_chunk = await self._http.readchunk()
            if isinstance(self._http, _NoBody):
                return b""  # its own answers alternate
            if ends_chunk:
                self._borders.append(self._life.received + len(data))
            if data or not ends_chunk:
                return data

    def _take_held(self) -> bytes:
        """Take all that is held, and what has arrived since, as aiohttp's does."""
        life = self._life
        data = b"".join(life.buffer.take_all())
        if life.state is not OPEN or self._http.exception() is not None:
            return data
        if more := self._http.read_nowait(-1):
            try:
                data += life.arrived(more, self.size, None)
            except SizeMismatch:
                pass  # raised by the next read, which has nothing before it
        return data

    async def read(self, size: int | None = -1) -> bytes:
        """As for any stream."""
        life = self._life
        if size is not None and 0 < size <= life.buffer.held:
            life.check_idle()
            return life.buffer.take(size)  # without another coroutine
        if size is None or size < 0:
            return await super().read(size)
        before, self._piecewise = self._piecewise, True
        try:
            return await super().read(size)
        finally:
            self._piecewise = before

    async def readuntil(
        self, separator: bytes = b"\n", *, max_size: int | None = None
    ) -> bytes:
        """As for any stream."""
        life = self._life
        if separator and life.buffer.held:
            life.check_idle()
            length = life.buffer.find_in_first(separator)
            if 0 < length <= (max_size or MAX_LINE_LENGTH):
                return life.buffer.take(length)  # without another coroutine
        before, self._piecewise = self._piecewise, True
        try:
            return await super().readuntil(separator, max_size=max_size)
        finally:
            self._piecewise = before

    async def peek(self, n: int) -> bytes:
        """As for any stream."""
        before, self._piecewise = self._piecewise, True
        try:
            return await super().peek(n)
        finally:
            self._piecewise = before

    def unread(self, data: bytes | bytearray | memoryview) -> None:
        """As for any stream."""
        self._pass_borders()  # what was read beyond one does not bring it back
        super().unread(data)

    async def close(self) -> None:
        """Let go of the client's response, if this stream is of one."""
        response, self._response = self._response, None
        if response is not None:
            # After the end the connection is back in the pool and this does
            # nothing; before it, the rest of the body is not worth waiting for.
            response.close()

    # -- the rest of aiohttp's Streaming API ---------------------------------------

    async def readchunk(self) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they end an HTTP chunk.

        ``(b"", True)`` is the border of a chunk whose bytes were read before,
        ``(b"", False)`` the end of the stream. Borders are where they are however the
        bytes before were read, by lines for example; one is passed over when bytes
        beyond it are read.

        Raises:
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        life = self._life
        life.check_idle()
        reader = self._http
        held = life.buffer.held
        # The usual: nothing was read ahead, of which this would be the next.
        if held or self._borders or life.state is not OPEN:
            position = self._pass_borders()
            if self._borders:
                end = self._borders.popleft()
                return life.buffer.take(end - position) if end > position else b"", True
            # Of what is held the end may have arrived meanwhile.
            arrived = (
                life.state is not State.FAILED
                and reader.exception() is None
                and _has_borders(reader)
            )
            if held and not arrived:
                return life.buffer.take_chunk(), False
            if life.state is not OPEN and not arrived:
                life.check_usable()
                return b"", False
        task = life.reader = asyncio.current_task()
        try:
            try:
                data, ends_chunk = await reader.readchunk()
            except Exception as error:  # noqa: BLE001 (raised in there)
                data, ends_chunk = arrived_before(error, reader), False
        except BaseException as error:
            settled = life.settle(error, task)
            if settled is error:
                raise
            raise settled from None
        if isinstance(reader, _NoBody):
            ends_chunk = False  # its own answers alternate
        if ends_chunk and not data and not life.closed:
            life.reader = None
        else:
            try:
                data = life.arrived(data, self.size, task)
            except SizeMismatch:
                if not held:
                    raise
                data, ends_chunk = b"", False
        return b"".join([*life.buffer.take_all(), data]) if held else data, ends_chunk

    def _pass_borders(self) -> int:
        """Forget the borders that were passed; gives the position."""
        position = self.position
        while self._borders and self._borders[0] < position:
            self._borders.popleft()
        return position

    def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Iterate over :meth:`readchunk` until the end."""
        return _Chunks(self)

    def read_nowait(self, n: int = -1) -> bytes:
        """Up to ``n`` of the bytes that have arrived, or all of them, or ``b""``.

        Raises:
            StreamClosed: the stream was closed.
            StreamBusy: another task is reading.
        """
        data = super().read_nowait(n)
        if 0 <= n <= len(data) or self._life.state is State.ENDED:
            return data
        if self._life.state is State.FAILED and not data:
            self._life.check_usable()
        if self._http.exception() is None:
            more = self._http.read_nowait(n if n < 0 else n - len(data))
        else:
            more = _arrived_before_error(self._http, n if n < 0 else n - len(data))
        if more:
            more = self._life.arrived(more, self.size, None)
        elif not data and (error := self._http.exception()) is not None:
            translated = _translate(error)
            self._life.fail(translated)
            raise translated
        return data + more

    def unread_data(self, data: bytes) -> None:
        """Push ``data`` back, as :meth:`unread` does."""
        self.unread(data)

    def exception(self) -> BaseException | None:
        """Return the error that aiohttp has set on the reader, or ``None``."""
        return self._http.exception()

    def is_eof(self) -> bool:
        """Return whether the last byte has arrived, read or not."""
        return self._http.is_eof()

    def at_eof(self) -> bool:
        """Return whether the last byte has arrived and all bytes have been read."""
        return not self._life.buffer.held and self._http.at_eof()

    async def wait_eof(self) -> None:
        """Wait until the last byte has arrived. Reads nothing.

        Raises:
            ClientGone: the client disconnected before.
        """
        self._life.check_open()
        # After an error aiohttp would wait for ever.
        error = self._http.exception()
        if error is None:
            try:
                await self._http.wait_eof()
            except Exception as later:  # noqa: BLE001 (raised below)
                error = later
        if error is not None:
            translated = _translate(error)
            if translated is error:
                raise error
            raise translated from error

    @property
    def total_raw_bytes(self) -> int:
        """How many bytes have arrived from the network, before aiohttp decoded."""
        if is_decoded(self._http):
            return self._http.total_raw_bytes
        return self._http.total_bytes


class _Chunks:
    __slots__ = ("_stream",)

    def __init__(self, stream: HTTPStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        chunk = await self._stream.readchunk()
        if not chunk[0] and not chunk[1]:
            raise StopAsyncIteration
        return chunk


def is_decoded(reader: StreamReader) -> bool:
    """Return whether aiohttp decodes the content before ``reader`` has the bytes."""
    if isinstance(reader, _NoBody):
        # One for all messages: aiohttp also notes on it what was about one of them.
        return False
    return getattr(reader, "total_compressed_bytes", None) is not None


def content_type_of(headers: Mapping[str, str]) -> str | None:
    """Return the Content-Type, or ``None``; bytes that are not UTF-8 are U+FFFD."""
    content_type = headers.get(hdrs.CONTENT_TYPE)
    if content_type is None or content_type.isascii():
        return content_type
    return header_text(content_type)


def size_of(reader: StreamReader, content_length: int | None) -> int | None:
    """Return how many bytes ``reader`` gives, if the message says so."""
    if is_decoded(reader):
        return None
    if reader.at_eof() and not reader.total_bytes:
        # No body, whatever the Content-Length of a HEAD or 304 response says.
        return 0
    return content_length


def arrived_before(error: Exception, reader: StreamReader) -> bytes:
    """Return what arrived before ``reader`` failed with ``error``; else raise it.

    Raises:
        ClientGone, MalformedBody: for the error of a server's request.
        Exception: ``error``, for any other.
    """
    if rest := _arrived_before_error(reader):
        return rest
    translated = _translate(error)
    if translated is error:
        raise error
    raise translated from error


def _arrived_before_error(reader: StreamReader, n: int = -1) -> bytes:
    """Return what the reader holds although an error is set on it.

    aiohttp's public methods all raise the error first and so drop these bytes;
    the private method is the only way to them.
    """
    if isinstance(reader, _NoBody) or reader.exception() is None:
        return b""
    try:
        return reader._read_nowait(n)  # noqa: SLF001
    except Exception:  # noqa: BLE001 (a client's timer has run out: that error wins)
        return b""


def _has_borders(reader: StreamReader) -> bool:
    """Return whether the end of an HTTP chunk has arrived that was not read.

    aiohttp has no public word on it: ``readchunk()`` would wait where there is none.
    """
    return bool(getattr(reader, "_http_chunk_splits", None))


def _translate(error: BaseException) -> BaseException:
    """Translate aiohttp's error to one of ours, where the server side has one."""
    if isinstance(error, web.RequestPayloadError):
        return MalformedBody("the body breaks its transfer or content coding")
    if isinstance(error, ClientError):
        return error
    if isinstance(error, ConnectionError):
        return ClientGone("the client disconnected before its body was complete")
    if isinstance(error, RuntimeError) and str(error) == "Connection closed.":
        return ClientGone("the client has disconnected")
    return error
