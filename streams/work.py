"""What an executor has to know of a kind whose entities are work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.work import Claim, Complete, Fail, Renew


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The queue of a kind, and the commands that its executors send.

    Attributes:
        kind: The name of the kind.
        topic: A record of it says that a piece can be claimed.
        message: The type of its values.
        id_of: Returns the id of the piece in a value.
        key_of: Returns the key that the record of a value must have.
        document: The type of a piece as its readers see it, which handlers are given.
        action_of: The action of a document, by which its handler is found.
    """

    kind: str
    topic: str
    message: type
    id_of: Callable[[Any], str]
    key_of: Callable[[Any], str]
    document: type
    action_of: Callable[[Any], str]
    claim: type[Claim]
    renew: type[Renew]
    complete: type[Complete]
    fail: type[Fail]
