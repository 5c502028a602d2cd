"""The grants of docs/outbox.md, tried on a database: they are enough, and no more than that (OB-9)."""

import json
import re
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from migrations.apply import migrate
from outbox import table

PAGE = Path(__file__).parents[2] / "docs" / "outbox.md"
INSERT = (
    "INSERT INTO outbox_events (id, aggregate_id, event_type, payload, headers) VALUES ($1, 'a', 'b', $2, $2)"
)


@pytest.fixture(scope="module")
async def database(servers):
    """A migrated database in which the page's statements were run, for roles of this test alone."""
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    name = url.rpartition("/")[2]
    for role in ("application", "relay"):
        await connection.execute(f"CREATE ROLE {name}_{role}")
    for statement in re.findall(r"^GRANT .*;$", PAGE.read_text(), re.MULTILINE):
        await connection.execute(re.sub(r"TO (\w+);", rf"TO {name}_\1;", statement))
    yield connection, name
    for role in ("application", "relay"):
        await connection.execute(f"DROP OWNED BY {name}_{role}; DROP ROLE {name}_{role}")
    await connection.close()


@pytest.fixture
def as_(database):
    """Run a statement as one of the page's roles."""
    connection, name = database

    async def run(role, statement, *args):
        await connection.execute(f"SET ROLE {name}_{role}")
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.execute("RESET ROLE")

    return run


async def test_an_application_inserts_rows_and_reads_what_there_is(as_):
    await as_("application", INSERT, "one", json.dumps({}))
    await as_("application", "SELECT * FROM resources, tasks")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO outbox_events (aggregate_id, event_type, payload, attempts) VALUES ('a', 'b', '1', 9)",
        "UPDATE outbox_events SET processed_at = now()",
        "DELETE FROM outbox_events",
        "SELECT payload FROM outbox_events",
        "UPDATE resources SET name = 'x'",
        "DELETE FROM tasks",
        "UPDATE sink_offsets SET next_offset = 0",
    ],
)
async def test_an_application_does_nothing_else(as_, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_("application", statement)


async def test_a_relay_reads_marks_parks_and_deletes(as_):
    await as_("application", INSERT, "two", json.dumps({}))
    (*_, row) = await as_("relay", table.READ, 0, 100, 1000)
    await as_("relay", table.COUNT)
    await as_("relay", table.FAILED, [row["seq"]], "why")
    await as_("relay", table.PARK, [row["seq"]], ["why"])
    await as_("relay", table.PUBLISHED, [row["seq"]])
    await as_("relay", table.PURGE, timedelta(days=1), 10)
    await as_("relay", "LISTEN outbox_events")
    await as_("relay", "UNLISTEN outbox_events")


@pytest.mark.parametrize(
    "statement",
    [
        INSERT.replace("$1", "'x'").replace("$2", "'{}'"),
        "UPDATE outbox_events SET payload = '1'",
        "DROP TABLE outbox_events",
        "ALTER TABLE outbox_events ADD COLUMN x int",
        "SELECT * FROM resources",
    ],
)
async def test_a_relay_does_nothing_else(as_, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_("relay", statement)
