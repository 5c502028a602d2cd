"""The one error shape of simple kinds: codes are slugs, details a list (resources contract, section 2)."""

import json
from uuid import UUID

import pytest
from aiohttp import web

from domain.errors import Rejected, Unavailable, Unconfirmed
from domain.ids import entity_id_of
from web.http.errors import (
    STATUS,
    error_response,
    http_error_response,
    rejection_response,
    unavailable_response,
)


@pytest.mark.parametrize(
    ("code", "status", "slug"),
    [
        ("VALIDATION_FAILED", 400, "validation_failed"),
        ("INVALID_PARAMETER", 400, "invalid_parameter"),
        ("RESOURCE_NOT_FOUND", 404, "not_found"),
        ("IDEMPOTENCY_CONFLICT", 409, "idempotency_conflict"),
        ("VERSION_MISMATCH", 412, "version_mismatch"),
        ("PAYLOAD_TOO_LARGE", 413, "body_too_large"),
    ],
)
def test_a_refusal_has_its_status_and_slug(code, status, slug):
    answer = rejection_response(Rejected(code, "Why", field="name"), request_id="r", slugs=True)
    assert (status, "application/json") == (answer.status, answer.content_type)
    details = [{"field": "name", "message": "Why"}]
    assert {"error": "Why", "code": slug, "request_id": "r", "details": details} == json.loads(answer.body)


def test_a_body_that_cannot_be_read_has_a_code_of_its_own():
    refusal = Rejected("VALIDATION_FAILED", "no JSON", field="body")
    assert "invalid_body" == body(rejection_response(refusal, request_id="r", slugs=True))["code"]


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        pytest.param(Unavailable("away", retry_after=2.0), 503, "unavailable", id="not accepted"),
        pytest.param(Unconfirmed("unknown", retry_after=2.0), 504, "unconfirmed", id="outcome unknown"),
    ],
)
def test_what_is_open_may_be_asked_for_again(error, status, slug):
    answer = unavailable_response(error, request_id="r", slugs=True)
    assert (status, slug, "2") == (answer.status, body(answer)["code"], answer.headers["Retry-After"])


def test_what_the_framework_refuses_has_the_shape_too():
    wrong = http_error_response(
        web.HTTPMethodNotAllowed("PATCH", ["GET", "POST"]), request_id="r", slugs=True
    )
    assert (405, "method_not_allowed") == (wrong.status, body(wrong)["code"])
    assert {"GET", "POST"} == set(wrong.headers["Allow"].split(","))
    failed = error_response(STATUS["INTERNAL_ERROR"], "INTERNAL_ERROR", "x", request_id="r", slugs=True)
    assert (500, "internal") == (failed.status, body(failed)["code"])


def test_a_new_id_is_a_uuid_of_version_4_and_the_same_for_a_repeat():
    made = entity_id_of("command", "resource")
    assert made == entity_id_of("command", "resource") != entity_id_of("other", "resource")
    assert (made.lower(), 4) == (made, UUID(made).version)


def body(answer):
    return json.loads(answer.body)
