"""Metrics of every process that holds tables."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, Gauge, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

RECOVERING: Final = Gauge(
    "clusterflow_table_recovering", "1 while this process reads its tables from their changelogs, else 0"
)


class Tally(Collector):
    """A counter for a single thread, without the lock and the call per record that take a microsecond.

    Attributes:
        count: The count since this process began.
    """

    def __init__(self, name: str, about: str) -> None:
        self.count = 0
        self._name = name
        self._about = about
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """The samples for `/metrics`."""
        yield CounterMetricFamily(self._name, self._about, value=self.count)


CHANGES: Final = Tally("clusterflow_watch_changes_total", "Changes that watchers can see")
