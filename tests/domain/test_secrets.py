"""Secrets of a spec: apart from it, encrypted, kept until they are removed."""

import json
from base64 import urlsafe_b64encode

import pytest

from domain.cluster.names import admit
from domain.cluster.secrets import without_secrets
from domain.errors import Rejected
from domain.secrets import MASK
from domain.values import replace
from tests.domain.given import GCP, POLICY, T0, Refused, after, create, decided, delete, step, story, update

MEMBER = "serviceAccountSigningKey"
PATH = f"spec.{MEMBER}"
OLD, NEW = "aaaa..bbbb.cccc.dddd", "eeee..ffff.gggg.hhhh"


def with_secret(value):
    return {**GCP, MEMBER: value}


KEYED = story((create(1, spec=with_secret(OLD)), T0))
BARE = story((create(1), T0))


def test_a_secret_is_stored_apart_from_the_spec():
    assert (GCP, {MEMBER: OLD}) == (KEYED.cluster.spec, KEYED.secrets)


@pytest.mark.parametrize(
    ("given", "spec", "kept", "changes"),
    [
        pytest.param(KEYED, GCP, {MEMBER: OLD}, {}, id="an update that omits it keeps it"),
        pytest.param(KEYED, with_secret(""), {MEMBER: OLD}, {}, id="so does an empty one"),
        pytest.param(KEYED, with_secret(OLD), {MEMBER: OLD}, {}, id="the same again is no change"),
        pytest.param(KEYED, with_secret(None), {}, {PATH: {"from": MASK, "to": None}}, id="null removes it"),
        pytest.param(
            KEYED,
            with_secret(NEW),
            {MEMBER: NEW},
            {PATH: {"from": MASK, "to": MASK}},
            id="another replaces it",
        ),
        pytest.param(
            BARE, with_secret(NEW), {MEMBER: NEW}, {PATH: {"from": None, "to": MASK}}, id="one comes later"
        ),
        pytest.param(BARE, with_secret(None), {}, {}, id="null without one is nothing"),
    ],
)
def test_what_an_update_says_of_it(given, spec, kept, changes):
    record, (event,) = step(given, update(2, spec=spec), after(seconds=1))
    assert (kept, changes) == (record.secrets, event.changes)
    assert GCP == record.cluster.spec


def test_a_deleted_cluster_keeps_no_secret():
    record, _ = step(KEYED, delete(force=True), after(seconds=1))
    assert {} == record.secrets


@pytest.mark.parametrize("clear", ["c2VjcmV0", "-----BEGIN KEY-----", "a.b.c", "a.b.c.d.e.f", "a.b.c.d.e "])
def test_one_in_clear_is_refused_without_showing_it(clear):
    with pytest.raises(Rejected) as refused:
        without_secrets(with_secret(clear))
    assert ("VALIDATION_FAILED", {"field": PATH}) == (refused.value.code, refused.value.details)
    assert clear not in refused.value.text


def test_a_name_is_not_given_to_a_create_with_one_in_clear():
    with pytest.raises(Rejected, match="must be encrypted"):
        admit(None, create(1, spec=with_secret("c2VjcmV0")), POLICY)
    _, (event,) = step(None, create(1, spec=with_secret("c2VjcmV0")), T0)
    assert "VALIDATION_FAILED" == event.code


def token(**header):
    encoded = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{encoded}..aXY.Y2lwaGVy.dGFn"


OURS = {"alg": "dir", "enc": "A256GCM", "kid": "first"}


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (OURS, True),
        ({**OURS, "kid": "old"}, True),
        ({**OURS, "kid": "theirs"}, False),
        ({**OURS, "kid": None}, False),
        ({**OURS, "kid": ["first"]}, False),
        ({**OURS, "alg": "RSA-OAEP"}, False),
        ({**OURS, "enc": "A128GCM"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_secret_that_no_key_of_ours_opens_is_refused(header, taken):
    policy = replace(POLICY, secret_key_ids=frozenset({"first", "old"}))
    for record, command in ((None, create(1, spec=with_secret(token(**header)))), (KEYED, None)):
        command = command or update(2, spec=with_secret(token(**header)))
        event = decided(record, command, at=T0, policy=policy)
        assert taken == (not isinstance(event, Refused)), event


def test_a_header_that_is_none_is_refused():
    policy = replace(POLICY, secret_key_ids=frozenset({"first"}))
    for head in ("AAAA", "W10", "bnVsbA", "-_-_-"):
        event = decided(None, create(1, spec=with_secret(f"{head}..aXY.Y2lwaGVy.dGFn")), at=T0, policy=policy)
        assert "VALIDATION_FAILED" == event.code
