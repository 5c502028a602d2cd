"""The settings of the recovery commands, each value with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from database import DatabaseSettings
from database.names import DatabaseName
from streams.kafka.tombstones import TOMBSTONE_LIFE
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """The locations of state, and the amount of it that is processed at a time.

    Attributes:
        database: The database of clusters, and of each kind that is not elsewhere.
        elsewhere: Further databases, by their names.
        wait: How long the sink may take to store the records that the topics hold when `verify` begins.
        tombstone_life: The age of the sink's positions from which `rebuild` needs an explicit confirmation:
            the age up to which the sink itself can continue from them.
        page: How many entities are compared, repaired or restored together; all their rows are in memory.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    elsewhere: Mapping[DatabaseName, DatabaseSettings] = field(default_factory=dict)
    wait: timedelta = timedelta(seconds=30)
    tombstone_life: timedelta = TOMBSTONE_LIFE
    page: int = 500
