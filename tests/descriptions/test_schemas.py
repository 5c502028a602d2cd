"""The files under `streams/described/schemas/` are what the types say, and say what the contract says."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from jsonschema import FormatChecker
from jsonschema.validators import Draft202012Validator

from domain.errors import MalformedRecord
from streams.cluster.codec import read_command, read_create_request, read_report
from streams.described.schemas import DIRECTORY
from streams.described.schemas.catalogue import documents, messages, rendered

HERE = Path(__file__).parent
ID = "5431ac0e-5d9c-4a9e-8a53-0cbb6a86b6b1"
CREATE = {
    "command_id": ID,
    "cluster_id": ID,
    "type": "cluster.create",
    "user_email": "you@example.com",
    "issued_at": "2026-11-22T12:00:00Z",
    "name": "one",
    "spec": {"platform": {"type": "gcp"}},
    "target_project_id": "p",
    "force": True,
    "expected_generation": 3,
    "expected_resource_version": "r",
}
REPORT = {
    "report_id": ID,
    "cluster_id": ID,
    "controller_name": "dns",
    "observed_generation": 1,
    "conditions": [
        {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": "2026-11-22T12:00:00+01:00",
            "reason": "r",
            "message": "m",
            "severity": "Info",
        }
    ],
    "metadata": {"a": 1},
    "last_error": {
        "errorType": "Fatal",
        "errorCode": "E",
        "code": "E",
        "message": "m",
        "userActionable": True,
        "details": {},
        "suggestions": ["s"],
        "retryAfter": "5m",
        "timestamp": "2026-11-22T12:00:00Z",
    },
    "reported_at": "2026-11-22T12:00:00Z",
}
VALUES = [None, True, 0, 1, -1, 1.5, "", "x", "X Y", "x" * 64, "x" * 400, [], ["x"], [1], {}, {"a": 1}, ID]
WHOLE = {
    "cluster-command": [
        {**CREATE, "type": f"cluster.{kind}"} for kind in ("create", "update", "delete", "reconcile")
    ],
    "cluster-status-report": [REPORT, {**REPORT, "last_error": {"message": "m"}}],
}
READ = {
    "cluster-command": lambda value: read_command(value, {}),
    "cluster-create-request": lambda value: read_create_request(value, {}),
    "cluster-status-report": lambda value: read_report(value, {}, datetime.now(UTC)),
}


def validator(schema):
    return Draft202012Validator(schema, format_checker=FormatChecker())


def contract(name):
    """The schema as the contract prints it (sections 10.4 and 10.5)."""
    return validator(json.loads((HERE / "contract" / f"{name}.json").read_text()))


def places(value, path=()):
    """Every member within a value."""
    for key, member in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield (*path, key)
        yield from places(member, (*path, key))


def changed(whole):
    """A message with each member left out, and with each of many values in its place."""
    yield whole
    for *path, last in places(whole):
        for value in (..., *VALUES):
            message = copy.deepcopy(whole)
            target = message
            for key in path:
                target = target[key]
            if value is ...:
                del target[last]
            else:
                target[last] = value
            yield message


def every(name):
    return [message for whole in WHOLE[name] for message in changed(whole)]


@pytest.mark.parametrize("name", documents())
def test_files_are_what_the_types_say(name):
    """`python -m streams.described.schemas` writes them anew."""
    assert rendered(documents()[name]) == (DIRECTORY / f"{name}.json").read_text()


def test_there_is_no_file_of_what_is_gone():
    assert {f"{name}.json" for name in documents()} == {path.name for path in DIRECTORY.glob("*.json")}


@pytest.mark.parametrize("name", documents())
def test_they_are_json_schemas(name):
    Draft202012Validator.check_schema(documents()[name])
    assert name == documents()[name]["$id"]


@pytest.mark.parametrize("name", WHOLE)
def test_they_tell_good_from_bad_as_the_contract_does(name):
    ours, theirs, verdicts = validator(documents()[name]), contract(name), set()
    for message in every(name):
        verdicts.add(theirs.is_valid(message))
        assert theirs.is_valid(message) == ours.is_valid(message), message
    assert {True, False} == verdicts


@pytest.mark.parametrize("name", WHOLE)
def test_what_they_let_through_is_decoded(name):
    """But for what only the domain can tell: a duration's form, an email's, a text that says nothing."""
    schema, decoded = validator(documents()[name]), 0
    for message in filter(schema.is_valid, every(name)):
        try:
            READ[name](json.dumps(message).encode())
            decoded += 1
        except MalformedRecord as error:
            assert any(word in str(error) for word in ("retryAfter", "last_error needs", "user_email")), error
    assert decoded > 100


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.name)
def test_stored_samples_are_still_understood(message):
    """Samples are never edited: records like these are on topics. A changed message gets one more."""
    samples = sorted((HERE / "samples" / message.name).glob("*.json"))
    assert samples
    for path in samples:
        text = path.read_bytes()
        validator(documents()[message.name]).validate(json.loads(text))
        if message.name in READ:
            READ[message.name](text)
        else:
            decoded = [_decoded(text, type_) for type_ in message.types]
            assert any(value is not None for value in decoded), path


def _decoded(text, type_):
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError:
        return None
