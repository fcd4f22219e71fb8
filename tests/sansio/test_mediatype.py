"""A file name's type: complete, modern, and the same on every machine."""

from __future__ import annotations

import mimetypes
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.headers import is_token
from aiostreams.sansio.mediatype import OCTET_STREAM, guess_content_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # text gets a charset
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.htm", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.vtt", "text/vtt; charset=utf-8"),
        ("a.ics", "text/calendar; charset=utf-8"),
        ("a.py", "text/x-python; charset=utf-8"),
        # what declares its own encoding, or has but one, does not
        ("a.xml", "text/xml"),
        ("a.svg", "image/svg+xml"),
        ("a.xhtml", "application/xhtml+xml"),
        ("a.rss", "application/rss+xml"),
        ("a.json", "application/json"),
        ("a.geojson", "application/geo+json"),
        ("a.jsonld", "application/ld+json"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.ndjson", "application/x-ndjson"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.js.map", "application/json"),
        ("a.yaml", "application/yaml"),
        ("a.toml", "application/toml"),
        ("a.wasm", "application/wasm"),
        ("a.pdf", "application/pdf"),
        # images
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.jpeg", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.jxl", "image/jxl"),
        ("a.heic", "image/heic"),
        ("a.apng", "image/apng"),
        ("a.bmp", "image/bmp"),
        ("a.ico", "image/vnd.microsoft.icon"),
        ("a.tiff", "image/tiff"),
        # sound and video
        ("a.mp3", "audio/mpeg"),
        ("a.m4a", "audio/mp4"),
        ("a.opus", "audio/opus"),
        ("a.ogg", "audio/ogg"),
        ("a.flac", "audio/flac"),
        ("a.wav", "audio/wav"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/matroska"),
        ("a.mov", "video/quicktime"),
        ("a.avi", "video/x-msvideo"),
        ("a.ts", "video/mp2t"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.mpd", "application/dash+xml"),
        # fonts
        ("a.woff", "font/woff"),
        ("a.woff2", "font/woff2"),
        ("a.ttf", "font/ttf"),
        ("a.otf", "font/otf"),
        # documents
        ("a.epub", "application/epub+zip"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        # compressed: the bytes are gzip, whatever is inside
        ("a.tar", "application/x-tar"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.txt.gz", "application/gzip"),
        ("a.html.br", "application/x-brotli"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.tar.xz", "application/x-xz"),
        ("a.tar.zst", "application/zstd"),
        ("a.tar.Z", "application/x-compress"),
        ("a.zip", "application/zip"),
        ("a.7z", "application/x-7z-compressed"),
        # case, paths, and names that promise nothing
        ("A.TXT", "text/plain; charset=utf-8"),
        ("PHOTO.JpEg", "image/jpeg"),
        ("/srv/www/index.html", "text/html; charset=utf-8"),
        ("C:\\files\\index.html", "text/html; charset=utf-8"),
        ("v1.0/LICENSE", OCTET_STREAM),
        ("v1.txt\\LICENSE", OCTET_STREAM),
        ("a", OCTET_STREAM),
        ("", OCTET_STREAM),
        (".", OCTET_STREAM),
        ("..", OCTET_STREAM),
        (".txt", OCTET_STREAM),
        ("..txt", OCTET_STREAM),
        ("dir/.html", OCTET_STREAM),
        (".profile.txt", "text/plain; charset=utf-8"),
        ("a.", OCTET_STREAM),
        ("a.txt.", OCTET_STREAM),
        ("a.txt ", OCTET_STREAM),
        ("a.unknown", OCTET_STREAM),
        ("a.bin", OCTET_STREAM),
        ("a.exe", OCTET_STREAM),
        ("data:text/html,x", OCTET_STREAM),
        ("http://example.org/a.png", "image/png"),
        ("\u65e5\u672c.png", "image/png"),
        ("a.t\u212at", OCTET_STREAM),
    ],
)  # fmt: skip
def test_guess_content_type_when_named(name: str, expected: str) -> None:
    assert guess_content_type(name) == expected


def test_guess_content_type_when_default_is_given() -> None:
    assert guess_content_type("a", default="text/plain") == "text/plain"
    assert guess_content_type("a.zip", default="text/plain") == "application/zip"


def test_guess_content_type_when_the_program_adds_types() -> None:
    """mimetypes.add_type is for the whole program, so it has no say here."""
    mimetypes.add_type("application/x-mine", ".txt")
    try:
        assert guess_content_type("a.txt") == "text/plain; charset=utf-8"
    finally:
        mimetypes.add_type("text/plain", ".txt")


def test_guess_content_type_when_the_machine_has_its_own_tables(tmp_path: Path) -> None:
    """A file like /etc/mime.types changes the library's answers, but not ours."""
    table = tmp_path / "mime.types"
    table.write_text("text/x-evil txt png made-up\n")
    program = f"""
import mimetypes
mimetypes.knownfiles[:] = [{str(table)!r}]
from aiostreams.sansio.mediatype import guess_content_type
print(mimetypes.guess_type("a.txt")[0], mimetypes.guess_type("a.made-up")[0])
print(*map(guess_content_type, ["a.txt", "a.png", "a.made-up"]), sep=",")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == [
        "text/x-evil text/x-evil",
        f"text/plain; charset=utf-8,image/png,{OCTET_STREAM}",
    ]


# Extensions that some Python from 3.11 to 3.14 calls differently, or not at all.
CHANGED = """
    js mjs md markdown rst rtf webp epub gz ogx texi texinfo toml eot odg odp ods
    odt pptx xlsx docx rar 7z deb h5 php rpm yaml yml flac mka m4a ogg wav weba otf
    ttf woff woff2 bmp emf fits g3 jp2 jpm jpx t38 tfx wmf gltf glb stl mkv mk3d ogv
    avi m4v wmv apk cjs
"""


@pytest.mark.parametrize("extension", CHANGED.split())
def test_guess_content_type_when_pythons_disagree(
    extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own table decides, so an emptied library gives the same answer."""
    import importlib

    from aiostreams.sansio import mediatype

    before = guess_content_type(f"a.{extension}")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(mimetypes, "_types_map_default", {})
            bare = importlib.reload(mediatype)
            assert bare.guess_content_type(f"a.{extension}") == before
            assert bare.guess_content_type("a.pdf") == OCTET_STREAM
    finally:
        importlib.reload(mediatype)
    assert before != OCTET_STREAM


@given(st.text() | st.text(alphabet="./\\ atx", max_size=12))
def test_guess_content_type_when_fed_anything_gives_a_type(name: str) -> None:
    """Always a media type, and never one that is too clever: the name only selects."""
    kind, _, subtype = guess_content_type(name).partition(";")[0].partition("/")
    assert is_token(kind)
    assert is_token(subtype)


def test_guess_content_type_time_when_name_is_hostile() -> None:
    def cpu(name: str) -> float:
        best = 1.0
        for _ in range(3):
            start = time.process_time()
            guess_content_type(name)
            best = min(best, time.process_time() - start)
        return best

    for unit in (".", "/", "a", ".a", "\u0130"):
        small, large = (unit * (n // len(unit)) for n in (16384, 65536))
        assert cpu(large) < 9 * cpu(small) + 0.002, unit
