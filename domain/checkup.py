"""The rules of checkups: the last look at each cluster, and when it was (operations contract, 6 and 8)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from domain.diagnosis import Facts, diagnose
from domain.entity import Command, Kind, VersionedEntity
from domain.health import Health
from domain.measures import judge
from domain.values import Struct, replace

KEPT_FOR: Final = timedelta(days=7)
"""How long a checkup counts, whether its cluster lives or not."""


class Checkup(Struct, frozen=True, kw_only=True):
    """The last diagnosis of a cluster, and the last check of its health.

    Attributes:
        id: That of the cluster.
        status: How the cluster was when it was diagnosed.
        droplets: How many it had.
        health: How it is by its samples; None until that is checked.
        issues: What makes it so.
        updated_at: When it was looked at; `created_at` is when it first was.
    """

    id: str
    status: Health
    droplets: int
    insights: tuple[str, ...]
    recommendations: tuple[str, ...]
    health: Health | None = None
    issues: tuple[str, ...] = ()
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


class Check(Command, frozen=True, kw_only=True, tag="checkup.check"):
    """Check the health of a cluster, which its sender knows apart from earlier checks.

    Attributes:
        facts: What its sender knows of it.
    """

    facts: Facts


Commands = Diagnose | Check


class Changed(Struct, frozen=True, kw_only=True):
    """A cluster was diagnosed or checked, another health was found, or the last look is too old.

    Attributes:
        before: The health that it had before, where it has changed.
    """

    how: Literal["diagnosed", "checked", "changed", "forgotten"]
    checkup: Checkup
    at: datetime
    before: Health = "healthy"


def decide(state: CheckupState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to."""
    live = None if state is None or state.deleted_at is not None else state.checkup
    before = live or _first(command, at)
    moment = at if live is None else max(at, live.updated_at + timedelta(microseconds=1))
    if isinstance(command, Check):
        return _checked(replace(before, updated_at=moment), command, at)
    found = diagnose(command.facts, at)
    checkup = replace(
        before,
        status=command.facts.status,
        droplets=command.facts.droplets,
        insights=found.insights,
        recommendations=found.recommendations,
        updated_at=moment,
    )
    return (Changed(how="diagnosed", checkup=checkup, at=at),)


def _first(command: Commands, at: datetime) -> Checkup:
    facts = command.facts
    return Checkup(
        id=command.id,
        status=facts.status,
        droplets=facts.droplets,
        insights=(),
        recommendations=(),
        created_at=at,
        updated_at=at,
    )


def _checked(before: Checkup, command: Check, at: datetime) -> Sequence[Changed]:
    """One that was never checked counts as healthy."""
    status, issues = judge(command.facts.samples, at, otherwise=command.facts.status)
    checkup = replace(before, health=status, issues=issues)
    checked = Changed(how="checked", checkup=checkup, at=at)
    if status == (health := before.health or "healthy"):
        return (checked,)
    return checked, Changed(how="changed", checkup=checkup, at=at, before=health)


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
