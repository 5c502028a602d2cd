"""The secrets of a spec (`domain.secrets`), which are kept apart from it and encrypted before any topic.

Apart from the spec a secret can't slip into an event, an answer or a log line, whoever encodes the spec.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from domain.errors import invalid
from domain.secrets import JWE, MASK, SECRET_MEMBERS


def without_secrets(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str | None]]:
    """The spec without its secrets, and what it says of these: a JWE, or None to remove one.

    A secret that is absent or empty says nothing. Clients that read a spec, which has none, and write it
    back from a typed struct send an empty one.

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
    """Refuse a secret that nobody here can ever read: of another form, or under a key that is not ours.

    Args:
        said: As `without_secrets` has it.
        key_ids: Of the keys that are known here; where none are, nothing is refused.

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
    """The header of a JWE (RFC 7516, section 4); empty where it is none."""
    encoded = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def kept_secrets(before: Mapping[str, str], said: Mapping[str, str | None]) -> Mapping[str, str]:
    """The secrets after a write: those it does not speak of stay."""
    return {name: value for name, value in {**before, **said}.items() if value is not None}


def secret_changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    """What differs, as `domain.cluster.spec.changes` tells it, with every value masked."""
    return {
        f"spec.{name}": {
            "from": MASK if name in before else None,
            "to": MASK if name in after else None,
        }
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }
