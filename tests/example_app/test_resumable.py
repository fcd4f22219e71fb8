"""Uploads of the example app that go on: what they may, and what everybody hears."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import DiskStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import connected, post, serving

from .service import PNG, problem

FIELDS = {"Content-Disposition": "inline; filename*=UTF-8''%C3%BC.png"}
PARTIAL = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1"}


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[URL]:
    settings = Settings(max_file=MiB, quota=2 * MiB, accept=frozenset({"image/*"}))
    app = create_app(DiskStorage(tmp_path / "uploads"), settings)
    async with serving(app, auto_decompress=False) as (host, port):
        yield URL.build(scheme="http", host=host, port=port)


async def begin(client: ClientSession, url: URL, length: int = len(PNG)) -> URL:
    headers = {**FIELDS, "Upload-Complete": "?0", "Upload-Length": str(length)}
    async with client.post(url / "files", headers=headers) as response:
        assert response.status == 201
        return URL(response.headers["Location"])


async def heard(client: ClientSession, url: URL, count: int) -> list[dict[str, Any]]:
    """The first events; without their ids and times."""
    events: list[dict[str, Any]] = []
    async with client.get(url / "events") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                if len(events) == count:
                    break
    return [
        {name: value for name, value in event.items() if name not in {"id", "time"}}
        for event in events
    ]


async def test_interrupted_upload_goes_on(client: ClientSession, url: URL) -> None:
    upload = await begin(client, url)
    fields = [*PARTIAL.items(), ("Upload-Offset", "0")]
    head = post(
        method="PATCH",
        path=upload.raw_path_qs,
        headers=[*fields, ("Content-Length", str(len(PNG)))],
    )
    async with connected((str(url.host), int(url.port or 0))) as raw:
        await raw.send(head + PNG[:500])
    # A request that asks may come before the server knows that the older one is gone.
    [event] = await heard(client, url, 1)
    assert event == {"kind": "interrupted"}
    async with client.head(upload) as response:
        assert response.headers["Upload-Offset"] == "500"
    headers = {**PARTIAL, "Upload-Offset": "500"}
    async with client.patch(upload, data=PNG[500:], headers=headers) as response:
        assert response.status == 201
        answer = await response.json()
    [file] = answer["files"]
    assert (file["path"], file["size"]) == ("ü.png", len(PNG))
    assert answer["seconds"] is None
    async with client.get(url.join(URL(file["url"]))) as response:
        assert await response.read() == PNG
    assert (await heard(client, url, 3))[1:] == [
        {"kind": "resumed", "size": 500},
        {"kind": "stored", "name": "ü.png", "size": len(PNG)},
    ]


async def test_upload_is_cancelled(client: ClientSession, url: URL) -> None:
    upload = await begin(client, url)
    async with client.delete(upload) as response:
        assert response.status == 204
    async with client.head(upload) as response:
        assert response.status in {404, 410}
    assert await heard(client, url, 1) == [{"kind": "cancelled"}]


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({"Upload-Length": str(MiB + 1)}, 413, "limit"),
        ({"Content-Type": "application/pdf"}, 415, "accepted: image/*"),
    ],
)
async def test_upload_is_refused_before_its_bytes(
    client: ClientSession, url: URL, headers: dict[str, str], status: int, detail: str
) -> None:
    headers = {**FIELDS, "Upload-Complete": "?0", **headers}
    async with client.post(url / "files", headers=headers) as response:
        assert detail in await problem(response, status)
    [event] = await heard(client, url, 1)
    assert (event["kind"], event["status"]) == ("refused", status)


async def test_upload_without_room_is_refused_before_its_bytes(
    client: ClientSession, url: URL
) -> None:
    for number in range(2):
        async with client.put(
            url / f"files/{number}.png", data=PNG + bytes(MiB - 2000)
        ) as response:
            assert response.status == 201
    headers = {**FIELDS, "Upload-Complete": "?0", "Upload-Length": str(MiB)}
    async with client.post(url / "files", headers=headers) as response:
        assert "has room for" in await problem(response, 413)


async def test_upload_of_a_wrong_type_is_refused_by_its_first_bytes(
    client: ClientSession, url: URL
) -> None:
    upload = await begin(client, url)
    headers = {**PARTIAL, "Upload-Offset": "0"}
    data = b"%PDF-1.7\n" + bytes(len(PNG) - 9)
    async with client.patch(upload, data=data, headers=headers) as response:
        assert "application/pdf" in await problem(response, 415)
    [event] = await heard(client, url, 1)
    assert (event["kind"], event["status"]) == ("refused", 415)


async def test_clients_of_tus_are_welcome(client: ClientSession, url: URL) -> None:
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(PNG)),
        "Upload-Metadata": "filename YS5wbmc=",
        "Content-Type": "application/offset+octet-stream",
    }
    async with client.post(url / "files", data=PNG, headers=headers) as response:
        assert response.status == 201
        assert response.headers["Upload-Offset"] == str(len(PNG))
    assert await heard(client, url, 1) == [
        {"kind": "stored", "name": "a.png", "size": len(PNG)}
    ]


async def test_page_of_another_site_continues_nothing(
    client: ClientSession, url: URL
) -> None:
    upload = await begin(client, url)
    headers = {**PARTIAL, "Upload-Offset": "0", "Sec-Fetch-Site": "cross-site"}
    async with client.patch(upload, data=PNG, headers=headers) as response:
        await problem(response, 403)
    async with client.head(upload) as response:
        assert response.headers["Upload-Offset"] == "0"
