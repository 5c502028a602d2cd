"""Compares the holders of names: `cluster-names` with `cluster-state`.

Different agents write the two, one after the other, so they differ for a moment while clusters are created
and deleted. Only a lasting difference counts.
"""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta
from time import monotonic
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from domain.cluster.names import name_key
from domain.errors import MalformedRecord
from recovery.cluster.statements import CLUSTERS
from recovery.differences import Difference
from sinks.cluster.rows import State, read_state
from streams.cluster.codec import decode_name
from streams.reading.replay import Changelog, Reader
from streams.settings import KafkaSettings
from streams.topics import Topics

TABLE: Final = "cluster-names"

# Time after which a difference counts: if a worker dies between the two writes, they differ until another
# worker has taken over.
STAYS: Final = timedelta(seconds=15)

_SECONDS_BETWEEN_READS: Final = 0.5


def states(reader: Reader, topics: Topics) -> Changelog:
    """`cluster-state`: per cluster, the name it holds while it lives."""

    def held(record: ConsumerRecord) -> str | None:
        said = read_state(record)
        if not isinstance(said, State) or said.deleted_at is not None:
            return None
        return name_key(said.cluster.created_by, said.cluster.name)

    return Changelog(reader, topics.state, held)


def names(reader: Reader, topics: Topics) -> Changelog:
    """`cluster-names`: per name, the cluster that holds it."""

    def holder(record: ConsumerRecord) -> str | None:
        try:
            str(record.key, "utf-8")  # an owner and a name are text
            return None if record.value is None else decode_name(record.value).cluster_id or None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedRecord("invalid_schema", str(error)) from error

    return Changelog(reader, topics.names, holder)


async def wrong_names(
    kafka: KafkaSettings, reader: Reader, states: Changelog, *, stays: timedelta = STAYS
) -> list[Difference]:
    """Names not held by the cluster that has them, and names held by a cluster that no longer exists.

    It reads again until nothing is wrong, or something has been wrong for as long as `stays`.
    """
    held = names(reader, kafka.topics)
    until = monotonic() + stays.total_seconds()
    wrong: set[Difference] | None = None
    while True:
        await held.read_to_end()
        await states.read_to_end()
        now = set(_differences(states, held))
        wrong = now if wrong is None else wrong & now
        if not wrong or monotonic() >= until:
            return sorted(wrong, key=lambda difference: difference.id)
        await asyncio.sleep(_SECONDS_BETWEEN_READS)


class Yielded:
    """Clusters that PostgreSQL shows as deleted because another one holds their name (`sinks.cluster.names`).

    That is right while the sink has not yet read the deletion of one of the two.

    Args:
        pairs: Each such cluster, with the cluster that holds its name.
        states: The changelog, read up to the positions of the snapshot.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], states: Changelog) -> None:
        self._pairs = [*pairs]
        self._states = states
        self._living = {holder for _, holder in self._pairs if self._lives(holder)}

    def differences(self) -> Iterator[Difference]:
        """The pairs of which both are still live, once the changelog is read to its end."""
        for cluster_id, holder in self._pairs:
            if self._lives(cluster_id) and (holder not in self._living or self._lives(holder)):
                yield Difference(CLUSTERS, cluster_id, "deleted_at")

    def _lives(self, cluster_id: str) -> bool:
        last = self._states.last.get(cluster_id.encode())
        return last is not None and last.said is not None


def _differences(states: Changelog, held: Changelog) -> Iterator[Difference]:
    for key, cluster in states.last.items():
        if cluster.said is not None:
            holder = held.last.get(cluster.said.encode())
            if holder is None or holder.said != key.decode():
                yield Difference(TABLE, key.decode(), "its name is not held by it")
    for key, name in held.last.items():
        if name.said is not None:
            bearer = states.last.get(name.said.encode())
            if bearer is None or bearer.said != key.decode():
                yield Difference(TABLE, name.said, f"holds {key.decode()} and is gone")
