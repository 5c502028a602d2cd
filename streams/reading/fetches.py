"""Fetches that contain only changes: Kafka's fetch sessions, which aiokafka does not use.

aiokafka names every partition in every fetch, and the broker answers for each, though most have no new
records. With 48 partitions that costs some 0.3 ms for one record, on either side. In a session the broker
remembers the partitions that were asked for: a fetch names only those whose position has moved and those that
are no longer wanted, and the answer names only those with records. Source: KIP-227, which all brokers since
Kafka 1.1 implement. Written against aiokafka 0.14, to which pyproject.toml holds it (docs/decisions/0006,
0011).
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

from streams.reading.unpacking import bound_unpacking

log = logging.getLogger("clusterflow.fetches")

FIRST_VERSION: Final = 7
"""The first version of the fetch request that has sessions."""

FULL_ANSWER: Final = 1024 * 1024
"""An answer of this many bytes shows that there is more to read, so that no fetch pauses after it."""

_LAST_EPOCH: Final = 2**31 - 1

Topics = Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
"""By topic, the number, offset and maximum of bytes of each partition in a fetch."""


def fetch_in_sessions(consumer: AIOKafkaConsumer, *, pause: float = 0.0) -> None:
    """Make a started consumer fetch in sessions from now on, and unpack within bounds.

    It always fetches from the leader, since we configure no rack. aiokafka's search for a preferred replica
    of every partition took half of the time it needs to prepare a fetch.

    Args:
        pause: Seconds between an answer with records and the next fetch from that broker, in which more
            records gather there. Under load a reader then has fewer and larger polls; a record that comes
            after a quiet time is still answered at once. A fetch that waits at the broker would end with the
            first record, and polling less often would not help: aiokafka fetches ahead.
    """
    bound_unpacking(consumer)
    fetcher = consumer._fetcher
    fetcher._select_read_replica = fetcher._client.cluster.leader_for_partition
    fetcher._client = SessionClient(fetcher._client, pause=pause)


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, if there is one, and disconnect.

    aiokafka raises for what was cancelled and is no task of ours: a fetch while a broker is away, or a
    rebalance that waits for a worker which is told to stop. What it has not come to is done here.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.info("stopped while Kafka had not answered")
        if consumer._group_id is not None:
            await consumer._coordinator._stop_heartbeat_task()
            await consumer._coordinator._maybe_leave_group()
        await consumer._client.close()


class SessionClient:
    """aiokafka's client as its fetcher sees it; a fetcher has one pending fetch for each broker."""

    def __init__(self, inner: Any, *, pause: float = 0.0) -> None:
        self._inner = inner
        self._pause = pause
        self._paused_until: dict[int, float] = {}  # by broker
        self._sessions: dict[int, Session] = defaultdict(Session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send a request, a fetch within its broker's session. Raises: KafkaError: as the client does."""
        if not isinstance(request, FetchRequest):
            return await self._inner.send(node_id, request, **options)
        if (wait := self._paused_until.get(node_id, 0.0) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        session = self._sessions[node_id]
        try:
            response = await self._inner.send(node_id, _Incremental(request, session), **options)
        except BaseException:  # a cancellation too: it is unknown whether the broker has seen the request
            session.begin_anew()
            raise
        session.answered(response)
        if self._pause and 0 < _size(response) < FULL_ANSWER:
            self._paused_until[node_id] = time.monotonic() + self._pause
        return response


def _size(response: Any) -> int:
    """The bytes of all records in an answer, which are the last field of each partition in every version."""
    return sum(len(partition[-1]) for _, partitions in response.topics for partition in partitions)


class Session:
    """The state of our fetches that one broker remembers."""

    def __init__(self) -> None:
        self.id = 0  # as assigned by the broker; 0: none yet
        self.epoch = 0  # of the next fetch; 0 asks for a new session, which replaces the one with this id
        self._asked: Mapping[tuple[str, int], tuple[int, int]] = {}

    def begin_anew(self) -> None:
        """Forget the session; the next fetch names every partition."""
        self.epoch = 0
        self._asked = {}

    def narrow(self, topics: Topics) -> tuple[Topics, Sequence[tuple[str, Sequence[int]]]]:
        """The partitions that a fetch of these must name, and those it removes; remember them as sent."""
        wanted = {
            (topic, number): (offset, most)
            for topic, partitions in topics
            for number, offset, most in partitions
        }
        new, gone = defaultdict(list), defaultdict(list)
        for (topic, number), (offset, most) in wanted.items():
            if self._asked.get((topic, number)) != (offset, most):
                new[topic].append((number, offset, most))
        for topic, number in self._asked.keys() - wanted.keys():
            gone[topic].append(number)
        self._asked = wanted
        return [*new.items()], [*gone.items()]

    def answered(self, response: Any) -> None:
        """Continue the session after an answer, or begin a new one if the broker has lost it."""
        if response.API_VERSION < FIRST_VERSION:
            return
        if response.error_code or not response.session_id:
            log.debug("fetch session begins anew", extra={"error_code": response.error_code})
            self.begin_anew()
            return
        self.id = response.session_id
        self.epoch = self.epoch + 1 if self.epoch < _LAST_EPOCH else 1


class _Incremental(FetchRequest):
    """A fetch that becomes one within a session once the broker's version is known."""

    def __init__(self, whole: FetchRequest, session: Session) -> None:
        self.__dict__.update(whole.__dict__)
        self._session = session

    def build(self, request_struct_class: Any) -> Any:
        """aiokafka's hook: the request as it is sent."""
        if request_struct_class.API_VERSION < FIRST_VERSION:
            return super().build(request_struct_class)
        named, gone = self._session.narrow(self.topics)
        self._topics = named
        built = super().build(request_struct_class)
        built.session_id, built.session_epoch = self._session.id, self._session.epoch
        built.forgotten_topics_data = gone
        return built
