"""In which order records are worked on and committed, over a consumer that is a list of polls."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError

from examples.controllers.consumption import Consumption, Stop, Stopping

ZERO, ONE = TopicPartition("cluster-events", 0), TopicPartition("cluster-events", 1)


@dataclass
class Record:
    offset: int


@dataclass
class Consumer:
    """Hands out the polls it is given, then wishes for the end."""

    polls: list[dict[TopicPartition, list[Record]]]
    stop: Stop
    log: list[tuple[str, Any]] = field(default_factory=list)
    refuse_commits: Exception | None = None

    def subscribe(self, topics: list[str], listener: Consumption) -> None:
        self.log.append(("subscribe", topics))

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0.01)  # lets the work under way go on, as a real poll does
        if not self.polls:
            self.stop()
            return {}
        return self.polls.pop(0)

    def pause(self, partition: TopicPartition) -> None:
        self.log.append(("pause", partition.partition))

    def resume(self, partition: TopicPartition) -> None:
        self.log.append(("resume", partition.partition))

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refuse_commits:
            raise self.refuse_commits
        self.log.extend(("commit", (partition.partition, offset)) for partition, offset in offsets.items())

    @property
    def commits(self) -> list[tuple[int, int]]:
        return [what for kind, what in self.log if kind == "commit"]


async def consumed(
    handle: Callable[[Any], Awaitable[None]],
    polls: list[dict[TopicPartition, list[Record]]],
    *,
    grace: float = 1.0,
    refuse_commits: Exception | None = None,
) -> Consumer:
    stop = Stop()
    consumer = Consumer(polls, stop, refuse_commits=refuse_commits)
    await Consumption(consumer, handle, stop, again_after=0.001).run("cluster-events", grace=grace)
    return consumer


async def nothing(record: Record) -> None:
    """Finish at once."""


async def test_a_partition_is_paused_worked_through_in_order_and_resumed() -> None:
    consumer = await consumed(nothing, [{ZERO: [Record(4), Record(5)]}])
    assert consumer.log[1:] == [("pause", 0), ("commit", (0, 5)), ("commit", (0, 6)), ("resume", 0)]


async def test_a_slow_partition_does_not_hold_up_another() -> None:
    other_is_done = asyncio.Event()

    async def wait_for_the_other(record: Record) -> None:
        if record.offset == 0:
            await other_is_done.wait()
        else:
            other_is_done.set()

    consumer = await consumed(wait_for_the_other, [{ZERO: [Record(0)]}, {ONE: [Record(7)]}])
    assert consumer.commits == [(1, 8), (0, 1)]


async def test_what_is_not_finished_within_the_grace_is_not_committed() -> None:
    async def never(record: Record) -> None:
        await asyncio.Event().wait()

    consumer = await consumed(never, [{ZERO: [Record(0)]}], grace=0.01)
    assert consumer.commits == []


async def test_an_attempt_given_up_for_the_end_is_not_committed() -> None:
    async def give_up(record: Record) -> None:
        raise Stopping

    consumer = await consumed(give_up, [{ZERO: [Record(0), Record(1)]}])
    assert consumer.commits == []


async def test_a_report_that_kafka_does_not_take_is_tried_again_before_the_commit() -> None:
    outcomes: list[Exception | None] = [KafkaConnectionError(), KafkaConnectionError(), None]

    async def third_time_lucky(record: Record) -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    consumer = await consumed(third_time_lucky, [{ZERO: [Record(0)]}])
    assert (consumer.commits, outcomes) == ([(0, 1)], [])


@pytest.mark.parametrize(
    ("refusal", "handled"),
    [
        pytest.param(CommitFailedError(), [0], id="a partition that is lost is left to its new owner"),
        pytest.param(KafkaConnectionError(), [0, 1], id="the next commit makes up for a failed one"),
    ],
)
async def test_refused_commits(refusal: Exception, handled: list[int]) -> None:
    seen: list[int] = []

    async def see(record: Record) -> None:
        seen.append(record.offset)

    await consumed(see, [{ZERO: [Record(0), Record(1)]}], refuse_commits=refusal)
    assert seen == handled


async def test_revoked_partitions_are_dropped_at_once_and_others_go_on() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(record: Record) -> None:
        begun.set()
        await go_on.wait()

    stop = Stop()
    consumer = Consumer([{ZERO: [Record(0)], ONE: [Record(0)]}, *[{}] * 5], stop)
    consuming = Consumption(consumer, wait, stop)
    running = asyncio.create_task(consuming.run("cluster-events", grace=1.0))
    await begun.wait()
    await consuming.on_partitions_revoked([ZERO])
    go_on.set()
    await running
    assert consumer.commits == [(1, 1)]


async def test_a_defect_ends_the_program_instead_of_stopping_a_partition() -> None:
    async def broken(record: Record) -> None:
        raise AssertionError("defect")

    with pytest.raises(ExceptionGroup) as raised:
        await consumed(broken, [{ZERO: [Record(0)]}, *[{}] * 5])
    assert raised.group_contains(AssertionError, match="defect")
