"""A create takes its name and makes its cluster in one turn, whichever line of it a worker dies on."""

import json
from collections import defaultdict
from contextlib import suppress
from uuid import UUID, uuid5

import pytest

from domain.cluster.names import name_key
from streams.headers import ANSWERED_BY, ANSWERS, BY_REST, BY_STATE, TRIGGERED_BY
from streams.kafka.partitions import partition_of
from streams.writing.outputs import Output
from tests.domain.given import OWNER, uuid
from tests.memory import KAFKA, TOPICS, CrashedError, Log, Worker

KEY = name_key(OWNER, "one")
GCP = {"platform": {"type": "gcp"}}


def id_beside_name(word: str) -> str:
    """An id in the partition of the name, as web draws one; each word has its own."""
    ids = (str(uuid5(UUID(int=0), f"{word} {number}")) for number in range(100))
    return next(id for id in ids if _place(id) == _place(KEY))


def _place(key: str) -> int:
    return partition_of(key.encode(), KAFKA.partitions)


FIRST, SECOND = id_beside_name("first"), id_beside_name("second")
CREATE, AGAIN, OTHER, DELETE = (uuid(number) for number in range(4))


class Place:
    """Web and workers that come and go, over a log in memory."""

    def __init__(self) -> None:
        self.log = Log()
        self.worker = Worker(self.log, {}, commits=False)
        self.committed = dict(self.worker.positions)

    def create(self, cluster: str, command_id: str, spec: object = GCP) -> None:
        body = {"type": "cluster.create", "name": "one", "spec": spec}
        self._send(TOPICS.name_requests, KEY, cluster, command_id, **body)

    def delete(self, cluster: str) -> None:
        body = {"type": "cluster.delete", "force": True}
        self._send(TOPICS.accepted_commands, cluster, cluster, DELETE, **body)

    def _send(self, topic: str, key: str, cluster: str, command_id: str, **body: object) -> None:
        common = {"cluster_id": cluster, "user_email": OWNER, "issued_at": "2030-01-01T00:00:00Z"}
        value = json.dumps({**common, "command_id": command_id, **body}).encode()
        headers = {TRIGGERED_BY: BY_REST, ANSWERED_BY: BY_STATE}
        self.log.append(Output(topic, key.encode(), value, headers))

    def release(self, cluster: str) -> None:
        value = json.dumps({"type": "name.release", "cluster_id": cluster}).encode()
        self.log.append(Output(TOPICS.name_requests, KEY.encode(), value))

    def work(self) -> None:
        while self.worker.take_turn("clusters", at_most=100):
            pass

    def commit(self) -> None:
        self.committed = self.worker.committed = dict(self.worker.positions)

    def crash_while_working(self, *, after: int, reverse: bool = False) -> None:
        """The worker dies once it has published `after` records; a successor does the rest.

        Args:
            reverse: Whether it takes topics in the opposite order.
        """
        self.worker.producer.lives = after
        with suppress(CrashedError):
            self.work()
        self.worker = Worker(self.log, self.committed, commits=False)
        if reverse:
            agent, topics = self.worker._agents["clusters"]
            self.worker._agents["clusters"] = (agent, tuple(reversed(topics)))
        self.work()

    def answers(self) -> dict[str, set[str]]:
        """What each command was told, by states and by results."""
        told = defaultdict[str, set[str]](set)
        for record in self.log.since({}, TOPICS.results):
            told[json.loads(record.value)["command_id"]].add(json.loads(record.value)["outcome"])
        for record in self.log.since({}, TOPICS.state):
            for name, value in record.headers:
                if name == ANSWERS:
                    told[value.decode()].add("applied")
        return dict(told)

    def live(self) -> list[str]:
        return [state.cluster.id for state in self.worker.clusters.values() if state.deleted_at is None]

    def holders(self) -> list[str]:
        return [name.cluster_id for name in self.worker.names.values() if name.held]

    def events(self) -> list[tuple[str, str]]:
        """Clusters and types of events; the same event counts once, whatever it says."""
        told = [json.loads(record.value) for record in self.log.since({}, TOPICS.events)]
        assert len({event["id"] for event in told}) == len({json.dumps(event) for event in told})
        return sorted({(event["cluster_id"], event["type"]) for event in told})


def test_a_name_and_its_cluster_take_one_turn_and_three_records():
    # given
    place = Place()
    place.create(FIRST, CREATE)

    # when
    place.worker.take_turn("clusters", at_most=100)

    # then event, state and name are all that was published, and the state is the answer
    counts = {topic: len(place.log.since({}, topic)) for topic in (TOPICS.events, TOPICS.state, TOPICS.names)}
    assert {TOPICS.events: 1, TOPICS.state: 1, TOPICS.names: 1} == counts
    assert [] == place.log.since({}, TOPICS.accepted_commands) + place.log.since({}, TOPICS.results)
    assert ([FIRST], [FIRST]) == (place.live(), place.holders())
    assert {CREATE: {"applied"}} == place.answers()


@pytest.mark.parametrize("lives", range(6))
def test_a_create_is_done_once_and_answered(lives):
    place = Place()
    place.create(FIRST, CREATE)
    place.crash_while_working(after=lives)
    assert ([FIRST], [FIRST]) == (place.live(), place.holders())
    assert {CREATE: {"applied"}} == place.answers()
    assert [(FIRST, "cluster.created")] == place.events()


@pytest.mark.parametrize("lives", range(9))
def test_the_second_create_of_a_name_is_refused_and_stays_so(lives):
    place = Place()
    place.create(FIRST, CREATE)
    place.create(SECOND, OTHER)
    place.crash_while_working(after=lives)
    assert ([FIRST], [FIRST]) == (place.live(), place.holders())
    assert {CREATE: {"applied"}, OTHER: {"rejected"}} == place.answers()
    assert [(FIRST, "cluster.created")] == place.events()


@pytest.mark.parametrize("lives", range(12))
def test_a_name_goes_from_a_deleted_cluster_to_the_next(lives):
    # given a cluster, and requests that come while a worker is busy
    place = Place()
    place.create(FIRST, CREATE)
    place.work()
    place.commit()
    place.create(SECOND, OTHER)
    place.delete(FIRST)

    # when
    place.crash_while_working(after=lives)
    refused = place.answers()[OTHER]
    place.create(SECOND, AGAIN)
    place.work()

    # then each is decided alike however often, and what was refused has left nothing
    assert 1 == len(refused)
    assert ([SECOND], [SECOND]) == (place.live(), place.holders())
    assert {"applied"} == place.answers()[DELETE]
    deleted = [(FIRST, "cluster.created"), (FIRST, "cluster.deleted")]
    assert sorted([*deleted, (SECOND, "cluster.created")]) == place.events()


@pytest.mark.parametrize("lives", range(8))
def test_a_refused_cluster_takes_no_name(lives):
    place = Place()
    place.create(FIRST, CREATE, spec={"platform": {"type": "nope"}})
    place.create(SECOND, OTHER)
    place.crash_while_working(after=lives)
    assert ([SECOND], [SECOND]) == (place.live(), place.holders())
    assert {CREATE: {"rejected"}, OTHER: {"applied"}} == place.answers()


@pytest.mark.parametrize("lives", range(8))
def test_a_repeat_is_told_what_the_first_was(lives):
    place = Place()
    place.create(FIRST, CREATE)
    place.create(FIRST, CREATE)
    place.crash_while_working(after=lives)
    assert ([FIRST], [FIRST]) == (place.live(), place.holders())
    assert "rejected" not in place.answers()[CREATE]
    assert [(FIRST, "cluster.created")] == place.events()


def test_a_repeat_after_the_delete_takes_no_name():
    place = Place()
    place.create(FIRST, CREATE)
    place.work()
    place.delete(FIRST)
    place.work()
    place.create(FIRST, CREATE)
    place.work()
    assert ([], []) == (place.live(), place.holders())
    assert {"applied", "duplicate"} == place.answers()[CREATE]


def test_a_release_from_outside_frees_no_name_of_a_live_cluster():
    # given
    place = Place()
    place.create(FIRST, CREATE)
    place.work()

    # when somebody else says that it is free
    place.release(FIRST)
    place.create(SECOND, OTHER)
    place.work()

    # then it is not
    assert [FIRST] == place.holders()
    assert {"rejected"} == place.answers()[OTHER]


@pytest.mark.parametrize("lives", range(8))
def test_a_cluster_is_stored_before_a_command_to_it_is_decided(lives):
    """A successor may meet the command before the create; it must then not have been decided after it."""
    place = Place()
    place.create(FIRST, CREATE)
    place.delete(FIRST)
    place.crash_while_working(after=lives, reverse=True)
    outcomes = place.answers()
    assert {"applied"} == outcomes[CREATE]
    assert 1 == len(outcomes[DELETE])
    assert ("applied" in outcomes[DELETE]) == ([] == place.live() == place.holders())
    assert ("applied" in outcomes[DELETE]) == ((FIRST, "cluster.deleted") in place.events())
