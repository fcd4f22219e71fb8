"""Builds the documentation into build/docs; any warning, from anywhere, is an error.

Zensical's strict mode knows its own warnings (links, anchors, references). What the
reader of docstrings says goes to a log only, so that is counted here; and the pages
are searched for what they would load from elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build/docs"
# What a browser fetches by itself, from somewhere else.
_FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect))"
    r"[^>]*\bhref=[\"']?(?:https?:)?//[^>]*"
)
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


class Count(logging.Handler):
    """Remembers how many warnings there were."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings += 1
        print(f"warning: {record.getMessage()}", file=sys.stderr)


@contextlib.contextmanager
def colourless() -> Iterator[None]:
    """Leave out colours, which Zensical writes to whatever it writes to."""
    if sys.stderr.isatty():
        yield
        return
    real = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            file.seek(0)
            sys.stderr.buffer.write(_COLOUR.sub(b"", file.read()))
            sys.stderr.flush()


def build() -> bool:
    """Whether the site was built without a warning."""
    from zensical.main import cli  # noqa: PLC0415 - after the path is set

    count = Count()
    logging.getLogger().addHandler(count)
    try:
        cli(
            ["build", "--clean", "--strict", "--config-file", ".zensical.toml"],
            standalone_mode=False,
        )
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return False
    return not count.warnings


def loads_nothing() -> bool:
    """Whether the pages have all they need with them."""
    found = False
    for page in SITE.rglob("*.html"):
        for match in _FOREIGN.finditer(page.read_text()):
            print(f"{page.relative_to(ROOT)} loads {match[0]}>", file=sys.stderr)
            found = True
    return not found


def main() -> int:
    """Build, and give the exit status."""
    os.chdir(ROOT)
    # The package as it is here, wherever zensical is installed.
    sys.path.insert(0, str(ROOT))
    shutil.rmtree(SITE, ignore_errors=True)
    with colourless():
        built = build()
    return 0 if built and loads_nothing() else 1


if __name__ == "__main__":
    sys.exit(main())
