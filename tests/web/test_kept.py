"""Whether a cluster exists, asked for a droplet that names it."""

from types import SimpleNamespace
from typing import Any

import pytest

from domain.errors import Unavailable
from tables.cluster import ClusterView
from tests.tables.given import Record, document, value
from web.cluster.kept import KeptClusters


class Freshness:
    """Reads wait for what comes meanwhile, or for a Kafka that is away."""

    def __init__(self, view: ClusterView, *, away: bool = False) -> None:
        self._view = view
        self._away = away

    async def caught_up(self, topic: str, partition: int) -> None:
        if self._away:
            raise Unavailable("Kafka is away")
        self._view.apply(Record(b"new", value(document("new"))))


def kept(*, away: bool = False, may_wait: bool = False) -> KeptClusters:
    """One that is known, and another that comes while a read waits."""
    view = ClusterView()
    view.apply(Record(b"old", value(document("old"))))
    health: Any = SimpleNamespace(require_view=lambda: None)
    freshness: Any = Freshness(view, away=away)
    return KeptClusters(view, health, freshness, topic="cluster-state", partitions=4, may_wait=may_wait)


@pytest.mark.parametrize(("cluster_id", "expected"), [("old", True), ("new", True), ("none", False)])
async def test_what_any_process_has_answered_is_known(cluster_id, expected):
    assert expected is await kept().exists(cluster_id)


async def test_without_kafka_nobody_knows():
    with pytest.raises(Unavailable):
        await kept(away=True).exists("old")


@pytest.mark.parametrize(("cluster_id", "expected"), [("old", True), ("new", False)])
async def test_where_writes_may_wait_it_is_as_this_process_knows(cluster_id, expected):
    assert expected is await kept(away=True, may_wait=True).exists(cluster_id)
