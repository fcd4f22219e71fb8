"""How much of the public interface has a type that every checker agrees about.

    python -m tests.typed

asks ``pyright --verifytypes``: every name in a public module counts, also those that
``aiostreams`` itself does not export. What has no type, or one that is only inferred,
is listed, and then this fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def verify() -> dict[str, Any]:
    """What pyright says.

    Raises:
        RuntimeError: it says nothing of use.
    """
    # With --verifytypes it heeds no --pythonpath: it asks the `python` of the PATH.
    # sys.executable is not resolved: a link in a virtual environment is that one's.
    folder = Path(sys.executable).parent
    paths = {
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
    command = ["-m", "pyright", "--verifytypes", "aiostreams", "--ignoreexternal"]
    done = subprocess.run(
        [sys.executable, *command, "--outputjson"],
        cwd=ROOT, env=os.environ | paths, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise RuntimeError(f"pyright: {done.stdout}{done.stderr}") from error
    if found["generalDiagnostics"]:
        raise RuntimeError(f"pyright: {found['generalDiagnostics']}")
    complete: dict[str, Any] = found["typeCompleteness"]
    return complete


def incomplete(found: dict[str, Any]) -> Iterator[str]:
    for symbol in found["symbols"]:
        if not symbol["isExported"]:
            continue
        if symbol["isTypeKnown"] and not symbol.get("isTypeAmbiguous"):
            continue
        diagnostics: list[dict[str, Any]] = symbol["diagnostics"]
        for diagnostic in diagnostics or [{"message": "not known"}]:
            where = diagnostic.get("file", "")
            if where:
                where = f"{where}:{diagnostic['range']['start']['line'] + 1}: "
            message = " ".join(diagnostic["message"].split())
            yield f"{where}{symbol['name']}: {message}"


def main() -> int:
    found = verify()
    counts = found["exportedSymbolCounts"]
    score = 100 * found["completenessScore"]
    print(*incomplete(found), sep="\n", end="\n" if score < 100 else "")
    print(
        f"types: {score:.4g} % of {sum(counts.values())} public names are complete"
        f" ({counts['withAmbiguousType']} ambiguous, {counts['withUnknownType']} unknown)"
    )
    return int(score < 100)


if __name__ == "__main__":
    sys.exit(main())
