"""Refusals and failures as statuses of gRPC (resources contract, section 3)."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from grpc import StatusCode

from domain.errors import Rejected, TransientError, Unconfirmed

_REFUSED: Final[Mapping[str, StatusCode]] = {
    "VALIDATION_FAILED": StatusCode.INVALID_ARGUMENT,
    "INVALID_PARAMETER": StatusCode.INVALID_ARGUMENT,
    "RESOURCE_NOT_FOUND": StatusCode.NOT_FOUND,
    "RESOURCE_CONFLICT": StatusCode.ALREADY_EXISTS,
    "IDEMPOTENCY_CONFLICT": StatusCode.ALREADY_EXISTS,
}


class Status(NamedTuple):
    """How a call ends that has no answer."""

    code: StatusCode
    text: str


INTERNAL: Final = Status(StatusCode.INTERNAL, "Internal error")


def status_of(error: Exception) -> Status:
    """The status of an error; of one that nobody has raised on purpose nothing is told."""
    match error:
        case Rejected(code=code, text=text) if code in _REFUSED:
            return Status(_REFUSED[code], text)
        case Unconfirmed():
            return Status(StatusCode.DEADLINE_EXCEEDED, str(error))
        case TransientError():
            return Status(StatusCode.UNAVAILABLE, str(error))
    return INTERNAL
