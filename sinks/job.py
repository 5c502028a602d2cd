"""Jobs in PostgreSQL, which keeps them after they are forgotten (operations contract, section 12)."""

from datetime import datetime
from typing import Final, NamedTuple

from domain.policy import Policy
from sinks.table import Json, Table
from streams.job import job_flow


class JobRow(NamedTuple):
    """A row of `jobs`; `work` is what a rebuilt job goes on with."""

    id: str
    cluster_id: str
    type: str
    status: str
    progress: int
    attempts: int
    trace_id: str
    result: str
    error: str
    parameters: str
    work: Json
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    version: int


TABLE: Final = Table(flow=job_flow(Policy()), name="jobs", row=JobRow, keeps=True)
