"""The command as users start it: one process, several, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector
from yarl import URL

from aiostreams import MiB
from tests.servers import connected, post

ROOT = Path(__file__).parents[2]


@dataclass
class Command:
    """The app, started; what it prints is gathered."""

    process: asyncio.subprocess.Process
    url: URL = field(default_factory=URL)
    errors: str = ""

    async def read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors += line.decode()

    async def says(self, pattern: str) -> re.Match[str]:
        async with asyncio.timeout(20):
            while not (found := re.search(pattern, self.errors)):
                await asyncio.sleep(0.02)
        return found


async def start(*flags: str) -> Command:
    # As for a user: output into a pipe is buffered.
    environment = {**os.environ}
    environment.pop("PYTHONUNBUFFERED", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "example_app",
        *flags,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return Command(process)


@contextlib.asynccontextmanager
async def running(*flags: str) -> AsyncIterator[Command]:
    """The app, serving; told to end afterwards, and waited for."""
    command = await start(*flags)
    reading = asyncio.create_task(command.read_errors())
    try:
        assert command.process.stdout is not None
        line = await asyncio.wait_for(command.process.stdout.readline(), 20)
        address = re.search(rb"http://\S+", line)
        assert address is not None, command.errors
        command.url = URL(address[0].decode())
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.process.terminate()
        assert command.process.stdout is not None
        await asyncio.wait_for(command.process.stdout.read(), 20)
        await asyncio.wait_for(command.process.wait(), 20)
        await reading


def children(pid: int) -> set[int]:
    """The workers of a supervisor; not the tracker of multiprocessing."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(
                folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            )
            command = folder.joinpath("cmdline").read_text()
        except (OSError, IndexError):
            continue
        if parent == pid and "spawn_main" in command:
            found.add(int(folder.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds processes in /proc"
)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def listed(url: URL) -> int:
    """How many files there are, by a connection of its own."""
    async with (
        ClientSession(connector=TCPConnector(force_close=True)) as session,
        session.get(url / "files") as response,
    ):
        count: int = (await response.json())["count"]
        return count


async def test_command_prints_its_address_and_serves(
    client: ClientSession, tmp_path: Path, unused_tcp_port: int
) -> None:
    port = str(unused_tcp_port)
    async with running("--port", port, "--storage", str(tmp_path / "kept")) as command:
        assert str(command.url) == f"http://127.0.0.1:{port}"
        async with client.put(command.url / "x.txt", data=b"x") as response:
            assert response.status == 201
        assert (tmp_path / "kept/x.txt").read_bytes() == b"x"
        for workers in ("1", "2"):
            second = await start(
                "--port", port, "--workers", workers, "--storage", str(tmp_path)
            )
            _, errors = await asyncio.wait_for(second.process.communicate(), 20)
            assert second.process.returncode == 1
            assert f"Port {port} is in use".encode() in errors
    assert command.process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--storage", "ftp://host/x"], b"expected one of"),
        (["--storage", "s3://bucket?colour=red"], b"has no option 'colour'"),
        (["--storage", "memory:", "--workers", "2"], b"memory of one process"),
        (["--workers", "0"], b"must be 1 or more"),
        (["--max-file", "much"], b"--max-file"),
    ],
)
async def test_command_says_what_is_wrong_with_a_flag(
    flags: list[str], message: bytes
) -> None:
    command = await start(*flags)
    _, errors = await asyncio.wait_for(command.process.communicate(), 20)
    assert command.process.returncode == 2
    assert message in errors


@needs_proc
@pytest.mark.slow
async def test_workers_share_a_port_and_their_events_and_are_replaced(
    tmp_path: Path,
) -> None:
    flags = ("--port", "0", "--workers", "2", "--storage", str(tmp_path / "kept"))
    async with running(*flags) as command:
        url, pid = command.url, command.process.pid
        await until(lambda: len(children(pid)) == 2)
        first = children(pid)
        # Connections are shared out; both have to be met.
        for number in range(8):
            async with (
                ClientSession() as session,
                session.put(url / f"{number}.txt", data=b"x") as response,
            ):
                assert response.status == 201
        for line in ("[1] 127.0.0.1", "[2] 127.0.0.1"):
            async with asyncio.timeout(20):
                while line not in command.errors:
                    assert await listed(url) == 8
        # Each of them tells of all, in the same order, also to who comes back.
        told = [await events(url, 8) for _ in range(4)]
        assert told[0] == told[1] == told[2] == told[3]
        assert [event.split('"name":"')[1][:5] for _, event in told[0]] == [
            f"{number}.txt" for number in range(8)
        ]
        for place in range(8):
            behind = await events(url, 7 - place, after=told[0][place][0])
            assert behind == told[0][place + 1 :]

        # Those who share a port share it with nobody else.
        another = await start("--port", str(url.port), *flags[2:])
        _, errors = await asyncio.wait_for(another.process.communicate(), 20)
        assert another.process.returncode == 1
        assert b"is in use" in errors

        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        await command.says(r"worker \d was killed by SIGKILL; another one")
        for _ in range(6):  # those that the dead one would have had wait for the next
            assert await listed(url) == 8
        await until(lambda: len(children(pid)) == 2)
        assert victim not in children(pid)
        # The new one has been told what was.
        for _ in range(4):
            assert await events(url, 8) == told[0]

        # Ended in the middle of an upload, nothing of it is left.
        async with connected((str(url.host), url.port or 0)) as raw:
            head = post(method="PUT", path="/files/half")
            await raw.send(head[:-2] + f"Content-Length: {9 * MiB}\r\n\r\n".encode())
            await raw.send(bytes(5 * MiB))
            await until(lambda: len(files_in(tmp_path / "kept")) == 9)
            last = children(pid)
            command.process.terminate()
            raw.reset()
            assert await asyncio.wait_for(command.process.wait(), 8) == 0
    assert len(files_in(tmp_path / "kept")) == 8
    assert not any(map(alive, last))
    assert "Traceback" not in command.errors


def files_in(folder: Path) -> list[Path]:
    """What is kept, and what is half there; not the folder of uploads that go on."""
    return [path for path in folder.iterdir() if path.is_file()]


async def events(url: URL, count: int, after: str = "") -> list[tuple[str, str]]:
    """The first events of a stream: ids and data."""
    found: list[tuple[str, str]] = []
    headers = {"Last-Event-ID": after} if after else {}
    async with (
        asyncio.timeout(10),
        ClientSession() as session,
        session.get(url / "events", headers=headers) as response,
    ):
        key = ""
        while len(found) < count:
            line = await response.content.readline()
            if not line:
                raise ConnectionError("the stream has ended")
            name, _, value = line.decode().partition(": ")
            if name == "id":
                key = value.strip()
            elif name == "data":
                found.append((key, value.strip()))
    return found


@needs_proc
@pytest.mark.slow
async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    flags = ("--port", "0", "--workers", "2", "--storage", str(tmp_path))
    async with running(*flags) as command:
        assert await listed(command.url) == 0  # one at least is up
        await until(lambda: len(children(command.process.pid)) == 2)
        workers = children(command.process.pid)
        command.process.kill()
        await until(lambda: not any(map(alive, workers)))
    with contextlib.suppress(ClientError):
        await listed(command.url)
        raise AssertionError("somebody still answers")


@needs_proc
@pytest.mark.slow
async def test_interrupt_ends_all_of_them_quietly(tmp_path: Path) -> None:
    """CTRL+C reaches every process of the terminal."""
    flags = ("--port", "0", "--workers", "2", "--storage", str(tmp_path))
    async with running(*flags) as command:
        following = asyncio.create_task(events(command.url, 1))
        await until(lambda: len(children(command.process.pid)) == 2)
        assert await listed(command.url) == 0
        workers = children(command.process.pid)
        for pid in (*workers, command.process.pid):
            os.kill(pid, signal.SIGINT)
        # An event stream, which has no end, holds nobody up.
        assert await asyncio.wait_for(command.process.wait(), 8) == 0
        with pytest.raises((ClientError, ConnectionError)):
            await following
    assert not any(map(alive, workers))
    assert "Traceback" not in command.errors


async def test_workers_that_cannot_work_are_given_up(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from example_app.workers import Place, run_workers\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(run_workers(divmod, 2, Place('127.0.0.1', 0)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"5 deaths within 30 s are too many: giving up" in errors
