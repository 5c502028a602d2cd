"""The statements on `outbox_events`. A row is pending until it is processed (published) or parked."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from database import Pool, check_encoding
from outbox.rows import OutboxRow
from streams.topic import MAX_RECORD_BYTES

_PENDING: Final = "processed_at IS NULL AND parked_at IS NULL"

# By what is pending, never by a watermark: a transaction that commits late has drawn its number early.
# A payload that no topic takes stays in the database, and so do rows beyond the bytes of a batch.
READ: Final = f"""
SELECT found, seq, id, aggregate_id, event_type, CASE WHEN size <= $3 THEN payload END, headers
FROM (
    SELECT *, sum(size) OVER (ORDER BY seq) - size AS bytes_before, count(*) OVER () AS found
    FROM (
        SELECT *, octet_length(payload::text) AS size
        FROM outbox_events WHERE {_PENDING} AND seq > $1 ORDER BY seq LIMIT $2
    ) AS sized
) AS measured
WHERE bytes_before < $3 ORDER BY seq
"""  # noqa: S608

PUBLISHED: Final = f"""
UPDATE outbox_events SET processed_at = now(), last_error = NULL
WHERE seq = ANY($1::bigint[]) AND {_PENDING}
"""  # noqa: S608

FAILED: Final = f"""
UPDATE outbox_events SET attempts = attempts + 1, last_error = $2
WHERE seq = ANY($1::bigint[]) AND {_PENDING}
"""  # noqa: S608

PARK: Final = f"""
UPDATE outbox_events AS stored SET parked_at = now(), attempts = attempts + 1, last_error = parked.why
FROM unnest($1::bigint[], $2::text[]) AS parked (seq, why)
WHERE stored.seq = parked.seq AND {_PENDING}
"""  # noqa: S608

PURGE: Final = """
DELETE FROM outbox_events WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM outbox_events WHERE processed_at < now() - $1::interval ORDER BY processed_at LIMIT $2
))
"""

COUNT: Final = f"""
SELECT count(*) AS pending, coalesce(now() - min(created_at), '0'::interval) AS oldest,
    (SELECT count(*) FROM outbox_events WHERE parked_at IS NOT NULL) AS parked
FROM outbox_events WHERE {_PENDING}
"""  # noqa: S608


BATCH_BYTES: Final = MAX_RECORD_BYTES
"""Bytes of payloads after which a batch takes no further row."""


class Batch(NamedTuple):
    """Rows that were read together; whether there were no others."""

    rows: Sequence[OutboxRow]
    last: bool


class Counts(NamedTuple):
    """How much there is in an outbox.

    Attributes:
        oldest: The age of the oldest pending row.
    """

    pending: int
    oldest: timedelta
    parked: int


class Outbox:
    """The outbox of one database.

    Every method raises asyncpg's errors and OSError (`database.Pool`). Nothing was changed then, or it was
    and a repeat changes nothing.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def pending(self, after: int, limit: int) -> Batch:
        """Pending rows with numbers above `after`, in their order: `limit` of them or `BATCH_BYTES`."""
        async with self._pool.transaction("outbox_read") as connection:
            check_encoding(connection)
            found = await connection.fetch(READ, after, limit, BATCH_BYTES)
        rows = [OutboxRow(*row) for _, *row in found]
        return Batch(rows, last=not rows or found[0]["found"] == len(rows) < limit)

    async def published(self, rows: Sequence[OutboxRow]) -> None:
        """Mark rows that Kafka has acknowledged."""
        await self._execute(PUBLISHED, [row.seq for row in rows])

    async def failed(self, rows: Sequence[OutboxRow], why: str) -> None:
        """Note an attempt at rows that came to nothing; they stay pending."""
        await self._execute(FAILED, [row.seq for row in rows], why)

    async def park(self, rows: Mapping[OutboxRow, str]) -> None:
        """Take rows out of the order for good, each with the reason."""
        await self._execute(PARK, [row.seq for row in rows], [*rows.values()])

    async def purge(self, retention: timedelta, limit: int) -> int:
        """Delete rows published longer ago than this, at most `limit`; return how many there were."""
        return int((await self._execute(PURGE, retention, limit)).split()[-1])

    async def counts(self) -> Counts:
        """How much there is."""
        async with self._pool.transaction("outbox_count") as connection:
            (row,) = await connection.fetch(COUNT)
        return Counts(row["pending"], row["oldest"], row["parked"])

    async def _execute(self, statement: str, *args: object) -> str:
        async with self._pool.transaction("outbox_write") as connection:
            return str(await connection.execute(statement, *args))
