"""The settings of gRPC, each value with its unit."""

from dataclasses import dataclass, field
from datetime import timedelta

from database import DatabaseSettings
from domain.policy import Policy
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcSettings:
    """The settings of a process that serves gRPC.

    Attributes:
        command_timeout: How long a write may wait for its outcome.
        reflection: Whether clients may ask which services and messages there are.
        stop_within: How long calls under way may go on once the process is told to stop.
        fallback: The database in whose outbox writes are stored that Kafka does not take; None for nowhere.
        require_resource: Whether the resource of a task must exist.
        most_calls: Calls under way at a time; more are refused with RESOURCE_EXHAUSTED.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    host: str = "127.0.0.1"
    port: int = 9090
    command_timeout: timedelta = timedelta(seconds=15)
    reflection: bool = True
    fallback: DatabaseSettings | None = None
    require_resource: bool = False
    stop_within: timedelta = timedelta(seconds=30)
    most_calls: int = 10_000
