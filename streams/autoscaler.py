"""Autoscalers of clusters on Kafka, and what is told of them (operations contract, sections 7 and 9)."""

from collections.abc import Iterator
from typing import Any

from domain.autoscaler import AutoscalerState, Changed, Commands, autoscaler_kind
from domain.policy import Policy
from streams import envelope
from streams.cause import Cause
from streams.envelope import Envelope
from streams.flow import Flow
from streams.kafka.roles import WEB
from streams.topic import Key, Message
from streams.writing.outputs import Output


class ScalingEvent(Envelope, kw_only=True):
    """A policy makes a cluster larger or smaller."""

    message: str


EVENT = Message(
    name="scaling-event",
    title="Event of an autoscaler",
    types=(ScalingEvent,),
    keyed_by=Key("The id of the cluster"),
)


def announce(event: Changed, after: AutoscalerState, cause: Cause) -> Iterator[Output]:
    """Publish what a policy does."""
    if event.how != "acted" or (done := event.decision) is None:
        return
    cluster_id = event.autoscaler.id
    members: dict[str, Any] = envelope.common("autoscaler", cluster_id, "autoscale.action", cause)
    payload = {"policy_id": done.policy_id, "action": done.action, "reason": done.reason}
    said = ScalingEvent(**members, cluster_id=cluster_id, message=done.said, payload=payload)
    yield envelope.told(said, cluster_id, after, cause)


def autoscaler_flow(policy: Policy) -> Flow[AutoscalerState, Commands, Changed]:
    """Autoscalers under a policy."""
    return Flow(
        kind=autoscaler_kind(policy),
        messages=Commands,
        commands="autoscaler.commands",
        state="autoscaler-state",
        apis=(),
        followers=(WEB,),
        helpers=(WEB,),
        internal=True,
        joins={envelope.EVENTS: EVENT},
        announce=announce,
        shown="autoscaler",
    )
