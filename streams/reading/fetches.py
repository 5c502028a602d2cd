"""Fetches that say and hear only what is new: Kafka's fetch sessions, which aiokafka does not use.

aiokafka names every partition in every fetch, and the broker answers for each, though most have nothing
new: over 48 partitions that costs some 0.3 ms for one record, on either side. In a session the broker
remembers what was asked; a fetch names the partitions whose position has moved and those that are wanted
no more, and the answer names those that have something. Source: KIP-227, which all brokers since Kafka 1.1
speak. Written against aiokafka 0.14, to which pyproject.toml holds it (docs/decisions/0006, 0011).
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

from streams.reading.unpacking import bound_unpacking

log = logging.getLogger("clusterflow.fetches")

FIRST_VERSION: Final = 7
"""Of the fetch request that knows sessions."""

_LAST_EPOCH: Final = 2**31 - 1

Topics = Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
"""By topic what is asked of each partition: its number, offset and most bytes."""


def fetch_in_sessions(consumer: AIOKafkaConsumer) -> None:
    """Have a consumer that was started fetch in sessions from now on, and unpack within bounds.

    It always fetches from the leader, since we configure no rack. aiokafka looks for a preferred replica of
    every partition before each fetch, which took half of the time it needs to prepare one.
    """
    bound_unpacking(consumer)
    fetcher = consumer._fetcher
    fetcher._select_read_replica = fetcher._client.cluster.leader_for_partition
    fetcher._client = SessionClient(fetcher._client)


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Disconnect. While a broker is away, aiokafka trips over a fetch that it has cancelled itself."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.info("stopped while a broker is away")
        await consumer._client.close()


class SessionClient:
    """aiokafka's client for its fetcher, which has one fetch at a time under way with each broker."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._sessions: dict[int, Session] = defaultdict(Session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send; a fetch goes within its broker's session. Raises: KafkaError: as the client does."""
        if not isinstance(request, FetchRequest):
            return await self._inner.send(node_id, request, **options)
        session = self._sessions[node_id]
        try:
            response = await self._inner.send(node_id, _Incremental(request, session), **options)
        except BaseException:  # a cancellation, too: whether the broker has seen the request, nobody knows
            session.begin_anew()
            raise
        session.answered(response)
        return response


class Session:
    """What one broker remembers of our fetches."""

    def __init__(self) -> None:
        self.id = 0  # as the broker has named it; 0: none yet
        self.epoch = 0  # of the next fetch; 0 asks for a new session, in place of the one named
        self._asked: Mapping[tuple[str, int], tuple[int, int]] = {}

    def begin_anew(self) -> None:
        """Forget what the broker was told; the next fetch names everything."""
        self.epoch = 0
        self._asked = {}

    def narrow(self, topics: Topics) -> tuple[Topics, Sequence[tuple[str, Sequence[int]]]]:
        """What a fetch of these names, and what it takes back; from then on the broker knows."""
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
        """Go on as answered; a broker that has lost the session, or keeps none, is told all again."""
        if response.API_VERSION < FIRST_VERSION:
            return
        if response.error_code or not response.session_id:
            log.debug("fetch session begins anew", extra={"error_code": response.error_code})
            self.begin_anew()
            return
        self.id = response.session_id
        self.epoch = self.epoch + 1 if self.epoch < _LAST_EPOCH else 1


class _Incremental(FetchRequest):
    """A fetch as it is put within a session, once the broker's version is known."""

    def __init__(self, whole: FetchRequest, session: Session) -> None:
        self.__dict__.update(whole.__dict__)
        self._session = session

    def build(self, request_struct_class: Any) -> Any:
        """aiokafka's hook: the request as it goes over the wire."""
        if request_struct_class.API_VERSION < FIRST_VERSION:
            return super().build(request_struct_class)
        named, gone = self._session.narrow(self.topics)
        self._topics = named
        built = super().build(request_struct_class)
        built.session_id, built.session_epoch = self._session.id, self._session.epoch
        built.forgotten_topics_data = gone
        return built
