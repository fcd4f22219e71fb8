"""A result as lines of text."""

from __future__ import annotations

from aiostreams import MiB
from tests.benchmarks.figures import duration, size, spread
from tests.benchmarks.results import Plain, verdicts

__all__ = ["crowd_table", "summary", "table"]

_HEAD = ("CPU", "ours to theirs (best)", "target", "")
_LINE = "{:<44} {:>11}  {:<30} {:<15} {}"


def table(result: Plain, *, usage: bool = False) -> str:
    """The row as lines of text, with faults and switches if ``usage``."""
    ours = result["ours"]
    title = f"{result['row']} (issue {result['issue']})"
    if "absent" in ours:
        return f"{title}\n  {ours['absent']}"
    lines = [_LINE.format(title, *_HEAD).rstrip()]
    for entry in (ours, *result["peers"]):
        lines.append(_entry_line(entry))
        lines += _notes(entry, result)
        if usage and "cpu" in entry:
            lines.append(
                f"      system {duration(entry['system'])}, "
                f"{entry['faults']:,.1f} faults, {entry['switches']:,.1f} switches"
            )
    return "\n".join(lines)


def _entry_line(entry: Plain) -> str:
    title = f"  {entry['title']}"
    if "absent" in entry:
        return f"{title:<44} {entry['absent']}"
    text = ""
    if "ratio" in entry:
        text = spread(entry["ratio"], entry["best"])
    target = entry.get("target")
    verdict = ("met" if entry["met"] else "MISSED") if target else ""
    return _LINE.format(
        title, duration(entry["cpu"]), text, target or "", verdict
    ).rstrip()


def _notes(entry: Plain, result: Plain) -> list[str]:
    notes = []
    if entry.get("size_target") is not None and "size_ratio" in entry:
        verdict = "met" if entry["size_met"] else "MISSED"
        notes.append(
            f"bytes: ours {result['ours']['length']:,}, theirs {entry['length']:,}: "
            f"{entry['size_ratio']:.3f} x, at most {entry['size_target']:g} x  {verdict}"
        )
    if entry.get("stall") is not None:
        text = (
            f"event loop blocked for {entry['stall'] * 1e3:.1f} ms "
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


_CROWD_LINE = "{:<30} {:>10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9}"


def crowd_table(crowd: Plain) -> str:
    """Many uploads at once, as lines of text."""
    lines = [
        f"{crowd['clients']} uploads of {size(crowd['size'])} at once (issue 6)",
        _CROWD_LINE.format(
            "", "MiB/s", "CPU", "memory", "loop held", "median", "p99", "worst"
        ),
    ]
    for entry in crowd["entries"]:
        if "absent" in entry:
            lines.append(f"  {entry['title']:<28} {entry['absent']}")
            continue
        memory = entry["memory"]
        lines.append(
            _CROWD_LINE.format(
                f"  {entry['title']}",
                f"{entry['throughput'] / MiB:,.0f}",
                duration(entry["cpu"]),
                "?" if memory is None else f"+{size(memory)}",
                *(
                    duration(entry[name])
                    for name in ("stall", "median", "p99", "worst")
                ),
            )
        )
    for name, text in (
        ("stall", "event loop blocked"),
        ("p99", "p99 of other requests"),
    ):
        limit = crowd[name]["limit"] * 1e3
        verdict = "met" if crowd[name]["met"] else "MISSED"
        lines.append(f"      {text}: at most {limit:g} ms  {verdict}")
    return "\n".join(lines)


def summary(document: Plain) -> str:
    """How many targets hold, and those that do not."""
    held = 0
    misses = []
    for row in document["rows"]:
        for about, text, met in verdicts(row):
            held += met
            if not met:
                misses.append(f"  {row['row']}: {about}: {text}")
    for name in ("stall", "p99"):
        if document["crowd"]:
            held += document["crowd"][name]["met"]
            if not document["crowd"][name]["met"]:
                seen = document["crowd"]["entries"][0][name]
                limit = document["crowd"][name]["limit"]
                misses.append(
                    f"  many uploads at once: {name}: {duration(seen)}, "
                    f"at most {duration(limit)}"
                )
    lines = [f"{held} of {held + len(misses)} targets met; missed:", *misses]
    return "\n".join(lines if misses else [f"all {held} targets met"])
