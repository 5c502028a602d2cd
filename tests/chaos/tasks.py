"""Whether the tasks that resources have started agree with the events that started them.

- Each event of a resource has started one task, of the id and action that the event calls for.
- Each task has ended, and is completed: nothing in a run makes a handler fail, so only attempts of executors
  that died come to nothing, and there are more attempts than executors die.
- Its end was told under one id and with one content, and each of its attempts was queued under one id.
- The state says the same as the end. Rows are compared by `verify`.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.stage import HOST, Stage
from bench.wire import AsyncConnection, request_bytes
from domain.policy import Policy
from streams.task import task_flow
from streams.topics import Topics
from tests.chaos.check import Finding
from tests.chaos.observe import all_records, counts
from tests.chaos.resources import SeenResources

FLOW: Final = task_flow(Policy())
PATH: Final = "/api/v1/tasks"
NOBODY: Final = "tasks@example.com"
ENDED_WITHIN: Final = 90.0
"""Seconds for all tasks to end after a run: a lease, and the pauses between attempts."""

ACTIONS: Final = {
    "resource.created": "process_new_resource",
    "resource.updated": "reprocess_resource",
    "resource.deleted": "cleanup_resource",
}


@dataclass(slots=True)
class SeenTasks:
    """What topics say of tasks once a run is over.

    Attributes:
        told: By task and topic, the value of each record by the id of its event.
        states: By task, its last state that counts.
    """

    told: dict[str, dict[str, dict[str, bytes]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


async def observe(bootstrap_servers: str, topics: Topics) -> SeenTasks:
    """Read the topics of tasks to their ends; what is in them and no task was put there by a fault."""
    seen = SeenTasks()
    for topic in FLOW.public:
        async for record in all_records(bootstrap_servers, topics.of(topic)):
            headers = {key: value.decode(errors="replace") for key, value in record.headers}
            if headers.get("event_type") != topic:
                continue
            task, event_id = json.loads(record.value)["task_id"], headers["event_id"]
            known = seen.told[task][topic].setdefault(event_id, record.value)
            if known != record.value:
                seen.faults.append(f"two contents for event {event_id}: {known!r} and {record.value!r}")
    standing: dict[int, int] = {}
    async for record in all_records(bootstrap_servers, topics.of(FLOW.state)):
        if counts(record, standing) and record.value is not None:
            seen.states[record.key.decode()] = json.loads(record.value)
    return seen


async def until_ended(stage: Stage) -> None:
    """Wait until no task is left, if there is an executor to do them; `check_tasks` says what is left."""
    webs = stage.running("web")
    if not stage.running("executor") or not webs:
        return
    connection = AsyncConnection(HOST, webs[0].port)
    deadline = time.monotonic() + ENDED_WITHIN
    while time.monotonic() < deadline:
        left = [await _some(connection, status) for status in ("pending", "processing", "pending")]
        if not any(left):
            break
        await asyncio.sleep(0.5)
    connection.close()


async def _some(connection: AsyncConnection, status: str) -> bool:
    wire = request_bytes("GET", f"{PATH}?status={status}&limit=1", email=NOBODY)
    said = await connection.exchange(wire)
    return said.status != 200 or said.json() != []


def check_tasks(resources: SeenResources, seen: SeenTasks) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(Finding("wrong", text) for text in seen.faults),
        *_starts(resources, seen),
        *(finding for id, state in seen.states.items() for finding in _one(id, state, seen.told[id])),
    ]


def _starts(resources: SeenResources, seen: SeenTasks) -> Iterator[Finding]:
    expected = {
        f"auto-{resource if event.version == 1 else event_id}": ACTIONS[event.topic]
        for resource, events in resources.events.items()
        for event_id, event in events.items()
    }
    for id, action in expected.items():
        if id not in seen.states:
            yield Finding("lost", f"no task {id}")
        elif seen.states[id]["task"]["action"] != action:
            yield Finding("wrong", f"{id} is to {seen.states[id]['task']['action']} instead of {action}")
    for id in (seen.states.keys() | seen.told.keys()) - expected.keys():
        yield Finding("wrong", f"nobody has asked for task {id}")


def _one(id: str, state: Mapping[str, Any], told: Mapping[str, Mapping[str, bytes]]) -> Iterator[Finding]:
    status, attempt = state["task"]["status"], state["task"]["attempt"]
    queued, completed, failed = (told.get(topic, {}) for topic in FLOW.public)
    if status != "completed":
        yield Finding("unanswered", f"task {id} is {status} at attempt {attempt}: {state['task']['error']}")
    if len(queued) != attempt:
        yield Finding("wrong", f"task {id} was queued {len(queued)} times for {attempt} attempts")
    ends = len(completed) + len(failed)
    if ends > 1:
        yield Finding("doubled", f"task {id} has {len(completed)} completions and {len(failed)} failures")
    if ends < 1 and status in ("completed", "failed"):
        yield Finding("lost", f"task {id} is {status}, and nobody was told")
    for value in completed.values():
        if json.loads(value)["result"] != state["task"]["result"]:
            yield Finding("wrong", f"task {id} shows {state['task']['result']}, and {value!r} was told")
