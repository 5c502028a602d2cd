"""The id that Kafka gives each topic, which no later topic of the same name has.

Offsets mean nothing in another topic of the same name. So an offset is stored together with its topic's id. A
process ends when one of its topics is deleted and created again, and after its restart works on the new one.
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

# Seconds between two checks of the topics that a process uses.
_LOOK_EVERY: Final = 5.0

# Seconds for a broker to answer a check.
_ANSWER_WITHIN: Final = 10.0

_UNKNOWN_TOPIC: Final = 3

# The value with which a broker answers if it does not know our permissions.
_NOT_TOLD: Final = -(2**31)


class TopicReplaced(ControlPlaneError):
    """A topic was created again since this process started; the process must restart."""


async def permitted(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """Our permitted operations on each existing topic: a bit for each operation, by Kafka's number of it.

    Topics without such an answer are omitted; a topic that we may not even see has no bit. Source: KIP-430.

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
    """The ids of the existing ones of these topics, by name. Raises: KafkaError; Unavailable."""
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
        if topic_id.strip("A"):  # all zeros mean none
            found[name] = topic_id
    return found


async def watch_topics(kafka: KafkaSettings, known: Mapping[str, str]) -> None:
    """Check topics until cancelled; a topic that is missing or gets no answer is checked again later.

    Args:
        known: Their ids as of the start of this process.

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
