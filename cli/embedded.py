"""What roles are told otherwise where Kafka is the embedded one."""

from collections.abc import Callable, Mapping
from typing import Final

from settings import Settings
from streams.kafka.admin import partitions_of_states
from streams.settings import KafkaSettings

PARTITIONS: Final = 4
"""Of each topic in a new directory. A turn costs a batch for each partition and topic that it touches, so
where two or four cores carry everything, fewer are faster.
"""


async def embedded_kafka(
    settings: Settings, servers: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    """The variables of copies and partitions, unless they are set; none if Kafka is not embedded.

    One broker can hold one copy of a partition only. Topics that are there keep their partitions.

    Args:
        servers: The variables of the embedded servers.
        say: Tells the person at the terminal.

    Raises: KafkaError, ControlPlaneError: the broker does not answer.
    """
    given: dict[str, str] = {}
    if (address := servers.get("KAFKA_BOOTSTRAP_SERVERS")) is None:
        return given
    if "kafka_replication" not in settings.model_fields_set:
        given["KAFKA_REPLICATION"] = "1"
    if "kafka_partitions" not in settings.model_fields_set:
        there = await partitions_of_states(KafkaSettings(bootstrap_servers=address, topics=settings.topics))
        if there not in (None, PARTITIONS):
            say(
                f"the topics in {settings.run_dir}/ keep their {there} partitions; a new directory gets"
                f" {PARTITIONS}, with which writes are faster on one machine"
            )
        given["KAFKA_PARTITIONS"] = str(there or PARTITIONS)
    return given
