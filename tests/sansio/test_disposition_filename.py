"""safe_filename: its promises, for names of every kind."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.disposition import safe_filename

DEVICES = {"CON", "PRN", "AUX", "NUL"}
DEVICES |= {
    f"{kind}{n}" for kind in ("COM", "LPT") for n in "0123456789\u00b9\u00b2\u00b3"
}


def check(name: str | None) -> str:
    """Hold the result to all that the docstring promises."""
    safe = safe_filename(name)
    assert safe
    assert safe not in {".", ".."}
    assert len(safe.encode("utf-8")) <= 255
    assert not set(safe) & set('/\\:\x00*?"<>|')
    for char in safe:
        assert unicodedata.category(char) not in {"Cc", "Zl", "Zp", "Cs"}
        assert unicodedata.bidirectional(char) not in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip
        assert char not in "\u200e\u200f\u061c"
    assert safe[0] not in "-~. "
    assert safe[-1] not in ". "
    assert safe.partition(".")[0].rstrip(" ").upper() not in DEVICES
    assert safe_filename(safe) == safe
    root = os.path.realpath("/srv/uploads")
    assert os.path.dirname(os.path.realpath(os.path.join(root, safe))) == root
    return safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (None, "file"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("...", "file"),
        ("/", "file"),
        ("a/", "file"),
        ("report.pdf", "report.pdf"),
        ("Ünïcode 文書.txt", "Ünïcode 文書.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("../../etc/passwd", "passwd"),
        ("a\\b/c.txt", "c.txt"),
        ("a\xadb\u180e\ufff9.txt", "ab.txt"),
        ("C:evil.txt", "C_evil.txt"),
        ("file.txt:stream", "file.txt_stream"),
        ("-rf", "_-rf"),
        ("~root", "_~root"),
        (".htaccess", "htaccess"),
        (" a .txt . ", "a .txt"),
        ("nul", "_nul"),
        ("CON.txt", "_CON.txt"),
        ("con .tar.gz", "_con .tar.gz"),
        ("COM\u00b9.x", "_COM\u00b9.x"),
        ("CONIN$", "_CONIN$"),
        ("console.txt", "console.txt"),
        ("a\x00b\r\nc\x85.txt", "abc.txt"),
        ("exe.\u202egpj", "exe.gpj"),
        ("a\u2028b", "ab"),
        ("e\u0301", "\u00e9"),
        ("\udcff.txt", "_.txt"),
        ('a"b*c?.txt', "a_b_c_.txt"),
    ],
)
def test_names(name: str | None, safe: str) -> None:
    assert check(name) == safe


def test_long_names_keep_their_extension() -> None:
    assert check("x" * 300 + ".tar.gz") == "x" * 252 + ".gz"
    assert check("ä" * 200 + ".pdf") == "ä" * 125 + ".pdf"
    assert check("文" * 100) == "文" * 85
    assert check("x." + "y" * 300) == "x." + "y" * 253
    assert check("x" * 255) == "x" * 255


def test_cutting_makes_no_device() -> None:
    for length in range(240, 260):
        for stem in ("con", "conx", "lpt1xx", "-", "nul "):
            check(stem + "." + "y" * length)


@given(st.none() | st.text())
def test_any_name(name: str | None) -> None:
    check(name)


@given(st.text('./\\:~- \x00cCoOnN1\u202e\u0301ä"', max_size=12))
def test_any_hostile_name(name: str) -> None:
    check(name)


@given(st.text(st.characters(min_codepoint=0x7F), min_size=50), st.integers(1, 300))
def test_any_long_name(name: str, count: int) -> None:
    check(name * 3 + "." + "e" * count)


@pytest.mark.skipif("AIOSTREAMS_CORPUS" not in os.environ, reason="no corpus")
def test_names_of_the_corpus() -> None:
    """The names that peers were tried with, and those inside the bodies."""
    folder = Path(os.environ["AIOSTREAMS_CORPUS"])
    names: list[str] = []
    listed = folder / "filenames.json"
    if listed.exists():
        names += _strings(json.loads(listed.read_text("utf-8")))
    for file in sorted(folder.glob("multipart/*.json")):
        for part in json.loads(file.read_text("utf-8")).get("parts", []):
            if part["filename"] is not None:
                names.append(part["filename"])
    assert names
    for name in names:
        safe = check(name)
        if re.fullmatch(r"[A-Za-z0-9_]+\.[a-z]+", name) and len(name) < 255:
            assert safe in {name, f"_{name}"}


def _strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [found for item in value for found in _strings(item)]
        case dict():
            return [found for item in value.values() for found in _strings(item)]
        case _:
            return []
