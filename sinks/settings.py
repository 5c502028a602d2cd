"""What the sink needs to know, each value with its unit."""

from dataclasses import dataclass, field

from streams.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """The PostgreSQL sink.

    Attributes:
        database_url: With user and password; so never logged.
        group_id: Consumer group that shares the partitions among all writers of all processes.
        writers: Members of that group in this process, each with one connection: while one waits for the
            database, the other decodes. More pay off only if database and machine have idle cores.
        batch_records: Records of one transaction at most.
        session_timeout: Seconds after which a silent writer's partitions go to another.
        database_timeout: Seconds a statement, or connecting, may take before the database counts as away.
        max_backoff: Seconds between tries at most while the database is away.
        crash_after_commit: For tests: the process kills itself after so many transactions, before it notes
            the positions in Kafka.
    """

    bootstrap_servers: str
    database_url: str = field(repr=False)
    topics: Topics = field(default_factory=Topics)
    group_id: str = "clusterflow-postgres"
    writers: int = 2
    batch_records: int = 4000
    session_timeout: float = 6.0
    database_timeout: float = 30.0
    max_backoff: float = 5.0
    crash_after_commit: int | None = None
