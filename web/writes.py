"""Writes to the entities of a simple kind, as records of its command topic."""

from typing import Any, Generic

from domain.entity import C, E, S
from streams.codec import KEYED
from streams.flow import Flow
from tables.view import View
from web.submit import Destination, Submitter, WriteResult, results_showing


class KindWrites(Generic[S, C, E]):
    """Sends the commands of one kind into the stream and brings their outcomes back.

    Args:
        prefix: Of this deployment's topics.
    """

    def __init__(
        self, submitter: Submitter, flow: Flow[S, C, E], view: View[Any], *, prefix: str = ""
    ) -> None:
        self._submitter = submitter
        self._flow = flow
        self._prefix = prefix
        self.destination = Destination(
            view,
            prefix + flow.results,
            results_showing(flow.shown),
            subject=flow.kind.name,
            answered_by=[],
        )

    async def submit(self, command: C, *, request_id: str, keyed: bool) -> WriteResult:
        """Have a command decided, as `Submitter.submit` does.

        Args:
            keyed: Whether its id was made from an `Idempotency-Key`.
        """
        headers = {"content_type": "application/json", "request_id": request_id}
        if keyed:
            headers[KEYED] = "true"
        output = self._flow.command(command, headers)
        return await self._submitter.submit(
            self.destination,
            output._replace(topic=self._prefix + output.topic),
            command_id=command.command_id,
            entity_id=command.id,
        )
