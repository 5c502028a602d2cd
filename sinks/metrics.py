"""What the sink tells Prometheus."""

from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client import Counter, Gauge, Histogram

LAG: Final = Gauge(
    "clusterflow_sink_lag_records", "Records of this process's partitions that are not in PostgreSQL yet"
)
ROWS: Final = Counter("clusterflow_sink_rows_written_total", "Rows sent to PostgreSQL", ["table"])
QUERY_SECONDS: Final = Histogram(
    "clusterflow_database_query_duration_seconds",
    "Time of one transaction",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
CONNECTIONS_ACTIVE: Final = Gauge("clusterflow_database_connections_active", "Connections in a transaction")
CONNECTIONS_IDLE: Final = Gauge("clusterflow_database_connections_idle", "Connections open and unused")
CONNECTIONS_MAX: Final = Gauge("clusterflow_database_connections_max", "Connections that may be open")


class Connection(Protocol):
    """What a connection tells of itself."""

    active: bool

    @property
    def idle(self) -> bool:
        """Open, with nothing to do."""


def watch(connections: Sequence[Connection]) -> None:
    """Let the connection gauges ask these."""
    CONNECTIONS_MAX.set(len(connections))
    CONNECTIONS_IDLE.set_function(lambda: sum(connection.idle for connection in connections))
    CONNECTIONS_ACTIVE.set_function(lambda: sum(connection.active for connection in connections))
