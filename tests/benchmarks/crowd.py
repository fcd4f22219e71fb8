"""Many large uploads at once, and what else the server still does meanwhile.

All clients send a form with one file, over connections of their own, from a process of
their own; meanwhile this process asks the server for something small, again and again.
Told are the throughput, the server's CPU and peak of memory, the longest that its event
loop was blocked, and how long the small answers took. Ours hashes the file and stores
it under its name; the peers leave it in a temporary one, which is less.

The three processes share the machine, and whoever else is on it: the loop is late also
when it, or a thread that has the interpreter's lock, is not given a core. What is seen
of that without any upload stands beside it, and what the reading alone does: the loop
goes round once for all sockets that have something, 256 KiB at a time.

``python -m tests.benchmarks.crowd [--clients 64] [--size 64]`` is this alone.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection

from aiostreams import KiB, MiB
from tests.benchmarks.client import Client, get
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.drain import of_aiohttp
from tests.benchmarks.measure import benchmark_folder
from tests.benchmarks.results import Plain
from tests.benchmarks.server import Server
from tests.benchmarks.table import crowd_table
from tests.benchmarks.uploads import posted, received, starlette_posted

__all__ = ["NAME", "measure_crowd"]

NAME = "crowd: many uploads at once"
_STALL = 0.050
_LATENCY = 0.100
# Without uploads, in seconds.
_IDLE = 3.0

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
        # Who only drains knows nothing of a file, but the body's length.
        told = answer.rpartition(b"\r\n")[2].split()
        if b" 200 " not in answer[:16] or not {b"%d" % size, b"%d" % length} & {*told}:
            raise RuntimeError(f"a client was answered {answer!r}")


def _crowd(pipe: Connection, port: int, clients: int, size: int) -> None:
    """Says that it is there, begins when told to, and tells how long it took."""
    block = memoryview(os.urandom(256 * KiB))

    async def all_of_them() -> None:
        if not clients:
            await asyncio.sleep(_IDLE)
        await asyncio.gather(*(_send(port, size, block) for _ in range(clients)))

    pipe.send("here")
    pipe.recv()
    started = time.perf_counter()
    asyncio.run(all_of_them())
    pipe.send(time.perf_counter() - started)


def _ask(client: Client, pipe: Connection) -> list[float]:
    """How long each answer took, in seconds, until the crowd is done."""
    took: list[float] = []
    request = get().prepare()
    while not pipe.poll() or len(took) < 2:
        started = time.perf_counter()
        client.exchange(request)
        took.append(time.perf_counter() - started)
        time.sleep(0.005)
    return took


def _round(contestant: Contestant, clients: int, size: int, folder: str) -> Plain:
    server = Server(contestant, folder)
    try:
        server.client.exchange(get().prepare())
        spawn = multiprocessing.get_context("spawn")
        pipe, theirs = spawn.Pipe()
        crowd = spawn.Process(target=_crowd, args=(theirs, server.port, clients, size))
        crowd.start()
        theirs.close()
        pipe.recv()
        server.ask("memory")
        server.ask("watch")
        cpu = server.ask("usage")[0]
        pipe.send("go")
        took = _ask(server.client, pipe)
        seconds = pipe.recv()
        stall = server.ask("stall")
        memory = server.ask("memory")
        cpu = server.ask("usage")[0] - cpu
    finally:
        server.close()
    crowd.join()
    return {
        "throughput": clients * size / seconds,
        "cpu": cpu,
        "memory": memory,
        "stall": stall,
        "median": statistics.median(took),
        "p99": statistics.quantiles(took, n=100, method="inclusive")[98],
        "worst": max(took),
    }


def measure_crowd(clients: int, size: int, rounds: int, folder: str) -> Plain:
    """Each contestant's numbers: the medians over the rounds, and each round's."""
    contestants = [
        ("receive() into DiskStorage", received, clients),
        ("aiohttp request.post()", posted, clients),
        ("Starlette request.form()", starlette_posted, clients),
        ("mere draining by aiohttp", of_aiohttp, clients),
        ("no uploads", received, 0),
    ]
    entries: list[Plain] = []
    for title, contestant, _ in contestants:
        if contestant.missing is None:
            entries.append({"title": title, "rounds": []})
        else:
            entries.append({"title": title, "absent": contestant.missing})
    for number in range(rounds):
        pairs = list(zip(contestants, entries, strict=True))
        for (_, contestant, count), entry in pairs[:: -1 if number % 2 else 1]:
            if "rounds" in entry:
                entry["rounds"].append(_round(contestant, count, size, folder))
    for entry in entries:
        for name in entry.get("rounds", [{}])[0]:
            values = [one[name] for one in entry["rounds"] if one[name] is not None]
            entry[name] = statistics.median(values) if values else None
    ours = entries[0]
    return {
        "clients": clients,
        "size": size,
        "stall": {"limit": _STALL, "met": ours["stall"] <= _STALL},
        "p99": {"limit": _LATENCY, "met": ours["p99"] <= _LATENCY},
        "entries": entries,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="of each file, in MiB")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where files are written; a temporary one")
    parser.add_argument(
        "--check", action="store_true", help="fail if a target is missed"
    )
    flags = parser.parse_args()
    with benchmark_folder(lambda _: None, flags.folder) as folder:
        result = measure_crowd(flags.clients, flags.size * MiB, flags.rounds, folder)
    print(crowd_table(result))
    met = result["stall"]["met"] and result["p99"]["met"]
    return 1 if flags.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
