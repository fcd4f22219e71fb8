"""HTTPStream behaves like the live aiohttp reader it adapts, and better where told.

The scripts run twice over equal requests, once on ``request.content`` and once on
the adapter, with aiohttp's C parser and with its Python one.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import EMPTY_PAYLOAD, web
from aiohttp.http_exceptions import LineTooLong

from aiostreams import (
    ClientGone,
    HTTPStream,
    LimitExceeded,
    MalformedBody,
    StreamBusy,
    StreamClosed,
)
from aiostreams.streams.http import arrived_before, is_decoded
from tests.servers import CHUNKED, Raw, chunk, connected, post, serving
from tests.waiting import turns, until

BODY = b"first line\nsecond line\n\nlast"
Script = Callable[[Any], Awaitable[Any]]


async def script_read(r: Any) -> Any:
    return [await r.read(0), await r.read(), await r.read(), await r.read(5)]


async def script_readany(r: Any) -> Any:
    got = b""
    while piece := await r.readany():
        got += piece
    return got, await r.readany()


async def script_readexactly(r: Any) -> Any:
    got = [await r.readexactly(0), await r.readexactly(11)]
    try:
        await r.readexactly(1000)
    except asyncio.IncompleteReadError as error:
        got += [error.partial, error.expected]
    return got


async def script_readline(r: Any) -> Any:
    return [await r.readline() for _ in range(6)]


async def script_readuntil(r: Any) -> Any:
    return [await r.readuntil(b"line"), await r.readuntil(b"\n\n"), await r.readuntil()]


async def script_readuntil_nothing(r: Any) -> Any:
    try:
        await r.readuntil(b"")
    except ValueError as error:
        return str(error)


async def script_long_line(r: Any) -> Any:
    with pytest.raises((LimitExceeded, LineTooLong)):
        await r.readline(max_line_length=5)
    return "refused"


async def script_lines(r: Any) -> Any:
    return [line async for line in r]


async def script_iter_any(r: Any) -> Any:
    return b"".join([piece async for piece in r.iter_any()])


async def script_iter_chunked(r: Any) -> Any:
    await r.wait_eof()
    return [piece async for piece in r.iter_chunked(10)]


async def script_readchunk(r: Any) -> Any:
    await r.wait_eof()
    return [await r.readchunk() for _ in range(7)]


async def script_readchunk_after_read(r: Any) -> Any:
    await r.wait_eof()
    got = [await r.read(1), await r.readchunk(), await r.read(4)]
    return [*got, *[await r.readchunk() for _ in range(6)]]


async def script_readchunk_after_readexactly(r: Any) -> Any:
    await r.wait_eof()
    got = [await r.readexactly(6), await r.readchunk()]
    r.unread_data(b"<>")
    return [*got, await r.read(2), *[await r.readchunk() for _ in range(4)]]


async def script_iter_chunks(r: Any) -> Any:
    return [piece async for piece in r.iter_chunks()]


async def script_states(r: Any) -> Any:
    got = [r.exception()]
    await r.wait_eof()
    got += [r.is_eof(), r.at_eof(), r.total_raw_bytes]
    got += [r.read_nowait(5), r.at_eof(), r.read_nowait(), r.at_eof()]
    got += [r.read_nowait(), r.read_nowait(3), await r.read()]
    await r.wait_eof()
    return got


async def script_unread(r: Any) -> Any:
    await r.wait_eof()
    head = await r.readexactly(5)
    r.unread_data(head)
    r.unread_data(b"")
    r.unread_data(b"<<")
    got = [r.at_eof(), r.read_nowait(3), await r.readexactly(6), await r.readany()]
    r.unread_data(b"again")
    return [*got, r.at_eof(), await r.readany(), r.at_eof(), await r.readany()]


SCRIPTS = [value for name, value in globals().items() if name.startswith("script_")]


async def run(script: Script, send: Callable[[Raw], Awaitable[None]]) -> list[Any]:
    """The script's results on aiohttp's reader and on the adapter."""
    results: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        adapted = request.path == "/adapted"
        reader = HTTPStream.from_request(request) if adapted else request.content
        try:
            results.append(await script(reader))
        except Exception as error:
            results.append(repr(error))
            raise
        return web.Response()

    async with serving(handler) as address:
        for path in ("/plain", "/adapted"):
            async with connected(address) as raw:
                await raw.send(
                    *(post(path=path, headers=CHUNKED),) if send is chunked else ()
                )
                if send is not chunked:
                    await raw.send(post(BODY, path=path))
                else:
                    await chunked(raw)
                assert (await raw.response())[0] == 200
    return results


async def chunked(raw: Raw) -> None:
    await raw.send(chunk(BODY[:4]), chunk(BODY[4:17]), chunk(BODY[17:]) + chunk(b""))


async def at_once(raw: Raw) -> None:
    pass


@pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")
@pytest.mark.parametrize("send", [at_once, chunked], ids=["length", "chunked"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_behaves_like_the_reader(
    script: Script, send: Callable[[Raw], Awaitable[None]]
) -> None:
    plain, adapted = await run(script, send)
    assert adapted == plain
    assert adapted is not None


@pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_client_side_behaves_like_the_reader(script: Script) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (BODY[:4], BODY[4:17], BODY[17:]):
            await response.write(piece)
            await asyncio.sleep(0.005)
        return response

    results = []
    async with (
        serving(handler) as (host, port),
        aiohttp.ClientSession() as session,
    ):
        for adapted in (False, True):
            async with session.get(f"http://{host}:{port}/") as response:
                stream = HTTPStream.from_response(response)
                results.append(await script(stream if adapted else response.content))
    assert results[0] == results[1]


async def handled(
    script: Script,
    *pieces: bytes,
    reset: bool = False,
    stays: bool = False,
    **kwargs: Any,
) -> Any:
    """The script's result on the adapter, when the client sends pieces and leaves."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.Response:
        try:
            result.set_result(await script(HTTPStream.from_request(request)))
        except BaseException as error:
            result.set_exception(error)
        return web.Response()

    async with serving(handler, **kwargs) as address, connected(address) as raw:
        await raw.send(*pieces)
        if reset:
            raw.reset()
        elif not stays:
            raw.writer.close()
        return await result


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    "head",
    [post(headers=[("Content-Length", "100")]), post(headers=CHUNKED)],
    ids=["length", "chunked"],
)
async def test_what_arrived_comes_before_a_disconnect(head: bytes, reset: bool) -> None:
    body = chunk(b"abcdef") if b"chunked" in head else b"abcdef"

    async def script(stream: HTTPStream) -> Any:
        # Let the disconnect be known before the first read: aiohttp's own reader
        # drops the bytes then.
        await until(lambda: stream.exception() is not None)
        got = [await stream.read(4), stream.read_nowait(1), stream.read_nowait()]
        for call in (stream.readany, stream.read, stream.readchunk, stream.wait_eof):
            with pytest.raises(ClientGone):
                await call()
        with pytest.raises(ClientGone):
            stream.read_nowait()
        return got

    assert await handled(script, head, body, reset=reset) == [b"abcd", b"e", b"f"]


async def test_a_read_that_waits_for_a_client_that_leaves() -> None:
    async def script(stream: HTTPStream) -> Any:
        with pytest.raises(ClientGone):
            await stream.read()
        kept = await stream.readchunk()
        with pytest.raises(ClientGone):
            await stream.readchunk()
        return kept

    head = post(headers=[("Content-Length", "100")])
    assert await handled(script, head, b"abc") == (b"abc", False)


@pytest.mark.parametrize("known", [False, True], ids=["while it waits", "before"])
@pytest.mark.parametrize("call", ["readany", "readchunk", "wait_eof", "read_nowait"])
async def test_a_disconnect_is_the_same_by_whatever_call_it_is_seen_first(
    call: str, known: bool
) -> None:
    async def script(stream: HTTPStream) -> Any:
        if known or call == "read_nowait":
            await until(lambda: stream.exception() is not None)
        for _ in range(2):
            with pytest.raises(ClientGone, match="before its body was complete"):
                if call == "read_nowait":
                    stream.read_nowait()
                else:
                    await getattr(stream, call)()
        if call != "wait_eof":  # which reads nothing, and so changes nothing
            assert "failed" in repr(stream)

    await handled(script, post(headers=[("Content-Length", "100")]))


async def test_readchunk_gives_what_arrived_before_a_disconnect() -> None:
    async def script(stream: HTTPStream) -> Any:
        await until(lambda: stream.exception() is not None)
        return await stream.readchunk()

    head = post(headers=[("Content-Length", "100")])
    assert await handled(script, head, b"abc") == (b"abc", False)


async def test_a_readchunk_that_is_cancelled_loses_nothing() -> None:
    async def script(stream: HTTPStream) -> Any:
        reading = asyncio.create_task(stream.readchunk())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        return [piece async for piece in stream.iter_any()]

    head = post(headers=[("Content-Length", "3")])
    assert await handled(script, head, b"", b"abc") == [b"abc"]


async def test_raw_bytes_are_those_of_the_network() -> None:
    async def script(stream: HTTPStream) -> Any:
        await stream.read()
        return stream.total_raw_bytes

    zipped = gzip.compress(BODY)
    head = post(zipped, headers=[("Content-Encoding", "gzip")])
    assert await handled(script, head) == len(zipped)
    assert await handled(script, post(BODY)) == len(BODY)


async def test_a_timer_that_runs_out_wins_over_what_has_arrived() -> None:
    """aiohttp's client raises it from the very method that has the bytes."""
    loop = asyncio.get_running_loop()

    class OutOfTime(aiohttp.StreamReader):
        def _read_nowait(self, n: int) -> bytes:
            raise TimeoutError

    reader = OutOfTime(Mock(_reading_paused=False), 2**16, loop=loop)
    reader.feed_data(b"abc")
    reader.set_exception(aiohttp.ClientPayloadError("cut short"))
    with pytest.raises(aiohttp.ClientPayloadError):
        await HTTPStream(reader).readany()


@pytest.mark.parametrize("message", ["Connection closed.", "another one"])
async def test_a_connection_that_aiohttp_calls_closed_is_a_client_that_left(
    message: str,
) -> None:
    """It says so by a plain RuntimeError."""
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(Mock(_reading_paused=False), 2**16, loop=loop)
    reader.set_exception(RuntimeError(message))
    expected = ClientGone if message == "Connection closed." else RuntimeError
    with pytest.raises(expected):
        await HTTPStream(reader).readany()


async def test_an_error_that_is_not_on_the_reader_is_raised_as_it_is() -> None:
    """A cancelled timer's, say: the bytes on the reader are for the next read."""
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(Mock(_reading_paused=False), 2**16, loop=loop)
    reader.feed_data(b"abc")
    with pytest.raises(OSError, match="elsewhere"):
        arrived_before(OSError("elsewhere"), reader)
    assert await HTTPStream(reader).readany() == b"abc"


async def test_a_body_that_aiohttp_cannot_decode_is_malformed() -> None:
    async def script(stream: HTTPStream) -> Any:
        assert stream.size is None
        with pytest.raises(MalformedBody):
            await stream.read()
        with pytest.raises(MalformedBody):
            await stream.readchunk()

    head = post(b"no gzip", headers=[("Content-Encoding", "gzip")])
    await handled(script, head)


async def test_size_and_content_type_of_a_request() -> None:
    async def script(stream: HTTPStream) -> Any:
        return stream.size, stream.content_type, len(await stream.read())

    typed = [("Content-Type", "text/plain; charset=utf-8")]
    assert await handled(script, post(BODY, headers=typed)) == (28, typed[0][1], 28)
    assert await handled(script, post(headers=CHUNKED), chunk(b"")) == (None, None, 0)
    assert await handled(script, post(b"")) == (0, None, 0)
    assert await handled(script, post(None, method="GET")) == (0, None, 0)
    zipped = post(gzip.compress(BODY), headers=[("Content-Encoding", "gzip")])
    assert await handled(script, zipped) == (None, None, 28)
    size, _, length = await handled(script, zipped, auto_decompress=False)
    assert size == length == len(gzip.compress(BODY))


async def test_a_body_that_is_not_there_was_never_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiohttp has one reader for all of them, and writes on it."""
    monkeypatch.setattr(EMPTY_PAYLOAD, "total_compressed_bytes", 7, raising=False)
    assert not is_decoded(EMPTY_PAYLOAD)


async def test_reads_of_a_body_that_is_not_there() -> None:
    async def script(stream: HTTPStream) -> Any:
        assert stream.reader is not None
        got = [stream.total_raw_bytes, stream.read_nowait(), stream.exception()]
        got += [await stream.readchunk(), await stream.readchunk()]
        got += [await stream.readuntil(b"x"), stream.at_eof(), stream.is_eof()]
        await stream.wait_eof()
        return got

    got = await handled(script, post(None, method="GET"))
    assert got == [0, b"", None, (b"", False), (b"", False), b"", True, True]


async def test_a_pushed_back_byte_is_served_first_by_every_method() -> None:
    async def script(stream: HTTPStream) -> Any:
        await stream.wait_eof()
        got: list[Any] = []
        stream.unread(b"1")
        got.append(await stream.readchunk())
        stream.unread(b"2")
        got.append(stream.read_nowait(2))
        stream.unread(b"3")
        got.append(stream.read_nowait())
        return got

    got = await handled(script, post(b"abc"))
    assert got == [(b"1", False), b"2a", b"3bc"]


async def test_a_second_reader_and_a_close_while_one_waits() -> None:
    async def script(stream: HTTPStream) -> Any:
        reader = asyncio.create_task(stream.readchunk())
        await turns()
        for call in (stream.readchunk, stream.readany):
            with pytest.raises(StreamBusy):
                await call()
        with pytest.raises(StreamBusy):
            stream.read_nowait()
        await stream.close()
        with pytest.raises(StreamClosed):
            await reader
        with pytest.raises(StreamClosed):
            await stream.readchunk()
        with pytest.raises(StreamClosed):
            stream.read_nowait()
        with pytest.raises(StreamClosed):
            await stream.wait_eof()

    await handled(script, post(headers=[("Content-Length", "10")]), stays=True)


async def test_client_errors_stay_those_of_aiohttp() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"abc")
        await asyncio.sleep(0.01)
        assert request.transport is not None
        request.transport.close()
        return response

    async with (
        serving(handler) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/") as response,
    ):
        stream = HTTPStream.from_response(response)
        assert stream.size == 100
        assert await stream.read(50) == b"abc"
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read(50)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.readchunk()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.wait_eof()


async def test_closing_before_the_end_closes_the_response() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000_000)

    async with serving(handler) as (host, port), aiohttp.ClientSession() as session:
        response = await session.get(f"http://{host}:{port}/")
        async with HTTPStream.from_response(response) as stream:
            await stream.read(10)
        assert response.closed
        async with HTTPStream.from_response(
            await session.head(f"http://{host}:{port}/")
        ) as stream:
            assert stream.size == 0
            assert await stream.read() == b""


@pytest.mark.skipif("AIOHTTP_NO_EXTENSIONS" in os.environ, reason="is the inner run")
def test_the_same_with_the_python_parser() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:pytest_cov", __file__],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
