"""Builds the documentation into build/docs; any warning, from anywhere, is an error.

Zensical's strict mode knows its own warnings (links, anchors, references). What the
reader of docstrings says goes to a log only, so that is counted here; and the pages
are searched for what they would load from elsewhere.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build/docs"
# What a browser fetches by itself, from somewhere else.
_FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect))"
    r"[^>]*\bhref=[\"']?(?:https?:)?//[^>]*"
)


class Count(logging.Handler):
    """Remembers how many warnings there were."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings += 1
        print(f"warning: {record.getMessage()}", file=sys.stderr)


def main() -> int:
    """Build, and give the exit status."""
    os.chdir(ROOT)
    # The package as it is here, wherever zensical is installed.
    sys.path.insert(0, str(ROOT))
    shutil.rmtree(SITE, ignore_errors=True)
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
        return 1
    foreign = 0
    for page in SITE.rglob("*.html"):
        for match in _FOREIGN.finditer(page.read_text()):
            print(f"{page.relative_to(ROOT)} loads {match[0]}>", file=sys.stderr)
            foreign += 1
    return 1 if count.warnings or foreign else 0


if __name__ == "__main__":
    sys.exit(main())
