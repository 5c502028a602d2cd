"""Reads the states of simple kinds as entries of a view.

A simple kind's state consists of its bookkeeping and one member that readers see, the document. The document
is cut out of the record unchanged. Of the rest only the columns are decoded, by types that are made for each
kind from the names of its columns.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import product
from sys import intern
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, structs

from tables.view import SortKey, StateReader

_INVERTED: Final = bytes(range(255, -1, -1))
_END: Final = b"\xff"  # ends an inverted id, so that a prefix of another id sorts after that id


class ColumnFilter(tuple[str | None, ...]):
    """The filter of a list: one value for each column of the kind, or None for any."""

    __slots__ = ()

    def shows(self, columns: Sequence[str | None]) -> bool:
        """Whether an entity with these columns is shown."""
        return all(wanted is None or wanted == found for wanted, found in zip(self, columns, strict=True))


class KindEntry(Struct, frozen=True, gc=False):
    """One live entity of a simple kind.

    Attributes:
        columns: The columns that lists filter by; None for a value that its document lacks.
        version: Counts its accepted changes.
        document: The JSON that GET answers.
        place: Its place in lists.
    """

    id: str
    columns: tuple[str | None, ...]
    version: str
    document: bytes
    place: SortKey

    def filters(self) -> Iterator[ColumnFilter]:
        """Every filter that shows it."""
        return map(ColumnFilter, product(*({None, value} for value in self.columns)))


def counted_by(column: str, columns: Sequence[str]) -> Callable[[KindEntry], str]:
    """The value of a column by which a view counts entries; empty if they have no such column or value."""
    if column not in columns:
        return lambda entry: ""
    place = columns.index(column)
    return lambda entry: entry.columns[place] or ""


def grouped_by(column: str, columns: Sequence[str]) -> Callable[[KindEntry], str | None]:
    """The value of a column by which a view groups entries; None if they have no such column or value."""
    if column not in columns:
        return lambda entry: None
    place = columns.index(column)
    return lambda entry: entry.columns[place]


def newest_first(created_at: datetime, entity_id: str) -> SortKey:
    """The place of an entity in lists: newest first, then by id in descending order.

    Lists sort by ascending places, so the id's bytes are inverted. Bytes of UTF-8 sort as their text does.
    """
    return (-created_at.timestamp(), entity_id.encode().translate(_INVERTED) + _END)


def entries(*, shown: str, columns: Sequence[str] = ()) -> StateReader[KindEntry]:
    """A reader of the states of a simple kind, whose state is a `VersionedEntity`.

    Args:
        shown: The member of the state that readers see; it has `created_at`.
        columns: Members of the document that lists filter by; each is a text or null.
    """
    decode_state = msgspec.json.Decoder(_state_type(shown)).decode
    decode_document = msgspec.json.Decoder(_document_type(columns)).decode

    def read(entity_id: str, data: bytes, before: KindEntry | None) -> tuple[int, KindEntry | None]:
        state = decode_state(data)
        if state.deleted_at is not None:
            return state.revision, None
        document, version = bytes(state.document), str(state.version)
        if before is not None and before.document == document:
            # Keep one document in memory, however many records carry it.
            return state.revision, structs.replace(before, version=version)
        created_at, *found = structs.astuple(decode_document(document))
        values = tuple(None if value is None else intern(value) for value in found)
        place = newest_first(created_at, entity_id) if before is None else before.place
        return state.revision, KindEntry(entity_id, values, version, document, place)

    return read


def _state_type(shown: str) -> Any:
    """The type of the decoded part of a state, with the document as bytes."""
    return msgspec.defstruct(
        "State",
        [
            ("revision", int),
            ("version", int),
            ("document", Raw, msgspec.field(name=shown)),
            ("deleted_at", datetime | None, None),
        ],
        gc=False,
    )


def _document_type(columns: Sequence[str]) -> Any:
    """The type of the decoded part of a document: its place, then its columns in their order."""
    optional = [(name, str | None, None) for name in columns]
    return msgspec.defstruct("Document", [("created_at", datetime), *optional], gc=False)
