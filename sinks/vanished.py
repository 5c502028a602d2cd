"""Rows of clusters that are gone, and whose tombstones nobody can read any more.

A cluster is purged by a tombstone, and the broker compacts a tombstone away when its life is over, a day by
default. A sink that was stopped for longer, or whose database comes from an older backup, reads on and never
hears of the purge: the row would stay, with a cluster in it that nobody has.

So the sink keeps, with each position, the time until which it has read everything (the column `read_until`):
that of the last record before the position, or now, while it is at the end. Where that is longer ago than
tombstones live, the partition of the changelog is folded once more from its beginning, ids alone, before the
sink reads on. Rows that no record stands for are removed, in the transaction that notes that this was done. A
crash before its commit has done nothing, and the next take-over begins again.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any

from aiokafka import TopicPartition

from sinks.postgres import Bookmark, Postgres
from sinks.settings import SinkSettings
from streams.kafka.tombstones import tombstone_life
from streams.reading.replay import Changelog, Reader

log = logging.getLogger("clusterflow.sink")


class Vanished:
    """Finds partitions whose tombstones may be gone, and removes the rows that they would have removed."""

    def __init__(self, settings: SinkSettings, database: Postgres) -> None:
        self._settings = settings
        self._database = database
        self._life = settings.tombstone_life

    async def may_have(self, stored: Mapping[TopicPartition, Bookmark]) -> list[TopicPartition]:
        """Those partitions that were read last before tombstones that are gone by now."""
        topic = self._settings.topics.state
        ages = {tp: bookmark.age for tp, bookmark in stored.items() if tp.topic == topic}
        if not ages:
            return []
        if self._life is None:
            self._life = await tombstone_life(self._settings.kafka, topic)
        return sorted(tp for tp, age in ages.items() if age > self._life)

    async def remove(self, tp: TopicPartition, at: Bookmark, start: int) -> None:
        """Remove the rows of a partition that no record stands for, and go on at `start`.

        Raises: KafkaError, Unavailable, SinkUnavailable, PositionsMoved: nothing was removed.
        """
        begun = monotonic()
        known: Collection[bytes] = ()
        if await self._database.has_rows(tp.partition):  # else it is new, and nothing has to be read twice
            log.warning("looks for rows without a record", extra={**_where(tp), "age": str(at.age)})
            known = await self._keys(tp)
        removed = await self._database.remove_vanished(
            tp,
            at,
            start,
            known=known,
            partitions=self._settings.kafka.partitions,
            since=lambda: timedelta(seconds=monotonic() - begun),
        )
        if known or removed:
            log.warning("removed rows without a record", extra={**_where(tp), "clusters": removed})

    async def _keys(self, tp: TopicPartition) -> Collection[bytes]:
        """The keys that a partition of the changelog holds up to its present end."""
        async with Reader(self._settings.kafka, client_id="clusterflow-sink-vanished") as reader:
            # Any record stands for its row, also one that cannot be read: it says no word of a purge.
            changelog = Changelog(reader, tp.topic, lambda record: None)
            await changelog.read_to({tp.partition: (await reader.ends(tp.topic))[tp.partition]})
        return changelog.last.keys()


def _where(tp: TopicPartition) -> Mapping[str, Any]:
    return {"topic": tp.topic, "partition": tp.partition}
