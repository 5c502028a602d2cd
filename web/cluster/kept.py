"""Whether a cluster exists, as far as any process has answered."""

from serving.monitor import HealthMonitor
from streams.kafka.partitions import partition_of
from streams.reading.fresh import Freshness
from tables.cluster import ClusterEntry
from tables.view import View


class KeptClusters:
    """The clusters that there are (`serving.required.Kept`).

    Args:
        topic, partitions: Their changelog.
    """

    def __init__(
        self,
        view: View[ClusterEntry],
        health: HealthMonitor,
        freshness: Freshness,
        *,
        topic: str,
        partitions: int,
    ) -> None:
        self._view = view
        self._health = health
        self._freshness = freshness
        self._topic = topic
        self._partitions = partitions

    async def exists(self, entity_id: str) -> bool:
        """Whether there is a live cluster of this id. Raises: Unavailable: that is not known now."""
        self._health.require_view()
        await self._freshness.caught_up(self._topic, partition_of(entity_id.encode(), self._partitions))
        return self._view.get(entity_id) is not None
