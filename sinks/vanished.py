"""Rows of entities that are gone, and whose tombstones nobody can read any more.

An entity is purged by a tombstone, and the broker compacts a tombstone away when its life is over, a day by
default. A sink that was stopped for longer, or whose database comes from an older backup, reads on and never
sees the purge: the row would stay, with an entity in it that nobody has.

So the sink keeps, with each position, the time until which it has read everything (the column `read_until`):
that of the last record before the position, or now, while it is at the end. Where that is longer ago than
tombstones live, the partition of its changelog is folded once more from its beginning, keys alone, before the
sink reads on. Rows that no record stands for are removed, in the transaction that notes that this was done. A
crash before its commit has done nothing, and the next take-over begins again.
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
    """Finds partitions whose tombstones may be gone, and removes the rows that they would have removed.

    Args:
        changelogs: The topics whose tombstones remove rows.
    """

    def __init__(self, settings: SinkSettings, changelogs: Container[str], database: Postgres) -> None:
        self._settings = settings
        self._changelogs = changelogs
        self._database = database
        self._lives: dict[str, timedelta] = {}  # of tombstones, by changelog

    async def may_have(self, stored: Mapping[TopicPartition, Bookmark]) -> list[TopicPartition]:
        """Those partitions that were read last before tombstones that are gone by now."""
        ages = {tp: bookmark.age for tp, bookmark in stored.items() if tp.topic in self._changelogs}
        return [tp for tp, age in sorted(ages.items()) if age > await self._life(tp.topic)]

    async def _life(self, topic: str) -> timedelta:
        """How long a tombstone of this topic lives at least."""
        if self._settings.tombstone_life is not None:
            return self._settings.tombstone_life
        if topic not in self._lives:
            self._lives[topic] = await tombstone_life(self._settings.kafka, topic)
        return self._lives[topic]

    async def remove(self, tp: TopicPartition, at: Bookmark, start: int) -> bool:
        """Remove the rows of a partition that no record stands for, and go on at `start`.

        Returns: Whether the partition had to be read for that.

        Raises: KafkaError, Unavailable, SinkUnavailable, PositionsMoved: nothing was removed.
        """
        begun = monotonic()
        keys = None
        if await self._database.may_vanish(tp):  # else it is new, and nothing has to be read twice
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
        async with Reader(self._settings.kafka, client_id="clusterflow-sink-vanished") as reader:
            # Any record stands for its row, also one that cannot be read: it says no word of a purge.
            changelog = Changelog(reader, tp.topic, lambda record: None)
            await changelog.read_to({tp.partition: (await reader.ends(tp.topic))[tp.partition]})
        return changelog.last.keys()


def _where(tp: TopicPartition) -> Mapping[str, Any]:
    return {"topic": tp.topic, "partition": tp.partition}
