"""A fleet of any size, written straight into the changelogs: minutes of creates in seconds.

The records go through the rules (`decide`, `evolve`, `sealed`), so they are what the product writes; each
cluster has one ready controller and was reconciled once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.cluster.commands import Command, Create, Report
from domain.cluster.decide import decide, decide_report, evolve
from domain.cluster.events import Event
from domain.cluster.names import NameRecord, name_key
from domain.cluster.schedule import due
from domain.cluster.state import ClusterState, ReportedCondition
from domain.entity import Outcome
from domain.ids import deterministic_id
from domain.offsets import Seen
from domain.policy import Policy
from streams.json import encode
from streams.settings import KafkaSettings
from streams.writing.outputs import Output
from streams.writing.producer import Producer

OWNERS = 20
PLATFORMS = ("gcp", "aws", "azure")
_CHUNK = 5000
_POLICY = Policy()


def cluster_id(number: int) -> str:
    """The id of the fleet's cluster of this number."""
    return str(UUID(deterministic_id("bench-fleet", number), version=4))


def resource_id(number: int) -> str:
    """The id of the resource of this number. A fleet does not hold it: a measurement creates it."""
    return deterministic_id("bench-resource", number)


def owner(number: int) -> str:
    """Its owner."""
    return f"owner{number % OWNERS}@example.com"


def record(number: int, *, at: datetime) -> ClusterState:
    """The record of one cluster that was created, reconciled and reported ready at a moment."""
    identity = cluster_id(number)
    platform = PLATFORMS[number % len(PLATFORMS)]
    create = Create(
        command_id=deterministic_id("bench-create", number),
        cluster_id=identity,
        user_email=owner(number),
        name=f"cluster-{number}",
        spec={
            "platform": {"type": platform, platform: {"region": f"region-{number % 7}"}},
            "infraID": f"infra-{number}",
            "networking": {"serviceNetwork": ["172.30.0.0/16"], "podCIDR": "10.128.0.0/14"},
        },
    )
    report = Report(
        cluster_id=identity,
        controller_name="dns",
        observed_generation=1,
        conditions=(ReportedCondition(type="Available", status="True", lastTransitionTime=at),),
    )
    state: ClusterState | None = None
    steps: Sequence[Command | Report | None] = (create, report, None)
    for offset, step in enumerate(steps):
        state = _after(state, step, at)
        outcome = Outcome(command_id=step.command_id) if isinstance(step, Command) else None
        state = state.sealed(seen=Seen("bench", offset), at=at, outcome=outcome)
    assert state is not None
    return state


def _after(state: ClusterState | None, step: Command | Report | None, at: datetime) -> ClusterState:
    event: Event | None
    match step:
        case Command():
            event = decide(state, step, at=at, policy=_POLICY)
        case Report():
            assert state is not None
            event = decide_report(state, step, at=at)
        case None:
            assert state is not None
            event = due(state, at, _POLICY)
    assert event is not None
    return evolve(state, event, _POLICY)


def outputs(kafka: KafkaSettings, count: int, *, at: datetime) -> Iterator[Output]:
    """The changelog records of a fleet."""
    topics = kafka.topics
    for number in range(count):
        state = record(number, at=at - timedelta(milliseconds=number))
        yield Output(topics.state, state.cluster.id.encode(), encode(state))
        name = NameRecord(cluster_id=state.cluster.id, command_id=state.cluster.id, offsets={})
        yield Output(topics.names, name_key(owner(number), state.cluster.name).encode(), encode(name))


async def fill(kafka: KafkaSettings, count: int, *, age: timedelta = timedelta(hours=3)) -> int:
    """Write a fleet into empty changelogs before any worker has claimed them; returns its bytes of state.

    Args:
        age: Of the clusters; beyond the attention age they are stable.
    """
    producer = Producer(kafka, client_id="bench-fleet")
    await producer.start()
    size, chunk = 0, []
    try:
        for output in outputs(kafka, count, at=datetime.now(UTC) - age):
            size += len(output.value or b"") if output.topic == kafka.topics.state else 0
            chunk.append(output)
            if len(chunk) >= _CHUNK:
                await producer.publish(chunk)
                chunk = []
                await asyncio.sleep(0)
        await producer.publish(chunk)
    finally:
        await producer.stop()
    return size
