"""``log_stats``: a line in a log for each request.

An access log knows the status and the size of a response; this also knows what came
in, what the codings saved, and how it ended. A line has nothing that a client chose:
the route and not the path, names and not messages.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiostreams.web.stats.model import BodyStats, StatsCallback

__all__ = ["STATS_LOGGER", "log_stats"]

STATS_LOGGER: Final = "aiostreams.stats"


def log_stats(
    logger: logging.Logger | str = STATS_LOGGER, *, level: int = logging.INFO
) -> StatsCallback:
    """Make a callback for ``setup(on_stats=...)`` that logs each request.

        request ok: POST /upload 201, in 34567 bytes as 3 parts, out 52 bytes, 0.031 s

    A line of a resumable upload ends in ``, upload <id> at 34567 bytes``. The record
    has the :class:`BodyStats` as its attribute ``stats``, for a handler that writes
    fields and not lines.

    Args:
        logger: where to, or its name.
        level: of the record; a request that failed by our own fault is an error
            whatever this is.
    """
    target = logging.getLogger(logger) if isinstance(logger, str) else logger

    def log(stats: BodyStats) -> None:
        severity = max(level, logging.ERROR) if stats.outcome == "failed" else level
        if target.isEnabledFor(severity):
            target.log(severity, "%s", _Line(stats), extra={"stats": stats})

    return log


class _Line:
    """Formatted when a handler wants it, if one does."""

    __slots__ = ("_stats",)

    def __init__(self, stats: BodyStats) -> None:
        self._stats = stats

    def __str__(self) -> str:
        stats = self._stats
        how = stats.outcome.replace("_", " ")
        if stats.error is not None:
            how = f"{how} ({stats.error})"
        status = "no answer" if stats.status is None else stats.status
        words = [
            f"request {how}: {stats.method} {stats.route or '-'} {status}",
            "in "
            + _size(
                stats.request_body_size,
                stats.request_decoded_size,
                stats.request_codings,
            ),
            "out "
            + _size(
                stats.response_body_size,
                stats.response_decoded_size,
                stats.response_codings,
            ),
            f"{stats.duration:.3f} s",
        ]
        if stats.request_parts:
            plural = "s" * (stats.request_parts > 1)
            words[1] += f" as {stats.request_parts} part{plural}"
        if stats.upload is not None:
            words.append(f"upload {stats.upload.id} at {stats.upload.offset} bytes")
        return ", ".join(words)


def _size(wire: int, decoded: int | None, codings: tuple[str, ...]) -> str:
    if not codings:
        return f"{wire} bytes"
    of = "" if decoded is None else f" of {decoded}"
    return f"{wire} bytes ({' '.join(codings)}{of})"
