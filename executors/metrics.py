"""Metrics of executors."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

DOING: Final = Gauge("clusterflow_work_in_progress", "Pieces of work that are being done", ["kind"])
DONE: Final = Counter(
    "clusterflow_work_done_total", "Attempts that have ended, by how they did", ["kind", "how"]
)
NOT_CLAIMED: Final = Counter(
    "clusterflow_work_not_claimed_total", "Claims that were refused", ["kind", "code"]
)
JOB_SECONDS: Final = Histogram(
    "clustergenie_job_processing_seconds",
    "Seconds of an attempt at a job, from its claim to its end",
    ["job_type", "status"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
