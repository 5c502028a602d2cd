"""What a kind says of its own routes, as `/openapi.json` shows it."""

import json
from typing import Annotated

import pytest
from openapi_spec_validator import validate

from domain.entity import Command
from domain.errors import Rejected
from domain.policy import Policy
from domain.values import Meta
from streams.decoding import decode_body, decoder_of
from tests.kinds.lamp import FLOW, Create, Delete, Lamp, Paint
from web.collection import Collection
from web.described import openapi

LIST, ONE = "/lamps", "/lamps/{id}"
PAINTED = {"colour": "red"}


class Dim(Command, frozen=True, kw_only=True, tag="lamp.dim"):
    """Make it less bright."""

    percent: Annotated[int, Meta(ge=1, le=100)]


def lamps():
    return Collection(FLOW, LIST, tag="Lamps", document=Lamp)


def described(*routes):
    return json.loads(json.dumps(openapi.document(routes, policy=Policy(), version="1")))


def body_of(operation):
    return operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]


def codes_of(operation, status):
    _, own = operation["responses"][str(status)]["content"]["application/json"]["schema"]["allOf"]
    return own["properties"]["code"]["enum"]


def test_commands_with_other_members_have_bodies_of_their_own():
    kind = lamps()
    said = described(kind.post(Create, example=PAINTED), kind.put(Dim, example={"percent": 5}))
    validate(said)
    post, put = said["paths"][LIST]["post"], said["paths"][ONE]["put"]
    assert ("LampBody", "LampDimBody") == (body_of(post), body_of(put))
    bodies = said["components"]["schemas"]
    assert [["colour"], ["percent"]] == [
        [*bodies[name]["properties"]] for name in ("LampBody", "LampDimBody")
    ]


def test_commands_of_the_same_members_share_a_body():
    kind = lamps()
    said = described(kind.post(Create, example=PAINTED), kind.put(Paint, example=PAINTED))
    assert "LampBody" == body_of(said["paths"][LIST]["post"]) == body_of(said["paths"][ONE]["put"])


def one_route(method, **given):
    """The description of one write with its options."""
    kind = lamps()
    route = {
        "post": lambda: kind.post(Create, example=PAINTED, **given),
        "put": lambda: kind.put(Paint, example=PAINTED, **given),
        "delete": lambda: kind.delete(Delete, **given),
    }[method]()
    (path,) = described(route)["paths"].values()
    return path[method]


@pytest.mark.parametrize(("method", "status"), [("post", 409), ("put", 412), ("delete", 412)])
def test_the_refusals_of_a_kinds_rules_are_told_beside_those_of_all_kinds(method, status):
    said = one_route(method, refusals=("RESOURCE_CONFLICT",))
    assert "resource_conflict" in codes_of(said, 409)
    assert set(codes_of(one_route(method), status)) <= set(codes_of(said, status))
    assert "resource_conflict" not in json.dumps(one_route(method))


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_a_kind_may_say_what_a_write_does(method):
    assert "Have a lamp shine" == one_route(method, about="Have a lamp shine.")["summary"]
    assert "Have a lamp shine" != one_route(method)["summary"]


@pytest.mark.parametrize("body", [{"colour": ""}, {"colour": "x" * 21}, {"colour": 5}, {}])
def test_bounds_in_a_commands_type_are_kept_at_the_edge(body):
    decoder = decoder_of(lamps().put(Paint, example=PAINTED).operation.body)
    with pytest.raises(Rejected) as refusal:
        decode_body(json.dumps(body).encode(), decoder)
    assert ("VALIDATION_FAILED", "colour") == (refusal.value.code, refusal.value.details["field"])
