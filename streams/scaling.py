"""Policies of scaling on Kafka (operations contract, section 1.5)."""

from typing import Final

from domain.scaling import SCALING, Changed, Commands, ScalingState
from streams.flow import Flow, Reference

FLOW: Final[Flow[ScalingState, Commands, Changed]] = Flow(
    kind=SCALING,
    messages=Commands,
    commands="scaling.commands",
    state="scaling-state",
    refers=Reference(
        "cluster_id", "cluster", code="CLUSTER_NOT_FOUND", text="cluster not found", always=True
    ),
    shown="policy",
)
