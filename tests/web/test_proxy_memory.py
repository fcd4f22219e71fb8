"""A proxied body of any size, taken slowly: memory stays flat, the upstream waits.

The proxy is a process of its own, and what is measured is the most memory that it
ever had (VmHWM), as the kernel counts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import KiB, MiB, Stream, setup
from tests.servers import Raw, post, serving

ROOT = Path(__file__).parents[2]
SIZE = 256 * MiB
PIECE = bytes(64 * KiB)
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="there is no /proc"
)

PROXY = """
import asyncio, sys
import aiohttp
from aiohttp import web
from aiostreams import proxy, setup

async def main():
    async with aiohttp.ClientSession() as session:
        async def handler(request):
            return await proxy(request, session, sys.argv[1])
        app = web.Application()
        app.router.add_get("/", handler)
        runner = web.AppRunner(setup(app, compression=None), auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()

asyncio.run(main())
"""


class Zeros(Stream):
    """Many bytes, of which it is known how many were taken. It can seek."""

    given = 0

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self._left = size

    async def readany(self) -> bytes:
        piece = PIECE[: self._left]
        self._left -= len(piece)
        Zeros.given += len(piece)
        return piece

    async def slice(self, offset: int, length: int | None = None) -> Stream:
        assert self.size is not None
        rest = max(0, self.size - offset)
        return Zeros(rest if length is None else min(rest, length))


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[int, int]]:
    """A proxy's process: its port and its id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROXY,
        url,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        await process.wait()


def most_memory(pid: int) -> int:
    """The most that this process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * KiB


async def slowly(size: int, *, seconds: float, pause: float) -> dict[str, int]:
    """Take ``size`` bytes, 1 KiB each ``pause``, then as fast as they come."""
    source = Zeros
    positions: list[int] = []

    async def upstream(_request: web.Request) -> Any:
        return source(size)

    app = web.Application()
    app.router.add_get("/", upstream)
    async with (
        serving(setup(app)) as (host, port),
        proxied(f"http://{host}:{port}/") as (proxy_port, pid),
    ):
        # The system would give such a client a buffer of many MiB.
        sock = socket.create_connection(("127.0.0.1", proxy_port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KiB)
        reader, writer = await asyncio.open_connection(sock=sock, limit=KiB)
        raw = Raw(reader, writer)
        # Once in full, but small: what is loaded then is not what is measured.
        writer.write(post(None, method="GET", headers=[("Range", "bytes=0-999999")]))
        status, headers, body = await raw.response()
        assert (status, len(body)) == (206, 1_000_000)
        assert headers["content-range"] == f"bytes 0-999999/{size}"
        before = most_memory(pid)
        source.given = 0
        writer.write(post(None, method="GET"))
        await reader.readuntil(b"\r\n\r\n")
        taken = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(pause)
            taken += len(await reader.readexactly(KiB))
            positions.append(source.given)
        slow = most_memory(pid)
        paused = source.given
        while taken < size:
            taken += len(await reader.read(MiB))
        fast = most_memory(pid)
        writer.close()
    assert taken == size == source.given
    return {
        "before": before,
        "slow": slow - before,
        "fast": fast - before,
        "paused": paused,
        "halfway": positions[len(positions) // 2],
    }


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_slow_client_of_a_large_body_costs_no_memory() -> None:
    found = await slowly(SIZE, seconds=3, pause=0.05)
    # What the system's own buffers between three processes took, and then nothing.
    assert found["paused"] < 64 * MiB
    assert found["paused"] - found["halfway"] < MiB
    assert found["slow"] < 4 * MiB
    assert found["fast"] < 8 * MiB
