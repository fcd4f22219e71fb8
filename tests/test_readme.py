"""README.md tells the truth: each block runs, and gives what stands below it.

The Python blocks of the tour make one file, which is run as a reader would run it.
A ``console`` block is a session against it: what follows a ``$`` is executed, and
the lines after it are its output. A block marked ``run`` stands for itself, and the
``text`` block below it is what it prints.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiostreams
from tests.readme import README, Block, blocks, with_tables

# The package under test, wherever it is imported from.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(aiostreams.__file__).parents[1])}
BLOCKS = blocks()
TOUR = [block for block in BLOCKS if block.info == "python"]
SESSIONS = [block for block in BLOCKS if block.info == "console"]
STANDALONE = [
    (block, output)
    for block, output in itertools.pairwise(BLOCKS)
    if block.info == "python run"
]


def name(block: object) -> str | None:
    return f"line {block.line}" if isinstance(block, Block) else ""


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def tour(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The application of the tour, running; gives the folder that it runs in."""
    folder = tmp_path_factory.mktemp("tour")
    source = "\n".join(block.text for block in TOUR)
    (folder / "tour.py").write_text(source.replace("8080", str(port)))
    server = subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "tour.py"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert b"Running on" in line, line + server.stdout.read()
        yield folder
    finally:
        server.terminate()
        output, _ = server.communicate(timeout=10)
    # Nothing that the tour shows is an accident.
    assert b"Traceback" not in output, output.decode()


def test_every_block_is_run() -> None:
    known = {"python", "console", "python run", "text"}
    assert {block.info for block in BLOCKS} <= known
    assert len(STANDALONE) == sum(block.info == "text" for block in BLOCKS)
    assert all(output.info == "text" for _, output in STANDALONE)
    assert len(TOUR) > 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_tour(tour: Path, port: int) -> None:
    """In one test: later sessions see what earlier ones have sent."""
    assert len(SESSIONS) > 3
    for block in SESSIONS:
        for command, expected in re.findall(
            r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE
        ):
            ran = subprocess.run(
                ["/bin/sh", "-c", command.replace("8080", str(port))],
                cwd=tour,
                capture_output=True,
                text=True,
                check=False,
                timeout=20,
            )
            # A shell's next prompt comes on a line of its own.
            output = ran.stdout.replace("\r\n", "\n")
            output = output.strip("\n")
            output = output and output + "\n"
            assert output == expected, f"README line {block.line}: {command}"


@pytest.mark.parametrize(("block", "output"), STANDALONE, ids=name)
async def test_block(block: Block, output: Block, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block.text)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "block.py",
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert printed.decode() == output.text


def test_tables_are_current() -> None:
    text = README.read_text()
    assert "<!-- limits -->" in text
    assert "<!-- errors -->" in text
    assert text == with_tables(text), "make fmt writes the tables"


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text()):
        assert (README.parent / link).exists(), link
