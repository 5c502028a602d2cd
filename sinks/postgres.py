"""Rows and positions into PostgreSQL, together or not at all."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec
from aiokafka import TopicPartition

from database import check_encoding
from database.pool import CLIENT_ERRORS, Pool
from sinks import metrics, statements
from sinks.errors import ForeignPositions, PositionsMoved, RowsRefused, explained, made_anew
from sinks.names import give_back, settle
from sinks.rows import Change, EventRow, Purge, State, StateRows, state_rows
from streams.kafka.partitions import partition_of


class SinkPosition(NamedTuple):
    """Where a partition is read on.

    Attributes:
        claim: That stands there (`streams.turns.claims`).
        read_until: When the last record before it was written; None where it is not known.
    """

    offset: int
    claim: int
    read_until: datetime | None = None


class Bookmark(NamedTuple):
    """A stored position, and how long ago everything before it had been written (`sinks.vanished`)."""

    offset: int
    claim: int
    age: timedelta


# Per partition, the offset the rows begin at and the position after their last.
Moves = Mapping[TopicPartition, tuple[int, SinkPosition]]

LIVE_NAME: Final = "clusters_live_name"

# The first finds a name taken, the second makes room for it, and another writer may take it in between.
NAME_TRIES: Final = 5

# Before the id of any cluster.
FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"

PAGE_ROWS: Final = 2000

# Seconds for a statement whose cost is the number of all clusters.
ALL_ROWS: Final = 3600.0

SESSION: Final = {
    # A commit that a crash of the server forgets takes its position with it and is written again, so there
    # is no need to wait for the disk.
    "synchronous_commit": "off",
    # A process that is frozen or cut off within a transaction must not lock its successor out for ever.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",  # longer than any batch takes; `end_frozen` then ends the session that holds it
    "jit": "off",  # compiling costs more than such statements take
}


class Postgres:
    """One writer's way to the database.

    Args:
        pool: Shared by the writers of a process.
        kafka_cluster_id: Which Kafka the positions belong to.
    """

    def __init__(self, pool: Pool, *, kafka_cluster_id: str) -> None:
        self._pool = pool
        self._kafka_cluster_id = kafka_cluster_id

    async def positions(
        self, partitions: Iterable[TopicPartition], topic_ids: Mapping[str, str]
    ) -> dict[TopicPartition, Bookmark]:
        """The position in each partition; 0 for one that was never read.

        Args:
            topic_ids: Of the topics that are there now, by name.

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
        """Write changes, given in offset order, and move the positions past them; all of it or nothing.

        Raises: SinkUnavailable; PositionsMoved; RowsRefused.
        """
        for attempt in range(NAME_TRIES):
            try:
                await self._write(changes, moves, names_settled=attempt > 0)
                return
            except RowsRefused as refusal:
                if refusal.constraint != LIVE_NAME or attempt == NAME_TRIES - 1:
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
        """End the sessions of sinks that are frozen in the middle of a statement, and return their number.

        A driver sends the parts of a statement one by one. While a process is frozen between two of them, the
        server counts its session as active: no time-out of idle sessions ends it, and its locks stay.

        Raises: SinkUnavailable.
        """
        async with transaction(self._pool, "end_frozen") as connection:
            return int(await connection.fetchval(statements.END_FROZEN))

    async def has_rows(self, partition: int) -> bool:
        """Whether a row shows a record of this partition, as far as is known. Raises: SinkUnavailable."""
        async with transaction(self._pool, "vanished") as connection:
            return bool(await connection.fetchval(statements.HAS_ROWS, partition, timeout=ALL_ROWS))

    async def remove_vanished(
        self,
        tp: TopicPartition,
        at: Bookmark,
        start: int,
        *,
        known: Collection[bytes],
        partitions: int,
        since: Callable[[], timedelta],
    ) -> int:
        """Remove the clusters of a partition that are not known to it; returns how many there were.

        Args:
            at: The position that was found; who has moved it meanwhile is right.
            start: Where to go on.
            known: Keys of the partition.
            partitions: How many there are.
            since: How long ago the partition was read to its end.

        Raises: SinkUnavailable; PositionsMoved.
        """
        async with transaction(self._pool, "vanished") as connection:
            await self._advance(connection, {tp: (at.offset, SinkPosition(start, at.claim))})
            vanished = []
            async for row in in_pages(connection, statements.IDS_OF_PARTITION, tp.partition):
                key = row["id"].encode()
                here = row["state_partition"] >= 0 or partition_of(key, partitions) == tp.partition
                if here and key not in known:
                    vanished.append(row["id"])
            freed = await connection.fetch(statements.REMOVE_VANISHED, vanished, timeout=ALL_ROWS)
            await give_back(connection, [(row["created_by"], row["name"]) for row in freed])
            await connection.execute(statements.RECONCILED, tp.topic, tp.partition, since())
        return len(freed)

    async def _write(self, changes: Sequence[Change], moves: Moves, *, names_settled: bool) -> None:
        events = [change.content for change in changes if isinstance(change.content, EventRow)]
        # Of a cluster's records in the batch, the last one says it all.
        last = {record.key: (record, said) for record, said, _ in changes if isinstance(said, State | Purge)}
        states = [state_rows(record, said) for record, said in last.values() if isinstance(said, State)]
        purges = [said for _, said in last.values() if isinstance(said, Purge)]
        async with transaction(self._pool, "write") as connection:
            await self._advance(connection, moves)
            if names_settled:
                states = await settle(connection, states)
            await write_states(connection, states)
            await _purge(connection, purges)
            await _run(connection, statements.INSERT_EVENTS, events)
        metrics.ROWS.labels("clusters").inc(len(states))
        metrics.ROWS.labels("cluster_events").inc(len(events))

    async def _advance(self, connection: asyncpg.Connection, moves: Moves) -> None:
        ordered = sorted(moves.items())  # two writers that meet lock in the same order
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
    """A transaction whose errors are ours (`sinks.errors`).

    Args:
        options: Of `asyncpg.Connection.transaction`.

    Raises:
        SinkUnavailable: the database is away, or another transaction was in the way.
        RowsRefused.
        WrongEncoding: the database is none for us.
    """
    try:
        async with pool.transaction(operation, **options) as connection:
            check_encoding(connection)
            yield connection
    except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
        raise explained(error) from error


async def in_pages(
    connection: asyncpg.Connection, statement: str, *args: Any
) -> AsyncIterator[asyncpg.Record]:
    """The rows of a statement, fetched in pages.

    The statement takes the id to continue after ($1) and the size of a page ($2), and its first column is the
    id. A cursor would need a named prepared statement, which a pooler in transaction mode does not keep.
    """
    after = FIRST_ID
    while rows := await connection.fetch(statement, after, PAGE_ROWS, *args, timeout=ALL_ROWS):
        for row in rows:
            yield row
        after = rows[-1][0]


async def write_states(connection: asyncpg.Connection, states: Sequence[StateRows]) -> None:
    """Write the rows of clusters, each only if it is newer than what is there."""
    if not states:
        return
    # Deleted clusters first: one of them may hold the name of a new one.
    ordered = sorted(states, key=lambda state: state.cluster.deleted_at is None)
    clusters = _columns([state.cluster for state in ordered])
    written = await connection.fetch(statements.UPSERT_CLUSTERS, *clusters)
    if len(written) < len(states):  # the others show a newer record already
        ids = {row["id"] for row in written}
        ordered = [state for state in ordered if state.cluster.id.lower() in ids]
    reports = [report for state in ordered for report in state.reports]
    await _run(connection, statements.UPSERT_REPORTS, reports)
    kept = [
        (state.cluster.id, _json([report.controller_name for report in state.reports])) for state in ordered
    ]
    await _run(connection, statements.DELETE_VANISHED_REPORTS, kept)
    schedules = [state.schedule for state in ordered if state.schedule is not None]
    await _run(connection, statements.UPSERT_SCHEDULES, schedules)
    unscheduled = [(state.cluster.id,) for state in ordered if state.schedule is None]
    await _run(connection, statements.DELETE_SCHEDULES, unscheduled)
    gone = (s.cluster for s in states if s.cluster.deleted_at is not None and not s.cluster.yielded)
    await give_back(connection, [(cluster.created_by, cluster.name) for cluster in gone])


async def _purge(connection: asyncpg.Connection, purges: Sequence[Purge]) -> None:
    if purges:
        freed = await connection.fetch(statements.PURGE, *_columns(purges))
        await give_back(connection, [(row["created_by"], row["name"]) for row in freed])


async def _run(connection: asyncpg.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement that takes one array per column; nothing to do without rows."""
    if rows:
        await connection.execute(statement, *_columns(rows))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
