"""Streams as payloads: who closes them, and when."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import ClientConnectionError, ClientSession, MultipartWriter, web
from multidict import CIMultiDict

from aiostreams import (
    JSON,
    NDJSON,
    ByteStream,
    File,
    FileStream,
    HTTPStream,
    IterStream,
    KiB,
    MultiPart,
    ProgressStream,
    SizeMismatch,
    iter_ndjson,
    iter_parts,
    setup,
)
from aiostreams.web.payload import StreamPayload, reset_unless_chunked, send
from tests.servers import serving


def _echo() -> web.Application:
    async def echo(request: web.Request) -> Any:
        return NDJSON({"got": line} async for line in iter_ndjson(request))

    app = web.Application()
    app.router.add_post("/", echo)
    return setup(app)


class Writer:
    """Notes what it is told to write."""

    def __init__(self, transport: Any = None, *, chunked: bool = False) -> None:
        self.written: list[bytes] = []
        self.transport = transport
        self.chunked = chunked

    async def write(self, data: bytes) -> None:
        self.written.append(data)

    def send_headers(self) -> None:
        self.written.append(b"<head>")


@pytest.mark.parametrize(
    ("pieces", "length", "written"),
    [
        ([b"abc"], 3, [b"abc"]),
        ([b"a", b"bc"], 3, [b"a", b"bc"]),
        ([b"abc", b"d"], 3, []),
        ([b"a", b"bcd"], 3, [b"a"]),
        ([b"ab"], 3, [b"ab"]),
        ([], 3, []),
    ],
)
async def test_no_body_of_another_length_than_promised_looks_whole(
    pieces: list[bytes], length: int, written: list[bytes]
) -> None:
    """The bytes that would complete it are held back until the end is seen."""
    writer: Any = Writer()
    seen = sum(map(len, pieces))
    if seen == length:
        await send(IterStream(pieces), writer, length)
    else:
        with pytest.raises(SizeMismatch, match=f"promised 3 .* {seen}"):
            await send(IterStream(pieces), writer, length)
    assert writer.written == written


async def test_a_live_body_begins_with_its_head() -> None:
    class Live(IterStream):
        live = True

    writer: Any = Writer()
    await send(Live([b"a"]), writer, None)
    assert writer.written == [b"<head>", b"a"]


def test_a_payload_has_the_type_that_it_is_given_or_that_of_its_stream() -> None:
    for given, expected in ((None, "application/json"), ("text/x", "text/x")):
        made = StreamPayload(JSON([1]), content_type=given)
        assert made.content_type == expected
    assert StreamPayload(IterStream([])).content_type == "application/octet-stream"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX, None])
async def test_a_cut_body_resets_what_can_be_reset_and_aborts_the_rest(
    family: socket.AddressFamily | None,
) -> None:
    """Over a Unix socket, or TLS in some event loops, there is nothing to set."""
    sock = None if family is None else Mock(family=family)
    transport = Mock(get_extra_info=lambda name: {"socket": sock}[name])
    reset_unless_chunked(Writer(transport))  # type: ignore[arg-type]
    transport.abort.assert_called_once_with()
    if sock is not None:
        assert sock.setsockopt.called is (family == socket.AF_INET)


async def test_an_upload_goes_on_after_its_answer_has_begun() -> None:
    # aiohttp's client closes the body of its request when a response begins.
    answered = asyncio.Event()

    async def lines() -> AsyncIterator[int]:
        yield 1
        for number in (2, 3):
            await answered.wait()
            answered.clear()
            yield number

    got = []
    async with (
        serving(_echo(), auto_decompress=False) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
        session.post("/", data=NDJSON(lines())) as response,
    ):
        async for line in response.content:
            got.append(line)
            answered.set()
    assert got == [b'{"got":1}\n', b'{"got":2}\n', b'{"got":3}\n']


async def test_an_upload_that_is_left_is_closed() -> None:
    closed = asyncio.Event()

    async def lines() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with (
        serving(_echo(), auto_decompress=False) as (host, port),
        ClientSession(f"http://{host}:{port}") as session,
    ):
        async with session.post("/", data=NDJSON(lines())) as response:
            assert await response.content.readline() == b'{"got":1}\n'
        async with asyncio.timeout(20):
            await closed.wait()


async def test_an_upload_that_takes_long_to_close_keeps_its_connection() -> None:
    class Slow(ByteStream):
        async def close(self) -> None:
            await asyncio.sleep(0.02)
            await super().close()

    connections = set()

    async def handler(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.Response(body=await request.read())

    async with serving(handler) as (host, port), ClientSession() as session:
        for _ in range(3):
            body = Slow(b"body")
            async with session.post(f"http://{host}:{port}/", data=body) as response:
                assert await response.read() == b"body"
            assert body.closed
    assert len(connections) == 1


async def test_what_waits_for_a_payload_to_close_is_told_once_after_the_write() -> None:
    told = []

    class Writer:
        length = None
        chunked = True

        def __init__(self, payload: StreamPayload) -> None:
            self.payload = payload

        async def write(self, _piece: bytes) -> None:
            await self.payload.close()
            told.append("written")

    async def tell() -> None:
        told.append("closed")

    payload = StreamPayload(IterStream([b"one", b"two"]))
    payload.call_on_close(tell)
    writer: Any = Writer(payload)
    await payload.write(writer)
    await payload.close()
    assert told == ["written", "written", "closed"]
    assert payload.stream.closed


async def test_a_payload_whose_stream_fails_is_closed_as_well() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"x" * KiB
        raise OSError("the disk is gone")

    payload = StreamPayload(IterStream(source()))

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with serving(handler) as (host, port), ClientSession() as session:
        with pytest.raises(ClientConnectionError, match="Can not write"):
            await session.post(f"http://{host}:{port}/", data=payload)
    assert payload.stream.closed


@pytest.mark.parametrize("subtype", ["mixed", "form-data"])
async def test_a_multipart_writer_takes_streams_and_contents(
    subtype: Literal["mixed", "form-data"],
) -> None:
    """Also on the server, where the connection knows the length of all parts."""

    async def handler(_request: web.Request) -> web.Response:
        writer = MultipartWriter(subtype)
        writer.append(ByteStream(b"first"))
        writer.append(JSON([2]))
        writer.append(IterStream([b"thi", b"rd"], size=5))
        assert writer.size is not None
        return web.Response(body=writer)

    async with (
        serving(handler) as (host, port),
        ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        assert response.content_length
        body = HTTPStream.from_response(response)
        parts = [await part.read() async for part in iter_parts(body)]
    assert parts == [b"first", b"[2]", b"third"]


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Encoding", "gzip"),
        ("content-encoding", "deflate"),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ],
)
@pytest.mark.parametrize("live", [False, True])
async def test_a_part_may_be_encoded_by_its_writer(
    field: tuple[str, str], live: bool
) -> None:
    text = "a=b, grüße\n" * 9
    stream = ByteStream(text.encode())
    stream.live = live
    writer = MultipartWriter("mixed")
    writer.append(stream, CIMultiDict([field]))
    sink: Any = Writer()
    await writer.write(sink)
    body = ByteStream(b"".join(sink.written), content_type=writer.content_type)
    async for part in iter_parts(body):
        assert (await part.read()).replace(b"\r\n", b"\n") == text.encode()


# -- the length of what is not open yet ------------------------------------------------


LONG_FILE = b"0123456789" * 1000
UNOPENED: dict[str, Callable[[Path], Any]] = {
    "File": File,
    "FileStream": FileStream,
    "part of a file": lambda path: FileStream(path, offset=10, length=20),
    "MultiPart": lambda path: MultiPart({"a": "1"}, {"f": File(path), "g": File(path)}),
    "transformed": lambda path: ProgressStream(FileStream(path), lambda *_: None),
}


@pytest.mark.parametrize("make", UNOPENED.values(), ids=UNOPENED)
async def test_a_file_has_its_length_though_nobody_has_opened_it(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(LONG_FILE)
    async with make(path) as stream:
        await stream.open()
        expected = stream.size
    lengths: list[int | None] = []

    async def handler(request: web.Request) -> web.Response:
        lengths.append(request.content_length)
        assert "Transfer-Encoding" not in request.headers
        assert len(await request.read()) == expected
        return web.Response(body=make(path))

    async with serving(handler) as (host, port), aiohttp.ClientSession() as session:
        for _ in range(2):
            url = f"http://{host}:{port}/"
            async with session.post(url, data=make(path)) as response:
                assert response.content_length == expected
                assert len(await response.read()) == expected
    assert lengths == [expected] * 2


async def test_a_file_that_is_not_there_fails_when_it_is_sent(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with serving(handler) as (host, port), aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.post(
                f"http://{host}:{port}/", data=File(tmp_path / "missing")
            )


async def test_a_file_that_changes_before_it_is_opened_is_not_sent_as_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(LONG_FILE)
    payload = StreamPayload(File(path))
    assert payload.size == len(LONG_FILE)
    path.write_bytes(LONG_FILE[:-1])
    writer: Any = Writer(payload)
    with pytest.raises(SizeMismatch):
        await payload.write_with_length(writer, payload.size)
    await payload.close()
