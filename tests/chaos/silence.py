"""What a silent broker of three costs: how long writes stop, and whether any fails once they have gone on.

Leaders are put in order before: partition n of every topic is led by one node. So it can be told which
writes the silent node holds up by leading one of their partitions, and which it has nothing to do with.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from deploy.embedded.kafka import Kafka
from streams.kafka.partitions import partition_of
from tests.chaos.broker_faults import duties, paused
from tests.chaos.faults import roles_ready
from tests.chaos.figures import UNDER_WAY, Probe, probing
from tests.chaos.fleet import PARTITIONS, Fleet

BEFORE: Final = 5.0  # seconds of writes before the first pause, and between two
HEADER: Final = (
    "silent node", "its partitions again s", "others again s", "failed afterwards", "failed after its return",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Silence:
    """One pause. Times in seconds from its begin until writes are confirmed without a gap; inf: never in it.

    Attributes:
        who: What the node does beside leading partitions.
        led: Of the keys whose partitions it leads, the slowest.
        others: Of the other keys.
        failed: Writes that failed after all had gone on, while it was still silent.
        failed_on_return: Writes that failed once it was back.
    """

    who: str
    led: float
    others: float
    failed: int
    failed_on_return: int

    def row(self) -> Sequence[object]:
        """A line of the table."""
        return self.who, self.led, self.others, self.failed, self.failed_on_return


async def silent_brokers(fleet: Fleet, *, seconds: float) -> list[Silence]:
    """Pause each node that long, one after the other. Raises: TimeoutError: it was not well again."""
    found = []
    async with probing(fleet) as probes:
        for broker in fleet.stack.brokers:
            await _in_order(fleet)
            await asyncio.sleep(BEFORE)
            found.append(await _silent(fleet, broker, probes, seconds))
    return found


async def _silent(fleet: Fleet, broker: Kafka, probes: Sequence[Probe], seconds: float) -> Silence:
    who = ", ".join([f"node {broker.node}", *await duties(fleet, broker)])
    began = time.monotonic()
    async with paused(broker):
        await asyncio.sleep(seconds)
        ended = time.monotonic()
    await fleet.nodes.until_whole()
    await roles_ready(fleet)
    await asyncio.sleep(BEFORE)
    led = [probe for probe in probes if _leader_of(fleet, _partition(probe)) == broker.node]
    again = {probe.cluster_id: again_within(probe.confirmed, began, ended) for probe in probes}
    all_again = began + max(again.values())
    failures = [at for probe in probes for at in probe.failed]
    return Silence(
        who,
        led=max((again[probe.cluster_id] for probe in led), default=0.0),
        others=max((again[probe.cluster_id] for probe in probes if probe not in led), default=0.0),
        failed=sum(all_again < at <= ended for at in failures),
        failed_on_return=sum(at > ended for at in failures),
    )


def again_within(confirmed: Sequence[float], began: float, ended: float) -> float:
    """Seconds from `began` until the last gap before `ended` is over; infinite if it is not over by then."""
    moments = [began, *(at for at in confirmed if began <= at <= ended), ended]
    over = [later for earlier, later in pairwise(moments) if later - earlier > UNDER_WAY]
    return inf if over and over[-1] == ended else max(over, default=began) - began


async def _in_order(fleet: Fleet) -> None:
    """Have partition n of every topic led by one node."""
    copies = {}
    for each in await fleet.nodes.partitions():
        first = _leader_of(fleet, each.number)
        copies[each[:2]] = (first, *sorted({*each.replicas} - {first}))
    await fleet.nodes.reassign(copies)
    await fleet.nodes.elect_preferred()


def _leader_of(fleet: Fleet, partition: int) -> int:
    brokers = fleet.stack.brokers
    return brokers[partition % len(brokers)].node


def _partition(probe: Probe) -> int:
    return partition_of(probe.cluster_id.encode(), PARTITIONS)
