"""The twelve laws, one function each, so that a failure names the law it breaks.

Each law takes ``make`` and raises ``AssertionError``. A law that needs to decide how
bytes arrive (a failure, a stall) holds for a ``make(source)`` only; for a ``make()``
it checks what can be seen from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from aiostreams.errors import LimitExceeded, SizeMismatch, StreamBusy, StreamClosed
from aiostreams.limits import KiB, MiB
from aiostreams.streams.base import Stream
from aiostreams.streams.iterable import IterStream
from aiostreams.streams.memory import ByteStream
from aiostreams.testing.fakes import DripStream, FailStream, SpyStream, StallStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

__all__ = [
    "LAWS",
    "Failure",
    "Make",
    "check_stream",
    "law_01_read_is_exact",
    "law_02_readany_gives_bytes_until_the_end",
    "law_03_reads_like_a_stream_reader",
    "law_04_size_is_kept",
    "law_05_content_type_is_text_or_none",
    "law_06_write_is_refused_unless_writable",
    "law_07_close_is_final",
    "law_08_data_comes_before_the_error",
    "law_09_cancelled_and_concurrent_reads_lose_nothing",
    "law_10_the_event_loop_is_not_held",
    "law_11_memory_is_bounded",
    "law_12_repr_shows_no_bytes",
]

Make: TypeAlias = "Callable[..., Stream | Awaitable[Stream]]"

MARKER = b"BODY-BYTES-MUST-NOT-SHOW"
# Lines of all lengths, a separator that straddles pieces, no newline at the end.
SAMPLE = b"".join(
    [MARKER, b"\n", *(b"x" * n + b"\n" for n in range(40)), b"\r\n--\r\n--sep", b"tail"]
)
_SIZES = (1, 2, 7, 64, 64 * KiB)


class Failure(Exception):
    """What a failing source raises in the laws."""


def _with_gaps(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield b""
        yield data[start : start + size]
    yield b""


def _takes_source(make: Make) -> bool:
    return any(
        parameter.default is parameter.empty
        and parameter.kind
        in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        for parameter in inspect.signature(make).parameters.values()
    )


async def _call(make: Make, *args: Stream) -> Stream:
    made = make(*args)
    return made if isinstance(made, Stream) else await made


def _arrivals(data: bytes) -> Iterator[tuple[str, Stream]]:
    yield "whole", ByteStream(data)
    for size in _SIZES:
        yield f"{size} bytes at a time", DripStream(data, size, turns=0)
    yield "irregular, with pauses", DripStream(data, (1, 30, 2, 500), turns=2)
    yield "empty chunks in between", IterStream(_with_gaps(data, 5))


@contextlib.asynccontextmanager
async def _open(make: Make, *args: Stream) -> AsyncIterator[Stream]:
    stream = await _call(make, *args)
    try:
        yield stream
    finally:
        await stream.close()


async def _each(make: Make) -> AsyncIterator[tuple[str, Stream, bytes]]:
    """Each arrival, with a new stream and the bytes it must give."""
    if not _takes_source(make):
        async with _open(make) as stream:
            content = await stream.read()
        async with _open(make) as stream:
            yield "as made", stream, content
        return
    async with _open(make, ByteStream(SAMPLE)) as stream:
        content = await stream.read()
    for name, source in _arrivals(SAMPLE):
        async with _open(make, source) as stream:
            yield name, stream, content


async def _fresh(make: Make, name: str) -> Stream:
    """Make one more stream with the same arrival."""
    if not _takes_source(make):
        return await _call(make)
    return await _call(make, dict(_arrivals(SAMPLE))[name])


def _law(condition: object, message: str) -> None:
    # Not `assert`: the kit must work under python -O.
    if not condition:
        raise AssertionError(message)


async def _raises(kind: type[BaseException], call: Awaitable[Any], what: str) -> None:
    try:
        result = await call
    except kind:
        return
    _law(False, f"{what} returned {type(result).__name__}, not {kind.__name__}")


async def law_01_read_is_exact(make: Make) -> None:
    """``read(n)`` is exact, ``read()`` gives all, the end is ``b""`` and sticky."""
    async for name, stream, content in _each(make):
        _law(await stream.read(0) == b"", f"{name}: read(0) gave bytes")
        got = await stream.read(-5)
        _law(got == content, f"{name}: read(0) or read(-5) lost bytes")
        for size in (-1, None, 0, 1, 10):
            _law(await stream.read(size) == b"", f"{name}: read({size}) after the end")
        for size in (1, 2, 3, 7, 100, len(content), len(content) + 1):
            if size:
                await _read_by(await _fresh(make, name), size, content, name)
        other = await _fresh(make, name)
        _law(await other.read(None) == content, f"{name}: read(None)")
        await other.close()


async def _read_by(stream: Stream, size: int, content: bytes, name: str) -> None:
    async with stream:
        for start in range(0, len(content), size):
            piece = await stream.read(size)
            _law(
                piece == content[start : start + size],
                f"{name}: read({size}) at {start} gave {len(piece)} other bytes",
            )
        _law(await stream.read(size) == b"", f"{name}: bytes after the end")
        _law(await stream.readany() == b"", f"{name}: readany() after the end")


async def law_02_readany_gives_bytes_until_the_end(make: Make) -> None:
    """``readany()`` gives at least one byte until the end, then ``b""`` for ever."""
    async for name, stream, content in _each(make):
        pieces = []
        while piece := await stream.readany():
            _law(type(piece) is bytes, f"{name}: readany() gave {type(piece)}")
            pieces.append(piece)
        _law(b"".join(pieces) == content, f"{name}: readany() gave other bytes")
        for _ in range(3):
            _law(await stream.readany() == b"", f"{name}: the end is not sticky")
        _law(await stream.read() == b"", f"{name}: read() after the end")


async def law_03_reads_like_a_stream_reader(make: Make) -> None:
    """Lines, separators, chunks, ``peek`` and ``unread`` as aiohttp documents them."""
    async for name, stream, content in _each(make):
        lines = content.splitlines(keepends=True) if b"\r" not in content else None
        expected = lines or [line for line in _split(content, b"\n") if line]
        got = [line async for line in stream]
        _law(got == expected, f"{name}: `async for` gave other lines")
        _law(await stream.readline() == b"", f"{name}: readline() after the end")
        for separator in (b"\n", b"\r\n--", b"not there at all"):
            async with await _fresh(make, name) as other:
                parts = []
                while part := await other.readuntil(separator):
                    parts.append(part)
            _law(
                parts == _split(content, separator), f"{name}: readuntil({separator!r})"
            )
        async with await _fresh(make, name) as other:
            chunks = [chunk async for chunk in other.iter_chunked(10)]
        _law(chunks == _cut(content, 10), f"{name}: iter_chunked(10)")
        async with await _fresh(make, name) as other:
            _law(
                b"".join([chunk async for chunk in other.iter_any()]) == content,
                f"{name}: iter_any()",
            )
        async with await _fresh(make, name) as other:
            await _exactly(other, content, name)
        async with await _fresh(make, name) as other:
            await _peek_and_unread(other, content, name)
        async with await _fresh(make, name) as other:
            await _long_line(other, content, name)


def _split(content: bytes, separator: bytes) -> list[bytes]:
    parts = content.split(separator)
    return [part + separator for part in parts[:-1]] + [p for p in parts[-1:] if p]


def _cut(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def _exactly(stream: Stream, content: bytes, name: str) -> None:
    half = len(content) // 2
    _law(await stream.readexactly(0) == b"", f"{name}: readexactly(0)")
    _law(await stream.readexactly(half) == content[:half], f"{name}: readexactly()")
    try:
        await stream.readexactly(len(content) + 1)
    except asyncio.IncompleteReadError as error:
        _law(error.partial == content[half:], f"{name}: IncompleteReadError.partial")
    else:
        _law(False, f"{name}: readexactly() beyond the end did not raise")


async def _peek_and_unread(stream: Stream, content: bytes, name: str) -> None:
    if content:
        looked = await stream.peek(4)
        _law(1 <= len(looked) <= 4, f"{name}: peek(4) gave {len(looked)} bytes")
        _law(content.startswith(looked), f"{name}: peek() gave other bytes")
    head = await stream.read(5)
    _law(head == content[:5], f"{name}: peek() consumed bytes")
    stream.unread(head)
    stream.unread(b"front")
    _law(await stream.read() == b"front" + content, f"{name}: unread() lost bytes")
    _law(await stream.peek(1) == b"", f"{name}: peek() at the end")
    stream.unread(b"more")
    _law(await stream.read() == b"more", f"{name}: unread() at the end")
    _law(await stream.read() == b"", f"{name}: the end after unread()")


async def _long_line(stream: Stream, content: bytes, name: str) -> None:
    line = _split(content, b"\n")[0] if content else b""
    if len(line) < 2:
        return
    limit = len(line) - 1
    try:
        await stream.readline(max_line_length=limit)
    except LimitExceeded as error:
        _law(error.limit == limit, f"{name}: LimitExceeded.limit is {error.limit}")
    else:
        _law(False, f"{name}: a line over max_line_length did not raise")
    got = await stream.readline(max_line_length=len(line))
    _law(got == line, f"{name}: a line of max_line_length, or after LimitExceeded")


async def law_04_size_is_kept(make: Make) -> None:
    """``size`` never changes by reading, and is what is delivered."""
    async for name, stream, content in _each(make):
        # A size may become known with the first byte (a file that is opened then).
        first = await stream.peek(1)
        size = stream.size
        _law(size is None or isinstance(size, int), f"{name}: size is {size!r}")
        await stream.read(max(1, len(content) // 2))
        _law(stream.size == size, f"{name}: size changed by reading")
        await stream.read()
        _law(stream.size == size, f"{name}: size changed at the end")
        _law(size in {None, len(content)}, f"{name}: size {size}, got {len(content)}")
        _law(bool(first) == bool(content), f"{name}: peek(1)")
    if _takes_source(make):
        for told in (len(SAMPLE) - 3, len(SAMPLE) + 3):
            liar = IterStream(_with_gaps(SAMPLE, 50), size=told)
            async with _open(make, liar) as stream:
                await _raises(SizeMismatch, stream.read(), f"a source that lies {told}")


async def law_05_content_type_is_text_or_none(make: Make) -> None:
    """``content_type`` is a ``str`` or ``None``, before and after reading."""
    async for name, stream, _ in _each(make):
        told = stream.content_type
        _law(told is None or isinstance(told, str), f"{name}: content_type {told!r}")
        await stream.read()
        _law(stream.content_type == told, f"{name}: content_type changed")


async def law_06_write_is_refused_unless_writable(make: Make) -> None:
    """A stream that cannot be written says ``NotImplementedError``."""
    async for name, stream, content in _each(make):
        if type(stream)._source_write is Stream._source_write:  # noqa: SLF001
            await _raises(NotImplementedError, stream.write(b"x"), f"{name}: write()")
            _law(await stream.read() == content, f"{name}: write() hurt reading")


async def law_07_close_is_final(make: Make) -> None:
    """``close()`` is idempotent, closes what is wrapped, and ends every operation."""
    async for name, stream, _ in _each(make):
        await stream.read(1)
        _law(not stream.closed, f"{name}: closed before close()")
        await stream.close()
        await stream.close()
        await stream.abort()
        _law(stream.closed, f"{name}: not closed after close()")
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "read()": stream.read,
            "read(0)": partial(stream.read, 0),
            "read(1)": partial(stream.read, 1),
            "readany()": stream.readany,
            "readline()": stream.readline,
            "readuntil()": stream.readuntil,
            "readexactly(1)": partial(stream.readexactly, 1),
            "peek(1)": partial(stream.peek, 1),
            "write()": partial(stream.write, b"x"),
            "async for": aiter(stream).__anext__,
            "iter_any()": stream.iter_any().__anext__,
            "iter_chunked(1)": stream.iter_chunked(1).__anext__,
        }
        for what, call in calls.items():
            await _raises(StreamClosed, call(), f"{name}: {what} after close()")
        with contextlib.suppress(StreamClosed):
            stream.unread(b"x")
            _law(False, f"{name}: unread() after close()")
        async with await _fresh(make, name) as other:
            pass
        _law(other.closed, f"{name}: `async with` does not close")
    if _takes_source(make):
        await _close_reaches_the_source(make)
        await _close_wakes_a_reader(make)


async def _close_reaches_the_source(make: Make) -> None:
    spy = SpyStream(ByteStream(SAMPLE))
    async with _open(make, spy) as stream:
        await stream.read(1)
    _law(spy.closings == 1, f"the source was closed {spy.closings} times, not once")


async def _close_wakes_a_reader(make: Make) -> None:
    stream = await _call(make, StallStream(b""))
    reader = asyncio.create_task(stream.read())
    await _turns(5)
    _law(not reader.done(), "a stalled source did not stall the reader")
    async with asyncio.timeout(5):
        await stream.close()
        await _raises(StreamClosed, reader, "a read that waits during close()")


async def law_08_data_comes_before_the_error(make: Make) -> None:
    """What arrived before a failure is delivered, then the error, again and again."""
    if not _takes_source(make):
        return
    async with _open(make, ByteStream(SAMPLE)) as stream:
        content = await stream.read()
    for after in (0, 1, 10, len(SAMPLE) - 1):
        for pieces in (1, 7, 64 * KiB):

            def source(after: int = after, pieces: int = pieces) -> Stream:
                return FailStream(SAMPLE, after, Failure("broken"), pieces=pieces)

            what = f"failing after {after} in pieces of {pieces}"
            async with _open(make, source()) as stream:
                got = await _until_error(stream, 3)
                # What is not changed on its way must have come as far as it had.
                right = (
                    got == SAMPLE[:after]
                    if content == SAMPLE
                    else content.startswith(got)
                )
                _law(right, f"{what}: read(3) gave other bytes, or not all of them")
                await _stays_failed(stream, what)
            async with _open(make, source()) as stream:
                await _raises(Failure, stream.read(), f"{what}: read()")
                await _raises(Failure, stream.read(), f"{what}: read() again")
                await _raises(
                    Failure, stream.readexactly(len(content)), f"{what}: readexactly()"
                )
                await _raises(
                    Failure, stream.readuntil(b"not there"), f"{what}: readuntil()"
                )
                kept = await _until_error(stream, None)
                _law(kept == got, f"{what}: read() lost what had arrived")
                await _stays_failed(stream, what)


async def _until_error(stream: Stream, size: int | None) -> bytes:
    got = b""
    while True:
        try:
            piece = await (stream.readany() if size is None else stream.read(size))
        except Failure:
            return got
        _law(piece, "a failing source looks like the end")
        got += piece


async def _stays_failed(stream: Stream, what: str) -> None:
    for call in (stream.readany, stream.read, stream.readline):
        await _raises(Failure, call(), f"{what}: {call.__name__}() after the error")


async def law_09_cancelled_and_concurrent_reads_lose_nothing(make: Make) -> None:
    """A cancelled read loses no bytes; a second reader gets ``StreamBusy``."""
    async for name, stream, content in _each(make):
        got = b""
        patience = 0
        while True:
            reader = asyncio.create_task(stream.read(11))
            await _turns(patience % 12)
            reader.cancel()
            try:
                piece = await reader
            except asyncio.CancelledError:
                # Wait longer each time, so that every await is hit and it ends.
                patience += 1
                if patience % 12 == 0:
                    await asyncio.sleep(0.002)
                    piece = await stream.read(11)
                    if not piece:
                        break
                    got += piece
                continue
            except Exception as error:
                raise AssertionError(f"{name}: after a cancelled read") from error
            if not piece:
                break
            got += piece
        _law(got == content, f"{name}: cancelled reads lost or doubled bytes")
    if _takes_source(make):
        async with _open(make, StallStream(b"")) as stream:
            await _second_reader_is_refused(stream)


async def _second_reader_is_refused(stream: Stream) -> None:
    reader = asyncio.create_task(stream.read())
    await _turns(5)
    for call in (stream.readany, stream.read, stream.readline):
        await _raises(StreamBusy, call(), f"a second {call.__name__}()")
    reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def law_10_the_event_loop_is_not_held(
    make: Make, *, longest: float = 0.02
) -> None:
    """No piece of work holds the event loop for long.

    Args:
        make: see :func:`check_stream`.
        longest: seconds of the loop's CPU time between two turns; far above the
            law's millisecond, since machines differ and share their cores.
    """
    stream = await (
        _call(make, _endless(8 * MiB)) if _takes_source(make) else _call(make)
    )
    stalls = [0.0, 0.0]

    async def heartbeat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    beating = asyncio.create_task(heartbeat())
    try:
        async with stream:
            async for _ in stream.iter_any():
                await asyncio.sleep(0)
    finally:
        beating.cancel()
    # One outlier may be the garbage collector's.
    worst = sorted(stalls)[-2:]
    _law(worst[0] <= longest, f"the event loop was held for {worst[0] * 1000:.0f} ms")


def _endless(total: int) -> Stream:
    block = bytes(range(256)) * 256

    def pieces() -> Iterator[bytes]:
        for _ in range(total // len(block)):
            yield block

    return IterStream(pieces())


async def law_11_memory_is_bounded(make: Make, *, bound: int = 4 * MiB) -> None:
    """Memory does not grow with what passes through.

    Args:
        make: see :func:`check_stream`.
        bound: the most a stream may hold, in bytes.
    """
    if not _takes_source(make):
        return
    stream = await _call(make, _endless(32 * MiB))
    tracemalloc.start()
    try:
        async with stream:
            before = tracemalloc.get_traced_memory()[0]
            while await stream.readany():
                pass
            peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    _law(peak <= bound, f"{peak} bytes of memory for one stream, bound {bound}")


async def law_12_repr_shows_no_bytes(make: Make) -> None:
    """``repr`` names the class and the state, and shows nothing of the body."""
    async for name, stream, content in _each(make):
        shown = [repr(stream)]
        await stream.read(max(1, len(content) // 2))
        shown.append(repr(stream))
        await stream.read()
        shown.append(repr(stream))
        await stream.close()
        shown.append(repr(stream))
        for text in shown:
            _law(type(stream).__name__ in text, f"{name}: repr lacks the class: {text}")
            _law(MARKER.decode() not in text, f"{name}: repr shows body bytes")
        _law("closed" in shown[-1], f"{name}: repr of a closed stream: {shown[-1]}")


LAWS: tuple[Callable[[Make], Awaitable[None]], ...] = (
    law_01_read_is_exact,
    law_02_readany_gives_bytes_until_the_end,
    law_03_reads_like_a_stream_reader,
    law_04_size_is_kept,
    law_05_content_type_is_text_or_none,
    law_06_write_is_refused_unless_writable,
    law_07_close_is_final,
    law_08_data_comes_before_the_error,
    law_09_cancelled_and_concurrent_reads_lose_nothing,
    law_10_the_event_loop_is_not_held,
    law_11_memory_is_bounded,
    law_12_repr_shows_no_bytes,
)
"""The laws, in the order in which :class:`aiostreams.Stream` states them."""


async def check_stream(make: Make) -> None:
    """Hold a Stream class to every law of :class:`aiostreams.Stream`.

    Args:
        make: ``make()`` gives a new stream over the same bytes at every call;
            ``make(source)`` gives a new stream that reads from ``source``, and the
            laws then decide how the bytes arrive. Sync or async.

    Raises:
        AssertionError: a law is broken; the traceback names it. Whatever else a
            stream raises where it must not is the cause of one.
    """
    for law in LAWS:
        try:
            await law(make)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{law.__name__}: {error!r}") from error
