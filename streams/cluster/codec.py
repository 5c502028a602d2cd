"""Records of the topics of clusters and their names ⇄ domain values.

A record that cannot be decoded raises MalformedRecord. A record's bytes are checked once for content that
JSON allows but a later store does not (U+0000, unlimited nesting), so no code after this module has to.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from domain.access import valid_email
from domain.cluster.commands import Attach, Command, Create, Delete, Reconcile, Report, SetHealth, Update
from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState, LastError, ReportedCondition
from domain.errors import MalformedRecord, Rejected, invalid
from streams.cluster.messages import (
    AcceptedMessage,
    AttachMessage,
    CommandBase,
    CommandMessage,
    ConditionMessage,
    CreateMessage,
    DeleteMessage,
    LastErrorMessage,
    NameRequestMessage,
    ReconcileMessage,
    ReleaseMessage,
    ReportBody,
    ReportMessage,
    SetHealthMessage,
    UpdateMessage,
)
from streams.decoding import decode_body, decoder_of
from streams.headers import BY_KAFKA, BY_REST, KEYED, TRIGGERED_BY
from streams.json import encode, nanoseconds, rfc3339, utc

MAX_SPEC_BYTES: Final = 512 * 1024
MAX_METADATA_BYTES: Final = 64 * 1024
MAX_REPORT_BYTES: Final = 96 * 1024  # of conditions, metadata and error together
MAX_HINT_CHARACTERS: Final = 128  # of a header that events repeat, as of a request id in REST

T = TypeVar("T")


class _Holder(msgspec.Struct, gc=False):
    cluster_id: str


_record_decoder = decoder_of(ClusterState)
_name_decoder = msgspec.json.Decoder(NameRecord)
_holder_decoder = msgspec.json.Decoder(_Holder)
_command_decoder: msgspec.json.Decoder[CommandMessage] = decoder_of(CommandMessage)  # type: ignore[arg-type]
_accepted_decoder: msgspec.json.Decoder[AcceptedMessage] = decoder_of(AcceptedMessage)  # type: ignore[arg-type]
_create_decoder = decoder_of(CreateMessage)
_name_request_decoder: msgspec.json.Decoder[NameRequestMessage] = decoder_of(NameRequestMessage)  # type: ignore[arg-type]
_report_decoder = decoder_of(ReportMessage)


def decode_record(data: bytes) -> ClusterState:
    """A value of `cluster-state`."""
    return _record_decoder.decode(data)


def decode_name(data: bytes) -> NameRecord:
    """A value of `cluster-names`."""
    return _name_decoder.decode(data)


def is_held(data: bytes) -> bool:
    """`decode_name(data).held`, at a quarter of its cost."""
    return bool(_holder_decoder.decode(data).cluster_id)


def command_of(
    message: CommandMessage | SetHealthMessage,
    *,
    triggered_by: str,
    request_id: str | None,
    keyed: bool = False,
) -> Command:
    """Convert a command message into the domain's command.

    Raises: Rejected: a member's form is wrong in a way that its type cannot express.
    """
    if not valid_email(message.user_email):
        raise invalid("user_email must be an email address", field="user_email")
    utc(message.issued_at, field="issued_at")
    common: dict[str, Any] = {
        "command_id": message.command_id.lower(),
        "cluster_id": message.cluster_id.lower(),
        "user_email": message.user_email,
        "triggered_by": triggered_by,
        "request_id": request_id,
        "keyed": keyed,
    }
    match message:
        case CreateMessage(name=name, spec=spec, target_project_id=project):
            return Create(**common, name=name, spec=_bounded(spec), target_project_id=project or "")
        case UpdateMessage(spec=spec, expected_generation=generation, expected_resource_version=version):
            return Update(
                **common,
                spec=_bounded(spec),
                expected_generation=generation,
                expected_resource_version=version or None,
            )
        case DeleteMessage(expected_generation=generation, expected_resource_version=version):
            return Delete(
                **common,
                force=bool(message.force),
                expected_generation=generation,
                expected_resource_version=version or None,
            )
        case ReconcileMessage():
            return Reconcile(**common)
        case SetHealthMessage(health=health):
            return SetHealth(**common, health=health)


def message_of(command: Command, *, issued_at: datetime) -> CommandBase:
    """Convert a domain command into its message."""
    common: dict[str, Any] = {
        "command_id": command.command_id,
        "cluster_id": command.cluster_id,
        "user_email": command.user_email,
        "issued_at": rfc3339(issued_at),
    }
    match command:
        case Create(name=name, spec=spec, target_project_id=project):
            return CreateMessage(**common, name=name, spec=dict(spec), target_project_id=project)
        case Update(spec=spec, expected_generation=generation, expected_resource_version=version):
            return UpdateMessage(
                **common,
                spec=dict(spec),
                expected_generation=generation,
                expected_resource_version=version,
            )
        case Delete(expected_generation=generation, expected_resource_version=version):
            return DeleteMessage(
                **common,
                force=command.force,
                expected_generation=generation,
                expected_resource_version=version,
            )
        case Reconcile():
            return ReconcileMessage(**common)
        case SetHealth(health=health):
            return SetHealthMessage(**common, health=health)
        case _:
            raise TypeError(f"no message for {type(command).__name__}")


def _bounded(spec: dict[str, Any]) -> dict[str, Any]:
    if len(encode(spec)) > MAX_SPEC_BYTES:
        text = f"spec must be at most {MAX_SPEC_BYTES // 1024} KiB of JSON"
        raise Rejected("PAYLOAD_TOO_LARGE", text, field="spec")
    return spec


def report_of(body: ReportBody, *, cluster_id: str, at: datetime, answer: bool) -> Report:
    """Convert a report message into the domain's report.

    Args:
        at: The time of its arrival, which an error without a timestamp gets.
        answer: Whether a client waits for a result.

    Raises: Rejected: a time, a duration or a size is out of bounds.
    """
    metadata = body.metadata or {}
    if len(encode(metadata)) > MAX_METADATA_BYTES:
        text = f"metadata must be at most {MAX_METADATA_BYTES // 1024} KiB of JSON"
        raise Rejected("PAYLOAD_TOO_LARGE", text, field="metadata")
    if len(encode(body)) > MAX_REPORT_BYTES:
        text = f"a report must be at most {MAX_REPORT_BYTES // 1024} KiB of JSON"
        raise Rejected("PAYLOAD_TOO_LARGE", text, field="body")
    _require_distinct(body.conditions or ())
    conditions = tuple(
        ReportedCondition(
            type=c.type,
            status=c.status,
            lastTransitionTime=_optional_utc(c.lastTransitionTime, f"conditions[{i}].lastTransitionTime"),
            reason=c.reason or "",
            message=c.message or "",
            severity=c.severity,
        )
        for i, c in enumerate(body.conditions or ())
    )
    _optional_utc(body.reported_at, "reported_at")
    error = body.last_error
    return Report(
        cluster_id=cluster_id.lower(),
        controller_name=body.controller_name,
        observed_generation=body.observed_generation,
        conditions=conditions,
        metadata=metadata,
        last_error=None if error is None else _last_error(error, body.controller_name, at),
        report_id=body.report_id.lower() if body.report_id else None,
        answer=answer,
    )


def _require_distinct(conditions: Sequence[ConditionMessage]) -> None:
    """Raises: Rejected: a condition type occurs twice, so it is undefined which one counts."""
    seen = set()
    for number, condition in enumerate(conditions):
        if condition.type in seen:
            field = f"conditions[{number}].type"
            raise invalid(f"{field} is there twice: one condition a type", field=field, value=condition.type)
        seen.add(condition.type)


def _last_error(error: LastErrorMessage, controller_name: str, at: datetime) -> LastError:
    if not any(getattr(error, member) for member in LastErrorMessage.one_of):
        raise invalid("last_error needs a message or an errorCode", field="last_error")
    return LastError(
        controllerName=error.controllerName or controller_name,
        errorType=error.errorType or "",
        errorCode=error.errorCode or error.code or "",
        message=error.message or "",
        userActionable=bool(error.userActionable),
        suggestions=tuple(error.suggestions or ()),
        details=error.details or {},
        retryAfter=_nanoseconds(error.retryAfter),
        timestamp=_optional_utc(error.timestamp, "last_error.timestamp") or at,
    )


def _optional_utc(text: str | None, field: str) -> datetime | None:
    return None if text is None else utc(text, field=field)


def _nanoseconds(duration: int | str | None) -> int | None:
    """Nanoseconds as a number, or a duration in Go's syntax (`1m30s`)."""
    if isinstance(duration, str):
        parsed = nanoseconds(duration)
        if parsed is None:
            text = "retryAfter must be nanoseconds or a duration such as 1m30s"
            raise invalid(text, field="last_error.retryAfter", value=duration)
        duration = parsed
    if duration is not None and not 0 <= duration < 2**63:
        raise invalid("retryAfter must be 0 to 2^63-1 nanoseconds", field="last_error.retryAfter")
    return duration


# --- records that agents read -----------------------------------------------------------------------


def read_command(value: bytes, headers: Mapping[str, str], *, accepted: bool = False) -> Command:
    """Decode a record of `cluster-commands`, or of `cluster-accepted-commands`.

    Args:
        accepted: Whether the topic is internal, so that its headers are believed.

    Raises: MalformedRecord: `invalid_schema`.
    """

    def read() -> Command:
        decoder: msgspec.json.Decoder[Any] = _accepted_decoder if accepted else _command_decoder
        message = decode_body(value, decoder)
        if isinstance(message, AttachMessage):
            return Attach(command_id=message.command_id.lower(), cluster_id=message.cluster_id.lower())
        return _to_command(message, headers, accepted=accepted)

    return _read(read)


def read_create_request(value: bytes, headers: Mapping[str, str]) -> Create:
    """Decode a record of `cluster-create-requests`.

    Raises: MalformedRecord: `invalid_schema`.
    """
    return _read(lambda: _to_create(decode_body(value, _create_decoder), headers, accepted=False))


def read_name_request(value: bytes, headers: Mapping[str, str]) -> Create | ReleaseMessage:
    """Decode a record of `cluster-name-requests`.

    Raises: MalformedRecord: `invalid_schema`.
    """

    def read() -> Create | ReleaseMessage:
        message = decode_body(value, _name_request_decoder)
        return message if isinstance(message, ReleaseMessage) else _to_create(message, headers, accepted=True)

    return _read(read)


def read_report(value: bytes, headers: Mapping[str, str], at: datetime) -> Report:
    """Decode a record of `cluster-status-reports`; the header `answer` asks for a result.

    Raises: MalformedRecord: `invalid_schema`.
    """

    def read() -> Report:
        message = decode_body(value, _report_decoder)
        answer = headers.get("answer") == "true" and message.report_id is not None
        return report_of(message, cluster_id=message.cluster_id, at=at, answer=answer)

    return _read(read)


def _to_command(
    message: CommandMessage | SetHealthMessage, headers: Mapping[str, str], *, accepted: bool
) -> Command:
    by_rest = accepted and headers.get(TRIGGERED_BY) == BY_REST
    return command_of(
        message,
        triggered_by=BY_REST if by_rest else BY_KAFKA,
        request_id=_hint(headers, "request_id"),
        keyed=headers.get(KEYED) == "true",
    )


def _to_create(message: CreateMessage, headers: Mapping[str, str], *, accepted: bool) -> Create:
    command = _to_command(message, headers, accepted=accepted)
    assert isinstance(command, Create)
    return command


def _hint(headers: Mapping[str, str], name: str) -> str | None:
    """A header that events and rows repeat; None if a store could not hold it unchanged."""
    text = headers.get(name, "")
    return text if 0 < len(text) <= MAX_HINT_CHARACTERS and text.isprintable() else None


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except Rejected as refusal:
        raise MalformedRecord("invalid_schema", refusal.text) from None
