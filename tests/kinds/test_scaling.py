"""A cluster is scaled once by a command, and a repeat is told of the same droplets, whatever came between."""

import json

import pytest
from faust.types import TP

from agents.reactions import reactions_of
from domain.members import Join, Note, Scale
from domain.policy import Policy
from streams.flows import simple_flows
from streams.headers import KEYED
from tests.domain.given import CLUSTER_ID
from tests.memory import FleetWorker, Log

FLOWS = {flow.kind.name: flow for flow in simple_flows(Policy())}
MEMBERS = FLOWS["members"]


def scale(action, command_id, region="nyc1"):
    return Scale(id=CLUSTER_ID, command_id=command_id, action=action, region=region)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def worker(log):
    committed = dict[TP, int]()
    return FleetWorker([MEMBERS], reactions_of(FLOWS, accepted="accepted"), log, committed)


def told(log, worker, *commands):
    """What results say of commands to scale, after these have been decided: ids, outcomes and droplets."""
    for command in commands:
        headers = {KEYED: "true"} if isinstance(command, Scale) else {}
        log.append(MEMBERS.command(command, headers))
    while worker.take_turn("members", at_most=100):
        pass
    results = [json.loads(record.value) for record in log.since({}, MEMBERS.results)]
    return [
        (result["command_id"], result["outcome"], result["details"]["droplets"])
        for result in results
        if "details" in result
    ]


def deleted(log):
    """The droplets that were told to go."""
    return [json.loads(record.value)["id"] for record in log.since({}, FLOWS["droplet"].commands)]


JOINED = [Join(id=CLUSTER_ID, command_id=f"j{name}", droplet=name) for name in "abc"]
ACTIVE = [Note(id=CLUSTER_ID, command_id=f"n{name}", droplet=name, active=True) for name in "abc"]


def test_a_repeat_is_told_of_the_droplets_of_the_first(log, worker):
    # given a cluster that two commands make smaller, when the first one comes again
    first, second = scale("scale_down", "first"), scale("scale_down", "second")
    scaled = told(log, worker, *JOINED, *ACTIVE, first, second, first)
    # then nothing is deleted for it
    assert [
        ("first", "applied", ["c"]),
        ("second", "applied", ["b"]),
        ("first", "duplicate", ["c"]),
    ] == scaled
    assert ["c", "b"] == deleted(log)


def test_a_repeat_is_known_after_all_that_a_large_cluster_is_told(log, worker):
    # given
    told(log, worker, *JOINED, *ACTIVE, scale("scale_down", "first"))
    # when many droplets come, the cluster is moved, and the command comes again
    many = [Join(id=CLUSTER_ID, command_id=f"m{number}", droplet=f"d{number}") for number in range(300)]
    again = scale("scale_down", "first", region="fra1")
    # then
    assert ("first", "duplicate", ["c"]) == told(log, worker, *many, again)[-1]
    assert ["c"] == deleted(log)
