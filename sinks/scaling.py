"""Policies of scaling in PostgreSQL."""

from datetime import datetime
from typing import Final, NamedTuple

from sinks.table import Table
from streams.scaling import FLOW


class PolicyRow(NamedTuple):
    """A row of `autoscale_policies`."""

    id: str
    name: str
    cluster_id: str
    type: str
    enabled: bool
    min_replicas: int
    max_replicas: int
    metric_type: str
    metric_trigger: float
    time_window: str
    cost_limit: float
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=FLOW, name="autoscale_policies", row=PolicyRow)
