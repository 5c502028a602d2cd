"""Droplets on Kafka (operations contract, sections 5 and 9)."""

from collections.abc import Iterator
from typing import Any, Final

from domain.droplet import Changed, Commands, Droplet, DropletState, droplet_kind
from domain.policy import Policy
from streams import envelope
from streams.cause import Cause
from streams.envelope import Envelope
from streams.flow import Flow, Reference
from streams.kafka.roles import EXECUTOR
from streams.topic import Key, Message
from streams.writing.outputs import Output

TYPES: Final = {"created": "droplet.created", "updated": "droplet.updated", "deleted": "droplet.deleted"}


class DropletEvent(Envelope, kw_only=True):
    """A droplet was created, has changed, or was deleted.

    Attributes:
        droplet: As it is after that, or as it was last; also in the payload.
    """

    droplet: Droplet


EVENT: Final = Message(
    name="droplet-event",
    title="Event of a droplet",
    types=(DropletEvent,),
    keyed_by=Key("The id of the droplet"),
)


def announce(event: Changed, after: DropletState, cause: Cause) -> Iterator[Output]:
    """Publish what readers see of a change."""
    if event.how not in TYPES:
        return
    droplet = event.droplet
    members: dict[str, Any] = envelope.common("droplet", droplet.id, TYPES[event.how], cause)
    if droplet.cluster_id is not None:
        members["cluster_id"] = droplet.cluster_id
    said = DropletEvent(**members, droplet=droplet, payload={"droplet": droplet})
    yield envelope.told(said, droplet.id, after, cause)


def droplet_flow(policy: Policy) -> Flow[DropletState, Commands, Changed]:
    """Droplets under a policy."""
    return Flow(
        kind=droplet_kind(policy),
        messages=Commands,
        commands="droplet.commands",
        state="droplet-state",
        joins={envelope.EVENTS: EVENT},
        refers=Reference(
            "cluster_id", "cluster", code="CLUSTER_NOT_FOUND", text="cluster not found", always=True
        ),
        announce=announce,
        followers=(EXECUTOR,),
        helpers=(EXECUTOR,),
        shown="droplet",
    )
