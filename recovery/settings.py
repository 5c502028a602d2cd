"""What the recovery commands need to know, each value with its unit."""

from dataclasses import dataclass
from datetime import timedelta

from database import DatabaseSettings
from streams.kafka.tombstones import TOMBSTONE_LIFE
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """Where state is, and how much of it is taken at a time.

    Attributes:
        wait: How long the sink may take to store what the topics hold when `verify` begins.
        tombstone_life: How old the sink's positions may be before `rebuild` has to be told that it may go
            on: as long as the sink itself could have gone on from them.
        page: Entities compared, repaired or restored together; all of their rows are in memory at once.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    wait: timedelta = timedelta(seconds=30)
    tombstone_life: timedelta = TOMBSTONE_LIFE
    page: int = 500
