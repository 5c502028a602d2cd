"""The settings of relays, each value with its unit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from database import DatabaseSettings
from domain.policy import Policy
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """The settings of a relay.

    Attributes:
        databases: Each has a table `outbox_events`.
        allowed: The types of rows that are published; others are parked.
        poll: How often a relay looks for rows that it was not told of, and a standby for its turn.
        batch: Rows that are read, published and marked together.
        retention: How long published rows are kept.
        patience: How long a batch waits for the acknowledgement of its last rows; then the other partitions
            go on without them.
    """

    kafka: KafkaSettings
    databases: Sequence[DatabaseSettings]
    policy: Policy = field(default_factory=Policy)
    allowed: Sequence[str]
    poll: timedelta = timedelta(seconds=1)
    batch: int = 100
    retention: timedelta = timedelta(days=7)
    patience: timedelta = timedelta(seconds=1)
