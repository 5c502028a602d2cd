"""Checkups of clusters in PostgreSQL, from which a lost Kafka is filled again."""

from datetime import datetime
from typing import Final, NamedTuple

from sinks.table import Json, Table
from streams.checkup import FLOW


class CheckupRow(NamedTuple):
    """A row of `cluster_checkups`."""

    id: str
    status: str
    droplets: int
    insights: Json
    recommendations: Json
    health: str | None
    issues: Json
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=FLOW, name="cluster_checkups", row=CheckupRow)
