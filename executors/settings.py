"""The settings of executors, each value with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from domain.policy import Policy
from executors.handlers import Handler
from streams.flows import WORK
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """The settings of an executor.

    Attributes:
        kinds: Those whose work this process does.
        handlers: Of tasks, by action; the default handler does the rest.
        most: Tasks that one process does at one time.
        most_jobs: Jobs, likewise.
        held: Records of a kind, at most, that it has read and not settled, or that wait behind such a one.
        simulated_work: What the default handler takes.
        stop_within: How long a stopping process lets its handlers go on.
        synthetic: Whether it makes up samples for all clusters, where it does jobs.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    kinds: tuple[str, ...] = WORK
    most: int = 100
    most_jobs: int = 4
    held: int = 2000
    simulated_work: timedelta = timedelta(0)
    stop_within: timedelta = timedelta(seconds=30)
    synthetic: bool = False
