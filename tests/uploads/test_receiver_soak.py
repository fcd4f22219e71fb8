"""Ten thousand uploads that fail, in every way: nothing of them stays.

Server and clients are one process, without debugging aids that remember things, so
that its memory, descriptors, threads, tasks and warning registries are all there is.
They are counted after the first two thousand requests, by when caches are warm and
the allocator knows its size, and at the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from aiostreams import DiskStorage, KiB, Limits, MiB, receive, setup
from tests.servers import connected, serving
from tests.waiting import until

WARM: Final = 2_000
TOTAL: Final = 10_000
_BOUNDARY: Final = b"----soak"
_TYPE: Final = b"multipart/form-data; boundary=" + _BOUNDARY


def _form(*parts: bytes) -> bytes:
    opened = b"".join(b"--" + _BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts)
    return opened + b"--" + _BOUNDARY + b"--\r\n"


def _file(name: bytes, content: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%b"; filename="%b.bin"\r\n\r\n%b' % (
        name,
        name,
        content,
    )


_FIELD: Final = b'Content-Disposition: form-data; name="note"\r\n\r\nOnce upon a time'
_GOOD: Final = _form(_FIELD, _file(b"a", b"x" * 3000), _file(b"b", b"y" * 90_000))


def _post(body: bytes, *fields: bytes, path: bytes = b"/", length: int = -1) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: soak\r\nContent-Type: %b\r\n%b" % (
        path,
        _TYPE,
        b"".join(field + b"\r\n" for field in fields),
    )
    declared = len(body) if length < 0 else length
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, declared, body)


# What is sent, and the status of the answer; None: the client leaves instead.
REQUESTS: Final[list[tuple[bytes, int | None]]] = [
    (_post(_GOOD, path=b"/fail"), 500),  # by the handler, when all has arrived
    (_post(_GOOD[:-20]), 400),  # no end
    (_post(_GOOD[:50_000], length=len(_GOOD)), None),  # gone in the second file
    (_post(_GOOD[:60], length=len(_GOOD)), None),  # gone in a field
    (_post(_form(_file(b"a", b"x" * 300_000))), 413),  # over max_file
    (_post(_form(*[_FIELD] * 20)), 413),  # over max_parts
    (_post(_form(_file(b"a", b"x" * 9), b"Broken\r\n\r\n")), 400),
    (_post(_form(b'Content-Disposition: form-data; name="\xff"\r\n\r\n\xff')), 400),
    (_post(_form(_file(b"a", b"%PDF-1.7")), path=b"/pictures"), 415),
    (_post(_GOOD, b"Content-Encoding: gzip"), 400),
]


def _application(folder: str) -> web.Application:
    async def store(request: web.Request) -> web.Response:
        async with receive(request):
            return web.Response()

    async def fail(request: web.Request) -> web.Response:
        async with receive(request):
            raise web.HTTPInternalServerError

    async def pictures(request: web.Request) -> web.Response:
        async with receive(request, accept={"image/*"}):
            return web.Response()

    app = web.Application()
    app.router.add_post("/", store)
    app.router.add_post("/fail", fail)
    app.router.add_post("/pictures", pictures)
    limits = Limits(max_file=200 * KiB, max_parts=16)
    return setup(app, limits=limits, storage=DiskStorage(folder))


async def _one(address: tuple[str, int], data: bytes, status: int | None) -> None:
    async with connected(address) as raw:
        raw.writer.write(data)
        if status is None:
            await raw.writer.drain()
            raw.reset()
            return
        answered, _, _ = await raw.response()
        if answered != status:
            raise AssertionError(f"{answered}, not {status}: {data[:200]!r}")


def _counts() -> dict[str, int]:
    gc.collect()
    registries = [
        registry
        for module in list(sys.modules.values())
        if (registry := getattr(module, "__warningregistry__", None))
    ]
    return {
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KiB,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "warnings": sum(map(len, registries)),
        "objects": len(gc.get_objects()),
    }


async def main(folder: str) -> None:
    """Send them all, and print what there was after WARM and after TOTAL."""
    counted: list[dict[str, int]] = []
    async with serving(_application(folder), auto_decompress=False) as address:
        idle = len(asyncio.all_tasks())

        def quiet() -> bool:
            return len(asyncio.all_tasks()) <= idle and not os.listdir(folder)

        turn = 0
        for stop in (WARM, TOTAL):
            while turn < stop:
                await asyncio.gather(
                    *(
                        _one(address, *REQUESTS[number % len(REQUESTS)])
                        for number in range(turn, turn + 10)
                    )
                )
                turn += 10
            await until(quiet)
            counted.append(_counts())
    print(json.dumps([*counted, Counter(os.listdir(folder))]))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
@pytest.mark.timeout(180)
def test_ten_thousand_failed_uploads_leave_nothing(tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "COVERAGE_PROCESS_START"}
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.uploads.test_receiver_soak", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    warm: dict[str, int]
    end: dict[str, int]
    warm, end, files = json.loads(done.stdout)
    assert files == {}
    for what in ("descriptors", "tasks", "warnings"):
        assert end[what] <= warm[what], what
    # A pool may start a thread later, up to its fixed number.
    assert end["threads"] <= warm["threads"] + 4
    # 8,000 requests more: a leak of one object or 500 bytes each would show.
    assert end["objects"] < warm["objects"] + 2_000
    assert end["resident"] < warm["resident"] + 4 * MiB


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
