"""A cluster is scaled once by a command, and a repeat is told of the same droplets, whatever came between."""

import json

from faust.types import TP

from agents.reactions import reactions_of
from domain.members import Join, Note, Scale
from domain.policy import Policy
from streams.flows import simple_flows
from tests.domain.given import CLUSTER_ID
from tests.memory import FleetWorker, Log

FLOWS = {flow.kind.name: flow for flow in simple_flows(Policy())}
MEMBERS = FLOWS["members"]


def scale(action, command_id):
    return Scale(id=CLUSTER_ID, command_id=command_id, action=action, region="nyc1")


def test_a_repeat_is_told_of_the_droplets_of_the_first():
    # given a cluster that two commands have made smaller
    log, committed = Log(), dict[TP, int]()
    worker = FleetWorker([MEMBERS], reactions_of(FLOWS, accepted="accepted"), log, committed)
    joined = [Join(id=CLUSTER_ID, command_id=f"j{name}", droplet=name) for name in "abc"]
    active = [Note(id=CLUSTER_ID, command_id=f"n{name}", droplet=name, active=True) for name in "abc"]
    first, second = scale("scale_down", "first"), scale("scale_down", "second")
    # when the first one comes again
    for command in (*joined, *active, first, second, first):
        log.append(MEMBERS.command(command, {}))
    worker.take_turn("members", at_most=100)
    # then nothing is deleted for it
    results = [json.loads(record.value) for record in log.since({}, MEMBERS.results)]
    scaled = [
        (result["command_id"], result["outcome"], result["details"]["droplets"])
        for result in results
        if result["command_id"] in ("first", "second")
    ]
    assert [
        ("first", "applied", ["c"]),
        ("second", "applied", ["b"]),
        ("first", "duplicate", ["c"]),
    ] == scaled
    deleted = [json.loads(record.value)["id"] for record in log.since({}, FLOWS["droplet"].commands)]
    assert ["c", "b"] == deleted
