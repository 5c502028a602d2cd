"""Writes on their way: published together, ended by their results, by Kafka or by their own deadline."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from msgspec import UNSET

from domain.cluster.commands import Create, Delete
from domain.cluster.names import name_key
from domain.errors import Rejected, Unavailable, Unconfirmed, Untaken
from serving import submit
from serving.outcomes import Outcomes
from serving.submit import Submitter, WriteResult
from streams.cluster.messages import ResultMessage
from streams.json import encode
from streams.kafka.partitions import partition_of
from tables.cluster import ClusterView
from tests.tables.given import Record, document, value
from tests.web.serving import KAFKA, OWNER
from tests.web.writing import Kafka, Ready
from web.cluster.writes import ClusterWrites

IDS = [f"{number}c0ffee0-0000-4000-8000-00000000000a" for number in range(4)]


class World:
    """A submitter, the Kafka it publishes to, and what comes back from there."""

    def __init__(self, **given: Any) -> None:
        self.kafka, self.view, self.health = Kafka(), ClusterView(), Ready()
        parts: dict[str, Any] = {"producer": self.kafka, "health": self.health}
        self.submitter = Submitter(**parts, timeout=timedelta(seconds=given.get("timeout", 30)))
        self.clusters = ClusterWrites(self.submitter, self.view, KAFKA.topics)

    async def submitted(self, *ids: str) -> list[asyncio.Task[WriteResult]]:
        """Commands submitted at once, and published; each has the id of its cluster."""
        before = len(self.kafka.published)
        tasks = [asyncio.create_task(self.clusters.submit(delete(id))) for id in ids]
        while len(self.kafka.published) == before:
            await asyncio.sleep(0)
        return tasks

    def decide(
        self,
        id: str,
        code: str | None = None,
        *,
        key: str | None = None,
        told: int = 2,
        revision: int = 1,
        outcome: str = "applied",
    ) -> None:
        """Let the topic of results tell of a command, of another cluster or with fewer headers if need be."""
        if code is not None:
            outcome = "rejected"
        result = ResultMessage(command_id=id, outcome=outcome, revision=revision, code=code)
        headers = (("command_id", id.encode()), ("triggered_by", b"api_request"))
        record = Record(
            (key or id).encode(), encode(result), headers=headers[:told], topic=KAFKA.topics.results
        )
        self.submitter.on_result(record)

    def lose(self, *partitions: int) -> None:
        """Take these partitions' leaders away."""
        self.health.unavailable = {(KAFKA.topics.accepted_commands, number) for number in partitions}

    def show(self, id: str, *answers: str, deleted: bool = False) -> None:
        """Let the topic of states tell of a cluster, as the answer to these commands."""
        headers = (("claim", b"-1"), *(("answers", answer.encode()) for answer in answers))
        state = value(document(id, owner=OWNER), deleted=deleted)
        self.view.apply(Record(id.encode(), state, headers=headers))


def delete(id: str) -> Delete:
    return Delete(command_id=id, cluster_id=id, user_email=OWNER, triggered_by="api_request", request_id=None)


async def test_what_comes_in_one_round_is_published_together_and_in_its_order():
    world = World()
    await world.submitted(*IDS)
    assert [IDS] == world.kafka.published


async def test_what_comes_later_waits_for_nobody():
    world = World()
    await world.submitted(*IDS[:2])
    await world.submitted(*IDS[2:])
    assert [IDS[:2], IDS[2:]] == world.kafka.published


async def test_a_write_ends_once_it_is_decided_and_shown():
    world = World()
    writes = await world.submitted(*IDS[:2])
    world.decide(IDS[0])
    world.show(IDS[1])
    for _ in range(10):
        await asyncio.sleep(0)
    assert [False, False] == [write.done() for write in writes]
    world.show(IDS[0])
    world.decide(IDS[1])
    assert IDS[:2] == [(await write).command_id for write in writes]


async def test_the_state_that_a_write_led_to_answers_it():
    world = World()
    one, other = await world.submitted(*IDS[:2])
    world.show(IDS[0], "somebody else's", IDS[0])
    result = await one
    assert ("applied", document(IDS[0], owner=OWNER)) == (result.outcome, bytes(result.document))
    assert not other.done()


async def test_a_state_answers_several_writes_and_a_deleted_one_shows_nothing():
    world = World()
    (first,) = await world.submitted(IDS[0])
    (again,) = await world.submitted(IDS[0])
    world.show(IDS[0], IDS[0], deleted=True)
    assert [UNSET, UNSET] == [(await write).document for write in (first, again)]


async def test_a_state_of_another_cluster_answers_no_write():
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.show(IDS[1], IDS[0])
    await asyncio.sleep(0)
    assert not write.done()
    world.show(IDS[0], IDS[0])
    assert "applied" == (await write).outcome


async def test_whichever_comes_first_answers_a_write():
    """A worker that dies between both has its successor decide again, in other turns."""
    world = World()
    by_result, by_state = await world.submitted(*IDS[:2])
    world.decide(IDS[0])
    world.show(IDS[0], IDS[0])
    world.show(IDS[1], IDS[1])
    world.decide(IDS[1])
    assert IDS[:2] == [(await write).command_id for write in (by_result, by_state)]


async def test_a_state_is_proof_that_writes_are_decided():
    world = World(timeout=0.05)
    world.health.outcomes = Outcomes(0.0, time.monotonic)
    (write,) = await world.submitted(IDS[0])
    world.kafka.ends[0].set_result(None)
    with pytest.raises(Unconfirmed):
        await write
    assert world.health.outcomes.fault is not None
    world.show(IDS[0], IDS[0])
    assert world.health.outcomes.fault is None


async def test_a_result_of_somebody_else_s_command_of_that_id_is_not_taken():
    """Who repeats a command's id over Kafka must not answer for the one that asked by REST."""
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.decide(IDS[0], code="RESOURCE_NOT_FOUND", told=1)
    world.decide(IDS[0], code="RESOURCE_NOT_FOUND", key=IDS[1])
    world.show(IDS[0])
    world.decide(IDS[0])
    assert "applied" == (await write).outcome


async def test_a_refusal_without_a_state_waits_for_none():
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.decide(IDS[0], code="RESOURCE_NOT_FOUND", revision=0)
    with pytest.raises(Rejected):
        await write


async def test_a_refusal_waits_for_the_state_that_it_is_based_on():
    """A delete and its repeat in one turn: the second is refused before the state of the first is stored."""
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.decide(IDS[0], code="RESOURCE_NOT_FOUND")
    await asyncio.sleep(0)
    assert not write.done()
    world.show(IDS[0], deleted=True)
    with pytest.raises(Rejected):
        await write


async def test_a_repeat_says_nothing_better_than_the_first():
    """Somebody has published the command once more: its result shows a later state."""
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.decide(IDS[0], revision=1)
    world.decide(IDS[0], revision=2, outcome="duplicate")
    world.show(IDS[0])
    assert "applied" == (await write).outcome


async def test_the_last_result_says_which_revision_is_waited_for():
    """A worker that dies after its results may have counted more than its successor does."""
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.decide(IDS[0], revision=3)
    world.show(IDS[0])
    await asyncio.sleep(0)
    assert not write.done()
    world.decide(IDS[0], revision=1)
    assert "applied" == (await write).outcome


async def test_a_failure_ends_those_that_were_published_together_and_nobody_else():
    world = World()
    together = await world.submitted(*IDS[:2])
    (later,) = await world.submitted(IDS[2])
    world.kafka.ends[0].set_exception(Unavailable("Kafka did not acknowledge"))
    ends = await asyncio.gather(*together, return_exceptions=True)
    assert [Untaken, Untaken] == [type(end) for end in ends]
    world.show(IDS[2])
    world.decide(IDS[2])
    assert "applied" == (await later).outcome


async def test_what_kafka_s_client_says_stays_here():
    world = World()
    (write,) = await world.submitted(IDS[0])
    world.kafka.ends[0].set_exception(Unavailable("KafkaConnectionError: broker.internal:9092"))
    with pytest.raises(Unavailable, match=f"^{submit.UNKNOWN}$"):
        await write


async def test_a_result_is_proof_enough_that_kafka_has_the_write():
    world = World()
    decided, lost = await world.submitted(*IDS[:2])
    world.decide(IDS[0])
    await asyncio.sleep(0)
    world.kafka.ends[0].set_exception(Unavailable("Kafka did not acknowledge"))
    with pytest.raises(Unavailable):
        await lost
    world.show(IDS[0])
    assert "applied" == (await decided).outcome


async def test_who_gives_up_takes_nobody_along():
    world = World()
    impatient, patient = await world.submitted(*IDS[:2])
    impatient.cancel()
    await asyncio.wait([impatient])
    world.kafka.ends[0].set_result(None)
    world.decide(IDS[0])
    world.show(IDS[1])
    world.decide(IDS[1])
    assert "applied" == (await patient).outcome
    assert impatient.cancelled()


async def test_what_kafka_does_not_take_in_time_is_unavailable_and_given_up(monkeypatch):
    monkeypatch.setattr(submit, "ACKNOWLEDGED_WITHIN", 0.01)
    world = World()
    (write,) = await world.submitted(IDS[0])
    with pytest.raises(Unavailable) as raised:
        await write
    assert Untaken is raised.type
    assert world.kafka.ends[0].cancelled()


@pytest.mark.parametrize(
    ("acknowledged", "error"),
    [
        pytest.param(True, Unconfirmed, id="is unconfirmed if Kafka has it"),
        pytest.param(False, Unavailable, id="is not called stored if nobody knows"),
    ],
)
async def test_what_is_not_decided_in_time(acknowledged, error):
    world = World(timeout=0.05)
    (write,) = await world.submitted(IDS[0])
    if acknowledged:
        world.kafka.ends[0].set_result(None)
    with pytest.raises(Unavailable) as raised:
        await write
    assert error is raised.type


async def test_more_than_may_wait_are_turned_away_until_one_has_ended(monkeypatch):
    monkeypatch.setattr(submit, "MAX_WAITING", 2)
    world = World()
    first, _ = await world.submitted(*IDS[:2])
    with pytest.raises(Unavailable, match="Too many"):
        await world.clusters.submit(delete(IDS[2]))
    world.decide(IDS[0])
    world.show(IDS[0])
    await first
    await world.submitted(IDS[2])
    assert [IDS[:2], IDS[2:3]] == world.kafka.published


# --- partitions without a leader ----------------------------------------------------------------------

LED, SILENT = (next(id for id in IDS if partition_of(id.encode(), 2) == number) for number in (0, 1))
"""A cluster of either partition."""


async def test_a_partition_that_waits_fails_no_write_to_another(monkeypatch):
    # given two writes published together, of which Kafka acknowledges one
    monkeypatch.setattr(submit, "ACKNOWLEDGED_WITHIN", 0.05)
    world = World()
    led, silent = await world.submitted(LED, SILENT)
    world.kafka.acknowledge(0)

    # when the time for the other is over
    with pytest.raises(Unavailable) as raised:
        await silent

    # then it alone has failed
    assert Untaken is raised.type
    world.decide(LED)
    world.show(LED)
    assert "applied" == (await led).outcome


async def test_a_failure_of_the_publisher_fails_no_write_that_is_acknowledged():
    world = World(timeout=0.05)
    led, silent = await world.submitted(LED, SILENT)
    world.kafka.acknowledge(0)
    world.kafka.ends[0].set_exception(Unavailable("Kafka did not acknowledge"))
    ends = await asyncio.gather(led, silent, return_exceptions=True)
    assert [Unconfirmed, Untaken] == [type(end) for end in ends]


async def test_what_is_acknowledged_counts_as_sent_at_once_and_once():
    world = World()
    world.health.outcomes = outcomes = Outcomes(0.0, time.monotonic)  # any that is sent is a fault at once
    writes = await world.submitted(*IDS)
    for acknowledged, sent in (((0, 1), "(2)"), ((2,), "(3)")):
        world.kafka.acknowledge(*acknowledged)
        assert outcomes.fault is not None
        assert sent in outcomes.fault
    for write in writes:
        write.cancel()
    await asyncio.wait(writes)


async def test_what_is_acknowledged_after_it_was_given_up_awaits_no_result(monkeypatch):
    monkeypatch.setattr(submit, "ACKNOWLEDGED_WITHIN", 0.01)
    world = World()
    world.health.outcomes = Outcomes(0.0, time.monotonic)
    (write,) = await world.submitted(SILENT)
    await asyncio.wait([write])
    world.kafka.acknowledge(0)
    assert isinstance(write.exception(), Unavailable)
    assert world.health.outcomes.fault is None


async def test_a_write_that_is_given_up_is_told_of_its_partition(monkeypatch):
    monkeypatch.setattr(submit, "ACKNOWLEDGED_WITHIN", 0.05)
    world = World()
    led, silent = await world.submitted(LED, SILENT)
    world.lose(1)
    texts = [str(end) for end in await asyncio.gather(led, silent, return_exceptions=True)]
    assert submit.UNKNOWN == texts[0]
    for part in ("partition of this cluster", "no leader", "others have", "outcome", "unknown", "repeat it"):
        assert part in texts[1]


async def test_without_any_broker_no_partition_is_to_blame(monkeypatch):
    monkeypatch.setattr(submit, "ACKNOWLEDGED_WITHIN", 0.05)
    world = World()
    (write,) = await world.submitted(SILENT)
    world.lose(1)
    world.health.kafka_healthy = False
    with pytest.raises(Unavailable, match=f"^{submit.UNKNOWN}$"):
        await write


async def test_a_partition_without_leader_is_sent_nothing_and_the_others_are():
    # given
    world = World()
    world.lose(1)

    # when
    with pytest.raises(Unavailable) as raised:
        await world.clusters.submit(delete(SILENT))
    await world.submitted(LED)

    # then
    assert "partition of this cluster" in str(raised.value)
    assert "nothing was written" in str(raised.value)
    assert [[LED]] == world.kafka.published

    # and once it has a leader
    world.lose()
    await world.submitted(SILENT)
    assert [[LED], [SILENT]] == world.kafka.published


async def test_without_any_leader_none_is_said_to_be_there():
    world = World()
    world.lose(0, 1)
    with pytest.raises(Unavailable, match="No partition has a leader") as raised:
        await world.clusters.submit(delete(SILENT))
    assert "others" not in str(raised.value)


async def test_a_create_is_told_of_its_name():
    world = World()
    create = Create(
        command_id=IDS[0],
        cluster_id=IDS[0],
        user_email=OWNER,
        triggered_by="api_request",
        request_id=None,
        name="one",
        spec={},
    )
    partition = partition_of(name_key(OWNER, "one").encode(), 2)
    world.health.unavailable = {(KAFKA.topics.name_requests, partition)}
    with pytest.raises(Unavailable, match="partition of this name"):
        await world.clusters.submit(create)
