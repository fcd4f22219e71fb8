"""What the laws leave open: guards reached through super(), close, errors, files."""

from __future__ import annotations

import asyncio
import io
import traceback
import zipfile
from collections.abc import Coroutine
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    IterStream,
    LimitExceeded,
    SizeMismatch,
    Stream,
    StreamBusy,
    StreamClosed,
)
from aiostreams.testing import DripStream, FailStream, SinkStream, StallStream


class Outer(ByteStream):
    """Overrides everything and calls its parent's."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.calls: list[str] = []

    async def readany(self) -> bytes:
        self.calls.append("readany")
        return await super().readany()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append("write")
        await super().write(data)

    async def close(self) -> None:
        self.calls.append("close")
        await super().close()

    async def abort(self) -> None:
        self.calls.append("abort")
        await super().abort()


async def test_a_method_reached_through_super_is_the_plain_one() -> None:
    stream = Outer(b"abc")
    assert await stream.readany() == b"abc"
    assert await stream.readany() == b""
    with pytest.raises(NotImplementedError):
        await stream.write(b"x")
    await stream.abort()
    await stream.close()
    assert stream.calls == ["readany", "readany", "write", "abort", "close"]
    assert stream.closed


async def test_what_a_stream_tells_of_itself() -> None:
    stream = FailStream(b"abcdef", 4, pieces=3)
    assert (stream.received, stream.position, stream.failed) == (0, 0, False)
    assert await stream.read(1) == b"a"
    assert (stream.received, stream.position) == (3, 1)
    stream.unread(b"a")
    assert (stream.received, stream.position) == (3, 0)
    assert await stream.read(9) == b"abcd"
    assert (stream.received, stream.position, stream.failed) == (4, 4, True)
    stream.check_open()
    assert stream.getvalue() is None
    await stream.close()
    for call in (stream.check_open, stream.getvalue):
        with pytest.raises(StreamClosed, match="FailStream is closed"):
            call()


async def test_what_is_here_is_read_without_waiting() -> None:
    stream = DripStream(b"abcdefgh", 4)
    assert stream.read_nowait() == b"", "nothing was received yet"
    assert await stream.read(1) == b"a"
    assert stream.read_nowait(2) == b"bc"
    assert stream.read_nowait(0) == b""
    ended = [stream.ended]
    stream.unread(b"c")
    assert stream.read_nowait(9) == b"cd"
    assert await stream.read() == b"efgh"
    ended.append(stream.ended)
    stream.unread(b"h")
    ended.append(stream.ended)
    assert stream.read_nowait() == b"h"
    assert ended == [False, True, False]
    await stream.close()
    with pytest.raises(StreamClosed):
        stream.read_nowait()


async def test_a_stream_is_busy_while_another_task_reads_or_writes() -> None:
    class Slow(StallStream):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            del data
            seen.append(self.busy)
            await asyncio.Event().wait()

        async def readany(self) -> bytes:
            seen.append(self.busy)
            return await super().readany()

        def use(self, how: str) -> Coroutine[Any, Any, object]:
            return self.readany() if how == "read" else self.write(b"x")

    seen: list[bool] = []
    for how in ("read", "write"):
        stream = Slow(b"")
        seen.append(stream.busy)
        task = asyncio.create_task(stream.use(how))
        await asyncio.sleep(0)
        seen.append(stream.busy)
        with pytest.raises(StreamBusy):
            await stream.use(how)
        task.cancel()
        await asyncio.wait([task])
        seen.append(stream.busy)
    assert seen == 2 * [False, False, True, False]


class Neither(Stream):
    """Implements nothing."""


def test_the_abstract_class_makes_no_streams() -> None:
    with pytest.raises(TypeError, match="Stream is abstract"):
        Stream(size=3)


async def test_a_stream_that_is_neither_readable_nor_writable() -> None:
    stream = Neither(size=3, content_type="text/plain")
    assert (stream.size, stream.content_type, stream.live) == (3, "text/plain", False)
    assert not stream.seekable
    with pytest.raises(NotImplementedError, match="not writable"):
        await stream.write(b"")
    with pytest.raises(NotImplementedError, match="cannot seek"):
        await stream.slice(0)
    with pytest.raises(NotImplementedError, match="not readable"):
        await stream.read()
    assert await stream.open() is stream
    await stream.close()
    with pytest.raises(StreamClosed):
        await stream.open()


async def test_bytes_likes_from_a_source_become_bytes() -> None:
    class Odd(Stream):
        def __init__(self) -> None:
            self.given: list[Any] = [bytearray(b"ab"), memoryview(b"cd"), 7]

        async def readany(self) -> bytes:
            return self.given.pop(0)  # type: ignore[no-any-return]

    stream = Odd()
    assert await stream.readany() == b"ab"
    assert type(await stream.readany()) is bytes
    with pytest.raises(TypeError):
        await stream.readany()


async def test_a_size_mismatch_tells_both_numbers_and_sticks() -> None:
    stream = IterStream([b"abcdef"], size=4)
    assert await stream.read(10) == b"abcd"
    for _ in range(2):
        with pytest.raises(SizeMismatch, match=r"promised 4 bytes.*6") as caught:
            await stream.readany()
        assert (caught.value.expected, caught.value.seen) == (4, 6)
    exact = IterStream([b"abcd", b"e"], size=4)
    assert await exact.readany() == b"abcd"
    with pytest.raises(SizeMismatch):
        await exact.readany()
    short = IterStream([b"ab"], size=4)
    with pytest.raises(SizeMismatch, match="ended after 2"):
        await short.read()
    assert await short.readany() == b"ab"


async def test_an_error_raised_many_times_does_not_grow() -> None:
    stream = FailStream(b"", 0)
    lengths = set()
    for _ in range(20):
        try:
            await stream.readany()
        except RuntimeError as error:
            lengths.add(len(traceback.extract_tb(error.__traceback__)))
    assert len(lengths) <= 2


async def test_close_wakes_reader_and_writer_without_cancelling_them() -> None:
    class Stuck(StallStream):
        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await asyncio.get_running_loop().create_future()

    stream = Stuck(b"")

    async def use(call: Any) -> Any:
        try:
            await call
        except StreamClosed:
            # Nothing of the wake-up is left: the task goes on as if never touched.
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)
            return "told"

    tasks = [
        asyncio.create_task(use(stream.readany())),
        asyncio.create_task(use(stream.write(b"x"))),
    ]
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await stream.write(b"y")
    await stream.close()
    assert await asyncio.gather(*tasks) == ["told", "told"]


async def test_a_cancel_beside_a_close_stays_a_cancel() -> None:
    stream = StallStream(b"")
    reader = asyncio.create_task(stream.readany())
    await asyncio.sleep(0)
    reader.cancel()
    await stream.close()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_cancel_after_a_source_closed_itself_stays_a_cancel() -> None:
    class ClosesItself(Stream):
        async def readany(self) -> bytes:
            await self.close()
            await asyncio.Event().wait()
            return b"never"

    reader = asyncio.create_task(ClosesItself().readany())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_what_a_source_does_when_it_is_closed_while_it_waits() -> None:
    class Stubborn(Stream):
        """Finishes in spite of the wake-up, or fails by it."""

        def __init__(self, how: str) -> None:
            self.how = how

        async def readany(self) -> bytes:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.how == "fails":
                    raise ZeroDivisionError from None
            return b"data"

        async def write(self, data: bytes | bytearray | memoryview) -> None:
            await self.readany()

    for how in ("finishes", "fails"):
        for call in ("readany", "write"):
            stream = Stubborn(how)
            method = stream.readany() if call == "readany" else stream.write(b"")
            task = asyncio.create_task(_status(method))
            await asyncio.sleep(0)
            await stream.close()
            assert await task == ("StreamClosed", 0)


async def _status(call: Any) -> tuple[str, int]:
    task = asyncio.current_task()
    assert task is not None
    try:
        await call
    except Exception as error:
        return type(error).__name__, task.cancelling()
    return "nothing", task.cancelling()


async def test_a_failed_write_leaves_the_stream_usable() -> None:
    sink = SinkStream(fail_at=5)
    await sink.write(b"abc")
    with pytest.raises(RuntimeError):
        await sink.write(b"defg")
    await sink.write(b"de")
    assert bytes(sink.written) == b"abcde"


async def test_a_busy_source_inside_does_not_fail_the_outer_stream() -> None:
    class Outside(Stream):
        def __init__(self, source: Stream) -> None:
            self.source = source

        async def readany(self) -> bytes:
            return await self.source.readany()

    inner = DripStream(b"ab", turns=3)
    outer = Outside(inner)
    reader = asyncio.create_task(inner.readany())
    await asyncio.sleep(0)
    with pytest.raises(StreamBusy):
        await outer.readany()
    assert await reader == b"a"
    assert await outer.read() == b"b"


async def test_async_with_aborts_on_an_exception() -> None:
    sink = SinkStream()
    with pytest.raises(ZeroDivisionError):
        async with sink:
            await sink.write(b"x")
            raise ZeroDivisionError
    assert (sink.aborted, sink.committed) == (True, False)
    async with SinkStream() as other:
        pass
    assert (other.aborted, other.committed) == (False, True)


async def test_abort_of_a_stream_that_only_closes_closes_it() -> None:
    closed = []

    class Closing(Stream):
        async def close(self) -> None:
            closed.append(self)

    stream = Closing()
    await stream.abort()
    await stream.close()
    assert closed == [stream]


# -- reading -----------------------------------------------------------------------


async def test_readexactly_gives_the_error_and_keeps_the_bytes() -> None:
    stream = FailStream(b"abcdef", 4, pieces=2)
    with pytest.raises(RuntimeError, match="failed after 4"):
        await stream.readexactly(6)
    assert await stream.readexactly(3) == b"abc"
    assert await stream.readexactly(-1) == b""
    assert await stream.read(9) == b"d"


async def test_iter_chunked_takes_whole_chunks_only() -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        ByteStream(b"").iter_chunked(0)


@pytest.mark.parametrize("pieces", [1, 2, 3, 100])
async def test_a_separator_that_straddles_pieces(pieces: int) -> None:
    data = b"a\r\r\nb\r\n\r\nc\rd"
    stream = DripStream(data, pieces, turns=0)
    got = []
    while part := await stream.readuntil(b"\r\n"):
        got.append(part)
    assert got == [b"a\r\r\n", b"b\r\n", b"\r\n", b"c\rd"]
    stream = DripStream(b"xabcabcabd-", pieces, turns=0)
    assert await stream.readuntil(b"abcabd") == b"xabcabcabd"
    assert await stream.read() == b"-"


@pytest.mark.parametrize("pieces", [1, 3, 100])
async def test_a_line_over_its_limit_stays_where_it_is(pieces: int) -> None:
    stream = DripStream(b"12345\n12\n", pieces, turns=0)
    with pytest.raises(LimitExceeded) as caught:
        await stream.readline(max_line_length=5)
    assert caught.value.limit == 5
    assert caught.value.seen >= 6
    assert await stream.readline(max_line_length=6) == b"12345\n"
    assert await stream.readline(max_line_length=3) == b"12\n"


async def test_peek_joins_what_is_there_and_waits_for_no_more() -> None:
    stream = DripStream(b"abcdef", (1, 2, 3), turns=0)
    assert await stream.peek(0) == b""
    assert await stream.peek(5) == b"a"
    stream.unread(b"yz")
    assert await stream.peek(9) == b"yza"
    assert await stream.peek(2) == b"yz"
    assert await stream.peek(1) == b"y"
    assert await stream.read(4) == b"yzab"
    assert await stream.peek(9) == b"c"
    stream.unread(memoryview(b"--"))
    stream.unread(b"")
    assert await stream.read(2) == b"--"
    assert await stream.read() == b"cdef"


async def test_read_across_what_was_pushed_back() -> None:
    stream = ByteStream(b"0123456789")
    assert await stream.read(4) == b"0123"
    stream.unread(b"abc")
    stream.unread(b"xy")
    assert await stream.read(4) == b"xyab"
    stream.unread(b"!")
    assert await stream.readline() == b"!c456789"
    for pushed in (b"ab", b"cd", b"ef"):
        stream.unread(pushed)
    assert await stream.read(4) == b"efcd"
    assert await stream.read(9) == b"ab"


async def test_a_line_across_what_was_pushed_back() -> None:
    stream = ByteStream(b"tail\nrest\nend")
    for pushed in (b"two\n", b"one ", b"a\n"):
        stream.unread(pushed)
    assert [line async for line in stream] == [
        b"a\n",
        b"one two\n",
        b"tail\n",
        b"rest\n",
        b"end",
    ]


async def test_a_line_over_several_pieces_leaves_the_pieces_behind_it() -> None:
    stream = ByteStream(b"")
    for piece in (b"later", b"b\n2", b"a"):  # the last is the first to be read
        stream.unread(piece)
    assert await stream.readline() == b"ab\n"
    assert [piece async for piece in stream.iter_any()] == [b"2", b"later"]


async def test_an_empty_separator_is_refused_and_nothing_is_lost() -> None:
    stream = ByteStream(b"abc")
    with pytest.raises(ValueError, match="at least one-byte"):
        await stream.readuntil(b"")
    assert await stream.read() == b"abc"


# -- as_file -----------------------------------------------------------------------


async def test_as_file_reads_in_a_thread_and_gives_back_what_is_left() -> None:
    stream = DripStream(b"0123456789" * 100, 300)

    def work(file: io.RawIOBase) -> Any:
        with file:
            first = file.read(5)
            assert file.tell() == 5
            assert file.readable()
            assert not file.seekable()
            assert file.readinto(bytearray()) == 0
            with pytest.raises(io.UnsupportedOperation):
                file.seek(0)
            return first

    assert await asyncio.to_thread(work, stream.as_file()) == b"01234"
    assert await stream.read(5) == b"56789"
    whole = io.TextIOWrapper(io.BufferedReader(stream.as_file()))
    assert len(await asyncio.to_thread(whole.read)) == 990
    await asyncio.to_thread(whole.close)
    assert not stream.closed


async def test_as_file_on_the_loop_raises_instead_of_waiting_for_itself() -> None:
    stream = ByteStream(b"abc")
    file = stream.as_file()
    with pytest.raises(RuntimeError, match="worker thread"):
        file.read(1)
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        file.read(1)
    with pytest.raises(ValueError, match="closed file"):
        file.tell()
    await stream.close()
    with pytest.raises(StreamClosed):
        stream.as_file()


async def test_as_file_is_called_on_the_loop_and_says_so() -> None:
    stream = ByteStream(b"abc")
    with pytest.raises(RuntimeError, match=r"call as_file\(\) on the event loop"):
        await asyncio.to_thread(stream.as_file)


async def test_as_file_seeks_where_the_stream_can() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.txt", "hello" * 1000)
        made.writestr("b.txt", "world")
    stream = ByteStream(archive.getvalue())

    def work(file: io.RawIOBase) -> Any:
        with file, zipfile.ZipFile(io.BufferedReader(file)) as opened:
            return opened.read("b.txt"), opened.namelist()

    assert await asyncio.to_thread(work, stream.as_file()) == (
        b"world",
        ["a.txt", "b.txt"],
    )

    def moves(file: io.RawIOBase) -> Any:
        with file:
            got = [file.seek(3), file.read(2), file.seek(1, io.SEEK_CUR), file.read(1)]
            got += [
                file.seek(-2, io.SEEK_END),
                file.read(9),
                file.seek(0),
                file.read(1),
                file.seek(1),  # where it is
                file.read(1),
            ]
            with pytest.raises(ValueError, match="negative"):
                file.seek(-1)
            return got

    other = ByteStream(b"0123456789")
    assert await asyncio.to_thread(moves, other.as_file()) == [
        *(3, b"34", 6, b"6"),
        *(8, b"89", 0, b"0", 1, b"1"),
    ]


async def test_as_file_asks_an_unopened_source_for_its_end() -> None:
    class Lazy(ByteStream):
        """Knows its size by its slices only, as a file does before it is opened."""

        @property
        def size(self) -> int | None:
            return None

        async def slice(self, offset: int, length: int | None = None) -> ByteStream:
            return ByteStream(self.getvalue()[offset:])

    def work(file: io.RawIOBase) -> Any:
        with file:
            return file.seek(-1, io.SEEK_END), file.read()

    assert await asyncio.to_thread(work, Lazy(b"abc").as_file()) == (2, b"c")

    class Unknown(ByteStream):
        @property
        def size(self) -> int | None:
            return None

        async def slice(self, offset: int, length: int | None = None) -> Any:
            return Unknown(self.getvalue()[offset:])

    def fails(file: io.RawIOBase) -> None:
        with file, pytest.raises(io.UnsupportedOperation, match="unknown"):
            file.seek(0, io.SEEK_END)

    await asyncio.to_thread(fails, Unknown(b"abc").as_file())


async def test_as_file_writes() -> None:
    sink = SinkStream(turns=1)

    def work(file: io.RawIOBase) -> Any:
        buffer = bytearray(b"abc")
        with file:
            assert file.writable()
            count = file.write(buffer)
            buffer[:] = b"xyz"  # the writer may reuse its buffer
            with zipfile.ZipFile(io.BufferedWriter(file), "w") as made:
                made.writestr("a", "b")
            return count

    assert await asyncio.to_thread(work, sink.as_file()) == 3
    assert sink.written.startswith(b"abcPK")
    assert not sink.closed
