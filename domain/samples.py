"""The rules of samples: the newest of each type that is known of a cluster (operations contract, section 8).

Nobody waits for what becomes of a sample, and one that comes twice changes nothing. So no outcomes are
remembered, and none are told.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from domain.entity import Command, Kind, VersionedEntity
from domain.measures import MEASURED, MOST, UNITS, Measured, Sample, is_too_much
from domain.values import Meta, Struct, replace

MOST_AT_ONCE: Final = 100
"""Samples of one command."""

KEPT_FOR: Final = timedelta(hours=1)
"""How long the newest samples are known of a cluster that sends no more, or that there is not."""

ALIASES: Final = {"cpu_usage": "cpu", "memory_usage": "memory"}
UNIT_ALIASES: Final = {"percent": "%"}

Unit = Annotated[str, Meta(max_length=20, pattern="^[^\x00]*$")]
Source = Annotated[str, Meta(max_length=50, pattern="^[^\x00]*$")]
Timestamp = Annotated[datetime, Meta(tz=True)]


class Given(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value as its sender says it.

    Attributes:
        unit: That of its type where it is empty.
        timestamp: When it comes, where it is absent or ahead of that.
    """

    type: Measured | Literal["cpu_usage", "memory_usage"]
    value: Annotated[float, Meta(ge=-MOST, le=MOST)]
    unit: Unit = ""
    timestamp: Timestamp | None = None


class Add(Command, frozen=True, kw_only=True, tag="samples.add"):
    """Values of a cluster, in any order.

    Attributes:
        source: What they are from, where that is not a node of the cluster.
    """

    samples: Annotated[tuple[Given, ...], Meta(min_length=1, max_length=MOST_AT_ONCE)]
    source: Source | None = None


class Tell(Command, frozen=True, kw_only=True, tag="samples.tell"):
    """Announce the newest samples within the worker, for decisions that depend on them."""


Commands = Add | Tell


class Samples(Struct, frozen=True, kw_only=True):
    """The newest samples of a cluster.

    Attributes:
        id: That of the cluster.
        latest: By type.
        above: The types whose newest sample is above its threshold.
    """

    id: str
    latest: dict[str, Sample]
    above: tuple[Measured, ...] = ()
    created_at: datetime
    updated_at: datetime


class SamplesState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one cluster's samples."""

    samples: Samples


class Changed(Struct, frozen=True, kw_only=True):
    """Samples have come, one is above its threshold that was not, they are told, or too old.

    Attributes:
        sample: That which is above its threshold.
    """

    how: Literal["added", "crossed", "told", "forgotten"]
    samples: Samples
    at: datetime
    sample: Sample | None = None


def taken(command: Add, at: datetime) -> Iterator[Sample]:
    """The samples of a command that came at a moment."""
    for given in command.samples:
        type_: Any = ALIASES.get(given.type, given.type)
        yield Sample(
            type=type_,
            value=given.value,
            unit=UNIT_ALIASES.get(given.unit, given.unit) or UNITS[type_],
            timestamp=at if given.timestamp is None else min(given.timestamp, at),
            source=command.source,
        )


def id_of(cluster_id: str, sample: Sample) -> str:
    """The id of a sample; the same for one that comes again."""
    return f"{cluster_id}-{sample.type}-{round(sample.timestamp.timestamp() * 1000)}"


def decide(state: SamplesState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to; nothing is refused."""
    live = None if state is None or state.deleted_at is not None else state.samples
    before = live or Samples(id=command.id, latest={}, created_at=at, updated_at=at)
    if isinstance(command, Tell):
        return (Changed(how="told", samples=before, at=at),)
    latest = dict(before.latest)
    for sample in taken(command, at):
        known = latest.get(sample.type)
        if known is None or sample.timestamp >= known.timestamp:
            latest[sample.type] = sample
    above = tuple(type_ for type_ in MEASURED if type_ in latest and is_too_much(latest[type_]))
    samples = replace(before, latest=latest, above=above, updated_at=max(at, before.updated_at))
    crossed = [latest[type_] for type_ in above if type_ not in before.above]
    return (
        Changed(how="added", samples=samples, at=at),
        *(Changed(how="crossed", samples=samples, at=at, sample=sample) for sample in crossed),
    )


def evolve(state: SamplesState | None, event: Changed) -> SamplesState:
    """The state after an event."""
    state = state or SamplesState(revision=0, samples=event.samples)
    forgotten = event.how == "forgotten"
    return replace(state, samples=event.samples, deleted_at=event.at if forgotten else None)


def wake_at(state: SamplesState) -> datetime | None:
    """When they are too old."""
    return state.samples.updated_at + KEPT_FOR


def wake(state: SamplesState, at: datetime) -> Sequence[Changed]:
    """They are."""
    return (Changed(how="forgotten", samples=state.samples, at=at),)


SAMPLES: Final = Kind(
    name="samples",
    state=SamplesState,
    decide=decide,
    evolve=evolve,
    wake_at=wake_at,
    wake=wake,
    remembers=False,
    retention=timedelta(minutes=1),
)
