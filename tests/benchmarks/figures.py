"""How numbers are written, in text, tables and charts alike."""

from __future__ import annotations

from collections.abc import Sequence

from aiostreams import GiB, KiB, MiB

__all__ = ["duration", "ratio", "size", "spread", "times"]


def duration(seconds: float) -> str:
    """``811 µs``, ``76.1 ms``, ``1.20 s``."""
    if seconds < 0.010:
        return f"{seconds * 1e6:,.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:,.1f} ms"
    return f"{seconds:,.2f} s"


def size(count: float) -> str:
    """``17 MiB``."""
    for unit, name in ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if count >= unit:
            number = count / unit
            return f"{number:.0f} {name}" if number >= 10 else f"{number:.1f} {name}"
    return f"{count:.0f} B"


def times(factor: float) -> str:
    """With about three digits: ``94 x``, ``2.83 x``, ``0.90 x``."""
    return f"{factor:,.0f} x" if factor >= 10 else f"{factor:.2f} x"


def ratio(middle: float) -> str:
    """Ours to theirs; as a multiple the other way when ours is far less."""
    if middle < 0.67:
        return f"{1 / middle:.1f} x less"
    return f"{middle:.2f} x"


def spread(quartiles: Sequence[float], best: float | None = None) -> str:
    """The ratio with its quartiles, and that of the two fastest samples."""
    low, middle, high = quartiles
    if middle < 0.67:
        text = f"{1 / high:.1f}..{1 / low:.1f}"
        more = "" if best is None else f"; {1 / best:.1f}"
    else:
        text = f"{low:.2f}..{high:.2f}"
        more = "" if best is None else f"; {best:.2f}"
    return f"{ratio(middle)} ({text}{more})"
