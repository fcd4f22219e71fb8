"""Request bodies in a content coding: undone once, verified, within their limits.

``own`` servers leave the codings to aiostreams, as ``run_app`` does; the others are
run as aiohttp does by default, where its parser undoes what it knows.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp import web

import aiostreams.web.state
from aiostreams import (
    KiB,
    Limits,
    MiB,
    iter_json,
    iter_ndjson,
    limit,
    open_stream,
    read_bytes,
    read_content,
    read_form,
    read_json,
    read_text,
    setup,
)
from aiostreams.codings.decoded import Pipeline
from tests.codings.gzips import ACCEPT, REJECT
from tests.servers import CHUNKED, chunk, connected, post, serving
from tests.web.variants import brotli, zstd

DATA = json.dumps([{"n": n, "text": "value"} for n in range(400)]).encode()
SUPPORTED = "zstd, br, gzip, deflate"

# A stall of the event loop, in seconds, that no busy machine explains. What it is on
# an idle one, a few milliseconds, the benchmarks tell.
BUSY = 0.25


def bare(data: bytes) -> bytes:
    """deflate without the zlib format around it, as some send it."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


ENCODED: dict[str, tuple[str, Any]] = {
    "gzip": ("gzip", gzip.compress),
    "case": ("GZip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "identity": ("identity", bytes),
    "gzip over identity": ("identity, gzip", gzip.compress),
    "gzip, br": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "gzip over gzip": ("gzip,gzip", lambda data: gzip.compress(gzip.compress(data))),
    "members": (
        "gzip",
        lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    ),
    "zeros behind": ("gzip", lambda data: gzip.compress(data) + bytes(600)),
}
every_coding = pytest.mark.parametrize("name", ENCODED)
both = pytest.mark.parametrize("own", [True, False], ids=["own", "aiohttp's"])


@pytest.fixture(autouse=True)
def warn_again() -> None:
    aiostreams.web.state._warn_once.cache_clear()


def application(handler: Any, limits: Limits | None = None) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return setup(app, limits=limits or Limits(), compression=None)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_bytes(request))


async def send(
    body: bytes,
    coding: str | None,
    *,
    handler: Any = echo,
    own: bool = True,
    limits: Limits | None = None,
    fields: Iterable[tuple[str, str]] = (),
    chunked: bool = False,
    times: int = 1,
) -> tuple[int, dict[str, str], bytes]:
    """The answer to the last of ``times`` equal requests over one connection."""
    headers = list(fields)
    if coding is not None:
        headers.append(("Content-Encoding", coding))
    async with (
        serving(application(handler, limits), auto_decompress=not own) as address,
        connected(address) as raw,
    ):
        for _ in range(times):
            if chunked:
                head = post(None, headers=[*headers, *CHUNKED])
                cuts = [body[i : i + 7] for i in range(0, len(body), 7)]
                raw.writer.write(head + b"".join(map(chunk, cuts)) + b"0\r\n\r\n")
            else:
                raw.writer.write(post(body, headers=headers))
            answer = await raw.response()
        return answer


@pytest.mark.parametrize(
    ("name", "own"),
    # aiohttp's decoding has its own mind about what follows the first member.
    [(name, True) for name in ENCODED]
    + [(name, False) for name in sorted(ENCODED.keys() - {"members", "zeros behind"})],
)
async def test_every_coding_is_undone(name: str, own: bool) -> None:
    coding, encode = ENCODED[name]
    for chunked in (False, True):
        status, _, body = await send(encode(DATA), coding, own=own, chunked=chunked)
        assert (status, body) == (200, DATA)


@pytest.mark.parametrize("name", ACCEPT)
async def test_gzip_of_every_shape(name: str) -> None:
    encoded, data = ACCEPT[name]
    limits = Limits(max_ratio=10_000)
    assert (await send(encoded, "gzip", limits=limits))[::2] == (200, data)


@pytest.mark.parametrize("name", REJECT)
async def test_gzip_that_is_broken(name: str) -> None:
    status, headers, _ = await send(REJECT[name], "gzip", times=2)
    assert status == 400
    assert headers["content-type"].startswith("application/problem+json")


@every_coding
async def test_truncation_at_every_byte_is_refused(name: str) -> None:
    coding, encode = ENCODED[name]
    data = b"The quick brown fox jumps over the lazy dog."
    encoded = encode(data)
    if name == "identity":
        return
    if name == "zeros behind":
        encoded = encoded[:-600]
    app = application(echo)
    # There it is whole: one member fewer is a body, too.
    first_member = len(gzip.compress(data[:9])) if name == "members" else 0
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for cut in range(1, len(encoded)):
            raw.writer.write(
                post(encoded[:cut], headers=[("Content-Encoding", coding)])
            )
            status = (await raw.response())[0]
            assert status == (200 if cut == first_member else 400), cut


@every_coding
@both
async def test_no_bytes_are_no_bytes_in_every_coding(name: str, own: bool) -> None:
    coding, _ = ENCODED[name]
    for chunked in (False, True):
        status, _, body = await send(b"", coding, own=own, chunked=chunked)
        assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    "coding", ["gzip", "zstd", "br", "deflate"], ids=lambda coding: coding
)
async def test_what_goes_on_after_the_end_is_refused(coding: str) -> None:
    encoded = ENCODED[coding][1](DATA)
    for more in (b"x", b"more" * 50_000):
        assert (await send(encoded + more, coding))[0] == 400


@pytest.mark.parametrize(
    ("coding", "status"),
    [
        ("lzma", 415),
        ("gzip, lzma", 415),
        ("compress", 415),
        ("gzip, gzip, gzip", 415),
        ("gzip;q=1", 415),
        ("gz ip", 415),
        ("", 200),
        (",", 200),
        ("identity, identity, identity", 200),
    ],
)
@both
async def test_codings_that_are_refused(coding: str, status: int, own: bool) -> None:
    answer, headers, body = await send(DATA, coding, own=own, times=2)
    assert answer == status
    if status == 415:
        assert headers["accept-encoding"] == SUPPORTED
        assert "accept" not in headers
        assert b"coding" in body
    else:
        assert body == DATA


async def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("_zstd", "_brotli"):
        monkeypatch.setattr(f"aiostreams.codings.zstd_brotli.{library}", lambda: None)
    status, headers, _ = await send(brotli.compress(DATA), "br")
    assert (status, headers["accept-encoding"]) == (415, "gzip, deflate")


@both
async def test_lines_of_codings_are_one_list(own: bool) -> None:
    twice = brotli.compress(gzip.compress(DATA))
    fields = [("Content-Encoding", "gzip"), ("Content-Encoding", "br")]
    status, _, body = await send(twice, None, own=own, fields=fields)
    if own:
        assert (status, body) == (200, DATA)
    else:
        # aiohttp's parser took one of them, or refused; nobody gets half of it.
        assert status in {400, 415}


@both
async def test_a_body_that_is_a_gzip_file_stays_one(own: bool) -> None:
    file = gzip.compress(DATA)
    fields = [("Content-Type", "application/gzip")]
    assert (await send(file, None, own=own, fields=fields))[2] == file
    assert (await send(gzip.compress(file), "gzip", own=own, fields=fields))[2] == file


# -- helpers ---------------------------------------------------------------------------


async def _json(request: web.Request) -> Any:
    return len(await read_json(request)) == 400


async def _text(request: web.Request) -> Any:
    return await read_text(request) == DATA.decode()


async def _content(request: web.Request) -> Any:
    content: Any = await read_content(request)
    return len(content.data) == 400


async def _iter_json(request: web.Request) -> Any:
    return [value["n"] async for value in iter_json(request)] == list(range(400))


async def _lines(request: web.Request) -> Any:
    return [len(value) async for value in iter_ndjson(request)] == [400]


async def _twice(request: web.Request) -> Any:
    first = await read_bytes(request)
    return (
        first == DATA == await read_bytes(request) == await open_stream(request).read()
    )


async def _stream(request: web.Request) -> Any:
    stream = open_stream(request)
    assert stream.size is None
    return await stream.readexactly(10) + await stream.read() == DATA


@pytest.mark.parametrize(
    "helper", [_json, _text, _content, _iter_json, _lines, _twice, _stream]
)
@both
async def test_every_helper_decodes(helper: Any, own: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await helper(request))

    for coding in ("gzip", "br", "zstd", "deflate"):
        status, _, body = await send(
            ENCODED[coding][1](DATA),
            coding,
            handler=handler,
            own=own,
            fields=[("Content-Type", "application/json")],
        )
        assert (status, body) == (200, b"true")


@pytest.mark.parametrize(
    "helper", [_json, _text, _content, _iter_json, _lines, _twice, _stream]
)
async def test_no_helper_takes_a_cut_body(helper: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(await helper(request))

    status, _, _ = await send(
        gzip.compress(DATA)[:-1],
        "gzip",
        handler=handler,
        fields=[("Content-Type", "application/json")],
    )
    assert status == 400


@both
async def test_forms_are_decoded(own: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        form = await read_form(request)
        return web.json_response(form.form["a"])

    multipart = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--b--\r\n'
    )
    for content_type, data in (
        ("application/x-www-form-urlencoded", b"a=value"),
        ("multipart/form-data; boundary=b", multipart),
    ):
        status, _, body = await send(
            gzip.compress(data),
            "gzip",
            handler=handler,
            own=own,
            fields=[("Content-Type", content_type)],
        )
        assert (status, body) == (200, b'"value"')


# -- aiohttp's decoding ----------------------------------------------------------------


async def test_what_aiohttp_decodes_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="aiostreams.web"):
        await send(DATA, None, own=False)
        assert not caplog.records
        for _ in range(2):
            status, _, body = await send(
                gzip.compress(DATA), "gzip", own=False, times=2
            )
            assert (status, body) == (200, DATA)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "auto_decompress=False" in warnings[0]


async def test_nothing_is_said_when_we_decode(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="aiostreams.web"):
        await send(gzip.compress(DATA), "gzip")
    assert not caplog.records


# -- limits ----------------------------------------------------------------------------


class Stall:
    """The most CPU time of the event loop's thread between two of its turns.

    Wall-clock time would tell of whoever else is busy on the machine.
    """

    worst = 0.0

    async def watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.worst = max(self.worst, time.thread_time() - before)


PIECE = 8 * MiB


def endless(coding: str) -> tuple[bytes, bytes]:
    """The begin of a bomb, and 8 MiB of it, that can be sent again and again."""
    if coding == "zstd":
        frame = bytes(zstd.compress(bytes(PIECE)))
        return frame, frame
    if coding == "br":
        encoder = brotli.Compressor(quality=5)
        begin = encoder.process(bytes(PIECE)) + encoder.flush()
        return begin, encoder.process(bytes(PIECE)) + encoder.flush()
    deflater = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    begin = deflater.compress(bytes(PIECE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return begin, deflater.compress(bytes(PIECE)) + deflater.flush(zlib.Z_FULL_FLUSH)


def push(address: tuple[str, int], begin: bytes, piece: bytes, pieces: int) -> int:
    """Send a chunked body from a thread that allocates nothing; the status."""
    with socket.create_connection(address) as sock:
        sock.settimeout(20)
        try:
            sock.sendall(begin)
            for _ in range(pieces):
                sock.sendall(piece)
            sock.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # it was refused
        return int(sock.recv(100).split()[1])


async def bomb(
    coding: str, begin: bytes, piece: bytes, pieces: int, handler: Any, limits: Limits
) -> tuple[int, int, float]:
    """Status, bytes of memory at most, longest stall in seconds.

    The memory is what comes on top of the same bytes, sent as they are and thrown
    away: what aiohttp buffers of the wire is its own, see its ``read_bufsize``.
    """
    stall = Stall()
    app = application(handler, limits)
    small = ENCODED[coding.replace(",", " over ")][1](b"1")

    def head(coding: str, path: str = "/") -> bytes:
        fields = [("Content-Encoding", coding), *CHUNKED]
        return post(None, path=path, headers=fields)

    plain = head("identity", "/plain") + chunk(begin)
    begin, piece = head(coding) + chunk(begin), chunk(piece)
    async with serving(app, auto_decompress=False, read_bufsize=64 * KiB) as address:
        # What is imported and made once is not the bomb's.
        warm = head(coding) + chunk(small)
        assert await asyncio.to_thread(push, address, warm, b"", 0) == 200
        watching = asyncio.create_task(stall.watch())
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            status = await asyncio.to_thread(push, address, plain, piece, pieces // 5)
            assert status == 200
            control = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.reset_peak()
            status = await asyncio.to_thread(push, address, begin, piece, pieces)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
            watching.cancel()
    return status, peak - control, stall.worst


async def drain(request: web.Request) -> web.Response:
    size = 0
    async for piece in open_stream(request).iter_any():
        size += len(piece)
    return web.Response(text=str(size))


async def keep(request: web.Request) -> web.Response:
    if request.path == "/plain":
        return await drain(request)
    return web.Response(body=await read_bytes(request))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("kind", ["ratio", "max_body", "max_memory"])
async def test_a_bomb_of_10_gib(coding: str, kind: str) -> None:
    limits = {
        "ratio": Limits(),
        "max_body": Limits(max_body=10 * MiB, max_ratio=10**9),
        "max_memory": Limits(max_memory=1 * MiB, max_ratio=10**9),
    }[kind]
    handler = keep if kind == "max_memory" else drain
    # A body that is only passed through is never held, whatever max_body is. Two
    # reads of the socket more or less, 256 KiB each, are in what this is compared to.
    kept = 512 * KiB + (1 * MiB if kind == "max_memory" else 0)
    begin, piece = endless(coding)
    status, peak, stall = await bomb(coding, begin, piece, 1280, handler, limits)
    assert status == 413
    assert peak < kept + 512 * KiB
    assert stall < BUSY


async def test_a_bomb_in_a_bomb() -> None:
    inner = gzip.compress(gzip.compress(bytes(64 * MiB)))
    begin, rest = inner[:30], inner[30:]
    status, peak, stall = await bomb("gzip,gzip", begin, rest, 1, drain, Limits())
    assert status == 413
    assert peak < 512 * KiB
    assert stall < BUSY


async def test_a_million_tiny_members() -> None:
    tiny = gzip.compress(b"") * 10_000
    status, peak, stall = await bomb("gzip", tiny[:20], tiny, 100, drain, Limits())
    assert status in {400, 413}
    assert peak < 512 * KiB + len(tiny)
    assert stall < BUSY


async def test_limits_of_the_route_hold_for_decoded_bytes() -> None:
    @limit(max_body=1000)
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await open_stream(request).read())

    for size, expected in ((1000, 200), (1001, 413)):
        status, _, _ = await send(gzip.compress(bytes(size)), "gzip", handler=handler)
        assert status == expected


# -- what is not read ------------------------------------------------------------------


async def test_nothing_is_decoded_while_draining_or_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = []
    run = Pipeline.run

    def spy(self: Any, count: int) -> None:
        turns.append(count)
        run(self, count)

    monkeypatch.setattr("aiostreams.codings.decoded.Pipeline.run", spy)
    encoded = gzip.compress(
        b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(9999))
    )

    async def handler(request: web.Request) -> web.Response:
        stream = open_stream(request)
        if request.query:
            await stream.readany()
        turns.clear()
        return web.Response(text="enough")

    app = application(handler)
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for path in ("/", "/?read=some"):
            headers = [("Content-Encoding", "gzip")]
            await raw.send(post(encoded, path=path, headers=headers))
            assert (await raw.response())[2] == b"enough"
            await raw.send(post(b"", path="/"))
            assert (await raw.response())[2] == b"enough"
            # One batch may have been on its way when the handler returned.
            assert len(turns) <= (path != "/")


async def test_a_refused_body_leaves_the_connection_usable() -> None:
    app = application(echo, Limits(max_body=1 * MiB))
    refused = [
        (gzip.compress(DATA)[:-4], "gzip", 400),
        (gzip.compress(bytes(300_000)), "gzip", 413),
        (b"no gzip at all" * 5000, "gzip", 400),
        (DATA, "lzma", 415),
    ]
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for body, coding, expected in refused:
            await raw.send(post(body, headers=[("Content-Encoding", coding)]))
            assert (await raw.response())[0] == expected
            await raw.send(
                post(gzip.compress(DATA), headers=[("Content-Encoding", "gzip")])
            )
            assert (await raw.response())[::2] == (200, DATA)
