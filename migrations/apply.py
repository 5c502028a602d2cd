"""Brings a database to the newest version: SQL files in name order, each once, each in one transaction.

Own code, because the contract fixes the bookkeeping table and no library keeps it
(docs/decisions/0003-migrations.md). Forward only: what has to be undone is undone by a later file.
"""

import logging
import re
from importlib.resources import files
from typing import Final

import asyncpg

from database import check_encoding

log = logging.getLogger("clusterflow.migrate")

# Any number that nobody else locks in this database; ASCII "clstrflw".
_LOCK: Final = 0x636C737472666C77

_NAME = re.compile(r"\d{4}_\w+\.sql")

_APPLIED = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    varchar(255) PRIMARY KEY,
    applied_at timestamptz  NOT NULL DEFAULT now()
)
"""


def migrations() -> dict[str, str]:
    """SQL by version (`0001_clusters`), in the order of application."""
    found = (file for file in files("migrations").iterdir() if _NAME.fullmatch(file.name))
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in sorted(found, key=lambda file: file.name)
    }


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing; returns the versions applied, none if the database is up to date.

    A second call at the same time waits for the first and finds nothing to do.

    Raises:
        asyncpg.PostgresError: a migration failed; those before it stay, of it nothing does.
        WrongEncoding: the database is not in UTF-8.
    """
    connection = await asyncpg.connect(
        database_url, server_settings={"application_name": "clusterflow-migrate"}
    )
    try:
        check_encoding(connection)
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # held until the connection closes
        await connection.execute(_APPLIED)
        applied = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
        missing = [(version, sql) for version, sql in migrations().items() if version not in applied]
        for version, sql in missing:
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute("INSERT INTO schema_migrations (version) VALUES ($1)", version)
            log.info("migration applied", extra={"version": version})
        return [version for version, _ in missing]
    finally:
        await connection.close()
