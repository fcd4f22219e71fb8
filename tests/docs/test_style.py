"""The examples are written as the package is: formatted, linted, strictly typed.

Formatting is a matter of a block, names and types of a whole file.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiostreams
from tests.docs.page import PAGES, ROOT, Page

# A page imports where it explains, hence no E402; a line tells its reader what to see,
# hence no nesting of two contexts in one `with`.
RULES = "ASYNC,B,C4,E,F,I,PIE,PT,RET,RUF,SIM,UP,W"
IGNORED = "E402,SIM117"

TYPES = """
[mypy]
python_version = 3.11
strict = True
warn_unreachable = True
namespace_packages = True
explicit_package_bases = True
# Says that it is typed, and is not everywhere.
untyped_calls_exclude = aiohttp_cors,tusclient
[mypy-swagger_ui.*]
ignore_missing_imports = True
"""

# What pages import from each other's neighbours: files of the same page.
SIBLINGS = sorted(
    {
        name.removesuffix(".py")
        for page in PAGES
        for name in page.files
        if name.endswith(".py")
    }
)


def folder_of(page: Page) -> str:
    return re.sub(r"\W", "_", page.name.removesuffix(".md"))


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each block of Python in a file that is called as the place where it stands."""
    folder = tmp_path_factory.mktemp("blocks")
    for page in PAGES:
        for block in page.blocks:
            if block.language == "python":
                path = folder / folder_of(page) / f"line_{block.line}.py"
                path.parent.mkdir(exist_ok=True)
                path.write_text(block.text)
    return folder


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each program in a file, with those of its page in one folder."""
    folder = tmp_path_factory.mktemp("programs")
    for page in PAGES:
        files = dict(page.files)
        for block, _ in page.standalone:
            files[f"line_{block.line}.py"] = block.text
        for name, text in files.items():
            if name.endswith(".py"):
                path = folder / folder_of(page) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    return folder


def checked(folder: Path, *command: str) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(Path(aiostreams.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_blocks_are_formatted(blocks: Path) -> None:
    checked(blocks, "ruff", "format", "--no-cache", "--diff", "--isolated", ".")


def test_programs_are_linted(programs: Path) -> None:
    own = ["aiostreams", *SIBLINGS]
    checked(
        programs, "ruff", "check", "--no-cache", "--isolated", "--output-format=concise",
        f"--select={RULES}", f"--ignore={IGNORED}",
        f"--config=lint.isort.known-first-party={own}", ".",
    )  # fmt: skip


@pytest.mark.timeout(180)  # without a cache mypy reads all of aiohttp first
def test_programs_are_typed(programs: Path, tmp_path: Path) -> None:
    """All at once: to read its cache again for each page would take a minute."""
    config = tmp_path / "mypy.ini"
    config.write_text(TYPES)
    for path in programs.rglob("*.py"):
        target = tmp_path / path.relative_to(programs)
        target.parent.mkdir(exist_ok=True)
        target.write_text(of_its_page(path))
    cache = ROOT / ".mypy_cache"
    checked(tmp_path, "mypy", f"--config-file={config}", f"--cache-dir={cache}", ".")


def of_its_page(path: Path) -> str:
    """A program that imports its neighbours by the name of their page too.

    Each page has an `app.py` of its own.
    """
    page, text = path.parent.name, path.read_text()
    neighbours = "|".join(file.stem for file in path.parent.glob("*.py"))
    text = re.sub(
        rf"^(\s*)import ({neighbours})$",
        rf"\1import {page}.\2 as \2",
        text,
        flags=re.MULTILINE,
    )
    return re.sub(
        rf"^(\s*)from ({neighbours}) import ",
        rf"\1from {page}.\2 import ",
        text,
        flags=re.MULTILINE,
    )
