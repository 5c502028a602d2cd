"""Roles as processes of their own, on topics and a database of one test, so that they can be killed."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from bench.stage import Stage
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import Servers, drop


@pytest.fixture
def topics() -> Topics:
    return Topics(f"faults-{uuid4().hex[:8]}.")


@pytest.fixture
async def stage(servers: Servers, topics: Topics, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage without roles; what still runs at the end of the test is killed."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "DATABASE_URL": await servers.new_database(),
        "KAFKA_TOPIC_PREFIX": topics.prefix,
        "KAFKA_PARTITIONS": "4",
    }
    with Stage(tmp_path, environment) as stage:
        yield stage
        for role in stage.roles:
            if role.running():
                role.kill()
    await drop(KafkaSettings(bootstrap_servers=servers.bootstrap_servers, topics=topics))
