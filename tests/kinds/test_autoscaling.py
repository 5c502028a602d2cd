"""A day of load on a hundred clusters, through all the agents that scale them, over a log in memory.

Whatever the load, a cluster has as many droplets as its policies allow, once it has come there; it is scaled
no sooner than its cooldown allows; and nothing happens to droplets of another cluster.
"""

import json
import math
import random
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from agents.reactions import reactions_of
from domain import samples, scaling
from domain.errors import Rejected
from domain.members import MEMBERS, Bound, Join, Note, Open, Scale
from domain.policy import Policy
from streams.flows import simple_flows
from tests.domain.given import CLUSTER_ID, T0
from tests.memory import FleetWorker, Log

POLICY = Policy(autoscale_interval=timedelta(seconds=30), autoscale_cooldown=timedelta(minutes=5))
FLOWS = {flow.kind.name: flow for flow in simple_flows(POLICY)}
SCALED = ("scaling", "autoscaler", "samples", "members", "droplet", "address")
STEP = timedelta(minutes=4)


class Day:
    """Clusters under policies, whose load is that of a seed."""

    def __init__(self, seed: int, clusters: int) -> None:
        self.random = random.Random(seed)
        self.log = Log()
        self.worker = FleetWorker(
            [FLOWS[name] for name in SCALED],
            reactions_of(FLOWS, accepted="cluster-accepted-commands"),
            self.log,
            {},
        )
        self.ids = [str(UUID(int=self.random.getrandbits(128), version=4)) for _ in range(clusters)]
        self.bounds: dict[str, tuple[int, int]] = {}
        self.acted: dict[str, list[datetime]] = defaultdict(list)
        self.numbers = iter(range(10**9))

    def send(self, kind: str, command: type, id: str, **members: Any) -> None:
        number = f"command-{next(self.numbers)}"
        self.log.append(FLOWS[kind].command(command(id=id, command_id=number, **members), {}))

    def begin(self) -> None:
        for number, id in enumerate(self.ids):
            least, most = sorted((self.random.randint(0, 3), self.random.randint(1, 8)))
            self.bounds[id] = (least, most)
            timed = {"policy_type": "time_of_day", "time_window": "08:00-20:00"}
            loaded = {"policy_type": "metrics", "metric_type": "cpu", "metric_trigger": 0.8}
            self.send(
                "scaling",
                scaling.Create,
                f"policy-{id}",
                name="p",
                cluster_id=id,
                min_replicas=least,
                max_replicas=most,
                **(timed if number % 5 == 0 else loaded),
            )
        self.work()
        for id in self.ids:  # the agent of clusters answers the question
            self.send("members", Open, id)
        self.work()

    def load(self, hour: float) -> None:
        for number, id in enumerate(self.ids):
            wave = 50 + 45 * math.sin((hour / 24 + number / len(self.ids)) * 2 * math.pi)
            value = min(100.0, max(0.0, wave + self.random.gauss(0, 15)))
            given = samples.Given(type="cpu", value=value)
            if self.random.random() < 0.9:
                self.send("samples", samples.Add, id, samples=(given,))
        self.work()

    def tick(self) -> None:
        for name in ("autoscaler", "droplet"):
            for partition in range(4):
                self.log.append(FLOWS[name].wake(partition, self.log.now))
        self.work()

    def work(self) -> None:
        while sum(bool(self.worker.take_turn(name, at_most=1000)) for name in SCALED):
            pass

    def droplets(self) -> dict[str, set[str]]:
        """By cluster, the droplets that it has."""
        states = self.worker.tables["members"].values()
        return {state.members.id: set(state.members.droplets) for state in states}


@pytest.mark.parametrize("seed", [1])
def test_a_day_of_load_keeps_all_within_their_bounds(seed):
    day = Day(seed, clusters=100)
    day.begin()
    positions: dict[Any, int] = {}
    moves = 0
    came = set()  # clusters that have come into their bounds
    for step in range(int(timedelta(days=1) / STEP)):
        day.log.now += STEP
        before = day.droplets()
        day.load(step * STEP / timedelta(hours=1))
        day.tick()
        day.log.now += POLICY.droplet_provisioning
        day.tick()
        changed = set()
        for id, droplets in day.droplets().items():
            least, most = day.bounds[id]
            changed |= {id} if droplets != before[id] else set()
            assert len(droplets ^ before[id]) <= 1, "no more than one step in one evaluation"
            if least <= len(droplets) <= most:
                came.add(id)
            assert id not in came or least <= len(droplets) <= most
        acted = set()
        for record in day.log.since(positions, "cluster-events"):
            event = json.loads(record.value)
            if event["type"] == "autoscale.action":
                acted.add(event["cluster_id"])
                day.acted[event["cluster_id"]].append(datetime.fromisoformat(event["timestamp"]))
        assert changed <= acted, "nobody else's droplets change"
        moves += len(acted)
    assert came == set(day.ids)
    assert moves > 1000
    for moments in day.acted.values():
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert all(pause >= POLICY.autoscale_cooldown for pause in pauses)
    owners = defaultdict(set)
    for state in day.worker.tables["droplet"].values():
        if state.deleted_at is None:
            owners[state.droplet.cluster_id].add(state.droplet.id)
    assert {id: droplets for id, droplets in day.droplets().items() if droplets} == owners


# --- what members hold --------------------------------------------------------------------------------


def test_whoever_scales_keeps_within_the_bounds_of_policies():
    def decided(state: Any, command: Any) -> Any:
        for event in MEMBERS.decide(state, command, T0):
            state = MEMBERS.evolve(state, event)
        return state

    def scaled(state: Any, action: str, count: int) -> Any:
        command = Scale(id=CLUSTER_ID, command_id=f"{action} {count}", action=action, count=count, region="x")
        state = decided(state, command)
        for id in state.members.droplets:
            state = decided(state, Note(id=CLUSTER_ID, command_id="n", droplet=id, active=True))
        return state

    state = decided(None, Bound(id=CLUSTER_ID, command_id="b", least=2, most=4))
    state = scaled(state, "scale_up", 10)
    assert 4 == len(state.members.droplets)
    with pytest.raises(Rejected, match="as many droplets"):
        scaled(state, "scale_up", 1)
    state = scaled(state, "scale_down", 10)
    assert 2 == len(state.members.droplets)
    with pytest.raises(Rejected, match="as few droplets"):
        scaled(state, "scale_down", 1)
    state = decided(state, Bound(id=CLUSTER_ID, command_id="b2"))
    assert 0 == len(scaled(state, "scale_down", 2).members.droplets)
    assert 5 == len(
        decided(
            scaled(state, "scale_up", 2), Join(id=CLUSTER_ID, command_id="j", droplet="d")
        ).members.droplets
    )
