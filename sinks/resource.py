"""Resources in PostgreSQL (resources contract, section 9)."""

from datetime import datetime
from typing import Final, NamedTuple

from domain.policy import Policy
from sinks.table import Table
from streams.resource import resource_flow


class ResourceRow(NamedTuple):
    """A row of `resources`."""

    id: str
    name: str
    description: str
    status: str
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=resource_flow(Policy()), name="resources", row=ResourceRow)
