"""The rules of checkups: the last diagnosis of each cluster, and when it was (operations contract, 6)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from domain.diagnosis import Facts, diagnose
from domain.entity import Command, Kind, VersionedEntity
from domain.health import Health
from domain.values import Struct, replace

KEPT_FOR: Final = timedelta(days=7)
"""How long a checkup counts, whether its cluster lives or not."""


class Checkup(Struct, frozen=True, kw_only=True):
    """The last diagnosis of a cluster.

    Attributes:
        id: That of the cluster.
        status: How the cluster was.
        droplets: How many it had.
        updated_at: When it was made; `created_at` is when the first one was.
    """

    id: str
    status: Health
    droplets: int
    insights: tuple[str, ...]
    recommendations: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


class CheckupState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one cluster's checkup."""

    checkup: Checkup


class Diagnose(Command, frozen=True, kw_only=True, tag="checkup.diagnose"):
    """Diagnose a cluster.

    Attributes:
        facts: What its sender knows of it.
    """

    facts: Facts


Commands = Diagnose


class Changed(Struct, frozen=True, kw_only=True):
    """A cluster was diagnosed, or its last diagnosis is too old."""

    how: Literal["diagnosed", "forgotten"]
    checkup: Checkup
    at: datetime


def decide(state: CheckupState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to."""
    live = None if state is None or state.deleted_at is not None else state.checkup
    found = diagnose(command.facts)
    checkup = Checkup(
        id=command.id,
        status=command.facts.status,
        droplets=command.facts.droplets,
        insights=found.insights,
        recommendations=found.recommendations,
        created_at=at if live is None else live.created_at,
        updated_at=at if live is None else max(at, live.updated_at + timedelta(microseconds=1)),
    )
    return (Changed(how="diagnosed", checkup=checkup, at=at),)


def evolve(state: CheckupState | None, event: Changed) -> CheckupState:
    """The state after an event."""
    state = state or CheckupState(revision=0, checkup=event.checkup)
    forgotten = event.how == "forgotten"
    return replace(state, checkup=event.checkup, deleted_at=event.at if forgotten else None)


def wake_at(state: CheckupState) -> datetime | None:
    """When it is too old."""
    return state.checkup.updated_at + KEPT_FOR


def wake(state: CheckupState, at: datetime) -> Sequence[Changed]:
    """It is too old."""
    return (Changed(how="forgotten", checkup=state.checkup, at=at),)


CHECKUP: Final = Kind(
    name="checkup", state=CheckupState, decide=decide, evolve=evolve, wake_at=wake_at, wake=wake
)
