"""A delete without force depends on reports of another topic: what is told once stands, whoever dies when."""

import pytest

from tests.faults.partition import CLUSTER, DELETE, Partition
from tests.memory import TOPICS

FATAL = {"errorType": "Fatal", "message": "broken"}


@pytest.mark.parametrize("lives", range(8))
@pytest.mark.parametrize(
    ("first", "later"),
    [
        pytest.param({"last_error": FATAL}, {"last_error": None}, id="allowed, then forbidden"),
        pytest.param(
            {"conditions": [{"type": "Available", "status": "True"}]},
            {"last_error": FATAL},
            id="forbidden, then allowed",
        ),
    ],
)
def test_a_delete_is_decided_once(first, later, lives):
    place = Partition()
    place.report(**first)
    place.work()
    place.committed = dict(place.worker.positions)
    place.send(TOPICS.commands, CLUSTER, type="cluster.delete", command_id=DELETE)
    place.crash_while_working(after=lives)
    told_before = place.outcomes()
    place.report(**later)
    place.restart()
    place.work()
    outcomes = place.outcomes()
    assert 1 == len(outcomes), "one answer, however often"
    assert told_before <= outcomes
    (record,) = place.worker.clusters.values()
    assert ("applied" in outcomes) == (record.deleted_at is not None) == (len(place.events()) == 1)
    names = [name.held for name in place.worker.names.values()]
    assert names == [record.deleted_at is None]
