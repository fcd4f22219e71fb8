"""What is shown, and how."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import KiB
from example_app.media import kind_of, size_in_words, types_in_words

from .service import form


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", "image"),
        ("IMAGE/JPEG", "image"),
        ("image/svg+xml", None),
        ("image/tiff", None),
        ("audio/mpeg", "audio"),
        ("video/webm; codecs=vp9", "video"),
        ("text/plain; charset=utf-8", "text"),
        ("text/csv", "text"),
        ("application/json", "text"),
        ("text/html", None),
        ("text/html; charset=utf-8", None),
        ("application/xhtml+xml", None),
        ("application/pdf", None),
        ("application/octet-stream", None),
        ("", None),
    ],
)
def test_kinds(content_type: str, kind: str | None) -> None:
    assert kind_of(content_type) == kind


@pytest.mark.parametrize(
    ("name", "content", "content_type", "shown"),
    [
        ("a.txt", "naïve ✓".encode(), "text/plain", "naïve ✓"),
        ("a.txt", "naïve".encode("latin-1"), "text/plain; charset=latin-1", "naïve"),
        ("a.txt", "naïve".encode("utf-16"), "text/plain", "naïve"),
        ("a.txt", b"\xef\xbb\xbfmarked", "text/plain", "marked"),
        ("a.txt", b"\xff\xfe", "text/plain", ""),
        ("a.txt", b"a\x80b", "text/plain; charset=nonsense", "a\ufffdb"),
        ("a.json", b'{"a": 1}', "application/json", '{"a": 1}'),
        ("a.js", b"alert(1)", "text/javascript", "alert(1)"),
        ("a.txt", b"", "text/plain", ""),
    ],
)
async def test_text_is_shown_as_text(
    url: URL,
    client: ClientSession,
    name: str,
    content: bytes,
    content_type: str,
    shown: str,
) -> None:
    address = url / "files" / name
    headers = {"Content-Type": content_type}
    async with client.put(address, data=content, headers=headers) as response:
        assert response.status == 201
    async with client.get(url / "preview" / name) as response:
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert await response.text() == shown
    async with client.get(address) as response:
        assert await response.read() == content


async def test_of_a_long_text_the_beginning_is_shown(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "uploads/long.txt").write_bytes("é".encode() * 500 * KiB)
    async with client.get(url / "preview/long.txt") as response:
        text = await response.text()
    assert text == "é" * 32 * KiB + "\n\n[the first 64 KiB of 1000 KiB]\n"


async def test_sound_and_video_are_sent_by_ranges(
    url: URL, client: ClientSession
) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(1000)
    files = form(("film.mp4", video), ("tone.wav", b"RIFF\0\0\0\0WAVEfmt " + bytes(99)))
    async with client.post(url / "files", data=files) as response:
        film, tone = (await response.json())["files"]
    assert (film["kind"], tone["kind"]) == ("video", "audio")
    for file in (film, tone):
        path = file["url"].replace("/files/", "/preview/")
        address = url.join(URL(path, encoded=True))
        async with client.get(address, headers={"Range": "bytes=4-7"}) as response:
            assert response.status == 206
            assert response.content_type == file["content_type"]
            assert response.content_disposition is None
            assert len(await response.read()) == 4


def test_sizes_and_types_in_words() -> None:
    sizes = [0, 1, 1023, 1024, 1536, 10 * 1024, 1024**3 - 1, 1024**5]
    assert [size_in_words(size) for size in sizes] == [
        "0 bytes",
        "1 bytes",
        "1023 bytes",
        "1.0 KiB",
        "1.5 KiB",
        "10 KiB",
        "1024 MiB",
        "1024 TiB",
    ]
    types = ["application/pdf", "image/*", "text/csv"]
    assert types_in_words(types) == ["CSV", "PDF", "pictures"]
