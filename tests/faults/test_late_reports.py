"""A report that comes again after its cluster was deleted is told what it was told before."""

import json

import pytest

from tests.domain.given import uuid
from tests.faults.partition import CLUSTER, Partition
from tests.memory import TOPICS

DELETE, KNOWN, UNKNOWN = uuid(20), uuid(21), uuid(22)


@pytest.fixture
def place() -> Partition:
    """A cluster with one report, then deleted."""
    place = Partition()
    place.report(report_id=KNOWN, answer=True)
    place.work()
    place.send(TOPICS.commands, CLUSTER, type="cluster.delete", command_id=DELETE, force=True)
    place.work()
    return place


def answers(place: Partition, report_id: str) -> list[tuple[str, str | None]]:
    results = [json.loads(record.value) for record in place.log.since({}, TOPICS.results)]
    return [(body["outcome"], body.get("code")) for body in results if body["command_id"] == report_id]


def test_a_remembered_report_is_a_duplicate(place):
    assert [("applied", None)] == answers(place, KNOWN)
    place.report(report_id=KNOWN, answer=True)
    place.work()
    assert [("applied", None), ("duplicate", None)] == answers(place, KNOWN)


def test_another_report_is_refused(place):
    place.report(report_id=UNKNOWN, answer=True)
    place.work()
    assert [("rejected", "RESOURCE_NOT_FOUND")] == answers(place, UNKNOWN)


def test_a_remembered_report_changes_nothing(place):
    before = place.worker.clusters.values()
    place.report(report_id=KNOWN, answer=True)
    place.work()
    assert before == place.worker.clusters.values()
