"""The number and duration of requests, as metrics for Prometheus.

They are counted in plain numbers, which become metrics when they are collected. A counter and a histogram of
the client library, where each number has a lock of its own, take five times as long for each request.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds, inclusive."""

_NAMES: Final = (*map(floatToGoString, BOUNDS), "+Inf")


class _Meter:
    """The requests of one method and route."""

    __slots__ = ("seconds", "statuses", "within")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.within = [0] * (len(BOUNDS) + 1)  # per bucket, without those in smaller buckets
        self.seconds = 0.0


class Meters(Collector):
    """Counts requests; it must be called and collected on one thread."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], _Meter] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; there must be few values of `method` and `route`."""
        meter = self._meters.get((method, route))
        if meter is None:
            meter = self._meters[method, route] = _Meter()
        meter.statuses[status] = meter.statuses.get(status, 0) + 1
        meter.within[bisect_left(BOUNDS, seconds)] += 1
        meter.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        requests = CounterMetricFamily(
            "clusterflow_http_requests", "HTTP requests", labels=["method", "path", "status"]
        )
        durations = HistogramMetricFamily(
            "clusterflow_http_request_duration_seconds", "Time to the answer", labels=["method", "path"]
        )
        for (method, route), meter in self._meters.items():
            for status, number in meter.statuses.items():
                requests.add_metric([method, route, str(status)], number)
            buckets = list(zip(_NAMES, map(float, accumulate(meter.within)), strict=True))
            durations.add_metric([method, route], buckets, meter.seconds)
        yield requests
        yield durations


METERS: Final = Meters()
REGISTRY.register(METERS)
