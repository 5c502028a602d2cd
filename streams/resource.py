"""Resources on Kafka: one public topic for each kind of change (resources contract, section 6)."""

from collections.abc import Iterator
from datetime import timedelta

from domain.policy import Policy
from domain.resource import Changed, Commands, Resource, ResourceState, resource_kind
from domain.values import Struct
from streams.cause import Cause, announcement
from streams.flow import Flow
from streams.kafka.roles import GRPC
from streams.writing.outputs import Output


class Gone(Struct):
    """The value of `resource.deleted`."""

    id: str
    status: str = "deleted"


def announce(event: Changed, after: ResourceState, cause: Cause) -> Iterator[Output]:
    """Publish the whole resource after a write, and its id after a delete."""
    id = event.resource.id
    value = Gone(id) if event.how == "deleted" else event.resource
    yield announcement(f"resource.{event.how}", id, value, after, cause)


def resource_flow(policy: Policy) -> Flow[ResourceState, Commands, Changed]:
    """Resources under a policy."""
    return Flow(
        kind=resource_kind(policy),
        messages=Commands,
        commands="resource.commands",
        state="resource-state",
        public={"resource.created": Resource, "resource.updated": Resource, "resource.deleted": Gone},
        followers=(GRPC,),
        announce=announce,
        shown="resource",
        retention=timedelta(days=30),
    )
