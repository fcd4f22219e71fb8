"""What the documentation says about benchmarks, made of the published results.

Pages are written by hand; between ``<!-- benchmark-NAME -->`` and ``<!-- end -->`` in
them stands what a function of ``BLOCKS`` makes. ``write_all()`` fills them, and draws
a chart for each area. Nothing that is measured comes from a hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from aiostreams import GiB, MiB
from tests.benchmarks.charts import Bar, Group, chart
from tests.benchmarks.figures import duration, size, spread, times
from tests.benchmarks.machine import ROOT
from tests.benchmarks.results import FOLDER, PUBLISHED, Plain, load, verdicts

__all__ = [
    "AREAS",
    "BLOCKS",
    "PAGE",
    "PUBLISHED",
    "charts",
    "filled",
    "run",
    "worse",
    "write_all",
]

PAGE = ROOT / "docs" / "benchmarks.md"

AREAS = {
    "drain": "Reading a body",
    "put_to_disk": "A body into a file",
    "json_bodies": "JSON and bytes",
    "forms": "Forms",
    "uploads": "Uploads into a storage",
    "resumable": "Resumable uploads",
    "encryption": "Encrypted objects",
    "codings": "Content codings",
    "downloads": "Downloads",
    "archives": "Archives",
    "fanout": "One producer, many readers",
    "adapter": "The adapter to aiohttp's reader",
}


def _rows(document: Plain, area: str) -> list[Plain]:
    return [
        row
        for row in document["rows"]
        if row["area"] == area and "absent" not in row["ours"]
    ]


def _measured(row: Plain) -> Iterator[Plain]:
    return (peer for peer in row["peers"] if "ratio" in peer)


# -- charts ----------------------------------------------------------------------------


def charts(document: Plain) -> dict[str, str]:
    """The SVG files, by name."""
    return {
        f"{area.replace('_', '-')}.svg": chart(
            title, [_group(row) for row in _rows(document, area) if row["peers"]]
        )
        for area, title in AREAS.items()
        if any(row["peers"] for row in _rows(document, area))
    }


def _group(row: Plain) -> Group:
    bars = [_bar(row["ours"], "ours", duration(row["ours"]["cpu"]))]
    for peer in _measured(row):
        text = f"{duration(peer['cpu'])}, {times(1 / peer['ratio'][1])} ours"
        bars.append(_bar(peer, "own" if peer["kin"] else "peer", text))
    return Group(row["row"], bars)


def _bar(entry: Plain, kind: str, text: str) -> Bar:
    low, _, high = entry["cpu_quartiles"]
    return Bar(entry["title"], entry["cpu"], low, high, text, kind)


# -- tables ----------------------------------------------------------------------------


def _table(head: str, rows: list[str]) -> str:
    return "\n".join(
        [head, "|".join(["", *["---"] * (head.count("|") - 1), ""]), *rows]
    )


def run(document: Plain) -> str:
    """When, on what, and with which versions."""
    machine = document["machine"]
    memory = f", {machine['memory'] / GiB:.0f} GiB" if machine["memory"] else ""
    lines = [
        (
            f"Measured on {document['date'][:10]} at commit `{document['commit']}`, in "
            f"{document['seconds'] / 60:.0f} minutes: {document['rounds']} rounds, and "
            f"{document['starts']} starts of each server."
        ),
        "",
        (
            f"{machine['processor']}, {machine['cores']} cores{memory}, "
            f"{machine['system']} {machine['kernel']}. The load average was "
            f"{machine['load']:.1f} before the run and {machine['load_after']:.1f} after "
            f"it; the run itself adds up to 2."
        ),
        "",
        ", ".join(
            f"{name} {version}"
            for name, version in document["versions"].items()
            if version != "-"
        )
        + ".",
    ]
    if machine["load"] > 1:
        lines += [
            "",
            (
                "**The machine was also doing other work.** That costs every server CPU "
                "time, and most of all a server that uses threads, as aiostreams does for "
                "files."
            ),
        ]
    if document["quick"]:
        lines.insert(
            0,
            "**This is a quick run. It shows that every row works; its figures are not "
            "reliable.**\n",
        )
    return "\n".join(lines)


def worse(document: Plain) -> str:
    """Where a peer surely spends less than we do."""
    lines = [
        f"| {row['row']} | {peer['title']} | {spread(peer['ratio'])} |"
        for row in document["rows"]
        for peer in _measured(row)
        if not peer["kin"] and peer["ratio"][0] > 1
    ]
    if not lines:
        return "In no row of this run."
    return _table("| row | spends less | ours to theirs |", lines)


def targets(document: Plain) -> str:
    """How many hold, and each that was missed."""
    lines = []
    held = 0
    for row in document["rows"]:
        for about, text, met in verdicts(row):
            held += met
            if not met:
                seen, _, wanted = text.rpartition(", ")
                lines.append(f"| {row['row']} | {about} | {seen} | {wanted} |")
    for name, about in (("stall", "event loop"), ("p99", "other requests, p99")):
        crowd = document["crowd"]
        held += crowd[name]["met"]
        if not crowd[name]["met"]:
            seen = duration(crowd["entries"][0][name])
            wanted = f"at most {duration(crowd[name]['limit'])}"
            lines.append(f"| many uploads at once | {about} | {seen} | {wanted} |")
    text = f"{held} of {held + len(lines)} hold."
    if lines:
        table = _table("| row | compared with | measured | target |", lines)
        text = f"{text} These do not:\n\n{table}"
    return text


def rows(document: Plain) -> str:
    """A section for each area: the chart, and the same as a table."""
    sections = []
    for area, title in AREAS.items():
        found = _rows(document, area)
        if not found:
            continue
        lines = [f"### {title}", ""]
        if any(row["peers"] for row in found):
            name = area.replace("_", "-")
            lines += [f"![CPU time a request: {title}](benchmarks/{name}.svg)", ""]
        sections.append("\n".join([*lines, _area_table(found)]))
    return "\n\n".join([*sections, _crowd(document["crowd"])])


def _area_table(found: list[Plain]) -> str:
    def time(entry: Plain) -> str:
        return duration(entry["cpu"]).replace(" ", "&nbsp;")

    lines = []
    for row in found:
        lines.append(f"| **{row['row']}** | | | | |")
        ours = row["ours"]
        stall = f"at most {row['stall']['limit'] * 1e3:g} ms" if "stall" in row else ""
        lines.append(f"| {ours['title']} | {time(ours)} | | {stall} | {_extra(ours)} |")
        for peer in row["peers"]:
            if "ratio" not in peer:
                lines.append(f"| {peer['title']} | {peer['absent']} | | | |")
                continue
            target = peer["target"] or ""
            if peer["size_target"] is not None:
                target += f"; bytes at most {peer['size_target']:g} x"
            lines.append(
                f"| {peer['title']} | {time(peer)} | {spread(peer['ratio'])} "
                f"| {target} | {_extra(peer)} |"
            )
    return _table("| | CPU | ours to theirs | target | |", lines)


def _extra(entry: Plain) -> str:
    told = []
    if "size_ratio" in entry:
        told.append(f"bytes: ours {entry['size_ratio']:.3f} x")
    if entry["stall"] is not None:
        told.append(f"event loop blocked for {entry['stall'] * 1e3:.1f} ms")
    if entry["memory"] and entry["memory"] > 4 * MiB:
        told.append(f"memory grew by {size(entry['memory'])}")
    return "; ".join(told)


def _crowd(crowd: Plain) -> str:
    lines = []
    for entry in crowd["entries"]:
        if "absent" in entry:
            lines.append(f"| {entry['title']} | {entry['absent']} | | | | | |")
            continue
        memory = "" if entry["memory"] is None else f"+{size(entry['memory'])}"
        speed = f"{size(entry['throughput'])}/s" if entry["throughput"] else ""
        lines.append(
            f"| {entry['title']} | {speed} | {duration(entry['cpu'])} | {memory} | "
            + " | ".join(duration(entry[name]) for name in ("stall", "median", "p99"))
            + " |"
        )
    table = _table(
        "| | speed | CPU | memory | event loop blocked | other requests | their p99 |",
        lines,
    )
    return (
        f"### Many uploads at once\n\n{crowd['clients']} forms, each with a file of "
        f"{size(crowd['size'])}, are sent at the same time. Meanwhile, a client sends "
        f"small requests one after the other. aiostreams hashes each file and stores it "
        f"under its name; the others leave it in a temporary file. The row without "
        f"uploads shows the small requests alone.\n\n{table}"
    )


BLOCKS: dict[str, Callable[[Plain], str]] = {
    "benchmark-run": run,
    "benchmark-worse": worse,
    "benchmark-targets": targets,
    "benchmark-rows": rows,
}


def filled(text: str, document: Plain) -> str:
    """The page with its blocks made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if found:
            _, _, after = rest.partition(end)
            text = f"{before}{begin}{make(document)}\n\n{end}{after}"
    return text


def write_all() -> None:
    """Every page and chart that is made of the published results."""
    document = load()
    for name, text in charts(document).items():
        _write(FOLDER / name, text)
    _write(PAGE, filled(PAGE.read_text(), document))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        print(path.relative_to(ROOT))
