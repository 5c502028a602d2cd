"""Makes statements that compare rows from the columns of a table.

PostgreSQL compares, because only it knows when two values of a column are equal (`1.0` and `1` in jsonb).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sinks.table import quoted

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Comparison(NamedTuple):
    """A statement, and the number of columns it takes after the ids."""

    statement: str
    width: int


def comparison(
    table: str,
    columns: Mapping[str, str],
    key: tuple[str, ...],
    *,
    free: tuple[str, ...] = (),
    fixed: Mapping[str, str] = _NOTHING,
    excused: Mapping[str, str] = _NOTHING,
) -> Comparison:
    """A statement that compares the rows of some ids ($1) with their expected rows ($2…).

    Args:
        columns: The columns with their types, in the order of the arrays.
        key: The columns that identify a row, the id first.
        free, fixed: Columns that records do not determine; columns without an array, with their values.
        excused: Columns with a condition under which a difference is ignored.
    """
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), start=2))
    constants = "".join(f", {value} AS {quoted(name)}" for name, value in fixed.items())
    differing = ", ".join(
        f"CASE WHEN stored.{quoted(name)} IS DISTINCT FROM expected.{quoted(name)}"
        f"{f' AND NOT ({excused[name]})' if name in excused else ''} THEN '{name}' END"
        for name in (*columns, *fixed)
        if name not in (*key, *free)
    )
    joined = " AND ".join(f"expected.{quoted(name)} = stored.{quoted(name)}" for name in key)
    id, detail, names = quoted(key[0]), quoted(key[-1]), ", ".join(map(quoted, columns))
    statement = f"""
SELECT id, detail, what FROM (
    SELECT coalesce(expected.{id}, stored.{id})::text AS id,
        coalesce(expected.{detail}, stored.{detail})::text AS detail,
        CASE WHEN stored.{id} IS NULL THEN ARRAY['missing']
             WHEN expected.{id} IS NULL THEN ARRAY['without record']
             ELSE array_remove(ARRAY[{differing}], NULL) END AS what
    FROM (SELECT *{constants} FROM unnest({arrays}) AS given ({names})) AS expected
    FULL JOIN (SELECT * FROM {table} WHERE {id} = ANY($1::{columns[key[0]]}[])) AS stored ON {joined}
) AS compared
WHERE what <> ARRAY[]::text[]
"""  # noqa: S608 (names come from our own types)
    return Comparison(statement, len(columns))
