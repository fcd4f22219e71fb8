"""Forks processes that live with an upload on a disk, and die at their n-th step.

``python -m tests.resumable.die FOLDER FSYNC``. This process starts no thread, so that it
can fork; each child runs an event loop of its own. What a child was told it writes into
a pipe, before it takes another step.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiostreams import DiskStorage, Storage
from aiostreams.resumable.disk import DiskStaging
from aiostreams.resumable.engine import Uploads

from .test_engine_kills import FINAL, Witness, check, end, live

# Every call that changes something; one that does not differs by nothing from those.
STEPS = (
    "open", "write", "writev", "pwrite", "rename", "unlink", "mkdir", "rmdir",
    "ftruncate", "fsync", "fdatasync",
)  # fmt: skip
CLAIM = 0.05


class Reporter(Witness):
    """Tells what it was told to the parent, at once."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        super().__init__()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name != "pipe":
            REAL_WRITE(self.pipe, json.dumps([name, value]).encode() + b"\n")


REAL_WRITE = os.write


def arm(folder: str, fatal: int) -> None:
    """Have this process die right after its ``fatal``-th step."""
    count = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if function.__name__ == "open" and not (
                str(args[0]).startswith(folder) and args[1] & os.O_CREAT
            ):
                return function(*args, **kwargs)
            count = number = count + 1
            try:
                return function(*args, **kwargs)
            finally:
                if number == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

        return step

    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    fcntl.flock = wrap(fcntl.flock)


def in_child(run: Callable[[], None]) -> int:
    """Run it in a forked process; gives how that ended."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def application(root: Path, fsync: bool) -> tuple[Storage, Uploads]:
    storage = DiskStorage(root / "files", fsync=fsync, sweep_after=None)
    return storage, Uploads(DiskStaging(root / "staging", fsync=fsync), claim=CLAIM)


def names(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*")}


def main(folder: Path, fsync: bool) -> None:
    fatal = 0
    killed = True
    while killed:
        fatal += 1
        root = folder / str(fatal)
        reading, writing = os.pipe()

        def life() -> None:
            witness = Reporter(writing)  # noqa: B023
            arm(str(root), fatal)  # noqa: B023
            storage, uploads = application(root, fsync)  # noqa: B023

            async def run() -> None:
                await live(uploads, witness, storage)
                await end(uploads, witness)

            asyncio.run(run())

        status = in_child(life)
        os.close(writing)
        witness = Witness()
        with os.fdopen(reading) as told:
            for line in told:
                setattr(witness, *json.loads(line))
        killed = os.WIFSIGNALED(status)
        if status and not killed:
            raise SystemExit(f"it failed at step {fatal}: {status}")

        def afterwards() -> None:
            storage, uploads = application(root, fsync)  # noqa: B023

            async def run() -> None:
                await check(uploads, witness, storage)  # noqa: B023
                await storage.sweep(-1)

            asyncio.run(run())
            if witness.upload_id is not None:  # noqa: B023
                assert names(root) == {"staging", "files", FINAL}  # noqa: B023

        if in_child(afterwards):
            raise SystemExit(f"after step {fatal}: {vars(witness)}")
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps({"killed": fatal - 1}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "1")
