"""`clusterflow verify`: compares PostgreSQL with the topics, row by row.

Nothing has to stop for it. A comparison takes one snapshot of each database, and reads the topics up to the
positions in it. These records alone determine what the sink must have written by then, and later records are
not read.

1. Wait until the sink has stored everything that the topics hold now.
2. For each kind, read its changelog up to the snapshot's positions, keeping the position of each entity's
   last record. Read these last records again and compare their rows, one page at a time. Then search for rows
   without a record. Clusters have more to compare: the rows of events, and names (`recovery.cluster.check`).

A repair writes rows that differ from the same records, and compares again. A row that the sink has written
meanwhile is not changed by the repair, and is judged by the next comparison.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Final, NamedTuple

from recovery.cluster.check import STORED, ClusterCheck
from recovery.cluster.check import TABLES as CLUSTER_TABLES
from recovery.differences import RefusedRows, Verified
from recovery.errors import NotComparable
from recovery.home import Home, homes
from recovery.look import Look
from recovery.repair import Repair
from recovery.settings import RecoverySettings
from recovery.snapshot import Snapshot, StoredPosition, snapshot
from recovery.table import TableCheck
from sinks.errors import made_anew
from sinks.table import Table
from sinks.tables import TABLES
from streams.kafka.admin import check_topics, kafka_cluster_id
from streams.kafka.rights import require_rights
from streams.kafka.roles import VERIFY
from streams.kafka.topic_ids import topic_ids
from streams.reading.replay import Offsets, Reader
from streams.topics import Topics

# Repairs of one run: rows that the sink changed during one repair are judged by the next.
MAX_REPAIRS: Final = 3

_SECONDS_BETWEEN_POLLS: Final = 0.25


class _Kafka(NamedTuple):
    """The id of Kafka, and those of the topics that are compared."""

    cluster_id: str
    topic_ids: Mapping[str, str]


async def verify(
    settings: RecoverySettings, *, repair: bool = False, tables: Iterable[Table[Any]] = TABLES
) -> Verified:
    """Compare, and with `repair` write rows that differ and compare again.

    Args:
        tables: The kinds to compare beside clusters.

    Raises:
        NotComparable: the sink is behind, has never run, or has read another Kafka.
        TopicMismatch: the topics are missing or differ from the configuration.
        NotPermitted: Kafka does not grant what this command needs.
        Unavailable, SinkUnavailable, KafkaError: Kafka or PostgreSQL is away.
    """
    await require_rights(settings.kafka, VERIFY)
    await check_topics(settings.kafka, VERIFY)
    cluster_id = await kafka_cluster_id(settings.kafka)
    async with homes(settings, tables) as all_homes, Reader(settings.kafka) as reader:
        topics = {home: _topics(settings.kafka.topics, home) for home in all_homes}
        ids = await topic_ids(settings.kafka, [topic for of in topics.values() for topic in of])
        comparison = _Comparison(settings, topics, reader, _Kafka(cluster_id, ids))
        found = await comparison.look(repair=repair)
        repaired: Counter[str] = Counter()
        for attempt in range(MAX_REPAIRS if repair else 0):
            if not found.repairable:
                break
            repaired |= found.repairable
            found = await comparison.look(repair=attempt < MAX_REPAIRS - 1)
        return replace(found, repaired=repaired)


def _topics(names: Topics, home: Home) -> Sequence[str]:
    """The topics that the rows of a database come from."""
    return [*([names.state, names.events] if home.clusters else []), *(rows.topic for rows in home.rows)]


class _Comparison:
    """Makes one comparison after the other, each from waiting for the sink to the names."""

    def __init__(
        self, settings: RecoverySettings, topics: Mapping[Home, Sequence[str]], reader: Reader, kafka: _Kafka
    ) -> None:
        self._settings = settings
        self._topics = {home: of for home, of in topics.items() if of}
        self._reader = reader
        self._kafka = kafka
        self._refused = RefusedRows()

    async def look(self, *, repair: bool) -> Verified:
        """Compare everything, database by database, and repair rows that differ."""
        found = Verified(tables=(*CLUSTER_TABLES, *(name for home in self._topics for name in home.tables)))
        checks = [check for home in self._topics if (check := await self._look(home, found, repair=repair))]
        for clusters in checks:
            await clusters.compare_names()
        found.pass_over(self._refused)
        return found

    async def _look(self, home: Home, found: Verified, *, repair: bool) -> ClusterCheck | None:
        """Compare one database; return what is left to do for clusters, if it has them."""
        async with self._comparable(home) as (rows, positions):
            look = Look(
                settings=self._settings,
                reader=self._reader,
                rows=rows,
                positions=positions,
                widths=await rows.widths((*(STORED if home.clusters else ()), *home.tables)),
                found=found,
                refused=self._refused,
                repair=Repair(home.pool, self._refused) if repair else None,
            )
            clusters = ClusterCheck(look) if home.clusters else None
            if clusters is not None:
                await clusters.compare()
            for table in home.rows:
                await TableCheck(look, table).compare()
        return clusters

    # --- waiting for the sink -----------------------------------------------------------------------

    @asynccontextmanager
    async def _comparable(self, home: Home) -> AsyncIterator[tuple[Snapshot, Mapping[str, Offsets]]]:
        """A snapshot with every record that the topics held when this began, and its positions by topic."""
        ends = {topic: await self._reader.ends(topic) for topic in self._topics[home]}
        deadline = monotonic() + self._settings.wait.total_seconds()
        while True:
            async with snapshot(home.pool, "verify") as rows:
                positions = self._checked(await rows.positions(), ends)
                missing = sum(
                    max(0, end - positions[topic][partition])
                    for topic, of_topic in ends.items()
                    for partition, end in of_topic.items()
                )
                if not missing:
                    await self._check_ends(positions)
                    yield rows, positions
                    return
            if monotonic() >= deadline:
                waited = self._settings.wait.total_seconds()
                raise NotComparable(
                    f"after {waited:g} s the sink is {missing} records behind what the topics held before:"
                    " see whether it runs (`clusterflow sink`), or give it longer (--wait 5m)"
                )
            await asyncio.sleep(_SECONDS_BETWEEN_POLLS)

    def _checked(self, stored: Iterable[StoredPosition], ends: Mapping[str, Offsets]) -> dict[str, Offsets]:
        """Positions by topic and partition.

        Raises: NotComparable: they are of another Kafka or of deleted topics, or there are none.
        """
        found: dict[str, dict[int, int]] = {topic: dict.fromkeys(of, 0) for topic, of in ends.items()}
        ours = [position for position in stored if position.topic in ends]
        if not ours:
            raise NotComparable(
                f"no sink has stored anything of {' and '.join(ends)} in this database: start one"
                " (`clusterflow sink`); if Kafka was just rebuilt, it goes on from there"
            )
        for position in ours:
            if position.kafka_cluster_id != self._kafka.cluster_id:
                raise NotComparable(
                    f"this database holds what was read from Kafka cluster {position.kafka_cluster_id}, but"
                    f" the brokers belong to cluster {self._kafka.cluster_id}: point DATABASE_URL or"
                    " KAFKA_BOOTSTRAP_SERVERS back, or see `clusterflow rebuild` if that Kafka is lost"
                )
            present = self._kafka.topic_ids.get(position.topic)
            if position.topic_id not in (None, present):
                raise NotComparable(made_anew(position.topic, position.topic_id, present))
            found[position.topic][position.partition] = position.next_offset
        return dict(found)

    async def _check_ends(self, positions: Mapping[str, Offsets]) -> None:
        """Raises: NotComparable: positions after the ends belong to topics that no longer exist."""
        for topic, of_topic in positions.items():
            ends = await self._reader.ends(topic)
            for partition, position in of_topic.items():
                if position > ends.get(partition, 0):
                    raise NotComparable(
                        f"{topic}/{partition} ends at {ends.get(partition, 0)}, before the sink's position"
                        f" {position}: the topic was made anew or has lost records; see `clusterflow rebuild`"
                    )
