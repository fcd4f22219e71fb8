"""What was measured as plain values, in one file: every sample, and the verdicts.

A ratio is the median over the rounds, with its quartiles, and the ratio of the two
fastest samples: on a busy machine that one is nearer to the truth.

``docs/benchmarks/results.json`` is the file that the documentation's tables and charts
are made of; only a run of everything writes it.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.benchmarks.figures import ratio
from tests.benchmarks.machine import ROOT
from tests.benchmarks.measure import Samples
from tests.benchmarks.rows import Peer, Row

__all__ = [
    "FOLDER",
    "PUBLISHED",
    "Plain",
    "load",
    "missed",
    "result",
    "save",
    "verdicts",
]

Plain: TypeAlias = dict[str, Any]

FOLDER = ROOT / "docs" / "benchmarks"
PUBLISHED = FOLDER / "results.json"


def _quartiles(ratios: Sequence[float]) -> tuple[float, float, float]:
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def result(area: str, row: Row, samples: list[Samples]) -> Plain:
    """The row's numbers and verdicts, as plain values."""
    ours = samples[0]
    made: Plain = {
        "area": area,
        "row": row.name,
        "issue": row.issue,
        "ours": _entry(row.ours.title, ours),
        "peers": [],
    }
    if row.stall is not None and ours.stalls:
        stall = statistics.median(ours.stalls)
        made["stall"] = {"limit": row.stall, "met": stall <= row.stall}
    for peer, theirs in zip(row.peers, samples[1:], strict=True):
        made["peers"].append(_peer(peer, ours, theirs))
    return made


def _entry(title: str, samples: Samples) -> Plain:
    if not samples.cpu:
        return {"title": title, "absent": samples.absent or "row is not active"}
    return {
        "title": title,
        "cpu": samples.median,
        "cpu_quartiles": _quartiles(samples.cpu),
        "cpu_samples": samples.cpu,
        "system": statistics.median(samples.system),
        "faults": statistics.median(samples.faults),
        "switches": statistics.median(samples.switches),
        "memory": samples.memory,
        "length": samples.length,
        "stall": statistics.median(samples.stalls) if samples.stalls else None,
        "stall_worst": max(samples.stalls, default=None),
    }


def _peer(peer: Peer, ours: Samples, theirs: Samples) -> Plain:
    made = _entry(peer.entry.title, theirs)
    target = peer.target
    made["target"] = target.text if target else None
    made["size_target"] = peer.size
    made["kin"] = peer.kin
    if ours.cpu and theirs.cpu:
        made["ratio"] = quartiles = _quartiles(ours.ratios(theirs))
        # Other load only ever adds: of the two fastest samples it is the least.
        made["best"] = min(ours.cpu) / min(theirs.cpu)
        made["met"] = target is None or quartiles[1] <= target.bound
        if peer.size is not None:
            made["size_ratio"] = ours.length / theirs.length
            made["size_met"] = made["size_ratio"] <= peer.size
    return made


def verdicts(row: Plain) -> Iterator[tuple[str, str, bool]]:
    """Each target of a row: what it is about, what was measured, and whether it holds."""
    if "stall" in row:
        limit, seen = row["stall"]["limit"], row["ours"]["stall"]
        text = f"event loop blocked for {seen * 1e3:.1f} ms, at most {limit * 1e3:g} ms"
        yield "event loop", text, row["stall"]["met"]
    for peer in row["peers"]:
        if peer.get("target") and "ratio" in peer:
            text = f"{ratio(peer['ratio'][1])}, {peer['target']}"
            yield peer["title"], text, peer["met"]
        if "size_met" in peer:
            text = f"{peer['size_ratio']:.3f} x, at most {peer['size_target']:g} x"
            yield f"{peer['title']}, bytes", text, peer["size_met"]


def missed(row: Plain) -> bool:
    """Whether a target of the row was missed."""
    return not all(met for _, _, met in verdicts(row))


def save(path: Path, document: Plain) -> None:
    """Write it as JSON, with the samples of an entry in one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(document), indent=1, ensure_ascii=False)
    text = re.sub(r"\[[-\s\d.,e]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    path.write_text(text + "\n")


def _rounded(value: Any) -> Any:
    """To nanoseconds, or six digits: what lies below is no measurement."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def load(path: Path = PUBLISHED) -> Plain:
    """What ``save`` has written."""
    document: Plain = json.loads(path.read_text())
    return document
