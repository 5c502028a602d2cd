"""Headers of records, UTF-8 strings all: hints for filtering; the body counts (contract, section 10.3)."""

import re
from collections.abc import Mapping
from typing import Final, Literal, NotRequired, TypedDict

from aiokafka import ConsumerRecord

KEYED: Final = "idempotency_keyed"
"""Header of a command whose id its sender derived from an `Idempotency-Key`."""

TRIGGERED_BY: Final = "triggered_by"
"""Header that says how a command came in; believed on topics that clients may not write."""

BY_REST: Final = "api_request"
BY_KAFKA: Final = "kafka_command"

ANSWERED_BY: Final = "answered_by"
"""Header of a record whose sender finds out by the changelog that it was applied."""

BY_STATE: Final = "state"

FOLLOWED: Final[Mapping[str, str]] = {"content_type": "application/json", ANSWERED_BY: BY_STATE}
"""Headers of a command whose sender follows the changelog, or of which nobody waits for a result."""

ANSWERS: Final = "answers"
"""Header of a state, once for each record that it answers: the id of the command or report."""

EVENT_ID: Final = "event_id"
"""Header of an announcement, and of a command that says which id its announcement shall have."""

ORIGIN: Final = "origin"
"""Header of a client's record that was passed on: its log and offset on its own topic."""

_EVENT_ID: Final = re.compile(r"[\x21-\x7e]{1,100}")


class CommandHeaders(TypedDict, total=False):
    """Headers of commands to a simple kind.

    Attributes:
        request_id: The HTTP request behind it.
        traceparent, tracestate: Its trace, as W3C Trace Context has it; what follows from it has them, too.
        idempotency_keyed: `true` where an `Idempotency-Key` made the id: its outcome is kept for a day.
        triggered_by: `api_request` on what came by REST.
        event_id: The id that what the command announces shall have, as a row of `outbox_events` has one.
        answered_by: `state` where the sender follows the changelog: if the command is applied, the state that
            shows it bears the command's id in a header `answers`, and there is no result.
    """

    content_type: Literal["application/json"]
    request_id: str
    traceparent: str
    tracestate: str
    idempotency_keyed: Literal["true"]
    event_id: str
    answered_by: Literal["state"]
    triggered_by: Literal["api_request", "kafka_command"]


class AnnouncementHeaders(TypedDict):
    """Headers of what a simple kind announces.

    Attributes:
        event_id: The same each time this is announced; drop what you have seen.
        event_type: The name of the topic, without the deployment's prefix.
        aggregate_version: The version of the entity after the change.
        occurred_at: RFC 3339, UTC.
        producer: The service that has published this, as `SERVICE_NAME` has it.
        request_id: The HTTP request behind it, if any.
        traceparent, tracestate: Its trace, if any, as W3C Trace Context has it.
    """

    event_id: str
    event_type: str
    aggregate_version: str
    occurred_at: str
    schema_version: str
    producer: str
    request_id: NotRequired[str]
    traceparent: NotRequired[str]
    tracestate: NotRequired[str]


class ChangelogHeaders(TypedDict, total=False):
    """Headers of a changelog.

    Attributes:
        claim: The offset of the claim under which this was written; behind a later claim it does not count.
        answers: The id of a command or report that this state answers, as its sender has asked by
            `answered_by`. There may be several of this header.
    """

    claim: str
    answers: str


class ResultHeaders(TypedDict):
    """Headers of results.

    Attributes:
        command_id: Whose result it is; nobody has to decode those of others.
        triggered_by: `api_request` on results of what came by REST. No client can make one bear it.
    """

    command_id: str
    triggered_by: NotRequired[Literal["api_request"]]


class DeadLetterHeaders(TypedDict):
    """Headers of a dead letter, beside those that the record had.

    Attributes:
        dlq_reason: What is wrong, one of a few words such as `invalid_schema`.
        dlq_error: The same in a sentence, at most 1000 characters.
        dlq_topic, dlq_partition, dlq_offset: Where the record was.
        dlq_cut_from: Its sizes, where it was too large to keep whole.
        dlq_headers_cut_from: How many headers it had, where they were too many or too large to keep all.
    """

    dlq_reason: str
    dlq_error: str
    dlq_topic: str
    dlq_partition: str
    dlq_offset: str
    dlq_cut_from: NotRequired[str]
    dlq_headers_cut_from: NotRequired[str]


def answered_by_state(headers: Mapping[str, str]) -> bool:
    """Whether the sender of a record learns from the changelog that it was applied."""
    return headers.get(ANSWERED_BY) == BY_STATE


def event_id_of(headers: Mapping[str, str]) -> str:
    """The id that a command wants for what it announces; empty if it names none, or one that none can be."""
    wanted = headers.get(EVENT_ID, "")
    return wanted if _EVENT_ID.fullmatch(wanted) else ""


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text; what is not UTF-8 is left out, since headers are hints only."""
    headers = {}
    for name, value in record.headers:
        try:
            headers[name] = value.decode()
        except (UnicodeDecodeError, AttributeError):
            continue
    return headers


def answered_command(record: ConsumerRecord) -> str:
    """The id of the command that a record of a result topic answers; empty if it names none.

    It is read from a header, so that nobody has to decode the results of others.
    """
    header = next((value for name, value in record.headers if name == "command_id"), None)
    return (header or b"").decode(errors="replace")
