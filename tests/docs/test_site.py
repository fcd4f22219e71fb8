"""The pages of docs/ as a site: nothing is missing, nothing is out of date.

``make docs`` builds it, and holds links, anchors and docstrings to be right; here is
what needs no generator: the reference against ``__all__``, the tables against the
source, the navigation against the folder, the page of threats against the tests.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiostreams
import aiostreams.testing
from tests.readme import REFERENCE, TABLED, with_tables
from tests.test_exports import FACES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = tomllib.loads((ROOT / ".zensical.toml").read_text())["project"]


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(item)


def test_each_public_name_is_on_one_page_of_the_reference() -> None:
    found = Counter(
        # A package has the same name, and is what would be described.
        name.replace("aiostreams.web.resumable.route.", "aiostreams.")
        for page in REFERENCE.glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    )
    assert [name for name, count in found.items() if count > 1] == []
    public = {
        f"{module}.{name}"
        for module in [*FACES, "aiostreams", "aiostreams.testing"]
        for name in importlib.import_module(module).__all__
    }
    assert set(found) == public


@pytest.mark.parametrize("page", TABLED, ids=lambda page: page.name)
def test_tables_are_current(page: Path) -> None:
    text = page.read_text()
    assert "<!-- end -->" in text
    assert text == with_tables(text), "make fmt writes the tables"


def test_each_page_is_in_the_navigation_once() -> None:
    pages = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert sorted(pages_of(CONFIG["nav"])) == pages


def test_nothing_is_loaded_from_elsewhere() -> None:
    """A link may lead away; a picture, a font or a script may not come from there."""
    assert CONFIG["theme"]["font"] is False
    for file in DOCS.rglob("*"):
        if file.suffix in {".md", ".svg", ".css", ".js"}:
            text = file.read_text()
            assert not re.search(r"!\[[^\]]*\]\(https?:", text), file
            assert not re.search(r"""\bsrc=["']?https?:""", text), file
            assert not re.search(r"(?:url\(|@import)\s*[\"']?https?:", text), file


def test_each_drawing_says_what_it_shows() -> None:
    drawings = list(DOCS.rglob("*.svg"))
    assert drawings
    for file in drawings:
        text = file.read_text()
        assert re.search(r"<title[ >]", text), file
        assert re.search(r"<desc[ >]", text), file
        assert 'role="img"' in text, file


THREATS = (DOCS / "threats.md").read_text()
PROOFS = re.findall(r"\| `([a-z_/]+\.py)` `(test_\w+)` \|$", THREATS, re.MULTILINE)


def test_each_threat_names_its_test() -> None:
    """Each row of a table that is not its head ends in the name of a test."""
    rows = re.findall(r"^\| (?!the attack).*\|$", THREATS, re.MULTILINE)
    assert len(rows) == len(PROOFS) > 50


@pytest.mark.parametrize("file", sorted({file for file, _ in PROOFS}))
def test_tests_of_threats_exist(file: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    there = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {name for where, name in PROOFS if where == file}
    assert named - there == set()


def test_the_files_that_pages_name_are_there() -> None:
    named = {
        (page, file)
        for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]
        for file in re.findall(
            r"`((?:aiostreams|tests|example_app)/[\w/]+(?:\.\w+)?)`", page.read_text()
        )
    }
    # The page of threats names tests relative to their folder.
    missing = {
        (page.name, file)
        for page, file in named
        if not (ROOT / file).exists() and not (ROOT / "tests" / file).exists()
    }
    assert missing == set()


def test_the_first_page_leads_to_every_guide() -> None:
    first = (DOCS / "index.md").read_text()
    pages = [*DOCS.glob("guides/*.md"), *DOCS.glob("migration/*.md")]
    missing = [
        page.name
        for page in pages
        if f"]({page.relative_to(DOCS).as_posix()})" not in first
    ]
    assert missing == []


def test_the_layout_names_every_folder() -> None:
    layout = (DOCS / "contributing.md").read_text()
    folders = {
        path.parent.relative_to(ROOT) for path in ROOT.glob("aiostreams/**/*.py")
    }
    for folder in folders - {Path("aiostreams")}:
        assert f"{folder.relative_to('aiostreams')}/" in layout


def test_each_limit_stops_a_threat() -> None:
    for field in dataclasses.fields(aiostreams.Limits):
        assert f"`{field.name}`" in THREATS, field.name
