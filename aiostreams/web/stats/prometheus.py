"""``prometheus_stats``: counters and histograms for Prometheus to collect.

Only names of few values become labels, see ``stats``. The children of each metric are
looked up once for each combination of labels that occurs: the lookup takes a lock and
1 us, and there are nine.

A file of its own, as each receiver of statistics has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiostreams.extras import require
from aiostreams.web.stats.model import DURATIONS, SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry

    from aiostreams.web.stats.model import BodyStats, StatsCallback

__all__ = ["prometheus_stats"]


def prometheus_stats(
    registry: CollectorRegistry | None = None,
    *,
    namespace: str = "aiostreams",
    durations: Sequence[float] = DURATIONS,
    sizes: Sequence[float] = SIZES,
) -> StatsCallback:
    """Make a callback for ``setup(on_stats=...)`` that feeds metrics of Prometheus.

    Needs the extra ``prometheus``. Serve them with ``prometheus_client``'s
    ``generate_latest``. Behind ``namespace`` they are called

    * ``requests_total`` by method, route, status and outcome;
    * ``errors_total`` by route, outcome and error: of requests that were not ok;
    * ``request_duration_seconds``, ``request_body_size_bytes`` and
      ``response_body_size_bytes``, histograms by method and route;
    * ``request_encoded_bytes_total`` and ``request_decoded_bytes_total`` by route and
      coding: of bodies that came in a content coding, their size in it and without
      it; ``response_encoded_bytes_total`` and ``response_decoded_bytes_total``
      likewise: what compression saves;
    * ``request_parts_total`` by route;
    * ``uploads_total`` by route, protocol and event, of resumable uploads: ``begun``,
      ``resumed``, ``taken_over``, ``finished`` as in :class:`UploadStats`, and
      ``expired``, before they were complete and without a route;
      ``uploads_resent_bytes_total`` by route and protocol: what came and has to be sent
      again.

    Args:
        registry: where they are registered; the default one unless given.
        namespace: how all names begin.
        durations: the buckets for times, upper bounds in seconds.
        sizes: the buckets for sizes, upper bounds in bytes.

    Raises:
        ImportError: prometheus-client is not installed.
        ValueError: the registry has metrics of that name; one callback may serve
            several applications.
    """
    client: Any = require(
        "prometheus_client", extra="prometheus", what="prometheus_stats"
    )
    return _Metrics(
        client,
        client.REGISTRY if registry is None else registry,
        namespace,
        durations,
        sizes,
    )


class _Metrics:
    """The callback."""

    def __init__(
        self,
        client: Any,
        registry: CollectorRegistry,
        namespace: str,
        durations: Sequence[float],
        sizes: Sequence[float],
    ) -> None:
        def counter(name: str, text: str, *labels: str) -> Any:
            return client.Counter(
                name, text, labels, namespace=namespace, registry=registry
            )

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Any:
            return client.Histogram(
                name,
                text,
                ("method", "route"),
                namespace=namespace,
                registry=registry,
                buckets=buckets,
            )

        self._requests = counter(
            "requests", "Requests that are over", "method", "route", "status", "outcome"
        )
        self._errors = counter(
            "errors", "Requests that were not ok", "route", "outcome", "error"
        )
        self._parts = counter(
            "request_parts", "Parts of multipart bodies that were read", "route"
        )
        self._uploads = counter(
            "uploads",
            "What has happened to resumable uploads",
            "route",
            "protocol",
            "event",
        )
        self._resent = counter(
            "uploads_resent_bytes",
            "Bytes of resumable uploads that came and have to be sent again",
            "route",
            "protocol",
        )
        self._histograms = (
            histogram(
                "request_duration_seconds",
                "From the request's header section to the response's last byte",
                durations,
            ),
            histogram("request_body_size_bytes", "Bodies as received, encoded", sizes),
            histogram("response_body_size_bytes", "Bodies as sent, encoded", sizes),
        )
        self._encoded = {
            (way, what): counter(
                f"{way}_{what}_bytes",
                f"Bodies in a content coding, {text}",
                "route",
                "coding",
            )
            for way in ("request", "response")
            for what, text in (("encoded", "in it"), ("decoded", "without it"))
        }
        self._children: dict[tuple[Any, ...], Any] = {}

    def __call__(self, stats: BodyStats) -> None:
        method, route = stats.method, stats.route or ""
        status = "" if stats.status is None else str(stats.status)
        self._child(self._requests, method, route, status, stats.outcome).inc()
        if stats.outcome != "ok":
            error = stats.error or ""
            self._child(self._errors, route, stats.outcome, error).inc()
        observed = (
            stats.duration,
            stats.request_body_size,
            stats.response_body_size,
        )
        for histogram, value in zip(self._histograms, observed, strict=True):
            self._child(histogram, method, route).observe(value)
        if stats.request_parts:
            self._child(self._parts, route).inc(stats.request_parts)
        if stats.upload is not None:
            protocol = stats.upload.protocol
            for event in stats.upload.events:
                self._child(self._uploads, route, protocol, event).inc()
            if stats.resent:
                self._child(self._resent, route, protocol).inc(stats.resent)
        self._count_encoded(
            "request",
            route,
            stats.request_codings,
            stats.request_body_size,
            stats.request_decoded_size,
        )
        self._count_encoded(
            "response",
            route,
            stats.response_codings,
            stats.response_body_size,
            stats.response_decoded_size,
        )

    def expire_upload(self, protocol: str) -> None:
        """Count a resumable upload that has expired."""
        self._child(self._uploads, "", protocol, "expired").inc()

    def _count_encoded(
        self,
        way: str,
        route: str,
        codings: tuple[str, ...],
        encoded: int,
        decoded: int | None,
    ) -> None:
        if not codings or decoded is None:
            return
        coding = " ".join(codings)
        self._child(self._encoded[way, "encoded"], route, coding).inc(encoded)
        self._child(self._encoded[way, "decoded"], route, coding).inc(decoded)

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child
