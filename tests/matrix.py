"""All tests, in every environment that is promised to work: ``make matrix``.

    python -m tests.matrix                 all of them
    python -m tests.matrix oldest 3.12     some of them
    python -m tests.matrix --list          which there are on this machine

``wheel``    the wheel that would be released, without any extra
``oldest``   the oldest versions that pyproject.toml allows of what is needed
``pure``     aiohttp without its C extensions
``uvloop``   another event loop
``3.x``      each Python that is found, of those that pyproject.toml names

Environments are kept in ``.venv/matrix`` for the next time. Packages come from where
pip is configured to take them from. A Python is found by its name (``python3.12``), or
below ``$PYENV_ROOT`` or ``~/.pyenv``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.shipped import ROOT, Environment, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = ROOT / ".venv" / "matrix"
Result = subprocess.CompletedProcess[str]


def pythons() -> dict[str, str]:
    """The version, and where its interpreter is."""
    versions = [
        match[1]
        for line in PROJECT["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    found = {version: find(version) for version in versions}
    return {version: python for version, python in found.items() if python}


def find(version: str) -> str | None:
    """An interpreter of this version that works: a shim of pyenv's may not."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        sys.executable,
        shutil.which(f"python{version}"),
        *map(str, sorted(root.glob(f"versions/{version}.*/bin/python"))),
    ]
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, candidates):
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == version:
            return python
    return None


def oldest(requirements: Iterable[str]) -> list[str]:
    """The lower bounds, as what to install."""
    return [requirement.replace(">=", "==") for requirement in requirements]


def environment(name: str, python: str = sys.executable) -> Environment:
    return Environment(HOME / name, python)


def wheel(arguments: list[str]) -> tuple[Environment, Result]:
    shutil.rmtree(HOME / "wheel", ignore_errors=True)  # what is there may be in use
    env = environment("wheel")
    with tempfile.TemporaryDirectory() as folder:
        env.install(f"{build(Path(folder)).wheel}[test]")
    return env, env.test_installed(*arguments)


def source(
    name: str, *pins: str, python: str = sys.executable, **environ: str
) -> Callable[[list[str]], tuple[Environment, Result]]:
    def run(arguments: list[str]) -> tuple[Environment, Result]:
        env = environment(name, python)
        env.install("--upgrade", "--editable", f"{ROOT}[dev]", *pins)
        return env, env.test(*arguments, PYTHONASYNCIODEBUG="1", **environ)

    return run


def environments() -> dict[str, Callable[[list[str]], tuple[Environment, Result]]]:
    found = pythons()
    first = next(iter(found.values()))
    return {
        "wheel": wheel,
        "oldest": source("oldest", *oldest(PROJECT["dependencies"]), python=first),
        "pure": source("pure", AIOHTTP_NO_EXTENSIONS="1"),
        "uvloop": source("uvloop", AIOSTREAMS_LOOP="uvloop"),
        **{
            version: source(version, python=python) for version, python in found.items()
        },
    }


def main() -> int:
    known = environments()
    parser = argparse.ArgumentParser(prog="python -m tests.matrix")
    parser.add_argument("names", nargs="*", choices=[[], *known], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list them, and end")
    parser.add_argument("--pytest", default="", metavar="ARGS", help="for pytest")
    options = parser.parse_args()
    if options.list:
        print(*known, sep="\n")
        return 0
    worst = 0
    for name in options.names or known:
        began = time.monotonic()
        env, done = known[name](["-q", *options.pytest.split()])
        summary = (done.stdout.strip().splitlines() or [""])[-1]
        print(f"{name:<7} {env.packages()}: {summary}")
        print(f"{'':<7} {time.monotonic() - began:.0f} s with its installation")
        if done.returncode:
            worst = 1
            print(done.stdout[-20_000:], done.stderr[-5000:], sep="\n")
    return worst


if __name__ == "__main__":
    sys.exit(main())
