"""What the example app refuses, and what it says to browsers about its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import MemoryStorage, MiB
from example_app.app import Settings, create_app
from tests.servers import connected, serving

from .service import form, kept, problem

JSON = {"Accept": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({}, 201),  # curl
        # Over plain HTTP to another machine browsers send Origin only.
        ({"Origin": "http://{host}"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        # Behind a proxy that hides the name under which it is asked.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://files.example"}, 201),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"}, 403),
    ],
)
async def test_other_sites_pages_may_not_upload_or_delete(
    url: URL,
    client: ClientSession,
    tmp_path: Path,
    headers: dict[str, str],
    status: int,
) -> None:
    (tmp_path / "uploads/mine.txt").write_text("mine")
    headers = {
        name: value.format(host=url.authority) for name, value in headers.items()
    } | JSON
    async with client.post(
        url / "files", data=form(("a.txt", b"a")), headers=headers
    ) as response:
        assert response.status == status
    async with client.delete(url / "files/mine.txt", headers=headers) as response:
        if status == 403:
            assert "another site" in await problem(response, 403)
        else:
            assert response.status == 204
    async with client.get(url / "files", headers=headers) as response:
        assert response.status == 200  # to look is allowed, to see is the browser's
    assert ("mine.txt" in kept(tmp_path)) is (status == 403)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("192.168.1.20:8080", 200),
        ("[::1]:8080", 200),
        ("files.example", 200),
        ("Files.Example:8080", 200),
        ("evil.example", 403),
        ("files.example.evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("a b", 403),
        ("", 403),
    ],
)
async def test_names_that_were_not_allowed_are_not_answered(
    host: str, status: int
) -> None:
    """A site whose name leads here (DNS rebinding) is none of our pages."""
    settings = Settings(max_file=MiB, hosts=frozenset({"files.example"}))
    async with (
        serving(create_app(MemoryStorage(), settings)) as address,
        connected(address) as raw,
    ):
        await raw.send(
            f"GET /files HTTP/1.1\r\nHost: {host}\r\n"
            "Accept: application/json\r\n\r\n".encode()
        )
        got, _, body = await raw.response()
    assert got == status
    if host == "evil.example":
        assert b"--allow-host evil.example" in body


@pytest.mark.parametrize("purpose", ["script", "style", "iframe", "serviceworker"])
async def test_uploads_are_sent_to_no_place_where_they_run(
    url: URL, client: ClientSession, tmp_path: Path, purpose: str
) -> None:
    (tmp_path / "uploads/a.txt").write_text("alert(1)")
    for area in ("files", "preview", "proxy"):
        for dest, status in [(purpose, 403), ("document", 200), ("empty", 200)]:
            async with client.get(
                url / area / "a.txt", headers={"Sec-Fetch-Dest": dest}
            ) as response:
                assert response.status == status, (area, dest)
    async with client.get(
        url / "static/app.js", headers={"Sec-Fetch-Dest": "script"}
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "path",
    ["", "api", "files", "files/a.png", "preview/a.png", "sha256/a.png", "proxy/a.png",
     "static/app.js", "nothing", "files/none", "delete/a.png"],
)  # fmt: skip
async def test_every_answer_says_what_a_browser_may_do_with_it(
    url: URL, client: ClientSession, tmp_path: Path, path: str
) -> None:
    (tmp_path / "uploads/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    async with client.get(url / path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    uploaded = "a.png" in path and not path.startswith(("sha256", "delete"))
    assert ("sandbox" in policy) is uploaded
    assert "script-src" not in policy if uploaded else "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "no-cache" in headers["Cache-Control"] or path == "files"
