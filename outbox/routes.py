"""Which record a row of an outbox becomes.

Rows of a type that a kind knows become its commands (`outbox/kinds.py`): the owner of the kind's table puts
them in order with all other writes, gives them their versions, and announces them under the ids of the rows.
It remembers their outcomes for a day, as those of commands under an `Idempotency-Key`, so that a record that
is published again after a crash changes nothing, whatever has happened in between.
A row whose type is the command topic of a kind is a command already: an API has stored it while Kafka was
away (`serving/fallback.py`). Rows of another allowed type are published as they are, on the topic of that
name.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from domain.errors import PermanentError, Rejected
from domain.policy import Policy
from outbox.rows import FromRow, OutboxRow
from streams.cause import CARRIED_ON
from streams.flow import Flow
from streams.headers import ANSWERED_BY, BY_STATE, EVENT_ID, KEYED
from streams.topic import MAX_INPUT_BYTES, MAX_RECORD_BYTES
from streams.topics import Topics
from streams.writing.outputs import Output, batch_bytes, wire_headers

MAX_HEADERS: Final = 32
MAX_HEADER_CHARACTERS: Final = 1024

_JSON: Final = {"content_type": "application/json"}
_read_headers: Final = msgspec.json.Decoder(dict[str, str]).decode

AnyFlow = Flow[Any, Any, Any]


class Parked(PermanentError):
    """A row that can never be published as it is.

    Args:
        reason: Short and countable.
        text: What is wrong with this row.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Routes:
    """The records of rows in one deployment.

    Args:
        flows: The flows of simple kinds, as they are declared; those of internal kinds are left out.
        from_rows: By kind and type, what becomes of rows (`outbox.kinds`).
        allowed: The types that are published, beside stored commands.
    """

    def __init__(
        self,
        flows: Iterable[AnyFlow],
        from_rows: Mapping[str, Mapping[str, FromRow]],
        *,
        allowed: Iterable[str],
        topics: Topics,
        policy: Policy,
    ) -> None:
        self._allowed = frozenset(allowed)
        self._topics = topics
        self._policy = policy
        self._stored = {flow.commands: flow.deployed(topics.of) for flow in flows if not flow.internal}
        self._commands: dict[str, tuple[AnyFlow, FromRow]] = {
            type: (flow, command_of)
            for flow in self._stored.values()
            for type, command_of in from_rows.get(flow.kind.name, {}).items()
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that rows go to."""
        return (*(flow.commands for flow in self._stored.values()), *self.foreign)

    @property
    def foreign(self) -> tuple[str, ...]:
        """The topics of allowed types that no kind here knows."""
        own = self._commands.keys() | self._stored.keys()
        return tuple(sorted(self._topics.prefix + type for type in self._allowed - own))

    def output(self, row: OutboxRow) -> Output:
        """The record of a row. Raises: Parked."""
        if row.payload is None:
            raise Parked("size", f"the payload is larger than {MAX_RECORD_BYTES} bytes")
        try:
            output, most = self._output(row, row.payload.encode(), _headers_of(row))
        except Rejected as refusal:
            raise Parked("payload", refusal.text) from refusal
        if (size := batch_bytes(output.key, output.value, wire_headers(output))) > most:
            raise Parked("size", f"the record has {size} bytes, and its topic takes {most}")
        return output

    def _output(self, row: OutboxRow, payload: bytes, headers: Mapping[str, str]) -> tuple[Output, int]:
        """The record of a row, and the size that its topic takes."""
        if (flow := self._stored.get(row.event_type)) is not None:
            return _command(flow, flow.read_command(payload), headers), MAX_INPUT_BYTES
        if row.event_type not in self._allowed:
            raise Parked("type", "event_type is none of OUTBOX_ALLOWED_TYPES")
        if row.event_type in self._commands:
            flow, command_of = self._commands[row.event_type]
            carried = {name: headers[name] for name in CARRIED_ON if name in headers}
            about = {EVENT_ID: row.id, KEYED: "true", ANSWERED_BY: BY_STATE, **carried}
            return _command(flow, command_of(row, self._policy), about), MAX_INPUT_BYTES
        about = {**headers, EVENT_ID: row.id, "event_type": row.event_type}
        topic = self._topics.prefix + row.event_type
        return Output(topic, row.aggregate_id.encode(), payload, about), MAX_RECORD_BYTES


def _command(flow: AnyFlow, command: Any, headers: Mapping[str, str]) -> Output:
    """The record of a command that its owner can read. Raises: Rejected: an id is none, for instance."""
    output = flow.command(command, {**headers, **_JSON})
    assert output.value is not None
    flow.read_command(output.value)
    return output


def _headers_of(row: OutboxRow) -> Mapping[str, str]:
    if row.headers is None or row.headers == "null":
        return {}
    try:
        headers = _read_headers(row.headers)
    except msgspec.MsgspecError as error:
        raise Parked("headers", f"headers must be an object of strings: {error}") from error
    if len(headers) > MAX_HEADERS or any(len(text) > MAX_HEADER_CHARACTERS for text in headers.values()):
        limits = f"at most {MAX_HEADERS} of at most {MAX_HEADER_CHARACTERS} characters each"
        raise Parked("headers", f"headers must be {limits}")
    return headers
