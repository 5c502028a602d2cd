"""Clients that write resources, and whether what the system says of them agrees with what they were told.

Each client owns its resources, so nobody else writes to them. The name of a resource is the mark of the write
that it shows. What is asked:

- A write that was answered is there exactly once: one event with its mark. One of unknown outcome is done
  once or not at all.
- The versions of a resource are 1, 2, 3, … without gap or repeat, and no event has two contents.
- A read by any web process shows the last write that was answered before, or one of unknown outcome. Each
  answered write is read at once through all the other web processes.
- State and the answers of every web process agree with the last event. Rows are compared by `verify`.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bench.wire import Answer, AsyncConnection, request_bytes
from domain.policy import Policy
from streams.resource import resource_flow
from streams.topics import Topics
from tests.chaos.check import Finding
from tests.chaos.clients import GIVE_UP_AFTER, RETRY_AFTER
from tests.chaos.observe import all_records, counts

FLOW: Final = resource_flow(Policy())
PATH: Final = "/api/v1/resources"
NOBODY: Final = "resources@example.com"
OPEN: Final = (0, 503, 504)
"""Statuses after which nobody knows whether a write was done; 0 is no answer at all."""


@dataclass(slots=True)
class Written:
    """One resource as its writer knows it.

    Attributes:
        shown: The mark of the last write that was answered; None once a delete was.
        answered, opened: The marks of all writes that were, and that never were.
        deleting: Whether a delete was sent whose outcome stayed open.
    """

    id: str
    shown: str | None
    answered: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    deleting: bool = False


@dataclass(slots=True)
class ResourceHistory:
    """What clients of resources did and were told.

    Attributes:
        reads: Answered reads by the number of the web process.
    """

    resources: list[Written] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    """Marks of creates whose outcome stayed open, so that nobody knows their resources."""

    unanswered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    """Resources that somebody else writes."""

    reads: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class ResourceClient:
    """Writes resources of its own through any web process, and reads them through the others.

    Args:
        webs: A connection to each web process.
        per_second: Operations it makes at most; 0 is as many as it can.
    """

    name: str
    webs: Sequence[AsyncConnection]
    history: ResourceHistory
    random: random.Random
    per_second: float = 0.0
    own: list[Written] = field(default_factory=list)
    _marks: Iterator[int] = field(default_factory=itertools.count)

    async def run(self, stop: asyncio.Event) -> None:
        """Write and read until told to stop; the operation under way is brought to its end."""
        while not stop.is_set():
            await self._operate()
            if self.per_second:
                await asyncio.sleep(self.random.expovariate(self.per_second))
        for connection in self.webs:
            connection.close()

    async def _operate(self) -> None:
        if len(self.own) < 2:
            await self.create()
            return
        resource = self.random.choice(self.own)
        (choice,) = self.random.choices((self._update, self._read, self._delete), weights=(5, 4, 1))
        await choice(resource)

    async def create(self) -> None:
        """Create one; under an `Idempotency-Key`, so that a repeat of unknown outcome creates no other."""
        mark = self._mark()
        for web in self._tries(f"create {mark}"):
            said = await self._exchange(web, "POST", PATH, {"name": mark}, {"Idempotency-Key": mark})
            if said.status == 201:
                made = Written(said.json()["id"], mark, [mark])
                self.own.append(made)
                self.history.resources.append(made)
                await self._read_elsewhere(made, web)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the create {mark}")
                return
            await asyncio.sleep(RETRY_AFTER)
        self.history.opened.append(mark)

    async def _update(self, resource: Written) -> None:
        for web in self._tries(f"update of {resource.id}"):
            mark = self._mark()
            said = await self._exchange(web, "PUT", f"{PATH}/{resource.id}", {"name": mark})
            if said.status == 200:
                resource.shown = mark
                resource.answered.append(mark)
                await self._read_elsewhere(resource, web)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the update {mark} of {resource.id}")
                return
            resource.opened.append(mark)
            await asyncio.sleep(RETRY_AFTER)

    async def _delete(self, resource: Written) -> None:
        self.own.remove(resource)
        for web in self._tries(f"delete of {resource.id}"):
            said = await self._exchange(web, "DELETE", f"{PATH}/{resource.id}")
            if said.status == 204 or (said.status == 404 and resource.deleting):
                resource.shown = None
                await self._read_elsewhere(resource, web)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the delete of {resource.id}")
                return
            resource.deleting = True
            await asyncio.sleep(RETRY_AFTER)

    async def _read(self, resource: Written) -> None:
        await self._read_through(self._any_web(), resource)

    async def _read_elsewhere(self, resource: Written, web: int) -> None:
        """Read through every web process but the one that has just answered a write, all at once."""
        others = (other for other in range(len(self.webs)) if other != web)
        await asyncio.gather(*(self._read_through(other, resource) for other in others))

    async def _read_through(self, web: int, resource: Written) -> None:
        """It must show the last answered write, or one that nobody answered."""
        said = await self._exchange(web, "GET", f"{PATH}/{resource.id}")
        if said.status in OPEN:
            return
        self.history.reads[web] += 1
        shown = said.json()["name"] if said.status == 200 else None
        if shown != resource.shown and shown not in resource.opened:
            self.history.stale.append(f"web-{web} shows {shown} of {resource.id} after {resource.shown}")

    def _tries(self, what: str) -> Iterator[int]:
        """Web processes to ask, for as long as somebody would; notes it when that was not long enough."""
        began = time.monotonic()
        while time.monotonic() - began < GIVE_UP_AFTER:
            yield self._any_web()
        self.history.unanswered.append(f"{self.name}: {what}")

    async def _exchange(
        self, web: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        wire = request_bytes(method, path, email=NOBODY, body=body, headers=headers)
        try:
            return await self.webs[web].exchange(wire)
        except (OSError, EOFError, TimeoutError):
            return Answer(0, b"")

    def _any_web(self) -> int:
        return self.random.randrange(len(self.webs))

    def _mark(self) -> str:
        return f"{self.name}-{next(self._marks)}"


# --- what there is to see ---------------------------------------------------------------------------


class Told(NamedTuple):
    """An event at the place of its first record."""

    topic: str
    version: int
    mark: str | None
    value: bytes


@dataclass(slots=True)
class SeenResources:
    """What topics and web processes say of resources once a run is over.

    Attributes:
        events: By resource and id of the event.
        states: By resource, its last state that counts.
        answers: By web process and resource, the mark that GET shows; None where it is not found.
    """

    events: dict[str, dict[str, Told]] = field(default_factory=lambda: defaultdict(dict))
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, str | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


async def observe(
    bootstrap_servers: str, topics: Topics, webs: Mapping[str, AsyncConnection]
) -> SeenResources:
    """Read the topics of resources to their ends, and ask every web process for each of them.

    What is in a topic and no event of a resource was put there by a fault.
    """
    seen = SeenResources()
    for name in FLOW.public:
        async for record in all_records(bootstrap_servers, topics.of(name)):
            headers = {key: value.decode() for key, value in record.headers}
            if headers.get("event_type") != name:
                continue
            mark = json.loads(record.value).get("name")
            event = Told(name, int(headers["aggregate_version"]), mark, record.value)
            known = seen.events[record.key.decode()].setdefault(headers["event_id"], event)
            if known != event:
                seen.faults.append(f"two contents for event {headers['event_id']}: {known} and {event}")
    standing: dict[int, int] = {}
    async for record in all_records(bootstrap_servers, topics.of(FLOW.state)):
        if counts(record, standing) and record.value is not None:
            seen.states[record.key.decode()] = json.loads(record.value)
    for web, connection in webs.items():
        for resource in seen.states:
            wire = request_bytes("GET", f"{PATH}/{resource}", email=NOBODY)
            said = await connection.exchange(wire)
            shown = said.json()["name"] if said.status == 200 else None
            seen.answers.setdefault(web, {})[resource] = shown
    return seen


def check_resources(history: ResourceHistory, seen: SeenResources) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(Finding("wrong", text) for text in (*history.wrong, *seen.faults)),
        *(Finding("unanswered", text) for text in history.unanswered),
        *(Finding("disordered", text) for text in history.stale),
        *_writes(history, seen),
        *_versions(seen),
        *_ends(seen),
    ]


def _writes(history: ResourceHistory, seen: SeenResources) -> Iterator[Finding]:
    for resource in history.resources:
        marks = [event.mark for event in seen.events[resource.id].values() if event.mark is not None]
        for mark in {*resource.answered, *resource.opened}:
            if marks.count(mark) > 1:
                yield Finding("doubled", f"{marks.count(mark)} events for {mark} of {resource.id}")
        for mark in resource.answered:
            if mark not in marks:
                yield Finding("lost", f"no event for {mark} of {resource.id}")
        for mark in {*marks} - {*resource.answered, *resource.opened}:
            yield Finding("wrong", f"an event for {mark} of {resource.id}, which nobody wrote")
        gone = any(event.topic == "resource.deleted" for event in seen.events[resource.id].values())
        if resource.shown is None and not gone:
            yield Finding("lost", f"no event for the delete of {resource.id}")
        if gone and resource.shown is not None and not resource.deleting:
            yield Finding("wrong", f"{resource.id} was deleted by nobody")
    known = {resource.id for resource in history.resources} | history.others
    for unknown in seen.events.keys() - known:
        marks = {event.mark for event in seen.events[unknown].values()} - {None}
        if not marks <= {*history.opened}:
            yield Finding("wrong", f"resource {unknown} was created by nobody: {marks}")


def _versions(seen: SeenResources) -> Iterator[Finding]:
    for resource, events in seen.events.items():
        versions = sorted(event.version for event in events.values())
        if versions != list(range(1, len(versions) + 1)):
            yield Finding("wrong", f"{resource} has the versions {versions}")


def _ends(seen: SeenResources) -> Iterator[Finding]:
    for resource, events in seen.events.items():
        last = max(events.values(), key=lambda event: event.version)
        state = seen.states.get(resource)
        if state is None or state["version"] != last.version:
            yield Finding("wrong", f"{resource} is at {state}, its last event is {last}")
        for web, shown in ((web, answers.get(resource)) for web, answers in seen.answers.items()):
            if shown != last.mark:
                yield Finding("wrong", f"{web} shows {shown} of {resource}, its last event is {last}")


def clients(
    count: int,
    doors: Sequence[tuple[str, int]],
    history: ResourceHistory,
    draws: random.Random,
    **rate: float,
) -> list[ResourceClient]:
    """Some clients, each with a connection to every web process."""
    return [
        ResourceClient(
            f"resources-{number}",
            [AsyncConnection(host, port, timeout=9.0) for host, port in doors],
            history,
            random.Random(draws.random()),
            **rate,
        )
        for number in range(count)
    ]
