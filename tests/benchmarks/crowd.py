"""Many large uploads at once, and what else the server still does meanwhile.

``python -m tests.benchmarks.crowd [--clients 64] [--size 64]``. All clients send a form
with one file through ``receive()`` into a ``DiskStorage``, over connections of their
own, from a process of their own; meanwhile this process asks the server for something
small, again and again. Told are the throughput, the server's CPU and peak of memory,
the longest that its event loop was held up, and how long the small answers took.

The three processes share the machine, and whoever else is on it: the loop is late also
when it, or a thread that has the interpreter's lock, is not given a core. What is seen
of that without any upload, ``--clients 0`` tells.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time

from aiostreams import KiB, MiB
from tests.benchmarks.client import Client, get
from tests.benchmarks.server import Server
from tests.benchmarks.uploads import received

_STALL = 0.050
_LATENCY = 0.100

# As long as a browser's: the longer it is, the faster it is looked for.
_BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
_HEAD = (
    b"--"
    + _BOUNDARY
    + b"\r\nContent-Disposition: form-data; name=file; filename=f.bin\r\n"
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_TAIL = b"\r\n--" + _BOUNDARY + b"--\r\n"


async def _send(port: int, size: int, block: memoryview) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        length = len(_HEAD) + size + len(_TAIL)
        head = (
            "POST / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        await loop.sock_sendall(sock, head.encode() + _HEAD)
        for _ in range(size // len(block)):
            await loop.sock_sendall(sock, block)
        await loop.sock_sendall(sock, _TAIL)
        answer = b""
        while piece := await loop.sock_recv(sock, 4096):
            answer += piece
        if not answer.endswith(f"\r\n\r\n0 {size} 64".encode()):
            raise RuntimeError(f"a client was answered {answer!r}")


def _crowd(port: int, clients: int, size: int) -> None:
    block = memoryview(os.urandom(256 * KiB))

    async def all_of_them() -> None:
        if not clients:
            await asyncio.sleep(5)
        await asyncio.gather(*(_send(port, size, block) for _ in range(clients)))

    asyncio.run(all_of_them())


def _ask(client: Client, done: multiprocessing.process.BaseProcess) -> list[float]:
    """How long each answer took, in seconds, until the crowd is done."""
    took = []
    request = get().prepare()
    while done.is_alive():
        started = time.perf_counter()
        client.exchange(request)
        took.append(time.perf_counter() - started)
        time.sleep(0.005)
    return took


def _percentile(values: list[float], percent: float) -> float:
    return statistics.quantiles(values, n=1000)[round(percent * 10) - 1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="of each file, in MiB")
    parser.add_argument("--folder", help="where files are written; a temporary one")
    parser.add_argument(
        "--check", action="store_true", help="fail if a target is missed"
    )
    flags = parser.parse_args()
    size = flags.size * MiB
    with tempfile.TemporaryDirectory(prefix="aiostreams-", dir=flags.folder) as folder:
        server = Server(received, folder)
        port = server.port
        server.client.exchange(get().prepare())
        server.ask("memory")
        server.ask("watch")
        cpu = server.ask("usage")[0]
        spawn = multiprocessing.get_context("spawn")
        crowd = spawn.Process(target=_crowd, args=(port, flags.clients, size))
        crowd.start()
        time.sleep(0.5)  # until it has imported what it needs
        started = time.perf_counter()
        took = _ask(server.client, crowd)
        seconds = time.perf_counter() - started
        stall = server.ask("stall")
        growth = server.ask("memory")
        cpu = server.ask("usage")[0] - cpu
        server.close()
    if crowd.exitcode:
        return crowd.exitcode
    total = flags.clients * size
    p99 = _percentile(took, 99)
    print(f"{flags.clients} uploads of {flags.size} MiB at once, with sha-256, to disk")
    print(f"  {total / MiB / seconds:.0f} MiB/s, {cpu:.1f} s CPU in {seconds:.1f} s")
    if growth is not None:
        print(f"  memory grew by {growth / MiB:.0f} MiB")
    print(
        f"  event loop held up for {stall * 1000:.0f} ms at most, "
        f"target {_STALL * 1000:.0f} ms"
    )
    print(
        f"  {len(took)} other requests: median {statistics.median(took) * 1000:.1f} ms, "
        f"p99 {p99 * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms, "
        f"target p99 {_LATENCY * 1000:.0f} ms"
    )
    return 1 if flags.check and (stall > _STALL or p99 > _LATENCY) else 0


if __name__ == "__main__":
    sys.exit(main())
