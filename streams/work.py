"""What an executor has to know of a kind whose entities are work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.work import Claim, Complete, Fail, Progress, Renew
from streams.flow import Flow


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The queue of a kind, and the commands that its executors send.

    Attributes:
        flow: The kind, on the topics of a deployment.
        message: The type of the values in its queue, each of which says that a piece can be claimed.
        id_of: Returns the id of the piece in a value.
        key_of: Returns the key that the record of a value must have.
        document: The type of a piece as its readers see it, which handlers are given.
        action_of: The action of a document, by which its handler is found.
        progress: The command that says how far a piece has come; None in kinds that show no progress.
    """

    flow: Flow[Any, Any, Any]
    message: type
    id_of: Callable[[Any], str]
    key_of: Callable[[Any], str]
    document: type
    action_of: Callable[[Any], str]
    claim: type[Claim]
    renew: type[Renew]
    complete: type[Complete]
    fail: type[Fail]
    progress: type[Progress] | None = None
