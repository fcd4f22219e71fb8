"""aiohttp's own reader of a request, fed by the stream that the helpers read.

``request.read()``, ``.text()``, ``.json()``, ``.post()``, ``.multipart()`` and
``.content`` all read one ``StreamReader``. A ``RequestReader`` takes its place: whoever
asks gets the body decoded, limited and wrapped, and from its beginning where the bytes
are at hand. It opens nothing before it is read.

A file of its own, though only ``state`` needs it: it is aiohttp's interface, method by
method, and knows nothing of the rest of a request.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Final

from aiohttp import StreamReader, web

from aiostreams.streams.memory import ByteStream
from aiostreams.web.request_stream import RequestStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from aiostreams.streams.base import Stream

__all__ = ["CONTENT", "RequestReader"]

CONTENT: Final = "request.content"
# The calls of aiohttp that read, by their code.
_CALLS: Final[dict[CodeType, str]] = {
    getattr(web.BaseRequest, name).__code__: f"request.{name}()"
    for name in ("read", "text", "json", "post", "release")
}
_MULTIPART: Final = "aiohttp.multipart"
# So many frames stand between post() and the line that a part begins with, and some.
_DEPTH: Final = 16


class RequestReader(StreamReader):
    """The ``StreamReader`` of a request, over a stream that the first read opens.

    A subclass says which stream that is.

    Args:
        raw: aiohttp's reader, which the parser feeds.
    """

    __slots__ = ("_call", "_caller", "_raw", "_stream")

    def __init__(self, raw: StreamReader) -> None:
        # Not the base's: it makes a buffer, which would stay empty.
        self._raw = raw
        self._stream: Stream | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._raw!r}>"

    # -- for the subclass ----------------------------------------------------------

    def open(self, call: str) -> Stream:
        """Open what the call of that name, such as ``"request.post()"``, reads."""
        raise NotImplementedError

    def take(self, call: str) -> bytes | None:
        """Return all that ``open`` would give to ``call``, if it is at hand."""
        raise NotImplementedError

    def kept(self) -> bool:
        """Return whether ``open`` gives bytes again that were read before."""
        raise NotImplementedError

    def changed(self) -> bool:
        """Return whether what ``open`` gives is other than what arrives."""
        raise NotImplementedError

    # -- whose turn it is ----------------------------------------------------------

    def _source(self) -> Stream:
        """Return what the call that is being made reads.

        One that comes to the end sees it again, as from any reader; another one
        begins anew, where the bytes are at hand.
        """
        stream = self._stream
        if stream is not None and not stream.ended and not stream.closed:
            return stream
        call, caller = _calling()
        if stream is None or stream.closed or self._is_new(call, caller):
            stream = self._read_by(call, caller, self.open(call))
        return stream

    def _read_by(
        self, call: str, caller: web.BaseRequest | None, stream: Stream
    ) -> Stream:
        self._call = call
        self._caller = None if caller is None else weakref.ref(caller)
        self._stream = stream
        return stream

    def _is_new(self, call: str, caller: web.BaseRequest | None) -> bool:
        last = None if self._caller is None else self._caller()
        return (call != self._call or caller is not last) and self.kept()

    # -- reading -------------------------------------------------------------------

    async def readany(self) -> bytes:
        if self._stream is None:
            # So request.read() begins, and all that are built on it.
            call, caller = _calling()
            data = self.take(call)
            if data is not None:
                return await self._read_by(call, caller, ByteStream(data)).readany()
        return await self._source().readany()

    async def read(self, n: int = -1) -> bytes:
        """Read all that is left, or up to ``n`` bytes: fewer, if fewer are there."""
        stream = self._source()
        if n < 0:
            return await stream.read()
        if not n:
            return b""
        # What is left of a piece is not copied.
        return stream.read_nowait(n) if await stream.peek(1) else b""

    async def readexactly(self, n: int) -> bytes:
        return await self._source().readexactly(n)

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return await self._source().readline(max_line_length=max_line_length)

    async def readuntil(
        self, separator: bytes = b"\n", *, max_size: int | None = None
    ) -> bytes:
        return await self._source().readuntil(separator, max_size=max_size)

    async def readchunk(self) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they end an HTTP chunk, if known."""
        stream = self._source()
        if isinstance(stream, RequestStream):
            return await stream.readchunk()
        return await stream.readany(), False

    def read_nowait(self, n: int = -1) -> bytes:
        """Return what has arrived, of a body read as it comes; else what is held."""
        stream = self._source()
        if isinstance(stream, RequestStream) and stream.position == stream.received:
            stream.unread(stream.read_arrived())
        return stream.read_nowait(n)

    def unread_data(self, data: bytes) -> None:
        self._source().unread(data)

    # -- what is known without reading -----------------------------------------------

    def at_eof(self) -> bool:
        """Return whether nothing is left; ``False`` while that is not known."""
        stream = self._stream
        if stream is None:
            return self._raw.at_eof() and not self.kept()
        if isinstance(stream, RequestStream):
            # Nothing comes after the last byte that has arrived.
            return self._raw.at_eof() and stream.position == stream.received
        return stream.ended

    def is_eof(self) -> bool:
        return self._raw.is_eof()

    async def wait_eof(self) -> None:
        await self._raw.wait_eof()

    def on_eof(self, callback: Callable[[], None]) -> None:
        self._raw.on_eof(callback)

    def exception(self) -> BaseException | None:
        return self._raw.exception()

    def set_exception(
        self, exc: BaseException, exc_cause: BaseException | None = None
    ) -> None:
        if exc_cause is None:
            self._raw.set_exception(exc)
        else:
            self._raw.set_exception(exc, exc_cause)

    def set_read_chunk_size(self, n: int) -> None:
        self._raw.set_read_chunk_size(n)

    def get_read_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_read_buffer_limits()

    @property
    def total_bytes(self) -> int:  # type: ignore[override] # there it is an attribute
        """How many bytes have arrived, or come out of what undoes their coding."""
        stream = self._stream
        if stream is None or isinstance(stream, RequestStream):
            return self._raw.total_bytes
        return stream.received

    @property
    def total_compressed_bytes(self) -> int | None:  # type: ignore[override]
        """How many bytes have arrived, where they are others than come out."""
        if self.changed():
            return self._raw.total_raw_bytes
        return self._raw.total_compressed_bytes


def _calling() -> tuple[str, web.BaseRequest | None]:
    """Return which call of a request reads, and of which request; by the stack.

    aiohttp does not tell its reader, but an error that names the call spares whoever
    sees it the search.
    """
    call, caller = CONTENT, None
    frame = sys._getframe(2)  # noqa: SLF001 - documented, and not everywhere there
    for _ in range(_DEPTH):
        name = _CALLS.get(frame.f_code)
        if name is not None:
            call, caller = name, frame.f_locals.get("self")
        elif frame.f_globals.get("__name__") == _MULTIPART:
            call = "request.multipart()"
        elif call != CONTENT:
            break  # they call each other without anything between
        if frame.f_back is None:
            break
        frame = frame.f_back
    return call, caller
