"""Uploads through nginx, HAProxy and Caddy: what the guide on deploying says of them.

The proxies are configured by what the guides show.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.typedefs import Handler
from yarl import URL

from aiostreams import MemoryStorage
from tests.docs.page import ROOT, Page
from tests.servers import Raw, chunk, connected, serving

from .server import Client, Service, client

DATA = bytes(i & 255 for i in range(3_000_000))
SENT = 900_000  # below nginx's own limit
GUIDE = {
    block.title: block.text
    for block in Page(ROOT / "docs/guides/resumable-deploying.md").blocks
}
NGINX = Page(ROOT / "docs/guides/nginx.md").files
# As nginx is when nothing is said.
BUFFERED = """
server {
    listen 127.0.0.1:8080;
    location / { proxy_pass http://127.0.0.1:8081; proxy_set_header Host $http_host; }
}
"""


@dataclass(frozen=True)
class Proxy:
    """A program, and its files."""

    program: str
    arguments: tuple[str, ...]
    files: dict[str, str]


def nginx(site: str) -> Proxy:
    arguments = ("-p", ".", "-c", "nginx.conf", "-e", "stderr")
    files = {"nginx.conf": NGINX["nginx.conf"], "app.nginx": site}
    return Proxy("nginx", arguments, files)


PROXIES = {
    "nginx": nginx(GUIDE["resumable.nginx"]),
    "nginx, as in its guide": nginx(NGINX["app.nginx"]),
    "nginx, by HTTP/1.0": nginx(
        GUIDE["resumable.nginx"].replace("proxy_http_version 1.1;", "")
    ),
    "nginx, out of the box": nginx(BUFFERED),
    "haproxy": Proxy(
        "haproxy",
        ("-f", "haproxy.cfg", "-db"),
        {"haproxy.cfg": GUIDE["haproxy.cfg"]},
    ),
    "caddy": Proxy(
        "caddy",
        ("run", "--config", "Caddyfile", "--adapter", "caddyfile"),
        {"Caddyfile": GUIDE["Caddyfile"]},
    ),
}
streaming = pytest.mark.parametrize(
    "name", [name for name in PROXIES if "box" not in name]
)


async def without_its_name(_request: web.Request, response: Any) -> None:
    """Caddy adds its own, and aiohttp's client in debug mode takes no two of them."""
    response.headers.pop("Server", None)


@contextlib.asynccontextmanager
async def behind(
    name: str, folder: Path, service: Service
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application behind a proxy; gives the proxy's address."""
    proxy = PROXIES[name]
    program = shutil.which(proxy.program)
    if program is None:
        pytest.skip(f"{proxy.program} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = service.app()
    app.on_response_prepare.append(without_its_name)
    async with serving(app) as (host, inner):
        ports = {"8080": str(port), "8081": str(inner)}
        for file, text in proxy.files.items():
            actual = re.sub(r"\b808[01]\b", lambda found: ports[found[0]], text)
            (folder / file).write_text(actual)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, *proxy.arguments],
                cwd=folder,
                env={**os.environ, "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(20):
                while not listens(port):
                    assert process.poll() is None, (folder / "log").read_text()
                    await asyncio.sleep(0.02)
            yield host, port
        finally:
            process.terminate()
            process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def begin(send: Client) -> str:
    return URL(await send.create(len(DATA))).raw_path_qs


@contextlib.asynccontextmanager
async def appending(
    address: tuple[str, int], path: str, length: int = len(DATA)
) -> AsyncIterator[Raw]:
    """A request that has sent a part of its content."""
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\n"
        "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    async with connected(address) as raw:
        await raw.send(head.encode() + DATA[:SENT])
        yield raw


class Watched(Service):
    """An application that knows how much of a request has arrived."""

    def __init__(self, **uploads: Any) -> None:
        super().__init__(MemoryStorage(), uploads=uploads)
        self.middlewares.append(self.watch)
        self.contents: list[StreamReader] = []

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> Any:
        if request.method == "PATCH":
            self.contents.append(request.content)
        return await handler(request)

    async def arrived(self) -> None:
        """Wait until all that was sent by one request is here."""
        async with asyncio.timeout(10):
            while not self.contents or self.contents[0].total_bytes < SENT:
                await asyncio.sleep(0.01)


@streaming
async def test_an_upload_that_breaks_off_goes_on(name: str, tmp_path: Path) -> None:
    service = Watched()
    async with behind(name, tmp_path, service) as address, client(address) as send:
        path = await begin(send)
        async with appending(address, path):
            await service.arrived()
        assert (await send.tus("HEAD", path)).offset == SENT
        rest = await send.tus(
            "PATCH", path, io.BytesIO(DATA[SENT:]), Upload_Offset=str(SENT)
        )
        assert rest.status == 204
    assert service.bodies == [DATA]


@streaming
async def test_a_stalled_request_is_taken_over(name: str, tmp_path: Path) -> None:
    service = Watched()
    async with behind(name, tmp_path, service) as address, client(address) as send:
        path = await begin(send)
        async with appending(address, path) as raw:
            await service.arrived()
            began = time.monotonic()
            assert (await send.tus("HEAD", path)).offset == SENT
            assert time.monotonic() - began < 5
            if name != "caddy":  # which waits for the content first
                async with asyncio.timeout(10):
                    assert (await raw.reader.readline()).split()[1] == b"409"
            rest = await send.tus(
                "PATCH", path, io.BytesIO(DATA[SENT:]), Upload_Offset=str(SENT)
            )
            assert rest.status == 204
    assert service.bodies == [DATA]


@pytest.mark.parametrize("name", ["nginx", "nginx, by HTTP/1.0"])
async def test_chunked_content_needs_http_1_1(name: str, tmp_path: Path) -> None:
    """nginx takes it completely first where it cannot pass it on as it is."""
    service = Watched()
    async with behind(name, tmp_path, service) as address, client(address) as send:
        path = await begin(send)
        async with connected(address) as raw:
            await raw.send(
                f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\n"
                "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                "Content-Type: application/offset+octet-stream\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode(),
                chunk(DATA[:SENT]),
            )
            if name == "nginx":
                await service.arrived()
            told = await send.tus("HEAD", path)
            assert told.offset == (SENT if name == "nginx" else 0)


async def test_nginx_out_of_the_box_passes_on_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiostreams.resumable")
    name = "nginx, out of the box"
    service = Watched()
    async with behind(name, tmp_path, service) as address, client(address) as send:
        short = SENT + 1
        path = URL(await send.create(short)).raw_path_qs
        async with appending(address, path, short):
            assert (await send.tus("HEAD", path)).offset == 0
        for _ in range(3):
            assert (await send.tus("HEAD", path)).offset == 0
        assert caplog.text.count("proxy_request_buffering off") == 1
        large = await send.tus("PATCH", path, io.BytesIO(DATA), Upload_Offset="0")
        assert large.status == 413
        assert "Tus-Resumable" not in large.headers  # not ours


async def creation(address: tuple[str, int]) -> bytes:
    """The heads of all responses to an upload at once, as iOS 26 begins it."""
    async with connected(address) as raw:
        await raw.send(
            f"POST /files HTTP/1.1\r\nHost: 127.0.0.1:{address[1]}\r\n"
            "Upload-Complete: ?1\r\nUpload-Draft-Interop-Version: 8\r\n"
            "Content-Length: 5\r\n\r\n".encode(),
            b"12345",
        )
        got = await raw.reader.readuntil(b"\r\n\r\n")
        while b"HTTP/1.1 200" not in got:
            got += await raw.reader.readuntil(b"\r\n\r\n")
        return got.lower()


NO_104 = ("nginx, out of the box", "nginx, by HTTP/1.0")


@pytest.mark.parametrize("name", ["haproxy", "caddy", *NO_104])
async def test_104_is_forwarded_or_not_sent(name: str, tmp_path: Path) -> None:
    service = Watched(interim=True, forwarded=True)
    async with behind(name, tmp_path, service) as address, asyncio.timeout(20):
        got = await creation(address)
        is_sent = name not in NO_104
        assert got.startswith(b"http/1.1 104" if is_sent else b"http/1.1 200")
        url = f"location: http://127.0.0.1:{address[1]}/files?upload=".encode()
        assert got.count(url) == 1 + is_sent
    assert service.bodies == [b"12345"]


async def test_104_hangs_behind_nginx(tmp_path: Path) -> None:
    """The application has answered, and the client hears nothing of it."""
    name = "nginx, as in its guide"
    service = Watched(interim=True)
    async with behind(name, tmp_path, service) as address:
        hearing = asyncio.create_task(creation(address))
        while not service.bodies:
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await hearing
    service = Watched()
    async with behind(name, tmp_path, service) as address, asyncio.timeout(20):
        assert (await creation(address)).startswith(b"http/1.1 200")


async def test_nginx_takes_104_for_the_end_without_keep_alive(tmp_path: Path) -> None:
    """The real response is then the content of that one, which only seems to do."""
    service = Watched(interim=True)
    async with behind("nginx", tmp_path, service) as address, asyncio.timeout(20):
        head = (await creation(address)).partition(b"\r\n\r\n")[0]
        assert head.startswith(b"http/1.1 104")
        assert b"server: nginx" in head  # which an interim response has not


@streaming
async def test_the_url_is_the_client_s(name: str, tmp_path: Path) -> None:
    service = Watched(forwarded=True)
    async with behind(name, tmp_path, service) as address, client(address) as send:
        url = await send.create(5)
        assert url.startswith(f"http://127.0.0.1:{address[1]}/files?upload=")
