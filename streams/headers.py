"""Headers of records, UTF-8 strings all: hints for filtering; the body counts (contract, section 10.3)."""

from typing import Literal, NotRequired, TypedDict

from aiokafka import ConsumerRecord

from streams.messages import Source


class InputHeaders(TypedDict, total=False):
    """Headers of clients' commands, create requests and reports.

    Attributes:
        request_id: The HTTP request behind it.
        answer: On a report with a `report_id`: `true` asks for a result.
        idempotency_keyed: `true` where an `Idempotency-Key` made the id: its outcome is kept for a day.
    """

    content_type: Literal["application/json"]
    request_id: str
    answer: Literal["true"]
    idempotency_keyed: Literal["true"]


class AcceptedHeaders(InputHeaders, total=False):
    """Headers of what web and agents send each other on topics that clients may not write.

    Attributes:
        triggered_by: `api_request` on what came by REST, `kafka_command` on what came from a client.
        origin: Of what was passed on from a client's topic, its log and offset there, with a `/` between.
    """

    triggered_by: Literal["api_request", "kafka_command"]
    origin: str


class EventHeaders(TypedDict):
    """Headers of events, enough to pass over what does not concern a controller.

    Attributes:
        timestamp: RFC 3339, UTC.
        platform: `spec.platform.type` in lower case.
        event_id: The event's `id`.
        reason: Of `cluster.reconcile` only.
        request_id: The HTTP request behind a lifecycle event, if any.
    """

    event_type: Literal["cluster.created", "cluster.updated", "cluster.deleted", "cluster.reconcile"]
    cluster_id: str
    generation: str
    source: Source
    timestamp: str
    platform: str
    event_id: str
    reason: NotRequired[str]
    request_id: NotRequired[str]


class ChangelogHeaders(TypedDict, total=False):
    """Headers of a changelog.

    Attributes:
        claim: The offset of the claim under which this was written; behind a later claim it does not count.
    """

    claim: str


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


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text; what is not UTF-8 is left out, since headers are hints only."""
    headers = {}
    for name, value in record.headers:
        try:
            headers[name] = value.decode()
        except (UnicodeDecodeError, AttributeError):
            continue
    return headers
