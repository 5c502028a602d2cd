"""Who may do what (contract, section 2.1)."""

import re
from functools import lru_cache
from typing import Final

from domain.errors import Rejected
from domain.policy import Policy

# Neither "@" nor blanks, control characters or lone surrogates, which represent undecodable header bytes.
_PART = r"[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_EMAIL = re.compile(rf"{_PART}+@(?!\.){_PART}+\.{_PART}*(?<!\.)")


MAX_ADDRESS: Final = 254
"""Characters of an identity (RFC 5321, section 4.5.3.1.3, without the brackets)."""


def valid_email(address: str) -> bool:
    """Whether an identity is well-formed: one `@`, a dot within the domain, ≤ 254 characters, no blanks."""
    return len(address) <= MAX_ADDRESS and _well_formed(address)


@lru_cache(maxsize=1024)  # callers repeat; texts longer than an address are not cached
def _well_formed(address: str) -> bool:
    return _EMAIL.fullmatch(address) is not None


def is_privileged(email: str, policy: Policy) -> bool:
    """Whether this address belongs to a controller or operator: exactly the privileged domain."""
    return email.rpartition("@")[2] == policy.privileged_domain


def may_see(email: str, owner: str, policy: Policy) -> bool:
    """Owners see their own clusters, privileged identities see all."""
    return email == owner or is_privileged(email, policy)


def require_controller(email: str, policy: Policy) -> None:
    """Raises: Rejected: `FORBIDDEN` unless the identity is privileged."""
    if not is_privileged(email, policy):
        raise Rejected("FORBIDDEN", "Only system controllers can report status")
