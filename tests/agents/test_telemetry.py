"""What foreign events ask of the agent of samples (operations contract, sections 8 and 9)."""

import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from agents.telemetry import commands_of
from domain.samples import Add, Tell
from tests.tables.given import Record

ID = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"


def record(event: Any, offset: int = 0) -> Record:
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Record(ID.encode(), value, offset=offset, topic="cluster-events")


def asked(event: Any, offset: int = 0) -> list[Add | Tell]:
    return commands_of(record(event, offset))


def values(event: Any) -> list[tuple[str, float]]:
    return [(each.type, each.value) for command in asked(event) for each in command.samples]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({"metrics": [{"type": "cpu", "value": 5}]}, [("cpu", 5)], id="listed"),
        pytest.param({"cpu": 5, "network": "7.5"}, [("cpu", 5), ("network", 7.5)], id="single"),
        pytest.param({"payload": {"memory": 5}}, [("memory", 5)], id="in the payload"),
        pytest.param(
            {"payload": {"metrics": [{"type": "disk", "value": 1}]}}, [("disk", 1)], id="listed there"
        ),
        pytest.param({"metrics": [{"type": "cpu", "value": 5}], "disk": 1}, [("cpu", 5)], id="listed first"),
        pytest.param({"cpu": True, "disk": "nan", "memory": [5]}, [], id="none is a number"),
        pytest.param({"metrics": "none"}, [], id="no list"),
        pytest.param({"payload": "none"}, [], id="no payload"),
        pytest.param({"metrics": [{"type": "cpu", "value": 1e300}]}, [], id="too much"),
    ],
)
def test_metrics_are_found_wherever_nodes_put_them(members, expected):
    assert expected == values({"type": "telemetry", "cluster_id": ID, **members})


@pytest.mark.parametrize("cluster", [None, 7, "", "a b", "x" * 101])
def test_without_a_cluster_there_is_nothing_to_do(cluster):
    assert [] == asked({"type": "telemetry", "cluster_id": cluster, "cpu": 5})


def test_an_event_that_comes_again_asks_the_same_and_another_does_not():
    event = {"type": "telemetry", "event_id": "e", "cluster_id": ID, "cpu": 5}
    assert asked(event, 1) == asked(event, 2)
    unnamed = {"type": "telemetry", "cluster_id": ID, "cpu": 5}
    assert asked(unnamed, 1) == asked(unnamed, 1)
    assert asked(unnamed, 1)[0].command_id != asked(unnamed, 2)[0].command_id


def test_many_metrics_are_many_commands():
    metrics = [{"type": "cpu", "value": number} for number in range(250)]
    commands = asked({"type": "telemetry", "cluster_id": ID, "metrics": metrics})
    assert [100, 100, 50] == [len(command.samples) for command in commands]
    assert 3 == len({command.command_id for command in commands})


@pytest.mark.parametrize("type_", ["metric.threshold_exceeded", "metric_threshold_exceeded"])
def test_a_threshold_that_a_node_has_seen_is_told_on(type_):
    (command,) = asked({"type": type_, "cluster_id": ID})
    assert (Tell, ID) == (type(command), command.id)


@pytest.mark.parametrize(
    ("event", "labels"),
    [
        ({"type": "telemetry", "cluster_id": ID, "cpu": 5}, ("telemetry", "taken")),
        ({"type": "metric_threshold_exceeded", "cluster_id": ID}, ("metric.threshold_exceeded", "taken")),
        ({"type": "job_completed", "cluster_id": ID}, ("other", "ignored")),
        ({"type": "x", "cluster_id": "a b", "cpu": 5}, ("other", "malformed")),
        (b"{", ("other", "malformed")),
        (b'"\xff"', ("other", "malformed")),
        (b"[" * 100_000, ("other", "malformed")),
    ],
)
def test_events_are_counted_by_type_and_result(event, labels):
    def counted() -> float:
        known = dict(zip(("type", "result"), labels, strict=True))
        return REGISTRY.get_sample_value("clustergenie_events_total", known) or 0

    before = counted()
    asked(event)
    assert before + 1 == counted()
