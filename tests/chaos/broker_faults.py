"""How faults of one broker of several are done; every one returns once all nodes have every record again.

Whom a fault meets (a partition's leader, the active controller, the workers' coordinator) is asked of Kafka
just before, since the fault before has moved it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from deploy.embedded.kafka import Kafka
from streams.settings import GROUP
from streams.topics import Topics
from tests.chaos.faults import CUT, Doing, are, away, roles_ready
from tests.chaos.fleet import Fleet
from tests.chaos.linked import BROKER, CONTROLLER, LinkedBroker
from tests.chaos.links import Condition, Link
from tests.chaos.nodes import Partition
from tests.chaos.plan import Fault

SKEW: Final = 30  # seconds that clocks are ahead and behind
LATE: Final = (0.2, 5.0)  # seconds until a slow broker's answer is there, first and then
TWO_AGAIN: Final = "two of three brokers are back"
WITH_TWO: Final = 12.0  # seconds; longer than writes may take to go on

Choice = Callable[[Fleet, Fault], Awaitable[Kafka]]


async def _leader(fleet: Fleet, fault: Fault) -> Kafka:
    """Of a partition of the table's changelog, which every write needs."""
    partitions = [each for each in await fleet.nodes.partitions() if each.topic == Topics().state]
    return fleet.nodes.node(random.Random(fault.seed).choice(sorted(partitions)).leader)


async def _controller(fleet: Fleet, fault: Fault) -> Kafka:
    return fleet.nodes.node(await fleet.nodes.controller())


async def _coordinator(fleet: Fleet, fault: Fault) -> Kafka:
    return fleet.nodes.node(await fleet.nodes.coordinator(GROUP))


# --- processes ------------------------------------------------------------------------------------


def _harmed(harm: Callable[[Fleet, Kafka, float], Awaitable[None]], choose: Choice) -> Doing:
    async def fault_of_one(fleet: Fleet, fault: Fault) -> None:
        broker = await choose(fleet, fault)
        led = await _led(fleet, broker)
        fleet.note(", ".join([f"it is node {broker.node}", led, *await duties(fleet, broker)]))
        await harm(fleet, broker, fault.seconds)
        await _well_again(fleet)

    return fault_of_one


async def _led(fleet: Fleet, broker: Kafka) -> str:
    partitions = await fleet.nodes.partitions()
    return f"leads {sum(each.leader == broker.node for each in partitions)} of {len(partitions)}"


async def duties(fleet: Fleet, broker: Kafka) -> list[str]:
    """What this node does for the others beside leading partitions, for a report."""
    found = []
    if await fleet.nodes.controller() == broker.node:
        found.append("active controller")
    if await fleet.nodes.coordinator(GROUP) == broker.node:
        found.append("coordinator")
    return found


async def _kill(fleet: Fleet, broker: Kafka, seconds: float) -> None:
    await away([broker], seconds)


async def _pause(fleet: Fleet, broker: Kafka, seconds: float) -> None:
    async with paused(broker):
        await asyncio.sleep(seconds)


@asynccontextmanager
async def paused(broker: Kafka) -> AsyncIterator[None]:
    """A broker that says nothing while the block runs."""
    broker.pause()
    try:
        yield
    finally:
        broker.resume()


async def _roll(fleet: Fleet, fault: Fault) -> None:
    """Restart one after the other, each once all have every record, as a new version is brought in."""
    for broker in fleet.stack.brokers:
        await asyncio.to_thread(broker.restart)
        await fleet.nodes.until_whole()
    await _well_again(fleet)


async def _two_down(fleet: Fleet, fault: Fault) -> None:
    """One copy alone takes no write. The second comes back first, and writes must go on with these two."""
    first, second = random.Random(fault.seed).sample(list(fleet.stack.brokers), 2)
    await asyncio.to_thread(first.kill)
    try:
        await away([second], fault.seconds)
        fleet.note(TWO_AGAIN)
        await asyncio.sleep(WITH_TWO)
    finally:
        await asyncio.to_thread(first.start)
    await _well_again(fleet)


async def _well_again(fleet: Fleet) -> None:
    """Wait until the cluster is whole and the roles are ready. Raises: TimeoutError."""
    await fleet.nodes.until_whole()
    await roles_ready(fleet)


# --- network --------------------------------------------------------------------------------------


async def _cut_one_role(fleet: Fleet, fault: Fault) -> None:
    """A role's way to one broker is cut; brokers and the other roles go on, so nobody takes over."""
    slot = (*fleet.of("web"), *fleet.of("worker")[:2])[fault.target]
    link = random.Random(fault.seed).choice(slot.ways).link
    fleet.note(f"{link.name} is cut")
    async with are([link], CUT):
        await asyncio.sleep(fault.seconds)
    await _well_again(fleet)


async def _cut_one_broker(fleet: Fleet, fault: Fault) -> None:
    """A broker is cut off from the other brokers, and every role still reaches it."""
    async with are(between(fleet, await _leader(fleet, fault)), CUT):
        await asyncio.sleep(fault.seconds)
    await _well_again(fleet)


def between(fleet: Fleet, broker: Kafka) -> list[Link]:
    """The links between one broker and the others, both ways."""
    own = {f"{kind}{broker.node}" for kind in (BROKER, CONTROLLER)}
    return [way.link for way in fleet.between if way.node == broker.node or way.user in own]


async def _slow(fleet: Fleet, fault: Fault) -> None:
    """One broker answers every role late, then very late; to the other brokers it is as good as ever."""
    broker = await _leader(fleet, fault)
    links = [way.link for slot in fleet.slots for way in slot.ways if way.node == broker.node]
    for late in LATE:
        fleet.note(f"node {broker.node} answers {late} s late")
        async with are(links, Condition(latency=late / 2)):
            await asyncio.sleep(fault.seconds / len(LATE))
    await _well_again(fleet)


# --- machines -------------------------------------------------------------------------------------


async def _full_disk(fleet: Fleet, fault: Fault) -> None:
    """A broker cannot write; it ends, or is ended once there is room, since it has given up its directory."""
    broker = await _leader(fleet, fault)
    assert isinstance(broker, LinkedBroker)
    await asyncio.to_thread(broker.disk.fill)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(broker.disk.free)
    fleet.note(f"node {broker.node} {'runs' if broker.running() else 'had ended'} after its full disk")
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    await _well_again(fleet)


async def _skew(fleet: Fleet, fault: Fault) -> None:
    """One broker's clock is ahead, another's behind, and leaders change: record times jump both ways.

    They live by these clocks from start to stop. To a step under way Kafka does something else: its own
    time-outs go by the wall clock, and either all are over at once or none for half a minute.
    """
    ahead, behind = random.Random(fault.seed).sample(list(fleet.stack.nodes), 2)
    try:
        await _restart_at(fleet, ahead, SKEW)
        await _restart_at(fleet, behind, -SKEW)
        for _ in range(2):
            await _move_leaders(fleet)
            await asyncio.sleep(fault.seconds / 2)
    finally:
        for node in (ahead, behind):
            await _restart_at(fleet, node, 0)
    await _well_again(fleet)


async def _restart_at(fleet: Fleet, node: LinkedBroker, ahead: int) -> None:
    await asyncio.to_thread(node.stop)
    node.clock.step(ahead)
    await asyncio.to_thread(node.start)
    await fleet.nodes.until_whole()


# --- leaders and copies ---------------------------------------------------------------------------


async def _move_leaders(fleet: Fleet) -> None:
    """Make the second copy of each partition the preferred one, and have it elected."""
    await fleet.nodes.reassign({each[:2]: _rotated(each) for each in await fleet.nodes.partitions()})
    fleet.note(f"{await fleet.nodes.elect_preferred()} partitions have another leader")


def _rotated(partition: Partition) -> Sequence[int]:
    return (*partition.replicas[1:], partition.replicas[0])


async def _elect(fleet: Fleet, fault: Fault) -> None:
    await _move_leaders(fleet)
    await _well_again(fleet)


async def _reassign(fleet: Fleet, fault: Fault) -> None:
    """Take the first copy of each partition away, the leader's, and have it made again as the last one."""
    partitions = await fleet.nodes.partitions()
    await fleet.nodes.reassign({each[:2]: each.replicas[1:] for each in partitions})
    await asyncio.sleep(fault.seconds)
    await fleet.nodes.reassign({each[:2]: _rotated(each) for each in partitions})
    await _well_again(fleet)


DOING_TO_BROKERS: Final[Mapping[str, Doing]] = {
    "kill-leader": _harmed(_kill, _leader),
    "kill-controller": _harmed(_kill, _controller),
    "kill-coordinator": _harmed(_kill, _coordinator),
    "pause-leader": _harmed(_pause, _leader),
    "pause-controller": _harmed(_pause, _controller),
    "pause-coordinator": _harmed(_pause, _coordinator),
    "roll-brokers": _roll,
    "two-brokers-down": _two_down,
    "cut-broker-from-role": _cut_one_role,
    "cut-broker-from-brokers": _cut_one_broker,
    "slow-broker": _slow,
    "full-broker-disk": _full_disk,
    "skew-brokers": _skew,
    "elect-leaders": _elect,
    "reassign": _reassign,
}
