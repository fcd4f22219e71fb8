"""A proxy before an S3 server that spoils one chosen request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Literal

Fault = Literal[
    "error", "busy", "refuse", "drop", "lost", "twice", "stall", "cut", "flip"
]


_ANSWERS: dict[str | None, tuple[str, str]] = {
    "error": ("500 Oops", "Spoiled"),
    "busy": ("503 Slow Down", "SlowDown"),
    "refuse": ("403 Forbidden", "Spoiled"),
}


class FaultProxy:
    """Forwards HTTP/1.1 requests one by one, except those that ``fault`` spoils.

    ``fault(k, line)`` gets the number of the request (from 1) and its first line,
    and says what becomes of it:

    * ``error``: 500 without asking the server; ``busy``: 503 likewise, as S3 has it;
      ``refuse``: 403 likewise;
    * ``drop``: the connection breaks before the server has seen the request;
    * ``lost``: the server does it, and the answer is lost;
    * ``twice``: the server does it twice, and the second answer counts;
    * ``stall``: no answer ever;
    * ``cut``: the answer ends after half of its body;
    * ``flip``: the server gets a body with one bit changed.

    Attributes:
        lines: the request lines so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.fault: Callable[[int, str], Fault | None] = lambda _k, _line: None
        self.lines: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FaultProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head[:-4].split(b"\r\n")
        length = 0
        kept = [line]
        for field in fields:
            name, _, value = field.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            if name.lower() != b"connection":
                kept.append(field)
        body = await reader.readexactly(length)
        self.lines.append(line.decode())
        fault = self.fault(len(self.lines), line.decode())
        if fault in _ANSWERS:
            await self._answer(writer, *_ANSWERS[fault])
            return
        if fault == "drop":
            return
        if fault == "stall":
            await asyncio.get_running_loop().create_future()
        if fault == "flip" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        kept.append(b"Connection: close")
        request = b"\r\n".join(kept) + b"\r\n\r\n" + body
        if fault == "twice":
            first_reader, first_writer = await asyncio.open_connection(*self._upstream)
            first_writer.write(request)
            await first_reader.read()
            first_writer.transport.abort()
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        try:
            up_writer.write(request)
            answer = await up_reader.readuntil(b"\r\n\r\n")
            if fault == "lost":
                await up_reader.read()
                return
            writer.write(answer)
            left = 1 << 60
            if fault == "cut":
                left = _length(answer) // 2
            while left and (chunk := await up_reader.read(min(left, 1 << 16))):
                left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        finally:
            up_writer.transport.abort()

    async def _answer(
        self, writer: asyncio.StreamWriter, status: str, code: str
    ) -> None:
        text = f"<Error><Code>{code}</Code><Message>by the test</Message></Error>"
        body = text.encode()
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/xml\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _length(head: bytes) -> int:
    for field in head.lower().split(b"\r\n"):
        if field.startswith(b"content-length:"):
            return int(field[15:])
    return 0
