"""Statistics of requests, and callbacks for logs, Prometheus and OpenTelemetry.

For ``setup(app, on_stats=...)``.
"""

from __future__ import annotations

from aiostreams.web.stats.log import log_stats
from aiostreams.web.stats.model import BodyStats, RequestTracer, UploadStats
from aiostreams.web.stats.opentelemetry import (
    opentelemetry_stats,
    opentelemetry_tracing,
)
from aiostreams.web.stats.prometheus import prometheus_stats

__all__ = [
    "BodyStats",
    "RequestTracer",
    "UploadStats",
    "log_stats",
    "opentelemetry_stats",
    "opentelemetry_tracing",
    "prometheus_stats",
]
