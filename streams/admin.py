"""Declares topics and checks them: what is missing is created, what cannot be changed must fit."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from domain.errors import ControlPlaneError
from streams.settings import KafkaSettings
from streams.topics import TopicSpec

log = logging.getLogger("clusterflow.topics")

# Where a setting comes from, in answers of the broker (Kafka's DescribeConfigsResponse.ConfigSource).
_SET_ON_TOPIC: Final = 1

# A broker answers before every partition it has just made has its leader.
_VISIBLE_WITHIN: Final = 15.0


# Milliseconds for a broker to say which cluster it belongs to.
_ASKED_WITHIN_MS: Final = 10_000


class TopicMismatch(ControlPlaneError):
    """Topics are missing, or have another partition count than configured."""


async def declare_topics(kafka: KafkaSettings) -> list[str]:
    """Create the topics that are missing and wait until all can be used; returns the names created.

    Settings of topics that are there are completed, not changed.

    Raises: TopicMismatch: keys would go to other partitions than the data that is there.
    """
    async with _admin(kafka) as admin:
        existing = await _partition_counts(admin, kafka)
        missing = [
            NewTopic(spec.name, kafka.partitions, kafka.replication, topic_configs=spec.config)
            for spec in kafka.topics.all()
            if spec.name not in existing
        ]
        created = _created(await admin.create_topics(missing)) if missing else []
        await _complete(admin, [spec for spec in kafka.topics.all() if spec.name in existing])
        await _check(admin, kafka, within=_VISIBLE_WITHIN)
        log.info("topics declared", extra={"topics": created})
        return created


async def check_topics(kafka: KafkaSettings) -> None:
    """Look whether all topics are there as configured.

    Raises: TopicMismatch: with what to do about it.
    """
    async with _admin(kafka) as admin:
        await _check(admin, kafka, within=0.0)


async def kafka_cluster_id(kafka: KafkaSettings) -> str:
    """Which Kafka this is: offsets mean nothing in another. Raises: KafkaError: no broker answers."""
    async with _admin(kafka, request_timeout_ms=_ASKED_WITHIN_MS) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def group_members(kafka: KafkaSettings, group: str) -> set[str]:
    """Who is in a consumer group now; nobody in one that never was. Raises: KafkaError."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    async with _admin(kafka) as admin:
        while True:
            try:
                [response] = await admin.describe_consumer_groups([group])
                [(code, _, _, _, _, members, *_)] = response.groups
                if code:
                    raise for_code(code)(group)
                return {member[0] for member in members}
            except KafkaError as error:  # a new broker makes the topic of its groups when first asked
                if not error.retriable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(0.1)


async def answers(kafka: KafkaSettings, *, within: float) -> bool:
    """Whether a broker answers a new client in so many seconds."""
    client = AIOKafkaClient(**kafka.client("clusterflow-probe"))
    try:
        await asyncio.wait_for(client.bootstrap(), within)
        return True
    except (KafkaError, TimeoutError):
        return False
    finally:
        await client.close()


@asynccontextmanager
async def _admin(kafka: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client("clusterflow-topics"), **options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _created(response: Any) -> list[str]:
    created = []
    for topic, code, *rest in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(topic)
        elif error is not TopicAlreadyExistsError:
            reason = f"{error.__name__} {rest[0] if rest else ''}"
            raise ControlPlaneError(f"cannot create topic {topic}: {reason}")
    return created


async def _complete(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Give topics of an earlier version the settings that are new since; what is set there stays as it is."""
    if not specs:
        return
    wanted = {spec.name: spec.config for spec in specs}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    changed = []
    for answer in await admin.describe_configs(asked):
        for code, text, _, name, entries in answer.resources:
            _raise_for(code, text, name)
            given = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_ON_TOPIC}
            # Kafka forgets what a change of this kind leaves out, so all that is set goes with it.
            if wanted[name].keys() - given.keys():
                complete = {**wanted[name], **given}
                changed.append(ConfigResource(ConfigResourceType.TOPIC, name, complete))
    if changed:
        for answer in await admin.alter_configs(changed):
            for code, text, _, name in answer.resources:
                _raise_for(code, text, name)
        log.info("topics completed", extra={"topics": [resource.name for resource in changed]})


def _raise_for(code: int, text: str | None, topic: str) -> None:
    if code:
        raise ControlPlaneError(f"cannot complete topic {topic}: {for_code(code).__name__} {text or ''}")


async def _check(admin: AIOKafkaAdminClient, kafka: KafkaSettings, *, within: float) -> None:
    deadline = time.monotonic() + within
    while True:
        counts = await _partition_counts(admin, kafka)
        missing = sorted({spec.name for spec in kafka.topics.all()} - counts.keys())
        if not missing or time.monotonic() >= deadline:
            break
        await asyncio.sleep(0.05)
    if missing:
        raise TopicMismatch(f"missing topics: {', '.join(missing)}; run `clusterflow topics`")
    for name, count in sorted(counts.items()):
        if count != kafka.partitions:
            raise TopicMismatch(
                f"topic {name} has {count} partitions, KAFKA_PARTITIONS says {kafka.partitions}:"
                " the count is fixed for the life of the data; set it back, or start with new topics"
            )


async def _partition_counts(admin: AIOKafkaAdminClient, kafka: KafkaSettings) -> Mapping[str, int]:
    """Partitions per topic of ours, for those whose every partition has a leader."""
    described = await admin.describe_topics([spec.name for spec in kafka.topics.all()])
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if not topic["error_code"] and all(p["leader"] >= 0 for p in topic["partitions"])
    }
