"""Requests counted in plain numbers are told as the client library's own metrics tell them."""

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
        for method, route, status, seconds in told:
            count.labels(method, route, status).inc()
            duration.labels(method, route).observe(seconds)
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
    assert sorted(of_the_library(told).splitlines()) == sorted(generate_latest(registry).splitlines())
