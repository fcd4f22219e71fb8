"""A page of Markdown as data: its blocks, and what becomes of each.

The kinds of block, and what a reader, or a test, does with them:

* ``console`` is a session: what follows a ``$`` is a command, the lines after it are
  its output. All sessions of a page are one.
* ``python title="name.py"``, or another language with a title, is a file of that name
  in the folder of the sessions. Blocks of one title are one file.
* ``python`` without a title belongs to the file ``app.py``.
* ``python`` with a ``text`` block right behind it stands for itself and prints that
  text; one that is called ``python run`` stands for itself, whatever follows.
* A comment ``<!-- not run: reason -->`` above a block excuses it. One that says
  ``<!-- tracebacks: reason -->`` allows the servers of the page to log some, and
  ``<!-- needs: module, module -->`` names what its programs use without importing it.

Nothing else is left: ``Page.stray`` names what is neither run nor excused.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "Command", "Page"]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<excuse>.*?) -->\s*?\n\s*?)?"
    r"^(?P<indent>[ ]*)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(
    r"^\$ (?P<line>(?:.*\\\n)*.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE
)
_NEEDS = re.compile(r"<!-- needs: (.*?) -->")
# What shows things and does nothing.
_PICTURES = frozenset({"text", "mermaid"})


@dataclass(frozen=True)
class Block:
    """A fenced block: what is said behind the fence, the text, and where it begins."""

    language: str
    title: str | None
    info: str
    text: str
    line: int
    excuse: str | None


@dataclass(frozen=True)
class Command:
    """A line of a session, and what it prints."""

    line: str
    output: str
    where: str

    @property
    def in_background(self) -> bool:
        return self.line.endswith(" &")


class Page:
    """One file of Markdown, called by its path from ``root``."""

    def __init__(self, path: Path, root: Path = ROOT) -> None:
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        return list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        for match in _FENCE.finditer(self.text):
            title = re.search(r'\btitle="([^"]+)"', match["info"])
            yield Block(
                match["info"].split(" ")[0],
                None if title is None else title[1],
                match["info"],
                textwrap.dedent(match["text"]),
                self.text[: match.start("info")].count("\n") + 2,
                match["excuse"],
            )

    @property
    def fences(self) -> int:
        """How many lines look like a fence; twice the blocks, if all were found."""
        return len(re.findall(r"^\s*(?:>\s*)?(?:```|~~~)", self.text, re.MULTILINE))

    @cached_property
    def standalone(self) -> list[tuple[Block, str | None]]:
        """The programs that stand for themselves, and what they print."""
        found: list[tuple[Block, str | None]] = []
        for block, after in itertools.zip_longest(self.blocks, self.blocks[1:]):
            if block.excuse is not None or block.language != "python" or block.title:
                continue
            output = None
            if after is not None and after.language == "text":
                output = after.text
            if output is not None or block.info == "python run":
                found.append((block, output))
        return found

    @cached_property
    def files(self) -> dict[str, str]:
        """What the sessions find in their folder."""
        alone = {block for block, _ in self.standalone}
        files: dict[str, list[str]] = {}
        for block in self.blocks:
            if block.excuse is not None or block in alone:
                continue
            name = block.title
            if name is None and block.language == "python":
                name = "app.py"
            if name is not None:
                files.setdefault(name, []).append(block.text)
        return {name: "\n".join(texts) for name, texts in files.items()}

    @cached_property
    def commands(self) -> list[Command]:
        """The sessions, as one."""
        return [
            Command(match["line"], match["output"], f"{self.name}:{block.line}")
            for block in self.blocks
            if block.language == "console" and block.excuse is None
            for match in _COMMAND.finditer(block.text)
        ]

    @property
    def excused(self) -> list[Block]:
        return [block for block in self.blocks if block.excuse is not None]

    @property
    def shows_accidents(self) -> bool:
        """Whether its servers may log tracebacks: it shows what they do about one."""
        return re.search(r"<!-- tracebacks: \S.*? -->", self.text) is not None

    @cached_property
    def missing(self) -> str | None:
        """A module that a program of the page needs and that is not installed."""
        programs = [block.text for block, _ in self.standalone]
        programs += [t for name, t in self.files.items() if name.endswith(".py")]
        named = " ".join(_NEEDS.findall(self.text))
        needed: set[str] = set(re.findall(r"\w+", named))
        for program in programs:
            for node in ast.walk(ast.parse(program)):
                if isinstance(node, ast.Import):
                    needed |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    needed.add((node.module or "").partition(".")[0])
        own = {name.removesuffix(".py") for name in self.files}
        for module in sorted(needed - own):
            if importlib.util.find_spec(module) is None:
                return module
        return None

    @property
    def stray(self) -> list[str]:
        """The blocks that nobody runs and nobody excuses."""
        used = "\n".join(command.line for command in self.commands)
        used += "\n".join(self.files.values())
        alone = {block for block, _ in self.standalone}
        stray = []
        for block in self.blocks:
            if block.excuse is not None or block in alone:
                continue
            if block.title is not None:
                # Named by a command, or imported by another file.
                stem = re.escape(block.title.removesuffix(".py"))
                run = re.search(rf"(?<![\w/]){stem}\b", used) is not None
            else:
                # Without sessions app.py is imported, see test_pages.
                run = block.language in {"python", "console"} | _PICTURES
            if not run:
                stray.append(f"{self.name}:{block.line}: {block.info or 'no language'}")
        return stray


PAGES = [
    Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
]
