"""Crashes, outages and rivals: nothing is lost, and each row is there once."""

import asyncio
import logging
import signal
import struct
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator

from database import DatabaseSettings
from deploy.embedded import Stack
from domain.cluster.state import ClusterState
from sinks import notes, run
from sinks.errors import ForeignPositions
from sinks.postgres import SESSION, Postgres
from tests.conftest import until
from tests.sinks.conftest import World, a_world, running
from tests.sinks.given import cluster, event, report, rows_of


def many(count: int, **members: Any) -> list[ClusterState]:
    return [cluster(n, reports=[report("dns"), report("infra")], **members) for n in range(count)]


async def a_process(world: World, **settings: Any) -> asyncio.subprocess.Process:
    """A sink in a process of its own."""
    return await running("sinks", replace(world.settings, **settings))


async def noted(world: World, group: str) -> int:
    """The sum of the positions noted in Kafka."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
        return sum(position.offset for position in offsets.values())
    finally:
        await admin.close()


async def members(world: World) -> set[str]:
    """Who is in the consumer group; a member that was thrown out comes back under another name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap_servers)
    await admin.start()
    try:
        [response] = await admin.describe_consumer_groups([world.settings.group_id])
        [(_, _, _, _, _, found, *_)] = response.groups
        return {member[0] for member in found}
    finally:
        await admin.close()


# --- crashes --------------------------------------------------------------------------------------


async def test_kill_9_between_the_rows_and_the_commit_to_kafka_leaves_each_row_once(world: World):
    records = many(300)
    await world.publish(*records)
    await world.announce(*[event(n) for n in range(300)])
    for attempt in range(3):
        before = sum((await world.positions()).values())
        group = f"{world.settings.group_id}-{attempt}"  # else each waits until Kafka misses the last
        process = await a_process(world, group_id=group, batch_records=50, crash_after_commit=1)
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
        assert sum((await world.positions()).values()) > before  # something was written
        assert await noted(world, group) == before  # and Kafka does not know

    await world.drain()

    assert rows_of(records) == await world.tables()
    assert len(await world.fetch("SELECT id FROM cluster_events")) == 300


async def test_kill_9_at_any_moment(world: World):
    records = many(1000)
    newest = many(1000, generation=2)
    await world.publish(*records)
    for attempt in range(3):
        before = sum((await world.positions()).values())

        async def went_on(before: int = before) -> bool:
            return sum((await world.positions()).values()) > before

        group = f"{world.settings.group_id}-{attempt}"
        process = await a_process(world, group_id=group, batch_records=20, writers=2)
        try:
            await until(went_on, what="progress")
        finally:
            process.kill()
            await process.wait()
    await world.publish(*newest)

    await world.drain()

    assert rows_of(newest) == await world.tables()


async def test_positions_are_noted_in_kafka(world: World):
    await world.publish(*many(50))
    async with world.sink():
        await world.drained()

        async def no_lag() -> bool:
            return await noted(world, world.settings.group_id) == 50

        await until(no_lag, what="the position that Kafka shows at the end")


async def test_positions_are_noted_now_and_then_and_at_the_end(world: World, monkeypatch):
    # given a sink that has long to go until it notes positions again
    monkeypatch.setattr(notes, "INTERVAL", 3600.0)
    group = world.settings.group_id
    async with world.sink(batch_records=5):
        await until(world.positions)

        # when it has written many batches
        await world.publish(*many(50))
        await world.drained()

        # then Kafka does not know
        assert 0 == await noted(world, group)

    # and it does once the sink has stopped
    assert 50 == await noted(world, group)


# --- the database ---------------------------------------------------------------------------------


async def test_postgres_killed_and_restarted_loses_nothing(
    fragile_world: World, fragile: Stack, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "clusterflow.sink")
    world = fragile_world
    before, meanwhile, afterwards = many(500), many(500, generation=2), many(50, generation=3)
    async with world.sink(writers=2) as sink:
        await world.publish(*before)
        await until(world.positions)
        fragile.postgres.kill()
        await world.publish(*meanwhile)

        async def unready() -> bool:
            return not sink.ready

        await until(unready, what="readiness taken back")
        group = await members(world)
        # Longer than a session: who does not speak to Kafka meanwhile is thrown out of the group.
        await asyncio.sleep(world.kafka.session_timeout + 1)
        assert len(group) == 2
        assert group == await members(world)
        await asyncio.to_thread(fragile.postgres.start)
        await world.drained()
        await world.publish(*afterwards)
        await world.drained()

        async def ready() -> bool:
            return sink.ready

        await until(ready, what="readiness given again")

    assert rows_of([*afterwards, *meanwhile[50:]]) == await world.tables()
    # One line of each writer on going and one on coming, however many tries lie between.
    assert caplog.messages.count("writing waits") == caplog.messages.count("writing goes on") == 2


async def test_a_database_that_is_not_there_yet_is_waited_for(world: World):
    url = world.database_url + "_later"
    name = url.rpartition("/")[2]
    await world.publish(*(records := many(10)))
    async with world.sink(database=DatabaseSettings(url=url)) as sink:

        async def waits() -> bool:
            return bool(sink.said) and not sink.ready

        await until(waits)
        await world.fetch(f"CREATE DATABASE {name}")
        async with a_world(world.kafka, url) as later:  # with its tables
            await later.drained()
            assert rows_of(records) == await later.tables()


async def test_a_database_without_space_is_waited_for(world: World):
    """It still answers questions, and would take every record for poison if one looked at the row alone."""
    await world.publish(*(records := many(20)))
    await world.fetch(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    await world.fetch("CREATE TRIGGER full_disk BEFORE INSERT ON clusters EXECUTE FUNCTION full_disk()")
    async with world.sink() as sink:

        async def waits() -> bool:
            return len(sink.said) > 4 and not sink.ready

        await until(waits)
        await world.fetch("DROP TRIGGER full_disk ON clusters")
        await world.drained()

    assert rows_of(records) == await world.tables()
    assert await world.dead_letters(world.topics.state) == []


async def test_a_database_set_back_takes_the_sink_back(world: World):
    """As after a restored backup, or a fail-over to a server that had not everything yet."""
    first, second = many(20), many(20, generation=2)
    async with world.sink():
        await world.publish(*first)
        await world.drained()
        kept = await world.fetch("SELECT topic, partition, next_offset FROM sink_offsets")
        await world.publish(*second)
        await world.drained()

        async with world.connection() as connection, connection.transaction():
            await connection.execute("TRUNCATE clusters CASCADE")
            await connection.executemany(
                "UPDATE sink_offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2",
                [tuple(row.values()) for row in kept],
            )
        await world.publish(*(third := many(5, generation=3)))
        await world.drained()

    assert rows_of([*third, *second[5:]]) == await world.tables()


# --- Kafka ----------------------------------------------------------------------------------------


async def test_kafka_killed_and_restarted_loses_nothing(fragile_world: World, fragile: Stack):
    world = fragile_world
    async with world.sink(writers=2):
        await world.publish(*many(300))
        await world.drained()
        for generation in (2, 3):
            fragile.kafka.kill()
            await asyncio.to_thread(fragile.kafka.start)
            await world.publish(*(newest := many(300, generation=generation)))
            await world.drained()

    assert rows_of(newest) == await world.tables()


async def test_a_kafka_that_is_not_there_yet_is_waited_for(fragile_world: World, fragile: Stack):
    world = fragile_world
    await world.publish(*(records := many(10)))
    fragile.kafka.kill()
    async with world.sink() as sink:
        await asyncio.to_thread(fragile.kafka.start)
        await world.drained()
        assert sink.ready

    assert rows_of(records) == await world.tables()


# --- rivals ---------------------------------------------------------------------------------------


async def test_two_sinks_share_the_partitions(world: World):
    records = many(1000)
    await world.publish(*records)
    async with world.sink(batch_records=50):
        await until(world.positions)
        async with world.sink(batch_records=50):
            await world.publish(*(newest := many(1000, generation=2)))
            await world.drained()

    assert rows_of(newest) == await world.tables()


async def test_nothing_is_committed_while_the_group_is_joined(world: World, monkeypatch):
    """Kafka would refuse such a commit, and aiokafka would give up its membership for it and join again."""
    # given writes, and joins of the group, that take their time
    join, commit = CoordinatorGroupRebalance.perform_group_join, GroupCoordinator._do_commit_offsets
    write = Postgres.write
    joining: set[GroupCoordinator] = set()
    committed: list[bool] = []

    async def write_slowly(postgres, *what):
        await write(postgres, *what)
        await asyncio.sleep(0.2)

    async def join_slowly(rebalance):
        joining.add(rebalance._coordinator)
        assignment = await join(rebalance)
        await asyncio.sleep(0.5)
        joining.discard(rebalance._coordinator)
        return assignment

    async def noted(coordinator, *what):
        committed.append(coordinator in joining)
        await commit(coordinator, *what)

    monkeypatch.setattr(Postgres, "write", write_slowly)
    monkeypatch.setattr(CoordinatorGroupRebalance, "perform_group_join", join_slowly)
    monkeypatch.setattr(GroupCoordinator, "_do_commit_offsets", noted)

    # when a second sink comes while the first has much to write
    await world.publish(*many(30))
    async with world.sink(batch_records=1):
        await until(world.positions)
        async with world.sink(batch_records=1):
            await world.drained()

    # then what is written meanwhile is not committed, and what is written before and after is
    assert {False} == set(committed)


async def test_a_writer_that_slept_through_its_eviction_overwrites_nothing(world: World):
    """SIGSTOP for longer than the session: another sink takes its partitions, then the zombie wakes."""
    await world.publish(*many(3000))
    zombie = await a_process(world, batch_records=5)
    try:
        await until(world.positions)
        zombie.send_signal(signal.SIGSTOP)
        await world.publish(*(newest := many(3000, generation=2)))
        async with world.sink():
            await world.drained()
            zombie.send_signal(signal.SIGCONT)
            await world.publish(*(last := many(100, generation=3)))
            await world.drained()
    finally:
        zombie.send_signal(signal.SIGCONT)
        zombie.terminate()
        await zombie.wait()

    assert rows_of([*last, *newest[100:]]) == await world.tables()


async def test_a_writer_that_stops_within_a_statement_locks_nobody_out(world: World):
    """Between the parts of a statement a session counts as active: no time-out of idle sessions ends it."""
    # given a writer that holds locks on all positions, and has only sent the first part of its next statement
    await world.publish(*many(10))
    await world.drain()
    session = {**SESSION, "application_name": "clusterflow-sink"}
    stopped = await asyncpg.connect(world.database_url, server_settings=session)
    await stopped.execute("BEGIN")
    await stopped.execute("UPDATE sink_offsets SET next_offset = next_offset")
    body = b"\0SELECT 1\0\0\0"
    stopped._transport.write(b"P" + struct.pack(">i", 4 + len(body)) + body + b"H\0\0\0\4")

    # when there is more to write
    await world.publish(*(newest := many(10, generation=2)))
    await world.drain()

    # then it was written
    stopped.terminate()
    assert rows_of(newest) == await world.tables()


# --- positions that cannot be right ---------------------------------------------------------------


async def ends(world: World) -> str:
    """What a sink says when it ends by itself."""
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(run(world.settings, stop=asyncio.Event()), 30)
    [error] = caught.value.exceptions
    assert isinstance(error, ForeignPositions)
    return str(error)


async def test_positions_of_another_kafka_are_refused(world: World):
    await world.publish(*(records := many(5)))
    await world.drain()
    await world.fetch("UPDATE sink_offsets SET kafka_cluster_id = 'another'")

    assert "Kafka cluster another" in await ends(world)
    assert rows_of(records) == await world.tables()


async def test_a_topic_that_ends_before_its_position_is_refused(world: World):
    await world.publish(*many(5))
    await world.drain()
    await world.fetch("UPDATE sink_offsets SET next_offset = next_offset + 1000")

    assert "made anew or has lost records" in await ends(world)


async def test_records_that_expired_are_left_behind(world: World, caplog: pytest.LogCaptureFixture):
    await world.announce(*[event(n) for n in range(10)])
    await world.drain()
    await world.announce(*[event(n) for n in range(10, 20)])
    [(partition, _)] = [
        (TopicPartition(*place), position)
        for place, position in (await world.positions()).items()
        if position
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=15)})
    await admin.close()

    await world.drain()

    assert len(await world.fetch("SELECT id FROM cluster_events")) == 15
    assert "records expired before they were stored" in caplog.messages
