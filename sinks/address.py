"""The addresses of droplets in PostgreSQL, from which a lost Kafka is filled again."""

from datetime import datetime
from typing import Final, NamedTuple

from domain.policy import Policy
from sinks.table import Json, Table
from streams.address import address_flow


class AddressRow(NamedTuple):
    """A row of `address_blocks`."""

    id: str
    held: Json
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=address_flow(Policy()), name="address_blocks", row=AddressRow)
