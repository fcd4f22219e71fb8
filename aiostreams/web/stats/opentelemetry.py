"""``opentelemetry_stats``: the metrics of OpenTelemetry's conventions for HTTP.

Names, units, attributes and boundaries are those of the semantic conventions where
they have any: ``http.server.request.duration``, ``http.server.request.body.size`` and
``http.server.response.body.size``. What goes beyond them is called ``aiostreams.``.

Only the API is needed. Without an SDK behind it nothing is recorded, and where to is
the SDK's matter. A span of the request is not touched: those who make one end it when
the handler returns, which is before the body was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiostreams.extras import require
from aiostreams.web.stats.model import ADVISED_DURATIONS, SIZES

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from aiostreams.web.stats.model import BodyStats, StatsCallback

__all__ = ["opentelemetry_stats"]


def opentelemetry_stats(meter_provider: MeterProvider | None = None) -> StatsCallback:
    """A callback for ``setup(on_stats=...)`` that feeds OpenTelemetry's metrics.

    Needs the extra ``opentelemetry``. Three histograms have the attributes that the
    conventions ask for, ``http.request.method``, ``http.route``,
    ``http.response.status_code``, ``error.type``, ``network.protocol.version`` and
    ``url.scheme``, and ``aiostreams.outcome``. Beside them there are the counters

    * ``aiostreams.request.refused``, of requests that were refused for the client's
      fault, which is no error in the conventions' eyes, by ``error.type``;
    * ``aiostreams.request.parts``;
    * ``aiostreams.request.encoded_size`` and ``aiostreams.request.decoded_size``, of
      bodies that came in a content coding, by ``aiostreams.coding``; and the same
      two of ``aiostreams.response``.

    Args:
        meter_provider: the global one unless given.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    metrics: Any = require(
        "opentelemetry.metrics", extra="opentelemetry", what="opentelemetry_stats"
    )
    return _Instruments(metrics.get_meter("aiostreams", meter_provider=meter_provider))


class _Instruments:
    """The callback."""

    def __init__(self, meter: Any) -> None:
        def size(name: str, text: str) -> Any:
            return meter.create_histogram(
                name, "By", text, explicit_bucket_boundaries_advisory=SIZES
            )

        self._duration = meter.create_histogram(
            "http.server.request.duration",
            "s",
            "Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=ADVISED_DURATIONS,
        )
        self._request_size = size(
            "http.server.request.body.size", "Size of HTTP server request bodies."
        )
        self._response_size = size(
            "http.server.response.body.size", "Size of HTTP server response bodies."
        )
        self._refused = meter.create_counter(
            "aiostreams.request.refused",
            "{request}",
            "Requests that were refused for the client's fault.",
        )
        self._parts = meter.create_counter(
            "aiostreams.request.parts",
            "{part}",
            "Parts of multipart bodies that were read.",
        )
        self._encoded = {
            (way, what): meter.create_counter(
                f"aiostreams.{way}.{what}_size",
                "By",
                f"Size of {way} bodies in a content coding, {text}.",
            )
            for way in ("request", "response")
            for what, text in (("encoded", "in it"), ("decoded", "without it"))
        }

    def __call__(self, stats: BodyStats) -> None:
        where = {"http.request.method": stats.method}
        if stats.route is not None:
            where["http.route"] = stats.route
        attributes: dict[str, str | int] = {
            **where,
            "url.scheme": stats.scheme,
            "network.protocol.version": stats.http_version,
            "aiostreams.outcome": stats.outcome,
        }
        if stats.status is not None:
            attributes["http.response.status_code"] = stats.status
        if (error := _error_type(stats)) is not None:
            attributes["error.type"] = error
        self._duration.record(stats.duration, attributes)
        self._request_size.record(stats.request_body_size, attributes)
        self._response_size.record(stats.response_body_size, attributes)
        if stats.outcome == "refused":
            self._refused.add(1, {**where, "error.type": stats.error or "_OTHER"})
        if stats.request_parts:
            self._parts.add(stats.request_parts, where)
        if stats.request_codings and stats.request_decoded_size is not None:
            coded = {**where, "aiostreams.coding": " ".join(stats.request_codings)}
            self._encoded["request", "encoded"].add(stats.request_body_size, coded)
            self._encoded["request", "decoded"].add(stats.request_decoded_size, coded)
        if stats.response_codings and stats.response_decoded_size is not None:
            coded = {**where, "aiostreams.coding": " ".join(stats.response_codings)}
            self._encoded["response", "encoded"].add(stats.response_body_size, coded)
            self._encoded["response", "decoded"].add(stats.response_decoded_size, coded)


def _error_type(stats: BodyStats) -> str | None:
    """What the conventions call an error: a 4xx is none."""
    if stats.outcome in {"ok", "refused"}:
        failed = stats.status is not None and stats.status >= 500
        return str(stats.status) if failed else None
    return stats.error or "_OTHER"
