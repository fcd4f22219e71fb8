"""What is known of the package's quality, in figures: types, coverage, fuzzing.

    python -m tests.quality            print them: the end of ``make check``
    python -m tests.quality --publish  and write them into docs/quality.md

Types are asked for now. Coverage is that of the last ``make coverage``, and inputs are
those of every ``make fuzz`` in this folder. What was not measured here stays on the page
as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests import covered, typed

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quality.md"
FUZZED = ROOT / "tests" / "fuzz" / "corpus" / "figures.json"

Row = tuple[str, str]


def types() -> Iterator[Row]:
    found = typed.verify()
    names = sum(found["exportedSymbolCounts"].values())
    score = 100 * found["completenessScore"]
    yield "public names with complete types", f"{score:.4g} % of {names:,}"


def coverage() -> Iterator[Row]:
    file = Path(os.environ.get("COVERAGE_FILE", ROOT / ".coverage"))
    if not file.exists():
        return
    figures = covered.measure(covered.loaded(file), covered.modules(), own=False)
    all_of_it = covered.total("", figures)
    when = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    counts = f"{all_of_it.lines:,} lines and {all_of_it.branches:,} branches"
    yield (
        f"lines and branches that the tests reach, on {when:%Y-%m-%d}",
        f"{all_of_it.percent:.2f} % of {counts}",
    )


def fuzzed() -> Iterator[Row]:
    if not FUZZED.exists():
        return
    for harness, count in sorted(json.loads(FUZZED.read_text()).items()):
        parser = harness.removeprefix("fuzz_")
        yield f"random inputs to `{parser}` without a failure", f"{count:,}"


def publish(block: str, text: str) -> None:
    """Write a block of the page: what stands between its two comments."""
    page, count = re.subn(
        rf"(<!-- {block} -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{text}\n\n{match[2]}",
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} blocks {block!r}, expected 1")
    PAGE.write_text(page)


# What is known, and how its rows begin.
SOURCES = (
    (types, "public names"),
    (coverage, "lines and branches"),
    (fuzzed, "random inputs"),
)


def table() -> Iterator[str]:
    """Make the rows of the page's table, and print what was measured."""
    page = PAGE.read_text().splitlines()
    for source, begin in SOURCES:
        rows = list(source())
        for what, figure in rows:
            print(f"{what}: {figure}")
            yield f"| {what} | {figure} |"
        if not rows:
            yield from (line for line in page if line.startswith(f"| {begin}"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality")
    parser.add_argument("--publish", action="store_true")
    given = parser.parse_args()
    rows = list(table())
    if given.publish:
        publish("figures", "\n".join(["| what | figure |", "|---|---|", *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
