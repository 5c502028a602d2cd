"""What the sink tells Prometheus; `database.pool` tells of its connections and statements."""

from typing import Final

from prometheus_client import Counter, Gauge

LAG: Final = Gauge(
    "clusterflow_sink_lag_records", "Records of this process's partitions that are not in PostgreSQL yet"
)
ROWS: Final = Counter("clusterflow_sink_rows_written_total", "Rows sent to PostgreSQL", ["table"])
