"""``python -m tests.benchmarks [NAME] [--rounds N] [--json FILE] [--list] [--check]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks import (
    adapter,
    codings,
    downloads,
    drain,
    forms,
    json_bodies,
    put_to_disk,
    uploads,
)
from tests.benchmarks.measure import Effort, benchmark_folder, measure, profile
from tests.benchmarks.report import machine, missed, results, save, table, versions
from tests.benchmarks.rows import Row

_AREAS = (drain, put_to_disk, json_bodies, forms, codings, downloads, adapter, uploads)
_LATEST = Path(__file__).parent / "results" / "latest.json"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("name", nargs="?", default="", help="only rows with this in it")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each entry")
    parser.add_argument("--json", type=Path, default=_LATEST, help="where results go")
    parser.add_argument("--folder", help="where files are written; a temporary one")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    parser.add_argument("--profile", action="store_true", help="profile the rows")
    parser.add_argument(
        "--check", action="store_true", help="fail if a target is missed"
    )
    return parser.parse_args()


def _rows(name: str) -> list[Row]:
    found = []
    for area in _AREAS:
        title = area.__name__.rpartition(".")[2]
        found += [row for row in area.ROWS if name in f"{title}: {row.name}".lower()]
    return found


def main() -> int:
    arguments = _arguments()
    rows = _rows(arguments.name.lower())
    if arguments.list:
        print("\n".join(row.name for row in rows))
        return 0
    print(*(f"{name} {value}" for name, value in versions().items()), sep=", ")
    print(*(f"{name}: {value}" for name, value in machine().items()), sep=", ")
    made = []
    with benchmark_folder(downloads.make_files, arguments.folder) as folder:
        for row in rows:
            print()
            if arguments.profile:
                for title, text in profile(row, folder):
                    print(f"=== {row.name}: {title}\n{text}")
                continue
            result = results(row, measure(row, Effort(arguments.rounds), folder))
            made.append(result)
            print(table(result), flush=True)
    if made:
        save(arguments.json, made, arguments.rounds)
    misses = [result["row"] for result in made if missed(result)]
    if misses:
        print("\nmissed:", "; ".join(misses))
    return 1 if misses and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
