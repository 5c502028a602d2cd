"""Ids in the form of a UUID (RFC 9562).

They are formatted by hand, because each command needs several and `uuid` takes three times as long.
"""

import re
from hashlib import sha1
from typing import Final
from uuid import UUID

CLUSTER_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The id of any cluster, in lower case."""

# Changing it would let a replay publish a second identity for the same fact.
NAMESPACE: Final = "6f0c1f0e-7f0b-5c39-9a5c-2f4a1c7d9b10"

_NAMESPACE: Final = UUID(NAMESPACE).bytes
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def deterministic_id(*words: object) -> str:
    """An id that a replay repeats: uuid5 of the words that identify the fact (section 5.5).

    Each word is preceded by its length, because some words are a client's own and may contain any separator.
    """
    name = "".join([f"{len(text)}:{text}" for text in map(str, words)])
    digits = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def entity_id_of(command_id: str, kind: str) -> str:
    """The id, a UUID of version 4, of what a command creates; the same for each repeat of the command."""
    return str(UUID(deterministic_id(command_id, kind), version=4))
