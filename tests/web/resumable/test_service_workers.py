"""Several worker processes: one that is stopped, ended or killed is in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.servers import Raw, connected
from tests.storage.buckets import Bucket

from .server import Answer, Client, client
from .workers import Workers

DATA = bytes(range(256)) * 1000
HALF = len(DATA) // 2
CLAIM = 1.0


class Pair:
    """Two workers, and a client of each."""

    def __init__(self, workers: Workers, one: Client, two: Client) -> None:
        self.workers = workers
        self.first, self.second = workers.ports
        self.one, self.two = one, two

    @contextlib.asynccontextmanager
    async def begun(self, upload: str) -> AsyncIterator[Raw]:
        """A PATCH to the first worker, of which half has arrived."""
        address = "127.0.0.1", self.workers.ports[self.first]
        async with connected(address) as connection:
            await connection.send(
                f"PATCH {URL(upload).raw_path_qs} HTTP/1.1\r\nHost: x\r\n"
                "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                "Content-Type: application/offset+octet-stream\r\n"
                f"Content-Length: {len(DATA)}\r\n\r\n".encode(),
                DATA[:HALF],
            )
            await until(self._has_grown)
            yield connection

    def _has_grown(self) -> bool:
        """Whether there are bytes of an upload."""
        kind, _, port = self.workers.storage.partition(":")
        if kind == "s3":
            names = Bucket(int(port)).names()
            return any("/log/" in name for name in names)
        files = self.workers.folder.glob("files/.aiostreams-*/**/data")
        return any(file.stat().st_size == HALF for file in files)

    async def stop(self) -> None:
        """Stop the first worker; not in one of the short moments that it has a lock.

        Others are refused then until it goes on, which is tested elsewhere.
        """
        while True:
            await self.workers.send(self.first, signal.SIGSTOP)
            if not self._is_locked():
                return
            await self.workers.send(self.first, signal.SIGCONT)
            await asyncio.sleep(0.01)

    def _is_locked(self) -> bool:
        for path in self.workers.folder.glob("files/.aiostreams-*/**/lock"):
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
        return False

    async def finish(self, upload: str) -> Answer:
        """HEAD, and the rest, at the second worker."""
        began = time.monotonic()
        told = await self.two.tus("HEAD", upload)
        assert time.monotonic() - began < 5
        assert told.status == 200
        assert told.offset is not None
        rest = DATA[told.offset :]
        answer = await self.two.tus(
            "PATCH", upload, rest, Upload_Offset=str(told.offset)
        )
        assert answer.status == 204, answer
        return answer

    def check(self, *begun: int) -> None:
        """The handler ran in these processes, and saw the source's bytes in the end."""
        log = self.workers.log()
        assert [line["pid"] for line in log if line["what"] == "begin"] == [*begun]
        [ended] = [line for line in log if line["what"] == "end"]
        assert ended["sha"] == hashlib.sha256(DATA).hexdigest()
        assert len({line["id"] for line in log}) == 1
        assert "Traceback" not in self.workers.errors()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(folder: Path, storage: str) -> AsyncIterator[Pair]:
    workers = Workers(folder, storage, claim=CLAIM)
    async with workers.running(2), contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(client(("127.0.0.1", port)))
            for port in workers.ports.values()
        ]
        yield Pair(workers, *clients)


@pytest.fixture(params=["disk", "fsync", "bucket"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    storage = request.param
    if storage == "bucket":
        storage = f"s3:{request.getfixturevalue('bucket').port}"
    async with running(tmp_path, storage) as made:
        yield made


async def location(client: Client, path: str = "/query") -> str:
    answer = await client.tus("POST", path, Upload_Length=str(len(DATA)))
    return URL(answer.headers["Location"]).raw_path_qs


async def test_a_stopped_worker_is_fenced_however_late_it_goes_on(pair: Pair) -> None:
    upload = await location(pair.one)
    async with pair.begun(upload) as connection:
        await pair.stop()
        final = await pair.finish(upload)
        await pair.workers.send(pair.first, signal.SIGCONT)
        await connection.send(bytes(len(DATA) - HALF))  # not the source's
        status, headers, _ = await connection.response()
        assert status in {409, 410}, headers
    pair.check(pair.second)
    again = await pair.one.tus("PATCH", upload, Upload_Offset=str(len(DATA)))
    assert again.headers["X-Key"] == final.headers["X-Key"]


async def test_a_stalled_request_is_taken_over_by_another_worker(pair: Pair) -> None:
    upload = await location(pair.one)
    async with pair.begun(upload) as connection:
        await pair.finish(upload)
        await connection.send(bytes(len(DATA) - HALF))
        status, _, _ = await connection.response()
        assert status in {409, 410}
    pair.check(pair.second)


async def test_a_killed_worker_loses_nothing_that_was_told(pair: Pair) -> None:
    upload = await location(pair.one)
    async with pair.begun(upload):
        told = await pair.one.tus("HEAD", upload)
        assert told.offset == HALF
    async with pair.begun(await location(pair.one)):
        await pair.workers.kill(pair.first)
    head = await pair.two.tus("HEAD", upload)
    assert head.offset == HALF
    await pair.finish(upload)
    pair.check(pair.second)


async def test_a_worker_that_is_ended_keeps_what_arrived(pair: Pair) -> None:
    upload = await location(pair.one)
    async with pair.begun(upload) as connection:
        ending = asyncio.create_task(pair.workers.end(pair.first, signal.SIGTERM))
        async with asyncio.timeout(20):
            status, headers, _ = await connection.response()
        assert status == 503
        assert int(headers["upload-offset"]) == HALF
        assert "retry-after" in headers
    # aiohttp waits for the rest of the content, as long as shutdown_timeout lets it.
    async with asyncio.timeout(20):
        assert await ending == 0
    told = await pair.two.tus("HEAD", upload)
    assert told.offset == HALF
    await pair.finish(upload)
    pair.check(pair.second)


@pytest.mark.parametrize("protocol", ["tus", "rufh"])
async def test_a_handler_that_was_killed_runs_again(pair: Pair, protocol: str) -> None:
    """Once its claim has gone by, with the same id; till then it counts as running."""
    upload = await location(pair.one, "/wait")
    last = {"Upload_Offset": "0"}
    asking = asyncio.create_task(pair.one.tus("PATCH", upload, DATA, **last))
    await until(lambda: bool(pair.workers.log()))
    await pair.workers.kill(pair.first)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking

    async def ask() -> Answer:
        if protocol == "tus":
            return await pair.two.tus("PATCH", upload, Upload_Offset=str(len(DATA)))
        return await pair.two.rufh(
            "PATCH", upload, Upload_Offset=str(len(DATA)), Upload_Complete="?1"
        )

    began = time.monotonic()
    answer = await ask()
    assert answer.status == (423 if protocol == "tus" else 503)
    assert 0 <= int(answer.headers["Retry-After"]) <= CLAIM + 1
    told = await pair.two.tus("HEAD", upload)
    assert told.status == 200
    assert told.offset == len(DATA)
    (pair.workers.folder / "go").touch()
    async with asyncio.timeout(10):
        while (answer := await ask()).status in {423, 503}:
            await asyncio.sleep(0.05)
    assert answer.status // 100 == 2
    assert time.monotonic() - began > CLAIM / 2
    log = [line for line in pair.workers.log() if line["what"] == "begin"]
    assert [line["pid"] for line in log] == [pair.first, pair.second, pair.second]
    assert len({line["id"] for line in log}) == 1
    again = await ask()
    assert again.headers["X-Key"] == answer.headers["X-Key"]
