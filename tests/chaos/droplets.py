"""Clients that create droplets, of clusters that they delete, and whether what became of them agrees.

- A create that was answered has made one droplet, and one of unknown outcome one at most: each is made under
  an `Idempotency-Key`, and told once. No event has two contents.
- A droplet is gone if its delete was answered, or that of its cluster; any other is there.
- Each droplet that is there is active. No two have one address, and the blocks of the network know exactly
  the addresses that are in use.
- A cluster's droplets are those that name it, for every web process as for the agents.
"""

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.stage import HOST, Stage
from bench.wire import AsyncConnection, request_bytes
from domain.policy import Policy
from streams.address import address_flow
from streams.droplet import droplet_flow
from streams.envelope import EVENTS
from streams.members import FLOW as MEMBERS
from streams.topics import Topics
from tests.chaos.check import Finding
from tests.chaos.clients import HttpClient, Owned
from tests.chaos.observe import all_records, counts
from tests.chaos.tries import OPEN, Writer

DROPLETS: Final = droplet_flow(Policy())
ADDRESSES: Final = address_flow(Policy())
PATH: Final = "/api/v1/droplets"
SETTLED_WITHIN: Final = 60.0
"""Seconds until all droplets are active after a run; a question for an address is repeated after 30."""


@dataclass(slots=True)
class Made:
    """One droplet as its client knows it.

    Attributes:
        deleted: Whether its delete, or that of its cluster, was answered; None while that is open.
    """

    id: str
    cluster_id: str | None
    deleted: bool | None = False


@dataclass(slots=True)
class DropletHistory:
    """What clients of droplets did and were told."""

    droplets: list[Made] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    """The names of droplets whose create stayed open."""

    unanswered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    """Droplets that jobs have made (`tests/chaos/jobs.py`)."""


@dataclass(slots=True, kw_only=True)
class DropletClient(Writer):
    """Creates and deletes droplets, most of them of clusters of its own, which it deletes at times."""

    history: DropletHistory
    own: list[Made] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    async def operate(self) -> None:
        if len(self.clusters.own) < 3:
            await self.clusters.create()
            return
        choices = (self._create, self._delete, self._delete_cluster)
        (choice,) = self.random.choices(choices, weights=(8, 4 if self.own else 0, 1))
        await choice()

    async def _create(self) -> None:
        name = f"{self.clusters.name}-{next(self._names)}"
        cluster_id = self.random.choice([*(each.id for each in self.clusters.own), None])
        body = {"name": name, "region": "nyc3"} | ({} if cluster_id is None else {"cluster_id": cluster_id})
        async for said in self.tries("POST", PATH, body, {"Idempotency-Key": name}):
            if said.status == 201:
                self.own.append(made := Made(said.json()["droplet"]["id"], cluster_id))
                self.history.droplets.append(made)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the create {name}: {said.body!r}")
                return
        self.history.opened.append(name)
        self.history.unanswered.append(f"{self.clusters.name}: create {name}")

    async def _delete(self) -> None:
        droplet = self.random.choice(self.own)
        self.own.remove(droplet)
        tried = False
        async for said in self.tries("DELETE", f"{PATH}/{droplet.id}"):
            if said.status == 200 or (said.status == 404 and tried):
                droplet.deleted = True
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the delete of {droplet.id}")
                return
            droplet.deleted, tried = None, True
        self.history.unanswered.append(f"{self.clusters.name}: delete of {droplet.id}")

    async def _delete_cluster(self) -> None:
        cluster: Owned = self.random.choice(self.clusters.own[1:])
        answered = await self.clusters.delete(cluster)
        for droplet in [each for each in self.own if each.cluster_id == cluster.id]:
            self.own.remove(droplet)
            droplet.deleted = True if answered else None


# --- what there is to see ---------------------------------------------------------------------------


@dataclass(slots=True)
class SeenDroplets:
    """What topics and web processes say of droplets once a run is over.

    Attributes:
        events: By droplet, the types of its events in their order, each counted once.
        droplets, blocks, members: The last states that count, by id.
        answers: By web process and droplet, what GET shows; None where it is not found.
    """

    events: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    droplets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    blocks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    members: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Mapping[str, Any] | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


async def until_settled(stage: Stage) -> None:
    """Wait until no droplet waits for its address; `check_droplets` says what is left."""
    webs = stage.running("web")
    if not webs:
        return
    connection = AsyncConnection(HOST, webs[0].port)
    wire = request_bytes("GET", f"{PATH}?status=provisioning&limit=1", email="droplets@example.com")
    deadline = time.monotonic() + SETTLED_WITHIN
    while time.monotonic() < deadline:
        said = await connection.exchange(wire)
        if said.status == 200 and said.json() == {"droplets": []}:
            break
        await asyncio.sleep(0.5)
    connection.close()


async def observe(
    bootstrap_servers: str, topics: Topics, webs: Mapping[str, AsyncConnection]
) -> SeenDroplets:
    """Read the topics of droplets to their ends, and ask every web process for each droplet."""
    seen, contents = SeenDroplets(), dict[str, bytes]()
    async for record in all_records(bootstrap_servers, topics.of(EVENTS)):
        event = json.loads(record.value) if (record.key or b"").startswith(b"droplet-") else {}
        if not event.get("type", "").startswith("droplet."):
            continue
        id = event["event_id"]
        if id not in contents:
            contents[id] = record.value
            seen.events[record.key.decode()].append(event["type"])
        elif contents[id] != record.value:
            seen.faults.append(f"two contents for event {id}: {contents[id]!r} and {record.value!r}")
    for flow, states in ((DROPLETS, seen.droplets), (ADDRESSES, seen.blocks), (MEMBERS, seen.members)):
        standing: dict[int, int] = {}
        async for record in all_records(bootstrap_servers, topics.of(flow.state)):
            if counts(record, standing) and record.value is not None:
                states[record.key.decode()] = json.loads(record.value)
    for web, connection in webs.items():
        answers = seen.answers.setdefault(web, {})
        for id in seen.droplets:
            said = await connection.exchange(request_bytes("GET", f"{PATH}/{id}", email="any@example.com"))
            answers[id] = said.json()["droplet"] if said.status == 200 else None
    return seen


def check_droplets(history: DropletHistory, seen: SeenDroplets) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(Finding("wrong", text) for text in (*history.wrong, *seen.faults)),
        *(Finding("unanswered", text) for text in history.unanswered),
        *_writes(history, seen),
        *_addresses(seen),
        *_members(seen),
        *_answers(seen),
    ]


def _live(seen: SeenDroplets) -> dict[str, Mapping[str, Any]]:
    return {id: state["droplet"] for id, state in seen.droplets.items() if state["deleted_at"] is None}


def _writes(history: DropletHistory, seen: SeenDroplets) -> Iterator[Finding]:
    live = _live(seen)
    for made in history.droplets:
        events = seen.events[made.id]
        if made.id not in seen.droplets or not events:
            yield Finding("lost", f"{made.id} was answered, and there is no state or event of it")
            continue
        if made.deleted is True and (made.id in live or events[-1] != "droplet.deleted"):
            yield Finding("lost", f"the delete of {made.id} or of its cluster {made.cluster_id}: {events}")
        if made.deleted is False and made.id not in live:
            yield Finding("wrong", f"{made.id} was deleted by nobody: {events}")
    for id, events in seen.events.items():
        if len(events) != len(set(events)) or events[0] != "droplet.created":
            yield Finding("doubled", f"{id} has the events {events}")
    known = {made.id for made in history.droplets} | history.others
    for id, state in seen.droplets.items():
        if id not in known and state["droplet"]["name"] not in history.opened:
            yield Finding("wrong", f"{id} was created by nobody")


def _addresses(seen: SeenDroplets) -> Iterator[Finding]:
    live = _live(seen)
    for id, droplet in live.items():
        if droplet["status"] != "active":
            yield Finding("unanswered", f"{id} is {droplet['status']}: {droplet.get('reason')}")
    given = sorted((each["ip_address"], id) for id, each in live.items() if "ip_address" in each)
    held = sorted(pair for state in seen.blocks.values() for pair in state["block"]["held"].items())
    if len({address for address, _ in given}) < len(given):
        yield Finding("doubled", f"one address twice: {given}")
    if wrong := {*given} ^ {*held}:
        yield Finding("wrong", f"droplets and blocks differ in {sorted(wrong)}")


def _members(seen: SeenDroplets) -> Iterator[Finding]:
    named = defaultdict[str, set[str]](set)
    for id, droplet in _live(seen).items():
        if "cluster_id" in droplet:
            named[droplet["cluster_id"]].add(id)
    known = {
        id: {*state["members"]["droplets"]}
        for id, state in seen.members.items()
        if state["deleted_at"] is None and state["members"]["droplets"]
    }
    for id in named.keys() | known.keys():
        if named.get(id) != known.get(id):
            yield Finding("wrong", f"cluster {id} has {named.get(id)}, and its members are {known.get(id)}")


def _answers(seen: SeenDroplets) -> Iterator[Finding]:
    live = _live(seen)
    of_cluster = defaultdict[str, set[str]](set)
    for id, droplet in live.items():
        of_cluster[droplet.get("cluster_id", "")].add(id)
    for web, answers in seen.answers.items():
        for id, shown in answers.items():
            expected = live.get(id)
            own = None if shown is None else {key: shown[key] for key in shown if key != "cluster"}
            if own != expected:
                yield Finding("wrong", f"{web} shows {own} of {id} instead of {expected}")
                continue
            cluster = (shown or {}).get("cluster", {})
            if {*cluster.get("droplets", ())} != (of_cluster[cluster["id"]] if cluster else set()):
                yield Finding("wrong", f"{web} shows the droplets {cluster['droplets']}")


def clients(
    clusters: Sequence[HttpClient], history: DropletHistory, draws: random.Random, **rate: float
) -> list[DropletClient]:
    """A client of droplets for each client of clusters."""
    return [
        DropletClient(clusters=each, random=random.Random(draws.random()), history=history, **rate)
        for each in clusters
    ]
