"""Which topic a name stands for: Kafka gives each topic an id that dies with it.

Offsets mean nothing in another topic of the same name. So whoever remembers one remembers the id beside it,
and a process that has started on a topic ends when that is made anew, to begin again on what is there now.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code

from domain.errors import ControlPlaneError, Unavailable
from streams.kafka.brokers import Brokers
from streams.kafka.metadata import MetadataRequest
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
            answer = await brokers.ask(MetadataRequest(topics, operations=True))
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
            answer = await brokers.ask(MetadataRequest(topics))
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
