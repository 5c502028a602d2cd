"""Declares topics and checks them: what is missing is created, what cannot be changed must fit."""

import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from domain.errors import ControlPlaneError
from streams.settings import KafkaSettings

log = logging.getLogger("clusterflow.topics")


class TopicMismatch(ControlPlaneError):
    """A topic exists with another partition count than configured."""


async def declare_topics(kafka: KafkaSettings) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises: TopicMismatch: keys would go to other partitions than the data that is there.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, client_id="clusterflow-topics")
    await admin.start()
    try:
        specs = {spec.name: spec for spec in kafka.topics.all()}
        existing = set(await admin.list_topics()) & set(specs)
        missing = [
            NewTopic(name, kafka.partitions, kafka.replication, topic_configs=spec.config)
            for name, spec in specs.items()
            if name not in existing
        ]
        created = _created(await admin.create_topics(missing)) if missing else []
        await _check_partitions(admin, existing, kafka.partitions)
        log.info("topics declared", extra={"topics": created})
        return created
    finally:
        await admin.close()


def _created(response: Any) -> list[str]:
    created = []
    for topic, code, *rest in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(topic)
        elif error is not TopicAlreadyExistsError:
            raise ControlPlaneError(
                f"cannot create topic {topic}: {error.__name__} {rest[0] if rest else ''}"
            )
    return created


async def _check_partitions(admin: AIOKafkaAdminClient, names: set[str], partitions: int) -> None:
    found = await partition_counts(admin, names)
    for name, count in sorted(found.items()):
        if count != partitions:
            raise TopicMismatch(
                f"topic {name} has {count} partitions, KAFKA_PARTITIONS says {partitions}:"
                " the count is fixed for the life of the data; set it back, or start with new topics"
            )


async def partition_counts(admin: AIOKafkaAdminClient, names: set[str]) -> Mapping[str, int]:
    """How many partitions each of these topics has; absent ones are left out."""
    if not names:
        return {}
    described = await admin.describe_topics(sorted(names))
    return {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}
