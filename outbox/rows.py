"""Rows of `outbox_events`, and how a kind reads those that it knows.

A kind says in a file of its own (`outbox/resource.py`) which types of rows become its commands.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from domain.entity import Command
from domain.policy import Policy
from streams.decoding import decode_body


class OutboxRow(NamedTuple):
    """A row to publish.

    Attributes:
        seq: The order of rows of one aggregate.
        id: Of the event that it leads to.
        payload: JSON, as the database holds it; None if it is larger than any record may be.
        headers: JSON, an object of strings; None for none.
    """

    seq: int
    id: str
    aggregate_id: str
    event_type: str
    payload: str | None
    headers: str | None = None


FromRow = Callable[[OutboxRow, Policy], Command]
"""The command that a row becomes, under the id of the row. Raises: Rejected: it can become none."""


def payload_of(row: OutboxRow, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The decoded payload of a row. Raises: Rejected: `VALIDATION_FAILED`."""
    return decode_body((row.payload or "").encode(), decoder)
