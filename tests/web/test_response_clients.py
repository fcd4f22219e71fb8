"""Downloads as curl, requests and aiohttp see them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from aiohttp import web

from aiostreams import File, FileStream, respond, setup
from tests.servers import serving

DATA = os.urandom(300_000)


@contextlib.asynccontextmanager
async def site(path: Path) -> AsyncIterator[str]:
    """A file: by sendfile, through Python, and under a name."""

    async def file(_request: web.Request) -> Any:
        return File(path)

    async def stream(_request: web.Request) -> Any:
        return FileStream(path)

    async def named(_request: web.Request) -> Any:
        return respond(File(path), filename='Bön "1".bin')

    app = web.Application()
    app.router.add_get("/file", file)
    app.router.add_get("/stream", stream)
    app.router.add_get("/named", named)
    async with serving(setup(app)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    async with site(path) as address:
        yield address


async def curl(*arguments: str, folder: Path) -> tuple[int, str]:
    """Its exit code, and what it has written."""
    command = shutil.which("curl")
    if command is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        command,
        "--silent",
        "--show-error",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("path", ["/file", "/stream"])
async def test_curl_resumes(url: str, path: str, tmp_path: Path) -> None:
    got = tmp_path / "got"
    for there in (0, 1, 100_000, len(DATA) - 1):
        got.write_bytes(DATA[:there])
        code, said = await curl(
            "-C", "-", "-o", "got", "-w", "%{http_code}", url + path, folder=tmp_path
        )
        assert (code, said) == (0, "206" if there else "200")
        assert got.read_bytes() == DATA
    # All of it is there: nothing is left to be sent, which is 416 and no harm.
    code, said = await curl(
        "-C", "-", "-o", "got", "-w", "%{http_code}", url + path, folder=tmp_path
    )
    assert said.endswith("416")
    assert got.read_bytes() == DATA


async def test_curl_resumes_a_download_that_was_cut_off(tmp_path: Path) -> None:
    """By a source that fails midway: curl knows it, and what it has is right."""
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)

    class Failing(FileStream):
        async def readany(self) -> bytes:
            if self.position >= 262_144:
                raise OSError("the disk is gone")
            return await super().readany()

    async def handler(request: web.Request) -> Any:
        return FileStream(path) if "Range" in request.headers else Failing(path)

    app = web.Application()
    app.router.add_get("/", handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOHTTP_NOSENDFILE", "1")
        async with serving(setup(app)) as (host, port):
            address = f"http://{host}:{port}/"
            code, _ = await curl("-o", "got", address, folder=tmp_path)
            assert code == 18  # "partial file"
            assert (tmp_path / "got").read_bytes() == DATA[:262_144]
            code, _ = await curl("-C", "-", "-o", "got", address, folder=tmp_path)
    assert code == 0
    assert (tmp_path / "got").read_bytes() == DATA


async def test_curl_sees_a_file_by_its_conditions(url: str, tmp_path: Path) -> None:
    tag = ("--etag-save", "tag", "--etag-compare", "tag")
    show = ("-o", "got", "-R", "-w", "%{http_code} %{size_download}")
    for expected in (f"200 {len(DATA)}", "304 0"):
        _, said = await curl(*tag, *show, f"{url}/file", folder=tmp_path)
        assert said == expected
    # -R has given the copy the time of the original, and -z asks with that.
    assert (tmp_path / "got").stat().st_mtime == int(
        (tmp_path / "data.bin").stat().st_mtime
    )
    _, said = await curl("-z", "got", *show, f"{url}/file", folder=tmp_path)
    assert said == "304 0"
    _, said = await curl("-r", "0-9,-5", "-o", "parts", f"{url}/file", folder=tmp_path)
    assert DATA[:10] in (tmp_path / "parts").read_bytes()
    assert b"Content-Range: bytes 0-9/300000\r\n" in (tmp_path / "parts").read_bytes()


async def test_curl_saves_under_the_name_that_is_given(
    url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    code, _ = await curl("-O", "-J", f"{url}/named", folder=folder)
    assert code == 0
    # curl reads filename= only, and what that says is safe everywhere.
    assert [path.name for path in folder.iterdir()] == ["Bon _1_.bin"]


@pytest.mark.parametrize("path", ["/file", "/stream"])
async def test_requests_sees_what_the_rfc_says(url: str, path: str) -> None:
    def look() -> None:
        with requests.Session() as session:
            whole = session.get(url + path)
            assert (whole.status_code, whole.content) == (200, DATA)
            head = session.head(url + path)
            assert head.headers["Content-Length"] == str(len(DATA))
            assert (head.headers["ETag"], head.content) == (whole.headers["ETag"], b"")
            ranged = {"Range": "bytes=100-199", "If-Range": whole.headers["ETag"]}
            part = session.get(url + path, headers=ranged)
            assert (part.status_code, part.content) == (206, DATA[100:200])
            assert part.headers["Content-Range"] == f"bytes 100-199/{len(DATA)}"
            known = {"If-None-Match": whole.headers["ETag"]}
            same = session.get(url + path, headers=known)
            assert (same.status_code, same.content) == (304, b"")
            beyond = session.get(url + path, headers={"Range": "bytes=300000-"})
            assert beyond.status_code == 416
            assert beyond.headers["Content-Range"] == "bytes */300000"
            # Piece by piece, from a connection that is kept.
            crc = 0
            with session.get(url + path, stream=True) as response:
                for piece in response.iter_content(7777):
                    crc = zlib.crc32(piece, crc)
            assert crc == zlib.crc32(DATA)

    await asyncio.to_thread(look)


@pytest.mark.parametrize("path", ["/file", "/stream"])
async def test_aiohttp_sees_what_the_rfc_says(url: str, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(url + path) as response:
            assert await response.read() == DATA
            etag = response.headers["ETag"]
        ranged = {"Range": "bytes=100-199", "If-Range": etag}
        async with session.get(url + path, headers=ranged) as response:
            assert (response.status, await response.read()) == (206, DATA[100:200])
        several = {"Range": "bytes=0-9,500-599,-1"}
        async with session.get(url + path, headers=several) as response:
            assert response.status == 206
            reader = aiohttp.MultipartReader.from_response(response)
            found = []
            while (part := await reader.next()) is not None:
                assert isinstance(part, aiohttp.BodyPartReader)
                found.append((part.headers["Content-Range"], await part.read()))
        assert found == [
            ("bytes 0-9/300000", DATA[:10]),
            ("bytes 500-599/300000", DATA[500:600]),
            ("bytes 299999-299999/300000", DATA[-1:]),
        ]
        async with session.get(url + path, headers={"If-Match": '"x"'}) as response:
            assert response.status == 412
        async with session.get(url + "/named") as response:
            assert response.content_disposition is not None
            assert response.content_disposition.filename == 'Bön "1".bin'
