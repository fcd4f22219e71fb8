"""Builds the documentation into build/docs; any warning, from anywhere, is an error.

Zensical's strict mode knows its own warnings (links, anchors, references). What the
reader of docstrings says goes to a log only, so that is counted here.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
    shutil.rmtree("build/docs", ignore_errors=True)
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
    return 1 if count.warnings else 0


if __name__ == "__main__":
    sys.exit(main())
