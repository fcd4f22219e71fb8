"""Answers that come before the body has ended reach whoever is still sending it.

What is left of the body is read and dropped, for as long as aiohttp lingers (10
seconds unless told otherwise), and then the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aiostreams import (
    Limits,
    MemoryStorage,
    MiB,
    expect_continue,
    open_stream,
    receive,
    setup,
)
from tests.servers import CHUNKED, chunk, connected, post, serving

SIZE = 30 * MiB
PIECE = b"\0" * 65536
PATHS = {"/type": 415, "/large": 413, "/who": 401}


def refusing(limits: Limits | None = None) -> web.Application:
    storage = MemoryStorage()

    async def of_a_type(request: web.Request) -> Any:
        async with receive(request, storage, accept={"image/*"}):
            raise AssertionError("entered")

    async def small(request: web.Request) -> Any:
        async with receive(request, storage, limits=Limits(max_file=100_000)):
            raise AssertionError("entered")

    async def known(request: web.Request) -> Any:
        raise web.HTTPUnauthorized(text="who are you?")

    app = web.Application()
    for path, handler in zip(PATHS, (of_a_type, small, known), strict=True):
        app.router.add_route("*", path, handler, expect_handler=expect_continue)
    return setup(app, limits=limits or Limits())


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(refusing(), auto_decompress=False) as (host, port):
        yield f"http://{host}:{port}"


def pieces() -> Iterator[bytes]:
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


every_refusal = pytest.mark.parametrize(("path", "status"), PATHS.items())


@every_refusal
@pytest.mark.parametrize("expect", [False, True])
async def test_aiohttp_client_hears_it(
    url: str, path: str, status: int, expect: bool
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    async with (
        aiohttp.ClientSession() as session,
        session.put(url + path, data=body(), expect100=expect) as response,
    ):
        assert response.status == status


@every_refusal
@pytest.mark.parametrize("length", [False, True])
async def test_requests_hears_it(
    url: str, path: str, status: int, length: bool, tmp_path: Path
) -> None:
    requests = pytest.importorskip("requests")
    (tmp_path / "file").write_bytes(PIECE * (SIZE // len(PIECE)))

    def ask() -> int:
        with (tmp_path / "file").open("rb") as file, requests.Session() as session:
            data = file if length else iter(lambda: file.read(65536), b"")
            answer: int = session.put(url + path, data=data).status_code
            return answer

    assert await asyncio.to_thread(ask) == status


@every_refusal
@pytest.mark.parametrize(
    "flags",
    [[], ["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]],
    ids=["expecting", "not expecting", "chunked"],
)
async def test_curl_hears_it(
    url: str, path: str, status: int, flags: list[str], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "file").write_bytes(PIECE * (SIZE // len(PIECE)))
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-m", "15", "-o", str(tmp_path / "answer"), *flags,
        "-w", "%{http_code} %{size_upload}", "-T", str(tmp_path / "file"), url + path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate()
    assert errors == b""
    told, sent = map(int, out.split())
    assert told == status
    if path == "/who" and not flags:
        assert sent == 0  # the handler did not read, so nobody asked for the body


@every_refusal
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_client_that_sends_all_before_it_listens_hears_it(
    url: str, path: str, status: int, framing: str
) -> None:
    address = url.removeprefix("http://").split(":")
    async with connected((address[0], int(address[1]))) as raw:
        if framing == "chunked":
            await raw.send(post(path=path, headers=CHUNKED))
        else:
            head = post(path=path, headers=[("Content-Length", str(SIZE))])
            await raw.send(head)
        for piece in pieces():
            raw.writer.write(chunk(piece) if framing == "chunked" else piece)
            await raw.writer.drain()
        if framing == "chunked":
            raw.writer.write(chunk(b""))
        assert (await raw.response())[0] == status
        # All of it was read, so the connection is as good as new.
        await raw.send(post(PIECE * 2, path=path))
        assert (await raw.response())[0] == status


@every_refusal
@pytest.mark.parametrize("sending", [True, False])
async def test_client_that_never_ends_is_left_after_a_while(
    path: str, status: int, sending: bool
) -> None:
    async with (
        serving(refusing(), auto_decompress=False, lingering_time=0.5) as address,
        connected(address) as raw,
    ):
        await raw.send(post(path=path, headers=CHUNKED) + chunk(PIECE) * 2)
        assert (await raw.response())[0] == status
        started = time.monotonic()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            while sending:
                raw.writer.write(chunk(PIECE))
                await raw.writer.drain()
            await raw.reader.readexactly(1)
        assert 0.3 < time.monotonic() - started < 9


async def test_nothing_is_decoded_of_what_nobody_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = gzip.compress(bytes(64 * MiB), 1)
    fed = 0

    def decoding(*_args: object) -> None:
        nonlocal fed
        fed += 1

    monkeypatch.setattr("aiostreams.codings.decoded.DecodedStream.readany", decoding)
    monkeypatch.setattr("aiohttp.http_parser.DeflateBuffer.feed_data", decoding)
    async with (
        serving(refusing(), auto_decompress=False) as address,
        connected(address) as raw,
    ):
        coded = [("Content-Encoding", "gzip")]
        await raw.send(post(bomb, path="/who", headers=coded))
        assert (await raw.response())[0] == 401
        await raw.send(post(b"", path="/who"))
        assert (await raw.response())[0] == 401
    assert fed == 0


async def test_what_was_refused_while_it_was_decoded_is_decoded_no_further() -> None:
    bomb = gzip.compress(bytes(200 * MiB), 1)
    decoded = []

    async def handler(request: web.Request) -> Any:
        stream = open_stream(request)
        try:
            return web.Response(text=str(len(await stream.read())))
        finally:
            decoded.append(stream)

    app = setup(web.Application(), limits=Limits(max_body=3 * MiB))
    app.router.add_post("/", handler)
    async with (
        serving(app, auto_decompress=False) as address,
        connected(address) as raw,
    ):
        await raw.send(post(bomb, headers=[("Content-Encoding", "gzip")]))
        assert (await raw.response())[0] == 413
        await raw.send(post(b""))
        assert (await raw.response())[0] == 200
    assert decoded[0].position <= 3 * MiB
    assert decoded[0].closed


# -- too slow ----------------------------------------------------------------------

FORM = (
    b"--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + b"x" * 9000
)
FORM_TYPE = ("Content-Type", "multipart/form-data; boundary=b")


@pytest.mark.parametrize(
    ("limits", "pause", "detail"),
    [
        (Limits(idle_timeout=0.3), 10.0, b"no byte of the body for 0.3 seconds"),
        (Limits(total_timeout=0.5), 0.05, b"not complete after 0.5 seconds"),
        (
            Limits(min_rate=50_000, min_rate_grace=0.3),
            0.1,
            b"at least 50000 are expected",
        ),
    ],
    ids=["idle", "total", "rate"],
)
@pytest.mark.parametrize("kind", ["form", "small form", "raw"])
async def test_slow_upload_ends_with_408_and_leaves_nothing(
    tmp_path: Path, limits: Limits, pause: float, detail: bytes, kind: str
) -> None:
    from aiostreams import DiskStorage

    tasks: set[asyncio.Task[Any]] = set()

    async def upload(request: web.Request) -> Any:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        async with receive(request):
            raise AssertionError("entered")

    app = web.Application()
    app.router.add_post("/", upload)
    setup(app, storage=DiskStorage(tmp_path / "root"), limits=limits)
    length = 20_000 if kind == "small form" else 10**6
    headers = [("Content-Length", str(length)), ("Accept", "application/json")]
    if kind != "raw":
        headers.append(FORM_TYPE)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=headers) + FORM)
        started = time.monotonic()

        async def drip() -> None:
            while True:
                raw.writer.write(b"x")
                await asyncio.sleep(pause)

        dripping = asyncio.create_task(drip())
        status, told, body = await raw.response()
        dripping.cancel()
        assert status == 408
        assert told["connection"] == "close"
        assert detail in body
        # And soon: who was too slow is not waited for as long as others are.
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                assert await raw.reader.read() == b""
        assert time.monotonic() - started < 9
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_steady_upload_above_the_rate_is_served(tmp_path: Path) -> None:
    async def upload(request: web.Request) -> Any:
        async with receive(request, MemoryStorage()) as received:
            return web.Response(text=str(received.files["file"].size))

    app = web.Application()
    app.router.add_post("/", upload)
    limits = Limits(min_rate=10_000, min_rate_grace=0.2, idle_timeout=0.3)
    setup(app, limits=limits)
    async with serving(app) as address, connected(address) as raw:
        await raw.send(post(headers=[("Content-Length", "30000")]))
        for _ in range(15):
            raw.writer.write(b"x" * 2000)
            await asyncio.sleep(0.08)
        assert (await raw.response())[0] == 200
