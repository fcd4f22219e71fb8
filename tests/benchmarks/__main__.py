"""``python -m tests.benchmarks [NAME] [--rounds N] [--quick] [--json FILE] [--charts]``.

Without a name everything is measured, in about 15 minutes; ``--quick`` takes two, and
shows little more than that all of it works. ``--charts`` measures nothing: it makes
the documentation's tables and charts anew from the published results.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from pathlib import Path

from aiostreams import MiB
from tests.benchmarks import (
    adapter,
    archives,
    codings,
    downloads,
    drain,
    encryption,
    fanout,
    forms,
    json_bodies,
    json_models,
    put_to_disk,
    resumable,
    setup_cost,
    uploads,
)
from tests.benchmarks.crowd import NAME, measure_crowd
from tests.benchmarks.machine import commit, machine, versions
from tests.benchmarks.measure import Effort, benchmark_folder, measure, profile
from tests.benchmarks.results import PUBLISHED, Plain, missed, result, save
from tests.benchmarks.rows import Row
from tests.benchmarks.table import crowd_table, summary, table

_AREAS = (
    drain, put_to_disk, json_bodies, json_models, setup_cost, forms, codings,
    downloads, archives, fanout, adapter, uploads, resumable, encryption,
)  # fmt: skip
_QUICK = Effort(rounds=2, starts=1, seconds=0.02)


def arguments() -> argparse.Namespace:
    """What the command line asks for; what it must not ask for ends the program."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("name", nargs="?", default="", help="only rows with this in it")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each entry")
    parser.add_argument("--starts", type=int, default=3, help="lives of each server")
    parser.add_argument(
        "--quick", action="store_true", help="only to see that it works"
    )
    parser.add_argument("--json", type=Path, help="where results go")
    parser.add_argument("--folder", help="where files are written; a temporary one")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    parser.add_argument("--profile", action="store_true", help="profile the rows")
    parser.add_argument("--usage", action="store_true", help="faults and switches, too")
    parser.add_argument(
        "--charts", action="store_true", help=f"tables and charts of {PUBLISHED.name}"
    )
    parser.add_argument(
        "--check", action="store_true", help="fail if a target is missed"
    )
    flags = parser.parse_args()
    if flags.name and flags.json and flags.json.resolve() == PUBLISHED.resolve():
        parser.error(f"{PUBLISHED.name} is of all rows")
    return flags


def _area(module: object) -> str:
    """Where its rows are shown: under its own name, or another's."""
    name = str(getattr(module, "__name__", "")).rpartition(".")[2]
    return str(getattr(module, "AREA", name))


def _rows(name: str) -> list[tuple[str, Row]]:
    return [
        (_area(module), row)
        for module in _AREAS
        for row in module.ROWS
        if name in f"{_area(module)}: {row.name}".lower()
    ]


def _measured(
    rows: list[tuple[str, Row]],
    crowded: bool,
    effort: Effort,
    flags: argparse.Namespace,
) -> Plain:
    """The document that says everything about one run; printed while it is made."""
    document: Plain = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": flags.quick,
        "rounds": effort.rounds,
        "starts": effort.starts,
        "machine": machine(),
        "versions": versions(),
        "rows": [],
        "crowd": None,
    }
    for about in ("versions", "machine"):
        print(*(f"{name} {value}" for name, value in document[about].items()), sep=", ")
    started = time.monotonic()
    with benchmark_folder(downloads.make_files, flags.folder) as folder:
        for area, row in rows:
            made = result(area, row, measure(row, effort, folder))
            document["rows"].append(made)
            print(f"\n{table(made, usage=flags.usage)}", flush=True)
        if crowded:
            clients, size, rounds = (8, 8, 1) if flags.quick else (64, 64, 3)
            crowd = measure_crowd(clients, size * MiB, rounds, folder)
            document["crowd"] = crowd
            print(f"\n{crowd_table(crowd)}", flush=True)
    document["seconds"] = round(time.monotonic() - started)
    document["machine"]["load_after"] = machine()["load"]
    return document


def main() -> int:
    flags = arguments()
    name = flags.name.lower()
    rows = _rows(name)
    crowded = name in NAME
    if flags.charts:
        from tests.benchmarks.page import write_all

        write_all()
    elif flags.list:
        print("\n".join([*(row.name for _, row in rows), *([NAME] if crowded else [])]))
    elif flags.profile:
        with benchmark_folder(downloads.make_files, flags.folder) as folder:
            for _, row in rows:
                for title, text in profile(row, folder):
                    print(f"\n=== {row.name}: {title}\n{text}")
    else:
        effort = _QUICK if flags.quick else Effort(flags.rounds, flags.starts)
        document = _measured(rows, crowded, effort, flags)
        if flags.json:
            save(flags.json, document)
        print(f"\n{summary(document)}\nin {document['seconds']} s")
        misses = any(missed(row) for row in document["rows"])
        return 1 if misses and flags.check else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
