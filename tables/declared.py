"""The tables and their changelogs: clusters by id, names by owner, other kinds as their flows declare."""

from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState
from domain.entity import C, E, V
from streams.cluster.codec import decode_name, decode_record
from streams.flow import Flow
from streams.json import encode
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp
from tables.typed import TypedTable


def table_of(app: BatchApp, kafka: KafkaSettings, flow: Flow[V, C, E]) -> TypedTable[V]:
    """The states of a kind by id; its changelog feeds views and sinks too."""
    return TypedTable(
        app,
        flow.kind.name,
        changelog_topic=kafka.topics.prefix + flow.state,
        partitions=kafka.partitions,
        decode=flow.decode,
        encode=encode,
    )


def cluster_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[ClusterState]:
    """The states of clusters by id; their changelog `cluster-state` feeds views and sinks too."""
    return TypedTable(
        app,
        "clusters",
        changelog_topic=kafka.topics.state,
        partitions=kafka.partitions,
        decode=decode_record,
        encode=encode,
    )


def name_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[NameRecord]:
    """The holder of each name."""
    return TypedTable(
        app,
        "names",
        changelog_topic=kafka.topics.names,
        partitions=kafka.partitions,
        decode=decode_name,
        encode=encode,
    )
