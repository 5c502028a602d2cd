"""Deletes a topic and declares it again, so that it has another id under the same name."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from domain.errors import ControlPlaneError
from streams.kafka.admin import declare_topics
from streams.kafka.topic_ids import topic_ids
from tests.conftest import until


async def made_anew(kafka, topic):
    """Delete a topic, and declare it again once it is gone."""
    before = (await topic_ids(kafka, [topic]))[topic]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])

        async def gone():
            return topic not in await topic_ids(kafka, [topic])

        await until(gone, what=f"the end of {topic}")
    finally:
        await admin.close()

    async def declared():
        try:
            await declare_topics(kafka)
        except (ControlPlaneError, UnknownTopicOrPartitionError):
            return False
        return (await topic_ids(kafka, [topic])).get(topic, before) != before

    await until(declared, what=f"{topic} anew")
