"""Removes rows of purged entities whose tombstones can no longer be read.

An entity is purged by a tombstone, and the broker compacts a tombstone away when its life is over, by default
after a day. A sink that was stopped for longer, or whose database comes from an older backup, never reads the
tombstone: the row of an entity that no longer exists would remain.

So the sink stores, with each position, the time up to which it has read everything (the column `read_until`):
the time of the last record before the position, or the present while it is at the end. If that is longer ago
than tombstones live, the sink first reads the keys of the changelog's partition again from its beginning.
Rows without a record are removed, in the transaction that notes that this was done. If a crash precedes the
commit, nothing has happened, and the next take-over begins again.
"""

import logging
from collections.abc import Collection, Container, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any

from aiokafka import TopicPartition

from sinks.mapping import PartitionKeys
from sinks.postgres import Bookmark, Postgres
from sinks.settings import SinkSettings
from streams.kafka.tombstones import tombstone_life
from streams.reading.replay import Changelog, Reader

log = logging.getLogger("clusterflow.sink")


class Vanished:
    """Finds partitions whose tombstones may be gone, and removes the rows that these would have removed.

    Args:
        changelogs: The topics whose tombstones remove rows.
    """

    def __init__(self, settings: SinkSettings, changelogs: Container[str], database: Postgres) -> None:
        self._settings = settings
        self._changelogs = changelogs
        self._database = database
        self._lives: dict[str, timedelta] = {}  # lives of tombstones by changelog

    async def may_have(self, stored: Mapping[TopicPartition, Bookmark]) -> list[TopicPartition]:
        """The partitions that were last read so long ago that tombstones may be gone."""
        ages = {tp: bookmark.age for tp, bookmark in stored.items() if tp.topic in self._changelogs}
        return [tp for tp, age in sorted(ages.items()) if age > await self._life(tp.topic)]

    async def _life(self, topic: str) -> timedelta:
        """The minimum life of a tombstone in this topic."""
        if self._settings.tombstone_life is not None:
            return self._settings.tombstone_life
        if topic not in self._lives:
            self._lives[topic] = await tombstone_life(self._settings.kafka, topic)
        return self._lives[topic]

    async def remove(self, tp: TopicPartition, at: Bookmark, start: int) -> bool:
        """Remove the rows of a partition that have no record, and continue at `start`.

        Returns: Whether the partition had to be read for that.

        Raises: KafkaError, Unavailable, SinkUnavailable, PositionsMoved: nothing was removed.
        """
        begun = monotonic()
        keys = None
        if await self._database.may_vanish(tp):  # else the partition is new, and nothing has to be read twice
            log.warning("looks for rows without a record", extra={**_where(tp), "age": str(at.age)})
            known = await self._known(tp)
            keys = PartitionKeys(tp.partition, self._settings.kafka.partitions, known)
        removed = await self._database.remove_vanished(
            tp, at, start, keys=keys, since=lambda: timedelta(seconds=monotonic() - begun)
        )
        if keys is not None:
            log.warning("removed rows without a record", extra={**_where(tp), "rows": removed})
        return keys is not None

    async def _known(self, tp: TopicPartition) -> Collection[bytes]:
        """The keys that a partition of the changelog holds up to its present end."""
        async with Reader(self._settings.kafka, client_id=f"{self._settings.client_id}-vanished") as reader:
            # Any record keeps its row, even an unreadable one, since it is no tombstone.
            changelog = Changelog(reader, tp.topic, lambda record: None)
            await changelog.read_to({tp.partition: (await reader.ends(tp.topic))[tp.partition]})
        return changelog.last.keys()


def _where(tp: TopicPartition) -> Mapping[str, Any]:
    return {"topic": tp.topic, "partition": tp.partition}
