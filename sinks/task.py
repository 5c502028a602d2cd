"""Tasks in PostgreSQL, which keeps them after they are forgotten (resources contract, section 9)."""

from datetime import datetime
from typing import Final, NamedTuple

from database.names import GRPC
from domain.policy import Policy
from sinks.table import Json, Table
from streams.task import task_flow


class TaskRow(NamedTuple):
    """A row of `tasks`; `work` is what a rebuilt task goes on with."""

    id: str
    resource_id: str
    action: str
    status: str
    result: str
    error: str
    attempt: int
    metadata: Json
    source: str
    work: Json
    created_at: datetime
    updated_at: datetime
    version: int


TABLE: Final = Table(flow=task_flow(Policy()), name="tasks", row=TaskRow, database=GRPC, keeps=True)
