"""Clients that others have written, also where connections break."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    JSON,
    DiskStorage,
    ResumableUploads,
    receive,
    resumable,
    resumable_route,
    setup,
    upload_of,
)
from tests.node import FOLDER, node_with
from tests.servers import serving

from .chaos import Chaos

SIZE = 1_500_017
SCRIPT = Path(__file__).with_name("upload.mjs")


def pattern(size: int) -> bytes:
    return bytes((i * 31 + (i >> 8)) & 255 for i in range(size))


DATA = pattern(SIZE)


class Server:
    """Two workers of one application, without a state in common but the storage."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.received: list[tuple[str, dict[str, str], str]] = []
        self.ports: list[int] = []
        self.chaos: Chaos

    async def store(self, request: web.Request) -> Any:
        async with receive(request) as upload:
            [file] = upload.files.values()
            told = upload_of(request)
            assert told is not None
            self.received.append(
                (file.digests["sha256"], dict(told.metadata), told.protocol)
            )
            return JSON({"key": file.key})

    def app(self) -> web.Application:
        async def done(request: web.Request, file: Any) -> Any:
            told = upload_of(request)
            assert told is not None
            self.received.append(
                (file.digests["sha256"], dict(told.metadata), told.protocol)
            )

        app = web.Application()
        app.router.add_post("/query", resumable()(self.store))
        app.add_routes([resumable_route("/path", done)])
        setup(
            app,
            storage=DiskStorage(self.path),
            resumable=ResumableUploads(interim=True),
        )
        return app

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.chaos.port}{path}"

    def check(self, data: bytes = DATA, count: int = 1) -> None:
        digest = hashlib.sha256(data).hexdigest()
        assert [sha for sha, _, _ in self.received] == [digest] * count


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    async with serving(made.app()) as one, serving(made.app()) as two:
        made.ports = [one[1], two[1]]
        made.chaos = Chaos(made.ports, seed=1)
        made.chaos.calm = True
        async with made.chaos.running():
            yield made


# -- tus-js-client -----------------------------------------------------------------------


async def upload(
    url: str, *, size: int = SIZE, stream: bool = False, **options: Any
) -> Any:
    node = node_with("tus-js-client")
    given = {
        "folder": str(FOLDER),
        "size": size,
        "stream": stream,
        "options": {"endpoint": url, **options},
    }
    process = await asyncio.create_subprocess_exec(
        node, str(SCRIPT), json.dumps(given),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(50):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert out, err.decode()
    result = json.loads(out.splitlines()[-1])
    assert result["ok"], result
    return result


CHUNKED = {"chunkSize": 300_000}
OPTIONS: dict[str, dict[str, Any]] = {
    "at once": {},
    "in chunks": CHUNKED,
    "with creation": {"uploadDataDuringCreation": True, **CHUNKED},
    "deferred": {"uploadLengthDeferred": True, "stream": True, **CHUNKED},
    "parallel": {"parallelUploads": 3},
    "parallel, in chunks": {"parallelUploads": 2, **CHUNKED},
    "by POST": {"overridePatchMethod": True, **CHUNKED},
    "metadata": {"metadata": {"filename": "ü.txt", "filetype": "text/x", "empty": ""}},
}
DRAFTS = {"ietf-draft-03", "ietf-draft-05"}


@pytest.mark.parametrize("path", ["/query", "/path"])
@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-03", "ietf-draft-05"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda name: name)
async def test_tus_js_client(
    server: Server, path: str, protocol: str, options: str
) -> None:
    given = OPTIONS[options]
    if protocol in DRAFTS and ("parallelUploads" in given or "by" in options):
        pytest.skip("the drafts have neither parts nor other methods")
    await upload(server.url(path), protocol=protocol, **given)
    server.check()
    [(_, told, by)] = server.received
    assert by == ("rufh" if protocol in DRAFTS else "tus")
    if "metadata" in given:
        assert told == given["metadata"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-03", "ietf-draft-05"])
async def test_tus_js_client_over_a_bad_network(
    server: Server, protocol: str, seed: int
) -> None:
    """Connections break in the middle, answers get lost, workers take turns."""
    server.chaos._random = random.Random(seed)
    server.chaos.calm = False
    result = await upload(server.url("/query"), protocol=protocol, chunkSize=100_000)
    server.check()
    assert result["errors"] > 0
    assert server.chaos.count["cut"] + server.chaos.count["lost"] > 0


async def test_parts_at_once_over_a_bad_network(server: Server) -> None:
    """Whatever breaks, and in whatever order parts arrive: no byte is elsewhere."""
    server.chaos._random = random.Random(3)
    server.chaos.calm = False
    result = await upload(server.url("/query"), parallelUploads=4, chunkSize=100_000)
    server.check()
    assert result["errors"] > 0


# -- tuspy -------------------------------------------------------------------------------


async def blocking(call: Callable[[], Any]) -> Any:
    async with asyncio.timeout(50):
        return await asyncio.to_thread(call)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("path", ["/query", "/path"])
async def test_tuspy(server: Server, path: str, checksum: bool) -> None:
    tusclient = pytest.importorskip("tusclient.client", reason="needs tuspy")

    def run() -> None:
        uploader = tusclient.TusClient(server.url(path)).uploader(
            file_stream=io.BytesIO(DATA),
            chunk_size=400_000,
            metadata={"filename": "a.txt"},
            upload_checksum=checksum,
        )
        uploader.upload()

    await blocking(run)
    server.check()
    assert server.received[0][1] == {"filename": "a.txt"}


async def test_tuspy_goes_on(server: Server) -> None:
    tusclient = pytest.importorskip("tusclient.client", reason="needs tuspy")

    def run() -> None:
        client = tusclient.TusClient(server.url("/query"))
        first = client.uploader(file_stream=io.BytesIO(DATA), chunk_size=100_000)
        first.upload_chunk()
        second = client.uploader(
            file_stream=io.BytesIO(DATA), chunk_size=500_000, url=first.url
        )
        assert second.offset == 100_000
        second.upload()

    await blocking(run)
    server.check()


# -- aiotus ------------------------------------------------------------------------------


# In a process of its own: it does what aiohttp warns of.
AIOTUS = """
import asyncio, io, json, sys
import aiotus

async def main():
    url, many = sys.argv[1], sys.argv[2] == "many"
    data = bytes((i * 31 + (i >> 8)) & 255 for i in range(int(sys.argv[3])))
    said = {"filename": b"a.txt", "bare": None}
    if many:
        parts = [io.BytesIO(data[:700_000]), io.BytesIO(data[700_000:])]
        made = await aiotus.upload_multiple(url, parts, said)
    else:
        made = await aiotus.upload(url, io.BytesIO(data), said)
    assert made is not None
    told = await aiotus.metadata(made)
    assert told == said, told

asyncio.run(main())
"""


async def aiotus(url: str, how: str) -> None:
    pytest.importorskip("aiotus", reason="needs aiotus")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AIOTUS, url, how, str(SIZE),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(50):
        _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


@pytest.mark.parametrize("path", ["/query", "/path"])
async def test_aiotus(server: Server, path: str) -> None:
    await aiotus(server.url(path), "one")
    server.check()
    assert server.received[0][1] == {"filename": "a.txt", "bare": ""}


async def test_aiotus_in_parts(server: Server) -> None:
    """It names parts by their paths, so that the id has to be in these."""
    await aiotus(server.url("/path"), "many")
    server.check()


# -- resumable-upload --------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("checksum", ["sha1", "sha256", "sha512", "md5"])
async def test_resumable_upload(
    server: Server, tmp_path: Path, parallel: int, checksum: str
) -> None:
    package = pytest.importorskip("resumable_upload", reason="needs resumable-upload")
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)

    def run() -> None:
        client = package.TusClient(
            server.url("/path"), chunk_size=300_000, checksum=checksum
        )
        client.upload_file(str(path), parallel_uploads=parallel)

    await blocking(run)
    server.check()
