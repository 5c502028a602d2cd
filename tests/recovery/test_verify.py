"""PostgreSQL compared with the topics: nothing is found where nothing is wrong, and each damage is mended."""

import asyncio
from uuid import uuid4

import pytest

from recovery.errors import NotComparable
from sinks.tables import TABLES
from tests.e2e.product import SPEC, an_owner, available
from tests.recovery.site import a_site, mixed_traffic

STRANGER = str(uuid4())


@pytest.fixture(scope="module")
async def site(servers):
    async with a_site(await servers.new_topics(partitions=3), await servers.new_database()) as site:
        await site.deployment.worker()
        await site.sink()
        yield site


@pytest.fixture(scope="module")
async def traffic(site):
    traffic = await mixed_traffic(await site.web(an_owner()))
    await site.verify()  # which waits until the sink has stored all of it
    return traffic


def told(found):
    return {(difference.table, difference.id, difference.what) for difference in found.first}


async def test_after_traffic_of_every_kind_nothing_differs(site, traffic):
    found = await site.verify()
    assert (set(), {}) == (told(found), dict(found.different))
    assert {
        "clusters": 8,
        "controller_status": 5,
        "reconciliation_schedule": 6,
        "cluster_events": 12,
        "cluster-names": 6,
    } == dict(found.compared)
    assert set(found.tables) == {*found.compared, *(table.name for table in TABLES)}


DAMAGE = [
    pytest.param(
        "UPDATE clusters SET spec = '{}', generation = 9 WHERE id = $1",
        "updated",
        {("clusters", "generation, spec")},
        id="columns were changed",
    ),
    pytest.param(
        'UPDATE clusters SET status_dirty = true, metadata = \'{"by": "hand"}\' WHERE id = $1',
        "fresh",
        {("clusters", "status_dirty, metadata")},
        id="columns that no record fills were changed",
    ),
    pytest.param(
        "UPDATE clusters SET secrets = '{}' WHERE id = $1",
        "secret",
        {("clusters", "secrets")},
        id="a secret was lost",
    ),
    pytest.param(
        "UPDATE clusters SET state_offset = 10000000, status = NULL WHERE id = $1",
        "ready",
        {("clusters", "status, state_offset")},
        id="a row claims to be newer than its record",
    ),
    pytest.param(
        "DELETE FROM clusters WHERE id = $1",
        "ready",
        {
            ("clusters", "missing"),
            ("controller_status", "dns: missing"),
            ("controller_status", "infra: missing"),
            ("reconciliation_schedule", "missing"),
        },
        id="a cluster was deleted",
    ),
    pytest.param(
        "DELETE FROM controller_status WHERE cluster_id = $1 AND controller_name = 'infra'",
        "ready",
        {("controller_status", "infra: missing")},
        id="a report was deleted",
    ),
    pytest.param(
        "UPDATE controller_status SET last_error = NULL, conditions = '[]' WHERE cluster_id = $1",
        "failing",
        {("controller_status", "dns: conditions, last_error")},
        id="a report was changed",
    ),
    pytest.param(
        "INSERT INTO controller_status (cluster_id, controller_name) VALUES ($1, 'made up')",
        "fresh",
        {("controller_status", "made up: without record")},
        id="a report was made up",
    ),
    pytest.param(
        "UPDATE reconciliation_schedule SET enabled = false, next_reconcile_at = now(), created_at = now()"
        " WHERE cluster_id = $1",
        "fresh",
        {("reconciliation_schedule", "next_reconcile_at, enabled, created_at")},
        id="a schedule was changed",
    ),
    pytest.param(
        "INSERT INTO reconciliation_schedule (cluster_id, next_reconcile_at) VALUES ($1, now())",
        "deleted",
        {("reconciliation_schedule", "without record")},
        id="a deleted cluster was scheduled",
    ),
    pytest.param(
        "UPDATE clusters SET deleted_at = NULL WHERE id = $1",
        "deleted",
        {("clusters", "deleted_at")},
        id="a deleted cluster lives again",
    ),
    pytest.param(
        "UPDATE clusters SET deleted_at = now() WHERE id = $1",
        "reborn",
        {("clusters", "deleted_at")},
        id="a live cluster was marked deleted",
    ),
    pytest.param(
        "DELETE FROM clusters WHERE id <> $1",
        "fresh",
        None,
        id="all clusters but one were deleted",
    ),
]


@pytest.mark.parametrize(("damage", "of", "expected"), DAMAGE)
async def test_damage_is_found_and_repaired(damage, of, expected, site, traffic):
    before = await site.tables()
    cluster_id = getattr(traffic, of)
    await site.sql(damage, cluster_id)
    damaged = await site.tables()

    found = await site.verify()
    if expected is not None:
        assert {(table, cluster_id, what) for table, what in expected} == told(found)
    assert not found.equal
    assert damaged == await site.tables(), "without --repair nothing is written"

    repaired = await site.verify(repair=True)
    assert repaired.equal
    assert found.different == repaired.repaired
    assert before == await site.tables()


async def test_rows_without_a_record_are_removed(site, traffic):
    before = await site.tables()
    await site.sql(
        "INSERT INTO clusters (id, name, created_by) VALUES ($1, 'made up', 'a@b.example')", STRANGER
    )
    await site.sql("INSERT INTO controller_status (cluster_id, controller_name) VALUES ($1, 'dns')", STRANGER)

    assert {("clusters", STRANGER, "without record")} == told(await site.verify())
    assert (await site.verify(repair=True)).equal
    assert before == await site.tables()


async def test_missing_events_are_inserted(site, traffic):
    before = await site.tables()
    ids = [row[0] for row in await site.sql("SELECT id::text FROM cluster_events LIMIT 3")]
    await site.sql("DELETE FROM cluster_events WHERE id = ANY($1::uuid[])", ids)

    assert {("cluster_events", id, "missing") for id in ids} == told(await site.verify())
    assert (await site.verify(repair=True)).equal
    assert before == await site.tables()


async def test_events_that_were_altered_are_written_again(site, traffic):
    before = await site.tables()
    [altered] = [row[0] for row in await site.sql("SELECT id::text FROM cluster_events LIMIT 1")]
    await site.sql(
        "UPDATE cluster_events SET metadata = '{}', published_at = published_at + '1s' WHERE id = $1", altered
    )

    assert {("cluster_events", altered, "metadata, published_at")} == told(await site.verify())
    assert (await site.verify(repair=True)).equal
    assert before == await site.tables()


async def test_names_that_were_exchanged_are_put_back(site, traffic):
    """Whichever is written first finds its name taken by the other."""
    before = await site.tables()
    for cluster_id, name in ((traffic.fresh, "x"), (traffic.ready, "fresh"), (traffic.fresh, "ready")):
        await site.sql("UPDATE clusters SET name = $2 WHERE id = $1", cluster_id, name)

    found = await site.verify()
    assert {("clusters", traffic.fresh, "name"), ("clusters", traffic.ready, "name")} == told(found)
    assert (await site.verify(repair=True)).equal
    assert before == await site.tables()


async def test_a_made_up_row_that_holds_a_name_gives_it_back(site, traffic):
    before = await site.tables()
    owner = (await site.sql("SELECT created_by FROM clusters WHERE id = $1", traffic.fresh))[0][0]
    await site.sql("DELETE FROM clusters WHERE id = $1", traffic.fresh)
    await site.sql("INSERT INTO clusters (id, name, created_by) VALUES ($1, 'fresh', $2)", STRANGER, owner)

    assert not (await site.verify()).equal
    assert (await site.verify(repair=True)).equal
    assert before == await site.tables()


async def test_under_load_nothing_is_found_but_damage(site, traffic):
    api = await site.web(an_owner())
    steady = [(await api.created(f"steady{n}"))["id"] for n in range(4)]
    stop, writes = asyncio.Event(), 0

    async def update(cluster_id):
        nonlocal writes
        while not stop.is_set():
            assert 200 == (await api.update(cluster_id, {**SPEC, "n": writes})).status
            await api.report(cluster_id, controller_name=f"c{writes % 3}", conditions=available())
            writes += 2

    async def come_and_go(name):
        nonlocal writes
        while not stop.is_set():
            await api.delete((await api.created(name))["id"], force=True)
            writes += 2

    load = [*map(update, steady), come_and_go("guest1"), come_and_go("guest2")]
    running = [asyncio.create_task(work) for work in load]
    try:
        for _ in range(3):
            begun = writes
            found = await site.verify()
            assert set() == told(found)
            assert writes > begun
        await site.sql("UPDATE clusters SET name = name || '!' WHERE id = $1", traffic.fresh)
        await site.sql("DELETE FROM clusters WHERE id = ANY($1::uuid[])", [traffic.ready, *steady])
        repaired = await site.verify(repair=True)
        assert set() == told(repaired)
        assert repaired.repaired["clusters"] >= 2
    finally:
        stop.set()
        await asyncio.gather(*running)
    assert (await site.verify()).equal


async def test_a_lost_database_is_refilled_from_the_topics(site, traffic, servers):
    """PostgreSQL lost: an empty schema and a sink are all it takes."""
    before = await site.tables()
    async with a_site(site.deployment.kafka, await servers.new_database()) as anew:
        with pytest.raises(NotComparable, match="no sink has stored anything"):
            await anew.verify()
        sink = await anew.sink("another")
        assert (await anew.verify()).equal
        assert before == await anew.tables()
        await sink.end()
