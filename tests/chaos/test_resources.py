"""The checker of resources finds each thing that can be wrong, and nothing where all is well."""

import asyncio
import json
import random
from dataclasses import dataclass, replace

import pytest

from bench.wire import Answer
from tests.chaos.resources import (
    ResourceClient,
    ResourceHistory,
    SeenResources,
    Told,
    Written,
    check_resources,
)


def history(**members) -> ResourceHistory:
    """One resource that was created and updated; a second update was never answered."""
    resource = Written("r", "b", answered=["a", "b"], opened=["c"])
    return ResourceHistory(resources=[replace(resource, **members)])


def seen(*marks: str | None, shown: str | None = "last", version: int | None = None) -> SeenResources:
    """Events with these marks, None for a delete, and what state and web say after the last."""
    found = SeenResources()
    for number, mark in enumerate(marks, start=1):
        topic = "resource.deleted" if mark is None else "resource.updated"
        found.events["r"][f"e{number}"] = Told(topic, number, mark, b"")
    found.states["r"] = {"version": len(marks) if version is None else version}
    found.answers["web"] = {"r": marks[-1] if shown == "last" else shown}
    return found


class Replicas:
    """Web processes that share what is written, but for one that shows `old` for all of it.

    Clients are told to stop at the second write.
    """

    def __init__(self, *, behind: int | None = None) -> None:
        self.names: list[str] = []
        self.stop = asyncio.Event()
        self.webs = [Replica(self, is_behind=number == behind) for number in range(3)]


@dataclass
class Replica:
    """One of them."""

    all: Replicas
    is_behind: bool

    async def exchange(self, request: bytes) -> Answer:
        head, _, body = request.partition(b"\r\n\r\n")
        if head.startswith(b"POST"):
            self.all.names.append(json.loads(body)["name"])
            if len(self.all.names) == 2:
                self.all.stop.set()
            return Answer(201, json.dumps({"id": str(len(self.all.names) - 1)}).encode())
        number = int(head.split()[1].rpartition(b"/")[2])
        return Answer(200, json.dumps({"name": "old" if self.is_behind else self.all.names[number]}).encode())

    def close(self) -> None: ...


async def told_by(replicas: Replicas) -> ResourceHistory:
    """What a client was told that created two resources."""
    told = ResourceHistory()
    await ResourceClient("c", replicas.webs, told, random.Random(7)).run(replicas.stop)
    return told


async def test_a_write_is_read_at_once_through_all_other_processes():
    told = await told_by(Replicas())

    assert 2 * 2 == told.reads.total()
    assert [] == told.stale


@pytest.mark.parametrize("behind", range(3))
async def test_the_one_process_that_is_behind_is_found(behind):
    told = await told_by(Replicas(behind=behind))

    assert told.stale
    assert all(text.startswith(f"web-{behind} shows old of ") for text in told.stale)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        pytest.param(history(), seen("a", "b"), id="the open write was not done"),
        pytest.param(history(), seen("a", "c", "b"), id="it was done once"),
        pytest.param(history(shown=None), seen("a", "b", None), id="deleted"),
        pytest.param(history(deleting=True), seen("a", "b", None), id="deleted, and nobody knows"),
    ],
)
def test_nothing_is_wrong(told, found):
    assert [] == check_resources(told, found)


@pytest.mark.parametrize(
    ("told", "found", "kind"),
    [
        pytest.param(history(), seen("a"), "lost", id="an answered write is not there"),
        pytest.param(history(), seen("a", "b", "b"), "doubled", id="a write was done twice"),
        pytest.param(history(), seen("a", "b", "c", "c"), "doubled", id="an open write was done twice"),
        pytest.param(history(), seen("a", "b", "x"), "wrong", id="a write of nobody"),
        pytest.param(history(), seen("a", "b", None), "wrong", id="a delete of nobody"),
        pytest.param(history(shown=None), seen("a", "b"), "lost", id="a delete is not there"),
        pytest.param(history(), seen("a", "b", version=3), "wrong", id="a state beyond the last event"),
        pytest.param(history(), seen("a", "b", shown="a"), "wrong", id="a web process is behind"),
    ],
)
def test_what_is_wrong_is_found(told, found, kind):
    assert kind in {finding.kind for finding in check_resources(told, found)}


def test_a_gap_in_the_versions_is_found():
    found = seen("a", "b")
    found.events["r"]["e2"] = found.events["r"]["e2"]._replace(version=3)
    found.states["r"] = {"version": 3}
    assert ["wrong"] == [finding.kind for finding in check_resources(history(), found)]


def test_what_clients_have_seen_is_told():
    told = ResourceHistory(stale=["r shows a after b"], unanswered=["x"], wrong=["500 for y"])
    kinds = {finding.kind for finding in check_resources(told, SeenResources())}
    assert {"disordered", "unanswered", "wrong"} == kinds
