"""``python -m tests.fuzz``: each harness for some time, and how often it ran.

The corpora stay in tests/fuzz/corpus, so that the next run goes on from there. What
was done is added to ``figures.json`` beside them, which ``tests.quality`` reads.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FIGURES = HERE / "corpus" / "figures.json"
ROOT = HERE.parents[1]


def run(harness: Path, seconds: int) -> int:
    """Run a harness; return how many inputs it was given.

    Raises:
        SystemExit: an input broke a promise; libFuzzer has said where it is kept.
    """
    corpus = HERE / "corpus" / harness.stem
    corpus.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(harness), f"-max_total_time={seconds}", "-verbosity=0",
        "-print_final_stats=1", f"-artifact_prefix={corpus}/", str(corpus),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    found = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode or found is None:
        sys.exit(f"{harness.name}: {done.stderr[-4000:]}")
    return int(found[1])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    seconds = parser.parse_args().seconds
    figures: dict[str, int] = {}
    if FIGURES.exists():
        figures = json.loads(FIGURES.read_text())
    for harness in sorted(HERE.glob("fuzz_*.py")):
        count = run(harness, seconds)
        figures[harness.stem] = figures.get(harness.stem, 0) + count
        FIGURES.write_text(json.dumps(figures, indent=1))
        print(f"{harness.stem}: {count:,} inputs in {seconds} s, none broke a promise")


if __name__ == "__main__":
    main()
