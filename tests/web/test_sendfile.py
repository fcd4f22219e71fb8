"""Local files as responses: what is none, and what happens while one is sent."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aiostreams import File, FileStream, StorageError, setup
from aiostreams.files.reading import OpenFile
from tests.servers import connected, post, serving

DATA = os.urandom(400_000)


async def get(
    make: Callable[[], Any], *fields: tuple[str, str]
) -> tuple[int, dict[str, str], bytes]:
    async def handler(_request: web.Request) -> Any:
        return make()

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        await raw.send(post(None, method="GET", headers=fields))
        return await raw.response()


@pytest.mark.parametrize("kind", [File, FileStream])
async def test_a_symlink_is_the_file_it_leads_to(
    tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    (tmp_path / "data.html").write_bytes(DATA)
    (tmp_path / "link.txt").symlink_to("data.html")
    (tmp_path / "link2").symlink_to("link.txt")
    whole = await get(lambda: kind(tmp_path / "data.html"))
    for name in ("link.txt", "link2"):
        status, headers, body = await get(partial(kind, tmp_path / name))
        assert (status, body) == (200, DATA)
        assert headers["etag"] == whole[1]["etag"]
    status, headers, _ = await get(lambda: File(tmp_path / "link.txt"))
    # The type is what the name promises that the application has given.
    assert headers["content-type"] == "text/plain; charset=utf-8"
    (tmp_path / "data.html").unlink()
    status, _, _ = await get(lambda: kind(tmp_path / "link2"))
    assert status == 404


@pytest.mark.parametrize(
    "kind", [File, FileStream, partial(File, content_type="a/b")], ids=str
)
@pytest.mark.parametrize("name", ["a\0.txt", "data.html\0.png", "\ud800", "x" * 300])
@pytest.mark.parametrize("fields", [(), (("Range", "bytes=0-3"),)], ids=["", "range"])
async def test_a_name_that_no_file_can_have_is_404(
    tmp_path: Path,
    kind: Callable[[Path], Any],
    name: str,
    fields: tuple[tuple[str, str], ...],
) -> None:
    """``File(folder / request.match_info["name"])``, where the client sent %00."""
    (tmp_path / "data.html").write_bytes(DATA)
    more = (*fields, ("Accept-Encoding", "gzip, br"))
    status, _, body = await get(lambda: kind(tmp_path / name), *more)
    assert status == 404
    assert b"Traceback" not in body


@pytest.mark.parametrize("kind", [File, FileStream])
async def test_what_is_no_regular_file(
    tmp_path: Path, kind: Callable[[Path], Any]
) -> None:
    """Neither hangs, nor is read, nor told to the client by its path."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "to-directory").symlink_to("directory")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-device").symlink_to("/dev/zero")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    statuses = {
        "directory": 404,
        "to-directory": 404,
        "directory/.": 404,
        "missing": 404,
        "x" * 300: 404,
        "x/" * 3000: 404,
        "loop": 404,
        "fifo": 500,
        "to-device": 500,
        "socket": 500,
    }
    with listening:
        for name, expected in statuses.items():
            for fields in ((), (("Range", "bytes=0-1"),)):
                path = tmp_path / name
                status, _, body = await get(partial(kind, path), *fields)
                assert status == expected, name
                assert str(tmp_path).encode() not in body


async def test_a_file_that_may_not_be_read_is_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(tmp_path / "secret"))

    monkeypatch.setattr(OpenFile, "open", refuse)  # tests may run as root
    status, _, body = await get(lambda: File(tmp_path / "secret"))
    assert status == 403
    assert b"secret" not in body


@pytest.mark.parametrize("change", ["shrink", "empty", "rewrite"])
@pytest.mark.parametrize("value", [None, "bytes=1000-", "bytes=0-99999,200000-"])
@pytest.mark.parametrize("sendfile", [True, False])
async def test_a_file_that_changes_while_it_is_sent_is_never_taken_for_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    value: str | None,
    sendfile: bool,
) -> None:
    """When the head has promised the bytes, and the first of them are on their way."""
    if not sendfile:
        monkeypatch.setenv("AIOHTTP_NOSENDFILE", "1")
    path = tmp_path / "data"
    path.write_bytes(DATA * 20)  # more than the buffers of a connection

    def tamper() -> None:
        if change == "rewrite":
            with path.open("r+b") as file:
                file.write(bytes(len(DATA) * 20))
            os.utime(path, ns=(1, 1))
        else:
            os.truncate(path, 1_000_000 if change == "shrink" else 0)

    async def handler(_request: web.Request) -> Any:
        return File(path)

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(setup(app)) as address, connected(address) as raw:
        fields = [] if value is None else [("Range", value)]
        await raw.send(post(None, method="GET", headers=fields))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        body = await raw.reader.readexactly(1000)
        tamper()
        rest = await asyncio.wait_for(raw.reader.read(), 10)
    assert len(body + rest) < length


async def test_a_client_that_leaves_before_the_last_piece_of_sendfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a client that has gone, and no error of the server."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    loop = asyncio.get_running_loop()
    if type(loop).__module__.startswith("uvloop"):
        pytest.skip("uvloop has no sendfile")
    calls = 0
    real = loop.sendfile

    async def sendfile(*args: Any, **kwargs: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            await reading
            client.close()  # at once, and by a reset
        return await real(*args, **kwargs)

    monkeypatch.setattr(loop, "sendfile", sendfile)
    ended = asyncio.Event()

    async def handler(_request: web.Request) -> Any:
        class Noting(FileStream):
            async def close(self) -> None:
                await super().close()
                ended.set()

        return Noting(path)

    app = web.Application()
    app.router.add_get("/", handler)
    with caplog.at_level(logging.WARNING):
        async with serving(setup(app)) as address:
            client = socket.create_connection(address)
            linger = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.sendall(post(None, method="GET"))

            def take() -> None:
                taken = 0
                while taken < len(DATA) - 64 * 1024:
                    taken += len(client.recv(65536))

            reading = asyncio.ensure_future(asyncio.to_thread(take))
            await ended.wait()
    assert calls == 2
    assert not caplog.records


async def test_a_disk_that_fails_under_sendfile_is_an_error_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    loop = asyncio.get_running_loop()
    real = loop.sendfile
    calls = 0

    async def sendfile(*args: Any, **kwargs: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise asyncio.SendfileNotAvailableError("os.sendfile call failed")
        return await real(*args, **kwargs)

    def read(self: OpenFile, offset: int, size: int) -> bytes:
        raise StorageError(f"cannot read {self.name!r} at byte {offset}")

    monkeypatch.setattr(loop, "sendfile", sendfile)
    monkeypatch.setattr(OpenFile, "read", read)
    with pytest.raises(asyncio.IncompleteReadError):
        await get(lambda: File(path))
    [record] = [found for found in caplog.records if found.levelname == "ERROR"]
    assert record.exc_info is not None
    assert record.exc_info[0] is StorageError
