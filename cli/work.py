"""The variables of work that somebody else does: who does what, how much, and how long it is tried."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from cli.values import Boolean, Count, Duration, TimeZone, WorkKinds
from domain.policy import Policy
from domain.values import replace
from domain.work import Limits
from streams.flows import WORK


class WorkVariables(BaseSettings):
    """The variables that executors are told, and those that say how often work is tried."""

    worker_kinds: Literal["all", "core", "samples"] = "all"
    executor_kinds: WorkKinds = WORK
    executor_tasks: Count = 100
    task_max_attempts: Count = 5
    task_timeout: Duration = timedelta(seconds=30)
    task_lease: Duration = timedelta(seconds=20)
    task_retention: Duration = timedelta(days=7)
    clustergenie_worker_count: Count = 4
    clustergenie_worker_queue: Count = 100
    shutdown_grace: Duration = timedelta(seconds=30)
    job_max_attempts: Count = 3
    job_lease_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    job_timeout: Duration = timedelta(minutes=10)
    job_retention: Duration = timedelta(days=7)
    metrics_retention: Duration = timedelta(days=7)
    metrics_export_interval: Duration = timedelta(seconds=30)
    autoscale_interval: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    autoscale_cooldown: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    autoscale_tz: TimeZone = "UTC"
    monitoring_synthetic: Boolean = False
    task_simulated_work_ms: Annotated[int, Field(ge=0)] = 0

    @property
    def task_limits(self) -> Limits:
        """How long and how often tasks are tried."""
        return Limits(attempts=self.task_max_attempts, lease=self.task_lease, time=self.task_timeout)

    @property
    def job_limits(self) -> Limits:
        """How long and how often jobs are tried."""
        return replace(
            Policy().job_limits,
            attempts=self.job_max_attempts,
            lease=timedelta(seconds=self.job_lease_seconds),
            time=self.job_timeout,
        )
