"""Rows, and how they are measured.

A row has our entry and those it is compared with; an entry is a request and the
contestant that answers it. A *sample* is the server's CPU time for ``count``
requests, one after the other; a *round* has one sample of each entry, beginning with
another entry each time; one round before the others is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.client import Answer, Client, Request
from tests.benchmarks.contestants import FOLDER_VARIABLE, Contestant

__all__ = [
    "Entry",
    "Peer",
    "Row",
    "Samples",
    "Target",
    "at_most",
    "measure",
    "profile",
    "times_less",
]


@dataclass(frozen=True)
class Target:
    """A bound on our CPU time as a multiple of a peer's."""

    bound: float
    text: str


def at_most(factor: float) -> Target:
    """Ours is at most ``factor`` times the peer's."""
    return Target(factor, f"at most {factor:g} x")


def times_less(factor: float) -> Target:
    """The peer's is at least ``factor`` times ours."""
    return Target(1 / factor, f"{factor:g} x less")


@dataclass(frozen=True)
class Entry:
    """A contestant and the request that it answers."""

    title: str
    contestant: Contestant
    request: Request


@dataclass(frozen=True)
class Peer:
    """An entry we are compared with, by CPU time and perhaps by bytes sent.

    Attributes:
        target: for the CPU time; only shown when ``None``.
        size: the most bytes we may send, as a multiple of the peer's.
    """

    entry: Entry
    target: Target | None = None
    size: float | None = None


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what is measured.
        issue: where the targets stand.
        count: requests in a sample.
        stall: the longest that our event loop may be held up, in seconds; with it
            the loop is watched, in rounds of their own.
    """

    name: str
    issue: int
    ours: Entry
    peers: Sequence[Peer] = ()
    count: int = 1
    stall: float | None = None

    @property
    def entries(self) -> list[Entry]:
        return [self.ours, *(peer.entry for peer in self.peers)]


@dataclass
class Samples:
    """What was measured of one entry: one number a round.

    Attributes:
        cpu: seconds a request.
        stalls: longest time the event loop was held up, in seconds.
        memory: by how many bytes the resident memory has peaked.
        length: bytes of the answer's body.
        absent: why there is nothing.
    """

    cpu: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    memory: int | None = None
    length: int = 0
    absent: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.cpu)

    def ratios(self, peer: Samples) -> list[float]:
        """Ours as multiples of the peer's, sorted."""
        return sorted(
            mine / other for mine, other in zip(self.cpu, peer.cpu, strict=True)
        )


class Server:
    """A contestant's process, and a connection to it."""

    def __init__(self, contestant: Contestant, folder: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.serve",
                contestant.module,
                contestant.name,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **contestant.env, FOLDER_VARIABLE: folder},
        )
        try:
            self.client = Client(self._answer())
        except BaseException:
            self._process.kill()
            raise

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a server has died: {self._process.args!r}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.client.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Run:
    """An entry ready to be measured."""

    def __init__(self, entry: Entry, server: Server, count: int) -> None:
        self._entry = entry
        self._server = server
        self._count = count
        self._pieces = entry.request.prepare()
        self.samples = Samples()

    def check(self) -> None:
        """One request, and whether the contestant did the work."""
        answer = self._server.client.exchange(self._pieces)
        self.samples.length = answer.length
        wrong = _wrong(self._entry.request, answer)
        if wrong:
            raise RuntimeError(f"{self._entry.title}: {wrong}")

    def sample(self) -> float:
        before = self._server.ask("cpu")
        self._send()
        after = self._server.ask("cpu")
        return float(after - before) / self._count

    def stall(self) -> float:
        self._server.ask("watch")
        self._send()
        return float(self._server.ask("stall"))

    def memory(self) -> int | None:
        grown: int | None = self._server.ask("memory")
        return grown

    def stats(self) -> str:
        self._server.ask("profile")
        self._send()
        return str(self._server.ask("stats"))

    def _send(self) -> None:
        for _ in range(self._count):
            answer = self._server.client.exchange(self._pieces)
            if not 200 <= answer.status < 300:
                raise RuntimeError(f"{self._entry.title}: {answer}")


def _wrong(request: Request, answer: Answer) -> str | None:
    if not 200 <= answer.status < 300:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if request.answer is not None and answer.body != request.answer:
        return f"answered {answer.body[:80]!r}, not {request.answer[:80]!r}"
    if request.length is not None and answer.length != request.length:
        return f"answered {answer.length} bytes, not {request.length}"
    return None


@contextlib.contextmanager
def _started(row: Row, folder: str) -> Iterator[tuple[list[_Run | str], list[_Run]]]:
    """A run, or why there is none, for each entry; and those that can run."""
    with contextlib.ExitStack() as stack:
        servers: dict[int, Server] = {}
        places: list[_Run | str] = []
        for entry in row.entries:
            contestant = entry.contestant
            missing = contestant.missing
            if missing is not None:
                places.append(missing)
                continue
            server = servers.get(id(contestant))
            if server is None:
                server = servers[id(contestant)] = Server(contestant, folder)
                stack.callback(server.close)
            run = _Run(entry, server, row.count)
            run.check()
            places.append(run)
        yield places, [place for place in places if isinstance(place, _Run)]


def measure(row: Row, rounds: int, folder: str) -> list[Samples]:
    """Samples of our entry and of each peer's, in order.

    Raises:
        RuntimeError: a contestant did not do what the row is about.
    """
    if row.ours.contestant.missing is not None:
        return [Samples(absent=entry.contestant.missing or "") for entry in row.entries]
    with _started(row, folder) as (places, runs):
        for run in runs:
            run.sample()
            run.memory()
        for number in range(rounds):
            for shift in range(len(runs)):
                run = runs[(number + shift) % len(runs)]
                run.samples.cpu.append(run.sample())
        for run in runs:
            run.samples.memory = run.memory()
        if row.stall is not None:
            for _ in range(rounds):
                for run in runs:
                    run.samples.stalls.append(run.stall())
        return [
            place.samples if isinstance(place, _Run) else Samples(absent=place)
            for place in places
        ]


def profile(row: Row, folder: str) -> Iterator[tuple[str, str]]:
    """The title and the profile of each entry."""
    with _started(row, folder) as (_, runs):
        for entry, run in zip(row.entries, runs, strict=False):
            yield entry.title, run.stats()


@contextlib.contextmanager
def benchmark_folder(
    prepare: Callable[[str], None], parent: str | None = None
) -> Iterator[str]:
    """A folder for the contestants' files, in ``parent``, filled by ``prepare``."""
    with tempfile.TemporaryDirectory(prefix="aiostreams-bench-", dir=parent) as folder:
        prepare(folder)
        yield folder
