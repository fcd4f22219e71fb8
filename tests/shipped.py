"""What is shipped, and empty environments to try it in.

Packages come from wherever pip is configured to take them from. Without a package
index there is nothing to be tried: ``require_index`` says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Environment", "NoIndex", "Shipped", "build", "require_index"]

ROOT = Path(__file__).parents[1]
# What the tests need beside the installed package. Not the package itself: what is
# found in the current folder would be tested in place of what was installed.
BESIDE = (
    "tests", "example_app", "docs", "pyproject.toml", "README.md", "CHANGELOG.md",
)  # fmt: skip
# Tests of the source tree, not of what is installed.
OF_THE_SOURCE = ("tests/test_architecture.py", "tests/test_shipped.py", "tests/docs")


class NoIndex(Exception):
    """pip has nowhere to take packages from."""


def require_index(folder: Path) -> None:
    """Fetch the build backend, which a build needs anyway.

    Raises:
        NoIndex: it cannot be had.
    """
    command: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet"]
    done = subprocess.run(
        [*command, "--no-deps", "--dest", folder, "hatchling"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoIndex(f"no package index: {done.stderr.strip().splitlines()[-1]}")


@dataclass(frozen=True)
class Shipped:
    """A source distribution, and the wheel that was built from it."""

    sdist: Path
    wheel: Path

    def sdist_names(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


def build(folder: Path) -> Shipped:
    """Build both into ``folder``, in an environment of their own, as for a release."""
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Shipped(sdist, wheel)


class Environment:
    """A virtual environment.

    Args:
        folder: where it is, or will be.
        python: which interpreter, when it has to be made.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.python = folder / "bin" / "python"
        if not self.python.exists():
            # pip comes from outside: half a second each, and one thing less in it.
            run([python, "-m", "venv", "--without-pip", folder])

    def install(self, *requirements: str | Path) -> None:
        pip: list[str | Path]
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install"]
        # Compiled is what gets imported, and no more: browsers' drivers are large.
        quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        run([*pip, *quiet, *requirements])

    def packages(self) -> str:
        """The versions that count, for a report."""
        code = (
            "import sys; from importlib.metadata import version;"
            "print('Python', sys.version.split()[0], *(f'{name} {version(name)}'"
            " for name in ('aiohttp', 'multidict', 'yarl')))"
        )
        return run([self.python, "-c", code]).strip()

    def test(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run pytest here, over the source tree."""
        return subprocess.run(
            [self.python, "-m", "pytest", *arguments],
            cwd=ROOT, env=os.environ | environ, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def test_installed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pytest where the installed package is the only one there is."""
        with tempfile.TemporaryDirectory() as folder:
            for name in BESIDE:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "results")
                    shutil.copytree(ROOT / name, Path(folder, name), ignore=ignored)
                else:
                    shutil.copy(ROOT / name, folder)
            ignore = [f"--ignore={name}" for name in OF_THE_SOURCE]
            return subprocess.run(
                [self.python, "-m", "pytest", *ignore, *arguments],
                cwd=folder, env=clean_environ(), capture_output=True, text=True,
                check=False,
            )  # fmt: skip


def clean_environ() -> dict[str, str]:
    """The environment without what would lead imports elsewhere, or watches them."""
    watching = ("PYTHONASYNCIODEBUG", "COV_", "COVERAGE_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHONPATH", *watching))
    }


def run(command: list[str | Path]) -> str:
    done = subprocess.run(
        command, env=clean_environ(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise AssertionError(f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout
