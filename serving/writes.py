"""Writes to the entities of a simple kind, as records of its command topic."""

from collections.abc import Mapping
from typing import Any

from domain.entity import Command
from serving.submit import Destination, Submitter, WriteResult, results_showing
from streams.flow import Flow
from streams.headers import ANSWERED_BY, BY_STATE, KEYED
from tables.view import View


class KindWrites:
    """Sends the commands of one kind into the stream and brings their outcomes back.

    Args:
        flow: The flow of the kind as it is deployed.
    """

    def __init__(self, submitter: Submitter, flow: Flow[Any, Any, Any], view: View[Any]) -> None:
        self._submitter = submitter
        submitter.follow(view)
        self._flow = flow
        self.destination = Destination(
            view,
            flow.results,
            results_showing("document"),
            subject=flow.kind.name,
            answered_by=[],
        )

    async def submit(self, command: Command, *, origin: Mapping[str, str], keyed: bool) -> WriteResult:
        """Have a command decided, as `Submitter.submit` does.

        Args:
            origin: Headers that everything that follows from it carries on (`streams.flow.CARRIED_ON`).
            keyed: Whether its id was made from an `Idempotency-Key`.
        """
        headers = {
            "content_type": "application/json",
            **origin,
            ANSWERED_BY: BY_STATE,
        }
        if keyed:
            headers[KEYED] = "true"
        return await self._submitter.submit(
            self.destination,
            self._flow.command(command, headers),
            command_id=command.command_id,
            entity_id=command.id,
        )
