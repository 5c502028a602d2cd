"""Checkups of clusters on Kafka, and what is told of them (operations contract, 6, 8 and 9)."""

from collections.abc import Iterator
from typing import Any, Final

from domain.checkup import CHECKUP, Changed, Checkup, CheckupState, Commands
from streams import envelope
from streams.cause import Cause
from streams.envelope import HEALTH_CHANGED, Envelope
from streams.flow import Flow
from streams.kafka.roles import EXECUTOR, WEB
from streams.topic import Key, Message
from streams.writing.outputs import Output


class DiagnosisEvent(Envelope, kw_only=True):
    """A cluster was diagnosed."""

    message: str


class HealthEvent(Envelope, kw_only=True):
    """Another health of a cluster was found than at the check before."""

    message: str


EVENT: Final = Message(
    name="checkup-event",
    title="Event of a checkup",
    types=(DiagnosisEvent, HealthEvent),
    keyed_by=Key("The id of the cluster"),
)


def announce(event: Changed, after: CheckupState, cause: Cause) -> Iterator[Output]:
    """Publish what was found."""
    checkup = event.checkup
    match event.how:
        case "diagnosed":
            payload = {
                "status": checkup.status,
                "insights": checkup.insights,
                "recommendations": checkup.recommendations,
            }
            message = f"{len(checkup.recommendations)} recommendations"
            said: Envelope = DiagnosisEvent(
                **_common(checkup, "diagnosis.completed", cause), message=message, payload=payload
            )
        case "changed":
            changed = {"status": checkup.health, "before": event.before, "issues": checkup.issues}
            message = f"The cluster is {checkup.health}, and was {event.before}"
            said = HealthEvent(**_common(checkup, HEALTH_CHANGED, cause), message=message, payload=changed)
        case _:
            return
    yield envelope.told(said, checkup.id, after, cause)


def _common(checkup: Checkup, type_: str, cause: Cause) -> dict[str, Any]:
    return {**envelope.common("checkup", checkup.id, type_, cause), "cluster_id": checkup.id}


FLOW: Final[Flow[CheckupState, Commands, Changed]] = Flow(
    kind=CHECKUP,
    messages=Commands,
    commands="checkup.commands",
    state="checkup-state",
    apis=(),
    followers=(WEB,),
    helpers=(WEB, EXECUTOR),
    internal=True,
    joins={envelope.EVENTS: EVENT},
    announce=announce,
    shown="checkup",
)
