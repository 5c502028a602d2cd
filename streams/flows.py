"""The registry of flows: a kind has topics, grants, schemas and channels because it is listed here."""

from typing import Any, Final

from domain.policy import Policy
from streams import bucket, checkup, limit, members, samples, scaling
from streams.address import address_flow
from streams.autoscaler import autoscaler_flow
from streams.cluster.flow import CLUSTER
from streams.droplet import droplet_flow
from streams.flow import Flow
from streams.job import job_flow
from streams.resource import resource_flow
from streams.task import task_flow
from streams.topic import Declaration


def simple_flows(policy: Policy) -> tuple[Flow[Any, Any, Any], ...]:
    """Kinds with one input topic, which the same agent, view, and writer of rows serve, under a policy."""
    return (
        resource_flow(policy),
        task_flow(policy),
        droplet_flow(policy),
        address_flow(policy),
        members.FLOW,
        job_flow(policy),
        checkup.FLOW,
        samples.FLOW,
        scaling.FLOW,
        autoscaler_flow(policy),
        limit.FLOW,
        bucket.FLOW,
    )


SIMPLE_FLOWS: Final = simple_flows(Policy())
"""The same as they are described, whatever an operator has chosen."""

PUBLIC: Final = tuple(name for flow in SIMPLE_FLOWS for name in flow.public)
"""Their public topics, without the deployment's prefix."""

WORK: Final = tuple(flow.kind.name for flow in SIMPLE_FLOWS if flow.queue)
"""The kinds whose entities are work for executors."""

FLOWS: Final[tuple[Declaration, ...]] = (CLUSTER, *SIMPLE_FLOWS)
"""All flows."""
