"""Which topic a name stands for: Kafka gives each topic an id that dies with it.

Offsets mean nothing in another topic of the same name. So whoever remembers one remembers the id beside it,
and a process that has started on a topic ends when that is made anew, to begin again on what is there now.
"""

import asyncio
import logging
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
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

from domain.errors import ControlPlaneError, Unavailable
from streams.brokers import Brokers
from streams.settings import KafkaSettings

log = logging.getLogger("clusterflow.topics")

# Seconds between two looks of a process at the topics it works on.
_LOOK_EVERY: Final = 5.0

# Seconds for a broker to answer one.
_ANSWER_WITHIN: Final = 10.0

_UNKNOWN_TOPIC: Final = 3

# What brokers answer that do not know what we may do.
_NOT_TOLD: Final = -(2**31)


class TopicReplaced(ControlPlaneError):
    """A topic is another one than when this process started; it must begin anew."""


class _Uuid:
    """Sixteen bytes, in the text that Kafka's own tools show."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        return urlsafe_b64encode(data.read(16)).decode().rstrip("=")

    @classmethod
    def repr(cls, value: Any) -> str:
        return repr(value)


# Version 12 of the metadata request, the first whose answers tell ids by name with every broker since Kafka
# 3.1; aiokafka knows up to 5. Source: Kafka's protocol guide, "Metadata API".
class _MetadataResponse(Response):
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
                ("topic_id", _Uuid),
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


class _MetadataRequest_v12(RequestStruct):  # noqa: N801 (as aiokafka names them)
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequest_v12]):
    API_KEY = 3

    def __init__(self, topics: Iterable[str], *, operations: bool = False) -> None:
        self._topics = topics
        self._operations = operations

    def build(self, request_struct_class: type[_MetadataRequest_v12]) -> _MetadataRequest_v12:
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(bytes(16), name, {}) for name in self._topics]
        return request_struct_class(topics, False, self._operations, {})


async def permitted(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """By topic that is there, what we may do with it: a bit for each of Kafka's operations, by its number.

    Without those that a broker does not tell of; one that we may not even see has no bit. Source: KIP-430.

    Raises: KafkaError; Unavailable.
    """
    client = AIOKafkaClient(**kafka.client("clusterflow-rights"))
    brokers = Brokers(client)
    try:
        await client.bootstrap()
        async with asyncio.timeout(_ANSWER_WITHIN):
            answer = await brokers.ask(_MetadataRequest(topics, operations=True))
    except TimeoutError:
        raise Unavailable("Kafka has not told what this principal may do in time") from None
    finally:
        await client.close()
    found = {}
    for code, name, _, _, _, operations, _ in answer.topics:
        if code == TopicAuthorizationFailedError.errno:
            found[name] = 0
        elif not code and operations != _NOT_TOLD:
            found[name] = operations
    return found


async def topic_ids(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """The ids of these topics by name, without those that are not there. Raises: KafkaError; Unavailable."""
    client = AIOKafkaClient(**kafka.client("clusterflow-topic-ids"))
    brokers = Brokers(client)
    try:
        await client.bootstrap()
        return await _ids(brokers, topics)
    finally:
        await client.close()


async def _ids(brokers: Brokers, topics: Iterable[str]) -> dict[str, str]:
    try:
        async with asyncio.timeout(_ANSWER_WITHIN):
            answer = await brokers.ask(_MetadataRequest(topics))
    except TimeoutError:
        raise Unavailable("Kafka has not told the ids of its topics in time") from None
    found = {}
    for code, name, topic_id, *_ in answer.topics:
        if code and code != _UNKNOWN_TOPIC and not topic_id.strip("A"):
            raise for_code(code)(name)
        if topic_id.strip("A"):  # all zeros stand for none
            found[name] = topic_id
    return found


async def watch_topics(kafka: KafkaSettings, known: Mapping[str, str]) -> None:
    """Look at topics until cancelled; what is not there now, or not answered for, is looked at again.

    Args:
        known: Their ids as this process has found them.

    Raises: TopicReplaced: one of them has another id.
    """
    client = AIOKafkaClient(**kafka.client("clusterflow-topic-ids"))
    brokers = Brokers(client)
    try:
        connected = False
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                if not connected:
                    await client.bootstrap()
                    connected = True
                found = await _ids(brokers, known)
            except (KafkaError, Unavailable) as error:
                log.debug("topics not looked at", extra={"error": repr(error)})
                continue
            for name, topic_id in found.items():
                if topic_id != known[name]:
                    raise TopicReplaced(
                        f"topic {name} was made anew while this process worked on it; it begins again on what"
                        " is there now"
                    )
    finally:
        await client.close()
