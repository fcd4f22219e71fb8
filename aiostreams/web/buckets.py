"""Upper bounds of histograms: what to tell apart, of times and of sizes."""

from __future__ import annotations

from typing import Final

from aiostreams.limits import GiB, KiB, MiB

__all__ = ["ADVISED_DURATIONS", "DURATIONS", "SIZES"]

# Seconds, as OpenTelemetry's conventions advise for HTTP; services compare by them.
ADVISED_DURATIONS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
# An upload may well take longer.
DURATIONS: Final = (*ADVISED_DURATIONS, 30.0, 60.0, 300.0)
# Bytes. No body at all is one thing, all others go by factors of four.
SIZES: Final = (
    *(0, 256, 1 * KiB, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB),
    *(1 * MiB, 4 * MiB, 16 * MiB, 64 * MiB, 256 * MiB, 1 * GiB),
)
