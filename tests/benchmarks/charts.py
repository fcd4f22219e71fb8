"""Bars as SVG, written by hand: small, and readable in the light and in the dark.

A chart has a panel of its own, so that it does not matter on what it is laid. Each row
is a group of bars, the longest of which takes the whole width: groups are not to be
compared, contestants are. The thin line over the end of a bar spans the quartiles.
Whoever does not see it is read the same figures from ``<desc>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Bar", "Group", "chart"]

_WIDTH = 760
_LABELS = 262
_BARS = 282
_LINE = 22
_HEADING = 34
_TOP = 44

_STYLE = """
.panel { fill: #fff; stroke: #d5dae1; }
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.group { font-weight: 600; }
.quiet, .value { fill: #57606a; }
.ours { fill: #1a66d6; }
.peer { fill: #9aa5b1; }
.own { fill: #b9c9e6; }
.spread { stroke: #24292f; stroke-width: 1.2; }
text.ours { fill: #1553b0; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  .panel { fill: #161b22; stroke: #30363d; }
  text { fill: #e6edf3; }
  .quiet, .value { fill: #a5b0bc; }
  .ours { fill: #4c8ff0; }
  .peer { fill: #6b7684; }
  .own { fill: #35507d; }
  .spread { stroke: #e6edf3; }
  text.ours { fill: #8ab8ff; }
}
""".strip()


class Bar(NamedTuple):
    """One contestant of a group.

    Attributes:
        label: who.
        value: how long the bar is.
        low, high: the quartiles of ``value``.
        text: what stands behind it.
        kind: ``"ours"``, ``"peer"``, or ``"own"`` for what is neither.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    kind: str


class Group(NamedTuple):
    """Bars of one scale."""

    name: str
    bars: Sequence[Bar]


def chart(title: str, groups: Sequence[Group]) -> str:
    """The text of an SVG file."""
    parts: list[str] = []
    y = _TOP
    for group in groups:
        y += _HEADING
        parts.append(_text(20, y - 10, group.name, "group"))
        longest = max(bar.high for bar in group.bars)
        for bar in group.bars:
            parts += _bar(bar, y, _BARS / longest)
            y += _LINE
    height = y + 18
    described = "; ".join(
        f"{group.name}: {', '.join(f'{bar.label} {bar.text}' for bar in group.bars)}"
        for group in groups
    )
    head = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'role="img" aria-labelledby="title desc">'
        ),
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(described)}</desc>',
        f"<style>{_STYLE}</style>",
        (
            f'<rect class="panel" x="0.5" y="0.5" width="{_WIDTH - 1}" '
            f'height="{height - 1}" rx="8"/>'
        ),
        _text(20, 30, title, "title"),
        _text(_WIDTH - 20, 30, "CPU time a request; shorter is better", "quiet end"),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    middle = y + _LINE / 2
    width = max(1.0, bar.value * scale)
    left = _LABELS
    low, high = left + bar.low * scale, left + bar.high * scale
    label = "ours" if bar.kind == "ours" else "name"
    lines = [
        _text(left - 10, middle + 4.5, bar.label, f"{label} end"),
        (
            f'<rect class="{bar.kind}" x="{left}" y="{y + 3}" width="{width:.1f}" '
            f'height="{_LINE - 6}" rx="2"/>'
        ),
    ]
    if high - low >= 2:
        lines.append(
            f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}'
            f'M{low:.1f} {middle - 3}v6M{high:.1f} {middle - 3}v6"/>'
        )
    lines.append(_text(max(left + width, high) + 8, middle + 4.5, bar.text, "value"))
    return lines


def _text(x: float, y: float, text: str, kind: str) -> str:
    anchor = ' text-anchor="end"' if kind.endswith(" end") else ""
    kind = kind.removesuffix(" end")
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.1f}"{anchor}>{escape(text)}</text>'
