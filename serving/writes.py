"""Writes to the entities of a simple kind, as records of its command topic."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from domain.entity import Command
from domain.errors import Unavailable, Untaken
from serving.fallback import Fallback
from serving.submit import Destination, Submitter, WriteResult, results_showing
from streams.flow import Flow
from streams.headers import ANSWERED_BY, BY_STATE, KEYED
from tables.view import View


class Check(Protocol):
    """Raises Rejected for a command that must not enter the stream."""

    async def __call__(self, command: Command, *, keyed: bool) -> None: ...  # noqa: D102


class KindWrites:
    """Sends the commands of one kind into the stream and brings their outcomes back.

    Args:
        flow: The flow of the kind as it is deployed.
        fallback: Where writes go that Kafka does not take; None for nowhere.

    Attributes:
        check: Asked about each command before it is sent.
    """

    def __init__(
        self,
        submitter: Submitter,
        flow: Flow[Any, Any, Any],
        view: View[Any],
        fallback: Fallback | None = None,
    ) -> None:
        self._submitter = submitter
        self._fallback = fallback
        self._view = view
        self.check: Check | None = None
        submitter.follow(view)
        self._flow = flow
        self.destination = Destination(
            view,
            flow.results,
            results_showing("document"),
            subject=flow.kind.name,
            answered_by=[],
        )

    @property
    def may_wait(self) -> bool:
        """Whether writes are stored where Kafka does not take them."""
        return self._fallback is not None

    async def submit(self, command: Command, *, origin: Mapping[str, str], keyed: bool) -> WriteResult:
        """Have a command decided, as `Submitter.submit` does, or stored where Kafka does not take it.

        Args:
            origin: Headers that everything that follows from it carries on (`streams.cause.CARRIED_ON`).
            keyed: Whether its id was made from an `Idempotency-Key`.
        """
        if self.check is not None:
            await self.check(command, keyed=keyed)
        if self._fallback is None:
            return await self._send(command, origin, keyed=keyed)
        why = Unavailable("Earlier writes of this wait until Kafka takes them, and so would this one")
        if not await self._fallback.waits(command.id):
            try:
                return await self._send(command, origin, keyed=keyed)
            except Untaken as error:
                why = error
        # Remembered as one under a key is: the record may also come from here, later.
        headers = {"content_type": "application/json", **origin, KEYED: "true"}
        entry = self._view.get(command.id)
        return await self._fallback.store(self._flow.kind.name, command, headers, entry, why)

    async def send(self, commands: Sequence[Command], *, origin: Mapping[str, str]) -> None:
        """Send commands to one entity whose outcome nobody waits for. Raises: as `submit` does."""
        if self.check is not None:
            await self.check(commands[0], keyed=False)
        headers = {"content_type": "application/json", **origin}
        await self._submitter.send([self._flow.command(command, headers) for command in commands])

    async def _send(self, command: Command, origin: Mapping[str, str], *, keyed: bool) -> WriteResult:
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
