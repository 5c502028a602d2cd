"""Addresses of droplets on Kafka, between the agents alone."""

from domain.address import BlockState, Changed, Commands, address_kind
from domain.policy import Policy
from streams.flow import Flow


def address_flow(policy: Policy) -> Flow[BlockState, Commands, Changed]:
    """Addresses under a policy."""
    return Flow(
        kind=address_kind(policy),
        messages=Commands,
        commands="address.commands",
        state="address-state",
        apis=(),
        internal=True,
        shown="block",
    )
