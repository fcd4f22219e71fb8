"""RFC 6266 and 8187: names as Chromium, Firefox's rules and curl will read them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from aiostreams.sansio.disposition import content_disposition


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (None, "attachment"),
        ("", "attachment"),
        # exact for everyone: filename alone
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("my report (2).pdf", 'attachment; filename="my report (2).pdf"'),
        ("a;b,c='d'.txt", "attachment; filename=\"a;b,c='d'.txt\""),
        ("100%.txt", 'attachment; filename="100%.txt"'),
        ("100%zz%4.txt", 'attachment; filename="100%zz%4.txt"'),
        ("what?.txt", 'attachment; filename="what?.txt"'),
        # inexact: a fallback, then the name itself
        (
            "na\u00efve.txt",
            "attachment; filename=\"naive.txt\"; filename*=UTF-8''na%C3%AFve.txt",
        ),
        (
            "\u20ac rates.txt",
            "attachment; filename=\"_ rates.txt\"; filename*=UTF-8''%E2%82%AC%20rates.txt",
        ),
        (
            "\u65e5\u672c.txt",
            "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt",
        ),
        (
            "\U0001f600.txt",
            "attachment; filename=\"_.txt\"; filename*=UTF-8''%F0%9F%98%80.txt",
        ),
        ("\u0301", "attachment; filename=\"_\"; filename*=UTF-8''%CC%81"),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("a\\b.txt", "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%5Cb.txt"),
        ("a/b.txt", "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%2Fb.txt"),
        ("a%41.txt", "attachment; filename=\"a_41.txt\"; filename*=UTF-8''a%2541.txt"),
        ("%0d%0A", "attachment; filename=\"_0d_0A\"; filename*=UTF-8''%250d%250A"),
        (
            "=?utf-8?q?x?=",
            "attachment; filename=\"_?utf-8?q?x?=\"; filename*=UTF-8''%3D%3Futf-8%3Fq%3Fx%3F%3D",
        ),
        ("  a  ", "attachment; filename=\"_a_\"; filename*=UTF-8''%20%20a%20%20"),
        ("\u00a0a", "attachment; filename=\"_a\"; filename*=UTF-8''%C2%A0a"),
        # the letters that are exact in a quoted string and not in an ext-value
        ("é'()*,;:@", "attachment; filename=\"e'()*,;:@\"; filename*=UTF-8''%C3%A9%27%28%29%2A%2C%3B%3A%40"),
        ("é!#$&+-.^_`|~", "attachment; filename=\"e!#$&+-.^_`|~\"; filename*=UTF-8''%C3%A9!#$&+-.^_`|~"),
        # what decomposes into something dangerous
        ("a\uff02b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%EF%BC%82b"),
        ("\u2100", "attachment; filename=\"a_c\"; filename*=UTF-8''%E2%84%80"),
        ("\uff0541", "attachment; filename=\"_41\"; filename*=UTF-8''%EF%BC%8541"),
        ("a\ufe68b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%EF%B9%A8b"),
    ],
)  # fmt: skip
def test_content_disposition_when_named(filename: str | None, expected: str) -> None:
    assert content_disposition("attachment", filename) == expected


def test_content_disposition_when_inline_or_other() -> None:
    assert content_disposition("inline") == "inline"
    assert content_disposition("inline", "a.txt") == 'inline; filename="a.txt"'
    assert content_disposition("form-data", "a") == 'form-data; filename="a"'


@pytest.mark.parametrize("kind", ["", "a b", "attachment; x=y", "a\r\nb", "\u00e9"])
def test_content_disposition_when_kind_is_no_token(kind: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        content_disposition(kind, "a.txt")


FORBIDDEN = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xD800, 0xDFFF]


@pytest.mark.parametrize("code", FORBIDDEN)
def test_content_disposition_when_name_has_a_control(code: int) -> None:
    for before in ("", "a", "a.txt", "ü"):
        name = before + chr(code) + "b"
        same = content_disposition("attachment", before + "_b")
        assert content_disposition("attachment", name) == same


def chromium(header: str) -> str:
    """The name Chromium takes: filename* if it decodes, else filename, %-decoded."""
    if extended := re.search(r"; filename\*=UTF-8''([^;\s\"']+)\Z", header):
        return unquote(extended[1], errors="strict")
    plain = re.search(r'; filename="([^"\\]*)"\Z', header)
    assert plain is not None
    assert not plain[1].startswith("=?")
    return unquote(plain[1], errors="strict").strip(" ")


def firefox(header: str) -> str:
    """The name Firefox takes: filename* first too, but no % is decoded in filename."""
    if "filename*" in header:
        return chromium(header)
    plain = re.search(r'; filename="([^"\\]*)"\Z', header)
    assert plain is not None
    return plain[1].strip(" ")


def curl_reads(header: str) -> str:
    """The name curl -J takes: between the quotes of filename, no escapes, no path."""
    plain = re.search(r'filename="([^"]*)"', header)
    assert plain is not None
    return re.split(r"[/\\]", plain[1])[-1]


names = st.text(min_size=1) | st.text(alphabet="a%41\"\\/=?é\u20ac ;'*.", min_size=1)


@given(names)
def test_content_disposition_when_read_by_clients(name: str) -> None:
    """Browsers, and an independent parser, read the exact name; curl a harmless one."""
    header = content_disposition("attachment", name)
    name = "".join("_" if ord(char) in FORBIDDEN else char for char in name)
    assert header.isascii()
    assert header.isprintable()
    assert chromium(header) == name
    assert firefox(header) == name
    assert parse_options_header(header) == ("attachment", {"filename": name})
    saved = curl_reads(header)
    assert saved
    assert not re.search(r'["\\/]|%[0-9A-Fa-f]{2}', saved)
    if "filename*" not in header:
        assert saved == name


def test_content_disposition_time_when_name_is_hostile() -> None:
    def cpu(name: str) -> float:
        best = 1.0
        for _ in range(3):
            start = time.process_time()
            content_disposition("attachment", name)
            best = min(best, time.process_time() - start)
        return best

    for unit in (" ", "%", "%4", "=", "\u0301", "\ufdfa", "\u20ac", "a", '"'):
        small, large = ("x" + unit * (n // len(unit)) + "x" for n in (16384, 65536))
        assert cpu(large) < 9 * cpu(small) + 0.005, ascii(unit)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "name", ["plain name.txt", "100%.txt", "a;b.txt", 'q"u\\o/te.txt', "na\u00efve.txt"]
)
def test_content_disposition_when_curl_saves_it(tmp_path: Path, name: str) -> None:
    """The real curl -OJ saves under the fallback, in its own folder."""
    header = content_disposition("attachment", name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
                    b"Content-Disposition: " + header.encode() + b"\r\n\r\nok"
                )

        thread = threading.Thread(target=answer)
        thread.start()
        subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-OJ", f"http://127.0.0.1:{port}/other"],
            cwd=tmp_path,
            check=True,
            timeout=20,
        )
        thread.join()
    assert os.listdir(tmp_path) == [curl_reads(header)]
    plain = "".join(c for c in unicodedata.normalize("NFD", name) if c.isascii())
    assert os.listdir(tmp_path) == [re.sub(r'["\\/]', "_", plain)]
