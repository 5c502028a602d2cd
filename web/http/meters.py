"""The number and duration of requests, as metrics for Prometheus.

They are counted in plain numbers, which become metrics when they are collected. A counter and a histogram of
the client library, where each number has a lock of its own, take five times as long for each request.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds, inclusive."""

OPERATORS_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Those that dashboards of the operations contract know (section 11.1)."""

_ALL: Final = tuple(sorted({*BOUNDS, *OPERATORS_BOUNDS}))


class _Times:
    """The requests of one method, route and status."""

    __slots__ = ("number", "seconds", "within")

    def __init__(self) -> None:
        self.number = 0
        self.within = [0] * (len(_ALL) + 1)  # per bucket, without those in smaller buckets
        self.seconds = 0.0


class Meters(Collector):
    """Counts requests; it must be called and collected on one thread."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, int], _Times] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; there must be few values of `method` and `route`."""
        times = self._times.get((method, route, status))
        if times is None:
            times = self._times[method, route, status] = _Times()
        times.number += 1
        times.within[bisect_left(_ALL, seconds)] += 1
        times.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now: ours, and the same numbers as operators' dashboards know them."""
        each: dict[tuple[str, ...], _Taken] = {
            (method, route, str(status)): _Taken(times.within, times.seconds)
            for (method, route, status), times in self._times.items()
        }
        by_route: dict[tuple[str, ...], _Taken] = {}
        for (*route, _), taken in each.items():
            by_route[*route,] = taken.and_(by_route.get((*route,)))
        yield self._requests("clusterflow_http_requests")
        yield _durations("clusterflow_http_request_duration_seconds", ["method", "path"], by_route, BOUNDS)
        yield self._requests("clustergenie_http_requests")
        labels = ["method", "path", "status"]
        yield _durations("clustergenie_http_request_duration_seconds", labels, each, OPERATORS_BOUNDS)

    def _requests(self, name: str) -> Metric:
        requests = CounterMetricFamily(name, "HTTP requests", labels=["method", "path", "status"])
        for (method, route, status), times in self._times.items():
            requests.add_metric([method, route, str(status)], times.number)
        return requests


class _Taken(NamedTuple):
    """How long some requests took."""

    within: Sequence[int]
    seconds: float

    def and_(self, others: "_Taken | None") -> "_Taken":
        """The same of these and others."""
        if others is None:
            return self
        within = [one + other for one, other in zip(self.within, others.within, strict=True)]
        return _Taken(within, self.seconds + others.seconds)


def _durations(
    name: str, labels: Sequence[str], taken: Mapping[tuple[str, ...], _Taken], bounds: Sequence[float]
) -> Metric:
    durations = HistogramMetricFamily(name, "Time to the answer", labels=labels)
    places = [*map(_ALL.index, bounds), len(_ALL)]
    names = [*map(floatToGoString, bounds), "+Inf"]
    for values, (within, seconds) in taken.items():
        sums = list(accumulate(within))
        buckets = [(each, float(sums[place])) for each, place in zip(names, places, strict=True)]
        durations.add_metric(list(values), buckets, seconds)
    return durations


METERS: Final = Meters()
REGISTRY.register(METERS)
