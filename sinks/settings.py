"""What the sink needs to know, each value with its unit."""

from dataclasses import dataclass
from datetime import timedelta

from database import DatabaseSettings
from streams.settings import SINK_GROUP, KafkaSettings
from streams.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """The PostgreSQL sink.

    Attributes:
        group_id: Consumer group that shares the partitions among all writers of all processes.
        writers: Members of that group in this process, each with one connection at a time: while one waits
            for the database, the other decodes. More pay off only if database and machine have idle cores.
        batch_records: Records of one transaction at most.
        max_backoff: Seconds between tries at most while the database is away.
        tombstone_life: How long the changelog keeps tombstones at least; None: what its topic says.
        touch_interval: Seconds between notes that positions are at the ends of their partitions.
        crash_after_commit: For tests: the process kills itself after so many transactions, before it notes
            the positions in Kafka.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    group_id: str = SINK_GROUP
    writers: int = 2
    batch_records: int = 4000
    max_backoff: float = 5.0
    tombstone_life: timedelta | None = None
    touch_interval: float = 600.0
    crash_after_commit: int | None = None

    @property
    def topics(self) -> Topics:
        """Names of the topics."""
        return self.kafka.topics
