"""The newest samples of clusters as Prometheus shows them (operations contract, section 11.1)."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec
from prometheus_client import Gauge

from domain.samples import SAMPLES, Samples
from serving.kinds import Served
from tables.cluster import ClusterEntry
from tables.entries import ColumnFilter
from tables.view import BEFORE_ALL, View

MOST: Final = 1000
"""Clusters that are shown: those that began to send samples last."""

VALUE: Final = Gauge(
    "clustergenie_cluster_metric_value", "The newest sample", ["cluster_id", "metric_type", "unit"]
)

_read: Final = msgspec.json.Decoder(Samples).decode
_ALL: Final = ColumnFilter()

Labels = tuple[str, str, str]


async def export(served: Mapping[str, Served], clusters: View[ClusterEntry], interval: timedelta) -> None:
    """Show the newest samples of clusters that exist, at once and then in intervals, until cancelled."""
    shown: set[Labels] = set()
    while True:
        shown = show(served, clusters, shown)
        await asyncio.sleep(interval.total_seconds())


def show(served: Mapping[str, Served], clusters: View[ClusterEntry], before: set[Labels]) -> set[Labels]:
    """Show them; those that were shown before and are not any more go."""
    found: dict[Labels, float] = {}
    for entry in served[SAMPLES.name].view.after(_ALL, BEFORE_ALL, limit=MOST):
        if clusters.get(entry.id) is None:
            continue
        for sample in _read(entry.document).latest.values():
            found[entry.id, sample.type, sample.unit] = sample.value
    for labels in before - found.keys():
        VALUE.remove(*labels)
    for labels, value in found.items():
        VALUE.labels(*labels).set(value)
    return {*found}
