"""What becomes of one record of `cluster-events`: passed over, worked on, tried again, or parked.

Once `Handler.handle` returns, the record is finished with and its offset may be committed; every way out of
it is one of the contract's. It knows Kafka only as a function that sends, so tests run it on plain values.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Protocol

import aiohttp

from examples.controllers.api import ClusterflowApi
from examples.controllers.contract import (
    DELETED,
    EVERY_EVENT,
    Cluster,
    Defect,
    Done,
    Event,
    Failure,
    Filter,
    Generations,
    Outcome,
    Skipped,
    Transient,
    Unparseable,
    decode_event,
    report,
)
from examples.controllers.settings import Settings

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]
Wait = Callable[[float], Awaitable[None]]


class Controller:
    """What a team writes: a name, the wanted events, and how to make reality match a cluster's spec.

    Attributes:
        name: Consumer group and signature of its reports; unique among all controllers, and for good.
        platforms: In lower case; None for all of them.
        events: Event types it wants; `cluster.reconcile` should be among them, it is what heals.
    """

    name: str
    platforms: frozenset[str] | None = None
    events: frozenset[str] = EVERY_EVENT

    def __init__(self, settings: Settings, clusterflow: ClusterflowApi) -> None:
        """Called once, inside the running event loop."""
        self.settings = settings
        self.clusterflow = clusterflow

    async def reconcile(self, cluster: Cluster) -> Outcome:
        """Make reality match the spec, or find that it does. May be called twice for the same spec.

        Raises: Failure: which kind decides whether it is tried again; any other exception counts as
        Transient.
        """
        raise NotImplementedError

    async def tear_down(self, cluster: Cluster) -> None:
        """Undo everything, from this last snapshot: the API doesn't know the cluster any more."""
        raise NotImplementedError


class Send(Protocol):
    """Produces a record and returns once the broker has it. Raises: KafkaError."""

    async def __call__(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Send one record."""


class Record(Protocol):
    """A consumed record, as far as it matters here."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Handler:
    """One controller's way with records."""

    def __init__(self, controller: Controller, settings: Settings, *, send: Send, wait: Wait) -> None:
        """`wait(seconds)` passes the time between attempts; it may raise to give the record back."""
        self._controller = controller
        self._settings = settings
        self._filter = Filter(events=controller.events, platforms=controller.platforms)
        self._generations = Generations()
        self._send = send
        self._wait = wait

    async def handle(self, record: Record) -> None:
        """Finish with a record; cheapest questions first: headers, body, generation, then `reconcile`'s own.

        Raises: KafkaError: a report or a dead letter wasn't acknowledged, so the record has to come again.
        """
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if not self._filter.admits_headers(headers):
            return
        try:
            event = decode_event(record.value)
        except Unparseable as error:
            await self._park(record, "unparseable", str(error))
            return
        if event is not None and self._filter.admits(event) and self._generations.admits(event):
            await self._work_on(record, event)

    async def _work_on(self, record: Record, event: Event) -> None:
        for attempt in count(1):
            result = await self._attempt(event)
            retry = isinstance(result, Transient | Defect)
            wait = self._settings.backoff.wait(attempt) if retry else None
            await self._report(event, result, retry_after=wait)
            if not retry:
                break
            if wait is None:  # not remembered, so whoever puts the dead letter back has it worked on
                await self._park(record, "attempts_exhausted", str(result))
                return
            await self._wait(wait)
        if event.type == DELETED and isinstance(result, Failure):
            await self._park(record, "tear_down_failed", str(result))  # nobody else would ever hear of it
        self._generations.remember(event)

    async def _attempt(self, event: Event) -> Outcome | Failure:
        """One try, bounded in time, whose every failure becomes a value."""
        try:
            async with asyncio.timeout(self._settings.work_limit):
                if event.type == DELETED:
                    await self._controller.tear_down(event.cluster)
                    return Done("torn down")
                return await self._controller.reconcile(event.cluster)
        except Failure as failure:
            return failure
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            return Transient("Unreachable", f"{type(error).__name__}: {error}")
        except Exception as error:
            log.exception("defect in %s, cluster=%s", self._controller.name, event.cluster_id)
            return Defect("Defect", f"{type(error).__name__}: {error}")

    async def _report(self, event: Event, result: Outcome | Failure, *, retry_after: float | None) -> None:
        log.info(
            "%s cluster=%s generation=%d event=%s result=%s",
            *(self._controller.name, event.cluster.name, event.generation, event.type, result),
        )
        if event.type == DELETED or isinstance(result, Skipped):
            return  # of a deleted cluster no status is accepted any more
        value = report(
            self._controller.name, event, result, report_id=str(uuid.uuid4()), retry_after=retry_after
        )
        await self._send(
            self._settings.reports_topic,
            key=event.cluster_id.encode(),  # leads to the partition, and so to the agent, of its cluster
            value=value,
            headers=[("content_type", b"application/json")],
        )

    async def _park(self, record: Record, reason: str, error: str) -> None:
        topic = self._settings.dead_letters_topic(self._controller.name)
        log.warning("parked %s-%d@%d on %s: %s", record.topic, record.partition, record.offset, topic, error)
        origin: Mapping[str, str] = {
            "dlq_reason": reason,
            "dlq_error": error[:1000],
            "dlq_topic": record.topic,
            "dlq_partition": str(record.partition),
            "dlq_offset": str(record.offset),
        }
        headers = [*record.headers, *((name, value.encode()) for name, value in origin.items())]
        await self._send(topic, key=record.key, value=record.value, headers=headers)
