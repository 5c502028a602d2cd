"""Whether a cluster exists, as far as any process has answered."""

from typing import Final

from aiohttp import web

from domain.errors import Unavailable
from serving.monitor import HealthMonitor
from streams.kafka.partitions import partition_of
from streams.reading.fresh import Freshness
from tables.cluster import ClusterEntry
from tables.view import View


class KeptClusters:
    """The clusters that there are (`serving.required.Kept`).

    Args:
        topic, partitions: Their changelog.
        may_wait: Whether writes are stored where Kafka does not take them.
    """

    def __init__(
        self,
        view: View[ClusterEntry],
        health: HealthMonitor,
        freshness: Freshness,
        *,
        topic: str,
        partitions: int,
        may_wait: bool,
    ) -> None:
        self._view = view
        self._health = health
        self._freshness = freshness
        self._topic = topic
        self._partitions = partitions
        self._may_wait = may_wait

    async def exists(self, entity_id: str) -> bool:
        """Whether there is a live cluster of this id; as far as this process knows, where writes may wait.

        Raises: Unavailable: that is not known now.
        """
        try:
            self._health.require_view()
            await self._freshness.caught_up(self._topic, partition_of(entity_id.encode(), self._partitions))
        except Unavailable:
            if not self._may_wait:
                raise
        return self._view.get(entity_id) is not None


KEPT: Final = web.AppKey("kept clusters", KeptClusters)
