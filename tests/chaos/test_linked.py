"""Three linked brokers: each can be cut off from the others alone, and lives by a clock of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.embedded.kafka import live_brokers
from tests.chaos.linked import LinkedBroker, LinkedStack, Way, ways_between
from tests.chaos.links import HEALTHY, Condition
from tests.chaos.nodes import Nodes
from tests.conftest import until

NODES: Final = (1, 2, 3)
TOPIC: Final = "stamped"


@dataclass
class Linked:
    """Three brokers, and the links before and between them."""

    stack: LinkedStack
    between: list[Way]
    roles: list[Way]

    @property
    def nodes(self) -> Nodes:
        return Nodes(self.stack.brokers)

    def node(self, number: int) -> LinkedBroker:
        return next(node for node in self.stack.nodes if node.node == number)

    @property
    def bootstrap_servers(self) -> str:
        """As a role is told them."""
        return ",".join(way.link.address for way in self.roles)

    async def leader(self) -> int:
        return await self.nodes.leader(TOPIC, 0)


@pytest.fixture(scope="module")
async def linked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linked]:
    between, roles = ways_between(NODES), [Way("WEB0", node) for node in NODES]
    for way in (*between, *roles):
        await way.link.start()
    stack = LinkedStack(tmp_path_factory.mktemp("linked"), [*between, *roles], brokers=len(NODES))
    for node in stack.nodes:
        node.has_clock = node.clock.build()
    await asyncio.to_thread(stack.start, ["kafka"])
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
    await admin.start()
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(TOPIC, 1, 3, topic_configs=config)])
    await admin.close()
    found = Linked(stack, between, roles)
    await found.nodes.until_whole()
    yield found
    await asyncio.to_thread(stack.stop)
    for way in (*between, *roles):
        await way.link.stop()


async def test_a_role_reaches_each_broker_over_its_own_link(linked: Linked) -> None:
    leader = await linked.leader()
    async with AIOKafkaProducer(bootstrap_servers=linked.bootstrap_servers) as producer:
        await producer.send_and_wait(TOPIC, b"before")
        [way] = [way for way in linked.roles if way.node == leader]
        way.link.set(Condition(silent=True))

        waiting = asyncio.create_task(producer.send_and_wait(TOPIC, b"meanwhile"))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done

        way.link.set(HEALTHY)
        await asyncio.wait_for(waiting, timeout=5)


async def test_a_broker_cut_off_from_the_others_is_replaced_and_comes_back(linked: Linked) -> None:
    # given the controller, which leads, too
    cut = await linked.nodes.controller()
    other = next(broker for broker in linked.stack.brokers if broker.node != cut)
    own = {f"BROKER{cut}", f"CONTROLLER{cut}"}
    links = [way.link for way in linked.between if way.node == cut or way.user in own]

    # when it hears nothing of the others, they go on without it
    for link in links:
        link.set(Condition(silent=True))

    async def alone() -> bool:
        return cut not in live_brokers(other.port)

    await until(alone, what="a broker that is missed")
    assert await linked.leader() != cut

    # then it is one of them again once it does
    for link in links:
        link.set(HEALTHY)
    await linked.nodes.until_whole()


async def test_leaders_move_to_the_copy_that_is_preferred(linked: Linked) -> None:
    [before] = [each for each in await linked.nodes.partitions() if each.topic == TOPIC]
    wanted = (*before.replicas[1:], before.replicas[0])

    await linked.nodes.reassign({(TOPIC, 0): wanted})
    await linked.nodes.elect_preferred()

    assert await linked.leader() == wanted[0]


async def test_records_are_stamped_by_the_leaders_own_clock(linked: Linked) -> None:
    leader = linked.node(await linked.leader())
    if not leader.has_clock:
        pytest.skip("there is no C compiler")
    leader.clock.step(-3600)

    async with AIOKafkaProducer(bootstrap_servers=linked.bootstrap_servers) as producer:
        stored = await producer.send_and_wait(TOPIC, b"an hour ago")
    leader.clock.step(0)

    async with AIOKafkaConsumer(bootstrap_servers=linked.bootstrap_servers) as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        consumer.seek(TopicPartition(TOPIC, 0), stored.offset)
        record = await consumer.getone()
    assert record.timestamp / 1000 - time.time() == pytest.approx(-3600, abs=60)
