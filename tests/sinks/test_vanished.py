"""Clusters whose tombstones were compacted away while the sink was away leave no row behind."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from database import Pool
from sinks import run
from sinks.postgres import Postgres, SinkPosition
from sinks.tables import mappings
from streams.claims import NO_CLAIM
from streams.json import encode
from streams.kafka.partitions import partition_of
from streams.kafka.tombstones import TOMBSTONE_LIFE, tombstone_life
from streams.topic import TOMBSTONES_KEPT
from tests.conftest import until
from tests.sinks.changelog import Changelog
from tests.sinks.conftest import World
from tests.sinks.given import OWNER, cluster, report, rows_of, uuid

DONE = "removed rows without a record"
DAYS_AGO = "UPDATE sink_offsets SET read_until = now() - interval '8 days'"


async def vanish(world: World, word: str) -> None:
    """Leave the row of a cluster of which the changelog holds nothing any more."""
    partition = partition_of(uuid(word).encode(), world.kafka.partitions)
    await world.fetch(
        "INSERT INTO clusters (id, name, created_by, state_partition) VALUES ($1, $2, $3, $4)",
        *(uuid(word), f"c-{word}", OWNER, partition),
    )
    await world.fetch(
        "INSERT INTO controller_status (cluster_id, controller_name) VALUES ($1, 'a')", uuid(word)
    )


async def resume(world: World) -> None:
    """Run a sink until it has taken its partitions over and is at their end."""
    async with world.sink() as sink:

        async def ready() -> bool:
            return sink.ready

        await until(ready, what="readiness")
        await world.drained()


async def ages(world: World) -> list[float]:
    """Seconds since the sink had read everything, of each partition."""
    rows = await world.fetch("SELECT extract(epoch FROM now() - read_until)::bigint AS age FROM sink_offsets")
    return [row["age"] for row in rows]


@pytest.mark.parametrize("moved_on", [False, True], ids=["nothing new", "new records"])
async def test_a_sink_that_was_away_for_long_removes_what_vanished(
    world: World, caplog: pytest.LogCaptureFixture, moved_on: bool
):
    records = [cluster(n, reports=[report()]) for n in range(20)]
    await world.publish(*records)
    await world.drain()
    for n in range(5):
        await vanish(world, f"gone {n}")
    await world.fetch(DAYS_AGO)
    if moved_on:
        await world.publish(*(records := [cluster(n, generation=2) for n in range(20)]))

    await resume(world)

    assert rows_of(records) == await world.tables()
    assert 5 == sum(record.rows for record in caplog.records if record.message == DONE)
    assert max(await ages(world)) < 3600


async def test_a_sink_that_was_away_for_a_while_reads_on(world: World, caplog: pytest.LogCaptureFixture):
    """Whatever row is there: tombstones of that time are still there, too."""
    await world.publish(kept := cluster("kept"), cluster("purged"))
    await world.drain()
    await world.fetch("UPDATE sink_offsets SET read_until = now() - interval '23 hours'")
    await world.send(world.topics.state, [(uuid("purged").encode(), None)])

    await resume(world)

    assert rows_of([kept]) == await world.tables()
    assert DONE not in caplog.messages


async def test_claims_are_respected(world: World):
    """What a replaced worker wrote stands for no row."""
    log = Changelog(world)
    await log.claim()
    await log.write(kept := cluster("kept"))
    await log.claim()
    await log.write(cluster("zombie's"), by=0)
    await world.drain()
    await world.fetch(
        "INSERT INTO clusters (id, name, created_by, state_partition) VALUES ($1, 'z', $2, 0)",
        uuid("zombie's"),
        OWNER,
    )
    await world.fetch(DAYS_AGO)

    await resume(world)

    assert rows_of([kept]) == await world.tables()


async def test_a_record_that_cannot_be_read_still_stands_for_its_row(world: World):
    await world.publish(good := cluster("one"))
    await world.drain()
    await world.send(world.topics.state, [(uuid("one").encode(), b"{")])
    await world.drain()
    await world.fetch(DAYS_AGO)

    await resume(world)

    assert rows_of([good]) == await world.tables()


async def test_a_log_that_begins_behind_the_position_is_reconciled(
    world: World, caplog: pytest.LogCaptureFixture
):
    await world.publish(cluster("lost"), cluster("kept"))
    await world.drain()
    lost = TopicPartition(world.topics.state, partition_of(uuid("lost").encode(), world.kafka.partitions))
    [(_, offset)] = await world.send(world.topics.state, [(uuid("lost").encode(), None)])
    await world.publish(kept := cluster("kept", generation=2))
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap_servers)
    await admin.start()
    declared = next(spec.config for spec in world.topics.all() if spec.name == lost.topic)
    may_delete = {**declared, "cleanup.policy": "compact,delete"}  # of one that is only compacted, it may not
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, lost.topic, may_delete)])
    await admin.delete_records({lost: RecordsToDelete(before_offset=offset + 1)})
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, lost.topic, declared)])
    await admin.close()

    await resume(world)

    assert rows_of([kept]) == await world.tables()
    assert DONE in caplog.messages
    assert "records expired before they were stored" in caplog.messages


async def test_after_a_crash_in_between_it_is_done_again(world: World, monkeypatch: pytest.MonkeyPatch):
    await world.publish(kept := cluster("kept"))
    await world.drain()
    await vanish(world, "gone")
    await world.fetch(DAYS_AGO)

    async def crash(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("sinks.cluster.mapping.give_back", crash)  # in the transaction, behind the removal
        with pytest.raises(ExceptionGroup):
            await asyncio.wait_for(run(world.settings, stop=asyncio.Event()), 30)
    assert 2 == len(await world.fetch("SELECT id FROM clusters"))

    await resume(world)

    assert rows_of([kept]) == await world.tables()


async def test_a_rebuilt_row_is_removed_by_the_partition_of_its_key(world: World):
    """It does not say which record it shows, and the sink has not read its partition before."""
    await world.publish(kept := cluster("kept"))
    await vanish(world, "gone")
    await world.fetch("UPDATE clusters SET state_partition = -1, state_offset = -1")

    await resume(world)

    assert rows_of([kept]) == await world.tables()


async def test_a_name_that_a_vanished_cluster_held_is_given_back(world: World):
    await world.publish(older := cluster("older", name="x"))
    await world.drain()
    await vanish(world, "gone")
    await world.fetch("UPDATE clusters SET yielded = true, deleted_at = now() WHERE name = 'x'")
    await world.fetch("UPDATE clusters SET name = 'x' WHERE id = $1", uuid("gone"))
    await world.fetch(DAYS_AGO)

    await resume(world)

    assert rows_of([older]) == await world.tables()


async def test_an_idle_sink_at_the_end_stays_young(world: World):
    await world.publish(cluster())
    async with world.sink(touch_interval=0.1):
        await world.drained()
        await world.fetch("UPDATE sink_offsets SET read_until = now() - interval '20 hours'")

        async def young() -> bool:
            return max(await ages(world)) < 3600

        await until(young, what="a note that it is at the end")


@pytest.mark.parametrize(
    ("written", "age"),
    [
        (timedelta(hours=30), timedelta(hours=30)),
        (timedelta(hours=240), timedelta(days=8)),
        (timedelta(hours=-60), timedelta(0)),
        (None, timedelta(days=8)),
    ],
    ids=["its time", "never older than before", "never younger than now", "no record, no time"],
)
async def test_a_position_is_as_old_as_the_record_before_it(
    world: World, written: timedelta | None, age: timedelta
):
    """A position that has just moved, with a backlog of days behind it, is not young."""
    tp = TopicPartition(world.topics.state, 0)
    pool = Pool(world.settings.database, application="test")
    database = Postgres(pool, mappings(world.topics), kafka_cluster_id="one")
    await database.positions([tp], {tp.topic: "its id"})
    await world.fetch(DAYS_AGO)

    read_until = None if written is None else datetime.now(UTC) - written
    await database.write([], {tp: (0, SinkPosition(7, NO_CLAIM, read_until))})

    stored = (await database.positions([tp], {tp.topic: "its id"}))[tp]
    await pool.close()
    assert (7, True) == (stored.offset, abs(stored.age - age) < timedelta(minutes=5)), stored.age


async def test_a_lag_that_grows_too_old_is_noticed_while_the_sink_runs(world: World):
    old = int((time.time() - 8 * 86_400) * 1000)
    backlog = [cluster(n) for n in range(1500)]
    for each in backlog:
        key, value = each.cluster.id.encode(), encode(each)
        await world._producer.send(world.topics.state, value, key=key, timestamp_ms=old)
    await world._producer.flush()
    async with world.sink(batch_records=1, touch_interval=0.2):
        await until(world.positions, what="the first record")
        await vanish(world, "gone")
        await world.fetch(DAYS_AGO)

        async def removed() -> bool:
            return not await world.fetch("SELECT id FROM clusters WHERE id = $1", uuid("gone"))

        await until(removed, what="the row removed")
        assert not await world.caught_up()


async def test_the_life_of_tombstones_is_that_of_the_topic(world: World):
    kafka, topic = world.kafka, world.topics.state
    assert TOMBSTONES_KEPT == await tombstone_life(kafka, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    config = {"delete.retention.ms": "3600000", "cleanup.policy": "compact"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    await admin.close()

    async def an_hour() -> bool:
        return await tombstone_life(kafka, topic) == timedelta(hours=1)

    await until(an_hour, what="the life that was set")
    assert TOMBSTONE_LIFE == await tombstone_life(kafka, f"{topic}.none"), "where the broker tells nothing"
