from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from aiostreams.stats import opentelemetry_stats
from aiostreams.web.stats.model import ADVISED_DURATIONS, SIZES
from tests.web.stats.requests import FAILED, GONE, REFUSED, UNMATCHED, UPLOAD, stats

pytest.importorskip("opentelemetry.sdk", reason="needs the extra opentelemetry")

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Points = dict[str, list[Any]]


class Recorder:
    """A provider, and what was recorded with it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def metrics(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "aiostreams"
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return [
            (dict(point.attributes), point)
            for point in self.metrics()[name].data.data_points
        ]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.provider.shutdown()


def test_conventions_are_kept(recorder: Recorder) -> None:
    opentelemetry_stats(recorder.provider)(stats(UPLOAD))
    found = recorder.metrics()
    assert {
        name: (metric.unit, metric.description)
        for name, metric in found.items()
        if name.startswith("http.")
    } == {
        "http.server.request.duration": ("s", "Duration of HTTP server requests."),
        "http.server.request.body.size": ("By", "Size of HTTP server request bodies."),
        "http.server.response.body.size": (
            "By",
            "Size of HTTP server response bodies.",
        ),
    }
    expected = {
        "http.request.method": "POST",
        "http.route": "/upload",
        "http.response.status_code": 201,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
        "aiostreams.outcome": "ok",
    }
    for name, value, bounds in (
        ("http.server.request.duration", 2.0, ADVISED_DURATIONS),
        ("http.server.request.body.size", 5000, SIZES),
        ("http.server.response.body.size", 80, SIZES),
    ):
        ((attributes, point),) = recorder.points(name)
        assert attributes == expected
        assert (point.count, point.sum) == (1, value)
        assert tuple(point.explicit_bounds) == bounds


@pytest.mark.parametrize(
    ("given", "error_type"),
    [
        ({}, None),
        (UNMATCHED, None),
        (REFUSED, None),  # a 4xx is no error of a server
        (FAILED, "ValueError"),
        (GONE, "ClientGone"),
        ({"status": 503}, "503"),
        ({"status": None, "outcome": "cancelled", "error": None}, "_OTHER"),
    ],
)
def test_error_type(
    recorder: Recorder, given: dict[str, Any], error_type: str | None
) -> None:
    opentelemetry_stats(recorder.provider)(stats(given))
    ((attributes, _),) = recorder.points("http.server.request.duration")
    assert attributes.get("error.type") == error_type
    assert ("http.route" in attributes) == (given.get("route", "") is not None)
    assert attributes.get("http.response.status_code") == given.get("status", 200)


def test_refusals_are_counted_by_their_reason(recorder: Recorder) -> None:
    tell = opentelemetry_stats(recorder.provider)
    tell(stats(REFUSED))
    tell(stats(REFUSED))
    tell(stats(FAILED))
    ((attributes, point),) = recorder.points("aiostreams.request.refused")
    assert point.value == 2
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/upload",
        "error.type": "LimitExceeded",
    }


def test_parts_and_codings_are_counted(recorder: Recorder) -> None:
    tell = opentelemetry_stats(recorder.provider)
    tell(stats(UPLOAD))
    tell(stats(UPLOAD, response_codings=(), request_decoded_size=None))
    tell(stats())
    where = {"http.request.method": "POST", "http.route": "/upload"}
    for name, coding, value in (
        ("aiostreams.request.parts", None, 6),
        ("aiostreams.request.encoded_size", "gzip", 5000),
        ("aiostreams.request.decoded_size", "gzip", 20000),
        ("aiostreams.response.encoded_size", "br", 80),
        ("aiostreams.response.decoded_size", "br", 300),
    ):
        ((attributes, point),) = recorder.points(name)
        coded = {} if coding is None else {"aiostreams.coding": coding}
        assert (attributes, point.value) == ({**where, **coded}, value), name


def test_global_provider_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_meter(name: str, *, meter_provider: object) -> Any:
        asked.append((name, meter_provider))
        return metrics.NoOpMeterProvider().get_meter(name)

    monkeypatch.setattr(metrics, "get_meter", get_meter)
    opentelemetry_stats()(stats(UPLOAD))  # without an SDK nothing is recorded
    assert asked == [("aiostreams", None)]


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ImportError, match=r"aiostreams\[opentelemetry\]"):
        opentelemetry_stats()
