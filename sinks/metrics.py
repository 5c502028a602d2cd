"""Metrics of the sink; those of its connections and statements are in `database.pool`."""

from typing import Final

from prometheus_client import Counter, Gauge

LAG: Final = Gauge(
    "clusterflow_sink_lag_records", "Records of this process's partitions that are not in PostgreSQL yet"
)
ROWS: Final = Counter("clusterflow_sink_rows_written_total", "Rows sent to PostgreSQL", ["table"])
