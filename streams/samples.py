"""Samples of clusters on Kafka, and what is told where one is too much (operations contract, 8 and 9)."""

from collections.abc import Iterator
from typing import Any, Final

from domain.measures import THRESHOLDS
from domain.samples import SAMPLES, Changed, Commands, SamplesState
from streams import envelope
from streams.cause import Cause
from streams.envelope import Envelope
from streams.flow import Flow, Reference
from streams.kafka.roles import EXECUTOR
from streams.topic import Key, Message
from streams.writing.outputs import Output


class ThresholdEvent(Envelope, kw_only=True):
    """A value of a cluster is above its threshold, and was not before."""

    message: str


EVENT: Final = Message(
    name="threshold-event",
    title="Event of a threshold",
    types=(ThresholdEvent,),
    keyed_by=Key("The id of the cluster"),
)


def announce(event: Changed, after: SamplesState, cause: Cause) -> Iterator[Output]:
    """Publish that something is too much."""
    sample = event.sample
    if event.how != "crossed" or sample is None:
        return
    cluster_id, above = event.samples.id, THRESHOLDS[sample.type].above
    # Two types may be above their thresholds by one command.
    members: dict[str, Any] = envelope.common(
        f"samples.{sample.type}", cluster_id, "metric.threshold_exceeded", cause
    )
    payload = {"type": sample.type, "value": sample.value, "unit": sample.unit, "threshold": above}
    message = f"{sample.type} is above {above:g} {sample.unit}"
    said = ThresholdEvent(**members, cluster_id=cluster_id, message=message, payload=payload)
    yield envelope.told(said, cluster_id, after, cause)


FLOW: Final[Flow[SamplesState, Commands, Changed]] = Flow(
    kind=SAMPLES,
    messages=Commands,
    commands="samples.commands",
    state="samples-state",
    results="",
    followers=(EXECUTOR,),
    helpers=(EXECUTOR,),
    kept=True,
    refers=Reference("id", "cluster", code="RESOURCE_NOT_FOUND", text="cluster not found", always=True),
    joins={envelope.EVENTS: EVENT},
    announce=announce,
    shown="samples",
)
