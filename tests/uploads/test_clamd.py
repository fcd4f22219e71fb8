"""clamd(): a daemon that speaks INSTREAM sees the bytes and has its say."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import (
    InvalidContent,
    LimitExceeded,
    MemoryStorage,
    StorageError,
    clamd,
    receive,
)
from tests.servers import post
from tests.web.test_receive import keys, run

EVIL = b"a-signature-of-our-own"
LARGE = bytes(range(256)) * 4000


class Daemon:
    """Speaks the protocol; each behaviour is one that clamd shows."""

    def __init__(self) -> None:
        self.most = 10_000_000
        self.behaviour = "scans"
        self.scanned: list[bytes] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if self.behaviour != "closes":
                await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        data = b""
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            if len(data) + size > self.most:
                writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                await writer.drain()
                return
            data += await reader.readexactly(size)
            if self.behaviour == "dies midway":
                return
        self.scanned.append(data)
        if self.behaviour == "hangs":
            await reader.read()  # until the other end has had enough
            return
        answers = {
            "babbles": b"what?\0",
            "says nothing": b"",
            "says too much": b"x" * 200_000,
        }
        found = b"stream: Own.Test FOUND\0" if EVIL in data else b"stream: OK\0"
        writer.write(answers.get(self.behaviour, found))


@pytest.fixture(params=["unix", "tcp"])
async def daemon(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Daemon, str]]:
    daemon = Daemon()
    if request.param == "unix":
        path = tmp_path / "clamd.ctl"
        server = await asyncio.start_unix_server(daemon.serve, path)
        address = f"unix://{path}"
    else:
        server = await asyncio.start_server(daemon.serve, "127.0.0.1", 0)
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield daemon, address
    server.close()
    await server.wait_closed()


async def upload(data: bytes, check: Any) -> int:
    storage = MemoryStorage()

    async def script(request: web.Request) -> Any:
        async with receive(request, storage, check=check):
            pass

    try:
        await run(script, post(data, method="PUT"))
    except BaseException:
        assert await keys(storage) == []
        raise
    return len(await keys(storage))


@pytest.mark.parametrize("data", [b"", b"clean", LARGE])
async def test_what_is_clean_is_stored(daemon: Any, data: bytes) -> None:
    server, address = daemon
    assert await upload(data, clamd(address)) == 1
    assert server.scanned == [data]


@pytest.mark.parametrize("data", [EVIL, LARGE + EVIL + LARGE])
@pytest.mark.parametrize("fail", ["closed", "open"])
async def test_what_is_malicious_is_refused(
    daemon: Any, data: bytes, fail: Any
) -> None:
    with pytest.raises(InvalidContent, match=r"Own\.Test") as raised:
        await upload(data, clamd(daemon[1], fail=fail))
    assert raised.value.status == 422


async def test_what_is_too_large_for_the_daemon_is_refused(daemon: Any) -> None:
    daemon[0].most = 100_000
    check = clamd(daemon[1], max_size=100_000)
    with pytest.raises(LimitExceeded, match="too large to be scanned"):
        await upload(LARGE, check)
    assert await upload(LARGE[:100_000], check) == 1
    # The answer is lost if the connection is cut before it is read.
    with pytest.raises((LimitExceeded, StorageError), match="scanned"):
        await upload(LARGE, clamd(daemon[1]))
    assert await upload(LARGE, clamd(daemon[1], fail="open")) == 1


@pytest.mark.parametrize("data", [b"", b"clean", LARGE])
@pytest.mark.parametrize(
    "behaviour",
    ["closes", "dies midway", "hangs", "babbles", "says nothing", "says too much"],
)
async def test_a_daemon_that_fails_refuses_unless_it_may_not(
    daemon: Any, behaviour: str, data: bytes
) -> None:
    daemon[0].behaviour = behaviour
    if behaviour == "dies midway" and not data:
        pytest.skip("there is no midway of nothing")
    with pytest.raises(StorageError, match="scanned") as raised:
        await upload(data, clamd(daemon[1], timeout=0.3))
    assert raised.value.status == 503
    assert await upload(data, clamd(daemon[1], fail="open", timeout=0.3)) == 1


@pytest.mark.parametrize("address", ["unix:///nowhere/clamd.ctl", "tcp://127.0.0.1:9"])
async def test_a_daemon_that_is_not_there_refuses(address: str) -> None:
    with pytest.raises(StorageError) as raised:
        await upload(b"clean", clamd(address))
    assert raised.value.status == 503


@pytest.mark.parametrize(
    "address", ["", "clamd.ctl", "unix:", "unix://host/p", "tcp://host", "http://h:1"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        clamd(address)
    with pytest.raises(ValueError, match="fail"):
        clamd("tcp://h:1", fail="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        clamd("tcp://h:1", timeout=0)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ClamAV's own daemon, with one signature."""
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin")
    if program is None:
        pytest.skip("no `clamd`: it is in Debian's clamav-daemon")
    folder = tmp_path_factory.mktemp("clamd")
    (folder / "db").mkdir()
    (folder / "db" / "own.ndb").write_text(f"Own.Test:0:*:{EVIL.hex()}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "clamd.conf").write_text(
        f"TCPAddr 127.0.0.1\nTCPSocket {port}\nDatabaseDirectory {folder}/db\n"
        f"Foreground yes\nStreamMaxLength 3M\nTemporaryDirectory {folder}\n"
    )
    command = [program, "-c", str(folder / "clamd.conf")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        for _ in range(300):
            if process.poll() is not None:
                assert process.stdout is not None
                pytest.fail(f"clamd ended: {process.stdout.read()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_the_real_daemon(real: str) -> None:
    assert await upload(b"clean", clamd(real)) == 1
    assert await upload(LARGE, clamd(real)) == 1
    for data in (EVIL, LARGE + EVIL):
        with pytest.raises(InvalidContent, match=r"Own\.Test"):
            await upload(data, clamd(real))
    with pytest.raises((LimitExceeded, StorageError), match="scanned"):
        await upload(LARGE * 5, clamd(real))
    with pytest.raises(LimitExceeded, match="scanned"):
        await upload(LARGE * 5, clamd(real, max_size=3_000_000))
