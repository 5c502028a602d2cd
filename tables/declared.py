"""The tables and their changelogs: clusters by id, names by owner, other kinds as their flows declare."""

from collections.abc import Callable
from typing import TypeVar

from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState
from domain.entity import C, E, V
from streams.cluster.codec import decode_name, decode_record
from streams.flow import Flow
from streams.json import encode
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp
from tables.typed import TypedTable

T = TypeVar("T")


def table_of(app: BatchApp, kafka: KafkaSettings, flow: Flow[V, C, E]) -> TypedTable[V]:
    """The states of a kind by id; its changelog feeds views and sinks too.

    Args:
        flow: The flow of the kind as it is deployed.
    """
    return _table(app, kafka, flow.kind.name, flow.state, flow.decode)


def cluster_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[ClusterState]:
    """Everything known about a cluster; its changelog `cluster-state` feeds views and sinks too."""
    return _table(app, kafka, "clusters", kafka.topics.state, decode_record)


def name_table(app: BatchApp, kafka: KafkaSettings) -> TypedTable[NameRecord]:
    """The holder of each name."""
    return _table(app, kafka, "names", kafka.topics.names, decode_name)


def _table(
    app: BatchApp, kafka: KafkaSettings, name: str, changelog: str, decode: Callable[[bytes], T]
) -> TypedTable[T]:
    partitions = kafka.partitions
    return TypedTable(
        app, name, changelog_topic=changelog, partitions=partitions, decode=decode, encode=encode
    )
