"""Several processes for one port, kept running by a supervisor.

The supervisor opens one listening socket for each worker, all of the same port
(``SO_REUSEPORT``): the system shares connections out among them. The sockets are the
supervisor's, so a worker that dies loses the requests it was busy with and no others:
those that wait for it are served by the one that takes its place.

Workers are started anew (``spawn``), not forked: a fork would have the locks of
threads that it does not have, which is how clients of object stores come to hang.

To each worker there is a channel, a pair of sockets. What one worker publishes goes
through the supervisor to all of them, numbered, so that all tell the same events in
the same order (``events.py``). When a channel ends, its worker has ended; and a worker
whose channel ends ends itself, so none is left behind when the supervisor is killed.

SIGTERM and SIGINT end the workers, which have ``GRACE`` seconds for what is under way.
A worker that ends by itself is replaced; when that happens too often something is
wrong that a new one does not help against, and everything ends, with status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import multiprocessing
import signal
import socket
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from example_app.events import HISTORY, MOST_WAITING, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess

__all__ = ["GRACE", "Place", "Serve", "run_workers"]

# How many seconds a worker has to end well, and how many more until it is killed.
GRACE: Final = 10.0
PATIENCE: Final = 5.0
# So many deaths in so many seconds are too many.
DEATHS: Final = 5
WITHIN: Final = 30.0
# How many connections may wait for a worker, as aiohttp has it.
BACKLOG: Final = 128

_logger = logging.getLogger("example_app")


class Place(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class Serve(Protocol):
    """The whole life of a worker. It has to be picklable."""

    def __call__(
        self, number: int, listening: socket.socket, channel: socket.socket, /
    ) -> None: ...


@dataclass(eq=False)
class Worker:
    """One that is running."""

    process: SpawnProcess
    writer: asyncio.StreamWriter


def run_workers(serve: Serve, count: int, place: Place) -> int:
    """Have ``count`` workers serve until the process is told to end.

    Args:
        serve: what each worker does.
        count: how many.
        place: where to listen; port 0 is a free one.

    Returns:
        The exit status.

    Raises:
        OSError: the port is in use, or the host is not here.
    """
    with contextlib.ExitStack() as stack:
        sockets = open_sockets(stack, count, place)
        return asyncio.run(Supervisor(serve, sockets).run())


def open_sockets(
    stack: contextlib.ExitStack, count: int, place: Place
) -> list[socket.socket]:
    """So many sockets that listen on one port, and are closed with ``stack``.

    Raises:
        OSError: the port is in use, or the host is not here.
    """
    family, _, _, _, address = socket.getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Two programs that both share a port would share it with each other; so ask for
    # it without sharing, first.
    with socket.create_server(address[:2], family=family) as probe:
        address = probe.getsockname()
    listen = functools.partial(
        socket.create_server,
        address[:2],
        family=family,
        backlog=BACKLOG,
        reuse_port=True,
    )
    return [stack.enter_context(listen()) for _ in range(count)]


class Supervisor:
    """Keeps workers running, and passes on what they tell each other."""

    def __init__(self, serve: Serve, sockets: list[socket.socket]) -> None:
        self._serve = serve
        self._sockets = sockets
        self._workers: set[Worker] = set()
        self._ending = asyncio.Event()
        self._failed = False
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        # What a worker is told that has just begun.
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self._new_id = numbered()

    async def run(self) -> int:
        """Until told to end; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ending.set)
        keeping = [
            asyncio.create_task(self._keep(number, listening))
            for number, listening in enumerate(self._sockets, 1)
        ]
        host, port = self._sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(
            f"======== Running on http://{shown}:{port} ========\n"
            f"({len(keeping)} workers. Press CTRL+C to quit)",
            flush=True,
        )
        ending = asyncio.create_task(self._ending.wait())
        # One that is not kept any more could not be started: let that be known.
        await asyncio.wait([ending, *keeping], return_when=asyncio.FIRST_COMPLETED)
        self._ending.set()
        for worker in self._workers:
            worker.process.terminate()
        _, slow = await asyncio.wait(keeping, timeout=GRACE + PATIENCE)
        if slow:
            _logger.error("%d workers do not end, and are killed", len(slow))
            for worker in self._workers:
                worker.process.kill()
        await asyncio.gather(*keeping)
        return 1 if self._failed else 0

    async def _keep(self, number: int, listening: socket.socket) -> None:
        """Have one worker after the other."""
        while not self._ending.is_set():
            status = await self._work(number, listening)
            if self._ending.is_set():
                return
            how = (
                f"was killed by {signal.Signals(-status).name}"
                if status < 0
                else f"ended with status {status}"
            )
            self._deaths.append(time.monotonic())
            if (
                len(self._deaths) == DEATHS
                and self._deaths[-1] - self._deaths[0] < WITHIN
            ):
                _logger.error(
                    "worker %d %s; %d deaths within %d s are too many: giving up",
                    number, how, DEATHS, WITHIN,
                )  # fmt: skip
                self._failed = True
                self._ending.set()
                return
            _logger.error("worker %d %s; another one takes its place", number, how)

    async def _work(self, number: int, listening: socket.socket) -> int:
        """One worker from beginning to end; the status of its process."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = multiprocessing.get_context("spawn").Process(
                target=self._serve,
                args=(number, listening, theirs),
                name=f"worker {number}",
                daemon=True,
            )
            with without_interrupts():
                process.start()
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = Worker(process, writer)
        self._workers.add(worker)
        if self._ending.is_set():  # since just now
            process.terminate()
        try:
            writer.writelines(self._history)
            with contextlib.suppress(ConnectionError):
                async for line in reader:
                    self._pass_on(line)
            await asyncio.to_thread(process.join)
        finally:
            self._workers.discard(worker)
            writer.close()
        assert process.exitcode is not None
        return process.exitcode

    def _pass_on(self, line: bytes) -> None:
        try:
            event = {"id": self._new_id(), **json.loads(line)}
        except ValueError:
            return  # a worker has died in the middle of it
        told = json.dumps(event).encode() + b"\n"
        self._history.append(told)
        for worker in self._workers:
            # One that does not read any more misses it.
            if worker.writer.transport.get_write_buffer_size() < MOST_WAITING:
                worker.writer.write(told)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Hide SIGINT from what is started here: the supervisor ends it."""
    # Which it would start else, and let SIGINT through again afterwards.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
