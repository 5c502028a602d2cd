"""The registry of types of rows that become commands: a kind takes part because it is listed here."""

from collections.abc import Mapping
from typing import Final

from outbox import resource, task
from outbox.rows import FromRow

FROM_ROWS: Final[Mapping[str, Mapping[str, FromRow]]] = {
    "resource": resource.FROM_ROWS,
    "task": task.FROM_ROWS,
}
"""By the name of the kind, and then by the type of the row, which is the name of a public topic."""
