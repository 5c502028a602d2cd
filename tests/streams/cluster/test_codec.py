"""What comes in is a value or one of two refusals, never another exception; what goes out comes back."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from domain.cluster.commands import Create, Delete, Reconcile, Report, Update
from domain.errors import MalformedRecord, Rejected
from domain.values import replace
from streams.cluster.codec import (
    MAX_HINT_CHARACTERS,
    decode_record,
    message_of,
    read_command,
    read_create_request,
    read_name_request,
    read_report,
)
from streams.cluster.messages import ReleaseMessage, ReportBody
from streams.decoding import decode_body
from streams.json import encode
from tests.domain.given import T0, after, available, create, delete, reconcile, says, story, update, uuid
from tests.streams.cluster.given import COMMAND
from web.cluster.bodies import CreateBody, UpdateBody

NOW = datetime(2030, 1, 1, tzinfo=UTC)
READERS = {
    "command": lambda data: read_command(data, {}),
    "create request": lambda data: read_create_request(data, {}),
    "report": lambda data: read_report(data, {"answer": "true"}, NOW),
}
BODIES = {kind.__name__: msgspec.json.Decoder(kind) for kind in (CreateBody, UpdateBody, ReportBody)}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def outcome(read: Any, data: bytes) -> str:
    """How reading ended; whatever is no refusal goes through."""
    try:
        read(data)
    except (MalformedRecord, Rejected) as refusal:
        error: Any = refusal
    else:
        return "read"
    assert str(error)
    if isinstance(error, MalformedRecord):
        assert error.reason == "invalid_schema"
        return "malformed"
    assert error.code in ("VALIDATION_FAILED", "PAYLOAD_TOO_LARGE")
    return "rejected"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@given(data=st.binary() | anything.map(lambda value: json.dumps(value).encode()))
@example(data=b"")
@example(data=b"[" * 100_000)
@example(data=b'{"type":' * 100_000)
@example(data=b'{"a":' + b"9" * 5000 + b"}")
@example(data=b'{"a":1e999}')
@example(data=b"\xef\xbb\xbf{}")
@example(data=b'"\\ud800"')
def test_records_of_any_bytes_are_malformed_and_nothing_else(reader, data):
    assert outcome(reader, data) == "malformed"


@pytest.mark.parametrize("decoder", BODIES.values(), ids=BODIES.keys())
@given(data=st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_bodies_of_any_bytes_are_taken_or_rejected(decoder, data):
    assert outcome(lambda data: decode_body(data, decoder), data) in ("read", "rejected")


REPORT = {
    "cluster_id": uuid(2),
    "controller_name": "dns",
    "observed_generation": 1,
    "report_id": uuid(3),
    "reported_at": "2030-01-01T00:00:00Z",
    "metadata": {"a": 1},
    "conditions": [
        {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
            "severity": "Info",
        }
    ],
    "last_error": {
        "errorType": "Fatal",
        "message": "m",
        "retryAfter": "5m",
        "timestamp": "2030-01-01T00:00:00Z",
    },
}
TYPES = ["cluster.create", "cluster.update", "cluster.delete", "cluster.reconcile", "name.release", "else"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members, at any depth."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [p for name, member in members for p in [(*path, name), *places(member, (*path, name))]]


def with_member(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: Any = json.loads(json.dumps(body))
    target = copy
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    return copy


@pytest.mark.parametrize("kind", TYPES)
@given(path=st.sampled_from(places(COMMAND)), value=anything)
def test_a_command_with_any_member_replaced_is_read_or_malformed(kind, path, value):
    data = json.dumps(with_member({**COMMAND, "type": kind}, path, value)).encode()
    assert outcome(READERS["command"], data) in ("read", "malformed")
    assert outcome(READERS["create request"], data) in ("read", "malformed")


@given(path=st.sampled_from(places(REPORT)), value=anything)
def test_a_report_with_any_member_replaced_is_read_or_malformed(path, value):
    data = json.dumps(with_member(REPORT, path, value)).encode()
    assert outcome(READERS["report"], data) in ("read", "malformed")


@given(path=st.sampled_from(places(REPORT)), value=st.integers() | st.text())
def test_what_was_read_can_be_stored(path, value):
    """A value that passed the door must not fail behind it: it is encoded, decoded and told."""
    try:
        report = READERS["report"](json.dumps(with_member(REPORT, path, value)).encode())
    except MalformedRecord:
        return
    record = story((create(cluster_id=report.cluster_id), T0), (report, after(seconds=1)))
    assert record == decode_record(encode(record))


# --- there and back -----------------------------------------------------------------------------------

COMMANDS = [
    create(1, target_project_id="p"),
    update(2, spec={"platform": {"type": "aws"}, "x": [1, None, Raw(b"1.5"), "ü"]}),
    update(3, expected_generation=7, expected_resource_version="v"),
    delete(4),
    delete(5, force=True),
    reconcile(6),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{type(c).__name__} {c.command_id[-1]}")
def test_a_command_comes_back_as_it_went(command):
    data = encode(message_of(command, issued_at=NOW))
    headers = {"triggered_by": "api_request", "request_id": "r"}
    back = read_command(data, headers, accepted=True)
    assert replace(command, triggered_by="api_request", request_id="r") == back
    assert isinstance(back, Create | Update | Delete | Reconcile)


def test_without_headers_a_command_is_kafka_s_own():
    back = read_command(encode(message_of(reconcile(), issued_at=NOW)), {})
    assert ("kafka_command", None) == (back.triggered_by, back.request_id)


def test_a_client_cannot_say_that_its_command_came_by_rest():
    headers = {"triggered_by": "api_request"}
    back = read_command(encode(message_of(reconcile(), issued_at=NOW)), headers)
    assert "kafka_command" == back.triggered_by


@pytest.mark.parametrize(
    "said", ["x" * (MAX_HINT_CHARACTERS + 1), "", "a\0b", "a\nb", "\x7f", "\u2028"], ids=ascii
)
def test_a_request_id_that_not_every_store_can_hold_counts_as_absent(said):
    data = encode(message_of(reconcile(), issued_at=NOW))
    assert read_command(data, {"request_id": said}).request_id is None
    assert (
        "x" * MAX_HINT_CHARACTERS == read_command(data, {"request_id": "x" * MAX_HINT_CHARACTERS}).request_id
    )
    assert "räume 7" == read_command(data, {"request_id": "räume 7"}).request_id


def test_ids_are_read_in_any_case_and_kept_in_lower():
    body = {**COMMAND, "command_id": uuid(0xABC).upper(), "cluster_id": uuid(0xDEF).upper()}
    back = READERS["command"](json.dumps(body).encode())
    assert (uuid(0xABC), uuid(0xDEF)) == (back.command_id, back.cluster_id)
    report = READERS["report"](json.dumps({**REPORT, "report_id": uuid(0xABC).upper()}).encode())
    assert uuid(0xABC) == report.report_id


@pytest.mark.parametrize(
    "steps",
    [
        [(create(), T0)],
        [
            (create(), T0),
            (says("dns", 1, available("True", T0), failing="Fatal", report_id=uuid(5)), after(seconds=1)),
        ],
        [
            (create(), T0),
            (update(), after(seconds=1)),
            (None, after(hours=1)),
            (delete(force=True), after(hours=2)),
        ],
    ],
    ids=["born", "reported", "updated, reconciled, deleted"],
)
def test_a_record_comes_back_as_it_went(steps):
    record = story(*steps)
    assert record == decode_record(encode(record))


def test_unknown_members_are_passed_over():
    assert isinstance(READERS["command"](json.dumps({**COMMAND, "new": {"a": 1}}).encode()), Update)
    assert isinstance(READERS["report"](json.dumps({**REPORT, "new": [1]}).encode()), Report)


def test_a_release_is_read_only_where_clients_may_not_write():
    body = json.dumps({"type": "name.release", "release": True, "cluster_id": uuid(1)}).encode()
    assert isinstance(read_name_request(body, {}), ReleaseMessage)
    with pytest.raises(MalformedRecord):
        read_create_request(body, {})


def test_an_answer_needs_an_id_to_go_under():
    body = {k: v for k, v in REPORT.items() if k != "report_id"}
    assert not READERS["report"](json.dumps(body).encode()).answer
    assert READERS["report"](json.dumps(REPORT).encode()).answer
    assert not read_report(json.dumps(REPORT).encode(), {}, NOW).answer


# --- retryAfter ---------------------------------------------------------------------------------------


def retry_after(value: Any) -> int | None:
    body = with_member(REPORT, ("last_error", "retryAfter"), value)
    return READERS["report"](json.dumps(body).encode()).last_error.retryAfter


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        (None, None),
        (0, 0),
        (1, 1),
        (2**63 - 1, 2**63 - 1),
        ("5m", 300 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("500ms", 5 * 10**8),
        ("10us", 10**4),
        ("10µs", 10**4),
        ("7ns", 7),
        ("1h2m3s", 3723 * 10**9),
    ],
)
def test_retry_after_as_number_or_duration(value, nanoseconds):
    assert nanoseconds == retry_after(value)


@pytest.mark.parametrize(
    "value", ["", "5", "m", "5 m", "5m!", "-5m", "soon", "5d", -1, 2**63, 1.5, True, [], "9" * 400 + "h"]
)
def test_retry_after_that_is_none(value):
    with pytest.raises(MalformedRecord):
        retry_after(value)


# --- null, and what is there twice --------------------------------------------------------------------

CREATE = {**COMMAND, "type": "cluster.create", "name": "one", "spec": {"platform": {"type": "gcp"}}}
ERROR = {"message": "m", "timestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("read", "body", "nulls"),
    [
        (read_command, CREATE, {"target_project_id": None}),
        (read_command, {**COMMAND, "type": "cluster.delete"}, {"force": None, "expected_generation": None}),
        (read_command, COMMAND, {"expected_resource_version": None}),
        (read_command, COMMAND, {"expected_resource_version": ""}),
    ],
    ids=["create", "delete", "update", "an empty version"],
)
def test_a_member_of_a_command_that_is_null_is_absent(read, body, nulls):
    without = {name: member for name, member in body.items() if name not in nulls}
    assert read(json.dumps(without).encode(), {}) == read(json.dumps({**body, **nulls}).encode(), {})


@pytest.mark.parametrize(
    "nulls",
    [
        {"conditions": [{"type": "A", "status": "True", "reason": None, "message": None, "severity": None}]},
        {"last_error": {**ERROR, **dict.fromkeys(("controllerName", "errorType", "errorCode", "code"))}},
        {
            "last_error": {
                **ERROR,
                **dict.fromkeys(("userActionable", "suggestions", "details", "retryAfter")),
            }
        },
        {"metadata": None},
    ],
    ids=["condition", "texts of an error", "others of an error", "metadata"],
)
def test_a_member_of_a_report_that_is_null_is_absent(nulls):
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(member) for name, member in value.items() if member is not None}
        return [without(item) for item in value] if isinstance(value, list) else value

    report = {**REPORT, **nulls}
    read = READERS["report"]
    assert read(json.dumps(without(report)).encode()) == read(json.dumps(report).encode())


def test_an_error_that_says_nothing_but_null_is_refused():
    body = {**REPORT, "last_error": {"message": None, "errorCode": None, "code": None}}
    with pytest.raises(MalformedRecord, match="needs a message"):
        READERS["report"](json.dumps(body).encode())


def test_a_condition_type_that_comes_twice_is_refused():
    conditions = [{"type": kind, "status": "True"} for kind in ("A", "B", "A")]
    with pytest.raises(MalformedRecord, match=r"conditions\[2\].type is there twice"):
        READERS["report"](json.dumps({**REPORT, "conditions": conditions}).encode())
