"""Encrypts secrets before they enter a topic, and decrypts them for callers that may read them.

A secret is a JWE in compact form (RFC 7516) under a key both sides share (`dir`, AES-256-GCM; RFC 7518,
sections 4.5 and 5.3), whose header names the key. Keys are rotated by adding a new one in front: the first
encrypts, all of them decrypt. Any JOSE library can make one, so Kafka clients need no library of ours.
"""

import base64
import binascii
import logging
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter

from domain.errors import ControlPlaneError, invalid
from domain.secrets import SECRET_MEMBERS

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

log = logging.getLogger("clusterflow.secrets")

UNREADABLE_SECRETS = Counter(
    "clusterflow_unreadable_secrets_total", "Secrets that were asked for and that no key here opens"
)

KEY_BYTES: Final = 32

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadKeys(ControlPlaneError):
    """The keys cannot be used; the text gives the reason and shows none of them."""


class Keyring:
    """Keys by id; without any key, nothing can be encrypted or read.

    Args:
        keys: Key id → 32 bytes; the first one encrypts.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._current = next(iter(self._keys), None)

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Parse keys of the form `id:base64`, 32 bytes each, separated by commas; none in an empty text.

        Raises: BadKeys: a key has another form or another length, or an id occurs twice.
        """
        keys: dict[str, bytes] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            key_id, _, encoded = part.partition(":")
            if not _KEY_ID.fullmatch(key_id):
                raise BadKeys("expected id:base64 pairs, an id being up to 64 of A-Z a-z 0-9 . _ -")
            if key_id in keys:
                raise BadKeys(f"the key id {key_id} is there twice")
            try:
                keys[key_id] = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise BadKeys(f"the key {key_id} is not base64") from None
            if len(keys[key_id]) != KEY_BYTES:
                raise BadKeys(f"the key {key_id} must have {KEY_BYTES} bytes (openssl rand -base64 32)")
        return cls(keys)

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of its keys."""
        return frozenset(self._keys)

    def encrypted(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with its secrets encrypted; the same object if it has none.

        Raises: Rejected: `VALIDATION_FAILED`, there is a secret but no key.
        """
        said = {name: spec[name] for name in SECRET_MEMBERS if spec.get(name)}
        if not said:
            return spec
        if self._current is None:
            text = f"{next(iter(said))} is not accepted: SECRET_KEYS is not set on this server"
            raise invalid(text, field=f"spec.{next(iter(said))}")
        return {**spec, **{name: self._encrypt(value) for name, value in said.items()}}

    def decrypted(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The secrets in clear, without those under an unknown key and those that were tampered with.

        An unreadable secret is omitted, as it is for users: reading a cluster must not fail because of it,
        and a write without it keeps it.
        """
        opened = {name: self._decrypt(name, token) for name, token in secrets.items()}
        return {name: text for name, text in opened.items() if text is not None}

    # joserfc takes a tenth of a second to load, so it is loaded for the first secret, not at every start.

    def _encrypt(self, value: str) -> str:
        from joserfc import jwe

        header = {"alg": "dir", "enc": "A256GCM", "kid": self._current}
        return jwe.encrypt_compact(header, value.encode(), self._imported[str(self._current)])

    def _decrypt(self, name: str, token: str) -> str | None:
        from joserfc import jwe
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        try:
            plaintext = jwe.decrypt_compact(token, KeySet([*self._imported.values()])).plaintext
            return (plaintext or b"").decode()
        except (JoseError, ValueError) as error:
            UNREADABLE_SECRETS.inc()
            log.warning(
                "secret not shown: no key in SECRET_KEYS opens it",
                extra={"member": name, "error": type(error).__name__},
            )
            return None

    @cached_property
    def _imported(self) -> Mapping[str, "OctKey"]:
        from joserfc.jwk import OctKey

        return {id: OctKey.import_key(key, {"kid": id, "use": "enc"}) for id, key in self._keys.items()}
