"""A client that speaks Kafka alone: it publishes commands, and their results are matched at the end."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.topics import Topics
from tests.chaos.clients import CONFLICT, NAME_EXISTS, SHARED_OWNER
from tests.chaos.history import OK, Attempt, History, Kind, marked_spec

OWNER: Final = "native@example.com"

Message = tuple[str, str, dict[str, Any]]
"""Topic, key, value."""


class Undelivered(RuntimeError):
    """Commands that a run counts on were never published."""


@dataclass(slots=True)
class NativeClient:
    """Publishes commands to Kafka at a steady rate, as trusted gateways do.

    Args:
        own: Clusters of `OWNER`, which were there before it begins: so whatever order its records come in, a
            command never comes before its cluster.
    """

    bootstrap_servers: str
    history: History
    random: random.Random
    shared: Sequence[str]
    own: list[str]
    per_second: float
    topics: Topics = field(default_factory=Topics)
    name: str = "native"
    _names: list[str] = field(default_factory=list)
    _marks: Iterator[int] = field(default_factory=itertools.count)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop; every command is in its topic when this returns.

        Raises: Undelivered: Kafka's client has given up on some, which would look like lost commands.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            request_timeout_ms=120_000,  # of a delivery, and so longer than any outage
        )
        async with producer:
            pending: set[asyncio.Future[Any]] = set()
            failed: list[BaseException] = []

            def ended(sent: asyncio.Future[Any]) -> None:
                pending.discard(sent)
                if not sent.cancelled() and (error := sent.exception()) is not None:
                    failed.append(error)

            while not stop.is_set():
                topic, key, message = self._command()
                sent = await producer.send(topic, json.dumps(message).encode(), key=key.encode())
                pending.add(sent)
                sent.add_done_callback(ended)
                await asyncio.sleep(self.random.expovariate(self.per_second))
            await asyncio.gather(*pending, return_exceptions=True)  # `ended` has seen what failed
        if failed:
            raise Undelivered(f"{len(failed)} commands of {self.name} are not in their topics: {failed[0]!r}")

    def _command(self) -> Message:
        chance = self.random.random()
        if chance < 0.15:
            name = f"of-kafka-{next(self._marks)}"
            self._names.append(name)
            return self._create(name, (OK,))
        if chance < 0.20 and self._names:
            return self._create(self.random.choice(self._names), (NAME_EXISTS,))
        if chance < 0.45 or len(self.own) < 2:
            return self._to_cluster("update", self.random.choice(self.shared), SHARED_OWNER)
        if chance < 0.80:
            return self._to_cluster("update", self.random.choice(self.own), OWNER)
        if chance < 0.86:
            return self._to_cluster(
                "update", self.random.choice(self.own), OWNER, (CONFLICT,), expected_generation=10**9
            )
        if chance < 0.98:
            return self._to_cluster("reconcile", self.random.choice(self.own), OWNER)
        cluster_id = self.own.pop(self.random.randrange(len(self.own)))
        return self._to_cluster("delete", cluster_id, OWNER, force=True)

    def _create(self, name: str, expected: tuple[str, ...]) -> Message:
        attempt = self._noted("create", self._uuid(), expected)
        message = self._message(attempt, OWNER, name=name, spec=marked_spec(attempt.mark))
        return self.topics.create_requests, f"{OWNER}/{name}", message

    def _to_cluster(
        self, kind: Kind, cluster_id: str, email: str, expected: tuple[str, ...] = (OK,), **members: Any
    ) -> Message:
        attempt = self._noted(kind, cluster_id, expected)
        if kind == "update":
            members["spec"] = marked_spec(attempt.mark)
        return self.topics.commands, cluster_id, self._message(attempt, email, **members)

    def _noted(self, kind: Kind, cluster_id: str, expected: tuple[str, ...]) -> Attempt:
        attempt = self._attempt(kind, cluster_id, expected)
        self.history.attempts.append(attempt)
        return attempt

    def _attempt(self, kind: Kind, cluster_id: str, expected: tuple[str, ...]) -> Attempt:
        return Attempt(
            mark=f"{self.name}-mark-{next(self._marks)}",
            kind=kind,
            client=self.name,
            cluster_id=cluster_id,
            started=time.monotonic(),
            command_id=self._uuid(),
            expected=expected,
        )

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


@dataclass(slots=True)
class WaveringClient(NativeClient):
    """Publishes within transactions and aborts half of them.

    What it takes back is nobody's attempt: should it take effect, its marks are found to be unknown. What it
    commits is noted once Kafka has confirmed that; a commit whose end is not known asked for nothing that
    would leave a trace.
    """

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop; no transaction is open when this returns."""
        transactional_id = f"wavering-{self._uuid()}"
        while not stop.is_set():
            try:
                async with AIOKafkaProducer(
                    bootstrap_servers=self.bootstrap_servers,
                    transactional_id=transactional_id,  # a new producer ends what the one before left open
                    transaction_timeout_ms=5000,
                    request_timeout_ms=5000,
                ) as producer:
                    while not stop.is_set():
                        await self._transact(producer, commit=self.random.random() < 0.5)
                        await asyncio.sleep(self.random.expovariate(self.per_second))
            except (KafkaError, TimeoutError):
                await asyncio.sleep(0.5)

    async def _transact(self, producer: AIOKafkaProducer, *, commit: bool) -> None:
        if not commit:
            with suppress(_TakenBack):
                async with producer.transaction():
                    for topic, key, message in self._taken_back():
                        await producer.send_and_wait(topic, json.dumps(message).encode(), key=key.encode())
                    raise _TakenBack
            return
        kept = [self._attempt("reconcile", self.random.choice(self.own), (OK,)) for _ in range(2)]
        async with producer.transaction():
            for attempt in kept:
                message = self._message(attempt, OWNER)
                await producer.send_and_wait(
                    self.topics.commands, json.dumps(message).encode(), key=attempt.cluster_id.encode()
                )
        self.history.attempts += kept

    def _taken_back(self) -> Iterator[Message]:
        for kind in ("update", "delete"):
            attempt = self._attempt(kind, self.random.choice(self.own), (OK,))
            members = (
                {"spec": marked_spec(f"taken-back-{attempt.mark}")} if kind == "update" else {"force": True}
            )
            yield self.topics.commands, attempt.cluster_id, self._message(attempt, OWNER, **members)
        create = self._attempt("create", self._uuid(), (OK,))
        name = f"taken-back-{create.cluster_id[:8]}"
        spec = marked_spec(f"taken-back-{create.mark}")
        yield (
            self.topics.create_requests,
            f"{OWNER}/{name}",
            self._message(create, OWNER, name=name, spec=spec),
        )


class _TakenBack(Exception):
    """Ends a transaction that is to be aborted."""
