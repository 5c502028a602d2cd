"""A Faust table kept as bytes per partition, used as domain values.

Faust JSON-encodes table keys and values unless they are bytes, and keeps all partitions in one dict. Here
both are bytes, in one dict per partition. So a partition that a rebalance revokes is dropped in one step, and
an index can be rebuilt for a partition that it assigns.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from aiokafka.errors import KafkaError
from faust.stores.memory import Store
from faust.tables.table import Table
from faust.types import TP

from domain.errors import ControlPlaneError, Unavailable
from streams.claims import Claims, LogRecord, is_claim, under
from streams.reading.replay import Reader
from streams.turns.app import BatchApp
from streams.turns.commit import Ownership, published
from streams.writing.outputs import Output

log = logging.getLogger("clusterflow.table")

V = TypeVar("V")


class SecondWriter(ControlPlaneError):
    """Another worker has written to a partition of this one, so this one's memory is out of date."""


class Gap(NamedTuple):
    """Offsets of a changelog between two of our records: from `begin` up to `end`, exclusive."""

    partition: int
    begin: int
    end: int


class PartitionedStore(Store[Any, Any]):
    """Faust's in-memory store, with one dict per partition."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.partitions: dict[int, dict[bytes, bytes]] = {}
        self.recovered: set[int] = set()  # partitions changed from the changelog since the last query
        self.claims = Claims()
        self._applied: dict[int, int] = {}  # offset of the last record applied
        self.outdated: defaultdict[int, set[bytes]] = defaultdict(set)  # last record does not count

    def apply(self, records: Sequence[LogRecord]) -> None:
        """Apply records of one partition, except those that do not count or were applied before.

        A value replaces the stored one, and a tombstone removes it.
        """
        partition = records[0].partition
        rows = self.partitions.setdefault(partition, {})
        applied, admits = self._applied.get(partition, -1), self.claims.admits
        self.recovered.add(partition)
        for record in records:
            if record.offset <= applied or record.key is None:  # without a key it is nobody's state
                continue
            if not admits(record):
                if not is_claim(record):
                    self.outdated[partition].add(record.key)
                continue
            if partition in self.outdated:
                self.outdated[partition].discard(record.key)
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
        self._applied[partition] = max(applied, records[-1].offset)

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Do nothing: the transport has already applied these records (`BatchConsumer._deliver`)."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Forget revoked partitions; assigned ones are read from the changelog's beginning."""
        changelog = self.table.changelog_topic.get_topic_name()
        for tp in revoked:
            if tp.topic == changelog:
                self.partitions.pop(tp.partition, None)
                self._applied.pop(tp.partition, None)
                self.outdated.pop(tp.partition, None)
                self.claims.forget(tp.partition)
                self.recovered.add(tp.partition)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Do nothing: `on_rebalance` has already dropped partitions that are no longer ours."""


class BytesTable(Table[Any, Any]):
    """A Faust table on a `PartitionedStore`."""

    def _new_store(self) -> PartitionedStore:
        return PartitionedStore("memory://", self.app, self)


class TypedTable(Generic[V]):
    """Domain values in a Faust table.

    Args:
        name: The table's name in Faust.
        changelog_topic: Its changelog, declared by us.
        decode, encode: bytes ⇄ value.
    """

    def __init__(
        self,
        app: BatchApp,
        name: str,
        *,
        changelog_topic: str,
        partitions: int,
        decode: Callable[[bytes], V],
        encode: Callable[[V], bytes],
    ) -> None:
        raw = {
            "key_type": bytes,
            "value_type": bytes,
            "key_serializer": "raw",
            "value_serializer": "raw",
        }
        self._app = app
        self.changelog_topic = changelog_topic
        self.encode = encode
        self.decode = decode
        self._table = BytesTable(
            app,
            name=name,
            partitions=partitions,
            changelog_topic=app.topic(changelog_topic, acks=False, internal=False, **raw),
            key_type=bytes,
            value_type=bytes,
        )
        app.tables.add(self._table)
        self._gaps: list[Gap] = []  # found by `store`, not examined yet

    @property
    def _store(self) -> PartitionedStore:
        store: PartitionedStore = self._table.data
        return store

    def get(self, partition: int, key: bytes) -> V | None:
        """The stored value; None if there is none."""
        data = self._store.partitions.get(partition, {}).get(key)
        return None if data is None else self.decode(data)

    def holds(self, partition: int, key: bytes) -> bool:
        """Whether a value is stored."""
        return key in self._store.partitions.get(partition, ())

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        """Put bytes into memory that the changelog holds at this offset; None removes the key.

        The offset is noted for Faust's recovery, or every rebalance would read this worker's own records
        again. Records of others in between are left to `settle`.
        """
        rows = self._store.partitions.setdefault(partition, {})
        if data is None:
            rows.pop(key, None)
        else:
            rows[key] = data
        recovery, tp = self._app.tables.recovery, TP(self.changelog_topic, partition)
        if tp in recovery.active_tps:
            reflected = recovery.active_offsets[tp]
            if reflected is not None and offset > reflected + 1:
                self._gaps.append(Gap(partition, reflected + 1, offset))
            recovery.active_offsets[tp] = max(offset, -1 if reflected is None else reflected)

    async def settle(self, partitions: Collection[int]) -> None:
        """Examine records that others have written to these partitions between ours since the last call.

        Records that count nowhere (of a zombie or a stranger) must not end a worker, so they are overwritten,
        as after recovery. Other partitions are not touched, because they may be in the middle of a commit: we
        would write the state in memory after a newer one that is published and not stored yet.

        Raises: SecondWriter: there is data that counts, or a later claim, or a record that cannot be read.
        """
        if not self._gaps:
            return
        while gaps := [gap for gap in self._gaps if gap.partition in partitions]:
            self._gaps = [gap for gap in self._gaps if gap.partition not in partitions]
            for gap in gaps:
                await self._look_into(gap)
            await self._write_again(partitions)

    async def _look_into(self, gap: Gap) -> None:
        place = f"{self.changelog_topic}/{gap.partition}"
        store, seen = self._store, 0
        stood = store.claims.standing(gap.partition)
        try:
            async with Reader(self._app.kafka, client_id="clusterflow-worker-gaps") as reader:
                since, to = {gap.partition: gap.begin}, {gap.partition: gap.end}
                async for records in reader.batches(self.changelog_topic, since=since, to=to):
                    seen += len(records)
                    for record in records:
                        if store.claims.admits(record):
                            raise SecondWriter(f"{place}: somebody else has written offset {record.offset}")
                        if record.key is not None and not is_claim(record):
                            store.outdated[gap.partition].add(record.key)
        except (KafkaError, Unavailable) as error:
            raise SecondWriter(f"{place}: cannot read what somebody else has written: {error!r}") from error
        if store.claims.standing(gap.partition) != stood:
            raise SecondWriter(f"{place}: somebody else has claimed it")
        log.warning(
            "somebody else writes to a changelog of ours, and is passed over",
            extra={"topic": self.changelog_topic, "partition": gap.partition, "records": seen},
        )

    def ownership(self) -> Ownership:
        """The claims under which our present partitions are written; later claims do not change the value."""
        claims, topic = self._app.claims, self.changelog_topic
        return lambda partition: under(claims[TP(topic, partition)])

    def rows(self, partition: int) -> Mapping[bytes, bytes]:
        """All rows of a partition, as bytes."""
        return self._store.partitions.get(partition, {})

    def take_recovered(self) -> set[int]:
        """The partitions that recovery or a rebalance has changed since the last call."""
        changed, self._store.recovered = self._store.recovered, set()
        return changed

    def on_recovered(self, callback: Callable[[], Any]) -> None:
        """Call `callback` each time recovery is complete, before streams resume."""

        async def recovered() -> None:
            try:
                self._require_standing()
                await self._write_again([*self._store.outdated])
                callback()
            except Exception as error:  # Faust would discard it
                await self._app.crash(error)

        self._table.on_recover(recovered)

    def _require_standing(self) -> None:
        """Raises: SecondWriter: a later claim follows one of ours, so that our records would not count."""
        for tp, claim in self._app.claims.items():
            active = tp.topic == self.changelog_topic and tp in self._app.tables.recovery.active_tps
            if active and self._store.claims.standing(tp.partition) > claim:
                raise SecondWriter(f"{tp.topic}/{tp.partition}: somebody else has claimed it after us")

    async def _write_again(self, partitions: Iterable[int]) -> None:
        """Write states again whose last record does not count, because compaction keeps only that one."""
        for partition in partitions:
            keys = sorted(self._store.outdated.get(partition, ()))
            if not keys or TP(self.changelog_topic, partition) not in self._app.tables.recovery.active_tps:
                self._store.outdated.pop(partition, None)
                continue
            log.warning(
                "records that do not count are written over",
                extra={"topic": self.changelog_topic, "partition": partition, "keys": len(keys)},
            )
            rows = self._store.partitions.get(partition, {})
            headers = self.ownership()(partition)
            outputs = [Output(self.changelog_topic, k, rows.get(k), headers, partition) for k in keys]
            for output, position in zip(outputs, await published(self._app.publisher, outputs), strict=True):
                assert output.key is not None
                self.store(partition, output.key, output.value, offset=position.offset)
            self._store.outdated[partition].difference_update(keys)  # only now: it may be cancelled
