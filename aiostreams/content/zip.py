"""Zip archives, made while they are sent.

``sansio/zip.py`` lays an archive out; here its members are opened, one at a time, and
their bytes are sent between the headers. Where the sizes of all are known beforehand
the archive is *planned*: it has a size, and a part of it can be read alone, so that a
download that broke off goes on. ``_Writer`` makes the bytes from one place of the
archive to another, and takes from the members no more than that needs; their CRC-32,
which the directory repeats, may need more.

Bytes that are not deflated cost a CRC-32 of them, and no copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import inspect
import os
import stat
import sys
from array import array
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from aiostreams.codings.encoded import GZipStream
from aiostreams.codings.zlib_backend import zlib_backend
from aiostreams.content.base import Content
from aiostreams.content.file import File
from aiostreams.errors import SizeMismatch, StorageError
from aiostreams.files.file import FileStream
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.disposition import content_disposition
from aiostreams.sansio.zip import ZipDirectory, check_name, dos_time
from aiostreams.streams.base import Stream
from aiostreams.streams.iterable import ProducedStream
from aiostreams.streams.memory import ByteStream
from aiostreams.streams.sections import ChainStream, SliceStream
from aiostreams.streams.tasks import PendingCall, Producer
from aiostreams.streams.threads import ThreadCall

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Mapping

    from aiostreams.limits import Limits

__all__ = ["Zip", "ZipMember", "ZipStream"]

_CONTENT_TYPE: Final = "application/zip"
# Members of so many bytes in memory are written at once, and pieces joined so far.
_SMALL: Final = 16 * KiB
# After so many members other tasks get their turn: half a millisecond or less.
_TURN: Final = 50
# A CRC-32 of so many bytes takes 0.25 ms at the worst; of more, a thread.
_IN_PLACE: Final = 1 * MiB
# Of a sequence so many members are checked at once, the others when it is opened.
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of a :class:`ZipStream`: a name and where its bytes come from.

    Args:
        name: where it is unpacked to: a relative path with ``/`` between its parts. A
            final ``/`` makes it a folder, which has no bytes.
        source: a Stream (owned by the archive), a Content, a path, or bytes. One that
            can seek is read from its beginning, another one from where it stands.
        modified: when it was changed: POSIX seconds, or a ``datetime``; one without a
            zone is taken as it stands, another one in UTC. Brought into 1980 to 2107;
            the beginning of 1980 when ``None``.
        crc32: the CRC-32 of its bytes, if it is known. A range then need not read
            the member to know it; bytes that do not match break the stream.
        compress: whether to deflate it; its size is not known then.
        mode: permission bits; ``0o644``, of a folder ``0o755``, when ``None``.

    Raises:
        ValueError: the name is empty, absolute or longer than 65,535 bytes, has a
            drive letter, a backslash, NUL or a lone surrogate, or a part that is
            empty, ``.`` or ``..``; a folder has bytes; or a number is out of range.
        TypeError: ``source`` is none of these.
    """

    name: str
    source: Source = b""
    _: KW_ONLY
    modified: float | dt.datetime | None = None
    crc32: int | None = None
    compress: bool = False
    mode: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        dos_time(self.modified)
        _check_source(self.name, self.source)


Source: TypeAlias = (
    Stream | Content | str | os.PathLike[str] | bytes | bytearray | memoryview
)
Member: TypeAlias = ZipMember | tuple[str, Source]
# As an archive keeps them.
_Source: TypeAlias = Stream | str | bytes


class ZipStream(ProducedStream):
    """A zip archive of many sources, made while it is read.

    The bytes depend on the members alone: no time of its own, no machine's name.
    Numbers beyond 4 GiB and 65,534 members are written as Zip64 has it.

    When ``members`` is a sequence, none is compressed and all sizes are known, the
    archive has a ``size``, from :meth:`open` on or the first byte. When all can seek
    besides, so can the archive, and its ``etag`` is made of theirs: a response to it
    answers ranges and conditions. A range that needs the CRC-32 of what it skips
    reads that, unless :class:`ZipMember` says it.

    Members are opened one at a time, those that can seek through a slice, and closed
    when they have been read; Streams that were given are closed with the archive, if
    not before. A slice of the archive outlives it. A member that fails, or has other
    bytes than it promised, fails the stream before the directory, without which
    no reader takes it for an archive.

    Args:
        members: an iterable, sync or async, of :class:`ZipMember` or ``(name,
            source)``. A sync one must not block.

    Raises:
        ValueError: a name cannot be used, or is there twice; of a long sequence, or
            an iterable that is none, ``open`` or a read may raise it. The streams are
            the caller's to close when this raises.
        TypeError: something is no member.
    """

    def __init__(self, members: Iterable[Member] | AsyncIterable[Member]) -> None:
        super().__init__(content_type=_CONTENT_TYPE)
        self._archive = _Archive(members)
        self._producer = _Writer(self._archive, {})

    @property
    def size(self) -> int | None:
        """The size of the archive; ``None`` before it is open, or if never known."""
        return self._archive.size

    @property
    def etag(self) -> str | None:
        """A strong entity tag; ``None`` before it is open, or if a member has none."""
        return self._archive.etag

    @property
    def seekable(self) -> bool:
        """Whether it is open, and can seek."""
        return self._archive.seekable

    async def open(self) -> Self:
        """Find out the sizes of all members, if they are a sequence.

        Raises:
            ValueError: a name cannot be used, or is there twice; a Content cannot be
                encoded.
            FileNotFoundError: a path leads nowhere, or as ``FileStream.open``.
            StorageError: likewise.
            SizeMismatch: bytes do not have the CRC-32 that was given.
        """
        self.check_open()
        try:
            await self._archive.open()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self.check_open()  # it was close() that has cancelled it
            raise
        self.check_open()
        return self

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part of the archive, out of slices of the members it needs.

        Raises:
            NotImplementedError: the archive cannot seek.
            ValueError: ``offset`` or ``length`` is negative.
            Exception: what :meth:`open` raises.
        """
        await self.open()
        return await _slice(self._archive, {}, offset, length)

    async def close(self) -> None:
        """Close all Streams that were given, also when one of them fails to."""
        try:
            await super().close()
        finally:
            await self._archive.close()


async def _slice(
    archive: _Archive, parts: _Parts, offset: int, length: int | None, start: int = 0
) -> Stream:
    """Make a part of an archive, or of its slice from ``start``, with own Streams."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset and length must not be negative: {offset}, {length}")
    if not archive.seekable:
        raise NotImplementedError(
            "an archive cannot seek unless all of its members can"
        )
    assert archive.size is not None
    stop = (
        archive.size if length is None else min(archive.size, start + offset + length)
    )
    start = min(start + offset, stop)
    own: _Parts = {}
    try:
        async for number, begin, end in archive.needed(start, stop):
            if isinstance(archive.sources[number], Stream):
                own[number] = begin, await archive.read(number, begin, end, parts)
    except BaseException:
        await ChainStream(*(stream for _, stream in own.values())).close()
        raise
    return _ZipSlice(archive, own, start, stop)


class _ZipSlice(ProducedStream):
    """A part of an archive."""

    def __init__(self, archive: _Archive, parts: _Parts, start: int, stop: int) -> None:
        super().__init__(size=stop - start, content_type=_CONTENT_TYPE)
        self._archive = archive
        self._parts = parts
        self._start = start
        self._producer = _Writer(archive, parts, start, stop)

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        """Return a part of this part."""
        self.check_open()
        size = self.size
        assert size is not None
        rest = max(0, size - offset)
        length = rest if length is None else min(length, rest)
        return await _slice(self._archive, self._parts, offset, length, self._start)

    async def close(self) -> None:
        """Close the slices of the members."""
        try:
            await super().close()
        finally:
            await ChainStream(*(stream for _, stream in self._parts.values())).close()


# Of some members a stream that begins at a byte of theirs, and the byte.
_Parts: TypeAlias = dict[int, tuple[int, Stream]]


class _Archive:
    """The members, and what is known of them; shared with slices.

    Attributes:
        directory: their headers.
        sources: their bytes; of an iterable that is no sequence those of the last.
        size: of the archive, if known.
        seekable: whether a part of it can be made.
        etag: of the archive, if all members have one.
    """

    def __init__(self, members: Iterable[Member] | AsyncIterable[Member]) -> None:
        self.directory = ZipDirectory()
        self.sources: list[_Source | Content] = []
        self.size: int | None = None
        self.seekable = False
        self.etag: str | None = None
        self._backend = zlib_backend()
        self._opening: PendingCall[None] = PendingCall()
        self._opened = False
        self._failure: Exception | None = None
        self._iterator: Any = None
        self._sequence: Sequence[Member] | None = None
        if isinstance(members, AsyncIterable):
            self._iterator = aiter(members)
        elif isinstance(members, Sequence):
            self._sequence = members
            for member in members[:_AT_ONCE]:
                self._add(member)
        elif isinstance(members, Iterable):
            self._iterator = iter(members)
        else:
            raise TypeError(
                f"members must be an iterable, not {type(members).__name__}"
            )

    @property
    def planned(self) -> bool:
        """Whether it is known where everything stands."""
        return self.size is not None

    def _add(self, member: Member) -> int:
        if isinstance(member, tuple) and len(member) == 2:
            name, source = member
            number = self.directory.add(name)
            _check_source(name, source)
        elif isinstance(member, ZipMember):
            source = member.source
            number = self.directory.add(
                member.name,
                modified=member.modified,
                crc32=member.crc32,
                deflate=member.compress,
                mode=member.mode,
            )
        else:
            raise TypeError(
                "a member must be a ZipMember or (name, source), not "
                f"{type(member).__name__}"
            )
        if isinstance(source, (str, os.PathLike)):
            source = os.fspath(source)
        elif isinstance(source, (bytearray, memoryview)):
            source = bytes(source)
        self.sources.append(source)
        return number

    async def numbers(self) -> AsyncGenerator[int, None]:
        """Yield the members in order, each when it is there."""
        if self._sequence is not None:
            for number in range(len(self.directory)):
                yield number
            return
        try:
            async for member in _each(self._iterator):
                # The stream of the last one was closed when it had been read.
                self.sources.clear()
                yield self._add(member)
        finally:
            await self._end_iterator()
        self.directory.seal()

    async def _end_iterator(self) -> None:
        iterator, self._iterator = self._iterator, None
        if inspect.isgenerator(iterator):
            iterator.close()
        elif (aclose := getattr(iterator, "aclose", None)) is not None:
            await aclose()

    # -- before anything is written ------------------------------------------------

    async def open(self) -> None:
        """Plan the archive, if that can be.

        Raises:
            Exception: what has failed; the same again when called again.
        """
        if self._failure is not None:
            raise self._failure
        if not self._opened and self._sequence is not None:
            await self._opening.run(self._open)

    async def _open(self) -> None:
        try:
            await self._plan()
        except Exception as error:
            self._failure = error
            raise
        self._opened = True

    async def _plan(self) -> None:
        assert self._sequence is not None
        directory = self.directory
        for number in range(len(self.sources), len(self._sequence)):
            self._add(self._sequence[number])
            await _turn(number)
        directory.seal()
        tags: hashlib.blake2b | None = hashlib.blake2b(digest_size=12)
        planned = seekable = True
        sizes = array("Q")
        for first in range(0, len(directory), _TURN):
            batch = range(first, min(first + _TURN, len(directory)))
            for number, known in zip(batch, await self._look_at(batch), strict=True):
                if known.size is None or directory.deflated(number):
                    planned = False
                sizes.append(known.size or 0)
                seekable = seekable and known.seekable
                if known.tag is not None:
                    if tags is not None:
                        tags.update(b"%d %b " % (number, known.tag.encode()))
                elif directory.crc32(number) is None:
                    tags = None
            await asyncio.sleep(0)
        if planned:
            size = 0
            for number, known_size in enumerate(sizes):
                directory.place(number, known_size)
                header = directory.central(number)
                size += len(header)
                if tags is not None:
                    tags.update(header)
                await _turn(number)
            self.size = directory.end + size + len(directory.end_record(size))
            self.seekable = seekable
            self.etag = None if tags is None else tags.hexdigest()

    async def _look_at(self, batch: range) -> list[_Known]:
        found: list[_Known] = []
        paths: list[tuple[int, str]] = []
        for number in batch:
            source = self.sources[number]
            if isinstance(source, Content):
                source = self.sources[number] = _encoded(source)
            if type(source) in {bytes, ByteStream}:
                await self.learn(number, source)
            if isinstance(source, str):
                paths.append((number - batch.start, source))
                found.append(_Known(None))
            elif isinstance(source, bytes):
                found.append(_Known(len(source)))
            elif (again := _unopened(source)) is not None:
                async with again:
                    await again.open()
                    found.append(_Known(again.size, again.etag))
            else:
                await source.open()
                tag: str | None = getattr(source, "etag", None)
                found.append(_Known(_left(source), tag, seekable=source.seekable))
        if paths:
            call = ThreadCall(lambda: [_stat(path) for _, path in paths])
            await call.wait()
            for (place, _), known in zip(paths, call.result(), strict=True):
                found[place] = known
        return found

    async def learn(self, number: int, source: _Source) -> None:
        """Compute the CRC-32 of what is in memory, before its header is written."""
        if type(source) is ByteStream and not source.closed:
            source = source.getvalue()
        if isinstance(source, bytes):
            self.check(number, await self.crc32(source))

    async def crc32(self, data: bytes, value: int = 0) -> int:
        """Return the CRC-32 of ``data``, continued from ``value``."""
        crc32 = self._backend.crc32
        if len(data) <= _IN_PLACE:
            return crc32(data, value)
        call = ThreadCall(lambda: crc32(data, value))
        await call.wait()
        return call.result()

    def check(self, number: int, crc32: int) -> None:
        """Take note of a CRC-32.

        Raises:
            SizeMismatch: another one was given.
        """
        given = self.directory.crc32(number)
        if given is not None and given != crc32:
            raise SizeMismatch(
                f"member {self.directory.name(number)[:80]!r} has bytes of CRC-32 "
                f"{crc32:08x}, promised {given:08x}"
            )
        self.directory.learn(number, crc32)

    # -- the bytes of members ------------------------------------------------------

    def source(self, number: int) -> _Source:
        """Return the source of a member's bytes; of an iterable the last one only."""
        place = 0 if self._sequence is None else number
        source = self.sources[place]
        if isinstance(source, Content):
            source = self.sources[place] = _encoded(source)
        return source

    async def read(
        self, number: int, begin: int, end: int | None, parts: _Parts
    ) -> Stream:
        """Return a stream of bytes of a member, to be closed when it has been read."""
        length = None if end is None else end - begin
        if number in parts:
            base, part = parts[number]
            return await part.slice(begin - base, length)
        source = self.source(number)
        if isinstance(source, bytes):
            return ByteStream(source[begin:end])
        if isinstance(source, str):
            return FileStream(source, offset=begin, length=length)
        if (again := _unopened(source)) is not None:
            return SliceStream(again, begin, length)
        return await source.slice(begin, length) if source.seekable else source

    async def needed(
        self, start: int, stop: int
    ) -> AsyncGenerator[tuple[int, int, int], None]:
        """Yield the members that this range needs, and each from where to where."""
        directory = self.directory
        count = len(directory)
        first = directory.at(start) if start < directory.end else count
        number = first
        while number < count and directory.start(number) < stop:
            begin, end = self.part(number, start, stop)
            if begin < end:
                yield number, begin, end
            number += 1
            await _turn(number)
        at = directory.end
        for number in range(count if stop > at else 0):
            at += directory.central_size(number)
            if start < at and directory.crc32(number) is None and number < first:
                size = directory.size(number)
                assert size is not None
                yield number, 0, size
            await _turn(number)

    def part(self, number: int, start: int, stop: int) -> tuple[int, int]:
        """Return which of a member's bytes are needed for ``start`` to ``stop``."""
        directory = self.directory
        begin, end = directory.begin(number), directory.stop(number)
        if stop > end and directory.crc32(number) is None:
            return 0, end - begin
        return max(0, start - begin), min(stop, end) - begin

    async def close(self) -> None:
        """Close what was given, as far as it is open, and what gives it."""
        await self._opening.cancel()
        sources = [_owned(source) for source in self.sources]
        try:
            await self._end_iterator()
        finally:
            await ChainStream(*(s for s in sources if s is not None)).close()


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out about a member's bytes."""

    size: int | None
    tag: str | None = None
    seekable: bool = True


class _Writer(Producer):
    """Makes bytes ``start`` to ``stop`` of an archive."""

    def __init__(
        self, archive: _Archive, parts: _Parts, start: int = 0, stop: int = sys.maxsize
    ) -> None:
        super().__init__(ahead=_SMALL)
        self._archive = archive
        self._parts = parts
        self._start = start
        self._stop = stop
        # Where in the archive the bytes stand that are made next.
        self._at = 0

    async def _run(self) -> None:
        archive = self._archive
        await archive.open()
        directory = archive.directory
        if not archive.planned:
            async with contextlib.aclosing(archive.numbers()) as numbers:
                async for number in numbers:
                    await self._write_next(number)
        elif self._start < directory.end:
            first = directory.at(self._start)
            self._at = directory.start(first)
            for number in range(first, len(directory)):
                if self._at >= self._stop:
                    return
                await self._write_planned(number)
        if directory.end < self._stop:
            await self._write_directory()

    async def _write_planned(self, number: int) -> None:
        directory = self._archive.directory
        await self._emit(directory.header(number))
        begin, end = self._archive.part(number, self._start, self._stop)
        source = self._archive.source(number)
        # One that promises no bytes is held to it, where it may be asked.
        doubted = isinstance(source, Stream) and not end and self._stop == sys.maxsize
        if begin < end or doubted:
            self._at = directory.begin(number) + begin
            if isinstance(source, bytes):
                await self._emit(source[begin:end])
            else:
                await self._read(number, begin, end)
        self._at = directory.stop(number)
        await self._emit(directory.descriptor(number))

    async def _read(
        self, number: int, begin: int, end: int, *, send: bool = True
    ) -> None:
        """Read part of a member of known size, and verify it if it is all of it."""
        archive = self._archive
        stream = await archive.read(number, begin, end, self._parts)
        async with stream:
            crc32, seen = await self._pass(number, stream, end - begin, send=send)
        if seen != end - begin:
            raise self._mismatch(number, "ended after", seen, end - begin)
        if seen == archive.directory.size(number):
            archive.check(number, crc32)

    async def _write_next(self, number: int) -> None:
        """Write a member of which nothing was known before."""
        archive, directory = self._archive, self._archive.directory
        source = archive.source(number)
        await archive.learn(number, source)
        if isinstance(source, bytes) and not directory.deflated(number):
            directory.place(number, len(source))
            await self._emit(directory.header(number))
            await self._emit(source)
            return
        async with await archive.read(number, 0, None, self._parts) as stream:
            await stream.open()
            before = stream.position
            size = _left(stream)
            directory.place(number, size)
            await self._emit(directory.header(number))
            if directory.deflated(number):
                crc32, packed = await self._deflate(stream)
                seen = stream.position - before
            else:
                crc32, seen = await self._pass(number, stream, size)
                packed = seen
        if size is not None and seen != size:
            raise self._mismatch(number, "ended after", seen, size)
        archive.check(number, crc32)
        directory.finish(number, crc32=crc32, size=seen, packed=packed)
        await self._emit(directory.descriptor(number))

    async def _pass(
        self, number: int, stream: Stream, size: int | None, *, send: bool = True
    ) -> tuple[int, int]:
        """Send the bytes of ``stream`` as they are; their CRC-32 and number."""
        crc32 = seen = 0
        async for piece in stream.iter_any():
            seen += len(piece)
            if size is not None and seen > size:
                raise self._mismatch(number, "gave at least", seen, size)
            crc32 = await self._archive.crc32(piece, crc32)
            if send:
                await self._emit(piece)
        return crc32, seen

    async def _deflate(self, stream: Stream) -> tuple[int, int]:
        """Send the bytes of ``stream`` deflated; their CRC-32 and what they became.

        That is what gzip has between its header of ten bytes and its trailer, which
        has the CRC-32.
        """
        packed = 0
        async with GZipStream(stream) as zipped:
            await zipped.readexactly(10)
            held = b""
            async for piece in zipped.iter_any():
                held += piece
                packed += len(held[:-8])
                await self._emit(held[:-8])
                held = held[-8:]
        return int.from_bytes(held[:4], "little"), packed

    async def _write_directory(self) -> None:
        directory = self._archive.directory
        self._at = directory.end
        size = 0
        for number in range(len(directory)):
            if self._at >= self._stop:
                return
            length = directory.central_size(number)
            unknown = directory.crc32(number) is None
            if unknown and self._at + length > self._start:
                whole = directory.size(number)
                assert whole is not None
                await self._read(number, 0, whole, send=False)
            size += length
            await self._emit(directory.central(number))
            await _turn(number)
        await self._emit(directory.end_record(size))

    async def _emit(self, data: bytes) -> None:
        """Hand out what of ``data`` is wanted."""
        begin = self._at
        end = self._at = begin + len(data)
        if begin < self._start or end > self._stop:
            data = data[max(0, self._start - begin) : max(0, self._stop - begin)]
        await self.put(data)

    def _mismatch(self, number: int, what: str, seen: int, size: int) -> SizeMismatch:
        name = self._archive.directory.name(number)[:80]
        return SizeMismatch(
            f"member {name!r} promised {size} bytes, its source {what} {seen}",
            expected=size,
            seen=seen,
        )


async def _turn(number: int) -> None:
    """Let other tasks run, now and then."""
    if number % _TURN == _TURN - 1:
        await asyncio.sleep(0)


async def _each(iterator: Any) -> AsyncGenerator[Member, None]:
    if isinstance(iterator, AsyncIterable):
        async for member in iterator:
            yield member
    else:
        for member in iterator:
            yield member


def _left(stream: Stream) -> int | None:
    """Return how many bytes a member has of this source."""
    size = stream.size
    return size if size is None or stream.seekable else size - stream.position


def _encoded(content: Content) -> _Source:
    """Encode a Content to something that costs no more than its bytes."""
    if isinstance(content, File) and content.path is not None:
        return content.path
    stream = content.encode()
    if type(stream) is ByteStream and not stream.position:
        return stream.getvalue()
    return stream


def _owned(source: Stream | Content | str | bytes) -> Stream | None:
    """Return the stream to close, if there is one: a File may have an unopened one."""
    if isinstance(source, File):
        with contextlib.suppress(RuntimeError):  # it was encoded elsewhere
            source = _encoded(source)
    return source if isinstance(source, Stream) else None


def _unopened(stream: Stream) -> FileStream | None:
    """Another stream of a file that is not open, which so need not be for long."""
    if isinstance(stream, FileStream) and stream.size is None:
        return stream.reopened()
    return None


def _stat(path: str) -> _Known:
    """Return what is known of a regular file. Blocking."""
    try:
        found = os.stat(path)  # noqa: PTH116 - paths may be thousands
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:
        name = os.path.split(path)[1]
        message = f"cannot look at {name!r}: {error.strerror}"
        raise StorageError(message, error) from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{os.path.split(path)[1]!r} is not a regular file")
    return _Known(found.st_size, f"{found.st_size:x}-{found.st_mtime_ns:x}")


def _check_source(name: str, source: object) -> None:
    if not isinstance(
        source, (Stream, Content, str, os.PathLike, bytes, bytearray, memoryview)
    ):
        raise TypeError(
            "the source of a member must be a Stream, a Content, a path or bytes, not "
            f"{type(source).__name__}"
        )
    if name.endswith("/") and not _is_empty(source):
        raise ValueError(f"name ends in '/', and a folder has no bytes: {name[:80]!r}")


def _is_empty(source: object) -> bool:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return not source
    return isinstance(source, Stream) and source.size == 0


class Zip(Content):
    """A zip archive to download, made while it is sent.

    A response with it is an attachment. Of a sequence of members that are not
    compressed, and all of whose sizes are known, it has a Content-Length; where all
    can seek, ranges are answered: see :class:`ZipStream`.

    Args:
        members: see :class:`ZipStream`. An iterable that is no sequence, and members
            that are Streams, can be sent once.
        name: what the download is called; ``None`` to leave that open.

    Attributes:
        name: as given.
    """

    def __init__(
        self,
        members: Iterable[Member] | AsyncIterable[Member],
        *,
        name: str | None = "files.zip",
    ) -> None:
        self._members = members
        self.name = name

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPE

    @property
    def response_headers(self) -> Mapping[str, str]:
        """What makes a response a download of that name."""
        if self.name is None:
            return {}
        return {"Content-Disposition": content_disposition("attachment", self.name)}

    def encode(self) -> ZipStream:
        """Return the archive.

        Raises:
            ValueError, TypeError: see :class:`ZipStream`.
        """
        return ZipStream(self._members)

    @classmethod
    async def decode(cls, stream: Stream, *, limits: Limits | None = None) -> Zip:
        """Not done here: an archive is read from its end, in a thread.

        Raises:
            NotImplementedError: always.
        """
        del stream, limits
        raise NotImplementedError("an archive is read by zipfile, in a thread")

    def __repr__(self) -> str:
        return f"<Zip {self.name!r}>"
