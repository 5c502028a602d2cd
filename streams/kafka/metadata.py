"""Kafka's metadata request in a version that aiokafka does not have, for topic ids and leader epochs.

Version 12 is the first whose answers contain topic ids for given names, with every broker since Kafka 3.1.
aiokafka implements versions up to 5. Source: Kafka's protocol guide, "Metadata API".
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)


class _TopicId:
    """Sixteen bytes as the text that Kafka's own tools show."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        return urlsafe_b64encode(data.read(16)).decode().rstrip("=")

    @classmethod
    def repr(cls, value: Any) -> str:
        return repr(value)


class _Response(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _TopicId),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Request_v12(RequestStruct):  # noqa: N801 (as aiokafka names them)
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _TopicId), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class MetadataRequest(Request[_Request_v12]):
    """A request for the metadata of topics.

    Args:
        topics: Their names; None for all topics.
        operations: Whether the answer should contain our permitted operations on each.
    """

    API_KEY = 3

    def __init__(self, topics: Iterable[str] | None, *, operations: bool = False) -> None:
        self._topics = topics
        self._operations = operations

    def build(self, request_struct_class: type[_Request_v12]) -> _Request_v12:
        """aiokafka's hook: the request as it is sent."""
        named: list[Any] | None = None
        if self._topics is not None:
            named = [(bytes(16), name, {}) for name in self._topics]
        return request_struct_class(named, False, self._operations, {})


class Epochs:
    """Recognises the older of two answers: each leader of a partition has a higher epoch than the last.

    A broker that is cut off from the others keeps answering with old metadata, in which it is a leader.
    Source: KIP-320.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], int] = {}

    def outdated(self, answer: Any) -> bool:
        """Whether an answer names a leader whose successor is already known."""
        return any(epoch < self._known.get(place, epoch) for place, epoch in _epochs(answer))

    def note(self, answer: Any) -> None:
        """Remember the epochs of an answer."""
        self._known.update(_epochs(answer))


def _epochs(answer: Any) -> Iterable[tuple[tuple[str, int], int]]:
    for _, _, topic_id, _, partitions, *_ in answer.topics:
        for _, partition, _, epoch, *_ in partitions:
            if epoch >= 0:
                yield (topic_id, partition), epoch


def as_version_5(answer: Any) -> Any:
    """An answer in the form that aiokafka expects."""
    return SimpleNamespace(
        API_VERSION=5,
        brokers=[broker[:4] for broker in answer.brokers],
        controller_id=answer.controller_id,
        topics=[
            (
                code,
                name,
                internal,
                [(error, number, leader, *rest) for error, number, leader, _, *rest in partitions],
            )
            for code, name, _, internal, partitions, *_ in answer.topics
        ],
    )
