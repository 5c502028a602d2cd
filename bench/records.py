"""Prepared records for a worker: what gateways and controllers publish, to the clusters of `bench.fleet`.

Resources are there after the first burst, which creates those that the others update.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from bench.fleet import PLATFORMS, cluster_id, owner, resource_id
from bench.writes import DESCRIPTION, report, spec
from domain import resource
from domain.cluster.commands import Update
from domain.ids import deterministic_id
from domain.policy import Policy
from streams.cluster.codec import message_of
from streams.json import encode
from streams.resource import resource_flow
from streams.topics import Topics
from streams.writing.outputs import Output

Kind = Literal["commands", "reports", "resource updates"]
AGENTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "commands": ("clusters",),
    "reports": ("clusters",),
    "resource updates": ("resource", "task"),
}
"""The agents that decide something for a record of a kind; each change of a resource starts a task."""

KINDS: Final = tuple(AGENTS)

STATUSES: Final = Policy().resource_statuses
"""Resources have them in turn, so that a filtered list leaves out some that lie between those it shows."""

_TOPICS: Final = Topics()
_FLOW: Final = resource_flow(Policy())


def outputs(kind: Kind, count: int, *, clusters: int, burst: int) -> list[Output]:
    """So many records, each of which changes its cluster; no two bursts are alike."""
    if kind == "resource updates":
        return resource_writes(count, burst=burst)
    at = datetime.now(UTC)
    first = burst * count
    make = _command if kind == "commands" else _report
    return [make(number, clusters, at) for number in range(first, first + count)]


def resource_writes(count: int, *, burst: int) -> list[Output]:
    """The first burst creates `count` resources; each later burst updates all of them."""
    return [_resource(number, count) for number in range(burst * count, (burst + 1) * count)]


def _resource(number: int, count: int) -> Output:
    make = resource.Create if number < count else resource.Update
    command = make(
        id=resource_id(number % count),
        command_id=deterministic_id("bench-resource-write", number),
        name=f"resource {number}",
        description=DESCRIPTION,
        status=STATUSES[number % count % len(STATUSES)],
    )
    return _FLOW.command(command, {})


def _target(number: int, clusters: int) -> int:
    """A cluster on the first platform; neighbours in the stream go to different ones."""
    return number * 7 % (clusters // len(PLATFORMS)) * len(PLATFORMS)


def _command(number: int, clusters: int, at: datetime) -> Output:
    target = _target(number, clusters)
    update = Update(
        command_id=deterministic_id("bench-update", number),
        cluster_id=cluster_id(target),
        user_email=owner(target),
        spec={**spec(), "infraID": f"n{number}"},
    )
    body = encode(message_of(update, issued_at=at))
    return Output(_TOPICS.accepted_commands, update.cluster_id.encode(), body)


def _report(number: int, clusters: int, at: datetime) -> Output:
    identity = cluster_id(_target(number, clusters))
    report_id = deterministic_id("bench-report", number)
    body = {"cluster_id": identity, "report_id": report_id, "reported_at": at, **report(number)}
    return Output(_TOPICS.reports, identity.encode(), encode(body))
