"""A real aiohttp server on a free port of 127.0.0.1, and raw sockets against it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from tests.waiting import turns

Handler = Callable[[web.Request], Awaitable[Any]]


@contextlib.asynccontextmanager
async def serving(
    app: web.Application | Handler, **kwargs: Any
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application, or one handler for everything; gives (host, port)."""
    if not isinstance(app, web.Application):
        handler = app
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
    kwargs.setdefault("access_log", None)
    runner = web.AppRunner(app, shutdown_timeout=1, **kwargs)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()


class Raw:
    """One connection, written byte by byte if need be."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Write each piece, and let a server on this event loop read it by itself.

        On a loopback address bytes are there for the other end once they are written:
        it needs turns of the loop, not time, to accept, read, and wake its handler.
        """
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await turns()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with lower-case names, body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readline()
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
        return status, headers, body

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


@contextlib.asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def post(
    body: bytes | None = None,
    *,
    path: str = "/",
    headers: Iterable[tuple[str, str]] = (),
    method: str = "POST",
) -> bytes:
    """A request head, with its Content-Length when there is a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


CHUNKED = (("Transfer-Encoding", "chunked"),)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
