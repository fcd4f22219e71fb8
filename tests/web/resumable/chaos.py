"""A TCP proxy before some servers, that breaks connections by chance.

Each connection goes to another server, so nothing may rely on which one it meets. What
becomes of a connection is drawn from a seeded generator:

* ``cut``: it breaks after some bytes of the client's, as all do in the end;
* ``lost``: it breaks when the server begins to answer, which it has then done for good;
* ``split``: bytes are passed on in pieces of one to a few;
* nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

FAULTS = ("cut", "lost", "split", "none")


class Chaos:
    """The proxy.

    Args:
        ports: of the servers, on 127.0.0.1.
        seed: of what happens.
        weights: of ``FAULTS``, how often each is drawn.
        longest: after how many bytes a connection is cut at the latest.
        shortest: and after how many at the earliest.
        breaks: how many connections meet a fault; ``None`` for no end of it.

    Attributes:
        count: how many connections met each fault.
        calm: set it to have no more faults.
    """

    def __init__(
        self,
        ports: Sequence[int],
        seed: int,
        *,
        weights: Sequence[float] = (3, 2, 1, 4),
        longest: int = 200_000,
        shortest: int = 1,
        breaks: int | None = None,
    ) -> None:
        self.ports = list(ports)
        self.count = dict.fromkeys(FAULTS, 0)
        self.calm = False
        self.port = 0
        self._random = random.Random(seed)
        self._weights = list(weights)
        self._longest = longest
        self._shortest = shortest
        self._breaks = breaks
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Chaos]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            accepting = asyncio.create_task(self._accept(listener))
            try:
                yield self
            finally:
                await _stop([accepting])
                await _stop(self._tasks)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.setblocking(False)
            await self._connect(client)

    async def _connect(self, client: socket.socket) -> None:
        fault = "none"
        left = 1 << 60
        met = sum(self.count.values()) - self.count["none"]
        if not self.calm and (self._breaks is None or met < self._breaks):
            [fault] = self._random.choices(FAULTS, self._weights)
            # One that is well does not last for ever either.
            most = self._longest if fault == "cut" else 4 * self._longest
            left = self._random.randrange(self._shortest, most)
        self.count[fault] += 1
        with contextlib.ExitStack() as stack:
            for _ in self.ports:
                server = stack.enter_context(socket.socket())
                server.setblocking(False)
                self._turn += 1
                port = self.ports[self._turn % len(self.ports)]
                try:
                    await asyncio.get_running_loop().sock_connect(
                        server, ("127.0.0.1", port)
                    )
                    break
                except OSError:
                    continue  # this one was killed
            else:
                return
            up = asyncio.create_task(_up(client, server, left, fault == "split"))
            down = asyncio.create_task(_down(server, client, fault == "lost"))
            try:
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
                if up.done() and not up.exception() and up.result():
                    await down  # the client has said all that it has to say
            finally:
                await _stop([up, down])


async def _up(
    client: socket.socket, server: socket.socket, left: int, split: bool
) -> bool:
    """Pass on what the client sends, and tell whether it ended by itself."""
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(client, 1 << 16):
        piece = chunk[:left]
        left -= len(piece)
        if split and len(piece) < 4096:
            for byte in piece:
                await loop.sock_sendall(server, bytes([byte]))
        else:
            await loop.sock_sendall(server, piece)
        if not left:
            return False
    server.shutdown(socket.SHUT_WR)
    return True


async def _down(server: socket.socket, client: socket.socket, lost: bool) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(server, 1 << 16):
        if lost:
            return
        await loop.sock_sendall(client, chunk)


async def _stop(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
