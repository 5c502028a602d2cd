"""Droplets in PostgreSQL (operations contract, section 12)."""

from datetime import datetime
from typing import Final, NamedTuple

from domain.policy import Policy
from sinks.table import Table
from streams.droplet import droplet_flow


class DropletRow(NamedTuple):
    """A row of `droplets`; `wakes_at` and `block` are what a rebuilt droplet goes on with."""

    id: str
    cluster_id: str | None
    name: str
    region: str
    size: str
    image: str
    provider: str
    status: str
    ip_address: str | None
    reason: str
    wakes_at: datetime | None
    block: str
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=droplet_flow(Policy()), name="droplets", row=DropletRow)
