"""Clients that write policies and configure limits, and whether what became of them agrees.

- A policy whose create was answered is there, as its last write that was answered made it, unless its delete
  was answered, or that of its cluster. One of unknown outcome is there once at most.
- The autoscaler of a cluster has copies of exactly the policies that name it.
- A limit is as it was configured last.
- Every web process shows the same.
"""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.wire import AsyncConnection, request_bytes
from domain.policy import Policy
from domain.rates import key_of
from streams.autoscaler import autoscaler_flow
from streams.limit import FLOW as LIMITS
from streams.scaling import FLOW as POLICIES
from streams.topics import Topics
from tests.chaos.check import Finding
from tests.chaos.clients import HttpClient, Owned
from tests.chaos.observe import all_records, counts
from tests.chaos.tries import OPEN, Writer

AUTOSCALERS: Final = autoscaler_flow(Policy())
PATH: Final = "/api/v1/autoscaling/policies"
CONFIG: Final = "/api/v1/observability/ratelimit/config"

STILL: Final = {"type": "metrics", "metric_type": "cpu", "metric_trigger": 1.0, "min_replicas": 0}
"""What every policy says beside its maximum: nothing is measured here, so none ever acts."""

State = Mapping[str, Any]


@dataclass(slots=True)
class Made:
    """One policy as its client knows it.

    Attributes:
        maxima: The numbers that it may have as its maximum: that of the last write that was answered, and of
            those since then whose outcome is not known.
        deleted: Whether its delete, or that of its cluster, was answered; None while that is open.
    """

    id: str
    cluster_id: str
    maxima: set[int]
    deleted: bool | None = False


@dataclass(slots=True)
class PolicyHistory:
    """What clients of policies did and were told.

    Attributes:
        opened: The names of policies whose create stayed open.
        limits: By scope, the capacities that its limit may have.
    """

    policies: list[Made] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    limits: dict[str, set[int]] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PolicyClient(Writer):
    """Writes policies of its clusters, which it deletes at times, and configures a limit of its own."""

    history: PolicyHistory
    own: list[Made] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def operate(self) -> None:
        if len(self.clusters.own) < 3:
            await self.clusters.create()
            return
        some = 4 if self.own else 0
        choices = (self._create, self._change, self._delete, self._configure, self._delete_cluster)
        (choice,) = self.random.choices(choices, weights=(6, some, some / 2, 2, 1))
        await choice()

    async def _create(self) -> None:
        number, cluster = next(self._numbers), self.random.choice(self.clusters.own)
        name, most = f"{self.clusters.name}-{number}", number % 1000 + 1
        body = {"name": name, "cluster_id": cluster.id, "max_replicas": most, **STILL}
        async for said in self.tries("POST", PATH, body, {"Idempotency-Key": name}):
            if said.status == 201:
                self.own.append(made := Made(said.json()["id"], cluster.id, {most}))
                self.history.policies.append(made)
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the create {name}: {said.body!r}")
                return
        self.history.opened.append(name)
        self.history.unanswered.append(f"{self.clusters.name}: create {name}")

    async def _change(self) -> None:
        policy, most = self.random.choice(self.own), next(self._numbers) % 1000 + 1
        async for said in self.tries("PUT", f"{PATH}/{policy.id}", {"max_replicas": most}):
            if said.status == 200:
                policy.maxima = {most}
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for a change of {policy.id}: {said.body!r}")
                return
            policy.maxima.add(most)
        self.history.unanswered.append(f"{self.clusters.name}: change of {policy.id}")

    async def _delete(self) -> None:
        policy, tried = self.random.choice(self.own), False
        self.own.remove(policy)
        async for said in self.tries("DELETE", f"{PATH}/{policy.id}"):
            if said.status == 200 or (said.status == 404 and tried):
                policy.deleted = True
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for the delete of {policy.id}")
                return
            policy.deleted, tried = None, True
        self.history.unanswered.append(f"{self.clusters.name}: delete of {policy.id}")

    async def _configure(self) -> None:
        scope, capacity = f"user:{self.clusters.name}", next(self._numbers)
        known = self.history.limits.setdefault(scope, set())
        body = {"name": "jobs_create", "scope_type": scope, "capacity": capacity}
        async for said in self.tries("POST", CONFIG, body):
            if said.status == 200:
                self.history.limits[scope] = {capacity}
                return
            if said.status not in OPEN:
                self.history.wrong.append(f"{said.status} for a limit of {scope}: {said.body!r}")
                return
            known.add(capacity)
        self.history.unanswered.append(f"{self.clusters.name}: limit of {scope}")

    async def _delete_cluster(self) -> None:
        cluster: Owned = self.random.choice(self.clusters.own[1:])
        answered = await self.clusters.delete(cluster)
        for policy in [each for each in self.own if each.cluster_id == cluster.id]:
            self.own.remove(policy)
            policy.deleted = True if answered else None


def clients(
    clusters: Sequence[HttpClient], history: PolicyHistory, draws: random.Random, **rate: float
) -> list[PolicyClient]:
    """A client of policies for each client of clusters."""
    return [
        PolicyClient(clusters=each, random=random.Random(draws.random()), history=history, **rate)
        for each in clusters
    ]


# --- what there is to see ---------------------------------------------------------------------------


@dataclass(slots=True)
class SeenPolicies:
    """What topics and web processes say once a run is over: the last states that count, by id.

    Attributes:
        answers: By web process and policy, what GET shows; None where it is not found.
    """

    policies: dict[str, State] = field(default_factory=dict)
    autoscalers: dict[str, State] = field(default_factory=dict)
    limits: dict[str, State] = field(default_factory=dict)
    answers: dict[str, dict[str, State | None]] = field(default_factory=dict)


async def observe(
    bootstrap_servers: str, topics: Topics, webs: Mapping[str, AsyncConnection]
) -> SeenPolicies:
    """Read the changelogs to their ends, and ask every web process for each policy."""
    seen = SeenPolicies()
    kinds = ((POLICIES, seen.policies), (AUTOSCALERS, seen.autoscalers), (LIMITS, seen.limits))
    for flow, states in kinds:
        standing: dict[int, int] = {}
        async for record in all_records(bootstrap_servers, topics.of(flow.state)):
            if counts(record, standing) and record.value is not None:
                states[record.key.decode()] = json.loads(record.value)
    for web, connection in webs.items():
        answers = seen.answers.setdefault(web, {})
        for id in seen.policies:
            said = await connection.exchange(request_bytes("GET", f"{PATH}/{id}", email="any@example.com"))
            answers[id] = said.json() if said.status == 200 else None
    return seen


def check_policies(history: PolicyHistory, seen: SeenPolicies) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(Finding("wrong", text) for text in history.wrong),
        *(Finding("unanswered", text) for text in history.unanswered),
        *_writes(history, seen),
        *_copies(seen),
        *_limits(history, seen),
        *_answers(seen),
    ]


def _live(seen: SeenPolicies) -> dict[str, State]:
    return {id: state["policy"] for id, state in seen.policies.items() if state["deleted_at"] is None}


def _writes(history: PolicyHistory, seen: SeenPolicies) -> Iterator[Finding]:
    live = _live(seen)
    for made in history.policies:
        if made.deleted is True and made.id in live:
            yield Finding("lost", f"the delete of {made.id} or of its cluster {made.cluster_id}")
        if made.deleted is False and made.id not in live:
            yield Finding("lost", f"{made.id} of {made.cluster_id} was answered, and is not there")
        if made.id in live and live[made.id]["max_replicas"] not in made.maxima:
            yield Finding("lost", f"a write of {made.id}: {live[made.id]}, and not {made.maxima}")
    known = {made.id for made in history.policies}
    for id, policy in live.items():
        if id not in known and policy["name"] not in history.opened:
            yield Finding("wrong", f"{id} was created by nobody")
    names = [policy["name"] for policy in live.values()]
    for name in {name for name in names if names.count(name) > 1}:
        yield Finding("doubled", f"{name} was created more than once")


def _copies(seen: SeenPolicies) -> Iterator[Finding]:
    named: dict[str, dict[str, State]] = defaultdict(dict)
    for id, policy in _live(seen).items():
        named[policy["cluster_id"]][id] = policy
    copied = {
        id: {policy["id"]: policy for policy in state["autoscaler"]["policies"]}
        for id, state in seen.autoscalers.items()
        if state["deleted_at"] is None
    }
    for id in named.keys() | copied.keys():
        if named.get(id) != copied.get(id):
            yield Finding("wrong", f"cluster {id} has {named.get(id)}, its autoscaler {copied.get(id)}")


def _limits(history: PolicyHistory, seen: SeenPolicies) -> Iterator[Finding]:
    for scope, capacities in history.limits.items():
        state = seen.limits.get(key_of("jobs_create", scope))
        found = None if state is None else state["limit"]["capacity"]
        if found not in capacities:
            yield Finding("lost", f"the limit of {scope} is {found}, and not of {sorted(capacities)}")


def _answers(seen: SeenPolicies) -> Iterator[Finding]:
    live = _live(seen)
    for web, answers in seen.answers.items():
        for id, shown in answers.items():
            if shown != live.get(id):
                yield Finding("wrong", f"{web} shows {shown} of {id} instead of {live.get(id)}")
