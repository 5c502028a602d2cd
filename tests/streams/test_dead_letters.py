"""Dead letters keep what a record had, but for secrets in clear."""

import json
from types import SimpleNamespace

import pytest

from domain.errors import MalformedRecord
from streams.kafka.partitions import MAX_KEY_BYTES
from streams.writing.dead_letters import MAX_HEADER_BYTES, MAX_HEADERS, masked, parked
from streams.writing.outputs import wire_headers

KEY = "serviceAccountSigningKey"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----"
BASE64 = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSUV2UQ=="
JWE = "eyJhIjoxfQ..aXY.Y2lwaGVy.dGFn"


def record(value=b"{", headers=()):
    return SimpleNamespace(topic="t", partition=1, offset=7, key=b"k", value=value, headers=tuple(headers))


def letter(*given, **more):
    return parked(record(*given, **more), MalformedRecord("invalid_schema", "why"))


@pytest.mark.parametrize(("length", "partition"), [(MAX_KEY_BYTES, None), (MAX_KEY_BYTES + 1, 0)])
def test_a_key_too_long_to_hash_goes_to_the_first_partition(length, partition):
    given = record()
    given.key = b"k" * length
    assert partition == parked(given, MalformedRecord("bad_key", "why")).partition


def test_headers_of_the_record_are_kept_as_they_were_and_ours_added():
    had = [
        ("request_id", b"r"),
        ("odd", b"\xff"),
        ("none", None),
        ("odd", b"again"),
        ("dlq_reason", b"forged"),
    ]
    headers = wire_headers(letter(headers=had))
    assert had[:4] == headers[:4]
    assert [b"invalid_schema"] == [value for name, value in headers if name == "dlq_reason"]


@pytest.mark.parametrize(
    "had",
    [
        [("h", b"v")] * (MAX_HEADERS + 1),
        [("h", b"v"), ("large", b"x" * MAX_HEADER_BYTES), ("later", b"v")],
    ],
    ids=["many", "large"],
)
def test_headers_are_kept_within_bounds(had):
    output = letter(headers=had)
    assert len(output.leading_headers) <= MAX_HEADERS
    assert sum(len(name) + len(value) for name, value in output.leading_headers) <= MAX_HEADER_BYTES
    assert f"{len(had)} headers" == output.headers["dlq_headers_cut_from"]


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({"type": "cluster.none", "spec": {KEY: "c2VjcmV0"}}),
        json.dumps([{"a": [{KEY: "c2VjcmV0"}]}]),
        json.dumps({KEY: {"inner": "c2VjcmV0"}}),
        json.dumps({KEY: ["c2VjcmV0"]}),
        '{"service\\u0041ccountSigningKey": "c2VjcmV0"}',
        f'{{"{KEY}": "c2VjcmV0", ',
        f'{{"{KEY}": "c2VjcmV0',
        f'{{"{KEY}" : ["c2VjcmV0", ',
        f"{KEY}=c2VjcmV0",
        f'{{"{KEY}": "a\\"c2VjcmV0", }}',
    ],
    ids=lambda value: value[:30],
)
def test_a_secret_in_clear_is_masked_wherever_it_stands(value):
    assert b"c2VjcmV0" not in letter(value.encode()).value
    assert b"***" in letter(value.encode()).value


@pytest.mark.parametrize(
    "value", [PEM, BASE64, json.dumps({"other": PEM}), f"no json {BASE64}"], ids=lambda v: v[:12]
)
def test_a_private_key_is_masked_under_any_name(value):
    kept = masked(value.encode())
    assert b"MIIEvQ" not in kept
    assert b"TUlJRXZR" not in kept
    assert b"Q0dR" not in kept
    assert b"***" in kept


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({KEY: JWE, "x": 1}),
        '{ "spaced" :  1.50,"half": ',
        f'{{"{KEY}": "{JWE}", ',
        json.dumps({KEY: None}),
        json.dumps({KEY: ""}),
        "\udcff".encode(errors="surrogateescape").decode("latin-1"),
    ],
    ids=lambda value: value[:30],
)
def test_what_holds_no_secret_in_clear_is_kept_to_the_letter(value):
    assert value.encode("latin-1") == masked(value.encode("latin-1"))


def test_the_reason_quotes_no_secret_either():
    output = parked(record(), MalformedRecord("internal_error", f"ValueError({PEM!r})"))
    assert "MIIEvQ" not in output.headers["dlq_error"]
