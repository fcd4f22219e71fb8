"""The server process: ``python -m tests.benchmarks.serve MODULE NAME``.

Serves one contestant on a free port of 127.0.0.1 and answers commands, one word a
line on standard input, by one line of JSON each on standard output. It ends with its
input. Asking costs a few microseconds of its CPU and touches no connection.

* ``usage``: so far, of all threads and of children that have ended: seconds of CPU,
  the kernel's part of them, page faults without a disk, and voluntary switches;
* ``memory``: the peak of the resident memory since the last ``memory``, above what it
  was then, in bytes; ``null`` where the system cannot tell;
* ``watch`` and ``stall``: begin to watch the event loop, and the longest time, in
  seconds, that it did not come to a callback that was due;
* ``profile`` and ``stats``: begin to profile, and the text of it.
"""

from __future__ import annotations

import asyncio
import cProfile
import importlib
import io
import json
import os
import pstats
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.contestants import LOOP_VARIABLE, WITHOUT_VARIABLE, Contestant

# How often the loop is asked whether it is there, in seconds.
_BEAT = 0.001
# A connection waits for its next turn, in seconds.
_KEEP_ALIVE = 3600


class Heart:
    """Beats on the event loop, and remembers by how much it was late."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._longest = 0.0

    def start(self) -> None:
        self._longest = 0.0
        self._timer = self._loop.call_later(_BEAT, self._beat, self._loop.time())

    def _beat(self, last: float) -> None:
        now = self._loop.time()
        self._longest = max(self._longest, now - last - _BEAT)
        self._timer = self._loop.call_later(_BEAT, self._beat, now)

    def stop(self) -> float:
        assert self._timer is not None
        self._timer.cancel()
        return self._longest


class Memory:
    """The peak of the resident memory of this process, or another, by Linux."""

    def __init__(self, process: int | None = None) -> None:
        self._folder = Path(f"/proc/{process or os.getpid()}")
        self._before = self._restart()

    def _restart(self) -> int | None:
        try:
            (self._folder / "clear_refs").write_text("5")
        except OSError:
            return None
        return self._peak()

    def _peak(self) -> int | None:
        status = (self._folder / "status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        return int(found[1]) * 1024 if found else None

    def growth(self) -> int | None:
        before, peak = self._before, self._peak() if self._before else None
        self._before = self._restart()
        return None if peak is None or before is None else peak - before


def _usage() -> list[float]:
    """See ``usage``; of the system's clocks only the first is finer than a tick."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [
        time.process_time() + ended.ru_utime + ended.ru_stime,
        own.ru_stime + ended.ru_stime,
        own.ru_minflt + ended.ru_minflt,
        own.ru_nvcsw + ended.ru_nvcsw,
    ]


def _usage_of(process: int) -> list[float]:
    """The same of another process, which Linux tells by its threads."""
    folder = Path(f"/proc/{process}")
    ran = switches = 0
    for thread in (folder / "task").iterdir():
        ran += int((thread / "schedstat").read_text().split()[0])
        found = re.search(
            r"^voluntary_ctxt_switches:\s*(\d+)",
            (thread / "status").read_text(),
            re.MULTILINE,
        )
        switches += int(found[1]) if found else 0
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    system = int(fields[12]) / os.sysconf("SC_CLK_TCK")
    return [ran / 1e9, system, int(fields[7]), switches]


class Commands:
    """Answers about this process, or about the server that it has started."""

    def __init__(self, loop: asyncio.AbstractEventLoop, other: int | None) -> None:
        self._other = other
        self._heart = Heart(loop)
        self._memory = Memory(other)
        self._profile = cProfile.Profile()

    def answer(self, command: str) -> Any:
        match command:
            case "usage":
                return _usage() if self._other is None else _usage_of(self._other)
            case "memory":
                return self._memory.growth()
            case "watch":
                return self._heart.start()
            case "stall":
                return self._heart.stop()
            case "profile":
                return self._profile.enable()
            case "stats":
                self._profile.disable()
                text = io.StringIO()
                pstats.Stats(self._profile, stream=text).sort_stats(
                    "tottime"
                ).print_stats(30)
                return text.getvalue()
        raise ValueError(f"no such command: {command!r}")


async def _start(contestant: Contestant, sock: socket.socket) -> None:
    application = contestant.make()
    if contestant.kind == "aiohttp":
        from aiohttp import web

        runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=contestant.auto_decompress,
            keepalive_timeout=_KEEP_ALIVE,
        )
        await runner.setup()
        await web.SockSite(runner, sock).start()
        return
    import uvicorn

    config = uvicorn.Config(
        application,
        access_log=False,
        log_level="warning",
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE,
    )
    server = uvicorn.Server(config)
    _tasks.append(asyncio.create_task(server.serve(sockets=[sock])))
    while not server.started:
        await asyncio.sleep(0.01)


_tasks: list[asyncio.Task[None]] = []


async def serve(module: str, name: str) -> None:
    contestant: Contestant = getattr(importlib.import_module(module), name)
    loop = asyncio.get_running_loop()
    if contestant.kind == "command":
        with subprocess.Popen(contestant.make(), stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            port = int(other.stdout.readline())
            await _answer_commands(loop, Commands(loop, other.pid), port)
            other.kill()
        return
    # With its protocol, which asyncio looks at before it sets TCP_NODELAY: without
    # that a server that sends head and body one by one waits for 40 ms each time.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    await _start(contestant, sock)
    await _answer_commands(loop, Commands(loop, None), sock.getsockname()[1])


async def _answer_commands(
    loop: asyncio.AbstractEventLoop, commands: Commands, port: int
) -> None:
    """Say where the server listens, and answer until the input ends."""
    ended = loop.create_future()

    def on_input() -> None:
        line = os.read(0, 100)
        if not line:
            loop.remove_reader(0)
            ended.set_result(None)
            return
        answer = commands.answer(line.decode().strip())
        os.write(1, json.dumps(answer).encode() + b"\n")

    loop.add_reader(0, on_input)
    os.write(1, json.dumps(port).encode() + b"\n")
    await ended


if __name__ == "__main__":
    for _absent in filter(None, os.environ.get(WITHOUT_VARIABLE, "").split(",")):
        sys.modules[_absent] = None  # type: ignore[assignment]
    _make_loop = None
    if _loop := os.environ.get(LOOP_VARIABLE):
        _make_loop = importlib.import_module(_loop).new_event_loop
    with asyncio.Runner(loop_factory=_make_loop) as _runner:
        _runner.run(serve(*sys.argv[1:]))
    # Whatever a peer leaves running ends here.
    os._exit(0)
