"""What was measured, as a table and as JSON.

A ratio is the median over the rounds, with its quartiles, and the ratio of the two
fastest samples: on a busy machine that one is nearer to the truth.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiostreams import MiB
from tests.benchmarks.measure import Samples
from tests.benchmarks.rows import Peer, Row

__all__ = ["missed", "results", "save", "table"]

_LIBRARIES = (
    "aiohttp",
    "starlette",
    "uvicorn",
    "httptools",
    "multipart",
    "python-multipart",
    "starlette-compress",
    "msgspec",
    "isal",
    "zlib-ng",
    "brotli",
    "backports.zstd",
)


def versions() -> dict[str, str]:
    """Of Python and of the libraries; of those that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def machine() -> dict[str, Any]:
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _time(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f} µs" if micro < 10_000 else f"{seconds * 1e3:,.1f} ms"


def _quartiles(ratios: Sequence[float]) -> tuple[float, float, float]:
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def _ratio(low: float, middle: float, high: float, best: float) -> str:
    """As ours to theirs; as a multiple the other way when ours is far less."""
    if middle < 0.67:
        text = f"{1 / middle:.1f} x less ({1 / high:.1f}..{1 / low:.1f}"
        return f"{text}; {1 / best:.1f})"
    return f"{middle:.2f} x ({low:.2f}..{high:.2f}; {best:.2f})"


def results(row: Row, samples: list[Samples]) -> dict[str, Any]:
    """The row's numbers and verdicts, as plain values."""
    ours = samples[0]
    made: dict[str, Any] = {
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


def _entry(title: str, samples: Samples) -> dict[str, Any]:
    if not samples.cpu:
        return {"title": title, "absent": samples.absent or "row is not active"}
    return {
        "title": title,
        "cpu": samples.median,
        "cpu_samples": samples.cpu,
        "memory": samples.memory,
        "length": samples.length,
        "stall": statistics.median(samples.stalls) if samples.stalls else None,
        "stall_worst": max(samples.stalls, default=None),
    }


def _peer(peer: Peer, ours: Samples, theirs: Samples) -> dict[str, Any]:
    made = _entry(peer.entry.title, theirs)
    target = peer.target
    made["target"] = target.text if target else None
    made["size_target"] = peer.size
    if ours.cpu and theirs.cpu:
        made["ratio"] = quartiles = _quartiles(ours.ratios(theirs))
        # Other load only ever adds: of the two fastest samples it is the least.
        made["best"] = min(ours.cpu) / min(theirs.cpu)
        made["met"] = target is None or quartiles[1] <= target.bound
        if peer.size is not None:
            made["size_ratio"] = ours.length / theirs.length
            made["size_met"] = made["size_ratio"] <= peer.size
    return made


def missed(result: dict[str, Any]) -> bool:
    """Whether a target of the row was missed."""
    if not result.get("stall", {}).get("met", True):
        return True
    return any(
        not peer.get("met", True) or not peer.get("size_met", True)
        for peer in result["peers"]
    )


_HEAD = ("CPU", "ours to theirs (best)", "target", "")
_LINE = "{:<44} {:>11}  {:<30} {:<15} {}"


def table(result: dict[str, Any]) -> str:
    """The row as lines of text."""
    ours = result["ours"]
    title = f"{result['row']} (issue {result['issue']})"
    if "absent" in ours:
        return f"{title}\n  {ours['absent']}"
    lines = [_LINE.format(title, *_HEAD).rstrip()]
    for entry in (ours, *result["peers"]):
        lines.append(_entry_line(entry))
        lines += _notes(entry, result)
    return "\n".join(lines)


def _entry_line(entry: dict[str, Any]) -> str:
    title = f"  {entry['title']}"
    if "absent" in entry:
        return f"{title:<44} {entry['absent']}"
    ratio = ""
    if "ratio" in entry:
        low, middle, high = entry["ratio"]
        ratio = _ratio(low, middle, high, entry["best"])
    target = entry.get("target")
    verdict = ("met" if entry["met"] else "MISSED") if target else ""
    return _LINE.format(
        title, _time(entry["cpu"]), ratio, target or "", verdict
    ).rstrip()


def _notes(entry: dict[str, Any], result: dict[str, Any]) -> list[str]:
    notes = []
    if entry.get("size_target") is not None and "size_ratio" in entry:
        verdict = "met" if entry["size_met"] else "MISSED"
        notes.append(
            f"bytes: ours {result['ours']['length']:,}, theirs {entry['length']:,}: "
            f"{entry['size_ratio']:.3f} x, at most {entry['size_target']:g} x  {verdict}"
        )
    if entry.get("stall") is not None:
        text = (
            f"event loop held up for {entry['stall'] * 1e3:.1f} ms "
            f"(worst round {entry['stall_worst'] * 1e3:.1f} ms)"
        )
        if entry is result["ours"] and "stall" in result:
            limit = result["stall"]["limit"] * 1e3
            verdict = "met" if result["stall"]["met"] else "MISSED"
            text += f", at most {limit:g} ms  {verdict}"
        notes.append(text)
    if entry.get("memory") and entry["memory"] > 4 * MiB:
        notes.append(f"memory grew by {entry['memory'] / MiB:.0f} MiB")
    return [f"      {note}" for note in notes]


def save(path: Path, rows: list[dict[str, Any]], rounds: int) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds,
        "rows": rows,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
