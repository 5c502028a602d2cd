"""A partition without leader holds up its own records: the others go on, and it follows in its own order."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from faust.types import TP

from domain.errors import Unavailable, Unpublishable
from streams.turns import lanes as module
from streams.turns.batch import Batch
from streams.turns.turn import Turn, take_turns
from streams.writing.outputs import Output
from tests.conftest import until
from tests.lanes import App, SilentProducer, Table

EVENTS, STATE = "events", "state"


class Agent:
    """One that adds each record's value to the state of its partition, and tells of it."""

    def __init__(self, *silent: int) -> None:
        self.steps = []  # of all partitions, as they come
        self.app, self.producer, self.table = App(), SilentProducer(*silent), Table(self.steps)
        self.held = self.app.add("test", "in", "other-in")
        self.queue = asyncio.Queue()
        self.stored_first = False
        self._offset = 0

    def come(self, partition: int, value: bytes, topic: str = "in") -> SimpleNamespace:
        """A record comes."""
        self._offset += 1
        record = SimpleNamespace(
            topic=topic, partition=partition, offset=self._offset, key=b"k", value=value, headers=[]
        )
        event = SimpleNamespace(
            value=Batch(TP(topic, partition), [record]),
            message=SimpleNamespace(generation_id=1, value=value),
            ack=lambda: self.steps.append(("acknowledged", partition, value)),
        )
        self.queue.put_nowait(event)
        return event

    async def turn(self) -> None:
        """One turn over what has come."""
        turns = self._turns()
        await self._take(await anext(turns))
        await turns.aclose()

    async def run(self) -> None:
        """Turns, until cancelled."""
        async for turn in self._turns():
            await self._take(turn)

    def of(self, partition: int) -> list[tuple[str, bytes]]:
        """What has happened to a partition."""
        return [(step, value) for step, place, value in self.steps if place == partition]

    def told(self, partition: int) -> list[bytes]:
        """The events of a partition that were acknowledged."""
        return [output.value for output in self.producer.logs[EVENTS, partition]]

    def _turns(self) -> AsyncIterator[Turn]:
        async def started():
            return None

        channel = SimpleNamespace(queue=self.queue, get=self.queue.get)
        stream = SimpleNamespace(app=self.app, channel=channel, maybe_start=started, should_stop=False)
        return take_turns("test", stream, self.table, self.producer)

    async def _take(self, turn: Turn) -> None:
        for record in turn.records():
            if self.stored_first:
                with turn.stored_first():
                    self._add(turn, record)
            else:
                self._add(turn, record)
        await turn.commit(self._committed)

    def _add(self, turn, record):
        after = (turn.get(record.partition, b"k") or b"") + record.value
        turn.put(record.partition, b"k", after)
        turn.publish(Output(EVENTS, b"k", after, partition=record.partition))

    def _committed(self, lane):
        self.steps.append(("committed", lane.partition, lane.states[b"k"]))


DONE_WITH_A = [("stored", b"a"), ("acknowledged", b"a"), ("committed", b"a")]


async def test_the_others_go_on_and_the_held_one_follows_in_its_order():
    # given records of three partitions, one of which has no leader
    agent = Agent(1)
    for partition in range(3):
        agent.come(partition, b"a")

    # when they are decided in one turn
    await agent.turn()

    # then those of the others are done, and of the one nothing is stored that it has not told
    assert (DONE_WITH_A, [], DONE_WITH_A) == tuple(agent.of(partition) for partition in range(3))
    assert [1] == agent.held.partitions
    assert [] == agent.producer.logs[STATE, 1]

    # and it is done once it has a leader
    await agent.producer.recover(1)
    await until_released(agent)
    assert DONE_WITH_A == agent.of(1)
    assert ([b"a"], b"a") == (agent.told(1), agent.producer.logs[STATE, 1][0].value)


async def until_released(agent: Agent) -> None:
    async def released() -> bool:
        return not agent.held.partitions

    await until(released, what="a partition that goes on")


async def test_the_steps_of_all_partitions_are_published_together():
    agent = Agent()
    for partition in range(3):
        agent.come(partition, b"a")
    await agent.turn()
    assert [[EVENTS] * 3, [STATE] * 3] == [[o.topic for o in call] for call in agent.producer.published]


async def test_the_topics_of_one_partition_are_one_lane():
    agent = Agent(1)
    agent.come(1, b"a")
    agent.come(1, b"b", topic="other-in")
    await agent.turn()
    await agent.producer.recover(1)
    await until_released(agent)
    assert [b"a", b"ab"] == agent.told(1)
    ends = [("stored", b"ab"), ("acknowledged", b"a"), ("acknowledged", b"b"), ("committed", b"ab")]
    assert ends == agent.of(1)


async def test_one_whose_leader_goes_between_its_steps_is_held_there():
    agent = Agent()
    agent.come(0, b"a")
    agent.come(1, b"a")
    begin = agent.producer.begin

    async def begin_until_state(outputs):
        if outputs[0].topic == STATE:
            agent.producer.silent.add(1)
        return await begin(outputs)

    agent.producer.begin = begin_until_state
    await agent.turn()
    assert (DONE_WITH_A, []) == (agent.of(0), agent.of(1))
    assert [b"a"] == agent.told(1)
    agent.producer.begin = begin
    await agent.producer.recover(1)
    await until_released(agent)
    assert (DONE_WITH_A, [b"a"]) == (agent.of(1), agent.told(1))


async def test_what_is_stored_first_is_stored_before_it_is_told_when_it_is_held_too():
    agent = Agent(1)
    agent.stored_first = True
    agent.come(1, b"a")
    await agent.turn()
    assert ([], [[STATE]]) == (agent.of(1), [[o.topic for o in call] for call in agent.producer.published])
    await agent.producer.recover(1)
    await until_released(agent)
    assert (DONE_WITH_A, [b"a"]) == (agent.of(1), agent.told(1))


async def test_what_comes_for_a_held_partition_is_decided_after_it_at_once_and_once():
    # given a held partition, for which more comes while others are worked on
    agent = Agent(1)
    agent.come(1, b"a")
    running = asyncio.create_task(agent.run())

    async def held() -> bool:
        return [1] == agent.held.partitions

    await until(held, what="a held partition")
    agent.come(1, b"b")
    agent.come(0, b"x")
    agent.come(1, b"c")

    async def others_done() -> bool:
        return ("acknowledged", 0, b"x") in agent.steps

    await until(others_done, what="the other partition's record")
    assert [] == agent.of(1)
    assert {TP("in", 1), TP("other-in", 1)} == agent.app.paused

    # when it has its leader again, and nothing more comes
    await agent.producer.recover(1)

    # then what came is decided by the state that the held commit has stored
    async def all_told() -> bool:
        return agent.told(1) == [b"a", b"ab", b"abc"] and ("acknowledged", 1, b"c") in agent.steps

    await until(all_told, what="what was kept")
    running.cancel()
    assert [b"a", b"abc"] == [output.value for output in agent.producer.logs[STATE, 1]]
    assert set() == agent.app.paused
    assert [] == agent.held.partitions


async def test_what_fails_is_published_again_and_nothing_else():
    # given a held partition that was told of in two others, one of which is silent too
    agent = Agent(1)
    event = agent.come(0, b"a")
    turn = Turn("test", [event], agent.table, agent.producer, agent.held)
    (record,) = turn.records()
    turn.publish(Output(EVENTS, b"k", b"elsewhere", partition=1))
    turn.publish(Output(EVENTS, b"k", b"here", partition=record.partition))
    await turn.commit()
    assert [0] == agent.held.partitions

    # when the producer gives up what it holds, and the leader comes back
    await agent.producer.fail(1, Unavailable("gone", retry_after=0))

    async def published_again() -> bool:
        return len(agent.producer.published) == 2

    await until(published_again, what="another attempt")
    await agent.producer.recover(1)
    await until_released(agent)

    # then what was acknowledged is not published a second time
    assert [[b"elsewhere", b"here"], [b"elsewhere"]] == [
        [output.value for output in call] for call in agent.producer.published
    ]
    assert ("acknowledged", b"a") in agent.of(0)


async def test_a_failure_of_one_partition_is_its_own():
    agent = Agent(1)
    begin = agent.producer.begin

    async def begin_and_fail(outputs):
        sent = await begin(outputs)
        await agent.producer.fail(1, Unavailable("gone", retry_after=0))
        return sent

    agent.producer.begin = begin_and_fail
    agent.come(0, b"a")
    agent.come(1, b"a")
    await agent.turn()
    assert (DONE_WITH_A, []) == (agent.of(0), agent.of(1))
    agent.producer.begin = begin
    await agent.producer.recover(1)
    await until_released(agent)
    assert (DONE_WITH_A, [b"a"]) == (agent.of(1), agent.told(1))


async def test_what_is_held_is_written_under_the_claim_of_when_it_was_decided():
    agent = Agent(1)
    agent.come(1, b"a")
    await agent.turn()
    agent.table.claim = "9"
    await agent.producer.recover(1)
    await until_released(agent)
    assert {"claim": "7"} == agent.producer.logs[STATE, 1][0].headers


async def test_what_is_given_up_stores_nothing_and_is_told_to_nobody():
    # given a held partition with more behind it
    agent = Agent(1)
    agent.come(1, b"a")
    await agent.turn()
    agent.come(1, b"b")
    agent.come(0, b"x")
    await agent.turn()

    # when a rebalance begins, and its leader comes back
    agent.held.give_up()
    await agent.producer.recover(1)
    for _ in range(10):
        await asyncio.sleep(0)

    # then nothing of it goes on, and nobody waits for it
    assert ([], []) == (agent.of(1), agent.held.partitions)
    assert [b"a"] == [message.value for message in agent.app.forgotten]
    assert (0, b"x") in [step[1:] for step in agent.steps]

    # and what comes in the new assignment is decided from what is stored
    agent.come(1, b"A")
    await agent.turn()
    assert [b"a", b"A"] == agent.told(1), "what was under way is repeated by its id"
    assert ("stored", b"A") in agent.of(1)


async def test_while_a_rebalance_waits_for_turns_it_does_not_wait_for_a_partition_without_leader():
    agent = Agent(1)
    agent.come(0, b"a")
    agent.come(1, b"a")
    agent.app.emptying = True
    await agent.turn()
    assert (DONE_WITH_A, []) == (agent.of(0), agent.of(1))
    assert ([b"a"], []) == ([message.value for message in agent.app.forgotten], agent.held.partitions)


async def test_a_held_commit_that_fails_for_good_ends_the_worker():
    agent = Agent(1)
    agent.come(1, b"a")
    await agent.turn()

    async def too_large(outputs):
        raise Unpublishable("too large")

    agent.producer.begin = too_large
    await agent.producer.recover(1)

    async def crashed() -> bool:
        return isinstance(agent.app.crashed_by, Unpublishable)

    await until(crashed, what="the worker's end")


async def test_others_wait_less_while_some_are_held():
    agent = Agent(1)
    assert module.GRACE == agent.held.grace
    agent.come(1, b"a")
    await agent.turn()
    assert module.GRACE_IN_TROUBLE == agent.held.grace
    assert 1 == held_gauge()
    await agent.producer.recover(1)
    await until_released(agent)
    assert module.GRACE == agent.held.grace
    assert 0 == held_gauge()


def held_gauge() -> float:
    (family,) = module.HELD_LANES.collect()
    return next(sample.value for sample in family.samples if sample.labels == {"agent": "test"})


@pytest.mark.parametrize(("silent", "stalled"), [((), False), ((0,), False), ((0, 1), True)])
async def test_a_worker_is_stalled_when_all_of_an_agents_partitions_are_held(silent, stalled):
    agent = Agent(*silent)
    agent.come(0, b"a")
    agent.come(1, b"a")
    await agent.turn()
    ours = {TP("in", 0), TP("in", 1), TP("another-agents", 2)}
    assert stalled is agent.held.stalled(ours, after=-1.0)
    assert not agent.held.stalled(ours, after=30.0)
    assert not agent.held.stalled(set(), after=-1.0)
