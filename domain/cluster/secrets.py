"""The secrets of a spec (`domain.secrets`): stored apart from it, and encrypted before they enter any topic.

Because secrets are kept apart, no code that encodes a spec can leak one into an event, an answer or a log
line.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from domain.errors import invalid
from domain.secrets import JWE, MASK, SECRET_MEMBERS


def without_secrets(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str | None]]:
    """The spec without its secrets, and its values for them: a JWE, or None to remove a secret.

    An absent or empty secret has no value and changes nothing, because a client that reads a spec, which has
    no secrets, and writes it back from a typed struct sends an empty one.

    Raises: Rejected: `VALIDATION_FAILED`, a secret is in clear.
    """
    members = [member for member in SECRET_MEMBERS if member in spec]
    if not members:
        return spec, {}
    said = {}
    for member in members:
        value = spec[member]
        if value is not None and value != "" and not JWE.fullmatch(value):
            text = f"{member} must be encrypted (JWE in compact form) before it is published; REST does it"
            raise invalid(text, field=f"spec.{member}")
        if value != "":
            said[member] = value
    return {name: value for name, value in spec.items() if name not in members}, said


def require_known_keys(said: Mapping[str, str | None], key_ids: frozenset[str]) -> None:
    """Refuse a secret that we could never read: of another form, or under an unknown key.

    Args:
        said: The values that `without_secrets` returned.
        key_ids: The ids of the known keys; if there are none, nothing is refused.

    Raises: Rejected: `VALIDATION_FAILED`, naming the member.
    """
    if not key_ids:
        return
    for member, token in said.items():
        if token is None:
            continue
        header = _header(token)
        if (header.get("alg"), header.get("enc")) != ("dir", "A256GCM"):
            text = f"{member} must be a JWE with alg dir, enc A256GCM and the key's id as kid"
            raise invalid(text, field=f"spec.{member}")
        if str(header.get("kid")) not in key_ids:
            text = f"{member} is encrypted under a key that this server does not have: see SECRET_KEYS"
            raise invalid(text, field=f"spec.{member}")


def _header(token: str) -> Mapping[str, Any]:
    """The header of a JWE (RFC 7516, section 4); empty if the token is no JWE."""
    encoded = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def kept_secrets(before: Mapping[str, str], said: Mapping[str, str | None]) -> Mapping[str, str]:
    """The secrets after a write, which keeps those it has no value for."""
    return {name: value for name, value in {**before, **said}.items() if value is not None}


def secret_changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    """The differences in the form of `domain.cluster.spec.changes`, with every value masked."""
    return {
        f"spec.{name}": {
            "from": MASK if name in before else None,
            "to": MASK if name in after else None,
        }
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }
