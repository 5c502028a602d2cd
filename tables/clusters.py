"""The tables and their changelogs: clusters by id, names by owner."""

from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState
from streams.cluster.codec import decode_name, decode_record
from streams.json import encode
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp
from tables.typed import TypedTable


def cluster_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[ClusterState]:
    """Everything known about a cluster; its changelog `cluster-state` feeds views and sinks too."""
    return TypedTable(
        app,
        "clusters",
        changelog_topic=kafka.topics.state,
        partitions=kafka.partitions,
        decode=decode_record,
        encode=encode,
    )


def name_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[NameRecord]:
    """Who holds which name."""
    return TypedTable(
        app,
        "names",
        changelog_topic=kafka.topics.names,
        partitions=kafka.partitions,
        decode=decode_name,
        encode=encode,
    )
