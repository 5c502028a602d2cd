"""Configured limits on Kafka (operations contract, section 3.3)."""

from typing import Final

from domain.limit import LIMIT, Changed, Commands, LimitState
from streams.flow import Flow

FLOW: Final[Flow[LimitState, Commands, Changed]] = Flow(
    kind=LIMIT,
    messages=Commands,
    commands="limit.commands",
    state="limit-state",
    shown="limit",
)
