"""Metrics and traces by OpenTelemetry's conventions for HTTP.

Names, units, attributes and boundaries are those of the semantic conventions where
they have any: ``http.server.request.duration``, ``http.server.request.body.size`` and
``http.server.response.body.size``. What goes beyond them is called ``aiostreams.``.

Only the API is needed. Without an SDK behind it nothing is recorded, and where to is
the SDK's matter.

A span that others make ends when the handler returns, which is before the body was
sent; the one of ``opentelemetry_tracing`` ends with the last byte of the response.

A file of its own, as each receiver of statistics has one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aiostreams.extras import require
from aiostreams.web.state import body_of, tally_of
from aiostreams.web.stats.model import ADVISED_DURATIONS, SIZES
from aiostreams.web.stats.reporter import route_of, standard_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from aiostreams.web.stats.model import BodyStats, RequestTracer, StatsCallback

__all__ = ["opentelemetry_stats", "opentelemetry_tracing"]

# OpenTelemetry's own instrumentation of aiohttp's server.
_INSTRUMENTATION = "opentelemetry.instrumentation.aiohttp_server"


def opentelemetry_stats(meter_provider: MeterProvider | None = None) -> StatsCallback:
    """Make a callback for ``setup(on_stats=...)`` that feeds OpenTelemetry's metrics.

    Needs the extra ``opentelemetry``. Three histograms have the attributes that the
    conventions ask for, ``http.request.method``, ``http.route``,
    ``http.response.status_code``, ``error.type``, ``network.protocol.version`` and
    ``url.scheme``, and ``aiostreams.outcome``. In addition there are the counters

    * ``aiostreams.request.refused``, of requests that were refused for the client's
      fault, which is no error in the conventions' eyes, by ``error.type``;
    * ``aiostreams.request.parts``;
    * ``aiostreams.upload.events``, of resumable uploads, by ``aiostreams.upload.event``
      (``begun``, ``resumed``, ``taken_over`` and ``finished`` as in
      :class:`UploadStats`, and ``expired``, before they were complete) and
      ``aiostreams.upload.protocol``;
    * ``aiostreams.upload.resent_size``, of what came of them and has to be sent again;
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
        self._uploads = meter.create_counter(
            "aiostreams.upload.events",
            "{event}",
            "What has happened to resumable uploads.",
        )
        self._resent = meter.create_counter(
            "aiostreams.upload.resent_size",
            "By",
            "Size of what came of resumable uploads and has to be sent again.",
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
        if stats.upload is not None:
            of_upload = {**where, "aiostreams.upload.protocol": stats.upload.protocol}
            for event in stats.upload.events:
                self._uploads.add(1, {**of_upload, "aiostreams.upload.event": event})
            if stats.resent:
                self._resent.add(stats.resent, of_upload)
        if stats.request_codings and stats.request_decoded_size is not None:
            coded = {**where, "aiostreams.coding": " ".join(stats.request_codings)}
            self._encoded["request", "encoded"].add(stats.request_body_size, coded)
            self._encoded["request", "decoded"].add(stats.request_decoded_size, coded)
        if stats.response_codings and stats.response_decoded_size is not None:
            coded = {**where, "aiostreams.coding": " ".join(stats.response_codings)}
            self._encoded["response", "encoded"].add(stats.response_body_size, coded)
            self._encoded["response", "decoded"].add(stats.response_decoded_size, coded)

    def expire_upload(self, protocol: str) -> None:
        """Count a resumable upload that has expired."""
        self._uploads.add(
            1,
            {
                "aiostreams.upload.protocol": protocol,
                "aiostreams.upload.event": "expired",
            },
        )


def opentelemetry_tracing(
    tracer_provider: TracerProvider | None = None,
) -> RequestTracer:
    """Spans for ``setup(on_stats=...)``: one for each request, to its last byte.

    Needs the extra ``opentelemetry``. The span is a child of the one that the request's
    header fields name (``traceparent``, or what the global propagator reads), and the
    parent of all that the handler makes. It has the attributes that the conventions
    ask for, the sizes of both bodies, and as ``aiostreams.`` the outcome, codings,
    decoded sizes, parts, and how long the request waited for the client, in seconds;
    of a resumable upload its id, protocol and offset.

    Where OpenTelemetry's own instrumentation of aiohttp's server is active, no second
    span is made: its span gets what is known when the handler returns.

    Args:
        tracer_provider: the global one unless given.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    trace: Any = require(
        "opentelemetry.trace", extra="opentelemetry", what="opentelemetry_tracing"
    )
    return _Tracing(trace, trace.get_tracer("aiostreams", None, tracer_provider))


class _Tracing:
    """Begins and ends the spans."""

    def __init__(self, trace: Any, tracer: Any) -> None:
        self._trace = trace
        self._tracer = tracer
        self._context: Any = require(
            "opentelemetry.context", extra="opentelemetry", what="opentelemetry_tracing"
        )
        self._propagate: Any = require(
            "opentelemetry.propagate",
            extra="opentelemetry",
            what="opentelemetry_tracing",
        )

    def install(self, app: web.Application) -> None:
        """Return where another one makes the span, add to it from the inside."""

        @web.middleware
        async def adding(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                self._add(request)

        async def innermost(app: web.Application) -> None:
            if _is_instrumented() and not app.middlewares.frozen:
                app.middlewares.append(adding)

        app.on_startup.append(innermost)

    def begin(self, request: web.Request) -> Callable[[BodyStats], None] | None:
        """Make the span, and make it the current one of the request's task."""
        if _is_instrumented():
            return None
        method, route = standard_method(request), route_of(request)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": request.scheme,
            "url.path": request.path,
        }
        if route is not None:
            attributes["http.route"] = route
        # The method of the conventions' names for methods that nobody knows.
        name = "HTTP" if method == "_OTHER" else method
        span = self._tracer.start_span(
            name if route is None else f"{name} {route}",
            self._propagate.extract(request.headers),
            self._trace.SpanKind.SERVER,
            attributes,
        )
        # It is not detached: the task ends with the request.
        self._context.attach(self._trace.set_span_in_context(span))

        def end(stats: BodyStats) -> None:
            _describe(span, stats)
            if (error := _error_type(stats)) is not None:
                span.set_attribute("error.type", error)
                span.set_status(self._trace.StatusCode.ERROR)
            span.end()

        return end

    def _add(self, request: web.Request) -> None:
        span = self._trace.get_current_span()
        body, tally = body_of(request), tally_of(request)
        span.set_attribute("aiostreams.request.wait", body.waited)
        if tally is not None:
            span.set_attribute(
                "aiostreams.request.parts", sum(count.parts for count in tally.counts)
            )


def _is_instrumented() -> bool:
    module = sys.modules.get(_INSTRUMENTATION)
    if module is None:
        return False
    instrumentor: Any = module.AioHttpServerInstrumentor()
    return bool(instrumentor.is_instrumented_by_opentelemetry)


def _describe(span: Any, stats: BodyStats) -> None:
    """Describe a request that is over, as attributes of its span."""
    span.set_attributes(
        {
            "network.protocol.version": stats.http_version,
            "http.request.body.size": stats.request_body_size,
            "http.response.body.size": stats.response_body_size,
            "aiostreams.outcome": stats.outcome,
            "aiostreams.request.wait": stats.request_wait,
            "aiostreams.request.parts": stats.request_parts,
        }
    )
    if stats.status is not None:
        span.set_attribute("http.response.status_code", stats.status)
    if stats.upload is not None:
        for name in ("id", "protocol", "offset"):
            span.set_attribute(f"aiostreams.upload.{name}", getattr(stats.upload, name))
    for way, codings, decoded in (
        ("request", stats.request_codings, stats.request_decoded_size),
        ("response", stats.response_codings, stats.response_decoded_size),
    ):
        if codings:
            span.set_attribute(f"aiostreams.{way}.codings", codings)
            if decoded is not None:
                span.set_attribute(f"aiostreams.{way}.decoded_size", decoded)


def _error_type(stats: BodyStats) -> str | None:
    """Return what the conventions call an error: a 4xx is none."""
    if stats.outcome in {"ok", "refused"}:
        failed = stats.status is not None and stats.status >= 500
        return str(stats.status) if failed else None
    return stats.error or "_OTHER"
