"""The real servers that tests run against, started once a session.

With a container engine they come from testcontainers, without one from the embedded stack; either way a test
asks for `servers` and gets its own topics and database, so that no test sees another's data.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import HealthCheck, settings

from deploy.embedded import Stack
from deploy.embedded.kafka import Kafka
from deploy.embedded.kafka.brokers import COPIES
from streams.kafka.admin import declare_topics
from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.writing.producer import PUBLISH_SECONDS, PUBLISHED

if TYPE_CHECKING:
    from tests.e2e.product import Client, Deployment

T = TypeVar("T")

_numbers = itertools.count(1)
_of_module: list[KafkaSettings] = []  # what the running module's tests have declared

# How long an example takes, or drawing one, says more about the machine of that moment than the product.
settings.register_profile("clusterflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clusterflow")


@dataclass(frozen=True)
class Servers:
    """Addresses of the running servers."""

    bootstrap_servers: str
    database_url: str
    redis_url: str

    async def new_database(self, options: str = "") -> str:
        """The URL of an empty database; options are of CREATE DATABASE."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(f"CREATE DATABASE {name} {options}")
        finally:
            await connection.close()
        return self.database_url.rpartition("/")[0] + f"/{name}"

    async def new_topics(self, *, partitions: int = 4) -> KafkaSettings:
        """Declared topics under a prefix of their own, which go with the module of the test that asks."""
        kafka = await _new_topics(self.bootstrap_servers, partitions, replication=1)
        _of_module.append(kafka)
        return kafka


@dataclass(frozen=True)
class Brokers:
    """A Kafka of three brokers, each of which can be stopped, killed and paused apart from the others."""

    stack: Stack

    @property
    def bootstrap_servers(self) -> str:
        """Of all three, whether they run or not."""
        return ",".join(broker.bootstrap_servers for broker in self.stack.brokers)

    def node(self, number: int) -> Kafka:
        """One of them by the number it has in Kafka."""
        return next(broker for broker in self.stack.brokers if broker.node == number)

    async def new_topics(self, *, partitions: int = 4) -> KafkaSettings:
        """Declared topics under a prefix of their own, in three copies of which two must have each record."""
        return await _new_topics(self.bootstrap_servers, partitions, replication=COPIES)

    def heal(self) -> None:
        """Have all three run again."""
        for broker in self.stack.brokers:
            broker.resume()
        self.stack.start(["kafka"])


async def _new_topics(bootstrap_servers: str, partitions: int, *, replication: int) -> KafkaSettings:
    kafka = KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        topics=Topics(f"test{os.getpid()}-{next(_numbers)}."),
        partitions=partitions,
        replication=replication,
        session_timeout=6.0,
    )
    await declare_topics(kafka)
    return kafka


async def drop(*made: KafkaSettings) -> None:
    """Delete the topics that are still there, and what this process has counted of them.

    Each that stayed would make the next tests slower: Kafka keeps files open for it, and with all topics of a
    run in the registry each look at a metric would take a tenth of a second.
    """
    topics = [spec.name for kafka in made for spec in kafka.topics.all()]
    admin = AIOKafkaAdminClient(**made[0].client("test"))
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()
    for topic in topics:
        PUBLISHED.remove(topic)
        PUBLISH_SECONDS.remove(topic)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hypothesis takes the threads of a running worker, which use `random`, for strategies that do."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.filterwarnings("ignore:Do not use the `random` module"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded servers of this session."""
    stack = Stack(Path(tmp_path_factory.mktemp("stack")))
    stack.kafka.heap = "-Xmx1g"  # for the topics of all tests, some 15,000 partitions in the end
    with stack as running:
        yield running


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    """Kafka, PostgreSQL and Valkey, from containers where an engine answers, embedded where not."""
    if _container_engine_answers():
        containers: Servers = request.getfixturevalue("containers")
        return containers
    stack = request.getfixturevalue("stack")
    return Servers(stack.kafka.bootstrap_servers, stack.postgres.url, stack.valkey.url)


@pytest.fixture(scope="session")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """A Kafka of three brokers beside the one of `servers`; tests ask for `brokers`."""
    stack = Stack(Path(tmp_path_factory.mktemp("brokers")), brokers=3)
    stack.start(["kafka"])
    yield Brokers(stack)
    for broker in stack.brokers:
        broker.kill()  # nobody reads its data again, and an orderly end takes three of them long
    stack.stop()


@pytest.fixture
def brokers(three_brokers: Brokers) -> Iterator[Brokers]:
    """Three brokers that run, and run again for the next test whatever this one does to them."""
    three_brokers.heal()
    yield three_brokers
    three_brokers.heal()


def _container_engine_answers() -> bool:
    from testcontainers.core.docker_client import DockerClient

    try:
        return bool(DockerClient().client.ping())
    except Exception:  # whatever keeps an engine from answering, there is none to use
        return False


@pytest.fixture(scope="session")
def containers() -> Iterator[Servers]:
    """The servers of this session, in containers."""
    from testcontainers.kafka import KafkaContainer
    from testcontainers.postgres import PostgresContainer
    from testcontainers.redis import RedisContainer

    with (
        KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft() as kafka,
        PostgresContainer("postgres:18", driver=None) as postgres,
        RedisContainer("valkey/valkey:9") as valkey,
    ):
        redis_url = f"redis://{valkey.get_container_host_ip()}:{valkey.get_exposed_port(6379)}/0"
        yield Servers(kafka.get_bootstrap_server(), postgres.get_connection_url(), redis_url)


async def until(ask: Callable[[], Awaitable[T]], *, within: float = 30.0, what: str = "condition") -> T:
    """Ask until the answer is true; fails with the last answer after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = await ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {within} s; last answer: {answer!r}")
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
async def topics_of_a_module() -> AsyncIterator[None]:
    """The topics of a module's tests go with it."""
    yield
    if _of_module:
        await drop(*_of_module)
        _of_module.clear()


@pytest.fixture
async def kafka(servers: Servers) -> AsyncIterator[KafkaSettings]:
    """Fresh topics, which go with the test."""
    kafka = await _new_topics(servers.bootstrap_servers, partitions=4, replication=1)
    yield kafka
    await drop(kafka)


@pytest.fixture(scope="session")
async def product(servers: Servers) -> "AsyncIterator[Deployment]":
    """Topics with a worker on them, shared by tests that stay apart by their owners and clusters."""
    from tests.e2e.product import Deployment

    async with Deployment(
        await _new_topics(servers.bootstrap_servers, partitions=4, replication=1)
    ) as running:
        await running.worker()
        yield running


@pytest.fixture(scope="session")
async def shared_api(servers: Servers, product: "Deployment") -> "Client":
    """One web process of `product`, with a database that has no rows."""
    from database import DatabaseSettings
    from migrations.apply import migrate

    url = await servers.new_database()
    await migrate(url)
    return await product.web(database=DatabaseSettings(url=url))


@pytest.fixture
async def api(shared_api: "Client") -> "Client":
    """REST as an owner that no other test is, ready to serve.

    Its roles share this session's loop, which rests during tests that are no coroutines: after minutes of
    them Kafka has to answer first.
    """
    from tests.e2e.product import an_owner

    async def ready() -> bool:
        return (await shared_api.get("/health")).status == 200

    await until(ready, what="a web process that is ready")
    return shared_api.as_(an_owner())
