"""Clients that write at random, over HTTP and over Kafka, and note what they were told.

An HTTP client is like a careful user's: one request at a time, and after an answer that leaves the outcome
open (503, 504, no answer) it tries again until it knows. A native client only publishes; the results are
matched once everything is quiet.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaProducer

from bench.history import NO_ANSWER, OK, Attempt, History, Kind, marked_spec
from bench.wire import AsyncConnection, request_bytes
from streams.topics import Topics

SHARED_OWNER: Final = "everyone@example.com"
CONTROLLER: Final = "bench@system.local"
RETRY_AFTER: Final = 0.25  # seconds
GIVE_UP_AFTER: Final = 60.0  # seconds; beyond any fail-over


@dataclass(slots=True)
class Request:
    """What one operation asks for; `body` is built per attempt, since each carries its own mark.

    Attributes:
        expected: The verdicts that are right at the first attempt.
        repeated: One that is right too after an attempt of unknown outcome, because that one took effect.
    """

    kind: Kind
    method: str
    path: str
    email: str
    body: Callable[[str], Any]
    cluster_id: str | None = None
    expected: tuple[str, ...] = (OK,)
    repeated: tuple[str, ...] = ()


@dataclass(slots=True)
class HttpClient:
    """One client and the clusters it owns.

    Args:
        shared: Clusters that every client writes to.
    """

    name: str
    connection: AsyncConnection
    history: History
    random: random.Random
    shared: list[str]
    own: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    _marks: Iterator[int] = field(default_factory=itertools.count)

    @property
    def email(self) -> str:
        """Of the owner of its clusters."""
        return f"{self.name}@example.com"

    async def run(self, until: float) -> None:
        """Write until that moment on the clock `time.monotonic`."""
        while time.monotonic() < until:
            await self.write()
        self.connection.close()

    async def write(self) -> None:
        """One operation, chosen at random, tried until its outcome is known."""
        if not self.own:
            await self.create()
            return
        (choice,) = self.random.choices(
            (self._update, self._update_shared, self._report, self.create, self._delete,
             self._update_outdated, self._create_taken),
            weights=(45, 15, 20, 10, 4, 3, 3),
        )  # fmt: skip
        await choice()

    async def create(self) -> None:
        """Create a cluster under a new name, and own it."""
        name = f"{self.name}-{next(self._marks)}"
        answer = await self._until_known(self._creation(name))
        if answer is not None and answer.outcome == "applied" and answer.cluster_id is not None:
            self.own.append(answer.cluster_id)
            self.names[answer.cluster_id] = name

    async def _create_taken(self) -> None:
        await self._until_known(
            replace(self._creation(self.names[self._any()]), expected=("CLUSTER_NAME_EXISTS",))
        )

    def _creation(self, name: str) -> Request:
        def body(mark: str) -> Any:
            return {"name": name, "spec": marked_spec(mark)}

        path, repeated = "/api/v1/clusters", ("CLUSTER_NAME_EXISTS",)
        return Request("create", "POST", path, self.email, body, repeated=repeated)

    async def _update(self) -> None:
        await self._until_known(self._change(self._any(), self.email))

    async def _update_shared(self) -> None:
        await self._until_known(self._change(self.random.choice(self.shared), SHARED_OWNER))

    async def _update_outdated(self) -> None:
        request = self._change(self._any(), self.email, resource_version="outdated")
        await self._until_known(replace(request, expected=("GENERATION_CONFLICT",)))

    def _change(self, cluster_id: str, email: str, **more: str) -> Request:
        def body(mark: str) -> Any:
            return {"spec": marked_spec(mark), **more}

        return Request("update", "PUT", f"/api/v1/clusters/{cluster_id}", email, body, cluster_id)

    async def _report(self) -> None:
        cluster_id = self._any()

        def body(mark: str) -> Any:
            condition = {"type": "Available", "status": self.random.choice(("True", "False"))}
            return {
                "controller_name": self.name,
                "observed_generation": 1,
                "conditions": [condition],
                "metadata": {"mark": mark},
            }

        path = f"/api/v1/clusters/{cluster_id}/status"
        await self._until_known(Request("report", "PUT", path, CONTROLLER, body, cluster_id))

    async def _delete(self) -> None:
        cluster_id = self._any()
        path = f"/api/v1/clusters/{cluster_id}?force=true"
        await self._until_known(
            Request(
                "delete", "DELETE", path, self.email, lambda mark: None, cluster_id,
                repeated=("RESOURCE_NOT_FOUND",),
            )
        )  # fmt: skip
        self.own.remove(cluster_id)

    def _any(self) -> str:
        return self.random.choice(self.own)

    async def _until_known(self, request: Request) -> Attempt | None:
        started = time.monotonic()
        expected = request.expected
        while time.monotonic() - started < GIVE_UP_AFTER:
            attempt = await self._attempt(request, expected)
            if attempt.outcome != "unknown" or attempt.status == 202:
                self.history.stalls.append(time.monotonic() - started)
                return attempt
            expected = request.expected + request.repeated
            await asyncio.sleep(RETRY_AFTER)
        self.history.unanswered.append(f"{self.name} {request.kind} {request.cluster_id}")
        return None

    async def _attempt(self, request: Request, expected: tuple[str, ...]) -> Attempt:
        attempt = Attempt(
            mark=f"{self.name}-{next(self._marks)}",
            kind=request.kind,
            client=self.name,
            cluster_id=request.cluster_id,
            started=time.monotonic(),
            expected=expected,
        )
        self.history.attempts.append(attempt)
        wire = request_bytes(
            request.method, request.path, email=request.email, body=request.body(attempt.mark)
        )
        try:
            answer = await self.connection.exchange(wire)
        except (OSError, EOFError, TimeoutError):
            attempt.answered(NO_ANSWER, {}, at=time.monotonic())
        else:
            attempt.answered(answer.status, answer.json(), at=time.monotonic())
        return attempt


async def create_shared(connection: AsyncConnection, history: History, *, count: int) -> list[str]:
    """The clusters that all clients write to. Raises: RuntimeError: one was not created."""
    client = HttpClient("everyone", connection, history, random.Random(0), shared=[])
    for _ in range(count):
        await client.create()
    if len(client.own) != count:
        raise RuntimeError(f"only {len(client.own)} of {count} clusters were created")
    return client.own


@dataclass(slots=True)
class NativeClient:
    """Publishes commands to Kafka at a steady rate, as trusted gateways do."""

    bootstrap_servers: str
    topics: Topics
    history: History
    random: random.Random
    shared: list[str]
    per_second: float = 50.0
    own: list[tuple[str, str]] = field(default_factory=list)
    _marks: Iterator[int] = field(default_factory=itertools.count)

    OWNER = "native@example.com"

    async def run(self, until: float) -> None:
        """Publish until that moment; every command is in its topic when this returns."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers, enable_idempotence=True, acks="all", linger_ms=0
        )
        async with producer:
            pending: set[asyncio.Future[Any]] = set()
            while time.monotonic() < until:
                topic, key, message = self._command()
                sent = await producer.send(topic, json.dumps(message).encode(), key=key.encode())
                pending.add(sent)
                sent.add_done_callback(pending.discard)
                await asyncio.sleep(self.random.expovariate(self.per_second))
            await asyncio.gather(*pending)

    def _command(self) -> tuple[str, str, dict[str, Any]]:
        chance = self.random.random()
        if not self.own or chance < 0.2:
            name = f"native-{next(self._marks)}"
            return self._create(name, self._uuid(), (OK,))
        cluster_id, name = self.random.choice(self.own)
        if chance < 0.25:
            return self._create(name, self._uuid(), ("CLUSTER_NAME_EXISTS",))
        if chance < 0.65:
            return self._to_cluster("update", cluster_id, self.OWNER)
        if chance < 0.80:
            return self._to_cluster("update", self.random.choice(self.shared), SHARED_OWNER)
        if chance < 0.85:
            return self._to_cluster("update", cluster_id, self.OWNER, expected_generation=10**9)
        if chance < 0.97:
            return self._to_cluster("reconcile", cluster_id, self.OWNER)
        self.own.remove((cluster_id, name))
        return self._to_cluster("delete", cluster_id, self.OWNER, force=True)

    def _create(
        self, name: str, cluster_id: str, expected: tuple[str, ...]
    ) -> tuple[str, str, dict[str, Any]]:
        attempt = self._noted("create", cluster_id, expected)
        if OK in expected:
            self.own.append((cluster_id, name))
        message = self._message(attempt, self.OWNER, name=name, spec=marked_spec(attempt.mark))
        return self.topics.create_requests, f"{self.OWNER}/{name}", message

    def _to_cluster(
        self, kind: Kind, cluster_id: str, email: str, **members: Any
    ) -> tuple[str, str, dict[str, Any]]:
        expected: tuple[str, ...] = ("GENERATION_CONFLICT" if "expected_generation" in members else OK,)
        if email == self.OWNER:
            # Nobody waits here for the create, which has the longer way, over the name agent.
            expected += ("RESOURCE_NOT_FOUND",)
        attempt = self._noted(kind, cluster_id, expected)
        if kind == "update":
            members["spec"] = marked_spec(attempt.mark)
        return self.topics.commands, cluster_id, self._message(attempt, email, **members)

    def _noted(self, kind: Kind, cluster_id: str, expected: tuple[str, ...]) -> Attempt:
        attempt = Attempt(
            mark=f"native-mark-{next(self._marks)}",
            kind=kind,
            client="native",
            cluster_id=cluster_id,
            started=time.monotonic(),
            command_id=self._uuid(),
            expected=expected,
        )
        self.history.attempts.append(attempt)
        return attempt

    def _message(self, attempt: Attempt, email: str, **members: Any) -> dict[str, Any]:
        return {
            "command_id": attempt.command_id,
            "type": f"cluster.{attempt.kind}",
            "cluster_id": attempt.cluster_id,
            "user_email": email,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **members,
        }

    def _uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))
