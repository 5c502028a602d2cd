"""Tells kinds that are about clusters whether there is one: its members, and its autoscaler.

A cluster is told about once somebody has asked (`Attach`): that it exists and where, when it moves, and that
there is none, or none any more.
"""

from domain import autoscaler, members
from domain.cluster.commands import Command
from domain.cluster.spec import region_of
from domain.cluster.state import ClusterState
from domain.ids import deterministic_id
from domain.policy import Policy
from streams.autoscaler import autoscaler_flow
from streams.cause import Cause
from streams.cluster.messages import AttachMessage
from streams.headers import FOLLOWED
from streams.json import encode
from streams.members import FLOW as MEMBERS
from streams.settings import KafkaSettings
from streams.writing.outputs import Output


def question(accepted: str, cluster_id: str, command_id: str, cause: Cause) -> Output:
    """The record that asks the agent of clusters whether there is one of this id.

    Args:
        accepted: The topic of commands to clusters that no client writes.
    """
    attach = AttachMessage(command_id=command_id, cluster_id=cluster_id)
    return Output(accepted, cluster_id.encode(), encode(attach), {**FOLLOWED, **cause.headers})


class Companions:
    """Sends commands about clusters to the kinds that depend on them.

    Args:
        kafka: Names the topics of the deployment.
    """

    def __init__(self, kafka: KafkaSettings, policy: Policy) -> None:
        self._members = MEMBERS.deployed(kafka.topics.of)
        self._autoscalers = autoscaler_flow(policy).deployed(kafka.topics.of)

    def told_there(self, cause: Command, state: ClusterState) -> list[Output]:
        """A cluster exists, in its region."""
        cluster_id = cause.cluster_id
        id = deterministic_id(cause.command_id, cluster_id, "Open")
        scaler = autoscaler.Open(id=cluster_id, command_id=id, region=region_of(state.cluster.spec))
        return [
            self._members.command(members.Open(id=cluster_id, command_id=id), FOLLOWED),
            self._autoscalers.command(scaler, FOLLOWED),
        ]

    def told_gone(self, cause: Command, *, deleted: bool) -> list[Output]:
        """There is no such cluster, or none any more."""
        cluster_id = cause.cluster_id
        id = deterministic_id(cause.command_id, cluster_id, "Close")
        scaler = autoscaler.Close(id=cluster_id, command_id=id, deleted=deleted)
        return [
            self._members.command(members.Close(id=cluster_id, command_id=id, deleted=deleted), FOLLOWED),
            self._autoscalers.command(scaler, FOLLOWED),
        ]


def moved(before: ClusterState, after: ClusterState) -> bool:
    """Whether a cluster is in another region than before."""
    return region_of(before.cluster.spec) != region_of(after.cluster.spec)
