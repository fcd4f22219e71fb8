"""README.md is current. That its examples run is the matter of tests/docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.page import PAGES
from tests.readme import README, with_tables

EXAMPLE = README.parent / "example_app" / "README.md"


def test_tables_are_current() -> None:
    text = README.read_text()
    assert "<!-- comparison -->" in text
    assert text == with_tables(text), "make fmt writes the tables"


def test_the_examples_are_run() -> None:
    """By tests/docs/test_pages.py; here, that there is something to run."""
    [page] = [page for page in PAGES if page.path == README]
    assert len(page.commands) > 5
    assert not page.excused
    assert list(page.files) == ["app.py"]


@pytest.mark.parametrize("readme", [README, EXAMPLE], ids=["package", "example_app"])
def test_its_links_lead_somewhere(readme: Path) -> None:
    links = links_of(readme)
    assert len(links) > 10
    assert [link for link in links if not (readme.parent / link).exists()] == []


def test_that_of_the_example_app_says_what_each_module_shows() -> None:
    modules = {path.name for path in EXAMPLE.parent.glob("[a-z]*.py")}
    assert modules <= set(links_of(EXAMPLE))


def links_of(page: Path) -> list[str]:
    return re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
