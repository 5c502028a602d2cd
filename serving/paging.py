"""Places in lists, as texts that clients hand back: stable while entities come and go."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from domain.entity import EntityId
from tables.entries import KindEntry, newest_first
from tables.view import SortKey


class _Cursor(Struct, frozen=True, array_like=True):
    """The place of the last entity of a page."""

    created_at: Annotated[datetime, Meta(tz=True)]
    id: EntityId


_cursor_decoder: Final = msgspec.json.Decoder(_Cursor)


def cursor_after(last: KindEntry) -> str:
    """The cursor of the page that follows this entity."""
    created_at = datetime.fromtimestamp(-last.place[0], UTC)
    return msgspec.json.encode(_Cursor(created_at, last.id)).hex()


def place_after(cursor: str) -> SortKey:
    """The place that a cursor names. Raises: ValueError: it is none of ours."""
    try:
        last = _cursor_decoder.decode(bytes.fromhex(cursor))
        return newest_first(last.created_at, last.id)
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise ValueError("not one of ours") from error
