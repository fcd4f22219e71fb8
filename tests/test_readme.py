"""README.md is current. That its examples run is the matter of tests/docs."""

from __future__ import annotations

from tests.docs.page import PAGES
from tests.readme import README, with_tables


def test_tables_are_current() -> None:
    text = README.read_text()
    assert "<!-- limits -->" in text
    assert "<!-- errors -->" in text
    assert text == with_tables(text), "make fmt writes the tables"


def test_the_tour_is_run() -> None:
    """By tests/docs/test_pages.py; here, that there is something to run."""
    [page] = [page for page in PAGES if page.path == README]
    assert len(page.commands) > 10
    assert len(page.standalone) > 1
    assert not page.excused
    assert list(page.files) == ["app.py"]
