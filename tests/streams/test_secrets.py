"""Keys and what they encrypt."""

import base64

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from domain.cluster.secrets import without_secrets
from domain.errors import Rejected
from streams.secrets import BadKeys, Keyring

MEMBER = "serviceAccountSigningKey"
FIRST, SECOND = b"1" * 32, b"2" * 32


def pair(key_id: str, key: bytes) -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


def secret_of(spec):
    return {MEMBER: spec[MEMBER]}


def test_what_is_encrypted_can_be_read_again_and_not_seen():
    ring = Keyring({"first": FIRST})
    spec = ring.encrypted({"infraID": "x", MEMBER: "c2VjcmV0"})
    assert "c2VjcmV0" not in str(spec)
    assert "x" == spec["infraID"]
    assert {MEMBER: "c2VjcmV0"} == ring.decrypted(secret_of(spec))


def test_the_rules_take_it_for_encrypted():
    spec = Keyring({"first": FIRST}).encrypted({MEMBER: "c2VjcmV0"})
    assert ({}, secret_of(spec)) == without_secrets(spec)


def test_any_jose_library_can_make_one():
    header = {"alg": "dir", "enc": "A256GCM", "kid": "first"}
    token = jwe.encrypt_compact(header, b"c2VjcmV0", OctKey.import_key(FIRST))
    assert {MEMBER: "c2VjcmV0"} == Keyring({"first": FIRST}).decrypted({MEMBER: token})


def test_after_a_rotation_the_new_key_encrypts_and_both_decrypt():
    old = Keyring.parse(pair("first", FIRST)).encrypted({MEMBER: "old"})
    rotated = Keyring.parse(f"{pair('second', SECOND)}, {pair('first', FIRST)}")
    new = rotated.encrypted({MEMBER: "new"})
    assert {MEMBER: "old"} == rotated.decrypted(secret_of(old))
    assert {MEMBER: "new"} == rotated.decrypted(secret_of(new))
    assert {} == Keyring.parse(pair("first", FIRST)).decrypted(secret_of(new))


def test_what_was_tampered_with_is_not_read():
    spec = Keyring({"first": FIRST}).encrypted({MEMBER: "c2VjcmV0"})
    head, _, tail = spec[MEMBER].rpartition(".")
    assert {} == Keyring({"first": FIRST}).decrypted({MEMBER: f"{head}.{'A' * len(tail)}"})


def test_without_a_key_a_secret_is_refused_and_a_spec_without_one_is_not():
    with pytest.raises(Rejected, match="SECRET_KEYS is not set"):
        Keyring({}).encrypted({MEMBER: "c2VjcmV0"})
    for spec in ({}, {MEMBER: None}, {MEMBER: ""}):
        assert spec is Keyring({}).encrypted(spec)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("abc", id="no id"),
        pytest.param(":" + base64.b64encode(FIRST).decode(), id="an empty id"),
        pytest.param("a b:" + base64.b64encode(FIRST).decode(), id="an id with a blank"),
        pytest.param("k:not base64!", id="no base64"),
        pytest.param(pair("k", b"short"), id="a short key"),
        pytest.param(f"{pair('k', FIRST)},{pair('k', SECOND)}", id="an id twice"),
    ],
)
def test_bad_keys_are_refused_without_showing_them(text):
    with pytest.raises(BadKeys) as refused:
        Keyring.parse(text)
    assert text.partition(":")[2] == "" or text.partition(":")[2] not in str(refused.value)
