"""A sink on three brokers of which some fall silent."""

from streams.json import encode
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tests.conftest import Brokers, Servers, until
from tests.sinks.conftest import a_world
from tests.sinks.given import cluster

WITHIN = 30.0  # seconds, on a machine that may be busy with other tests


async def test_a_sink_goes_on_without_a_silent_broker(brokers: Brokers, servers: Servers) -> None:
    # given a sink that has stored all there is
    kafka = await brokers.new_topics(partitions=6)
    producer = Producer(kafka, client_id="test")
    async with a_world(kafka, await servers.new_database()) as world:

        async def publish(first: int, last: int) -> None:
            records = [cluster(number) for number in range(first, last)]
            await producer.publish(
                [Output(kafka.topics.state, r.cluster.id.encode(), encode(r)) for r in records]
            )

        async def stored() -> int:
            return len(await world.fetch("SELECT id FROM clusters"))

        async def half() -> bool:
            return await stored() == 20

        async def whole() -> bool:
            return await stored() == 40

        async def told() -> list[str]:
            return UNAVAILABLE_PARTITIONS.names

        async with world.sink():
            await publish(0, 20)
            await until(half, within=WITHIN)

            # when two fall silent, so that nobody else may lead, then it tells what it can't read
            for number in (1, 2):
                brokers.node(number).pause()
            assert await until(told, within=WITHIN)

            # and reads on without the first as soon as others lead its partitions
            brokers.node(2).resume()
            await publish(20, 40)
            await until(whole, within=WITHIN)
            brokers.heal()
    await producer.stop()
