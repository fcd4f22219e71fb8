from __future__ import annotations

import pytest

from aiostreams.stats import prometheus_stats
from aiostreams.web.stats.model import SIZES
from tests.web.stats.requests import FAILED, GONE, REFUSED, UNMATCHED, UPLOAD, stats

pytest.importorskip("prometheus_client", reason="needs the extra prometheus")

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """As a server scrapes them: name, and labels in their names' order, to value."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels = [value for _, value in sorted(sample.labels.items())]
                found[sample.name, *labels] = sample.value
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_requests_are_counted(registry: CollectorRegistry) -> None:
    tell = prometheus_stats(registry)
    for given in ({}, {}, UPLOAD, REFUSED, FAILED, GONE, UNMATCHED):
        tell(stats(given))
    seen = samples(registry)
    name = "aiostreams_requests_total"
    assert {key: value for key, value in seen.items() if key[0] == name} == {
        (name, "GET", "ok", "/files/{name}", "200"): 2,
        (name, "POST", "ok", "/upload", "201"): 1,
        (name, "POST", "refused", "/upload", "413"): 1,
        (name, "GET", "failed", "/files/{name}", "500"): 1,
        (name, "GET", "client_gone", "/files/{name}", ""): 1,
        (name, "GET", "ok", "", "404"): 1,
    }
    name = "aiostreams_errors_total"
    assert {key: value for key, value in seen.items() if key[0] == name} == {
        (name, "LimitExceeded", "refused", "/upload"): 1,
        (name, "ValueError", "failed", "/files/{name}"): 1,
        (name, "ClientGone", "client_gone", "/files/{name}"): 1,
    }


def test_sizes_and_times_are_histograms(registry: CollectorRegistry) -> None:
    tell = prometheus_stats(registry)
    tell(stats(UPLOAD))
    tell(stats(UPLOAD, request_body_size=0, duration=0.001))
    seen = samples(registry)
    where = ("POST", "/upload")
    assert seen["aiostreams_request_duration_seconds_sum", *where] == 2.001
    assert seen["aiostreams_request_duration_seconds_bucket", "0.005", *where] == 1
    assert seen["aiostreams_request_duration_seconds_bucket", "300.0", *where] == 2
    assert seen["aiostreams_request_body_size_bytes_sum", *where] == 5000
    assert seen["aiostreams_request_body_size_bytes_bucket", "0.0", *where] == 1
    assert seen["aiostreams_request_body_size_bytes_bucket", "4096.0", *where] == 1
    assert seen["aiostreams_request_body_size_bytes_bucket", "16384.0", *where] == 2
    assert seen["aiostreams_response_body_size_bytes_sum", *where] == 160


def test_coded_bodies_are_counted_both_ways(registry: CollectorRegistry) -> None:
    tell = prometheus_stats(registry)
    tell(stats(UPLOAD))
    tell(stats(UPLOAD, request_codings=("gzip", "br")))
    # Neither of these says what a coding saves.
    tell(stats(UPLOAD, request_codings=(), response_decoded_size=None))
    seen = samples(registry)
    assert seen["aiostreams_request_encoded_bytes_total", "gzip", "/upload"] == 5000
    assert seen["aiostreams_request_decoded_bytes_total", "gzip", "/upload"] == 20000
    assert seen["aiostreams_request_encoded_bytes_total", "gzip br", "/upload"] == 5000
    assert seen["aiostreams_response_encoded_bytes_total", "br", "/upload"] == 160
    assert seen["aiostreams_response_decoded_bytes_total", "br", "/upload"] == 600


def test_parts_are_counted(registry: CollectorRegistry) -> None:
    tell = prometheus_stats(registry)
    tell(stats(UPLOAD))
    tell(stats(UPLOAD))
    tell(stats())
    seen = samples(registry)
    assert seen["aiostreams_request_parts_total", "/upload"] == 6
    assert ("aiostreams_request_parts_total", "/files/{name}") not in seen


def test_namespace_and_buckets_are_as_given(registry: CollectorRegistry) -> None:
    prometheus_stats(registry, namespace="shop", durations=[1], sizes=[10, 20])(stats())
    seen = samples(registry)
    assert {name[0].partition("_")[0] for name in seen} == {"shop"}
    where = ("GET", "/files/{name}")
    bounds = {
        key[1] for key in seen if key[0] == "shop_request_duration_seconds_bucket"
    }
    assert bounds == {"1.0", "+Inf"}
    assert seen["shop_response_body_size_bytes_bucket", "20.0", *where] == 0


def test_registering_twice_is_refused(registry: CollectorRegistry) -> None:
    prometheus_stats(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus_stats(registry)
    prometheus_stats(registry, namespace="other")


def test_default_registry_is_used() -> None:
    prometheus_stats(namespace="by_default")
    assert REGISTRY.get_sample_value("by_default_requests_total") is None
    assert "by_default_requests" in {metric.name for metric in REGISTRY.collect()}


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"aiostreams\[prometheus\]"):
        prometheus_stats()


def test_sizes_tell_bodies_from_none() -> None:
    assert SIZES[0] == 0
    assert list(SIZES) == sorted(set(SIZES))
