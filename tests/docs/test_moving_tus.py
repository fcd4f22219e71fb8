"""What docs/migration/tus.md says of other tus servers, and of us, is what happens.

The same requests go to aiohttp-tus, to @tus/server and to this package. Of tusd, which
is no package of Python or of npm, the page says what its source says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from aiostreams import DiskStorage, StoredFile, resumable_route, setup
from tests.node import FOLDER, node_with
from tests.servers import connected, serving

from .page import ROOT

PAGE = (ROOT / "docs/migration/tus.md").read_text()
CHUNK = "application/offset+octet-stream"

# Others leave it to the garbage collector to close files.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning"),
]


class Peer:
    """A server and its folder for files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address: tuple[str, int] = "", 0
        self.session: aiohttp.ClientSession
        self.hooks = folder.parent / "hooks"  # of a server in another process
        self.noted = 0

    async def __call__(
        self, method: str, url: str | URL, data: bytes | None = None, **headers: str
    ) -> aiohttp.ClientResponse:
        fields = {"Tus-Resumable": "1.0.0"} if method != "GET" else {}
        if method == "PATCH":
            fields["Content-Type"] = CHUNK
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {name: value for name, value in fields.items() if value}
        async with self.session.request(
            method,
            URL(f"http://{self.address[0]}:{self.address[1]}").join(URL(url)),
            data=data,
            headers=fields,
            skip_auto_headers=("Content-Type",),
        ) as response:
            await response.read()
            return response

    async def create(self, length: int, name: str = "a.txt") -> URL:
        value = base64.b64encode(name.encode()).decode()
        answer = await self(
            "POST", "/files", Upload_Length=str(length),
            Upload_Metadata=f"filename {value}",
        )  # fmt: skip
        assert answer.status == 201, await answer.text()
        return URL(URL(answer.headers["Location"]).raw_path_qs, encoded=True)

    @property
    def finished(self) -> int:
        """How often the hook for finished uploads was called."""
        if self.hooks.exists():
            return len(self.hooks.read_text().splitlines())
        return self.noted

    def stored(self) -> list[bytes]:
        """The content of each file that was finished, and that anybody sees."""
        return [
            path.read_bytes()
            for path in self.folder.iterdir()
            if path.is_file() and path.suffix != ".json"
        ]


@contextlib.asynccontextmanager
async def aiohttp_tus(folder: Path) -> AsyncIterator[Peer]:
    module = pytest.importorskip("aiohttp_tus", reason="aiohttp-tus is not installed")
    hold_to("aiohttp-tus", importlib.metadata.version("aiohttp-tus"))
    peer = Peer(folder)

    async def done(request: web.Request, resource: Any, path: Path) -> None:
        peer.noted += 1
        if resource.file_name == "bad":
            raise web.HTTPForbidden

    app = web.Application()
    module.setup_tus(app, upload_path=folder, upload_url="/files", on_upload_done=done)
    async with serving(app) as peer.address:
        yield peer


@contextlib.asynccontextmanager
async def tus_server(folder: Path) -> AsyncIterator[Peer]:
    node = node_with("@tus/server")
    manifest = FOLDER / "node_modules/@tus/server/package.json"
    hold_to("@tus/server", json.loads(manifest.read_text())["version"])
    peer = Peer(folder)
    script = ROOT / "tests/benchmarks/tus_server.mjs"
    options = json.dumps({"maxSize": 1000, "hooks": str(peer.hooks)})
    process = await asyncio.create_subprocess_exec(
        node, script, FOLDER, folder, options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = await process.stdout.readline()
        assert port
        peer.address = "127.0.0.1", int(port)
        yield peer
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def aiostreams(folder: Path) -> AsyncIterator[Peer]:
    peer = Peer(folder)

    async def done(request: web.Request, file: StoredFile) -> None:
        peer.noted += 1
        if file.filename == "bad":
            raise web.HTTPForbidden

    app = web.Application()
    app.add_routes([resumable_route("/files", done, max_size=1000)])
    setup(app, storage=DiskStorage(folder))
    async with serving(app) as peer.address:
        yield peer


PEERS = {"aiohttp-tus": aiohttp_tus, "@tus/server": tus_server, "here": aiostreams}


def hold_to(library: str, version: str) -> None:
    """Skip with a version that the page does not speak of."""
    spoken_of = re.search(rf"{library} (\d+[.\d]*\d)", PAGE)
    assert spoken_of is not None, f"the page names no version of {library}"
    if spoken_of[1] != version:
        pytest.skip(f"the page does not speak of {library} {version}")


# -- the lines of the page ---------------------------------------------------------------


async def broken_off(peer: Peer) -> object:
    """The offset after a PATCH of 10 bytes broke off behind 4 of them."""
    url = await peer.create(10)
    async with connected(peer.address) as raw:
        await raw.send(
            f"PATCH {url.raw_path_qs} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: {CHUNK}\r\nUpload-Offset: 0\r\nContent-Length: 10\r\n\r\n"
            "0123".encode()
        )
        # Of a client that leaves at once @tus/server may keep nothing.
        await asyncio.sleep(1)
    told = None
    for _ in range(20):  # some need a moment to see that the client has gone
        told = (await peer("HEAD", url)).headers.get("Upload-Offset")
        if told == "4":
            break
        await asyncio.sleep(0.05)
    return told


async def after_the_end(peer: Peer) -> object:
    """HEAD of an upload whose last answer may have been lost."""
    url = await peer.create(3)
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    return (await peer("HEAD", url)).status


async def sent_again(peer: Peer) -> object:
    """The last PATCH, without content, again; and how often the hook was called."""
    url = await peer.create(3)
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    answer = await peer("PATCH", url, b"", Upload_Offset="3")
    return answer.status, peer.finished


async def refused(peer: Peer) -> object:
    """What a hook that refuses makes of the last PATCH, of HEAD, and of the file."""
    url = await peer.create(3, "bad")
    last = await peer("PATCH", url, b"abc", Upload_Offset="0")
    head = await peer("HEAD", url)
    return last.status, head.status, len(peer.stored())


async def same_name(peer: Peer) -> object:
    """A second upload with the name of the first."""
    url = await peer.create(3)
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    value = base64.b64encode(b"a.txt").decode()
    answer = await peer(
        "POST", "/files", Upload_Length="3", Upload_Metadata=f"filename {value}"
    )
    return answer.status


async def path_in_name(peer: Peer) -> object:
    """Whether a name with ``../`` in it leads out of the folder."""
    url = await peer.create(3, "../escaped.txt")
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    return (peer.folder.parent / "escaped.txt").exists()


async def too_long(peer: Peer) -> object:
    """Six bytes for an upload of three."""
    url = await peer.create(3)
    return (await peer("PATCH", url, b"abcdef", Upload_Offset="0")).status


async def above_the_limit(peer: Peer) -> object:
    """5 GB, which is more than any of them says that it takes."""
    answer = await peer(
        "POST", "/files", Upload_Length="5000000000", Upload_Metadata="filename YS50"
    )
    return answer.status


async def with_upload(peer: Peer) -> object:
    """The offset after a creation that has the first bytes."""
    answer = await peer(
        "POST", "/files", b"abc", Upload_Length="6", Content_Type=CHUNK,
        Upload_Metadata="filename YS50eHQ=",
    )  # fmt: skip
    head = await peer("HEAD", URL(answer.headers["Location"]).raw_path_qs)
    return head.headers.get("Upload-Offset")


async def deferred(peer: Peer) -> object:
    answer = await peer(
        "POST", "/files", Upload_Defer_Length="1", Upload_Metadata="filename YS50eHQ="
    )
    if answer.status != 201:
        return answer.status
    url = URL(URL(answer.headers["Location"]).raw_path_qs, encoded=True)
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    last = await peer("PATCH", url, b"def", Upload_Offset="3", Upload_Length="6")
    return last.status, peer.stored()


async def other_type(peer: Peer) -> object:
    """A PATCH that is called text."""
    url = await peer.create(3)
    answer = await peer(
        "PATCH", url, b"abc", Upload_Offset="0", Content_Type="text/plain"
    )
    return answer.status


async def ended(peer: Peer) -> object:
    """DELETE of a finished upload, and the files that are left."""
    url = await peer.create(3)
    await peer("PATCH", url, b"abc", Upload_Offset="0")
    return (await peer("DELETE", url)).status, len(peer.stored())


async def checksum(peer: Peer) -> object:
    """A checksum that is wrong."""
    url = await peer.create(3)
    answer = await peer(
        "PATCH", url, b"abc", Upload_Offset="0",
        Upload_Checksum="sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    )  # fmt: skip
    return answer.status


async def joined(peer: Peer) -> object:
    """Two parts, and what they are together."""
    urls = []
    for part in (b"abc", b"def"):
        answer = await peer(
            "POST", "/files", Upload_Length="3", Upload_Concat="partial",
            Upload_Metadata="filename YS50eHQ=",
        )  # fmt: skip
        if answer.status != 201:
            return answer.status
        urls.append(answer.headers["Location"])
        await peer("PATCH", URL(urls[-1]).raw_path_qs, part, Upload_Offset="0")
    answer = await peer("POST", "/files", Upload_Concat=f"final;{' '.join(urls)}")
    return answer.status, peer.stored()


async def no_version(peer: Peer) -> object:
    """A creation that does not say ``Tus-Resumable``."""
    answer = await peer("POST", "/files", Upload_Length="3", Tus_Resumable="")
    return answer.status


# What aiohttp-tus, @tus/server and this package answer.
CASES: dict[Callable[[Peer], Awaitable[object]], tuple[object, object, object]] = {
    broken_off: ("0", "4", "4"),
    after_the_end: (404, 200, 200),
    sent_again: ((500, 1), (204, 2), (204, 1)),
    refused: ((403, 404, 1), (403, 200, 1), (403, 410, 0)),
    same_name: (409, 201, 201),
    path_in_name: (True, False, False),
    too_long: (204, 413, 413),
    above_the_limit: (201, 413, 413),
    with_upload: ("0", "3", "3"),
    deferred: ((204, []), (204, [b"abcdef"]), (204, [b"abcdef"])),
    other_type: (204, 400, 415),
    ended: ((404, 1), (204, 0), (204, 1)),
    checksum: (204, 204, 460),
    joined: (409, 501, (201, [b"abcdef"])),
    no_version: (500, 412, 201),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("name", PEERS)
async def test_servers(
    name: str,
    case: Callable[[Peer], Awaitable[object]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    folder = tmp_path / "files"
    folder.mkdir()
    async with PEERS[name](folder) as peer, aiohttp.ClientSession() as peer.session:
        assert await case(peer) == CASES[case][list(PEERS).index(name)]
