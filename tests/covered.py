"""What the tests reach, module by module: how much at all, how much by its own tests.

A line that is run by accident, while something else is tested, counts for little: who
changes it sees no failing test, or one that tells of something else. So besides the
coverage by everything there is the one by a module's own tests. Those of
``aiostreams/streams/http.py`` are ``tests/streams/test_http.py`` and whatever else
begins with ``tests/streams/test_http_``; ``OWN`` below names others, with the reason.

    python -m tests.covered              the figures of the last whole run
    python -m tests.covered --gaps       and each line and branch that is missing
    python -m tests.covered --least 100  fail where own tests reach less (in percent)
    python -m tests.covered http.py      run the own tests of what is named so, now

``make coverage`` measures, with the id of the test as the context of each line that
it runs. What is run while modules are imported has no context, and counts everywhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aiostreams"

# Modules that are a room of a larger house: what they do is seen through its door, and
# tested there, where a change of how the rooms are divided breaks no test.
OWN: Mapping[str, tuple[str, ...]] = {
    # The laws hold for every Stream, and random operations are compared to a model.
    "streams/base.py": ("streams/test_laws.py", "streams/test_machine.py"),
    "streams/guards.py": ("streams/test_base.py", "streams/test_machine.py"),
    "streams/as_file.py": ("streams/test_base.py",),
    "streams/iterable.py": ("streams/test_laws.py",),
    "streams/memory.py": ("streams/test_iterable.py", "streams/test_laws.py"),
    "streams/sections.py": ("streams/test_transforms.py", "streams/test_laws.py"),
    "streams/threads.py": ("files/test_file.py",),
    "streams/transforms.py": ("streams/test_laws.py", "streams/test_machine.py"),
    "streams/hashing.py": ("streams/test_transforms.py",),
    # What a multipart body is made of, and what is made of it.
    "sansio/parthead.py": ("sansio/test_multipart.py", "multipart/test_multipart.py"),
    "multipart/body.py": ("multipart/test_part.py",),
    "multipart/parts.py": ("multipart/test_part.py",),
    "multipart/received.py": ("multipart/test_multipart.py",),
    "multipart/whole.py": ("multipart/test_multipart.py", "web/test_receive.py"),
    # Sniffing, by the files that were sniffed.
    "sansio/sniff/binary.py": ("sansio/sniff/test_types.py",),
    "sansio/sniff/markup.py": ("sansio/sniff/test_types.py",),
    "sansio/sniff/pictures.py": ("uploads/test_rules_pictures.py",),
    "sansio/sniff/signatures.py": ("sansio/sniff/test_types.py",),
    # A file: every call fails in turn, every wait is cancelled in turn.
    "files/draft.py": ("files/test_file.py",),
    "files/reading.py": ("files/test_file.py", "files/test_spooled.py"),
    "files/writing.py": ("files/test_file.py", "files/test_spooled.py"),
    # What all decoders share, and what is read in them, in both directions.
    "codings/base.py": ("codings/test_decoded.py",),
    "codings/source_reader.py": ("codings/test_decoded.py", "codings/test_encoded.py"),
    "codings/zstd_brotli.py": ("codings/test_decoded.py", "codings/test_encoded.py"),
    # A model is asked through the registry, whichever library it is of.
    "content/model.py": ("content/test_models.py",),
    "content/msgspec_model.py": ("content/test_models.py",),
    "content/pydantic_model.py": ("content/test_models.py",),
    # The promises hold for every storage.
    "storage/base.py": ("storage/test_promises.py",),
    "storage/memory.py": ("storage/test_promises.py", "storage/test_base_put.py"),
    "storage/disk.py": ("storage/test_promises.py", "storage/test_base_put.py"),
    "storage/disk_draft.py": (
        "storage/test_base_put.py",
        "storage/test_disk.py",
        "uploads/test_receiver_faults.py",
    ),
    "storage/obstore.py": ("storage/test_object_store.py",),
    "storage/object_reader.py": (
        "storage/test_object_store.py",
        "storage/test_promises.py",
    ),
    "storage/object_store.py": ("storage/test_promises.py",),
    "storage/object_writer.py": (
        "storage/test_object_store.py",
        "storage/test_promises.py",
    ),
    "storage/wrapped.py": ("storage/test_promises.py", "storage/test_encrypted.py"),
    "testing/storages.py": ("storage/test_promises.py",),
    "uploads/receiver.py": ("web/test_receive.py",),
    "uploads/stored.py": ("web/test_receive.py",),
    # Uploads that resume, in every kind of staging and by either protocol.
    "resumable/log.py": ("resumable/test_engine.py",),
    "resumable/staging.py": ("resumable/test_engine.py",),
    "web/resumable/exchange.py": (
        "web/resumable/test_rufh.py",
        "web/resumable/test_tus.py",
    ),
    # A request and its response, seen from the client.
    "web/expect.py": ("web/test_request_stream.py",),
    "web/middleware.py": (
        "web/compression/test_middleware.py",
        "web/test_response_ranges.py",
    ),
    "web/errors.py": ("web/test_middleware.py", "web/stats/test_reporter.py"),
    "web/payload.py": ("web/test_middleware.py", "web/test_response.py"),
    "web/proxy.py": ("web/test_disconnect.py",),
    "web/receive.py": ("web/stats/test_reporter.py",),
    "web/respond.py": ("web/test_response.py",),
    "web/response.py": (
        "web/compression/test_middleware.py",
        "web/test_digests.py",
        "web/test_disconnect.py",
        "web/test_request_forms.py",
    ),
    "web/response_headers.py": (
        "web/compression/test_middleware.py",
        "web/test_response_framing.py",
        "web/test_response_ranges.py",
    ),
    "web/sendfile.py": ("web/stats/test_reporter.py", "web/test_response.py"),
    "web/setup.py": ("web/stats/test_reporter.py", "web/test_middleware.py"),
    "web/state.py": (
        "web/stats/test_reporter.py",
        "web/test_middleware.py",
        "web/test_request.py",
        "web/test_request_codings.py",
        "web/test_request_stream.py",
    ),
    "web/compression/coding.py": ("web/compression/test_middleware.py",),
    "web/compression/middleware.py": (
        "web/stats/test_reporter.py",
        "web/test_digests.py",
    ),
    "web/stats/model.py": (
        "web/stats/test_opentelemetry.py",
        "web/stats/test_prometheus.py",
    ),
}


@dataclass(frozen=True)
class Figure:
    """How much of something was run: lines, and ways out of lines with several."""

    name: str
    lines: int
    lines_run: int
    branches: int
    branches_run: int
    gaps: tuple[str, ...] = ()

    @property
    def percent(self) -> float:
        """Of lines and branches together, as coverage.py counts."""
        total = self.lines + self.branches
        return 100 * (self.lines_run + self.branches_run) / total if total else 100.0


def total(name: str, figures: Iterable[Figure]) -> Figure:
    rows = list(figures)
    return Figure(
        name,
        sum(row.lines for row in rows),
        sum(row.lines_run for row in rows),
        sum(row.branches for row in rows),
        sum(row.branches_run for row in rows),
    )


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def own_tests(module: Path) -> list[str]:
    """The test files of a module, relative to the root."""
    name = module.relative_to(PACKAGE)
    folder = ROOT / "tests" / name.parent
    found = {
        path
        for pattern in (f"test_{name.stem}.py", f"test_{name.stem}_*.py")
        for path in folder.glob(pattern)
    }
    found |= {ROOT / "tests" / path for path in OWN.get(name.as_posix(), ())}
    return [path.relative_to(ROOT).as_posix() for path in sorted(found)]


def measure(coverage: Coverage, modules: Iterable[Path], *, own: bool) -> list[Figure]:
    """The figures of each module, of all tests or of its own ones."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            _figure(coverage, module, own_tests(module) if own else None, Path(folder))
            for module in modules
        ]


def _figure(
    coverage: Coverage, module: Path, tests: list[str] | None, folder: Path
) -> Figure:
    contexts = None
    if tests is not None:
        contexts = ["^$", *(f"^{re.escape(test)}::" for test in tests)]
    # Of what coverage.py offers, the one way to learn where a branch did not go.
    file = folder / "report.json"
    coverage.json_report([str(module)], outfile=str(file), contexts=contexts)
    (found,) = json.loads(file.read_text())["files"].values()
    summary = found["summary"]
    missing = set(found["missing_lines"])
    return Figure(
        module.relative_to(PACKAGE).as_posix(),
        summary["num_statements"],
        summary["covered_lines"],
        summary["num_branches"],
        summary["covered_branches"],
        (
            *_ranges(found["missing_lines"]),
            *(
                f"{start} to {'the end' if to < 0 else to}"
                for start, to in found["missing_branches"]
                if start not in missing
            ),
        ),
    )


def _ranges(lines: list[int]) -> Iterator[str]:
    for _, group in itertools.groupby(enumerate(lines), lambda pair: pair[1] - pair[0]):
        run = [line for _, line in group]
        yield f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}"


def report(everything: list[Figure], own: list[Figure], *, gaps: bool) -> Iterator[str]:
    yield f"{'':<28} {'lines':>6} {'branches':>8} {'all tests':>10} {'own tests':>10}"
    folders: dict[str, list[int]] = {}
    for number, figure in enumerate(everything):
        folders.setdefault(figure.name.rpartition("/")[0], []).append(number)
    rows = [
        (
            total(folder or "aiostreams", (everything[n] for n in numbers)),
            total(folder, (own[n] for n in numbers)),
        )
        for folder, numbers in folders.items()
    ]
    rows.append((total("together", everything), total("together", own)))
    for a, b in rows:
        yield (
            f"{a.name:<28} {a.lines:>6} {a.branches:>8}"
            f" {a.percent:>8.2f} % {b.percent:>8.2f} %"
        )
    short = [pair for pair in zip(everything, own, strict=True) if pair[1].gaps]
    for a, b in short if gaps else ():
        yield f"\n{a.name}: {a.percent:.2f} %, of its own tests {b.percent:.2f} %"
        if a.gaps:
            yield f"  by no test:      {', '.join(a.gaps)}"
        yield f"  by none of its own: {', '.join(b.gaps)}"


def run_own(names: list[str]) -> int:
    """Run the own tests of each module that is named, and show what they miss."""
    chosen = [
        module
        for module in modules()
        if any(module.relative_to(PACKAGE).as_posix().endswith(name) for name in names)
    ]
    worst = 0
    for module in chosen:
        tests = own_tests(module)
        name = module.relative_to(PACKAGE).as_posix()
        if not tests:
            print(f"{name}: has no tests of its own")
            worst = 1
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "data")
            arguments = ["--cov", "--cov-report=", "-q", "-rN", *tests]
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=ROOT,
                env={**os.environ, "COVERAGE_FILE": str(file)},
                check=False,
            )
            coverage = loaded(file)
            (figure,) = measure(coverage, [module], own=False)
        print(f"{name}: {figure.percent:.2f} %", *figure.gaps, sep="\n  ")
        worst = max(worst, done.returncode, bool(figure.gaps))
    return worst


def loaded(file: Path) -> Coverage:
    coverage = Coverage(data_file=str(file), config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    return coverage


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.covered")
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--gaps", action="store_true")
    parser.add_argument("--least", type=float, default=0.0, metavar="PERCENT")
    options = parser.parse_args(arguments)
    if options.modules:
        return run_own(options.modules)
    file = Path(os.environ.get("COVERAGE_FILE", ROOT / ".coverage"))
    if not file.exists():
        print("coverage: not measured yet (make coverage)")
        return 1 if options.least else 0
    coverage = loaded(file)
    everything = measure(coverage, modules(), own=False)
    own = measure(coverage, modules(), own=True)
    when = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    print(f"coverage, as measured {when:%Y-%m-%d %H:%M} UTC")
    print(*report(everything, own, gaps=options.gaps), sep="\n")
    # Each module by its own tests, which is never more than by all of them.
    return int(any(figure.percent < options.least for figure in own))


if __name__ == "__main__":
    sys.exit(main())
