"""README.md and docs/ tell the truth: every example runs, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import PAGES, Block, Page
from tests.docs.session import ENVIRONMENT, Session

# As pages name the port of an S3 server.
S3 = "8333"


def page_id(value: object) -> str | None:
    if isinstance(value, Page):
        return value.name
    return f"line {value.line}" if isinstance(value, Block) else ""


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


@every_page
def test_every_block_is_run_or_excused(page: Page) -> None:
    assert page.fences == 2 * len(page.blocks), "a fence that does not close"
    assert page.stray == []
    for block in page.excused:
        assert block.excuse, f"{page.name}:{block.line}: an excuse has a reason"


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in page.excused],
    ids=page_id,
)
def test_excused(page: Page, block: Block) -> None:
    """Show in pytest's summary what is not run, and why."""
    pytest.skip(f"{page.name}:{block.line}: {block.excuse}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.commands], ids=page_id)
@pytest.mark.timeout(180)
def test_session(page: Page, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In one test: later commands see what earlier ones have done."""
    foreign = {}
    if f":{S3}" in page.text:
        foreign[S3] = request.getfixturevalue("seaweed")
    session = Session(page, tmp_path, foreign)
    missing = session.missing()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    session.run()


def test_pages_without_sessions(tmp_path: Path) -> None:
    """Their files can at least be imported."""
    for page in PAGES:
        if page.commands or page.missing is not None:
            continue
        folder = tmp_path / page.name
        folder.mkdir(parents=True)
        Session(page, folder, {})
        for name in page.files:
            if name.endswith(".py"):
                run(folder, "-c", f"import {Path(name).stem}")


@pytest.mark.parametrize(
    ("page", "block", "output"),
    [(page, *pair) for page in PAGES for pair in page.standalone],
    ids=page_id,
)
def test_program(page: Page, block: Block, output: str | None, tmp_path: Path) -> None:
    if page.missing is not None:
        pytest.skip(f"{page.missing} is not installed")
    (tmp_path / "program.py").write_text(block.text)
    printed = run(tmp_path, "program.py")
    assert output is None or printed == output, f"{page.name}:{block.line}"


def run(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@every_page
def test_links_lead_somewhere(page: Page) -> None:
    text = re.sub(r"^```.*?^```", "", page.text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (page.path.parent / link).exists(), link
