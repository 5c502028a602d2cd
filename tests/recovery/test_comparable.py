"""When there is nothing to compare; and what the commands print and return."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from domain.cluster.names import NameRecord
from recovery import verify
from recovery.cluster.names import Yielded
from recovery.differences import Difference
from recovery.errors import NotComparable
from streams.json import encode
from streams.reading.replay import Last
from tests.recovery.given import a_run, hold, settings_of
from tests.sinks.changelog import Changelog
from tests.sinks.conftest import a_world
from tests.sinks.given import OWNER, cluster, event, report, uuid


@pytest.fixture
async def stored(servers):
    """Two clusters, an event, their names; stored by a sink that has stopped."""
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        for word in ("one", "two"):
            await world.publish(cluster(word, reports=[report()]))
            await hold(world, f"c-{word}", uuid(word))
        await world.announce(event("told"))
        await world.drain()
        yield world


async def test_equal(stored):
    assert (await verify(settings_of(stored))).equal


async def test_a_sink_that_is_behind_is_waited_for(stored):
    await stored.publish(*[cluster("one", generation=g) for g in (2, 3, 4)])
    with pytest.raises(NotComparable, match=r"after 0\.5 s the sink is 3 records behind"):
        await verify(settings_of(stored))
    waiting = asyncio.create_task(verify(settings_of(stored, wait=20)))
    await stored.drain()
    assert (await waiting).equal


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ("DELETE FROM sink_offsets", "no sink has stored anything"),
        ("UPDATE sink_offsets SET kafka_cluster_id = 'gone'", "read from Kafka cluster gone"),
        ("UPDATE sink_offsets SET next_offset = next_offset + 1000", "was made anew or has lost records"),
    ],
    ids=["no sink ever ran", "it has read another Kafka", "it has read what is not there"],
)
async def test_what_cannot_be_compared_is_not_repaired(damage, text, stored):
    before = await stored.tables()
    await stored.fetch(damage)
    with pytest.raises(NotComparable, match=text):
        await verify(settings_of(stored), repair=True)
    assert before == await stored.tables()


# --- records that do not count ----------------------------------------------------------------------------


async def test_what_a_replaced_worker_wrote_is_no_difference(stored):
    log = Changelog(stored)
    await log.claim()
    await log.claim()
    await log.write(cluster("zombie's"), by=0)
    await stored.drain()
    assert (await verify(settings_of(stored))).equal


async def test_what_cannot_be_read_is_no_difference(stored):
    await stored.send(stored.topics.state, [(uuid("one").encode(), b"{}"), (b"no id", b"[]")])
    await stored.send(stored.topics.events, [(uuid("one").encode(), b"{}")])
    await stored.drain()
    assert (await verify(settings_of(stored))).equal


NUL = {"platform": {"type": "gcp"}, "note": "a\0b"}


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        pytest.param(
            cluster("refused", name="n" * 300),
            {"name has 300 characters, the column takes 255"},
            id="too long",
        ),
        pytest.param(
            cluster("refused", spec=NUL),
            {"a value does not fit its column (SQLSTATE 22P05)"},
            id="a NUL in JSON",
        ),
        pytest.param(
            cluster("refused", name="a\0b"),
            {"a value does not fit its column (SQLSTATE 22021)"},
            id="a NUL in text",
        ),
        pytest.param(
            cluster("refused", reports=[report("r" * 300)]),
            {"controller_name has 300 characters, the column takes 255"},
            id="a report too long",
        ),
        pytest.param(
            cluster("one", generation=2, spec=NUL),
            {"a value does not fit its column (SQLSTATE 22P05)"},
            id="the last record of a cluster that has a row",
        ),
    ],
)
async def test_a_state_that_postgresql_refuses_is_passed_over(refused, told, stored):
    await stored.publish(cluster("three"), refused, cluster("four"))
    for word in ("three", "four"):
        await hold(stored, f"c-{word}", uuid(word))
    await hold(stored, refused.cluster.name, refused.cluster.id)
    await stored.drain()
    await stored.fetch("DELETE FROM clusters WHERE id = $1", uuid("three"))

    found = await verify(settings_of(stored))

    assert {("clusters", uuid("three")), ("reconciliation_schedule", uuid("three"))} == {
        (d.table, d.id) for d in found.first
    }, "the rest of its page is compared"
    repaired = await verify(settings_of(stored), repair=True)
    assert (True, {"clusters": 1}) == (repaired.equal, dict(repaired.passed_over))
    assert told == {why for _, _, why in repaired.first_passed_over}
    assert {refused.cluster.id} == {id for _, id, _ in repaired.first_passed_over}


async def test_an_event_that_postgresql_refuses_is_passed_over(stored):
    nul = event("nul") | {"metadata": {"triggered_by": "a\0b", "request_id": None}}
    await stored.announce(event("before"), nul, event("too long", kind="k" * 200), event("after"), nul)
    await stored.drain()
    await stored.fetch("DELETE FROM cluster_events WHERE id = $1", uuid(("event", "after")))

    found = await verify(settings_of(stored))

    assert [("cluster_events", uuid(("event", "after")))] == [(d.table, d.id) for d in found.first]
    repaired = await verify(settings_of(stored), repair=True)
    assert (True, {"cluster_events": 2}) == (repaired.equal, dict(repaired.passed_over))
    assert {
        (uuid(("event", "nul")), "a value does not fit its column (SQLSTATE 22P05)"),
        (uuid(("event", "too long")), "event_type has 200 characters, the column takes 100"),
    } == {(id, why) for _, id, why in repaired.first_passed_over}
    assert 3 == len(await stored.fetch("SELECT id FROM cluster_events"))


async def test_of_an_event_told_twice_the_one_that_can_be_stored_has_no_say(stored):
    nul = event("twice") | {"metadata": {"triggered_by": "a\0b", "request_id": None}}
    await stored.announce(nul, event("twice"))
    await stored.drain()
    await stored.fetch("DELETE FROM cluster_events WHERE id = $1", uuid(("event", "twice")))

    found = await verify(settings_of(stored))

    assert (True, {"cluster_events": 1}) == (found.equal, dict(found.passed_over))


async def test_what_postgresql_refuses_is_told_and_stops_no_repair(stored):
    refused = cluster("refused", name="n" * 300)
    await stored.publish(refused, cluster("three"))
    await stored.announce(event("too long", kind="k" * 200))
    await stored.drain()
    await stored.fetch("DELETE FROM clusters WHERE id = $1", uuid("three"))
    await stored.fetch("DELETE FROM cluster_events WHERE id = $1", uuid(("event", "told")))

    found = await verify(settings_of(stored), repair=True)

    rows = {(table, id) for table, id, _ in found.first_passed_over}
    assert {("clusters", uuid("refused")), ("cluster_events", uuid(("event", "too long")))} == rows
    assert {"cluster-names": 2} == dict(found.different)
    assert 3 == len(await stored.fetch("SELECT id FROM clusters"))
    assert 1 == len(await stored.fetch("SELECT id FROM cluster_events"))


async def test_a_tombstone_means_no_row(stored):
    await stored.send(stored.topics.state, [(uuid("two").encode(), None)])
    await hold(stored, "c-two", "")
    await stored.drain()
    assert (await verify(settings_of(stored))).equal
    await stored.fetch(
        "INSERT INTO clusters (id, name, created_by) VALUES ($1, 'c-two', $2)", uuid("two"), OWNER
    )
    assert {"clusters": 1} == dict((await verify(settings_of(stored))).different)


async def test_a_name_yielded_to_a_successor_whose_predecessors_end_is_on_its_way(stored):
    """The sink marks the older one deleted, and that is no damage (`sinks.cluster.names`)."""
    await stored.publish(replaced := cluster("three", name="c-one", created=50))
    await hold(stored, "c-one", uuid("three"))
    await stored.drain()
    found = await verify(settings_of(stored))
    assert {
        ("cluster-names", uuid("one"), "its name is not held by it"),
        ("clusters", uuid("one"), "deleted_at"),
    } == {(d.table, d.id, d.what) for d in found.first}, "no deletion is on its way"
    await stored.publish(cluster("one", reports=[report()], deleted=40))
    await stored.drain()
    assert (await verify(settings_of(stored))).equal
    assert replaced.deleted_at is None


@pytest.mark.parametrize(
    "mark",
    [
        "deleted_at = (SELECT created_at FROM clusters WHERE name = 'c-one')",
        "yielded = true, deleted_at = (SELECT created_at FROM clusters WHERE name = 'c-one')",
    ],
    ids=["as the sink would", "as the sink would, and that it did"],
)
async def test_a_living_cluster_that_is_shown_as_deleted_is_a_difference(mark, stored):
    """Whatever else its row looks like."""
    await stored.fetch(f"UPDATE clusters SET {mark} WHERE id = $1", uuid("two"))
    await stored.publish(reborn := cluster("one", reports=[report()], generation=2))
    await stored.drain()

    found = await verify(settings_of(stored))

    assert [("clusters", uuid("two"))] == [(d.table, d.id) for d in found.first]
    assert "deleted_at" in found.first[0].what
    assert (await verify(settings_of(stored), repair=True)).equal
    assert reborn.deleted_at is None


LIVES, DELETED = Last(0, 1, "a name"), Last(0, 2, None)


@pytest.mark.parametrize(
    ("cluster_ends", "holder_was", "holder_ends", "differs"),
    [
        (LIVES, LIVES, LIVES, True),
        (DELETED, LIVES, LIVES, False),
        (None, LIVES, LIVES, False),
        (LIVES, LIVES, DELETED, False),
        (LIVES, LIVES, None, False),
        (LIVES, DELETED, DELETED, True),
        (LIVES, None, None, True),
    ],
    ids=[
        "both live",
        "its deletion was on its way",
        "its purge was on its way",
        "the deletion of the other was on its way",
        "the purge of the other was on its way",
        "the other should not hold it",
        "nobody knows the other",
    ],
)
def test_a_cluster_that_yielded_its_name(cluster_ends, holder_was, holder_ends, differs):
    states = SimpleNamespace(last={b"it": LIVES} | ({b"holder": holder_was} if holder_was else {}))
    yielded = Yielded([("it", "holder")], states)
    ends = {b"it": cluster_ends, b"holder": holder_ends}
    states.last = {key: last for key, last in ends.items() if last is not None}

    found = [*yielded.differences()]

    assert ([Difference("clusters", "it", "deleted_at")] if differs else []) == found


# --- names ------------------------------------------------------------------------------------------------


async def test_names_are_told_and_left_to_the_workers(stored):
    await hold(stored, "c-one", "")
    await hold(stored, "c-two", uuid("one"))
    await hold(stored, "nobody's", uuid("gone"))

    found = await verify(settings_of(stored), repair=True)

    assert {
        (uuid("one"), "its name is not held by it"),
        (uuid("two"), "its name is not held by it"),
        (uuid("one"), f"holds {OWNER}/c-two and is gone"),
        (uuid("gone"), f"holds {OWNER}/nobody's and is gone"),
    } == {(difference.id, difference.what) for difference in found.first}
    assert (4, {}) == (found.different["cluster-names"], dict(found.repaired))


async def test_a_key_of_names_that_is_no_text_is_passed_over(stored):
    held = encode(NameRecord(cluster_id=uuid("one"), command_id="", offsets={}))
    await stored.send(stored.topics.names, [(b"\xff\xfe", held), (b"\xff", None)])
    assert (await verify(settings_of(stored))).equal


async def test_a_name_on_its_way_is_no_difference(stored):
    await stored.publish(cluster("three"))
    await stored.drain()
    looking = asyncio.create_task(verify(settings_of(stored, wait=20)))
    done, _ = await asyncio.wait({looking}, timeout=2)
    assert not done, "it looks again before it says so"
    await hold(stored, "c-three", uuid("three"))
    assert (await looking).equal


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def environment(stored):
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stored.kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": stored.topics.prefix,
        "KAFKA_PARTITIONS": str(stored.kafka.partitions),
        "KAFKA_REPLICATION": "1",
        "DATABASE_URL": stored.database_url,
    }


async def test_verify_tells_by_its_status(stored, environment):
    equal = await a_run("verify", **environment)
    assert (0, "equal") == (equal.returncode, equal.stdout.splitlines()[-1]), equal.stderr
    assert re.search(r"clusters +2 +0", equal.stdout)

    await stored.fetch("UPDATE clusters SET spec = '{\"secret\": 1}' WHERE id = $1", uuid("one"))
    different = await a_run("verify", **environment)
    assert (1, "different") == (different.returncode, different.stdout.splitlines()[-1])
    assert f"clusters {uuid('one')}: spec" in different.stdout
    assert "secret" not in different.stdout + different.stderr

    repaired = await a_run("verify", "--repair", **environment)
    assert (0, "equal") == (repaired.returncode, repaired.stdout.splitlines()[-1])
    assert re.search(r"clusters +2 +0 +1", repaired.stdout)

    await stored.publish(cluster("two", generation=2))
    behind = await a_run("verify", "--wait", "500ms", **environment)
    assert (3, True) == (behind.returncode, "the sink is 1 records behind" in behind.stderr)
    assert "Traceback" not in behind.stderr


async def test_verify_tells_what_it_passed_over(stored, environment):
    await stored.announce(event("nul") | {"metadata": {"request_id": "hush\0"}})
    await stored.drain()

    done = await a_run("verify", **environment)

    assert (0, "equal, 1 passed over") == (done.returncode, done.stdout.splitlines()[-1])
    told = f"passed over: cluster_events {uuid(('event', 'nul'))}: a value does not fit its column"
    assert told in done.stdout
    assert "hush" not in done.stdout + done.stderr


async def test_verify_without_kafka_is_not_comparable(environment):
    away = await a_run("verify", **{**environment, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert (3, False) == (away.returncode, "Traceback" in away.stderr)
    for value, variable in (("", "DATABASE_URL"), ("x", "KAFKA_PARTITIONS")):
        bad = await a_run("verify", **{**environment, variable: value})
        assert (2, True) == (bad.returncode, variable in bad.stderr)


async def test_rebuild_says_what_to_do_next(stored, environment):
    refused = await a_run("rebuild", **environment)
    assert (1, True) == (refused.returncode, "docs/recovery.md" in refused.stderr)
    new = {**environment, "KAFKA_TOPIC_PREFIX": f"{stored.topics.prefix}new."}
    done = await a_run("rebuild", **new)
    assert (0, "restored 2 clusters, 2 of them live") == (done.returncode, done.stdout.splitlines()[0])
    kafka = replace(stored.kafka, topics=replace(stored.topics, prefix=new["KAFKA_TOPIC_PREFIX"]))
    with pytest.raises(NotComparable, match="no sink has stored anything"):
        await verify(replace(settings_of(stored), kafka=kafka))


async def test_rebuild_brings_no_dead_clusters_back_unless_told_to(stored, environment):
    await stored.fetch("UPDATE sink_offsets SET read_until = now() - interval '30 hours' WHERE partition = 1")
    new = {**environment, "KAFKA_TOPIC_PREFIX": f"{stored.topics.prefix}new."}

    refused = await a_run("rebuild", **new)

    assert 1 == refused.returncode
    assert re.search(r"the sink last wrote at 20\S+Z, 30 hours ago: clusters deleted since", refused.stderr)
    assert "--accept-old-rows" in refused.stderr
    done = await a_run("rebuild", "--accept-old-rows", **new)
    assert (0, "restored 2 clusters, 2 of them live") == (done.returncode, done.stdout.splitlines()[0])


async def test_of_an_event_that_was_told_twice_the_first_counts(stored):
    await stored.announce(event("told", kind="cluster.deleted"))
    await stored.drain()

    assert (await verify(settings_of(stored))).equal
    await stored.fetch("DELETE FROM cluster_events")
    assert (await verify(settings_of(stored), repair=True)).equal

    [row] = await stored.fetch("SELECT event_type FROM cluster_events")
    assert "cluster.updated" == row["event_type"]


async def test_what_a_recorder_has_not_read_for_long_is_no_matter_of_a_rebuild(stored, environment):
    await stored.fetch("UPDATE sink_offsets SET read_until = now()")
    await stored.fetch(
        "INSERT INTO sink_offsets (topic, partition, kafka_cluster_id, next_offset, read_until)"
        " VALUES ($1, 0, 'lost', 7, now() - interval '300 hours')",
        f"{stored.topics.prefix}task.process",
    )

    done = await a_run("rebuild", **{**environment, "KAFKA_TOPIC_PREFIX": f"{stored.topics.prefix}new."})

    assert 0 == done.returncode, done.stderr
    assert {} == await stored.positions()
