"""How to reach Kafka, and how its topics are laid out."""

from dataclasses import dataclass, field
from typing import Final

from streams.topics import Topics

GROUP: Final = "clusterflow"  # of the workers, after the prefix of the topics


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Kafka, as every role needs it.

    Attributes:
        bootstrap_servers: `host:port`, comma-separated.
        partitions: Of every topic keyed by cluster or name; fixed for the life of the data.
        replication: Copies of each partition.
        session_timeout: Seconds after which a silent group member counts as dead.
    """

    bootstrap_servers: str
    topics: Topics = field(default_factory=Topics)
    partitions: int = 12
    replication: int = 3
    session_timeout: float = 6.0
