"""Brings a database to the newest version: SQL files in name order, each once, each in one transaction.

Each file says which databases it is for, and a database that is several of them gets what any of them needs.

Own code, because the contract fixes the bookkeeping table and no library keeps it
(docs/decisions/0003-migrations.md). Forward only: what has to be undone is undone by a later file.
"""

import logging
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

import asyncpg

from database import Pooler, check_encoding, pooler_reason
from database.names import DATABASES, DatabaseName
from domain.errors import ControlPlaneError

log = logging.getLogger("clusterflow.migrate")

# Any number that nobody else locks in this database; ASCII "clstrflw".
_LOCK: Final = 0x636C737472666C77

_HOMES = re.compile(r"-- Databases: (\w+(?:, \w+)*)\n")

_NAME = re.compile(r"\d{4}_\w+\.sql")

_APPLIED = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    varchar(255) PRIMARY KEY,
    applied_at timestamptz  NOT NULL DEFAULT now()
)
"""


class NotMigrated(ControlPlaneError):
    """The database cannot be migrated this way; the text says what to do."""


def migrations() -> dict[str, str]:
    """SQL by version (`0001_clusters`), in the order of application."""
    found = (file for file in files("migrations").iterdir() if _NAME.fullmatch(file.name))
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in sorted(found, key=lambda file: file.name)
    }


def homes(sql: str) -> frozenset[str]:
    """The databases that a migration is for. Raises: ValueError: it does not say so."""
    if (found := _HOMES.match(sql)) is None:
        raise ValueError(f"a migration must begin with `-- Databases: `, got {sql[:40]!r}")
    return frozenset(found[1].split(", "))


async def migrate(
    database_url: str, *, pooler: Pooler = Pooler.NONE, names: Iterable[DatabaseName] = DATABASES
) -> list[str]:
    """Apply what is missing; returns the versions applied, none if the database is up to date.

    Args:
        names: What the database is: it gets the tables of these.

    Of several calls at the same time, each migration is applied by one.

    Raises:
        asyncpg.PostgresError: a migration failed; those before it stay, of it nothing does.
        WrongEncoding: the database is not in UTF-8.
        NotMigrated: a pooler is in the way.
    """
    pooled = pooler is not Pooler.NONE
    connection = await asyncpg.connect(
        database_url,
        statement_cache_size=0 if pooled else 100,
        server_settings={} if pooled else {"application_name": "clusterflow-migrate"},
    )
    try:
        check_encoding(connection)
        wanted = frozenset(names)
        ours = {version: sql for version, sql in migrations().items() if homes(sql) & wanted}
        return [version for version, sql in ours.items() if await _apply(connection, version, sql)]
    except asyncpg.PostgresError as error:
        if reason := pooler_reason(error):
            raise NotMigrated(f"{reason}: {error!r}") from error
        raise
    finally:
        await connection.close()


async def _apply(connection: asyncpg.Connection, version: str, sql: str) -> bool:
    """Apply a migration unless that was done; returns whether it was missing."""
    async with connection.transaction():
        # Of the transaction, for a lock of the session would be another's behind a pooler.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_APPLIED)
        if await connection.fetchval("SELECT true FROM schema_migrations WHERE version = $1", version):
            return False
        await connection.execute(sql)
        await connection.execute("INSERT INTO schema_migrations (version) VALUES ($1)", version)
    log.info("migration applied", extra={"version": version})
    return True
