"""Metrics of relays."""

from typing import Final

from prometheus_client import Counter, Gauge

PENDING: Final = Gauge("clusterflow_outbox_pending", "Rows of outboxes that are not published yet")
OLDEST: Final = Gauge("clusterflow_outbox_oldest_seconds", "Age of the oldest row that is not published yet")
PARKED_ROWS: Final = Gauge("clusterflow_outbox_parked", "Rows that will not be published until somebody acts")
LEADS: Final = Gauge("clusterflow_outbox_leads", "Outboxes of which this process is the active relay")
PUBLISHED: Final = Counter("clusterflow_outbox_published_total", "Rows published and marked")
PARKED: Final = Counter("clusterflow_outbox_rows_parked_total", "Rows parked", ["reason"])
FAILED: Final = Counter("clusterflow_outbox_rows_failed_total", "Rows that were not acknowledged, and wait")
