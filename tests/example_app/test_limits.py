"""The ceilings that the flags set."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession
from yarl import URL

from aiostreams import KiB, MemoryStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import serving

from .service import form, problem

HEADERS = {"Accept": "application/json"}


@contextlib.asynccontextmanager
async def app(**settings: Any) -> AsyncIterator[URL]:
    made = create_app(MemoryStorage(), Settings(**{"max_file": MiB, **settings}))
    async with serving(made, auto_decompress=False) as (host, port):
        yield URL.build(scheme="http", host=host, port=port)


async def count(url: URL, client: ClientSession) -> int:
    async with client.get(url / "files") as response:
        found: int = (await response.json())["count"]
        return found


async def test_body_by_its_own_account_and_counted(client: ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield bytes(KiB)

    async with app(max_body=8 * KiB) as url:
        for data in (bytes(9 * KiB), pieces()):
            async with client.put(
                url / "files/a", data=data, headers=HEADERS
            ) as response:
                assert "limit 8192" in await problem(response, 413)
        async with client.put(url / "files/a", data=bytes(8 * KiB)) as response:
            assert response.status == 201
        assert await count(url, client) == 1


async def test_quota_is_of_all_files_together(client: ClientSession) -> None:
    async with app(quota=300 * KiB) as url:
        for number in range(2):
            content = bytes(100 * KiB)
            async with client.put(url / f"files/{number}", data=content) as response:
                assert response.status == 201
        # Together they would be too much: neither is kept.
        files = form(("a", bytes(60 * KiB)), ("b", bytes(60 * KiB)))
        async with client.post(url / "files", data=files, headers=HEADERS) as response:
            assert "left of the quota" in await problem(response, 413)
        # By its own account it is too much.
        async with client.put(
            url / "files/c", data=bytes(200 * KiB), headers=HEADERS
        ) as response:
            detail = await problem(response, 413)
        assert detail == "the storage has room for 100 KiB more, of 300 KiB"
        async with client.put(url / "files/d", data=bytes(100 * KiB)) as response:
            assert response.status == 201
        # Full, also for the smallest; until something is deleted.
        async with client.put(url / "files/e", data=b"e", headers=HEADERS) as response:
            assert "room for 0 bytes more" in await problem(response, 413)
        async with client.delete(url / "files/0") as response:
            assert response.status == 204
        async with client.put(url / "files/e", data=b"e") as response:
            assert response.status == 201
        assert await count(url, client) == 3


def test_settings_make_limits() -> None:
    limits = Settings(max_file=2 * MiB, max_files=3).limits
    assert (limits.max_file, limits.max_parts) == (2 * MiB, 3)
    assert limits.max_body == 7 * MiB
    assert Settings(max_file=MiB, max_body=5).limits.max_body == 5
