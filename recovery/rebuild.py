"""`clusterflow rebuild`: fills a new, empty Kafka from PostgreSQL after the old one is lost.

1. Declare the topics. Refuse a Kafka in which anything else has written state, because rebuilding over it
   would take clusters back in time.
2. Read one snapshot of each database, page by page, and write each cluster's state and name, and the state of
   each entity of other kinds.
3. Check that all of it is there, and that no worker has started meanwhile.
4. In one transaction for each database, forget the positions in the old Kafka and the records that rows show.

Sinks and recorders refuse the new Kafka before the last step, and read it from the beginning after it. Every
step can be repeated, so a run that was killed at any point is completed by another one, until a worker has
started.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recovery import statements
from recovery.cluster.restore import HEADERS, REBUILD_HEADER, outputs, read_page
from recovery.cluster.statements import COUNT, FORGET_PLACES
from recovery.errors import RebuildRefused
from recovery.home import Home, homes
from recovery.progress import progress
from recovery.settings import RecoverySettings
from recovery.snapshot import Snapshot, StoredPosition, snapshot
from recovery.table import restored
from sinks.cluster.mapping import FIRST_ID
from sinks.postgres import ALL_ROWS, transaction
from sinks.table import Table
from sinks.tables import TABLES
from streams.claims import is_claim
from streams.json import rfc3339
from streams.kafka.admin import declare_topics, group_members
from streams.kafka.rights import require_rights
from streams.kafka.roles import REBUILD
from streams.reading.replay import Reader
from streams.settings import GROUP, KafkaSettings
from streams.writing.outputs import Output
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.recovery")


@dataclass(slots=True)
class Rebuilt:
    """The numbers of restored entities.

    Attributes:
        live: The clusters that are not deleted.
        rows: The rows of each table of another kind.
    """

    clusters: int = 0
    live: int = 0
    rows: dict[str, int] = field(default_factory=dict)


async def rebuild(
    settings: RecoverySettings, *, accept_old_rows: bool = False, tables: Iterable[Table[Any]] = TABLES
) -> Rebuilt:
    """Fill an empty Kafka from PostgreSQL; keep ids, generations, versions and times, and emit no event.

    Args:
        accept_old_rows: Whether it may restore clusters that were deleted since the sink last wrote, if that
            is long ago.
        tables: The kinds to restore beside clusters.

    Raises:
        RebuildRefused: Kafka is not empty, a worker is running, the rows are old, or a row cannot be
            restored.
        TopicMismatch: its topics have other partition counts, or settings that lose data.
        NotPermitted: Kafka does not grant what this command needs.
        Unavailable, SinkUnavailable, KafkaError: Kafka or PostgreSQL is away. Running again is the remedy.
    """
    kafka = settings.kafka
    await require_rights(kafka, REBUILD)
    await declare_topics(kafka)
    producer = Producer(kafka, client_id="clusterflow-rebuild")
    try:
        async with homes(settings, tables) as all_homes, Reader(kafka) as reader:
            changelogs = [topic for home in all_homes for topic in _changelogs(kafka, home)]
            await _refuse_used(kafka, reader, changelogs)
            filling = _Filling(settings, producer)
            before = [await filling.fill(home, accept_old_rows=accept_old_rows) for home in all_homes]
            await _refuse_used(kafka, reader, changelogs, expected=filling.keys)
            for home, positions in zip(all_homes, before, strict=True):
                await _switch(home, positions)
    finally:
        await producer.stop()
    log.info("Kafka is rebuilt", extra=asdict(filling.rebuilt))
    return filling.rebuilt


def _changelogs(kafka: KafkaSettings, home: Home) -> list[str]:
    """The changelogs that a database fills."""
    names = kafka.topics
    return [*([names.state, names.names] if home.clusters else []), *(rows.topic for rows in home.rows)]


class _Filling:
    """Fills changelogs from the rows of one database after the other.

    Attributes:
        rebuilt: The numbers of entities that it has published.
        keys: Their keys by topic.
    """

    def __init__(self, settings: RecoverySettings, producer: Producer) -> None:
        self.rebuilt = Rebuilt()
        self.keys: defaultdict[str, set[bytes]] = defaultdict(set)
        self._settings = settings
        self._producer = producer

    async def fill(self, home: Home, *, accept_old_rows: bool) -> list[StoredPosition]:
        """Publish every entity of a database; return the positions that it was at. Raises: RebuildRefused."""
        async with snapshot(home.pool, "rebuild") as rows:
            if not accept_old_rows:
                await _refuse_old(self._settings, rows, _changelogs(self._settings.kafka, home))
            if home.clusters:
                await self._fill_clusters(rows)
            for table in home.rows:
                async for page in restored(rows, table, self._settings.page, HEADERS):
                    await self._publish(page)
                self.rebuilt.rows[table.table.name] = len(self.keys[table.topic])
            return await rows.positions()

    async def _fill_clusters(self, rows: Snapshot) -> None:
        topics = self._settings.kafka.topics
        (total,) = await rows.fetch(COUNT)
        after = FIRST_ID
        with progress("rebuilding", total["count"]) as advance:
            while (page := await read_page(rows, after, self._settings.page)) is not None:
                await self._publish([output for record in page.records for output in outputs(record, topics)])
                self.rebuilt.clusters += len(page.records)
                self.rebuilt.live += sum(record.deleted_at is None for record in page.records)
                after = page.last_id
                advance(len(page.records))

    async def _publish(self, published: Sequence[Output]) -> None:
        await self._producer.publish(published)
        for output in published:
            assert output.key is not None
            self.keys[output.topic].add(output.key)


async def _refuse_old(settings: RecoverySettings, rows: Snapshot, changelogs: Sequence[str]) -> None:
    """Raises: RebuildRefused: the sink has not read for longer than it could catch up with."""
    prefix = settings.kafka.topics.prefix
    last_read = await rows.last_read([topic.removeprefix(prefix) for topic in changelogs])
    if last_read is not None and last_read[1] > settings.tombstone_life:
        until, age = last_read
        raise RebuildRefused(
            f"the sink last wrote at {rfc3339(until)}, {age.total_seconds() / 3600:.0f} hours ago: clusters"
            " deleted since would come back, and changes since are missing. Restore a newer backup of this"
            " database; or, if nothing was deleted since or that does not matter, run `clusterflow rebuild"
            " --accept-old-rows` (docs/recovery.md)"
        )


async def _refuse_used(
    kafka: KafkaSettings,
    reader: Reader,
    changelogs: Sequence[str],
    *,
    expected: Mapping[str, set[bytes]] | None = None,
) -> None:
    """Raises: RebuildRefused: workers are or were here, or the changelogs do not hold the expected keys.

    Args:
        expected: The keys that must be there, by topic; None before a run, when records of an earlier run
            are accepted.
    """
    group = kafka.topics.prefix + GROUP
    if members := await group_members(kafka, group):
        raise RebuildRefused(
            f"{len(members)} workers are alive in group {group}: stop every worker first."
            " Those that have begun here have claimed the state; then the topics must be made anew"
            " (docs/recovery.md)"
        )
    for topic in changelogs:
        found: set[bytes] = set()
        wanted: set[bytes] = set() if expected is None else expected.get(topic, set())
        async for records in reader.batches(topic, to=await reader.ends(topic)):
            for record in records:
                if is_claim(record) or all(name != REBUILD_HEADER for name, _ in record.headers):
                    raise RebuildRefused(
                        f"{topic} holds what a worker has written ({record.partition}/{record.offset}):"
                        " this Kafka is not lost, or no longer new. If it is to be given up, stop every"
                        " worker, delete its topics, or set another KAFKA_TOPIC_PREFIX, and run it again"
                        " (docs/recovery.md)"
                    )
                found.add(record.key)
        if expected is not None and found != wanted:
            raise RebuildRefused(
                f"{topic} holds {len(found - wanted)} keys that this database has not, and lacks"
                f" {len(wanted - found)}: it was filled from another database, or loses records."
                " Delete the topics and run it again (docs/recovery.md)"
            )


async def _switch(home: Home, before: Sequence[StoredPosition]) -> None:
    """Let the sink read the new Kafka. Raises: RebuildRefused: a sink has written since the snapshot."""
    async with transaction(home.pool, "rebuild") as connection:
        await connection.execute(statements.LOCK_POSITIONS)
        if await Snapshot(connection).positions() != list(before):
            raise RebuildRefused(
                "a sink has written to this database meanwhile: stop every sink, and run it again"
            )
        await connection.execute(statements.FORGET_POSITIONS)
        if home.clusters:
            await connection.execute(FORGET_PLACES, timeout=ALL_ROWS)
