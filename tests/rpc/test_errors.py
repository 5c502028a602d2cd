"""Errors as statuses of gRPC: each kind has its own, and what nobody meant is told to nobody."""

import pytest
from grpc import StatusCode

from domain.errors import NotPermitted, Rejected, SinkUnavailable, Unavailable, Unconfirmed, invalid
from rpc.errors import status_of


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            invalid("action must be there", field="action"),
            StatusCode.INVALID_ARGUMENT,
            "action must be there",
        ),
        (Rejected("RESOURCE_NOT_FOUND", "Not found"), StatusCode.NOT_FOUND, "Not found"),
        (Rejected("RESOURCE_CONFLICT", "taken"), StatusCode.ALREADY_EXISTS, "taken"),
        (Rejected("IDEMPOTENCY_CONFLICT", "another"), StatusCode.ALREADY_EXISTS, "another"),
        (Unavailable("Kafka is away"), StatusCode.UNAVAILABLE, "Kafka is away"),
        (NotPermitted("no right"), StatusCode.UNAVAILABLE, "no right"),
        (SinkUnavailable("no database"), StatusCode.UNAVAILABLE, "no database"),
        (Unconfirmed("unknown"), StatusCode.DEADLINE_EXCEEDED, "unknown"),
        (Rejected("SOMETHING_ELSE", "secret"), StatusCode.INTERNAL, "Internal error"),
        (RuntimeError("secret"), StatusCode.INTERNAL, "Internal error"),
    ],
)
def test_an_error_has_its_status(error, code, text):
    assert (code, text) == status_of(error)
