"""Clients that ask for jobs, and whether each has ended once and done what it says.

- A job that was answered is there, and one of unknown outcome once at most: each is asked for under an
  `Idempotency-Key`. It has one end, which is told once, and nothing is told of it after that.
- A droplet of a cluster that only jobs write to was made by a job, once, however often that was begun.
- What a completed job says it has made was made, and what it says it has deleted is gone.
- Every web process shows a job as its state is.
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
from domain.ids import deterministic_id, entity_id_of
from domain.members import NONE_LEFT
from domain.policy import Policy
from executors.jobs import GONE
from streams.envelope import EVENTS
from streams.job import job_flow
from streams.topics import Topics
from tests.chaos.check import Finding
from tests.chaos.clients import HttpClient
from tests.chaos.droplets import SeenDroplets
from tests.chaos.observe import all_records, counts
from tests.chaos.tries import OPEN, tries

FLOW: Final = job_flow(Policy())
PATH: Final = "/api/v1/jobs"
ENDS: Final = {"completed": "job.completed", "failed": "job.failed", "cancelled": "job.cancelled"}
ENDED_WITHIN: Final = 90.0
"""Seconds until all jobs have ended after a run: a lease, and pauses of 1 and 4 s."""

ASKED_FOR: Final[Sequence[tuple[str, Mapping[str, Any], int]]] = (
    ("provision", {}, 6),
    ("scale", {"action": "scale_up", "count": 2}, 2),
    ("scale", {"action": "scale_down"}, 4),
    ("diagnose", {}, 1),
)
"""Types of jobs with their parameters, and how often each is drawn."""


@dataclass(slots=True)
class JobHistory:
    """What clients of jobs did and were told.

    Attributes:
        jobs: The ids of those that were answered.
        clusters: The ids of those that only jobs write to.
        opened: The keys of jobs whose answer stayed open.
    """

    jobs: list[str] = field(default_factory=list)
    clusters: set[str] = field(default_factory=set)
    opened: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class JobClient:
    """Asks for jobs on a cluster of its own, and cancels some.

    Args:
        clusters: Creates the cluster.
        per_second: Operations it makes at most.
    """

    clusters: HttpClient
    history: JobHistory
    random: random.Random
    per_second: float = 0.0
    _keys: Iterator[int] = field(default_factory=itertools.count)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop; the operation under way is brought to its end."""
        while not stop.is_set():
            if self.clusters.own:
                await self._ask()
            else:
                await self.clusters.create()
                self.history.clusters.update(cluster.id for cluster in self.clusters.own)
            await asyncio.sleep(self.random.expovariate(self.per_second or 2.0))
        for connection in self.clusters.webs:
            connection.close()

    async def _ask(self) -> None:
        key = f"{self.clusters.name}-job-{next(self._keys)}"
        (asked,) = self.random.choices(ASKED_FOR, weights=[weight for _, _, weight in ASKED_FOR])
        parameters = {"cluster_id": self.clusters.own[0].id, **asked[1]}
        body = {"type": asked[0], "parameters": parameters}
        async for said in tries(
            self.clusters.webs,
            self.random,
            "POST",
            PATH,
            email=self.clusters.email,
            body=body,
            headers={"Idempotency-Key": key},
        ):
            if said.status == 201:
                self.history.jobs.append(id := said.json()["job"]["id"])
                if self.random.random() < 0.2:
                    await self._cancel(id)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the job {key}: {said.body!r}")
                return
        self.history.opened.append(key)

    async def _cancel(self, id: str) -> None:
        webs, email = self.clusters.webs, self.clusters.email
        async for said in tries(webs, self.random, "POST", f"{PATH}/{id}/cancel", email=email):
            if said.status in (200, 409):  # 409: it has ended by itself, or the first try has ended it
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the end of {id}: {said.body!r}")
                return


# --- what there is to see ---------------------------------------------------------------------------


@dataclass(slots=True)
class SeenJobs:
    """What topics and web processes say of jobs once a run is over.

    Attributes:
        events: By job, the types of its events in their order, each counted once.
        states: The last states that count, by id.
        answers: By web process and job, what GET shows; None where it is not found.
    """

    events: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Mapping[str, Any] | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


async def until_ended(stage: Stage) -> None:
    """Wait until no job is left, if there is an executor to do them; `check_jobs` says what is left."""
    webs = stage.running("web")
    if not stage.running("executor") or not webs:
        return
    connection = AsyncConnection(HOST, webs[0].port)
    wire = request_bytes("GET", "/api/v1/observability/workerpool", email="jobs@example.com")
    deadline = time.monotonic() + ENDED_WITHIN
    while time.monotonic() < deadline:
        said = await connection.exchange(wire)
        if said.status == 200 and not said.json()["queue_length"] + said.json()["active_workers"]:
            break
        await asyncio.sleep(0.5)
    connection.close()


async def observe(bootstrap_servers: str, topics: Topics, webs: Mapping[str, AsyncConnection]) -> SeenJobs:
    """Read the topics of jobs to their ends, and ask every web process for each job."""
    seen, contents = SeenJobs(), dict[str, bytes]()
    async for record in all_records(bootstrap_servers, topics.of(EVENTS)):
        event = json.loads(record.value) if (record.key or b"").startswith(b"job-") else {}
        if not event.get("type", "").startswith("job."):
            continue
        id = event["event_id"]
        if id not in contents:
            contents[id] = record.value
            seen.events[record.key.decode()].append(event["type"])
        elif contents[id] != record.value:
            seen.faults.append(f"two contents for event {id}: {contents[id]!r} and {record.value!r}")
    standing: dict[int, int] = {}
    async for record in all_records(bootstrap_servers, topics.of(FLOW.state)):
        if counts(record, standing) and record.value is not None:
            seen.states[record.key.decode()] = json.loads(record.value)
    for web, connection in webs.items():
        answers = seen.answers.setdefault(web, {})
        for id in seen.states:
            said = await connection.exchange(request_bytes("GET", f"{PATH}/{id}", email="any@example.com"))
            answers[id] = said.json()["job"] if said.status == 200 else None
    return seen


def made_by(seen: SeenJobs) -> dict[str, str]:
    """The droplets that jobs may have made, with the job of each; their ids follow from the jobs'."""
    found = dict[str, str]()
    for id, state in seen.states.items():
        if state["job"]["type"] == "provision":
            found[f"droplet-{entity_id_of(id, 'droplet')}"] = id
        scale = deterministic_id(id, "scale")
        for number in range(2):
            found[f"droplet-{entity_id_of(f'{scale} {number}', 'droplet')}"] = id
    return found


def check_jobs(history: JobHistory, seen: SeenJobs, droplets: SeenDroplets) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(Finding("wrong", text) for text in (*history.wrong, *seen.faults)),
        *(Finding("unanswered", f"the job {key}") for key in history.opened),
        *(Finding("lost", f"no job {id}") for id in history.jobs if id not in seen.states),
        *(finding for id, state in seen.states.items() for finding in _one(id, state["job"], seen)),
        *_droplets(history, seen, droplets),
        *_failures(seen, droplets),
        *_idle(history, seen),
    ]


def _failures(seen: SeenJobs, droplets: SeenDroplets) -> Iterator[Finding]:
    """A job may fail where nothing is left to delete, or where another one has deleted what it has made."""
    for id, state in seen.states.items():
        if state["job"]["status"] != "failed" or (error := state["job"].get("error")) == NONE_LEFT:
            continue
        made = droplets.events.get(f"droplet-{entity_id_of(id, 'droplet')}", ())
        if error != GONE or "droplet.deleted" not in made:
            yield Finding("wrong", f"{id} has failed: {error}; its droplet has {made}")


def _idle(history: JobHistory, seen: SeenJobs) -> Iterator[Finding]:
    """A run in which no droplet was provisioned shows nothing of jobs."""
    done = {state["job"]["type"] for state in seen.states.values() if state["job"]["status"] == "completed"}
    if history.jobs and "provision" not in done:
        yield Finding("wrong", f"of {len(seen.states)} jobs none has provisioned a droplet")


def _one(id: str, job: Mapping[str, Any], seen: SeenJobs) -> Iterator[Finding]:
    status, events = job["status"], seen.events[id]
    ends = [type for type in events if type in ENDS.values()]
    if status not in ENDS:
        yield Finding("unanswered", f"{id} is {status}: {job.get('error')}")
    elif not ends:
        yield Finding("lost", f"{id} is {status}, and nobody was told")
    elif ends != [ENDS[status]] or events[-1] != ENDS[status]:
        yield Finding("doubled", f"{id} is {status}, and was told to be {events}")
    for web, answers in seen.answers.items():
        if answers.get(id) != job:
            yield Finding("wrong", f"{web} shows {answers.get(id)} instead of {job}")


def _droplets(history: JobHistory, seen: SeenJobs, droplets: SeenDroplets) -> Iterator[Finding]:
    makers = made_by(seen)
    for id, state in droplets.droplets.items():
        if state["droplet"].get("cluster_id") in history.clusters and id not in makers:
            yield Finding("wrong", f"no job has made {id}: {state['droplet']}")
    for id, state in seen.states.items():
        job = state["job"]
        if job["status"] != "completed" or job["type"] == "diagnose":
            continue
        done = json.loads(job["result"])
        for droplet in done.get("droplets", [done.get("droplet_id")]):
            events = droplets.events[droplet]
            if events.count("droplet.created") != 1:
                yield Finding("lost", f"{id} says it has made or deleted {droplet}, which has {events}")
            elif done.get("action") == "scale_down" and events[-1] != "droplet.deleted":
                yield Finding("lost", f"{id} says it has deleted {droplet}, which has {events}")


def clients(
    clusters: Sequence[HttpClient], history: JobHistory, draws: random.Random, **rate: float
) -> list[JobClient]:
    """A client of jobs for each client of clusters."""
    return [JobClient(each, history, random.Random(draws.random()), **rate) for each in clusters]
