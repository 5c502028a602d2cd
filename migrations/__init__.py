"""The database schema, as numbered SQL files that only ever grow in number."""

from migrations.apply import migrate, migrations

__all__ = ["migrate", "migrations"]
