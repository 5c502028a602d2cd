"""Autoscalers of clusters in PostgreSQL, from which a lost Kafka is filled again."""

from datetime import datetime
from typing import Final, NamedTuple

from domain.policy import Policy
from sinks.table import Json, Table
from streams.autoscaler import autoscaler_flow


class AutoscalerRow(NamedTuple):
    """A row of `autoscalers`."""

    id: str
    policies: Json
    region: str
    droplets: int
    acted_at: datetime | None
    evaluated: int
    actions: Json
    decisions: Json
    wakes_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=autoscaler_flow(Policy()), name="autoscalers", row=AutoscalerRow)
