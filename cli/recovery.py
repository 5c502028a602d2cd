"""The commands `verify` and `rebuild`: their settings, and what they print."""

from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import recovery
from database.names import GRPC, REST, WORKER, DatabaseName
from settings import Settings

EXIT_NOT_COMPARABLE: Final = 3


async def verify(settings: Settings, *, repair: bool, wait: timedelta) -> recovery.Verified:
    """Raises: as `recovery.verify`; BadSettings."""
    return await recovery.verify(_recovery(settings, GRPC, wait=wait), repair=repair)


async def rebuild(settings: Settings, *, accept_old_rows: bool) -> recovery.Rebuilt:
    """Raises: as `recovery.rebuild`; BadSettings."""
    return await recovery.rebuild(_recovery(settings, GRPC, WORKER), accept_old_rows=accept_old_rows)


def _recovery(
    settings: Settings, *elsewhere: DatabaseName, wait: timedelta = timedelta(seconds=30)
) -> recovery.RecoverySettings:
    return recovery.RecoverySettings(
        kafka=settings.kafka,
        database=settings.database_of(REST),
        elsewhere={name: settings.database_of(name) for name in elsewhere},
        wait=wait,
    )


def show(found: recovery.Verified) -> None:
    """Print a line per table, then the first differences by id and column; never what is in a row.

    Rows that PostgreSQL cannot take are told apart, with the reason; dead-letter topics hold their records.
    """
    console = Console(soft_wrap=True)
    table = Table("", "compared", "different", *(["repaired"] if found.repaired else []), box=None)
    for name in found.tables:
        counts = [found.compared[name], found.different[name], found.repaired[name]]
        table.add_row(name, *map(str, counts[: len(table.columns) - 1]))
    console.print(table)
    for difference in found.first:
        console.print(escape(f"{difference.table} {difference.id}: {difference.what}"), highlight=False)
    if more := found.different.total() - len(found.first):
        console.print(f"… and {more} more")
    for name, id, why in found.first_passed_over:
        console.print(escape(f"passed over: {name} {id}: {why}"), highlight=False)
    passed_over = found.passed_over.total()
    if more := passed_over - len(found.first_passed_over):
        console.print(f"… and {more} more")
    verdict = "equal" if found.equal else "different"
    console.print(f"{verdict}, {passed_over} passed over" if passed_over else verdict)
