"""The example app as programs meet it: over a real connection, every route."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import os
import random
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import KiB, MemoryStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import connected, post, serving
from tests.waiting import until

from .service import PNG, form, kept, problem

# -- files ---------------------------------------------------------------------------

# The bodies of these routes are checked against a type.
needs_msgspec = pytest.mark.skipif(
    importlib.util.find_spec("msgspec") is None, reason="needs the extra msgspec"
)


async def test_form_is_described_listed_and_the_same(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(100_000)
    files = form(("a b.bin", data), ("sun.png", PNG), ("a b.bin", b"other"))
    async with client.post(url / "files", data=files) as posted:
        answer = await posted.json()
        assert posted.status == 201
        assert "Location" not in posted.headers
    assert answer["seconds"] >= 0
    received = answer["files"]
    assert [file["name"] for file in received] == ["a b.bin", "sun.png", "a b.bin"]
    assert len({file["url"] for file in received}) == 3
    assert [file["content_type"] for file in received] == [
        "application/octet-stream",
        "image/png",
        "application/octet-stream",
    ]
    assert [file["sha256"] for file in received] == [
        hashlib.sha256(content).hexdigest() for content in (data, PNG, b"other")
    ]
    stored = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
    assert len(stored) == 3
    async with client.get(url / "files") as response:
        listed = await response.json()
    assert (listed["count"], listed["max_file"]) == (3, 64 * MiB)
    assert {file["url"]: file["size"] for file in listed["files"]} == {
        file["url"]: file["size"] for file in received
    }
    for file, content in zip(received, (data, PNG, b"other"), strict=True):
        location = url.join(URL(file["url"], encoded=True))
        async with client.get(location) as response:
            assert await response.read() == content
        digest = url.join(URL(file["url"].replace("files", "sha256"), encoded=True))
        async with client.get(digest) as response:
            assert await response.json() == {"sha256": file["sha256"]}


async def test_preview_of_images_and_of_nothing_else(
    url: URL, client: ClientSession
) -> None:
    files = form(("sun.png", PNG), ("page.png", b"<html><script>"), ("a.txt", b"text"))
    async with client.post(url / "files", data=files) as posted:
        received = (await posted.json())["files"]
    sun, html, text = received
    assert (html["preview"], text["preview"]) == (None, None)
    assert html["content_type"] == "text/html"
    async with client.get(url.join(URL(sun["preview"], encoded=True))) as response:
        assert await response.read() == PNG
        assert response.content_type == "image/png"
        assert response.content_disposition is None
        assert "sandbox" in response.headers["Content-Security-Policy"]
    path = html["url"].replace("/files/", "/preview/")
    async with client.get(url.join(URL(path, encoded=True))) as response:
        assert response.status == 415


async def test_form_with_one_wrong_file_stores_none(
    client: ClientSession, tmp_path: Path
) -> None:
    storage = MemoryStorage()
    settings = Settings(max_file=MiB, max_files=3, accept=frozenset({"image/*"}))
    headers = {"Accept": "application/json"}
    async with serving(create_app(storage, settings)) as (host, port):
        url = URL.build(scheme="http", host=host, port=port) / "files"
        for status, files in [
            (415, form(("a.png", PNG), ("b.png", b"<html>"))),
            (413, form(("a.png", PNG), ("b.png", PNG + bytes(MiB)))),
            (413, form(*[("a.png", PNG)] * 3)),  # and one field
            (422, form()),
        ]:
            async with client.post(url, data=files, headers=headers) as response:
                await problem(response, status)
        async with client.get(url) as response:
            listed = await response.json()
        assert (listed["files"], listed["accept"]) == ([], ["image/*"])
        async with client.post(url, data=form(("a.png", PNG))) as response:
            assert response.status == 201


async def test_other_sites_pages_may_not_upload_or_delete(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    async with client.put(url / "files/mine.txt", data=b"mine") as response:
        assert response.status == 201
    for site, status in [("cross-site", 403), ("same-site", 403), ("same-origin", 201)]:
        headers = {"Sec-Fetch-Site": site}
        files = form(("a.txt", b"a"))
        async with client.post(url / "files", data=files, headers=headers) as response:
            assert response.status == status
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with client.delete(url / "files/mine.txt", headers=headers) as response:
        assert response.status == 403
    assert (tmp_path / "uploads/mine.txt").exists()


async def test_upload_where_curl_puts_it_without_a_folder(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    async with client.put(url / "big.iso", data=b"x") as response:
        assert response.status == 201
        assert response.headers["Location"] == "/files/big.iso"
    assert kept(tmp_path) == ["big.iso"]


async def test_upload_of_50_mib_is_byte_identical(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    block = random.Random(2).randbytes(1 * MiB)
    digest = hashlib.sha256()

    async def blocks() -> AsyncIterator[bytes]:
        for number in range(50):
            piece = number.to_bytes(4, "big") + block[4:]
            digest.update(piece)
            yield piece

    async with client.put(url / "files/big.bin", data=blocks()) as response:
        received = await response.json()
    assert received["files"][0]["size"] == 50 * MiB
    assert received["files"][0]["sha256"] == digest.hexdigest()
    on_disk = (tmp_path / "uploads/big.bin").read_bytes()
    assert hashlib.sha256(on_disk).digest() == digest.digest()
    for path in ("files/big.bin", "proxy/big.bin"):
        back = hashlib.sha256()
        async with client.get(url / path) as response:
            assert response.content_length == 50 * MiB
            async for piece in response.content.iter_any():
                back.update(piece)
        assert back.digest() == digest.digest(), path


async def test_upload_never_replaces(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    headers = {"Accept": "application/json"}
    for data, status in ((b"first", 201), (b"second", 409)):
        async with client.put(
            url / "files/notes.txt", data=data, headers=headers
        ) as response:
            assert response.status == status
    assert (tmp_path / "uploads/notes.txt").read_bytes() == b"first"
    assert kept(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e%2fescape",
        "%2Fetc%2Fpasswd",
        ".hidden",
        "-rf",
        "~root",
        "a%5Cb",
        "a%00b",
        "a%0Ab",
        "C%3Aa",
        "trailing.",
        "%E2%80%AEgpj.exe",
        "x" * 201,
    ],
)
async def test_upload_under_a_name_that_is_none(
    url: URL, tmp_path: Path, name: str
) -> None:
    before = set(tmp_path.rglob("*"))
    async with connected((str(url.host), url.port or 0)) as raw:
        headers = [("Accept", "application/json")]
        await raw.send(
            post(b"data", method="PUT", path=f"/files/{name}", headers=headers)
        )
        status, sent, _ = await raw.response()
    assert (status, sent["content-type"].partition(";")[0]) in {
        (400, "application/problem+json"),
        # `..` is undone by the server's own URL parser; then no such route is left.
        (404, "text/plain"),
        (405, "text/plain"),
    }
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["naïve.txt", "報告.pdf", "a+b & c%.txt", "x" * 200])
async def test_upload_under_an_unusual_name(
    url: URL, client: ClientSession, tmp_path: Path, name: str
) -> None:
    async with client.put(url / "files" / name, data=b"data") as response:
        location = response.headers["Location"]
    assert kept(tmp_path) == [name]
    async with client.get(url.join(URL(location, encoded=True))) as response:
        assert await response.read() == b"data"
        assert response.content_disposition is not None
        assert response.content_disposition.filename == name


async def test_upload_that_is_too_large(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    async with connected((str(url.host), url.port or 0)) as raw:
        head = post(method="PUT", path="/files/big", headers=[("Accept", "*/json")])
        length = f"Content-Length: {64 * MiB + 1}\r\n\r\n".encode()
        await raw.send(head[:-2] + length)
        status, _, body = await raw.response()
    assert status == 413
    assert b"67108865" in body
    assert kept(tmp_path) == []


async def test_upload_that_breaks_off_leaves_nothing(url: URL, tmp_path: Path) -> None:
    async with connected((str(url.host), url.port or 0)) as raw:
        head = post(method="PUT", path="/files/half")
        await raw.send(head[:-2] + b"Content-Length: 9000000\r\n\r\n" + bytes(5 * MiB))
        await until(lambda: kept(tmp_path))
        raw.reset()
    await until(lambda: not kept(tmp_path))


async def test_download_of_ranges(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "uploads/digits.txt").write_bytes(b"0123456789")
    for path in ("files/digits.txt", "proxy/digits.txt"):
        async with client.get(url / path, headers={"Range": "bytes=-3"}) as response:
            assert response.status == 206, path
            assert await response.read() == b"789"
            assert response.headers["Content-Range"] == "bytes 7-9/10"
            etag = response.headers["ETag"]
        async with client.get(url / path, headers={"Range": "bytes=10-"}) as response:
            assert response.status == 416, path
        condition = {"If-None-Match": etag}
        async with client.get(url / path, headers=condition) as response:
            assert response.status == 304, path
    async with client.head(url / "files/digits.txt") as response:
        assert response.headers["Content-Length"] == "10"


@pytest.mark.parametrize("route", ["files", "proxy"])
async def test_uploaded_page_cannot_run_as_the_site(
    url: URL, client: ClientSession, tmp_path: Path, route: str
) -> None:
    (tmp_path / "uploads/evil.html").write_text("<script>alert(1)</script>")
    async with client.get(url / route / "evil.html") as response:
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"].startswith("attachment")


async def test_delete(url: URL, client: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "uploads/old.txt").write_text("old")
    headers = {"Accept": "application/json"}
    async with client.delete(url / "files/old.txt") as response:
        assert response.status == 204
    assert kept(tmp_path) == []
    for method in ("GET", "DELETE"):
        async with client.request(
            method, url / "files/old.txt", headers=headers
        ) as response:
            assert "old.txt" in await problem(response, 404)


async def test_list_is_of_files_newest_first(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    (uploads / ".aiostreams-draft").write_text("under way")
    for age, name in enumerate(["new", "older", "oldest"]):
        (uploads / name).write_text(name)
        os.utime(uploads / name, (2_000_000_000 - age, 2_000_000_000 - age))
    async with client.get(url / "files") as response:
        files = (await response.json())["files"]
    assert [file["url"] for file in files] == [
        "/files/new",
        "/files/older",
        "/files/oldest",
    ]
    assert files[0]["modified"] == "Wed, 18 May 2033 03:33:20 GMT"


# -- the proxy -----------------------------------------------------------------------


async def test_proxy_passes_errors_on(url: URL, client: ClientSession) -> None:
    headers = {"Accept": "application/json"}
    async with client.get(url / "proxy/nothing", headers=headers) as response:
        assert response.status == 404
    async with client.get(url / "proxy/.hidden", headers=headers) as response:
        await problem(response, 400)


async def test_proxy_of_another_upstream(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "uploads/here.txt").write_text("from the other one")
    settings = Settings(max_file=MiB, upstream=url / "files")
    app = create_app(MemoryStorage(), settings)
    async with serving(app) as (host, port):
        other = URL.build(scheme="http", host=host, port=port)
        async with client.get(other / "proxy/here.txt") as response:
            assert await response.text() == "from the other one"
    # Host names another server; it is not asked.
    async with client.get(
        url / "proxy/here.txt", headers={"Host": f"127.0.0.1:{port}"}
    ) as response:
        assert response.status == 200


async def test_proxy_without_its_upstream(
    client: ClientSession, unused_tcp_port: int
) -> None:
    upstream = URL.build(scheme="http", host="127.0.0.1", port=unused_tcp_port)
    app = create_app(MemoryStorage(), Settings(max_file=MiB, upstream=upstream))
    async with (
        serving(app) as (host, port),
        client.get(f"http://{host}:{port}/proxy/x") as response,
    ):
        assert response.status == 502


# -- numbers -------------------------------------------------------------------------


@needs_msgspec
async def test_summary(url: URL, client: ClientSession) -> None:
    async with client.post(
        url / "api/summary", json={"values": [3, 4.5, -1]}
    ) as response:
        assert await response.json() == {"count": 3, "sum": 6.5, "min": -1, "max": 4.5}


@needs_msgspec
@pytest.mark.parametrize(
    ("body", "content_type", "status", "detail"),
    [
        (b'{"values": [1', "application/json", 400, "JSON"),
        (b'{"values": 1}', "application/json", 422, "values: Expected `array`"),
        (b'{"values": []}', "image/png", 415, "must be application/json"),
        (b" " * (64 * KiB + 1), "application/json", 413, "limit 65536"),
    ],
)
async def test_summary_of_a_wrong_body(
    url: URL,
    client: ClientSession,
    body: bytes,
    content_type: str,
    status: int,
    detail: str,
) -> None:
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    async with client.post(url / "api/summary", data=body, headers=headers) as response:
        assert detail in await problem(response, status)


@needs_msgspec
async def test_running_answers_before_the_body_ends(
    url: URL, client: ClientSession
) -> None:
    answered = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"value": 1}\n'
        await answered.wait()
        yield b'{"value": 2}\n{"value": "three"}\n{"value": 4}\n'

    headers = {"Content-Type": "application/x-ndjson"}
    async with client.post(
        url / "api/running", data=lines(), headers=headers
    ) as response:
        assert response.content_type == "application/x-ndjson"
        first = await response.content.readline()
        assert first == b'{"count":1,"sum":1.0,"min":1.0,"max":1.0}\n'
        answered.set()
        assert b'"count":2' in await response.content.readline()
        assert b'{"error":"value: line 3: ' in await response.content.readline()
        assert await response.content.readline() == b""


async def test_running_refuses_another_type(url: URL, client: ClientSession) -> None:
    headers = {"Accept": "application/json"}
    async with client.post(
        url / "api/running", json={"value": 1}, headers=headers
    ) as response:
        await problem(response, 415)


async def test_chosen_files_are_one_archive(url: URL, client: ClientSession) -> None:
    files = form(("a.txt", b"first"), ("a.txt", b"second"), ("sun.png", PNG))
    async with client.post(url / "files", data=files) as posted:
        stored = (await posted.json())["files"]
    keys = [file["url"].removeprefix("/files/") for file in stored]
    query = [("key", unquote(key)) for key in (*keys, keys[0])]
    async with client.get((url / "archive").with_query(query)) as response:
        assert response.status == 200
        assert response.headers["Accept-Ranges"] == "bytes"
        name = response.headers["Content-Disposition"]
        data = await response.read()
        assert len(data) == response.content_length
    assert name == 'attachment; filename="files.zip"'
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    contents = [archive.read(info) for info in archive.infolist()]
    assert contents == [b"first", b"second", PNG]
    for wrong, status in ((["missing"], 404), ([], 422), (["../a"], 400)):
        address = (url / "archive").with_query([("key", key) for key in wrong])
        async with client.get(address) as response:
            await problem(response, status)
    many = [("key", str(n)) for n in range(101)]
    async with client.get((url / "archive").with_query(many)) as response:
        assert "not 101" in await problem(response, 422)
