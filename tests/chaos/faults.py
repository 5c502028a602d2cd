"""How each kind of fault is done, and undone; every one returns once what it harmed is well again."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from deploy.embedded.server import Server
from streams.topics import Topics
from tests.chaos.fleet import Fleet, Slot
from tests.chaos.links import HEALTHY, Condition, Link
from tests.chaos.plan import Fault
from tests.chaos.records import Repeater, poison

CUT: Final = Condition(silent=True)
SLOW: Final = Condition(latency=0.1, jitter=0.05)
NARROW: Final = Condition(latency=0.02, bandwidth=64 * 1024)
RESETTING: Final = Condition(reset=0.02)
PRODUCE: Final = bytes(2)  # Kafka's number of a produce request, behind the four bytes of its length
AGAIN_WITHIN: Final = 60.0  # seconds for a server to be started again

Doing = Callable[[Fleet, Fault], Awaitable[None]]


# --- processes ------------------------------------------------------------------------------------


def _kill(role: str) -> Doing:
    async def kill(fleet: Fleet, fault: Fault) -> None:
        slot = fleet.slot(role, fault.target)
        await fleet.kill(slot)
        await asyncio.sleep(fault.seconds)
        await fleet.start(slot)

    return kill


def _restart(role: str) -> Doing:
    async def restart(fleet: Fleet, fault: Fault) -> None:
        slot = fleet.slot(role, fault.target)
        await fleet.stop(slot)
        if slot.process is not None and slot.process.process.returncode != 0:
            fleet.note(f"{slot.name} ended with {slot.process.process.returncode} when asked to stop")
        await fleet.start(slot)

    return restart


def _pause(role: str) -> Doing:
    async def pause(fleet: Fleet, fault: Fault) -> None:
        """Longer than its session: it wakes up and does not know yet that others have taken over."""
        slot = fleet.slot(role, fault.target)
        assert slot.process is not None
        slot.process.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            slot.process.process.send_signal(signal.SIGCONT)
        await _ready_again(fleet, slot)

    return pause


async def _scale_workers(fleet: Fleet, fault: Fault) -> None:
    """From two to three, one, and two again."""
    first, second, third = fleet.of("worker")
    await fleet.start(third)
    await asyncio.sleep(fault.seconds)
    await asyncio.gather(fleet.stop(first), fleet.stop(second))
    await asyncio.sleep(fault.seconds)
    await fleet.start(first, second)
    await fleet.stop(third)


async def _ready_again(fleet: Fleet, slot: Slot) -> None:
    """Wait until a slot's process, maybe another by now, is ready. Raises: TimeoutError."""
    async with asyncio.timeout(AGAIN_WITHIN):
        while slot.process is None or not await asyncio.to_thread(slot.process.ready):
            await asyncio.sleep(0.1)


# --- servers --------------------------------------------------------------------------------------


async def _kill_kafka(fleet: Fleet, fault: Fault) -> None:
    """All of it at once, as a machine room without power."""
    await away(fleet.stack.brokers, fault.seconds)
    await roles_ready(fleet)


async def away(brokers: Sequence[Server], seconds: float) -> None:
    """Kill servers and start them again after that long."""
    for broker in brokers:
        await asyncio.to_thread(broker.kill)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.gather(*(asyncio.to_thread(broker.start) for broker in brokers))


async def roles_ready(fleet: Fleet) -> None:
    """Wait until every web process and worker that should run is ready. Raises: TimeoutError."""
    for role in ("web", "worker"):
        for slot in fleet.of(role):
            if slot.wanted:
                await _ready_again(fleet, slot)


async def _away(server: Server, end: Callable[[], None], seconds: float) -> None:
    await asyncio.to_thread(end)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(server.start)


async def _stop_postgres(fleet: Fleet, fault: Fault) -> None:
    await _away(fleet.stack.postgres, fleet.stack.postgres.stop, fault.seconds)


async def _kill_postgres(fleet: Fleet, fault: Fault) -> None:
    await _away(fleet.stack.postgres, fleet.stack.postgres.kill, fault.seconds)


async def _stop_valkey(fleet: Fleet, fault: Fault) -> None:
    await _away(fleet.stack.valkey, fleet.stack.valkey.stop, fault.seconds)


async def _full_disk(fleet: Fleet, fault: Fault) -> None:
    """PostgreSQL cannot write its log, ends with a panic, and is started again once there is room."""
    await asyncio.to_thread(fleet.disk.fill)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(fleet.disk.free)
    if not fleet.stack.postgres.running():
        fleet.note("PostgreSQL had ended on its full disk")
    await asyncio.to_thread(fleet.stack.postgres.start)


async def _step_clock(fleet: Fleet, fault: Fault) -> None:
    """The wall clock of a worker jumps up to two minutes ahead, then as far back, then is right again."""
    jump = random.Random(fault.seed).randint(30, 120)
    try:
        for seconds in (jump, -jump):
            fleet.clock.step(seconds)
            await asyncio.sleep(fault.seconds / 2)
    finally:
        fleet.clock.step(0)


# --- network --------------------------------------------------------------------------------------


@asynccontextmanager
async def are(links: Sequence[Link], condition: Condition) -> AsyncIterator[None]:
    """Links in a condition while the block runs."""
    for link in links:
        link.set(condition)
    try:
        yield
    finally:
        for link in links:
            link.set(HEALTHY)


def _network(name: str, condition: Condition) -> Doing:
    """`name`: of the links, with the target's number for `{}`."""

    async def network(fleet: Fleet, fault: Fault) -> None:
        async with are(fleet.links(name.format(fault.target)), condition):
            await asyncio.sleep(fault.seconds)

    return network


async def _delay_state(fleet: Fleet, fault: Fault) -> None:
    """The links go silent just as a worker sends records of its changelog, for longer than its session.

    What it takes for unsent arrives afterwards, behind the records of the worker that has taken over.
    """
    topic = Topics().state.encode()

    def stores(data: bytes) -> bool:
        return data[4:6] == PRODUCE and topic in data

    links = fleet.links(f"WORKER{fault.target}")
    async with are(links, Condition(snare=stores)):
        async with asyncio.timeout(AGAIN_WITHIN):
            while not any(link.silent for link in links):
                await asyncio.sleep(0.02)
        async with are(links, CUT):
            await asyncio.sleep(fault.seconds)


# --- records --------------------------------------------------------------------------------------


async def _repeat_records(fleet: Fleet, fault: Fault) -> None:
    async with Repeater(fleet.stage.bootstrap_servers, random.Random(fault.seed)) as repeater:
        await repeater.run(fault.seconds)
    fleet.note(f"{repeater.repeated} input records published again, in another order")


async def _poison(fleet: Fleet, fault: Fault) -> None:
    count = await poison(fleet.stage.bootstrap_servers, random.Random(fault.seed))
    fleet.note(f"{count} bad records published")


DOING: Final[Mapping[str, Doing]] = {
    "kill-web": _kill("web"),
    "kill-worker": _kill("worker"),
    "kill-sink": _kill("sink"),
    "kill-executor": _kill("executor"),
    "kill-recorder": _kill("recorder"),
    "kill-relay": _kill("relay"),
    "pause-worker": _pause("worker"),
    "pause-relay": _pause("relay"),
    "restart-web": _restart("web"),
    "restart-worker": _restart("worker"),
    "restart-sink": _restart("sink"),
    "restart-executor": _restart("executor"),
    "restart-recorder": _restart("recorder"),
    "restart-relay": _restart("relay"),
    "scale-workers": _scale_workers,
    "kill-kafka": _kill_kafka,
    "stop-postgres": _stop_postgres,
    "kill-postgres": _kill_postgres,
    "full-disk": _full_disk,
    "stop-valkey": _stop_valkey,
    "cut-worker": _network("WORKER{}", CUT),
    "delay-state": _delay_state,
    "cut-web": _network("WEB{}", CUT),
    "cut-sink": _network("SINK{}", CUT),
    "cut-relay": _network("RELAY{}", CUT),
    "cut-executor": _network("EXECUTOR{}", CUT),
    "cut-postgres": _network("sink-postgres", CUT),
    "slow-worker": _network("WORKER{}", SLOW),
    "slow-web": _network("WEB{}", SLOW),
    "slow-postgres": _network("sink-postgres", NARROW),
    "slow-clients": _network("client-web-{}", SLOW),
    "drop-clients": _network("client-web-{}", Condition(down=True)),
    "reset-worker": _network("WORKER{}", RESETTING),
    "reset-web": _network("WEB{}", RESETTING),
    "repeat-records": _repeat_records,
    "poison": _poison,
    "step-clock": _step_clock,
}
