"""What is counted of jobs, under the names that operators' dashboards know (operations contract, 11.1)."""

from typing import Final

from prometheus_client import Counter

PROCESSED: Final = Counter(
    "clustergenie_jobs_processed_total", "Jobs that have ended, and those not taken", ["job_type", "status"]
)
