"""Metrics of executors."""

from typing import Final

from prometheus_client import Counter, Gauge

DOING: Final = Gauge("clusterflow_work_in_progress", "Pieces of work that are being done", ["kind"])
DONE: Final = Counter(
    "clusterflow_work_done_total", "Attempts that have ended, by how they did", ["kind", "how"]
)
NOT_CLAIMED: Final = Counter(
    "clusterflow_work_not_claimed_total", "Claims that were refused", ["kind", "code"]
)
