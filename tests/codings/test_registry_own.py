"""A coding of one's own: read in requests, chosen for responses, named everywhere."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    ByteStream,
    Compression,
    EventStream,
    File,
    IterStream,
    KiB,
    Limits,
    MiB,
    Text,
    iter_parts,
    open_stream,
    read_bytes,
    respond,
    setup,
)
from aiostreams.codings import supported_codings
from aiostreams.stats import BodyStats
from tests.codings.own import own_codings, register_bz2
from tests.servers import CHUNKED, chunk, connected, post, serving

DATA = b"a line of text that is compressed well\n" * 99
both = pytest.mark.parametrize("own", [True, False], ids=["own", "aiohttp's"])


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with own_codings():
        register_bz2()
        yield


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_bytes(request))


def application(handler: Any, **options: Any) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return setup(app, **options)


async def send(
    *bodies: bytes,
    coding: str = "x-bz2",
    handler: Any = echo,
    limits: Limits | None = None,
    own: bool = True,
    cut: int | None = None,
    **options: Any,
) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers to requests over one connection; with ``cut`` in chunks of that."""
    app = application(handler, limits=limits or Limits(), **options)
    answers = []
    async with (
        serving(app, auto_decompress=not own) as address,
        connected(address) as raw,
    ):
        for body in bodies:
            fields = [("Content-Encoding", coding)]
            if cut is None:
                raw.writer.write(post(body, headers=fields))
            else:
                raw.writer.write(post(None, headers=[*fields, *CHUNKED]))
                cuts = [body[i : i + cut] for i in range(0, len(body), cut)]
                raw.writer.write(b"".join(map(chunk, cuts)) + b"0\r\n\r\n")
            answers.append(await raw.response())
    return answers


# -- requests --------------------------------------------------------------------------


@both
@pytest.mark.parametrize("coding", ["x-bz2", "X-BZ2", "x-bzip2", "identity, x-bz2"])
async def test_a_request_is_decoded(coding: str, own: bool) -> None:
    bodies = [bz2.compress(DATA), bz2.compress(DATA) + bz2.compress(b"more"), b""]
    for cut in (None, 1, 7, 10**6):
        answers = await send(*bodies, coding=coding, own=own, cut=cut)
        assert [answer[0] for answer in answers] == [200, 200, 200]
        assert [answer[2] for answer in answers] == [DATA, DATA + b"more", b""]


async def test_a_request_is_decoded_at_every_split() -> None:
    body = bz2.compress(DATA)
    async with (
        serving(application(echo), auto_decompress=False) as address,
        connected(address) as raw,
    ):
        for split in range(1, len(body)):
            head = post(None, headers=[("Content-Encoding", "x-bz2"), *CHUNKED])
            raw.writer.write(head + chunk(body[:split]))
            await asyncio.sleep(0)
            raw.writer.write(chunk(body[split:]) + b"0\r\n\r\n")
            assert (await raw.response())[::2] == (200, DATA), split


async def test_a_request_in_two_codings_is_decoded() -> None:
    body = bz2.compress(gzip.compress(DATA))
    assert (await send(body, coding="gzip, x-bz2"))[0][::2] == (200, DATA)
    body = gzip.compress(bz2.compress(DATA))
    assert (await send(body, coding="x-bz2, gzip"))[0][::2] == (200, DATA)


@both
async def test_a_body_that_is_cut_short_is_a_400_at_every_byte(own: bool) -> None:
    body = bz2.compress(DATA)
    cuts = [body[:end] for end in range(1, len(body))]
    answers = await send(*cuts, own=own)
    assert {answer[0] for answer in answers} == {400}
    assert b"the x-bz2 body is cut short after 0 decoded bytes" in answers[9][2]


async def test_a_body_that_is_corrupt_or_goes_on_is_a_400() -> None:
    body = bz2.compress(DATA)
    for wrong in (
        b"no bzip2 at all",
        body[:40] + bytes([body[40] ^ 1]) + body[41:],
        body + b"x",
        body + bytes(100_000),
    ):
        for cut in (None, 7):
            ((status, _, text),) = await send(wrong, cut=cut)
            assert status == 400
            assert b"x-bz2" in text


async def test_a_bomb_is_a_413_in_little_memory() -> None:
    async def drain(request: web.Request) -> web.Response:
        size = 0
        async for piece in open_stream(request).iter_any():
            size += len(piece)
        return web.Response(text=str(size))

    level = 1  # blocks of 100 kB, so that little memory is the decoder's own
    bomb = bz2.compress(bytes(100 * MiB), level)
    assert len(bomb) < 10_000
    await send(bz2.compress(DATA), handler=drain)  # pools and caches are made
    for limits, message in (
        (Limits(), b"of x-bz2 gave"),
        (Limits(max_body=MiB, max_ratio=10**9), b"decoded bytes, limit 1048576"),
    ):
        tracemalloc.start()
        try:
            ((status, _, text),) = await send(bomb, handler=drain, limits=limits)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (status, message in text) == (413, True), text
        assert peak < 3 * MiB


async def test_streams_without_content_are_a_413() -> None:
    empty = bz2.compress(b"")
    answers = await send(empty * 1000, empty * 1001)
    assert [answer[0] for answer in answers] == [200, 413]


async def test_max_body_is_of_the_decoded_bytes() -> None:
    for limit, status in ((len(DATA), 200), (len(DATA) - 1, 413)):
        answers = await send(bz2.compress(DATA), limits=Limits(max_body=limit))
        assert answers[0][0] == status


async def test_a_part_may_be_in_it() -> None:
    async def parts(request: web.Request) -> web.Response:
        return web.Response(
            body=b"".join([await part.read() async for part in iter_parts(request)])
        )

    body = (
        b"--B\r\nContent-Encoding: x-bz2\r\n\r\n"
        + bz2.compress(DATA)
        + b"\r\n--B--\r\n"
    )
    head = post(body, headers=[("Content-Type", "multipart/mixed; boundary=B")])
    async with serving(application(parts)) as address, connected(address) as raw:
        raw.writer.write(head)
        assert (await raw.response())[::2] == (200, DATA)


async def test_what_is_read_instead_of_another_coding() -> None:
    ((status, headers, text),) = await send(b"body", coding="lzma")
    assert status == 415
    names = headers["accept-encoding"].split(", ")
    assert names == [*supported_codings()]
    assert names[-1] == "x-bz2"
    assert b"supported: " in text


# -- responses -------------------------------------------------------------------------


async def ask(
    handler: Any, accept: str, compression: Compression | None = None, **fields: str
) -> tuple[int, dict[str, str], bytes]:
    app = application(handler, compression=compression or Compression())
    headers = [("Accept-Encoding", accept), *fields.items()]
    async with serving(app) as address, connected(address) as raw:
        raw.writer.write(post(None, method="GET", headers=headers))
        return await raw.response()


async def as_response(request: web.Request) -> Any:
    return web.Response(body=DATA, content_type="text/plain")


async def as_memory(request: web.Request) -> Any:
    return ByteStream(DATA, content_type="text/plain")


async def as_stream(request: web.Request) -> Any:
    return IterStream([DATA[:99], DATA[99:]], content_type="text/plain")


@pytest.mark.parametrize("handler", [as_response, as_memory, as_stream])
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("x-bz2", "x-bz2"),
        ("X-BZip2", "x-bz2"),
        ("deflate, x-bz2", "deflate"),
        ("deflate;q=0.5, x-bz2", "x-bz2"),
        ("gzip, x-bz2;q=0", "gzip"),
        ("x-bzip2;q=0, x-bz2", None),
        ("*, zstd;q=0, br;q=0, gzip;q=0, deflate;q=0", "x-bz2"),
        ("identity;q=0, x-bz2;q=0.1", "x-bz2"),
    ],
)
async def test_a_response_is_negotiated(
    handler: Any, accept: str, expected: str | None
) -> None:
    status, headers, body = await ask(handler, accept)
    assert status == 200
    assert headers.get("content-encoding") == expected
    assert headers["vary"] == "Accept-Encoding"
    if expected == "x-bz2":
        assert bz2.decompress(body) == DATA
        if handler is not as_stream:
            assert int(headers["content-length"]) == len(body)


async def test_preference_and_levels_are_configured() -> None:
    async def handler(request: web.Request) -> Any:
        etag = request.headers.get("If-None-Match")
        return respond(Text(DATA.decode()), etag=None if etag is None else "v1")

    async def level(compression: Compression, **fields: str) -> int:
        _, headers, body = await ask(handler, "*", compression, **fields)
        assert headers["content-encoding"] == "x-bz2"
        assert bz2.decompress(body) == DATA
        return int(body[3:4])  # "BZh", and the level as a digit

    kept = {"If-None-Match": '"v0"'}
    first = Compression(codings=("x-bz2", "gzip"))
    assert await level(first) == 9
    assert await level(first, **kept) == 5
    chosen = Compression(
        codings=("x-bz2",), levels={"x-bz2": 2}, static_levels={"x-bz2": 3}
    )
    assert await level(chosen) == 2
    assert await level(chosen, **kept) == 3
    with pytest.raises(ValueError, match="levels: x-bz2 has levels 1 to 9, not 10"):
        Compression(levels={"x-bz2": 10})
    without = Compression(codings=("gzip",))
    _, headers, _ = await ask(handler, "x-bz2", without)
    assert "content-encoding" not in headers


async def test_it_is_named_when_nothing_is_acceptable() -> None:
    status, _, text = await ask(as_memory, "*;q=0")
    assert status == 406
    assert b"x-bz2, identity" in text


async def test_a_large_response_goes_in_pieces() -> None:
    data = os.urandom(200_000) + bytes(MiB) + os.urandom(200 * KiB)

    async def handler(request: web.Request) -> Any:
        return IterStream([data] * 2, content_type="text/plain")

    _, headers, body = await ask(handler, "x-bz2")
    assert headers["content-encoding"] == "x-bz2"
    assert bz2.decompress(body) == data * 2


async def test_events_are_flushed_one_by_one() -> None:
    seen = asyncio.Event()

    async def events() -> AsyncIterator[Any]:
        for number in range(3):
            yield {"n": number}
            await seen.wait()  # the client has decoded it
            seen.clear()

    async def handler(request: web.Request) -> Any:
        return EventStream(events())

    app = application(handler, compression=Compression(minimum_size=0))
    async with (
        serving(app) as (host, port),
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(
            f"http://{host}:{port}/", headers={"Accept-Encoding": "x-bz2"}
        ) as response,
    ):
        assert response.headers["Content-Encoding"] == "x-bz2"
        for number in range(3):
            decoder = bz2.BZ2Decompressor()
            text = b""
            while b'"n":%d' % number not in text:
                if decoder.eof:
                    decoder = bz2.BZ2Decompressor()
                text += decoder.decompress(await response.content.readany())
            seen.set()


# -- files -----------------------------------------------------------------------------


async def test_a_file_beside_a_file_is_served(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(DATA)
    beside = tmp_path / "page.html.bz2"
    beside.write_bytes(bz2.compress(DATA, 7))

    async def handler(request: web.Request) -> Any:
        return File(page)

    for accept in ("x-bz2", "x-bzip2", "gzip;q=0.5, x-bz2"):
        status, headers, body = await ask(handler, accept)
        assert (status, headers["content-encoding"]) == (200, "x-bz2")
        assert headers["content-type"].startswith("text/html")
        assert body == beside.read_bytes()
    _, headers, body = await ask(handler, "identity")
    assert ("content-encoding" in headers, body) == (False, DATA)
    # Another one was not asked for, and an old one is not the page any more.
    _, headers, _ = await ask(handler, "deflate")
    assert headers["content-encoding"] == "deflate"
    os.utime(beside, (1, 1))
    _, headers, body = await ask(handler, "x-bz2")
    assert headers["content-encoding"] == "x-bz2"
    assert body != beside.read_bytes()
    assert bz2.decompress(body) == DATA


# -- statistics ------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["x-bz2", "X-BZip2"])
async def test_statistics_know_it(coding: str) -> None:
    told: list[BodyStats] = []
    body = bz2.compress(DATA)

    async def handler(request: web.Request) -> Any:
        return Text((await read_bytes(request)).decode())

    app = application(handler, on_stats=told.append)
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        fields = [("Content-Encoding", coding), ("Accept-Encoding", "x-bz2")]
        raw.writer.write(post(body, headers=fields))
        _, headers, answer = await raw.response()
        fields = [("Content-Encoding", "x-unknown")]
        raw.writer.write(post(body, headers=fields))
        assert (await raw.response())[0] == 415
    assert headers["content-encoding"] == "x-bz2"
    known, unknown = told
    assert known.request_codings == known.response_codings == ("x-bz2",)
    assert (known.request_body_size, known.request_decoded_size) == (
        len(body),
        len(DATA),
    )
    assert (known.response_body_size, known.response_decoded_size) == (
        len(answer),
        len(DATA),
    )
    assert unknown.request_codings == ("_OTHER",)
