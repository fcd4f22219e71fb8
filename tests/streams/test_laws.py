"""Every Stream class keeps every law, however its bytes arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from aiostreams import (
    ByteStream,
    ChainStream,
    GiB,
    HashStream,
    HTTPStream,
    IterStream,
    LimitStream,
    MultiPartStream,
    ProgressStream,
    RateStream,
    SliceStream,
    Stream,
    TeeStream,
    Transform,
    ZipMember,
    ZipStream,
    iter_parts,
)
from aiostreams.limits import DEFAULT_LIMITS
from aiostreams.streams.hashing import SignedStream
from aiostreams.streams.multipart import random_boundary
from aiostreams.testing import LAWS, SpyStream
from aiostreams.testing.laws import SAMPLE, Make
from aiostreams.web.request_stream import RequestStream
from aiostreams.web.state import Recorder


class Minimal(Stream):
    """All that a user must write, with not even super().__init__()."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    async def readany(self) -> bytes:
        piece, self.rest = self.rest[:9], self.rest[9:]
        return piece


class Signed(SignedStream):
    """Whose signature is right, whatever the bytes are."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._macs.match = lambda signatures: True  # type: ignore[method-assign]


class Discard(Stream):
    """A sink that keeps nothing, so that memory is the stream's alone."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await asyncio.sleep(0)


def fed(pieces: int) -> tuple[StreamReader, asyncio.Task[None]]:
    """aiohttp's reader, and the task that feeds it while it is read."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    reader._protocol.transport = asyncio.Transport()  # counts as connected

    async def feed() -> None:
        for start in range(0, len(SAMPLE), pieces):
            await asyncio.sleep(0)
            reader.feed_data(SAMPLE[start : start + pieces])
        reader.feed_eof()

    return reader, asyncio.create_task(feed())


def over_reader(pieces: int) -> Make:
    """An HTTPStream over aiohttp's reader."""

    async def make() -> Stream:
        reader, feeder = fed(pieces)
        stream = HTTPStream(reader)
        stream._feeder = feeder  # type: ignore[attr-defined]
        return stream

    return make


def over_request(pieces: int) -> Make:
    """The wire of a request."""

    async def make() -> Stream:
        reader, feeder = fed(pieces)
        request = make_mocked_request("POST", "/", CHUNKED, payload=reader)
        stream = RequestStream(request, reader, DEFAULT_LIMITS)
        stream._feeder = feeder  # type: ignore[attr-defined]
        return stream

    return make


CHUNKED = {"Transfer-Encoding": "chunked"}


async def generator(source: Stream) -> AsyncIterator[bytes]:
    try:
        async for piece in source.iter_any():
            yield piece
    finally:
        await source.close()


async def slow_callback(done: int, total: int | None) -> None:
    await asyncio.sleep(0)


def through_generator(source: Stream) -> Stream:
    return IterStream(generator(source), size=source.size)


def as_part(headers: str, multipart: str) -> Callable[[Stream], Awaitable[Stream]]:
    """The source as the content of a part."""

    async def make(source: Stream) -> Stream:
        head = f"--B\r\n{headers}\r\n\r\n".encode()
        body = ChainStream(ByteStream(head), source, ByteStream(b"\r\n--B--\r\n"))
        part = await anext(iter_parts(body, f"{multipart}; boundary=B"))
        # What the source has is the body's to close, not the part's.
        return _Closing(part, body)

    return make


class _Closing(LimitStream):
    def __init__(self, part: Stream, body: Stream) -> None:
        super().__init__(part, 1 * GiB)
        self._body = body

    async def close(self) -> None:
        await super().close()
        await self._body.close()


FORM = "multipart/form-data"
BOUNDARY = random_boundary()


async def part_of_bytes() -> Stream:
    """A part with a Content-Length."""
    head = f"Content-Length: {len(SAMPLE)}".encode()
    body = b"--B\r\n" + head + b"\r\n\r\n" + SAMPLE + b"\r\n--B--\r\n"
    return await anext(iter_parts(ByteStream(body), "multipart/mixed; boundary=B"))


class Unsized(Transform):
    """What is known of a member before its bytes stands before them."""

    @property
    def size(self) -> None:
        return None


async def slice_of_zip() -> Stream:
    async with ZipStream([("a", SAMPLE), ("b", ByteStream(SAMPLE))]) as archive:
        return await archive.slice(10, 3000)


MAKES: dict[str, Make] = {
    "ByteStream": lambda: ByteStream(SAMPLE),
    "ByteStream of several pieces": lambda: ByteStream(SAMPLE * 200),
    "empty ByteStream": lambda: ByteStream(),
    "minimal": lambda: Minimal(SAMPLE),
    "IterStream of a list": lambda: IterStream([b"", SAMPLE, b"", SAMPLE]),
    "IterStream of a generator": through_generator,
    "SpyStream": SpyStream,
    "LimitStream": lambda source: LimitStream(source, 1 * GiB),
    "ProgressStream": lambda source: ProgressStream(source, lambda done, total: None),
    "ProgressStream, async": lambda source: ProgressStream(source, slow_callback),
    "TeeStream": lambda source: TeeStream(source, Discard()),
    "Recorder": lambda source: Recorder(source, 1000),
    "RateStream": lambda source: RateStream(source, 1e9),
    "SignedStream": lambda source: Signed(source, [b"key", b"old"], []),
    "HashStream": lambda source: HashStream(source, "sha256", "md5"),
    "ChainStream": lambda source: ChainStream(ByteStream(b"head\n"), source),
    "ChainStream of bytes": lambda: ChainStream(ByteStream(b"a\nb"), ByteStream(b"")),
    "SliceStream": lambda source: SliceStream(source, 3),
    "SliceStream of bytes": lambda: SliceStream(ByteStream(SAMPLE), 3, 100),
    "HTTPStream, byte by byte": over_reader(1),
    "HTTPStream, whole": over_reader(10_000),
    "RequestStream, byte by byte": over_request(1),
    "RequestStream, whole": over_request(10_000),
    "Part": as_part("Content-Disposition: form-data; name=a; filename=b", FORM),
    "Part in a coding": as_part("Content-Transfer-Encoding: binary", "multipart/mixed"),
    "Part of known size": part_of_bytes,
    "MultiPartStream": lambda source: MultiPartStream(
        [({}, b"first"), ({"A": "b"}, source), ({}, b"last")], boundary=BOUNDARY
    ),
    "MultiPartStream, own boundary": lambda source: MultiPartStream(
        [({}, source)], boundary="not in there", subtype="mixed"
    ),
    "MultiPartStream of bytes": lambda: MultiPartStream(
        [({}, SAMPLE), ({}, SAMPLE * 1000), ({}, b"")], boundary="x"
    ),
    "ZipStream": lambda source: ZipStream(
        [("first", b"x"), ("source", Unsized(source)), ("last/", b"")]
    ),
    "ZipStream of an iterator": lambda source: ZipStream(
        iter([("a", Unsized(source))])
    ),
    "ZipStream, compressed": lambda: ZipStream(
        [ZipMember("a", ByteStream(SAMPLE * 1000), compress=True)]
    ),
    "ZipStream of bytes": lambda: ZipStream([("a", SAMPLE), ("b", ByteStream(SAMPLE))]),
    "slice of a ZipStream": slice_of_zip,
    "nested": lambda source: LimitStream(HashStream(SliceStream(source, 0)), 1 * GiB),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: object, make: Make) -> None:
    await law(make)  # type: ignore[operator]
