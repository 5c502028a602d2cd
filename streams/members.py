"""The droplets of clusters on Kafka, between the agents alone."""

from typing import Final

from domain.members import MEMBERS, Changed, Commands, MembersState
from streams.flow import Flow
from streams.kafka.roles import EXECUTOR

FLOW: Final[Flow[MembersState, Commands, Changed]] = Flow(
    kind=MEMBERS,
    messages=Commands,
    commands="members.commands",
    state="members-state",
    apis=(),
    helpers=(EXECUTOR,),
    internal=True,
    shown="members",
)
