"""An archive as a download: its length, its parts, and what clients resume."""

from __future__ import annotations

import asyncio
import io
import os
import random
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import FileStream, IterStream, KiB, Zip, ZipMember, ZipStream, setup
from aiostreams.testing import FailStream
from tests.servers import Raw, connected, post, serving

DATA = random.Random(1).randbytes(500 * KiB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() + DATA)
    return tmp_path


def files(folder: Path) -> list[Any]:
    return [ZipMember(name, folder / name, modified=1.7e9) for name in ("a", "b", "c")]


def application(make: Callable[[], Any]) -> web.Application:
    async def handler(request: web.Request) -> Any:
        return make()

    app = setup(web.Application())
    app.router.add_route("*", "/", handler)
    return app


async def asked(
    raw: Raw, method: str = "GET", **fields: str
) -> tuple[int, dict[str, str], bytes]:
    headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
    await raw.send(post(None, method=method, headers=headers))
    if method == "HEAD":
        head = (await raw.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in head[1:] if line)
        return int(head[0].split()[1]), {n.lower(): v for n, _, v in pairs}, b""
    return await raw.response()


async def test_a_download_with_a_length_and_parts(folder: Path) -> None:
    async with (
        serving(application(lambda: Zip(files(folder)))) as address,
        connected(address) as raw,
    ):
        status, headers, data = await asked(raw)
        assert status == 200
        assert headers["content-type"] == "application/zip"
        attached = 'attachment; filename="files.zip"'
        assert headers["content-disposition"] == attached
        assert headers["accept-ranges"] == "bytes"
        assert headers["content-length"] == str(len(data))
        archive = zipfile.ZipFile(io.BytesIO(data))
        assert archive.testzip() is None
        assert archive.read("b") == b"b" + DATA

        status, told, _ = await asked(raw, "HEAD")
        assert (status, told["content-length"]) == (200, str(len(data)))
        assert told["etag"] == headers["etag"]

        status, part, body = await asked(
            raw, Range="bytes=600000-", If_Range=headers["etag"]
        )
        assert (status, body) == (206, data[600_000:])
        assert part["content-range"] == f"bytes 600000-{len(data) - 1}/{len(data)}"
        status, _, body = await asked(raw, Range="bytes=-100")
        assert (status, body) == (206, data[-100:])
        status, several, body = await asked(raw, Range="bytes=0-3,600000-600009")
        assert (status, several["content-type"].split(";")[0]) == (
            206,
            "multipart/byteranges",
        )
        assert b"PK\x03\x04" in body
        assert data[600_000:600_010] in body
        status, _, _ = await asked(raw, Range=f"bytes={len(data)}-")
        assert status == 416
        status, _, body = await asked(raw, If_None_Match=headers["etag"])
        assert (status, body) == (304, b"")
        status, _, _ = await asked(raw, If_Match='"another"')
        assert status == 412

        # Another version of one member is another archive.
        os.utime(folder / "b")
        status, _, body = await asked(
            raw, Range="bytes=600000-", If_Range=headers["etag"]
        )
        assert (status, body) == (200, data)
        status, changed, _ = await asked(raw, "HEAD")
        assert changed["etag"] != headers["etag"]


async def test_curl_resumes_a_download_that_broke_off(folder: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    async with serving(application(lambda: Zip(files(folder)))) as (host, port):
        async with connected((host, port)) as raw:
            _, _, data = await asked(raw)
        target = folder / "download.zip"
        for cut in (0, 1, 100_000, 600_000, len(data) - 30):
            target.write_bytes(data[:cut])
            process = await asyncio.create_subprocess_exec(
                curl, "-sS", "-C", "-", "-o", str(target), f"http://{host}:{port}/"
            )
            assert await process.wait() == 0
            assert target.read_bytes() == data


async def broken(raw: Raw) -> bytes:
    await raw.send(post(None, method="GET"))
    try:
        return await raw.reader.read(-1)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("compress", [False, True])
async def test_a_member_that_fails_breaks_the_connection(compress: bool) -> None:
    def make() -> Zip:
        failing = FailStream(DATA, 300_000, OSError("broken"), pieces=10_000)
        return Zip([ZipMember("a", failing, compress=compress), ("b", b"x")])

    async with serving(application(make)) as address, connected(address) as raw:
        got = await broken(raw)
    assert b"200 OK" in got
    assert not got.endswith(b"0\r\n\r\n")
    assert b"PK\x05\x06" not in got


async def test_a_member_that_became_shorter_breaks_the_connection(folder: Path) -> None:
    class Shrinks(ZipStream):
        async def open(self) -> Any:
            await super().open()
            os.truncate(folder / "c", 1000)
            return self

    app = application(lambda: Shrinks(files(folder)))
    async with serving(app) as address, connected(address) as raw:
        got = await broken(raw)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert 0 < len(body) < length


@pytest.mark.parametrize(
    ("member", "status"),
    [
        (lambda folder: ("a", folder / "missing"), 404),
        (lambda folder: ("a", FileStream(folder / "missing")), 404),
        (lambda folder: ("a", folder), 404),
        (lambda folder: ("a", b"", "more"), 500),
    ],
)
async def test_what_is_wrong_before_the_first_byte_is_an_answer(
    member: Callable[[Path], Any], status: int, folder: Path
) -> None:
    app = application(lambda: Zip([("first", b"x"), member(folder)]))
    async with serving(app) as address, connected(address) as raw:
        assert (await asked(raw))[0] == status


async def test_a_client_that_leaves_closes_the_members() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield DATA
                await asyncio.sleep(0)
        finally:
            closed.set()

    app = application(lambda: Zip([("a", IterStream(endless()))]))
    async with serving(app) as address:
        async with connected(address) as raw:
            await raw.send(post(None, method="GET"))
            await raw.reader.read(1000)
            raw.reset()
        async with asyncio.timeout(10):
            await closed.wait()


async def test_an_archive_is_not_compressed_again(folder: Path) -> None:
    async with (
        serving(application(lambda: Zip(files(folder)))) as address,
        connected(address) as raw,
    ):
        _, headers, _ = await asked(raw, Accept_Encoding="gzip, br, zstd")
    assert "content-encoding" not in headers


async def test_an_upload_of_an_archive_has_its_length(folder: Path) -> None:
    import aiohttp

    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.extend([request.content_length, len(await request.read())])
        return web.Response()

    app = web.Application(client_max_size=10**9)
    app.router.add_put("/", handler)
    async with serving(app) as (host, port), aiohttp.ClientSession() as session:
        archive = await ZipStream(files(folder)).open()
        await session.put(f"http://{host}:{port}/", data=archive)
        assert archive.closed
    assert seen == [archive.size, archive.size]
