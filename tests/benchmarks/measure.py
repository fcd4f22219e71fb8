"""How rows are measured.

A *sample* is the server's CPU time for as many requests, one after the other, as take
about ``seconds``; a *round* has one sample of each entry. Each round begins with another entry, and every
other one goes backwards, so that nobody always runs behind the same neighbour.

The hash seed and the layout of a process's memory are drawn when it starts, and make
ten per cent of difference for all of its life. So the rounds are shared out over
several *starts*, each with servers of its own. Those answer requests for as long as
two samples before they are measured: interpreters warm up, too (a form of 1,000 fields
takes twice its time until it has been read 30 times). The event loop is watched in the
first start, in as many rounds more.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from tests.benchmarks.client import Answer, Request
from tests.benchmarks.rows import Entry, Row
from tests.benchmarks.server import Server

__all__ = ["Effort", "Samples", "benchmark_folder", "measure", "profile", "turns"]

T = TypeVar("T")


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: samples of each entry.
        starts: over how many lives of the servers they are shared out.
        seconds: about how long a sample takes, if one request does not take longer.
    """

    rounds: int = 9
    starts: int = 3
    seconds: float = 0.15


@dataclass
class Samples:
    """What was measured of one entry: one number a round.

    Attributes:
        cpu: seconds a request.
        system: the kernel's part of it.
        faults: pages that the process had to be given, a request.
        switches: how often one of its threads went to sleep, a request.
        stalls: longest time the event loop was blocked, in seconds.
        memory: by how many bytes the resident memory has peaked.
        length: bytes of the answer's body.
        absent: why there is nothing.
    """

    cpu: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
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


class _Run:
    """An entry ready to be measured."""

    def __init__(self, entry: Entry, server: Server) -> None:
        self._entry = entry
        self._server = server
        self._count = 1
        self._script: list[list[bytes]] = []
        self.samples = Samples()

    def check(self, script: list[list[bytes]]) -> None:
        """One request, and whether the contestant did the work."""
        self._script = script
        if (before := self._entry.request.before) is not None:
            answer = self._server.client.exchange(before.prepare())
            if wrong := _wrong(before, answer):
                raise RuntimeError(f"{self._entry.title}: {wrong}")
        for request, pieces in zip(self._entry.request.script, script, strict=True):
            answer = self._server.client.exchange(pieces)
            self.samples.length = answer.length
            wrong = _wrong(request, answer)
            if wrong:
                raise RuntimeError(f"{self._entry.title}: {wrong}")

    def warm_up(self, seconds: float) -> None:
        """For as long as two samples; from the second one each gets its count."""
        if self._send_for(seconds) > 1:
            started = time.perf_counter()
            sent = self._send_for(seconds)
            took = time.perf_counter() - started
            self._count = max(1, round(sent / took * seconds))
        self._server.ask("memory")

    def _send_for(self, seconds: float) -> int:
        """How many requests it took."""
        until = time.perf_counter() + seconds
        sent = 0
        while not sent or time.perf_counter() < until:
            self._send_one()
            sent += 1
        return sent

    def sample(self) -> None:
        before = self._server.ask("usage")
        self._send()
        after = self._server.ask("usage")
        requests = self._count * self._entry.request.at_once
        cpu, system, faults, switches = (
            (late - early) / requests for late, early in zip(after, before, strict=True)
        )
        self.samples.cpu.append(cpu)
        self.samples.system.append(system)
        self.samples.faults.append(faults)
        self.samples.switches.append(switches)

    def stall(self) -> None:
        self._server.ask("watch")
        self._send()
        self.samples.stalls.append(float(self._server.ask("stall")))

    def memory(self) -> None:
        grown: int | None = self._server.ask("memory")
        if grown is not None:
            self.samples.memory = max(grown, self.samples.memory or 0)

    def stats(self) -> str:
        self._server.ask("profile")
        self._send()
        return str(self._server.ask("stats"))

    def _send(self) -> None:
        for _ in range(self._count):
            self._send_one()

    def _send_one(self) -> None:
        clients = self._server.at_once(self._entry.request.at_once)
        for pieces in self._script:
            for client in clients:
                client.send(pieces)
            for client in clients:
                answer = client.answer()
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


class _Prepared:
    """The bytes of each request, made once; those of a row are alive together."""

    def __init__(self) -> None:
        self._scripts: dict[int, list[list[bytes]]] = {}

    def of(self, request: Request) -> list[list[bytes]]:
        found = self._scripts.get(id(request))
        if found is None:
            found = [one.prepare() for one in request.script]
            self._scripts[id(request)] = found
        return found


@contextlib.contextmanager
def _started(row: Row, folder: str, prepared: _Prepared) -> Iterator[list[_Run | None]]:
    """A run for each entry that has all it needs, with servers that do the work."""
    with contextlib.ExitStack() as stack:
        servers: dict[int, Server] = {}
        runs: list[_Run | None] = []
        for entry in row.entries:
            contestant = entry.contestant
            if contestant.missing is not None:
                runs.append(None)
                continue
            server = servers.get(id(contestant))
            if server is None:
                server = servers[id(contestant)] = Server(contestant, folder)
                stack.callback(server.close)
            runs.append(_Run(entry, server))
        for entry, run in zip(row.entries, runs, strict=True):
            if run is not None:
                run.check(prepared.of(entry.request))
        yield runs


def measure(row: Row, effort: Effort, folder: str) -> list[Samples]:
    """Samples of our entry and of each peer's, in order.

    Raises:
        RuntimeError: a contestant did not do what the row is about.
    """
    made = [Samples(absent=entry.contestant.missing) for entry in row.entries]
    if made[0].absent is not None:
        return made
    prepared = _Prepared()
    starts = min(effort.starts, effort.rounds)
    for start in range(starts):
        rounds = range(
            effort.rounds * start // starts, effort.rounds * (start + 1) // starts
        )
        with _started(row, folder, prepared) as places:
            runs = []
            for samples, run in zip(made, places, strict=True):
                if run is not None:
                    samples.length = run.samples.length
                    run.samples = samples
                    run.warm_up(effort.seconds)
                    runs.append(run)
            for number in rounds:
                for run in turns(runs, number):
                    run.sample()
            for run in runs:
                run.memory()
            if row.stall is not None and not start:
                for number in rounds:
                    for run in turns(runs, number):
                        run.stall()
    return made


def turns(entries: list[T], number: int) -> list[T]:
    """The order of a round: turned by one every other time, and then backwards."""
    first = number // 2 % len(entries)
    order = entries[first:] + entries[:first]
    return order[::-1] if number % 2 else order


def profile(row: Row, folder: str) -> Iterator[tuple[str, str]]:
    """The title and the profile of each entry."""
    with _started(row, folder, _Prepared()) as runs:
        for entry, run in zip(row.entries, runs, strict=True):
            if run is not None:
                run.warm_up(1.0)
                yield entry.title, run.stats()


@contextlib.contextmanager
def benchmark_folder(
    prepare: Callable[[str], None], parent: str | None = None
) -> Iterator[str]:
    """A folder for the contestants' files, in ``parent``, filled by ``prepare``."""
    with tempfile.TemporaryDirectory(prefix="aiostreams-bench-", dir=parent) as folder:
        prepare(folder)
        yield folder
