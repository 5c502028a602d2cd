"""The settings of the sink, each value with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from database import DatabaseSettings
from database.names import DatabaseName
from streams.kafka.roles import SINK
from streams.settings import SINK_GROUP, KafkaSettings
from streams.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """The settings of the PostgreSQL sink.

    Attributes:
        database: The database of clusters, and of each kind that is not elsewhere.
        elsewhere: Further databases, by their names.
        role: The role, whose rights in Kafka are needed, and by whose name Kafka and PostgreSQL know the
            process.
        group_id: Consumer group that shares the partitions among all writers of all processes.
        writers: Members of that group in this process for each database, each with one connection at a time:
            while one waits for the database, the other decodes. More of them help only if database and
            machine have idle cores.
        batch_records: The maximum of records in one transaction.
        gather: Seconds in which records gather while there are writes all the time: a row is at most about
            so much later, and there are fewer transactions and fetches.
        max_backoff: The maximum of seconds between tries while the database is away.
        tombstone_life: The minimum time for which changelogs keep tombstones; None for the topic's setting.
        touch_interval: Seconds between updates of positions that are at the ends of their partitions.
        samples_kept: How long samples of clusters have rows.
        crash_after_commit: For tests: the process kills itself after this number of transactions, before it
            commits the positions in Kafka.
    """

    kafka: KafkaSettings
    database: DatabaseSettings
    elsewhere: Mapping[DatabaseName, DatabaseSettings] = field(default_factory=dict)
    role: str = SINK
    group_id: str = SINK_GROUP
    writers: int = 2
    batch_records: int = 4000
    gather: float = 0.2
    max_backoff: float = 5.0
    tombstone_life: timedelta | None = None
    touch_interval: float = 600.0
    samples_kept: timedelta = timedelta(days=7)
    crash_after_commit: int | None = None

    @property
    def topics(self) -> Topics:
        """Names of the topics."""
        return self.kafka.topics

    @property
    def client_id(self) -> str:
        """The name of the process in Kafka and in PostgreSQL."""
        return f"clusterflow-{self.role}"
