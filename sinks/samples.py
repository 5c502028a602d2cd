"""Samples in PostgreSQL: a row for each, until it is too old or its cluster is gone.

See the operations contract, sections 8 and 12.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import ConsumerRecord

from database import Pool
from database.pool import CLIENT_ERRORS
from domain.errors import Rejected
from domain.samples import Add, id_of, taken
from sinks.mapping import Change, columns_of, written_at
from streams.flow import WAKE_KEY
from streams.samples import FLOW

log = logging.getLogger("clusterflow.sink")

INSERT: Final = """
INSERT INTO metrics (id, cluster_id, type, timestamp, value, unit, source)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::double precision[], $6::text[], $7::text[]
)
ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value, unit = EXCLUDED.unit, source = EXCLUDED.source
"""

SLICE: Final = 10_000
"""Rows that are deleted at a time."""

LOOK_EVERY: Final = 60.0
"""Seconds between two looks for rows that are too old."""

TOO_OLD: Final = """
DELETE FROM metrics WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM metrics WHERE timestamp < now() - $1::interval LIMIT $2
))
"""

# One step in the index finds the next cluster that has samples. One whose row is not there may be new.
OF_NO_CLUSTER: Final = """
WITH RECURSIVE known AS (
    (SELECT cluster_id FROM metrics ORDER BY cluster_id LIMIT 1)
    UNION ALL
    SELECT (SELECT m.cluster_id FROM metrics AS m WHERE m.cluster_id > known.cluster_id ORDER BY 1 LIMIT 1)
    FROM known WHERE known.cluster_id IS NOT NULL
), gone AS (
    SELECT cluster_id FROM known
    WHERE cluster_id NOT IN (SELECT id::text FROM clusters WHERE deleted_at IS NULL)
)
DELETE FROM metrics WHERE ctid = ANY(ARRAY(
    SELECT m.ctid FROM gone JOIN metrics AS m USING (cluster_id)
    WHERE m.timestamp < now() - $1::interval LIMIT $2
))
"""

NEW_FOR: Final = timedelta(minutes=10)


class SampleRow(NamedTuple):
    """A row of `metrics`."""

    id: str
    cluster_id: str
    type: str
    timestamp: Any
    value: float
    unit: str
    source: str | None


class SampleRows:
    """The samples in the commands that bring them (`sinks.mapping.RowMapping`)."""

    transient: Collection[str] = frozenset()

    def __init__(self, prefix: str) -> None:
        self.topic = prefix + FLOW.commands

    def read(self, record: ConsumerRecord) -> Sequence[SampleRow] | None:
        """The rows of a command; None for one that brings none, or that its agent parks."""
        if record.key == WAKE_KEY or record.value is None:
            return None
        try:
            command = FLOW.read_command(record.value)
        except Rejected:
            return None
        if not isinstance(command, Add) or record.key != command.id.encode():
            return None
        return [
            SampleRow(
                id_of(command.id, sample),
                command.id,
                sample.type,
                sample.timestamp,
                sample.value,
                sample.unit,
                sample.source,
            )
            for sample in taken(command, written_at(record))
        ]

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Add rows, in the order of ids against deadlocks; of one id the last counts."""
        rows = {row.id: row for change in changes for row in change.content}
        await connection.execute(INSERT, *columns_of(rows[id] for id in sorted(rows)))
        return {"metrics": len(rows)}


async def prune(pool: Pool, retention: timedelta) -> None:
    """Delete samples that are too old, or of clusters that there are not, until cancelled."""
    while True:
        try:
            for statement, age in ((TOO_OLD, retention), (OF_NO_CLUSTER, NEW_FOR)):
                while await _deleted(pool, statement, age) == SLICE:
                    pass
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            log.warning("old samples not deleted", extra={"error": repr(error)})
        await asyncio.sleep(LOOK_EVERY)


async def _deleted(pool: Pool, statement: str, age: timedelta) -> int:
    async with pool.connection("metrics_prune") as connection:
        return int((await connection.execute(statement, age, SLICE)).split()[-1])
