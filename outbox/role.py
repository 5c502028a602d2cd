"""The role `relay`: for each database the active relay, or a standby."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

import asyncpg

from database import DatabaseSettings, Pool, Pooler
from database.pool import CLIENT_ERRORS
from domain.errors import PermanentError
from outbox import metrics
from outbox.kinds import FROM_ROWS
from outbox.lead import Lead, lead
from outbox.relay import Relay
from outbox.routes import Routes
from outbox.settings import RelaySettings
from outbox.table import Outbox
from outbox.upkeep import Gauges, count, purge
from streams.flows import SIMPLE_FLOWS
from streams.kafka.admin import check_topics
from streams.kafka.held import HELD
from streams.kafka.patience import once_it_answers
from streams.kafka.rights import require_rights
from streams.kafka.roles import RELAY
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS, Unacknowledged
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.relay")

LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts while a database is away, at most."""

# A mark that a crash of the server loses leads to the same record again, under the same id.
_SESSION: Final = {"synchronous_commit": "off", "idle_in_transaction_session_timeout": "10s", "jit": "off"}


LOOKS: Final = 3
LOOK_AGAIN: Final = 1.0
"""Seconds after which a topic is looked for again: a new one is not known to every broker at once."""


class NoSession(PermanentError):
    """A pooler stands where a relay needs a session of its own."""


class MissingTopics(PermanentError):
    """Topics of allowed types are not there."""


async def run(
    settings: RelaySettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Relay until asked to stop; a batch under way is finished first.

    A Kafka or a database that is away is waited for.

    Args:
        ready: Called with a function that returns whether all databases answer.

    Raises:
        NoSession: a pooler in transaction mode is before a database.
        TopicMismatch, MissingTopics: topics are missing or differ from the configuration.
        NotPermitted: Kafka does not grant what a relay needs.
        TopicReplaced: a topic was deleted and created again.
    """
    for database in settings.databases:
        if database.pooler is not Pooler.NONE:
            raise NoSession(
                "a relay locks and listens in a session, which a pooler in transaction mode does not keep:"
                " give this process a DATABASE_URL of PostgreSQL itself, with DATABASE_POOLER=none"
            )
    kafka = settings.kafka
    routes = Routes(
        SIMPLE_FLOWS, FROM_ROWS, allowed=settings.allowed, topics=kafka.topics, policy=settings.policy
    )

    async def ask() -> Mapping[str, str]:
        await require_rights(kafka, RELAY)
        await check_topics(kafka, RELAY)
        for _ in range(LOOKS):
            found = await topic_ids(kafka, routes.topics)
            if not (missing := [topic for topic in routes.topics if topic not in found]):
                return found
            await asyncio.sleep(LOOK_AGAIN)
        raise MissingTopics(f"{', '.join(missing)}: OUTBOX_ALLOWED_TYPES names what is no topic")

    if (ids := await once_it_answers(ask, stop=stop, log=log)) is not None:
        await _run(settings, routes, ids, stop=stop, ready=ready)


async def _run(
    settings: RelaySettings,
    routes: Routes,
    ids: Mapping[str, str],
    *,
    stop: asyncio.Event,
    ready: Callable[[Callable[[], bool]], None],
) -> None:
    gauges = Gauges()
    async with AsyncExitStack() as stack:
        terms = []
        for number, database in enumerate(settings.databases):
            pool = Pool(database, application="clusterflow-relay", session=_SESSION)
            pool.watched()
            stack.push_async_callback(pool.close)
            producer = Producer(settings.kafka, client_id=f"clusterflow-relay-{number}")
            stack.push_async_callback(producer.stop)
            terms.append(_Terms(number, database, Outbox(pool), producer, routes, settings, gauges))
        ready(lambda: all(each.answers for each in terms) and not HELD.names)
        looks = [Unacknowledged(each.producer.waiting).look for each in terms]
        async with asyncio.TaskGroup() as group:
            relaying = [group.create_task(each.run(stop)) for each in terms]
            others = [
                group.create_task(
                    UNAVAILABLE_PARTITIONS.watch(lambda: set().union(*(look() for look in looks)))
                ),
                group.create_task(watch_topics(settings.kafka, ids)),
            ]
            await asyncio.wait(relaying)
            for other in others:
                other.cancel()


class _Terms:
    """The relay of one database, over all times that it leads.

    Attributes:
        answers: Whether the database has answered when it was last asked.
    """

    def __init__(
        self,
        number: int,
        database: DatabaseSettings,
        outbox: Outbox,
        producer: Producer,
        routes: Routes,
        settings: RelaySettings,
        gauges: Gauges,
    ) -> None:
        self.answers = False
        self.producer = producer
        self._number = number
        self._database = database
        self._outbox = outbox
        self._routes = routes
        self._settings = settings
        self._gauges = gauges
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for the lead and relay as long as it lasts, again and again, until asked to stop."""
        while not stop.is_set():
            try:
                async with lead(
                    self._database, poll=self._settings.poll, stop=stop, standing_by=self._answered
                ) as led:
                    if led is not None:
                        await self._lead(led, stop)
            except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
                await self._pause(error, stop)

    async def _lead(self, led: Lead, stop: asyncio.Event) -> None:
        self._answered()
        about = {"database": self._number}
        log.info("relaying", extra=about)
        relay = Relay(self._outbox, self._routes, self.producer, self._settings, led)
        upkeep = [
            asyncio.create_task(count(self._outbox, self._gauges, self._number)),
            asyncio.create_task(purge(self._outbox, self._settings.retention)),
        ]
        relaying = asyncio.create_task(relay.run(stop))
        try:
            with metrics.LEADS.track_inprogress():
                done, _ = await asyncio.wait({relaying, *upkeep}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (relaying, *upkeep):
                task.cancel()
            await asyncio.wait({relaying, *upkeep})
        log.info("not relaying any more", extra=about)

    def _answered(self) -> None:
        """Note that the database is there."""
        if self._failures:
            log.info("the database answers again", extra={"database": self._number})
        self._failures, self.answers = 0, True

    async def _pause(self, error: Exception, stop: asyncio.Event) -> None:
        """Wait before the database is asked again."""
        self.answers = False
        if not self._failures:
            log.warning("waiting for the database", extra={"error": repr(error)})
        seconds = min(LONGEST_PAUSE, 0.5 * 2.0**self._failures)
        self._failures += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
