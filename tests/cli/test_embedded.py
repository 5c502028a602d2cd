"""Copies and partitions where Kafka is the embedded one."""

import pytest

from cli import embedded
from cli.embedded import embedded_kafka
from settings import Settings

SERVERS = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://"}


@pytest.fixture
def there(monkeypatch):
    """Sets how many partitions the topics have that are there."""

    def have(partitions):
        async def partitions_of_states(kafka):
            return partitions

        monkeypatch.setattr(embedded, "partitions_of_states", partitions_of_states)

    return have


async def test_a_new_directory_gets_few_partitions(there):
    there(None)
    said = []
    assert {"KAFKA_REPLICATION": "1", "KAFKA_PARTITIONS": "4"} == await embedded_kafka(
        Settings(), SERVERS, said.append
    )
    assert [] == said


async def test_topics_that_are_there_keep_theirs_and_it_is_said(there):
    there(12)
    said = []
    given = await embedded_kafka(Settings(run_dir="somewhere"), SERVERS, said.append)
    assert "12" == given["KAFKA_PARTITIONS"]
    assert "the topics in somewhere/ keep their 12 partitions" in said[0]


async def test_what_is_set_counts(there):
    there(12)
    settings = Settings(kafka_partitions=6, kafka_replication=2)
    assert {} == await embedded_kafka(settings, SERVERS, print)


async def test_another_kafka_is_told_nothing():
    assert {} == await embedded_kafka(Settings(), {"DATABASE_URL": "postgresql://"}, print)
