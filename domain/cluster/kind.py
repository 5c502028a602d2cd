"""Clusters as a kind: their rules, bound to an operator's policy."""

from collections.abc import Sequence
from datetime import datetime

from domain.cluster.commands import Command
from domain.cluster.decide import decide, evolve
from domain.cluster.events import Event
from domain.cluster.state import ClusterState
from domain.entity import Kind
from domain.policy import Policy


def cluster_kind(policy: Policy) -> Kind[ClusterState, Command, Event]:
    """The rules of clusters under a policy. Clusters have their own clock (`agents/clock.py`)."""

    def decided(state: ClusterState | None, command: Command, at: datetime) -> Sequence[Event]:
        return (decide(state, command, at=at, policy=policy),)

    def evolved(state: ClusterState | None, event: Event) -> ClusterState:
        return evolve(state, event, policy)

    return Kind(
        name="cluster",
        state=ClusterState,
        decide=decided,
        evolve=evolved,
        retention=policy.delete_retention,
    )
