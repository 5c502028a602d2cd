"""A kind as one table of PostgreSQL, whose columns are members of its document or of its state.

Everything is derived from the row type: the decoding of records, the statements, the comparison in
`recovery`, and the records that refill a lost changelog. So these cannot disagree. A row shows a state as of
its `version`:

- A state of a greater version replaces the row. Any other state is older, or shows readers nothing new: a
  state is stored again, for instance, to remember the outcome of a refused command.
- A tombstone removes the row whatever its version, and so does a deleted state. A later state of the same
  key, possibly in the same batch, begins again at version 1.

A kind that needs more than one table, as clusters do, has mappings of its own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    NamedTuple,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import asyncpg
import msgspec
from aiokafka import ConsumerRecord
from msgspec import NODEFAULT, Meta, Raw
from msgspec.structs import FieldInfo

from database.names import REST, DatabaseName
from domain.entity import VersionedEntity
from domain.errors import MalformedRecord
from sinks.mapping import Change, PartitionKeys, columns_of, decoded, text_of
from sinks.postgres import ALL_ROWS, in_pages
from streams.flow import Flow

S = TypeVar("S", bound=VersionedEntity)

Json = NewType("Json", str)
"""The type of a JSON column, which is text from topic to table; null becomes NULL if the column allows it."""

GONE: Final = object()
"""The content of a record that removes the row of its key."""

_TYPES: Final[Mapping[Any, str]] = {
    str: "text",
    int: "bigint",
    float: "double precision",
    bool: "boolean",
    datetime: "timestamptz",
    Json: "jsonb",
}

# Bounds as narrow as the columns, so that the database does not have to refuse a stranger's record.
_READ_AS: Final[Mapping[Any, Any]] = {
    int: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    datetime: Annotated[datetime, Meta(tz=True)],
    Json: Raw,
}


@dataclass(frozen=True, kw_only=True)
class Table(Generic[S]):
    """How the states of a kind become rows.

    Attributes:
        flow: The flow whose changelog fills the table.
        name: The table, in the default schema.
        row: Its fields are the columns. The first is the key, which is the id of the entity, and `version` is
            another one. Each is a member of the state, or else of its document (`Flow.shown`).
        database: The database that has it.
        keeps: Whether rows outlive their states, as a history. Then no tombstone removes a row, and a deleted
            state is one more version. An id must never be used again, since its old row would block the new.
    """

    flow: Flow[S, Any, Any]
    name: str
    row: type[NamedTuple]
    database: DatabaseName = REST
    keeps: bool = False

    def __post_init__(self) -> None:
        """Raises: TypeError: the row type does not fit the state."""
        if "version" not in self.columns:
            raise TypeError(f"{self.row.__name__} needs a column `version`, which guards it")
        lost = [name for name, member in self._shown.items() if member.required and name not in self.columns]
        if lost:
            raise TypeError(
                f"{self.row.__name__} has no column for {', '.join(lost)}, so no row makes a state"
            )
        if unknown := self.columns.keys() - self._shown.keys() - self._members.keys():
            raise TypeError(f"{', '.join(sorted(unknown))}: neither shown nor a member of the state")

    # --- columns ------------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The type of each column."""
        return {name: _TYPES[plain] for name, (plain, _) in self._hints.items()}

    @property
    def key(self) -> str:
        """The column of the key."""
        return next(iter(self.columns))

    @cached_property
    def _hints(self) -> Mapping[str, tuple[Any, bool]]:
        """The plain type of each column, and whether it may be NULL."""
        return {name: _plain(hint) for name, hint in get_type_hints(self.row).items()}

    @cached_property
    def _members(self) -> Mapping[str, FieldInfo]:
        return _fields(self.flow.kind.state)

    @cached_property
    def _shown(self) -> Mapping[str, FieldInfo]:
        return _fields(self._members[self.flow.shown].type)

    # --- records ------------------------------------------------------------------------------------

    @cached_property
    def decode(self) -> Any:
        """A decoder for the parts of a state that the columns need, and whether it is deleted."""
        own = [self._read_as(self._members[name]) for name in self.columns if name in self._members]
        shown = [self._read_as(self._shown[name]) for name in self.columns if name not in self._members]
        if "deleted_at" not in self.columns:
            own.append(("deleted_at", _READ_AS[datetime] | None, None))
        inner = msgspec.defstruct(f"_{self.row.__name__}Members", shown, kw_only=True, gc=False)
        place = msgspec.field(name=self._members[self.flow.shown].encode_name)
        members = [(self.flow.shown, inner, place), *own]
        return msgspec.json.Decoder(
            msgspec.defstruct(f"_{self.row.__name__}State", members, kw_only=True)
        ).decode

    def _read_as(self, member: FieldInfo) -> tuple[str, Any, Any]:
        plain, nullable = self._hints[member.name]
        kind = _READ_AS.get(plain, member.type)
        if nullable and kind is not Raw:
            kind = kind | None
        options: dict[str, Any] = {"name": member.encode_name}
        if not member.required:
            options |= {"default": member.default, "default_factory": member.default_factory}
            if kind is Raw:
                value = member.default_factory() if member.default is NODEFAULT else member.default
                options |= {"default": Raw(msgspec.json.encode(value)), "default_factory": NODEFAULT}
        return member.name, kind, msgspec.field(**options)

    def read(self, record: ConsumerRecord) -> Any:
        """The state in a record as far as columns need it, or `GONE`; None if the row does not change.

        Raises: MalformedRecord: `bad_key` or `invalid_schema`.
        """
        if record.key is None:
            raise MalformedRecord("bad_key", "a record of a changelog needs a key")
        if record.value is None:
            _check_text(record.key)
            return None if self.keeps else GONE
        state = decoded(record, self.decode)
        if record.key != self._key_of(state).encode():
            raise MalformedRecord("bad_key", "the key is not the id in the value")
        return GONE if state.deleted_at is not None and not self.keeps else state

    @cached_property
    def _key_of(self) -> Callable[[Any], Any]:
        return attrgetter(self._path(self.key))

    @cached_property
    def _values(self) -> Callable[[Any], Any]:
        return attrgetter(*map(self._path, self.columns))

    @cached_property
    def _json(self) -> Mapping[int, bool]:
        """The indexes of JSON columns, and whether they may be NULL."""
        hints = enumerate(self._hints.values())
        return {place: nullable for place, (plain, nullable) in hints if plain is Json}

    def _path(self, name: str) -> str:
        return name if name in self._members else f"{self.flow.shown}.{name}"

    def row_of(self, state: Any) -> tuple[Any, ...]:
        """The row of a state that `read` returned."""
        row: tuple[Any, ...] = self._values(state)
        if not self._json:
            return row
        values = list(row)
        for place, nullable in self._json.items():
            text = text_of(values[place])
            values[place] = None if nullable and text == "null" else text
        return tuple(values)

    def state_of(self, row: Mapping[str, Any]) -> S:
        """The state that a row came from, without offsets and outcomes, which rows do not hold.

        Raises: ValidationError: no state can have made it.
        """
        members: dict[str, Any] = {"revision": 1}
        shown: dict[str, Any] = {}
        for name, (plain, _) in self._hints.items():
            value = row[name]
            if plain is Json:
                value = Raw(b"null" if value is None else value.encode())
            if name in self._shown:
                shown[self._shown[name].encode_name] = value
            if name in self._members:
                members[self._members[name].encode_name] = value
        members[self._members[self.flow.shown].encode_name] = shown
        return self.flow.decode(msgspec.json.encode(members))

    # --- statements ---------------------------------------------------------------------------------

    @cached_property
    def upsert(self) -> str:
        """A statement that writes rows, one array per column; a row that is not newer changes nothing."""
        names = ", ".join(map(quoted, self.columns))
        arrays = ", ".join(
            f"${number}::{kind}[]" for number, kind in enumerate(self.columns.values(), start=1)
        )
        changes = ", ".join(f"{name} = excluded.{name}" for name in map(quoted, self.columns))
        return f"""
INSERT INTO {self.name} AS stored ({names}) SELECT * FROM unnest({arrays})
ON CONFLICT ({quoted(self.key)}) DO UPDATE SET {changes} WHERE stored.version < excluded.version
"""  # noqa: S608 (names come from our own types)

    @cached_property
    def delete(self) -> str:
        """A statement that removes the rows of some keys ($1)."""
        return f"DELETE FROM {self.name} WHERE {quoted(self.key)} = ANY($1::text[])"  # noqa: S608

    @cached_property
    def page(self) -> str:
        """A statement for the first rows after a key ($1) in the order of their keys, at most $2 of them."""
        names, key = ", ".join(map(quoted, self.columns)), quoted(self.key)
        return f"SELECT {names} FROM {self.name} WHERE {key} > $1 ORDER BY {key} LIMIT $2"  # noqa: S608


class TableRows:
    """The states of one kind in a deployment (`sinks.mapping.ChangelogMapping`).

    Args:
        prefix: The prefix of the deployment's topics.
    """

    transient: Collection[str] = frozenset()

    def __init__(self, table: Table[Any], prefix: str) -> None:
        self.table = table
        self.prefix = prefix
        self.topic = prefix + table.flow.state

    def read(self, record: ConsumerRecord) -> Any:
        """As `Table.read`."""
        return self.table.read(record)

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Remove deleted rows, then write the last state of each key; there is never room to make."""
        states: dict[bytes, Any] = {}
        gone: set[bytes] = set()  # even if a later state follows, since that begins again at version 1
        for record, said, _ in changes:
            if said is GONE:
                states.pop(record.key, None)
                gone.add(record.key)
            else:
                states[record.key] = said
        if gone:
            await connection.execute(self.table.delete, [key.decode() for key in gone])
        if states:
            rows = map(self.table.row_of, states.values())
            await connection.execute(self.table.upsert, *columns_of(rows))
        return {self.table.name: len(states)}

    async def may_vanish(self, connection: asyncpg.Connection, partition: int) -> bool:
        """Whether there are any rows that do not outlive their states."""
        if self.table.keeps:
            return False
        return bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM {self.table.name})"))  # noqa: S608

    async def remove_vanished(self, connection: asyncpg.Connection, keys: PartitionKeys) -> int:
        """Remove the rows of a partition whose keys it no longer holds."""
        vanished = []
        async for row in in_pages(connection, self.table.page):
            key = row[0].encode()
            if key not in keys.known and keys.owns(key):
                vanished.append(row[0])
        await connection.execute(self.table.delete, vanished, timeout=ALL_ROWS)
        return len(vanished)


def quoted(name: str) -> str:
    """A column's name as SQL, even if it is a reserved word."""
    return f'"{name}"'


def _plain(hint: Any) -> tuple[Any, bool]:
    """The type of a column, and whether it may be NULL. Raises: TypeError: no column has it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = [part for part in parts if part is not type(None)]
    if len(plain) != 1 or plain[0] not in _TYPES:
        raise TypeError(f"{hint} is no type of a column")
    return plain[0], len(parts) > 1


def _fields(kind: Any) -> Mapping[str, FieldInfo]:
    return {member.name: member for member in msgspec.structs.fields(kind)}


def _check_text(key: bytes) -> None:
    try:
        str(key, "utf-8")
    except UnicodeDecodeError:
        raise MalformedRecord("bad_key", "the key of a tombstone must be text") from None
