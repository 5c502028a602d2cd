"""When PostgreSQL's account is taken for the same as the API's."""

from dataclasses import replace

import pytest

from examples.demo.progress import SeenCluster
from examples.demo.summary import Account, differences

CLUSTER = SeenCluster(
    id="c", name="demo-gcp-01", platform="gcp", generation=1, phase="Ready", message="so it is"
)
ACCOUNT = Account(
    clusters=frozenset({CLUSTER}),
    reports=frozenset({("c", "dns", 1, True)}),
    events={"e": "cluster.created"},
)


@pytest.mark.parametrize(
    ("postgres", "fault"),
    [
        pytest.param(ACCOUNT, None, id="the same"),
        pytest.param(
            replace(ACCOUNT, events={"e": "cluster.created", "f": "cluster.reconcile"}),
            None,
            id="an event that Kafka hasn't shown us yet",
        ),
        pytest.param(
            replace(ACCOUNT, events={"e": "cluster.created", "f": "cluster.created"}),
            "2 cluster.created events in PostgreSQL for 1 writes",
            id="a write done twice",
        ),
        pytest.param(replace(ACCOUNT, events={}), "event e (cluster.created) is not in", id="a lost event"),
        pytest.param(replace(ACCOUNT, clusters=frozenset()), "cluster only in the API", id="a lost cluster"),
        pytest.param(
            replace(ACCOUNT, clusters=frozenset({replace(CLUSTER, phase="Pending")})),
            "cluster only in PostgreSQL",
            id="an old phase",
        ),
        pytest.param(
            replace(ACCOUNT, reports=frozenset({("c", "dns", 1, False)})),
            "report only in",
            id="an old report",
        ),
    ],
)
def test_differences(postgres: Account, fault: str | None) -> None:
    found = differences(postgres, ACCOUNT, {"cluster.created": 1})
    assert bool(found) is (fault is not None)
    assert (fault or "") in "".join(found)
