"""All answers in one file, and the table that is made of it."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import versions
from tests.benchmarks.results import FOLDER
from tests.peers.contenders import CONTENDERS
from tests.peers.probes import PROBES, serving

__all__ = ["COMPARISON", "answers_of", "ask_all", "comparison_table", "load"]

COMPARISON = FOLDER / "comparison.json"
_LIBRARIES = ("python", "aiohttp", "starlette", "python-multipart", "aiohttp-tus")


def answers_of(name: str) -> Iterator[tuple[str, str]]:
    """One contender's answer to each question, from two servers: those with its own
    limits, and with generous ones.

    Raises:
        LookupError: it is not installed.
    """
    for generous in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="aiostreams-peers-") as folder,
            serving(name, Path(folder), generous=generous) as asked,
        ):
            for probe, question in PROBES.items():
                if question.generous == generous:
                    yield probe, question.ask(asked)


def ask_all() -> dict[str, Any]:
    """Every answer, and the versions of who gave them."""
    found = versions()
    heard = {name: dict(answers_of(name)) for name in CONTENDERS}
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": {name: found[name] for name in _LIBRARIES},
        "answers": {
            probe: {name: answers[probe] for name, answers in heard.items()}
            for probe in PROBES
        },
    }


def load() -> dict[str, Any]:
    """What was published."""
    comparison: dict[str, Any] = json.loads(COMPARISON.read_text())
    return comparison


def comparison_table() -> str:
    """Questions by contenders."""
    comparison = load()
    titles = [contender.title for contender in CONTENDERS.values()]
    lines = [
        f"| | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for probe, answers in comparison["answers"].items():
        cells = " | ".join(answers[name] for name in CONTENDERS)
        lines.append(f"| {PROBES[probe].text} | {cells} |")
    tried = ", ".join(
        f"{name} {version}" for name, version in comparison["versions"].items()
    )
    lines += ["", f"Tried on {comparison['date']} with {tried}."]
    return "\n".join(lines)
