"""Requests counted in plain numbers are told as the client library's own metrics tell them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import enable_created_metrics

from web.http.meters import BOUNDS, Meters

requests = st.tuples(
    st.sampled_from(["GET", "PUT"]),
    st.sampled_from(["/api/v1/clusters", "unmatched"]),
    st.sampled_from([200, 404]),
    st.sampled_from(BOUNDS) | st.floats(0, 20),
)


def of_the_library(told) -> bytes:
    disable_created_metrics()  # the only thing we leave out
    try:
        registry = CollectorRegistry()
        count = Counter(
            "clusterflow_http_requests_total",
            "HTTP requests",
            ["method", "path", "status"],
            registry=registry,
        )
        duration = Histogram(
            "clusterflow_http_request_duration_seconds",
            "Time to the answer",
            ["method", "path"],
            buckets=BOUNDS,
            registry=registry,
        )
        genie_count = Counter(
            "clustergenie_http_requests_total",
            "HTTP requests",
            ["method", "path", "status"],
            registry=registry,
        )
        genie_duration = Histogram(
            "clustergenie_http_request_duration_seconds",
            "Time to the answer",
            ["method", "path", "status"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
            registry=registry,
        )
        for method, route, status, seconds in told:
            for counter in (count, genie_count):
                counter.labels(method, route, status).inc()
            duration.labels(method, route).observe(seconds)
            genie_duration.labels(method, route, status).observe(seconds)
        return generate_latest(registry)
    finally:
        enable_created_metrics()


@given(st.lists(requests))
@example([("GET", "unmatched", 404, bound) for bound in BOUNDS])
def test_they_are_told_as_the_library_tells_them(told):
    registry, meters = CollectorRegistry(), Meters()
    registry.register(meters)
    for method, route, status, seconds in told:
        meters.count(method, route, status, seconds)
    expected, found = (_lines(text) for text in (of_the_library(told), generate_latest(registry)))
    assert expected.keys() == found.keys()
    assert found == pytest.approx(expected)  # sums of seconds, in another order


def _lines(text: bytes) -> dict[str, float]:
    """The value of each line; 0 of those that describe."""
    pairs = (line.rpartition(" ") for line in text.decode().splitlines())
    return {
        f"{name} {value}" if name.startswith("#") else name: 0.0 if name.startswith("#") else float(value)
        for name, _, value in pairs
    }
