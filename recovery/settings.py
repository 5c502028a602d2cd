"""The settings of the recovery commands, each value with its unit."""

from dataclasses import dataclass
from datetime import timedelta

from database import DatabaseSettings
from streams.kafka.tombstones import TOMBSTONE_LIFE
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """The locations of state, and the amount of it that is processed at a time.

    Attributes:
        wait: How long the sink may take to store the records that the topics hold when `verify` begins.
        tombstone_life: The age of the sink's positions from which `rebuild` needs an explicit confirmation:
            the age up to which the sink itself can continue from them.
        page: How many entities are compared, repaired or restored together; all their rows are in memory.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    wait: timedelta = timedelta(seconds=30)
    tombstone_life: timedelta = TOMBSTONE_LIFE
    page: int = 500
