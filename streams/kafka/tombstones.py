"""How long a compacted topic keeps tombstones, for readers that may miss them."""

import logging
from datetime import timedelta
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from streams.kafka.brokers import Brokers
from streams.kafka.timeouts import REQUEST_MS
from streams.settings import KafkaSettings

log = logging.getLogger("clusterflow.topics")

CONFIG: Final = "delete.retention.ms"

# Kafka's own default.
TOMBSTONE_LIFE: Final = timedelta(hours=24)


async def tombstone_life(kafka: KafkaSettings, topic: str) -> timedelta:
    """The minimum life of a tombstone in this topic; Kafka's default if we may not read the setting."""
    admin = AIOKafkaAdminClient(**kafka.client("clusterflow-topics"), request_timeout_ms=REQUEST_MS)
    Brokers.of(admin)
    try:
        await admin.start()
        for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]):
            for code, text, _, _, entries in answer.resources:
                if code:
                    raise for_code(code)(text)
                return timedelta(milliseconds=int({entry[0]: entry[1] for entry in entries}[CONFIG]))
        raise KeyError(CONFIG)
    except (KafkaError, KeyError, OverflowError) as error:
        assumed = {"topic": topic, "assumed_seconds": TOMBSTONE_LIFE.total_seconds()}
        log.info("the life of tombstones is not known", extra={**assumed, "error": repr(error)})
        return TOMBSTONE_LIFE
    finally:
        await admin.close()
