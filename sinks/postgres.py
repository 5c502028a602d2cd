"""Writes rows and positions into PostgreSQL, together or not at all. The mappings determine the rows."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import TopicPartition

from database import check_encoding
from database.pool import CLIENT_ERRORS, Pool
from sinks import metrics, statements
from sinks.errors import ForeignPositions, PositionsMoved, RowsRefused, explained, made_anew
from sinks.mapping import Change, Mappings, PartitionKeys


class SinkPosition(NamedTuple):
    """The position from which a partition is read.

    Attributes:
        claim: The current claim there (`streams.claims`).
        read_until: The time of the last record before it; None if it is unknown.
    """

    offset: int
    claim: int
    read_until: datetime | None = None


class Bookmark(NamedTuple):
    """A stored position, and the time since everything before it was written (`sinks.vanished`)."""

    offset: int
    claim: int
    age: timedelta


# Per partition, the offset the rows begin at and the position after their last.
Moves = Mapping[TopicPartition, tuple[int, SinkPosition]]

# The first try meets a constraint, the second makes room, and another writer may interfere once more.
TRIES: Final = 5

PAGE_ROWS: Final = 2000

# Seconds for a statement whose cost grows with the number of all rows.
ALL_ROWS: Final = 3600.0

SESSION: Final = {
    # If a crash of the server loses a commit, its position is lost with it and the batch is written again. So
    # there is no need to wait for the disk.
    "synchronous_commit": "off",
    # A process that freezes or is cut off in a transaction must not lock its successor out for ever.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",  # longer than any batch takes; `end_frozen` then ends the session that holds it
    "jit": "off",  # compiling takes longer than these statements
}


class Postgres:
    """One writer's access to the database.

    Args:
        pool: Shared by the writers of a process.
        mappings: How the records of each topic become rows.
        kafka_cluster_id: The id of the Kafka that the positions belong to.
    """

    def __init__(self, pool: Pool, mappings: Mappings, *, kafka_cluster_id: str) -> None:
        self._pool = pool
        self._mappings = mappings
        self._kafka_cluster_id = kafka_cluster_id

    async def positions(
        self, partitions: Iterable[TopicPartition], topic_ids: Mapping[str, str]
    ) -> dict[TopicPartition, Bookmark]:
        """The position in each partition; 0 for one that was never read.

        Args:
            topic_ids: The ids of the present topics by name.

        Raises: SinkUnavailable; ForeignPositions: they belong to another Kafka, or to a topic that is gone.
        """
        wanted = sorted(partitions)
        topics, numbers = [tp.topic for tp in wanted], [tp.partition for tp in wanted]
        ids = [topic_ids[topic] for topic in topics]
        async with transaction(self._pool, "positions") as connection:
            await connection.execute(statements.REGISTER, self._kafka_cluster_id, topics, numbers, ids)
            stored = await connection.fetch(statements.POSITIONS, topics, numbers)
        for row in stored:
            if row["kafka_cluster_id"] != self._kafka_cluster_id:
                raise ForeignPositions(
                    f"this database holds what was read from Kafka cluster {row['kafka_cluster_id']}, but the"
                    f" brokers belong to cluster {self._kafka_cluster_id}: point DATABASE_URL or"
                    " KAFKA_BOOTSTRAP_SERVERS back, or fill the new Kafka from this database"
                    " (`clusterflow rebuild`) if the old one is lost"
                )
            if row["topic_id"] != topic_ids[row["topic"]]:
                raise ForeignPositions(made_anew(row["topic"], row["topic_id"], topic_ids[row["topic"]]))
        return {
            TopicPartition(row["topic"], row["partition"]): Bookmark(
                row["next_offset"], row["claim"], row["age"]
            )
            for row in stored
        }

    async def write(self, changes: Sequence[Change], moves: Moves) -> None:
        """Write changes, given in offset order, and move the positions past them, all together or not at all.

        Raises: SinkUnavailable; PositionsMoved; RowsRefused.
        """
        for attempt in range(TRIES):
            try:
                await self._write(changes, moves, make_room=attempt > 0)
                return
            except RowsRefused as refusal:
                if attempt == TRIES - 1 or not self._mappings.is_transient(refusal.constraint):
                    raise

    async def touch(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note that these positions are at the ends of their partitions, unless they have moved.

        Raises: SinkUnavailable.
        """
        ordered = sorted(ends)
        topics, numbers = [tp.topic for tp in ordered], [tp.partition for tp in ordered]
        async with transaction(self._pool, "positions") as connection:
            offsets = [ends[tp] for tp in ordered]
            await connection.execute(statements.TOUCH, self._kafka_cluster_id, topics, numbers, offsets)

    async def end_frozen(self) -> int:
        """End the sessions of sinks that are frozen in the middle of a statement; return their number.

        A driver sends the parts of a statement one by one. While a process is frozen between two of them, the
        server counts its session as active: no time-out of idle sessions ends it, and its locks stay.

        Raises: SinkUnavailable.
        """
        async with transaction(self._pool, "end_frozen") as connection:
            return int(await connection.fetchval(statements.END_FROZEN))

    async def may_vanish(self, tp: TopicPartition) -> bool:
        """Whether there may be rows that must be removed if this partition no longer holds their keys.

        Raises: SinkUnavailable.
        """
        async with transaction(self._pool, "vanished") as connection:
            return await self._mappings.changelogs[tp.topic].may_vanish(connection, tp.partition)

    async def remove_vanished(
        self,
        tp: TopicPartition,
        at: Bookmark,
        start: int,
        *,
        keys: PartitionKeys | None,
        since: Callable[[], timedelta],
    ) -> int:
        """Remove the rows of a partition whose keys it no longer holds; return how many there were.

        Args:
            at: The position that was found; if another writer has moved it, that writer is right.
            start: The position to continue from.
            keys: The keys of the partition; None if no row can have vanished.
            since: The time since the partition was read to its end.

        Raises: SinkUnavailable; PositionsMoved.
        """
        removed = 0
        async with transaction(self._pool, "vanished") as connection:
            await self._advance(connection, {tp: (at.offset, SinkPosition(start, at.claim))})
            if keys is not None:
                removed = await self._mappings.changelogs[tp.topic].remove_vanished(connection, keys)
            await connection.execute(statements.RECONCILED, tp.topic, tp.partition, since())
        return removed

    async def _write(self, changes: Sequence[Change], moves: Moves, *, make_room: bool) -> None:
        async with transaction(self._pool, "write") as connection:
            await self._advance(connection, moves)
            sent = await self._mappings.write(connection, changes, make_room=make_room)
        for table, rows in sent.items():
            metrics.ROWS.labels(table).inc(rows)

    async def _advance(self, connection: asyncpg.Connection, moves: Moves) -> None:
        ordered = sorted(moves.items())  # a fixed order, against deadlocks of writers
        moved = await connection.execute(
            statements.ADVANCE,
            self._kafka_cluster_id,
            [tp.topic for tp, _ in ordered],
            [tp.partition for tp, _ in ordered],
            [begin for _, (begin, _) in ordered],
            [end.offset for _, (_, end) in ordered],
            [end.claim for _, (_, end) in ordered],
            [end.read_until for _, (_, end) in ordered],
        )
        if moved != f"UPDATE {len(moves)}":
            raise PositionsMoved(f"of {len(moves)} positions, as many are as expected: {moved}")


@asynccontextmanager
async def transaction(pool: Pool, operation: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that raises our errors (`sinks.errors`).

    Args:
        options: The options of `asyncpg.Connection.transaction`.

    Raises:
        SinkUnavailable: the database is away, or another transaction was in the way.
        RowsRefused.
        WrongEncoding: the database has an encoding that we cannot use.
    """
    try:
        async with pool.transaction(operation, **options) as connection:
            check_encoding(connection)
            yield connection
    except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
        raise explained(error) from error


async def in_pages(
    connection: asyncpg.Connection, statement: str, *args: Any, after: str = ""
) -> AsyncIterator[asyncpg.Record]:
    """The rows of a statement, fetched in pages.

    The statement takes the key to continue after ($1) and the size of a page ($2), and its first column is
    the key. A cursor would need a named prepared statement, which a pooler in transaction mode does not keep.

    Args:
        after: A text that sorts before every key.
    """
    while rows := await connection.fetch(statement, after, PAGE_ROWS, *args, timeout=ALL_ROWS):
        for row in rows:
            yield row
        after = rows[-1][0]
