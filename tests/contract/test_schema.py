"""Section 7: the tables that others read are those of the contract, and the database computes nothing."""

import asyncpg
import pytest

from migrations import migrate

# Column → type, whether null is allowed.
UUID, TEXT, BIG, JSON = "uuid", "character varying(255)", "bigint", "jsonb"
TIME, BOOL = "timestamp with time zone", "boolean"
TABLES = {
    "clusters": {
        "id": (UUID, False),
        "name": (TEXT, False),
        "created_by": (TEXT, False),
        "target_project_id": (TEXT, True),
        "spec": (JSON, False),
        "metadata": (JSON, False),
        "status": (JSON, True),
        "status_dirty": (BOOL, False),
        "generation": (BIG, False),
        "resource_version": (TEXT, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "deleted_at": (TIME, True),
        "state_partition": ("integer", False),
        "state_offset": (BIG, False),
        "health_override": ("character varying(50)", True),
        "checked_at": (TIME, True),
        "attached": (BOOL, False),
    },
    "controller_status": {
        "cluster_id": (UUID, False),
        "controller_name": (TEXT, False),
        "observed_generation": (BIG, False),
        "conditions": (JSON, False),
        "metadata": (JSON, False),
        "last_error": (JSON, True),
        "updated_at": (TIME, False),
    },
    "reconciliation_schedule": {
        "cluster_id": (UUID, False),
        "next_reconcile_at": (TIME, False),
        "last_reconciled_at": (TIME, True),
        "enabled": (BOOL, False),
        "needs_attention": (BOOL, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    },
    "cluster_events": {
        "id": (UUID, False),
        "cluster_id": (UUID, False),
        "controller_name": (TEXT, False),
        "event_type": ("character varying(100)", False),
        "generation": (BIG, False),
        "metadata": (JSON, False),
        "published_at": (TIME, False),
    },
    "resources": {
        "id": ("character varying(100)", False),
        "name": ("character varying(255)", False),
        "description": ("text", False),
        "status": ("character varying(50)", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "version": (BIG, False),
    },
    "tasks": {
        "id": ("character varying(100)", False),
        "resource_id": ("character varying(100)", False),
        "action": ("character varying(100)", False),
        "status": ("character varying(50)", False),
        "result": ("text", False),
        "error": ("text", False),
        "attempt": (BIG, False),
        "metadata": (JSON, False),
        "source": ("character varying(100)", False),
        "work": (JSON, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "version": (BIG, False),
    },
    "processed_events": {
        "id": (UUID, False),
        "event_type": ("character varying(100)", False),
        "resource_id": ("character varying(100)", True),
        "task_id": ("character varying(100)", True),
        "action": ("character varying(100)", True),
        "payload": (JSON, False),
        "trace_id": ("text", True),
        "processed_at": (TIME, False),
    },
    "outbox_events": {
        "id": ("character varying(100)", False),
        "aggregate_id": ("character varying(100)", False),
        "event_type": ("character varying(100)", False),
        "payload": (JSON, False),
        "headers": (JSON, True),
        "created_at": (TIME, False),
        "processed_at": (TIME, True),
        "seq": (BIG, False),
        "attempts": ("integer", False),
        "last_error": ("text", True),
        "parked_at": (TIME, True),
    },
    "droplets": {
        "id": ("character varying(100)", False),
        "cluster_id": (TEXT, True),
        "name": (TEXT, False),
        "region": (TEXT, False),
        "size": (TEXT, False),
        "image": (TEXT, False),
        "provider": (TEXT, False),
        "status": ("character varying(50)", False),
        "ip_address": ("character varying(45)", True),
        "reason": ("text", False),
        "wakes_at": (TIME, True),
        "block": ("character varying(45)", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "version": (BIG, False),
    },
    "address_blocks": {
        "id": ("character varying(100)", False),
        "held": (JSON, False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "version": (BIG, False),
    },
    "cluster_members": {
        "id": ("character varying(100)", False),
        "droplets": (JSON, False),
        "known": (BOOL, False),
        "wakes_at": (TIME, True),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
        "version": (BIG, False),
    },
    "events": {
        "event_id": (UUID, False),
        "type": ("character varying(100)", False),
        "key": (TEXT, False),
        "cluster_id": (TEXT, True),
        "trace_id": (TEXT, True),
        "payload": (JSON, False),
        "timestamp": (TIME, False),
    },
    "schema_migrations": {"version": (TEXT, False), "applied_at": (TIME, False)},
}
# What each index is over, and the rows it is for.
INDEXES = {
    "clusters": [
        "(id)",
        "(created_by, name) WHERE (deleted_at IS NULL)",
        "(created_by)",
        "(created_at)",
        "(status_dirty) WHERE status_dirty",
        "(created_by, created_at DESC, id) WHERE (deleted_at IS NULL)",
        "(created_by, name) WHERE yielded",
    ],
    "controller_status": ["(cluster_id, controller_name)", "(updated_at)"],
    "reconciliation_schedule": ["(cluster_id)", "(next_reconcile_at, enabled) WHERE enabled"],
    "cluster_events": ["(id)", "(cluster_id)", "(published_at)"],
    "resources": ["(id)", "(status)", "(created_at)"],
    "tasks": ["(id)", "(resource_id)", "(status)", "(created_at)"],
    "processed_events": ["(id)", "(event_type)", "(resource_id)", "(task_id)", "(processed_at)"],
    "outbox_events": [
        "(id)",
        "(seq) WHERE ((processed_at IS NULL) AND (parked_at IS NULL))",
        "(aggregate_id, seq) WHERE ((processed_at IS NULL) AND (parked_at IS NULL))",
        "(parked_at) WHERE (parked_at IS NOT NULL)",
        "(processed_at) WHERE (processed_at IS NOT NULL)",
        "(created_at)",
        "(aggregate_id)",
    ],
    "droplets": ["(id)", "(cluster_id, created_at)"],
    "address_blocks": ["(id)"],
    "cluster_members": ["(id)"],
    "events": ["(event_id)", '(key, "timestamp")', '("timestamp")'],
}
COLUMNS = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""


@pytest.fixture(scope="module")
async def database(servers):
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", TABLES)
async def test_columns(database, table):
    found = {row["name"]: (row["type"], row["nullable"]) for row in await database.fetch(COLUMNS, table)}
    assert TABLES[table].items() <= found.items()  # beside them the sink may keep books of its own


@pytest.mark.parametrize("table", INDEXES)
async def test_indexes(database, table):
    rows = await database.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", table)
    assert set(INDEXES[table]) <= {row["indexdef"].partition(" USING btree ")[2] for row in rows}


async def test_of_two_live_clusters_of_one_name_and_owner_one_is_refused(database):
    insert = "INSERT INTO clusters (name, created_by, deleted_at) VALUES ('n', $1, $2)"
    await database.execute(insert, "a@example.com", None)
    await database.execute(insert, "b@example.com", None)
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(insert, "a@example.com", None)
    await database.execute("UPDATE clusters SET deleted_at = now()")
    await database.execute(insert, "a@example.com", None)


async def test_reports_and_schedule_go_with_their_cluster(database):
    id_ = await database.fetchval(
        "INSERT INTO clusters (name, created_by) VALUES ('m', 'm@example.com') RETURNING id"
    )
    await database.execute(
        "INSERT INTO controller_status (cluster_id, controller_name) VALUES ($1, 'dns')", id_
    )
    await database.execute(
        "INSERT INTO reconciliation_schedule (cluster_id, next_reconcile_at) VALUES ($1, now())", id_
    )
    await database.execute("DELETE FROM clusters WHERE id = $1", id_)
    for table in ("controller_status", "reconciliation_schedule"):
        assert 0 == await database.fetchval(f"SELECT count(*) FROM {table} WHERE cluster_id = $1", id_)


async def test_a_generation_is_at_least_1(database):
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(
            "INSERT INTO clusters (name, created_by, generation) VALUES ('g', 'g@example.com', 0)"
        )


async def test_there_is_neither_trigger_nor_function_but_to_wake_the_relay(database):
    triggers = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert ["outbox_events"] == [row[0] for row in await database.fetch(triggers)]
    assert ["outbox_events_inserted"] == [row[0] for row in await database.fetch(functions)]
