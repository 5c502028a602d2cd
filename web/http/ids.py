"""The form of the ids in paths."""

import re

from domain.errors import invalid
from streams.messages import UUID_PATTERN

_UUID = re.compile(UUID_PATTERN)


def is_id(given: str) -> bool:
    """Whether this is a UUID, in any case."""
    return _UUID.fullmatch(given) is not None


def id_of(given: str, kind: str) -> str:
    """An entity's id in lower case; `kind` is for the error's text. Raises: Rejected: it is not a UUID."""
    if not is_id(given):
        raise invalid(f"invalid {kind} ID format", field="id", value=given)
    return given.lower()
