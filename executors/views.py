"""What executors read of the fleet, from views of their own: clusters, their droplets and their samples."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from domain.diagnosis import Facts
from domain.droplet import Droplet
from domain.measures import Sample
from domain.policy import Policy
from domain.samples import Samples
from streams.droplet import droplet_flow
from streams.kafka.partitions import partition_of
from streams.reading.fresh import Freshness
from streams.reading.tail import Tail
from streams.samples import FLOW as SAMPLES
from streams.settings import KafkaSettings
from tables.cluster import ClusterView, Filter
from tables.entries import KindEntry, entries, grouped_by
from tables.flat import Flat, FlatCluster
from tables.view import BEFORE_ALL, View

_COLUMNS: Final = ("cluster_id",)
_read_droplet: Final = msgspec.json.Decoder(Droplet).decode
_read_samples: Final = msgspec.json.Decoder(Samples).decode


SLICE: Final = 50
"""Clusters that are looked at together where all are."""


def topics_of_views(kafka: KafkaSettings) -> tuple[str, str, str]:
    """The changelogs of clusters, droplets and samples."""
    topics = kafka.topics
    return topics.state, topics.of(droplet_flow(Policy()).state), topics.of(SAMPLES.state)


class Views:
    """Follows the changelogs of clusters, droplets and samples from their beginning.

    Attributes:
        tail: Reads them; it is started, run and stopped with the process.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._topics = topics_of_views(kafka)
        self._clusters = ClusterView()
        self._droplets: View[KindEntry] = View(
            entries(shown="droplet", columns=_COLUMNS), grouped=grouped_by("cluster_id", _COLUMNS)
        )
        self._samples: View[KindEntry] = View(entries(shown=SAMPLES.shown))
        self._flat = Flat(self._clusters, self._of_cluster, samples=self._of_samples)
        self.tail = Tail(
            kafka,
            client_id="clusterflow-executor-states",
            from_beginning={
                self._topics[0]: self._clusters.apply,
                self._topics[1]: self._droplets.apply,
                self._topics[2]: self._samples.apply,
            },
        )
        self._freshness = Freshness(self.tail.ends, self.tail.reached)

    async def cluster(self, cluster_id: str) -> FlatCluster | None:
        """A live cluster as any process has answered it; None if there is none. Raises: Unavailable."""
        await self._caught_up(cluster_id)
        return self._flat.cluster(cluster_id)

    async def facts(self, cluster_id: str, *, unchecked: bool) -> Facts | None:
        """What a live cluster is looked at by (`Flat.facts`), as fresh as `cluster`; None: there is none."""
        await self._caught_up(cluster_id)
        return self._flat.facts(cluster_id, unchecked=unchecked)

    async def _caught_up(self, cluster_id: str) -> None:
        """Wait until all is known that was in the log of a cluster when this was asked."""
        await self.tail.caught_up.wait()
        partition = partition_of(cluster_id.encode(), self._kafka.partitions)
        await self._freshness.caught_up(self._topics[0], partition)

    async def clusters(self) -> AsyncIterator[Sequence[str]]:
        """The ids of all live clusters, some at a time, newest first."""
        await self.tail.caught_up.wait()
        place = BEFORE_ALL
        while found := self._clusters.after(Filter(), place, limit=SLICE):
            yield [entry.id for entry in found]
            place = found[-1].place

    async def provisioned(self, droplet_id: str, revision: int = 1) -> Droplet | None:
        """A droplet once it is not being provisioned any more; None if it was deleted before.

        Args:
            revision: That it has at least; 1 for a droplet that is on its way into the stream.
        """
        await self._shown(droplet_id, revision)
        while (entry := self._droplets.get(droplet_id)) is not None:
            droplet = _read_droplet(entry.document)
            if droplet.status != "provisioning":
                return droplet
            await self._shown(droplet_id, self._droplets.revision(droplet_id) + 1)
        return None

    async def _shown(self, droplet_id: str, revision: int) -> None:
        """Wait until a droplet has been seen at a revision."""
        shown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._droplets.when_shown(droplet_id, revision, shown)
        try:
            await shown
        finally:
            self._droplets.forget(droplet_id, shown)

    def _of_cluster(self, cluster_id: str) -> list[str]:
        return [entry.id for entry in reversed(self._droplets.group(cluster_id))]

    def _of_samples(self, cluster_id: str) -> Sequence[Sample]:
        entry = self._samples.get(cluster_id)
        return () if entry is None else list(_read_samples(entry.document).latest.values())
