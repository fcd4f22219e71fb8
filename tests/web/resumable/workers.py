"""Worker processes of one application, to be killed, and who starts them.

``python -m tests.web.resumable.workers CONFIG`` starts no thread, so that it can fork: a
worker is there in some milliseconds. It is told by lines of JSON what to do; when its
input ends, it kills its workers and ends.

``Workers`` is the other end of that pipe, in the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from aiostreams import (
    JSON,
    DiskStorage,
    MemoryStorage,
    ObjectStorage,
    ResumableUploads,
    Storage,
    receive,
    respond,
    resumable,
    resumable_route,
    setup,
    sweep_uploads,
    upload_of,
)
from aiostreams.resumable import engine
from tests.storage.azurite import azure_store_of
from tests.storage.buckets import store_of

# So that there is more than one commit to an upload of a megabyte.
COMMIT_BYTES = 192 * 1024
COMMIT_SECONDS = 0.1


class Workers:
    """Processes of one application; none knows of the others.

    Args:
        folder: for their log, and for the files of ``DiskStorage``.
        storage: ``disk``, ``fsync``, ``memory``, or ``s3:PORT`` or ``azure:PORT``.
        claim: see ``ResumableUploads``.

    Attributes:
        ports: of those that run, by their process ids.
    """

    def __init__(self, folder: Path, storage: str, *, claim: float) -> None:
        self.folder = folder
        self.storage = storage
        self.claim = claim
        self.ports: dict[int, int] = {}
        self._process: asyncio.subprocess.Process

    @contextlib.asynccontextmanager
    async def running(self, count: int) -> AsyncIterator[Workers]:
        config = {
            "folder": str(self.folder), "storage": self.storage, "claim": self.claim,
        }  # fmt: skip
        with (self.folder / "stderr").open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __spec__.name, json.dumps(config),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=stderr, cwd=Path(__file__).parents[3],
            )  # fmt: skip
        try:
            for _ in range(count):
                await self.start()
            yield self
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()

    async def _tell(self, **what: Any) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(what).encode() + b"\n")
        answer = await process.stdout.readline()
        assert answer, self.errors()
        return json.loads(answer)

    async def start(self) -> int:
        """One more; gives its process id."""
        pid, port = await self._tell(do="start")
        self.ports[pid] = port
        return int(pid)

    async def send(self, pid: int, number: int) -> None:
        await self._tell(do="signal", pid=pid, signal=number)

    async def kill(self, pid: int) -> None:
        await self.end(pid, signal.SIGKILL)

    async def end(self, pid: int, number: int) -> int:
        """Have one end, and wait for that; gives the status, as ``waitpid`` does."""
        await self.send(pid, number)
        self.ports.pop(pid, None)
        return int(await self._tell(do="wait", pid=pid))

    async def sweep(self, seconds: float) -> None:
        """Have a worker sweep, so many seconds from now."""
        assert await self._tell(do="sweep", ahead=seconds) == 0, self.errors()

    def log(self) -> list[dict[str, Any]]:
        """What the handlers have done."""
        path = self.folder / "log"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def errors(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")


# -- a worker --------------------------------------------------------------------------


def storage_of(config: dict[str, Any]) -> Storage:
    kind, _, port = config["storage"].partition(":")
    if kind == "memory":
        return MemoryStorage()
    if kind == "s3":
        return ObjectStorage(store_of(int(port)))
    if kind == "azure":
        return ObjectStorage(azure_store_of(int(port)))
    return DiskStorage(Path(config["folder"]) / "files", fsync=kind == "fsync")


def application(config: dict[str, Any]) -> web.Application:
    log = os.open(
        Path(config["folder"]) / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT
    )

    def note(what: str, request: web.Request, **more: Any) -> None:
        upload = upload_of(request)
        assert upload is not None
        line = {"what": what, "id": upload.id, "pid": os.getpid(), **more}
        os.write(log, json.dumps(line).encode() + b"\n")

    async def store(request: web.Request) -> Any:
        note("begin", request)
        async with receive(request) as upload:
            [file] = upload.files.values()
        note("end", request, key=file.key, size=file.size, sha=file.digests["sha256"])
        return respond(JSON({"key": file.key}), headers={"X-Key": file.key})

    async def done(request: web.Request, file: Any) -> Any:
        note("begin", request)
        note("end", request, key=file.key, size=file.size, sha=file.digests["sha256"])
        return respond(JSON({"key": file.key}), headers={"X-Key": file.key})

    async def wait(request: web.Request) -> Any:
        note("begin", request)
        while not (Path(config["folder"]) / "go").exists():
            await asyncio.sleep(0.01)
        return await store(request)

    app = web.Application()
    app.router.add_post("/query", resumable()(store))
    app.router.add_post("/wait", resumable()(wait))
    app.add_routes([resumable_route("/path", done)])
    setup(
        app,
        storage=storage_of(config),
        resumable=ResumableUploads(claim=config["claim"]),
    )
    return app


async def serve(config: dict[str, Any], pipe: int) -> None:
    """Serve until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    runner = web.AppRunner(application(config), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.write(pipe, json.dumps(runner.addresses[0][1]).encode())
    os.close(pipe)
    await over.wait()
    await runner.cleanup()


async def sweep(config: dict[str, Any], ahead: float) -> None:
    """Sweep as if so much time had passed."""
    clock = time.time
    time.time = lambda: clock() + ahead
    app = application(config)
    runner = web.AppRunner(app)
    await runner.setup()
    await sweep_uploads(app)
    await runner.cleanup()


# -- who starts them -------------------------------------------------------------------


def fork(run: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
        asyncio.run(run())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def obey(config: dict[str, Any], alive: set[int], what: dict[str, Any]) -> Any:
    if what["do"] == "start":
        reading, writing = os.pipe()
        pid = fork(lambda: serve(config, writing))
        alive.add(pid)
        os.close(writing)
        with open(reading, "rb") as pipe:
            return pid, json.loads(pipe.read())
    if what["do"] == "sweep":
        ahead = what["ahead"]
        return os.waitpid(fork(lambda: sweep(config, ahead)), 0)[1]
    pid = what["pid"]
    assert pid in alive
    if what["do"] == "signal":
        os.kill(pid, what["signal"])
        return None
    assert what["do"] == "wait"
    alive.remove(pid)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    engine._COMMIT_BYTES = COMMIT_BYTES  # type: ignore[misc]
    engine._COMMIT_SECONDS = COMMIT_SECONDS  # type: ignore[misc]
    config = json.loads(sys.argv[1])
    alive: set[int] = set()
    try:
        for line in sys.stdin:
            print(json.dumps(obey(config, alive, json.loads(line))), flush=True)
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
