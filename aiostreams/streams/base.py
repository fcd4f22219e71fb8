"""The Stream: what every body is, and the laws that hold for every one of them.

``Guarded`` keeps a source within the laws; everything to read with (``read``,
``readexactly``, ``readline``, ``readuntil``, ``peek``, the iterators) is built here
on ``readany`` alone. Each of these takes the buffer out, gathers, and puts back
what it must not keep, also when it fails or is cancelled.
"""

from __future__ import annotations

import functools
import io
from abc import ABC
from asyncio import IncompleteReadError
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, Self

from aiostreams.errors import exceeded
from aiostreams.limits import MiB
from aiostreams.streams.as_file import BlockingFile
from aiostreams.streams.guards import Guarded, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType

__all__ = ["MAX_LINE_LENGTH", "Sink", "Stream"]

# A line is gathered in memory; without a ceiling one missing newline would gather
# the whole body there.
MAX_LINE_LENGTH = 1 * MiB


class Sink(Protocol):
    """What bytes can be written to: a writable Stream, or a ``Replay``."""

    async def write(self, data: bytes | bytearray | memoryview) -> None: ...


class Stream(Guarded, ABC):
    """One HTTP body, or any other run of bytes, read or written asynchronously.

    A new readable stream implements :meth:`readany`; a writable one :meth:`write`;
    one that owns something :meth:`close`; one that commits on close :meth:`abort`.
    ``aiostreams.testing.check_stream`` proves the laws for it.

    The laws:

    1.  ``await read(size=-1)``: a negative size or ``None`` reads to the end. 0
        returns ``b""`` at once and consumes nothing. A positive size returns
        exactly that many bytes, fewer only when the stream ends. ``b""`` (for a
        size other than 0) means the end and nothing else does; the end is sticky.
    2.  ``await readany()``: the next bytes as soon as there are any, at least one
        byte, ``b""`` at the end. All other ways of reading are built on it.
    3.  ``readexactly``, ``readline``, ``readuntil``, ``iter_chunked``, ``iter_any``
        and ``async for`` (lines) behave as aiohttp documents them for its
        ``StreamReader``. ``peek(n)`` looks without consuming, ``unread(data)``
        pushes back.
    4.  ``size`` is the number of bytes of the whole stream, or ``None`` when that
        is unknown. Reading does not change it. If it is known, exactly that many
        bytes are delivered: a source that turns out shorter or longer raises
        ``SizeMismatch``; nothing is padded or cut in silence.
    5.  ``content_type`` is the media type with its parameters, or ``None``.
    6.  ``await write(data)`` raises ``NotImplementedError`` on a stream that is not
        writable.
    7.  ``await close()`` may be called twice; it closes what the stream owns and
        wraps. Afterwards every operation raises ``StreamClosed`` (a
        ``ValueError``), and so does a read that was waiting. ``async with`` closes;
        left by an exception it calls ``abort()``, which on a writable stream
        discards what was written.
    8.  Data first, then the error: bytes that arrived before a failure are
        delivered by ``readany`` and ``read(n)``, then the error is raised, and
        raised again by each later read. ``read(-1)``, ``readexactly``,
        ``readline`` and ``readuntil`` raise at once; what had arrived stays
        readable by ``readany``.
    9.  A cancelled read loses no bytes. Two tasks reading at once is
        ``StreamBusy``, never a hang or a mix-up.
    10. No file, compression or hashing work of more than about a millisecond runs
        on the event loop.
    11. Memory is bounded by a constant per stream, whatever passes through it.
    12. ``repr`` tells class, position, size and state, and never body bytes.

    Args:
        size: the number of bytes of the whole stream, if known.
        content_type: the media type with its parameters, if known.

    Raises:
        TypeError: it is ``Stream`` itself, which can be neither read nor written.
    """

    def __init__(
        self, *, size: int | None = None, content_type: str | None = None
    ) -> None:
        # Not by abstract methods: which ones a stream has depends on its direction.
        if type(self) is Stream:
            raise TypeError("Stream is abstract: implement readany() or write()")
        self.__size = size
        self.__content_type = content_type

    # For a source that does not call __init__.
    __size: int | None = None
    __content_type: str | None = None

    # -- what a source may override ------------------------------------------------

    async def readany(self) -> bytes:
        """Return the next bytes as soon as there are any; ``b""`` at the end.

        Raises:
            StreamClosed: the stream was closed, before or while waiting.
            StreamBusy: another task is reading.
            SizeMismatch: the source is shorter or longer than ``size``.
            NotImplementedError: the stream can only be written.
        """
        raise NotImplementedError(f"{type(self).__name__} is not readable")

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take ``data`` in full, waiting while the receiving side is behind.

        The object must not be changed afterwards: it may be used later.

        Raises:
            NotImplementedError: the stream can only be read.
            StreamClosed: the stream was closed.
            StreamBusy: another task is writing.
        """
        del data
        raise NotImplementedError(f"{type(self).__name__} is not writable")

    async def close(self) -> None:
        """Release what the stream owns and wraps; on a writable stream, commit.

        Closing again does nothing. A read that waits is woken by ``StreamClosed``.
        """

    async def abort(self) -> None:
        """Close, and on a writable stream discard what was written."""
        await self._source_close()

    @property
    def size(self) -> int | None:
        """The length of the whole stream in bytes, or ``None`` when unknown."""
        return self.__size

    def measure(self) -> int | None:
        """Tell ``size``, also where that takes a look at a file that is not open yet.

        For whoever has to know it where nothing can be awaited. The look blocks, as
        one ``os.stat`` does; what is opened later may have another size.

        Raises:
            OSError: there is no such file, or it may not be looked at.
        """
        return self.size

    @property
    def content_type(self) -> str | None:
        """The media type with its parameters (RFC 9110 section 8.3), or ``None``."""
        return self.__content_type

    live: bool = False
    """Whether a piece must reach the other side before the next one comes: events do.
    An encoder then flushes after each piece instead of gathering."""

    known_digests: Mapping[str, str] = MappingProxyType({})
    """Digests of all the bytes that somebody has computed before: the algorithm, as
    ``hashlib`` names it, to the hex digest. A response sends them without reading."""

    async def open(self) -> Self:
        """Make known what is known only once the source is open, like ``size``.

        Reading does this by itself; whoever must tell the size first awaits it.
        Opening twice is fine.
        """
        self._life.check_open()
        return self

    @property
    def seekable(self) -> bool:
        """Whether :meth:`slice` works, so that ranges can be answered from here."""
        return type(self).slice is not Stream.slice

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Open a new stream over ``length`` bytes from ``offset`` of the same bytes.

        Overriding this is all it takes to say "I can seek": range requests,
        ``as_file().seek`` and ``SliceStream`` then use it. The slice has a size,
        is independent of this stream's position and outlives its ``close()``; its
        taker closes it. An override is called with good arguments only, and never on
        a closed stream.

        A stream may have attributes ``etag`` (opaque, without quotes, strong) and
        ``last_modified`` (POSIX seconds); conditions and ``If-Range`` then work too.

        Args:
            offset: where to begin, in bytes from the start of the whole stream.
            length: how many bytes; to the end when ``None``. Cut at the end.

        Raises:
            NotImplementedError: the source cannot be read twice.
            StreamClosed: the stream was closed.
            ValueError: ``offset`` or ``length`` is negative.
        """
        del offset, length
        raise NotImplementedError(f"{type(self).__name__} cannot seek")

    def getvalue(self) -> bytes | None:
        """Return all bytes of the stream, read or not, if they are in memory anyway.

        ``None`` for every other stream. Whoever gets bytes need not read: they can be
        sent, hashed or compared as they are.

        Raises:
            StreamClosed: the stream was closed.
        """
        self._life.check_open()
        return None

    # -- housekeeping --------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether ``close()`` or ``abort()`` has been called."""
        return self._life.closed

    @property
    def busy(self) -> bool:
        """Whether another task is reading or writing."""
        return self._life.in_use()

    @property
    def ended(self) -> bool:
        """Whether the end was read, and nothing was pushed back since."""
        return self._life.state is State.ENDED and not self._life.buffer.held

    @property
    def failed(self) -> bool:
        """Whether reading has failed; each further read raises that error again."""
        return self._life.state is State.FAILED

    @property
    def received(self) -> int:
        """How many bytes the source has given; some may not be consumed yet."""
        return self._life.received

    @property
    def position(self) -> int:
        """How many bytes have been consumed."""
        return self._life.received - self._life.buffer.held

    def check_open(self) -> None:
        """Raise unless the stream is open: for the other methods of a subclass.

        Raises:
            StreamClosed: ``close()`` or ``abort()`` was called.
        """
        self._life.check_open()

    def __repr__(self) -> str:
        size = self.size
        of = "" if size is None else f"/{size}"
        state = self._life.state.value
        return f"<{type(self).__name__} {self.position}{of} bytes {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self.close()
        else:
            await self.abort()

    # -- reading -------------------------------------------------------------------

    async def read(self, size: int | None = -1) -> bytes:
        """Read ``size`` bytes, or to the end when it is negative or ``None``.

        Fewer than ``size`` bytes come only at the end of the stream, or right
        before an error that the next read raises.

        Raises:
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        if size is None or size < 0:
            return await self._read_to_end()
        if size == 0:
            self._life.check_open()
            return b""
        buffer = self._life.buffer
        if buffer.held >= size:
            self._life.check_idle()
            return buffer.take(size)
        if buffer.held:
            self._life.check_idle()
            pieces = buffer.take_all()
        else:
            chunk = await self.readany()
            if len(chunk) > size:
                buffer.put(chunk, size)
                return chunk[:size]
            if len(chunk) == size or not chunk:
                return chunk
            pieces = [chunk]
        missing = size - sum(map(len, pieces))
        try:
            while missing > 0 and (chunk := await self.readany()):
                pieces.append(chunk)
                missing -= len(chunk)
        except BaseException:
            # Cancelled: the pieces wait for the next read. Failed: they come
            # first, and the error, which is sticky, comes with the next read.
            if self._life.state is not State.FAILED:
                self._put_back(pieces)
                raise
        if missing < 0:
            last = pieces[-1]
            buffer.put(last, len(last) + missing)
            pieces[-1] = last[:missing]
        return b"".join(pieces)

    async def _read_to_end(self) -> bytes:
        self._life.check_idle()
        # Gives its bytes without a copy, so they are in memory once.
        whole = io.BytesIO()
        whole.writelines(self._life.buffer.take_all())
        try:
            while chunk := await self.readany():
                whole.write(chunk)
        except BaseException:
            if whole.tell():
                self._put_back([whole.getvalue()])
            raise
        return whole.getvalue()

    def _put_back(self, pieces: list[bytes]) -> None:
        if self._life.state is not State.CLOSED:
            self._life.buffer.put_back(pieces)

    async def readexactly(self, n: int) -> bytes:
        """Read exactly ``n`` bytes; ``b""`` when ``n`` is not positive.

        Raises:
            asyncio.IncompleteReadError: the stream ended before; ``.partial`` has
                the bytes that were left.
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        if n <= 0:
            self._life.check_open()
            return b""
        data = await self.read(n)
        if len(data) < n:
            if self._life.state is State.FAILED:
                # The error comes at once; what arrived stays for readany().
                self.unread(data)
                self._life.check_usable()
            raise IncompleteReadError(data, n)
        return data

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        r"""Read one line with its ``\n``; the last line may lack it.

        Args:
            max_line_length: limit in bytes with the line end; 1 MiB unless given.

        Raises:
            LimitExceeded: the line is longer; nothing of it is consumed.
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        return await self.readuntil(max_size=max_line_length)

    async def readuntil(
        self, separator: bytes = b"\n", *, max_size: int | None = None
    ) -> bytes:
        """Read up to and with ``separator``, or to the end of the stream.

        Args:
            separator: at least one byte.
            max_size: limit in bytes with the separator; 1 MiB unless given.

        Raises:
            LimitExceeded: no separator within ``max_size``; nothing is consumed.
            ValueError: the separator is empty.
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        if not separator:
            raise ValueError("Separator should be at least one-byte string")
        limit = max_size or MAX_LINE_LENGTH
        self._life.check_idle()
        if self._life.buffer.held:
            # The common case: the line is whole in the first chunk.
            length = self._life.buffer.find_in_first(separator)
            if 0 < length <= limit:
                return self._life.buffer.take(length)
        pieces = self._life.buffer.take_all()
        try:
            return await self._gather_until(separator, limit, pieces)
        except BaseException:
            self._put_back(pieces)
            raise

    async def _gather_until(
        self, separator: bytes, limit: int, pieces: list[bytes]
    ) -> bytes:
        """Add pieces until ``separator``; each byte is searched once.

        A separator that straddles pieces is found in ``joint``: the end of what
        was searched before, shorter than the separator, and the piece's start.
        """
        overlap = len(separator) - 1
        tail = b""
        length = 0
        index = 0
        while True:
            if index == len(pieces):
                chunk = await self.readany()
                if not chunk:
                    return b"".join(pieces)
                pieces.append(chunk)
            piece = pieces[index]
            end = -1
            if tail:
                joint = (tail + piece[:overlap]).find(separator)
                if joint >= 0:
                    end = joint + len(separator) - len(tail)
            if end < 0:
                found = piece.find(separator)
                if found >= 0:
                    end = found + len(separator)
            seen = length + (end if end >= 0 else len(piece))
            if seen > limit:
                raise exceeded("a line", seen, limit)
            if end >= 0:
                line = [*pieces[:index], piece[:end]]
                for later in pieces[index + 1 :]:
                    self._life.buffer.put(later)
                if end < len(piece):
                    self._life.buffer.put_back([piece[end:]])
                return b"".join(line)
            length += len(piece)
            if overlap:
                tail = (tail + piece[-overlap:])[-overlap:]
            index += 1

    async def peek(self, n: int) -> bytes:
        """Look at the next 1 to ``n`` bytes without consuming; ``b""`` at the end.

        Waits only when nothing has arrived yet.

        Raises:
            StreamClosed, StreamBusy, SizeMismatch: as :meth:`readany`.
        """
        self._life.check_idle()
        if n <= 0:
            return b""
        if not self._life.buffer.held:
            chunk = await self.readany()
            if not chunk:
                return b""
            self._life.buffer.put(chunk)
        return self._life.buffer.peek(n)

    def unread(self, data: bytes | bytearray | memoryview) -> None:
        """Push ``data`` back: the next read begins with it.

        Raises:
            StreamClosed: the stream was closed.
            StreamBusy: another task is reading.
        """
        self._life.check_idle()
        piece = data if type(data) is bytes else bytes(memoryview(data))
        if piece:
            self._life.buffer.put_back([piece])

    def read_nowait(self, n: int = -1) -> bytes:
        """Up to ``n`` of the bytes that are here already, or all of them, or ``b""``.

        Here are bytes that were pushed back, or came with others that were read.

        Raises:
            StreamClosed: the stream was closed.
            StreamBusy: another task is reading.
        """
        self._life.check_idle()
        held = self._life.buffer.held
        if 0 <= n < held:
            held = n
        return self._life.buffer.take(held) if held else b""

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Iterate over pieces of exactly ``n`` bytes, the last one may be shorter.

        Raises:
            ValueError: ``n`` is not positive.
        """
        if n <= 0:
            raise ValueError(f"n is {n}, expected at least 1")
        return _Iterator(functools.partial(self.read, n))

    def iter_any(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes as they arrive."""
        return _Iterator(self.readany)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Iterator(self.readline)

    def as_file(self) -> io.RawIOBase:
        """Return a blocking file over this stream, for use **in a worker thread**.

        Call it on the event loop, then hand the file to code that runs in a
        thread (``asyncio.to_thread``). On the loop's own thread its methods raise
        ``RuntimeError`` instead of waiting for themselves. Closing the file gives
        back what it had read ahead and leaves the stream open.

        Raises:
            RuntimeError: no event loop runs here.
            StreamClosed: the stream was closed.
        """
        self._life.check_open()
        return BlockingFile(self)


class _Iterator:
    """Iterates over a reading method until it returns ``b""``."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self._read()
        if not data:
            raise StopAsyncIteration
        return data
