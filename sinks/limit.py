"""Configured limits in PostgreSQL, from which a lost Kafka is filled again."""

from datetime import datetime
from typing import Final, NamedTuple

from sinks.table import Table
from streams.limit import FLOW


class LimitRow(NamedTuple):
    """A row of `rate_limits`."""

    id: str
    name: str
    scope: str
    capacity: float | None
    refill_rate: float | None
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=FLOW, name="rate_limits", row=LimitRow)
