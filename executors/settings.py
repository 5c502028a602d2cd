"""The settings of executors, each value with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from domain.policy import Policy
from executors.handlers import Handler
from streams.settings import EXECUTOR_GROUP, KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """The settings of an executor.

    Attributes:
        handlers: By action; the default handler does the rest.
        group_id: Consumer group that shares the queues among all executors.
        most: Pieces of work that one process does at one time.
        held: Records that it has read and not settled, or that wait behind one that is not, at most.
        simulated_work: What the default handler takes.
        stop_within: How long a stopping process lets its handlers go on.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    group_id: str = EXECUTOR_GROUP
    most: int = 100
    held: int = 2000
    simulated_work: timedelta = timedelta(0)
    stop_within: timedelta = timedelta(seconds=30)
