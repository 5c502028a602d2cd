"""Droplets and their addresses over a log in memory, with random commands, timers and crashes.

The agents of both kinds live on one log, and send each other commands. A crash of either strikes after any
number of published records. Whatever happens, these hold once all is decided:

- no two live droplets have one address, and the blocks know exactly those that are in use;
- a droplet without an address has failed, and only where all addresses were in use;
- no event id has two contents.
"""

import json
from datetime import timedelta

from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from agents.reactions import reactions_of
from domain.droplet import Create, Delete
from domain.networks import blocks_of
from domain.policy import Policy
from streams.flows import simple_flows
from tests.memory import KAFKA, CrashedError, FleetWorker, Log

POLICY = Policy(droplet_network="10.0.0.0/29")  # six addresses
ADDRESSES = set(blocks_of(POLICY.droplet_network).addresses("10.0.0.0"))
FLOWS = {flow.kind.name: flow for flow in simple_flows(POLICY)}
KINDS = ("droplet", "address")
DROPLETS = [f"droplet-{number}" for number in range(9)]


class Story(RuleBasedStateMachine):
    """Clients, time, two agents and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.committed: dict[TP, int] = {}
        self.worker = self._worker()
        self.sent = 0

    def _worker(self) -> FleetWorker:
        flows = [FLOWS[kind] for kind in KINDS]
        return FleetWorker(flows, reactions_of(FLOWS, accepted="accepted"), self.log, self.committed)

    @rule(droplet=st.sampled_from(DROPLETS))
    def create(self, droplet):
        self._send(Create, droplet, name="one", region="nyc3")

    @rule(droplet=st.sampled_from(DROPLETS))
    def delete(self, droplet):
        self._send(Delete, droplet)

    def _send(self, kind, droplet, **members):
        self.sent += 1
        command = kind(id=droplet, command_id=f"command-{self.sent}", **members)
        self.log.append(FLOWS["droplet"].command(command, {}))

    @rule(seconds=st.sampled_from([1, 2, 40]))
    def time_passes(self, seconds):
        self.log.now += timedelta(seconds=seconds)

    @rule(kind=st.sampled_from(KINDS), most=st.sampled_from([1, 100]))
    def work(self, kind, most):
        self._wake()
        self.worker.take_turn(kind, at_most=most)

    @rule()
    def commit(self):
        self.committed = self.worker.committed = dict(self.worker.positions)

    @rule(kind=st.sampled_from(KINDS), lives=st.integers(0, 6), most=st.sampled_from([1, 100]))
    def crash(self, kind, lives, most):
        self.worker.producer.lives = lives
        try:
            self.worker.take_turn(kind, at_most=most)
        except CrashedError:
            pass
        self.worker = self._worker()

    def _wake(self) -> None:
        for partition in range(KAFKA.partitions):
            self.log.append(FLOWS["droplet"].wake(partition, self.log.now))

    def teardown(self):
        for _ in range(2):
            self.log.now += timedelta(seconds=40)
            self._wake()
            while any(self.worker.take_turn(kind, at_most=100) for kind in KINDS):
                pass
        live = [state.droplet for state in self.worker.tables["droplet"].values() if not state.deleted_at]
        given = {droplet.ip_address: droplet.id for droplet in live if droplet.status == "active"}
        assert len(given) == sum(droplet.status == "active" for droplet in live)
        held = [state.block.held for state in self.worker.tables["address"].values()]
        assert given == {address: holder for block in held for address, holder in block.items()}
        assert given.keys() <= ADDRESSES
        assert all(droplet.status in ("active", "failed") for droplet in live)
        self._no_event_has_two_contents()

    def _no_event_has_two_contents(self) -> None:
        contents: dict[str, bytes] = {}
        for record in self.log.since({}, "cluster-events"):
            event = json.loads(record.value)["event_id"]
            assert record.value == contents.setdefault(event, record.value)


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_more_droplets_than_addresses_leave_some_without():
    # given
    story = Story()
    for droplet in DROPLETS:
        story.create(droplet)
    # when
    story.teardown()
    # then
    states = [state.droplet for state in story.worker.tables["droplet"].values()]
    assert ADDRESSES == {droplet.ip_address for droplet in states if droplet.status == "active"}
    assert ["No address is free"] * 3 == [each.reason for each in states if each.status == "failed"]
