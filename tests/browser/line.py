"""A proxy between a browser and a server, which can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Line:
    """What stands between the browser and the server: a proxy, which can be cut.

    The connection that passes ``half`` of what the browser sends is held from then on,
    until the line is cut or mended.

    Args:
        port: of the server, on 127.0.0.1.
        half: that many bytes, of all connections together.

    Attributes:
        url: where it listens.
        half: set when so much was passed.
    """

    def __init__(self, port: int, half: int) -> None:
        self._port = port
        self._left = half
        self._open = True
        self._mended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.half = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Line]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await server.wait_closed()

    def cut(self) -> None:
        """End all connections, and take no more."""
        self._open = False
        for writer in self._writers:
            writer.transport.abort()
        self._mended.set()

    def mend(self) -> None:
        """Take connections again, and pass on what was held."""
        self._open = True
        self._mended.set()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not self._open:
            writer.transport.abort()
            return
        upstream, server = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, server}
        await asyncio.gather(
            self._pass(reader, server, counted=True),
            self._pass(upstream, writer, counted=False),
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 14):
                if counted:
                    self._left -= len(data)
                    if self._left < 0 and not self.half.is_set():
                        self.half.set()
                        await self._mended.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
