"""What is measured of a cluster, and from where on that is too much (operations contract, 1.4 and 8)."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple

from domain.health import Health
from domain.values import Meta, Struct

Measured = Literal["cpu", "memory", "disk", "network"]
MEASURED: Final[tuple[Measured, ...]] = ("cpu", "memory", "disk", "network")

UNITS: Final[Mapping[Measured, str]] = {"cpu": "%", "memory": "%", "disk": "%", "network": "Mbps"}
"""Of a sample that names none."""

FRESH: Final = timedelta(minutes=5)
"""How long a sample says how a cluster is."""

MOST: Final = 1e15


class Threshold(NamedTuple):
    """From where on a value is too much, and what that says of a cluster."""

    above: float
    health: Health


THRESHOLDS: Final[Mapping[Measured, Threshold]] = {
    "cpu": Threshold(80.0, "warning"),
    "memory": Threshold(85.0, "critical"),
    "disk": Threshold(90.0, "critical"),
}

WORSE: Final[Mapping[Health, int]] = {"healthy": 0, "warning": 1, "critical": 2}

STALE: Final = "There are no fresh metrics"


class Sample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value at one moment.

    Attributes:
        source: What it is from, where that is not a node of the cluster.
    """

    type: Measured
    value: Annotated[float, Meta(ge=-MOST, le=MOST)]
    unit: Annotated[str, Meta(max_length=20)]
    timestamp: datetime
    source: str | None = None


class KnownSample(Sample, frozen=True, kw_only=True, omit_defaults=True):
    """A sample in a command whose sender knows it."""


def known(samples: Iterable[Sample]) -> tuple[KnownSample, ...]:
    """Samples for a command."""
    return tuple(
        KnownSample(
            type=each.type, value=each.value, unit=each.unit, timestamp=each.timestamp, source=each.source
        )
        for each in samples
    )


class Judgement(NamedTuple):
    """How a cluster is, and why."""

    status: Health
    issues: tuple[str, ...]


def fresh(samples: Iterable[Sample], at: datetime) -> list[Sample]:
    """The samples that say how a cluster is at a moment, in the order of `MEASURED`."""
    found = [sample for sample in samples if at - sample.timestamp <= FRESH]
    return sorted(found, key=lambda sample: MEASURED.index(sample.type))


def is_too_much(sample: Sample) -> bool:
    """Whether it is above the threshold of its type, if that has one."""
    return sample.type in THRESHOLDS and sample.value > THRESHOLDS[sample.type].above


def excesses(samples: Iterable[Sample]) -> Iterator[str]:
    """What is too much, in words."""
    for sample in filter(is_too_much, samples):
        above = THRESHOLDS[sample.type].above
        yield f"{sample.type} is {sample.value:g} {sample.unit}, above {above:g} {sample.unit}"


def judge(samples: Iterable[Sample], at: datetime, *, otherwise: Health) -> Judgement:
    """How a cluster is by its samples.

    Args:
        samples: The newest of each type.
        otherwise: How it is where none of them is fresh.
    """
    known = fresh(samples, at)
    if not known:
        return Judgement(otherwise, (STALE,))
    found: list[Health] = [THRESHOLDS[sample.type].health for sample in known if is_too_much(sample)]
    return Judgement(max(found, key=WORSE.__getitem__, default="healthy"), tuple(excesses(known)))
