"""README.md is current. That its examples run is the matter of tests/docs."""

from __future__ import annotations

import re

from tests.docs.page import PAGES
from tests.readme import README, with_tables


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


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text())
    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []
