"""The droplets of clusters in PostgreSQL, from which a lost Kafka is filled again."""

from datetime import datetime
from typing import Final, NamedTuple

from sinks.table import Json, Table
from streams.members import FLOW


class MembersRow(NamedTuple):
    """A row of `cluster_members`."""

    id: str
    droplets: Json
    active: Json
    known: bool
    least: int | None
    most: int | None
    wakes_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=FLOW, name="cluster_members", row=MembersRow)
