"""Kafka lost: a new one is filled from PostgreSQL, and nobody but a reader of offsets notices."""

import asyncio
import base64
import dataclasses
import json
import pickle
import signal
import sys
from pathlib import Path

import pytest

from database import DatabaseSettings
from deploy.embedded import Stack
from domain.values import replace
from recovery import Rebuilt, RecoverySettings, rebuild
from recovery.errors import NotComparable, RebuildRefused
from sinks.errors import ForeignPositions
from sinks.tables import TABLES
from streams.claims import claim_output
from streams.cluster.codec import decode_name, decode_record
from streams.json import encode
from streams.kafka.admin import declare_topics
from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.writing.producer import Producer
from tests.conftest import until
from tests.e2e.product import CONTROLLER, SPEC, an_owner, available
from tests.recovery.given import everything
from tests.recovery.site import a_site, mixed_traffic, stopped
from tests.sinks.conftest import a_world
from tests.sinks.given import cluster, report
from tests.web.answers import check, check_error

PROGRAM = """
import asyncio, base64, pickle, sys
from recovery import rebuild
asyncio.run(rebuild(pickle.loads(base64.b64decode(sys.argv[1]))))
"""

NO_ROWS = {table.name: 0 for table in TABLES}
"""Nobody has written to simple kinds."""


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A Kafka that is really new: another cluster with another id."""
    stack = Stack(tmp_path_factory.mktemp("another"))
    stack.start(["kafka"])
    yield stack.kafka.bootstrap_servers
    stack.stop()


def last(records):
    """The last value of each key."""
    return {record.key: record.value for record in records}


async def shown(api, ids):
    """What a user sees of clusters: status code, document and version."""
    answers = [await api.get(cluster_id) for cluster_id in ids]
    return [(a.status, a.json, a.headers["ETag"]) for a in answers]


async def refusals(site):
    """What a sink says when it ends by itself: one of its writers, or more that have looked at once."""
    with pytest.raises(ExceptionGroup) as caught:
        await site.sink()
    return caught.value.exceptions


async def test_an_empty_database_makes_an_empty_kafka(servers, another):
    """The first that this Kafka hears of us: not even its own topics are there."""
    kafka = KafkaSettings(
        bootstrap_servers=another, topics=Topics("empty."), partitions=2, replication=1, session_timeout=6.0
    )
    async with a_site(kafka, await servers.new_database()) as site:
        assert Rebuilt(rows=NO_ROWS) == await rebuild(site.settings)
        assert [] == await everything(kafka, kafka.topics.state)


def _as_numbers(cluster):
    """A cluster with numbers by their worth: PostgreSQL keeps every digit, and writes `1e3` as `1000`."""
    return json.loads(encode(cluster))


async def test_a_new_kafka_takes_over(servers, another, tmp_path):
    kafka, owner = await servers.new_topics(partitions=3), an_owner()
    async with a_site(kafka, await servers.new_database()) as before:
        roles = [await before.deployment.worker(), await before.sink()]
        api = await before.web(owner)
        traffic = await mixed_traffic(api)
        live = sorted(traffic.live)
        seen, listed = await shown(api, live), {c["id"]: c for c in (await api.list())["clusters"]}
        in_the_clear = (await api.as_(CONTROLLER).get(traffic.secret))["spec"]
        statuses = [(await api.get(f"{cluster_id}/status")).json for cluster_id in live]
        assert (await before.verify()).equal
        states = last(await everything(kafka, kafka.topics.state))
        rows = await before.tables()
        await stopped(*roles)
        database_url = before.database_url

    new = dataclasses.replace(kafka, bootstrap_servers=another, partitions=2)
    await declare_topics(new)
    async with a_site(new, database_url) as after:
        for refusal in await refusals(after):
            assert isinstance(refusal, ForeignPositions)
            assert "clusterflow rebuild" in str(refusal)
        with pytest.raises(NotComparable, match="read from Kafka cluster"):
            await after.verify()

        assert Rebuilt(clusters=8, live=6, rows=NO_ROWS) == await rebuild(after.settings)

        restored = {
            key: decode_record(value) for key, value in last(await everything(new, new.topics.state)).items()
        }
        for cluster_id in (*traffic.live, *traffic.gone):
            was, now = decode_record(states[cluster_id.encode()]), restored[cluster_id.encode()]
            assert json.loads(encode(was.cluster)) == json.loads(
                encode(now.cluster)
            )  # numbers as PostgreSQL's
            assert was.secrets == now.secrets
            assert (was.first_report_at, was.deleted_at) == (now.first_report_at, now.deleted_at)
            assert was.deleted_at or was.schedule == now.schedule
            assert {n: replace(r, report_ids=()) for n, r in was.reports.items()} == now.reports
            assert (1, {}, ()) == (now.revision, now.offsets, now.recent)
        assert [] == await everything(new, new.topics.events)
        assert rows["clusters"] != await after.tables()  # which record they show is forgotten
        with pytest.raises(NotComparable, match="no sink has stored anything"):
            await after.verify()

        worker, _ = await after.deployment.worker(), await after.sink()
        api = await after.web(owner)
        assert seen == await shown(api, live)
        assert listed == {c["id"]: c for c in (await api.list())["clusters"]}
        assert in_the_clear == (await api.as_(CONTROLLER).get(traffic.secret))["spec"]
        assert statuses == [(await api.get(f"{cluster_id}/status")).json for cluster_id in live]
        for cluster_id in traffic.gone:
            check_error(await api.get(cluster_id), 404, "RESOURCE_NOT_FOUND")
        check_error(await api.create("fresh"), 409, "CLUSTER_NAME_EXISTS")
        assert (await after.verify()).equal
        assert [] == await everything(new, new.topics.events)
        assert rows["cluster_events"] == (await after.tables())["cluster_events"]

        version = f'"{listed[traffic.updated]["resource_version"]}"'
        updated = check(await api.update(traffic.updated, {**SPEC, "size": 4}, if_match=version), 200)
        assert 4 == updated["generation"]
        assert (await api.report(traffic.updated, observed_generation=4, conditions=available()))["applied"]
        assert 201 == (await api.create("deleted")).status
        [event, _] = [
            json.loads(record.value)
            for record in sorted(await everything(new, new.topics.events), key=lambda r: r.timestamp)
        ]
        assert ("cluster.updated", 4) == (event["type"], event["generation"])
        assert (await after.verify()).equal

        with pytest.raises(RebuildRefused, match="1 workers are alive"):
            await rebuild(after.settings)
        await worker.end()
        with pytest.raises(RebuildRefused, match="holds what a worker has written"):
            await rebuild(after.settings)
        assert (await after.verify()).equal


# --- half done -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def stored(servers):
    """A database with 400 clusters, every tenth deleted; written by a sink that is gone."""
    records = [cluster(n, reports=[report("dns")], deleted=100 if n % 10 == 0 else None) for n in range(400)]
    for n in range(1, 400, 7):  # what operators have said of it, and that it has droplets
        at = records[n].cluster.created_at
        records[n] = replace(records[n], attached=True, health_override="warning", checked_at=at)
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        await world.publish(*records)
        await world.drain()
        yield world, records


async def a_new_prefix(servers, world) -> RecoverySettings:
    """The same Kafka under new names: what matters here is what the topics hold."""
    kafka = await servers.new_topics(partitions=3)
    return RecoverySettings(kafka=kafka, database=DatabaseSettings(url=world.database_url), page=1)


async def filled(settings):
    """What a rebuild has left in both changelogs, without places."""
    kafka = settings.kafka
    return [last(await everything(kafka, topic)) for topic in (kafka.topics.state, kafka.topics.names)]


async def has_begun(settings):
    async def begun():
        return await everything(settings.kafka, settings.kafka.topics.state)

    return await until(begun, what="the first records of a rebuild")


async def a_process(settings):
    text = base64.b64encode(pickle.dumps(settings)).decode()
    root = Path(__file__).parents[2]
    return await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, text, cwd=root)


async def test_what_is_restored_is_what_was_stored(servers, stored):
    world, records = stored
    settings = await a_new_prefix(servers, world)
    assert Rebuilt(clusters=400, live=360, rows=NO_ROWS) == await rebuild(settings)
    states, names = await filled(settings)
    for record in records:
        expected = replace(record, revision=1, offsets={})
        if record.deleted_at:
            expected = replace(expected, schedule=decode_record(states[record.cluster.id.encode()]).schedule)
        assert expected == decode_record(states[record.cluster.id.encode()])
    holders = {f"{r.cluster.created_by}/{r.cluster.name}": r.cluster.id for r in records if not r.deleted_at}
    assert holders == {key.decode(): decode_name(value).cluster_id for key, value in names.items()}


async def test_a_run_that_was_killed_is_made_good_by_another(servers, stored):
    world, _ = stored
    whole, halved = await a_new_prefix(servers, world), await a_new_prefix(servers, world)
    await rebuild(whole)
    for _ in range(2):
        process = await a_process(halved)
        before = len(await everything(halved.kafka, halved.kafka.topics.state))

        async def further(before=before):
            return len(await everything(halved.kafka, halved.kafka.topics.state)) > before

        await until(further, what="progress of the rebuild")
        process.send_signal(signal.SIGKILL)
        assert -signal.SIGKILL == await process.wait()
    assert len((await filled(halved))[0]) < 400, "it was killed before it was done"

    for _ in range(2):  # once more than needed: nothing speaks against it while no worker has begun
        assert Rebuilt(clusters=400, live=360, rows=NO_ROWS) == await rebuild(halved)
        assert await filled(whole) == await filled(halved)


async def test_a_worker_that_begins_meanwhile_is_noticed(servers, stored):
    world, _ = stored
    settings = await a_new_prefix(servers, world)
    await world.fetch(
        "INSERT INTO sink_offsets VALUES ('old', 0, 'old', 7, now(), -1) ON CONFLICT DO NOTHING"
    )
    positions = await world.positions()
    producer = Producer(settings.kafka, client_id="a worker")
    running = asyncio.create_task(rebuild(settings))
    await has_begun(settings)
    await producer.publish([claim_output(settings.kafka.topics.names, 1, "worker/1")])
    assert not running.done()
    with pytest.raises(RebuildRefused, match="cluster-names holds what a worker has written"):
        await running
    await producer.stop()
    assert positions == await world.positions(), "the sink is not let loose on it"


async def test_a_sink_that_still_writes_is_noticed(servers, stored):
    world, _ = stored
    settings = await a_new_prefix(servers, world)
    await world.fetch(
        "INSERT INTO sink_offsets VALUES ('old', 0, 'old', 7, now(), -1) ON CONFLICT DO NOTHING"
    )
    running = asyncio.create_task(rebuild(settings))
    await has_begun(settings)
    await world.fetch("UPDATE sink_offsets SET next_offset = next_offset + 1 WHERE topic = 'old'")
    assert not running.done()
    with pytest.raises(RebuildRefused, match="stop every sink"):
        await running
    assert {"old"} == {topic for topic, _ in await world.positions()}
    await rebuild(settings)
    assert {} == await world.positions()


# --- what cannot be -------------------------------------------------------------------------------------


async def test_a_row_that_is_no_record_is_named_and_nothing_is_switched(servers):
    async with a_world(await servers.new_topics(), await servers.new_database()) as world:
        await world.publish(cluster("good"), bad := cluster("bad"))
        await world.drain()
        positions = await world.positions()
        await world.fetch("UPDATE clusters SET status = NULL WHERE name = 'c-bad'")
        settings = await a_new_prefix(servers, world)
        with pytest.raises(RebuildRefused, match=f"cluster {bad.cluster.id} cannot be restored"):
            await rebuild(settings)
        assert positions == await world.positions()
        await world.fetch("DELETE FROM clusters WHERE name = 'c-bad'")
        assert 1 == (await rebuild(settings)).clusters


async def test_topics_filled_from_another_database_are_refused(servers):
    settings = []
    for word in ("one", "other"):
        async with a_world(await servers.new_topics(), await servers.new_database()) as world:
            await world.publish(cluster(word))
            await world.drain()
            settings.append(
                RecoverySettings(kafka=world.kafka, database=DatabaseSettings(url=world.database_url))
            )
    kafka = await servers.new_topics()
    one, other = (dataclasses.replace(each, kafka=kafka) for each in settings)
    await rebuild(one)
    with pytest.raises(RebuildRefused, match="filled from another database"):
        await rebuild(other)


async def test_nothing_is_restored_over_the_kafka_that_is_there(servers):
    """Records that no rebuild has written: somebody's state, whether it was claimed or not."""
    async with a_world(await servers.new_topics(), await servers.new_database()) as world:
        await world.publish(cluster())
        await world.drain()
        settings = RecoverySettings(kafka=world.kafka, database=DatabaseSettings(url=world.database_url))
        positions = await world.positions()
        with pytest.raises(RebuildRefused, match="this Kafka is not lost"):
            await rebuild(settings)
        assert positions == await world.positions()
