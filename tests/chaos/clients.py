"""Clients over HTTP that write and read at random, and note what they were told.

Each is like a careful user's: one request at a time, and after an answer that leaves the outcome open (503,
no answer) it tries again, at the next web process, until it knows. A share of the writes carries an
`Idempotency-Key`; a retry of such a one is the same write, and must be done once.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bench.wire import AsyncConnection, request_bytes
from tests.chaos.history import (
    NO_ANSWER,
    OK,
    Attempt,
    History,
    Kind,
    Operation,
    Read,
    mark_of,
    marked_spec,
)

SHARED_OWNER: Final = "everyone@example.com"
CONTROLLER: Final = "bench@system.local"
RETRY_AFTER: Final = 0.25  # seconds
GIVE_UP_AFTER: Final = 90.0  # seconds; beyond any fail-over, also of several faults in a row
KEYED: Final = 0.3  # the share of writes with an Idempotency-Key

NOT_FOUND: Final = "RESOURCE_NOT_FOUND"
CONFLICT: Final = "GENERATION_CONFLICT"
NAME_EXISTS: Final = "CLUSTER_NAME_EXISTS"


@dataclass(slots=True, kw_only=True)
class Request:
    """What one operation asks for; `body` is built per attempt, since each carries its own mark.

    Attributes:
        expected: The verdicts that are right at the first attempt.
        repeated: One that is right too after an attempt of unknown outcome, because that one took effect.
        key: Whether it may carry an `Idempotency-Key`.
    """

    kind: Kind
    method: str
    path: str
    email: str
    body: Callable[[str], Any]
    cluster_id: str | None = None
    expected: tuple[str, ...] = (OK,)
    repeated: tuple[str, ...] = ()
    expected_version: str | None = None
    key: bool = True


@dataclass(slots=True)
class Owned:
    """A cluster of a client's own: its name, and the web process that it was created through."""

    id: str
    name: str
    web: int


@dataclass(slots=True)
class HttpClient:
    """One client and the clusters it owns.

    Args:
        webs: A connection to each web process; `web` is the number of the one it uses now.
        shared: Clusters that every client writes to.
        per_second: Operations it makes at most; 0 is as many as it can.
    """

    name: str
    webs: Sequence[AsyncConnection]
    history: History
    random: random.Random
    shared: Sequence[str]
    per_second: float = 0.0
    web: int = 0
    own: list[Owned] = field(default_factory=list)
    _marks: Iterator[int] = field(default_factory=itertools.count)

    @property
    def email(self) -> str:
        """Of the owner of its clusters."""
        return f"{self.name}@example.com"

    async def run(self, stop: asyncio.Event) -> None:
        """Write and read until told to stop; the operation under way is brought to its end."""
        while not stop.is_set():
            await self.operate()
            if self.per_second:
                await asyncio.sleep(self.random.expovariate(self.per_second))
        for connection in self.webs:
            connection.close()

    async def operate(self) -> None:
        """One operation, chosen at random, tried until its outcome is known."""
        if len(self.own) < 2:
            await self.create()
            return
        (choice,) = self.random.choices(
            (self._update, self._update_shared, self._update_as_read, self._update_outdated, self._report,
             self._read, self.create, self._create_taken, self._delete),
            weights=(28, 12, 12, 3, 14, 14, 9, 3, 5),
        )  # fmt: skip
        await choice()

    # --- operations -------------------------------------------------------------------------------

    async def create(self) -> None:
        """Create a cluster under a new name, and own it."""
        name = f"{self.name}-{next(self._marks)}"
        answer = await self._until_known(self._creation(name))
        if (
            answer is not None
            and answer.outcome == "applied"
            and answer.cluster_id
            and answer.web is not None
        ):
            self.own.append(Owned(answer.cluster_id, name, answer.web))

    async def _create_taken(self) -> None:
        """Under the name of its first cluster, which it keeps.

        Were the name given up soon after, a repeat of this record could find it free: refusals of creates are
        remembered by nobody, since there is no cluster to remember them.
        """
        request = self._creation(self.own[0].name)
        await self._until_known(replace(request, expected=(NAME_EXISTS,), repeated=()))

    def _creation(self, name: str) -> Request:
        def body(mark: str) -> Any:
            return {"name": name, "spec": marked_spec(mark)}

        path = "/api/v1/clusters"
        return Request(
            kind="create", method="POST", path=path, email=self.email, body=body, repeated=(NAME_EXISTS,)
        )

    async def _update(self) -> None:
        cluster = self._any()
        await self._until_known(self._change(cluster.id, self.email))

    async def _update_shared(self) -> None:
        """Without a key: others may write more to it meanwhile than a cluster's memory of commands holds."""
        request = self._change(self.random.choice(self.shared), SHARED_OWNER)
        await self._until_known(replace(request, key=False))

    async def _update_as_read(self) -> None:
        """Read a cluster, often one that others write to as well, and change it if it is still so."""
        contended = self.random.random() < 0.5
        cluster_id = self.random.choice(self.shared) if contended else self._any().id
        email = SHARED_OWNER if contended else self.email
        read = await self._read_one(cluster_id, email)
        if read is None or read.status != 200:
            return
        request = self._change(cluster_id, email, resource_version=read.resource_version)
        request = replace(request, expected_version=read.resource_version, expected=(OK, CONFLICT))
        await self._until_known(replace(request, key=not contended))

    async def _update_outdated(self) -> None:
        request = self._change(self._any().id, self.email, resource_version="outdated")
        await self._until_known(replace(request, expected=(CONFLICT,)))

    def _change(self, cluster_id: str, email: str, **more: str) -> Request:
        def body(mark: str) -> Any:
            return {"spec": marked_spec(mark), **more}

        path = f"/api/v1/clusters/{cluster_id}"
        return Request(kind="update", method="PUT", path=path, email=email, body=body, cluster_id=cluster_id)

    async def _report(self) -> None:
        cluster_id = self._any().id

        def body(mark: str) -> Any:
            condition = {"type": "Available", "status": self.random.choice(("True", "False"))}
            return {
                "controller_name": self.name,
                "observed_generation": 1,
                "conditions": [condition],
                "metadata": {"mark": mark},
            }

        path = f"/api/v1/clusters/{cluster_id}/status"
        await self._until_known(
            Request(
                kind="report", method="PUT", path=path, email=CONTROLLER, body=body, cluster_id=cluster_id,
                key=False,
            )
        )  # fmt: skip

    async def _delete(self) -> None:
        await self.delete(self.random.choice(self.own[1:]))

    async def delete(self, cluster: Owned) -> bool:
        """Delete a cluster of its own; returns whether that was answered."""
        path = f"/api/v1/clusters/{cluster.id}?force=true"
        attempt = await self._until_known(
            Request(
                kind="delete", method="DELETE", path=path, email=self.email, body=lambda mark: None,
                cluster_id=cluster.id, repeated=(NOT_FOUND,),
            )
        )  # fmt: skip
        self.own.remove(cluster)
        return attempt is not None

    async def _read(self) -> None:
        if self.random.random() < 0.5:
            await self._read_one(self._any().id, self.email)
        else:
            await self._read_one(self.random.choice(self.shared), SHARED_OWNER)

    def _any(self) -> Owned:
        return self.random.choice(self.own)

    # --- exchanges --------------------------------------------------------------------------------

    async def _read_one(self, cluster_id: str, email: str) -> Read | None:
        started, web = time.monotonic(), self.web
        wire = request_bytes("GET", f"/api/v1/clusters/{cluster_id}", email=email)
        try:
            answer = await self.webs[web].exchange(wire)
        except (OSError, EOFError, TimeoutError):
            return self._missed(started)
        if answer.status not in (200, 404):
            return self._missed(started)
        shown = answer.json() if answer.status == 200 else {}
        read = Read(
            client=self.name,
            web=web,
            cluster_id=cluster_id,
            started=started,
            ended=time.monotonic(),
            status=answer.status,
            generation=shown.get("generation", 0),
            resource_version=shown.get("resource_version", ""),
            mark=mark_of(shown.get("spec", {})),
        )
        self.history.reads.append(read)
        return read

    def _missed(self, started: float) -> None:
        self.history.missed_reads.append(started)
        self._turn_away()

    async def _until_known(self, request: Request) -> Attempt | None:
        started = time.monotonic()
        key = self._mark() if request.key and self.random.random() < KEYED else None
        expected, repeat = request.expected, False
        while time.monotonic() - started < GIVE_UP_AFTER:
            attempt = await self._attempt(request, self._expected(request, expected), key, repeat)
            if attempt.outcome != "unknown" or attempt.status == 202:
                self.history.operations.append(Operation(started, time.monotonic()))
                return attempt
            repeat = key is not None
            expected = request.expected
            if not repeat or request.kind == "delete":  # the edge refuses one before it looks at the key
                expected += request.repeated
            self._turn_away()
            await asyncio.sleep(RETRY_AFTER)
        self.history.operations.append(Operation(started, time.monotonic()))
        self.history.unanswered.append(f"{self.name} {request.kind} {request.cluster_id}")
        return None

    def _expected(self, request: Request, expected: tuple[str, ...]) -> tuple[str, ...]:
        """A web process that the cluster was not created through may not show it yet."""
        elsewhere = request.cluster_id is not None and not any(
            cluster.id == request.cluster_id and cluster.web == self.web for cluster in self.own
        )
        return (*expected, NOT_FOUND) if elsewhere else expected

    def _turn_away(self) -> None:
        self.web = (self.web + 1) % len(self.webs)

    def _mark(self) -> str:
        return f"{self.name}-{next(self._marks)}"

    async def _attempt(
        self, request: Request, expected: tuple[str, ...], key: str | None, repeat: bool
    ) -> Attempt:
        attempt = Attempt(
            mark=key or self._mark(),
            kind=request.kind,
            client=self.name,
            cluster_id=request.cluster_id,
            started=time.monotonic(),
            expected=expected,
            expected_version=request.expected_version,
            web=self.web,
            repeat=repeat,
        )
        self.history.attempts.append(attempt)
        headers = {} if key is None else {"Idempotency-Key": key}
        wire = request_bytes(
            request.method,
            request.path,
            email=request.email,
            body=request.body(attempt.mark),
            headers=headers,
        )
        try:
            answer = await self.webs[self.web].exchange(wire)
        except (OSError, EOFError, TimeoutError):
            attempt.answered(NO_ANSWER, {}, at=time.monotonic())
        else:
            attempt.answered(answer.status, answer.json(), at=time.monotonic())
        return attempt


async def create_clusters(client: HttpClient, count: int) -> list[str]:
    """Have a client create some clusters, before anything is done to the roles.

    One whose outcome stayed open for a while counts as taken then, so it may need more tries than clusters.

    Raises: RuntimeError: it did not come to so many.
    """
    for _ in range(2 * count):
        if len(client.own) == count:
            break
        await client.create()
    if len(client.own) != count:
        raise RuntimeError(f"only {len(client.own)} of {count} clusters were created")
    return [cluster.id for cluster in client.own]
