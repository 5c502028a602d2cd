"""Checkups of clusters on Kafka, and what is told of them (operations contract, sections 6 and 9)."""

from collections.abc import Iterator
from typing import Any, Final

from domain.checkup import CHECKUP, Changed, CheckupState, Commands
from streams import envelope
from streams.cause import Cause
from streams.envelope import Envelope
from streams.flow import Flow
from streams.kafka.roles import EXECUTOR, WEB
from streams.topic import Key, Message
from streams.writing.outputs import Output


class DiagnosisEvent(Envelope, kw_only=True):
    """A cluster was diagnosed."""

    message: str


EVENT: Final = Message(
    name="diagnosis-event",
    title="Event of a diagnosis",
    types=(DiagnosisEvent,),
    keyed_by=Key("The id of the cluster"),
)


def announce(event: Changed, after: CheckupState, cause: Cause) -> Iterator[Output]:
    """Publish what was found."""
    if event.how != "diagnosed":
        return
    checkup = event.checkup
    members: dict[str, Any] = envelope.common("checkup", checkup.id, "diagnosis.completed", cause)
    payload = {
        "status": checkup.status,
        "insights": checkup.insights,
        "recommendations": checkup.recommendations,
    }
    message = f"{len(checkup.recommendations)} recommendations"
    said = DiagnosisEvent(**members, cluster_id=checkup.id, message=message, payload=payload)
    yield envelope.told(said, checkup.id, after, cause)


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
