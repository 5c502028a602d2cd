"""Headers of records about clusters."""

from typing import Literal, NotRequired, TypedDict

from streams.messages import Source


class InputHeaders(TypedDict, total=False):
    """Headers of clients' commands, create requests and reports.

    Attributes:
        request_id: The HTTP request behind it.
        answer: On a report with a `report_id`: `true` asks for a result.
        idempotency_keyed: `true` where an `Idempotency-Key` made the id: its outcome is kept for a day.
        answered_by: On a report with `answer`: `state` where the sender follows the changelog. If the report
            is applied, the state that shows it bears its id in a header `answers`, and there is no result.
    """

    content_type: Literal["application/json"]
    request_id: str
    answer: Literal["true"]
    idempotency_keyed: Literal["true"]
    answered_by: Literal["state"]


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
