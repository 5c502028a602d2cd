"""The one error shape: the status of each code, and the body."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from domain.errors import Rejected, TransientError, Unconfirmed
from web.http.headers import encodable


class ErrorBody(Struct, kw_only=True):
    """The one shape of every error.

    Attributes:
        error: One sentence for people.
        code: What programs go by.
        request_id: Also in `X-Request-ID`, and in our log.
        details: What is wrong in particular, such as `field` and `value`.
    """

    error: str
    code: str
    request_id: str
    details: Mapping[str, Any] | UnsetType = UNSET


class ErrorDetail(Struct, kw_only=True):
    """What is wrong with a member of a request."""

    field: str
    message: str


class KindErrorBody(Struct, kw_only=True):
    """The shape of errors of simple kinds.

    Attributes:
        error: One sentence for people.
        code: What programs go by.
        request_id: Also in `X-Request-ID`, and in our log.
    """

    error: str
    code: str
    request_id: str
    details: list[ErrorDetail] | UnsetType = UNSET


STATUS: Final[Mapping[str, int]] = {
    "VALIDATION_FAILED": 400,
    "INVALID_BODY": 400,
    "INVALID_PARAMETER": 400,
    "INVALID_SPEC": 400,
    "CLUSTER_NOT_FOUND": 400,
    "AUTH_REQUIRED": 401,
    "INVALID_EMAIL": 401,
    "FORBIDDEN": 403,
    "RESOURCE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "CLUSTER_NAME_EXISTS": 409,
    "CLUSTER_NOT_DELETABLE": 409,
    "GENERATION_CONFLICT": 409,
    "IDEMPOTENCY_CONFLICT": 409,
    "RESOURCE_CONFLICT": 409,
    "WORK_ENDED": 409,
    "WATCH_EXPIRED": 410,
    "VERSION_MISMATCH": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "MISDIRECTED_REQUEST": 421,
    "TOO_MANY_WATCHES": 429,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "UNAVAILABLE": 503,
    "UNCONFIRMED": 504,
}

_SLUGS: Final[Mapping[str, str]] = {
    "RESOURCE_NOT_FOUND": "not_found",
    "PAYLOAD_TOO_LARGE": "body_too_large",
    "INTERNAL_ERROR": "internal",
}


def slug(code: str) -> str:
    """A code as APIs of simple kinds write it (resources contract, section 2)."""
    return _SLUGS.get(code, code.lower())


_CODE_OF_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    404: ("RESOURCE_NOT_FOUND", "No such resource"),
    405: ("METHOD_NOT_ALLOWED", "Method not allowed"),
    413: ("PAYLOAD_TOO_LARGE", "Request body is larger than 1 MiB"),
}

RETRY_WATCH: Final = "5"
"""Seconds after which a caller with too many watches should try again."""

_OTHERWISE: Final = ("VALIDATION_FAILED", "The request can't be answered as it is")


def error_response(
    status: int,
    code: str,
    text: str,
    *,
    request_id: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    slugs: bool = False,
) -> web.Response:
    """An error as every route answers it.

    Args:
        slugs: Whether the route is one of a simple kind, whose codes are slugs and whose details are a list.
    """
    body: ErrorBody | KindErrorBody
    if slugs:
        if code == "VALIDATION_FAILED" and details and details.get("field") == "body":
            code = "INVALID_BODY"
        body = KindErrorBody(error=text, code=slug(code), request_id=request_id)
        if details and "field" in details:
            body.details = [ErrorDetail(field=details["field"], message=text)]
    else:
        body = error_body(code, text, request_id=request_id)
        if details:
            body.details = details
    return json_response(msgspec.json.encode(body), status=status, headers=headers)


def error_body(code: str, text: str, *, request_id: str) -> ErrorBody:
    """The one error shape."""
    return ErrorBody(error=text, code=code, request_id=request_id)


def rejection_response(refusal: Rejected, *, request_id: str, slugs: bool = False) -> web.Response:
    """The answer to a request that was understood and refused."""
    details = {
        name: encodable(value) if isinstance(value, str) else value
        for name, value in refusal.details.items()
        if value is not None
    }
    headers = {"Retry-After": RETRY_WATCH} if refusal.code == "TOO_MANY_WATCHES" else None
    return error_response(
        STATUS.get(refusal.code, 500),
        refusal.code,
        refusal.text,
        request_id=request_id,
        details=details,
        headers=headers,
        slugs=slugs,
    )


def unavailable_response(error: TransientError, *, request_id: str, slugs: bool = False) -> web.Response:
    """Kafka or the tables cannot take this now; the caller may try again."""
    unknown = slugs and isinstance(error, Unconfirmed)
    status, code = (504, "UNCONFIRMED") if unknown else (503, "UNAVAILABLE")
    return error_response(
        status,
        code,
        str(error),
        request_id=request_id,
        headers={"Retry-After": str(max(1, round(error.retry_after)))},
        slugs=slugs,
    )


def http_error_response(error: web.HTTPException, *, request_id: str, slugs: bool = False) -> web.Response:
    """An error that aiohttp raised itself: no such route, wrong method, body too large."""
    code, text = _CODE_OF_STATUS.get(error.status, _OTHERWISE)
    allow = error.headers.get("Allow")
    return error_response(
        STATUS[code],
        code,
        text,
        request_id=request_id,
        headers={"Allow": allow} if allow else None,
        slugs=slugs,
    )


JSON_TYPE: Final = "application/json; charset=utf-8"


def json_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with JSON that is already encoded."""
    return web.Response(
        body=body,
        status=status,
        headers={"Content-Type": JSON_TYPE, **(headers or {})},
    )
