"""What every process that holds tables tells of them."""

from typing import Final

from prometheus_client import Gauge

RECOVERING: Final = Gauge(
    "clusterflow_table_recovering", "1 while this process reads its tables from their changelogs, else 0"
)
