"""The rules by which a cluster is diagnosed (operations contract, section 6)."""

from datetime import datetime
from typing import Annotated, Final

from domain.health import Health
from domain.measures import MEASURED, KnownSample, excesses, fresh
from domain.values import Meta, Struct

MOST_FAILING: Final = 20
"""Conditions that are named."""

_SAYS: Final = {
    "healthy": "The cluster is healthy, all good",
    "warning": "The cluster shows degraded performance",
    "critical": "The cluster has a critical issue that needs attention",
}

FEW: Final = 4
"""The largest number of droplets at which more of them are recommended."""

MAX_TEXT: Final = 255
MAX_SENTENCE: Final = 1000

Sentence = Annotated[str, Meta(max_length=MAX_SENTENCE)]


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of a cluster.

    Attributes:
        droplets: How many it has.
        failing: Conditions of its controllers that are False, in words.
        samples: The newest sample of each type.
    """

    name: Annotated[str, Meta(max_length=MAX_TEXT)]
    region: Annotated[str, Meta(max_length=MAX_TEXT)]
    status: Health
    droplets: Annotated[int, Meta(ge=0, le=100_000)]
    failing: Annotated[tuple[Sentence, ...], Meta(max_length=MOST_FAILING)] = ()
    samples: Annotated[tuple[KnownSample, ...], Meta(max_length=len(MEASURED))] = ()


class Diagnosis(Struct, frozen=True, kw_only=True):
    """What follows from that, each list in order."""

    insights: tuple[str, ...]
    recommendations: tuple[str, ...]


def diagnose(facts: Facts, at: datetime) -> Diagnosis:
    """What is to be said of a cluster at a moment, and what is recommended."""
    return Diagnosis(insights=tuple(_insights(facts, at)), recommendations=tuple(_recommendations(facts)))


def _insights(facts: Facts, at: datetime) -> list[str]:
    plural = "" if facts.droplets == 1 else "s"
    return [
        f"Cluster {facts.name} has {facts.droplets} droplet{plural} running",
        f"It is in region {facts.region}" if facts.region else "It is in no region",
        _SAYS[facts.status],
        *excesses(fresh(facts.samples, at)),
        *facts.failing,
    ]


def _recommendations(facts: Facts) -> list[str]:
    """Clients make jobs of these, by the words that the contract names for each."""
    said = list[str]()
    if facts.droplets < 2:
        said.append("Add droplets for redundancy")
    if facts.droplets == 0:
        said.append("Create the first droplet")
    if facts.status == "critical":
        said += ["Scale the cluster at once", "Check the droplets and restart those that have failed"]
    if facts.status == "warning":
        said += ["Use larger droplet sizes", "Add monitoring to find what slows the cluster down"]
    if 1 <= facts.droplets <= FEW:
        said.append("Scale up with more droplets")
    return said or ["The configuration is fine, keep up the monitoring"]
