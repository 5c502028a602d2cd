"""Writes to clusters, as records: commands and creates of REST, and the reports of controllers."""

from datetime import UTC, datetime
from typing import Final

from domain.cluster.commands import Command, Create
from domain.cluster.names import name_key
from serving.submit import Destination, Submitter, WriteResult, results_showing
from streams.cluster.codec import message_of
from streams.cluster.messages import ReportMessage
from streams.headers import BY_REST, FOLLOWED, KEYED, TRIGGERED_BY
from streams.json import encode
from streams.topics import Topics
from streams.writing.outputs import Headers, Output
from tables.cluster import ClusterEntry
from tables.view import View

_OF_COMMANDS: Final[Headers] = [(TRIGGERED_BY, BY_REST.encode())]


class ClusterWrites:
    """Sends commands and reports into the stream and brings their outcomes back."""

    def __init__(self, submitter: Submitter, view: View[ClusterEntry], topics: Topics) -> None:
        self._submitter = submitter
        submitter.follow(view)
        self._topics = topics
        self._commands = Destination(
            view, topics.results, results_showing("cluster"), subject="cluster", answered_by=_OF_COMMANDS
        )
        self._creates = self._commands._replace(subject="name")
        self._reports = self._commands._replace(answered_by=[])

    async def submit(self, command: Command) -> WriteResult:
        """Have a command decided, as `Submitter.submit` does. A create is decided on its name first."""
        message = message_of(command, issued_at=datetime.now(UTC))
        if isinstance(command, Create):
            destination, topic = self._creates, self._topics.name_requests
            key = name_key(command.user_email, command.name)
        else:
            destination, topic = self._commands, self._topics.accepted_commands
            key = command.cluster_id
        headers = {**FOLLOWED, TRIGGERED_BY: command.triggered_by}
        if command.request_id:
            headers["request_id"] = command.request_id
        if command.keyed:
            headers[KEYED] = "true"
        output = Output(topic, key.encode(), encode(message), headers)
        return await self._submitter.submit(
            destination, output, command_id=command.command_id, entity_id=command.cluster_id
        )

    async def report(self, report: ReportMessage, report_id: str, *, request_id: str) -> WriteResult:
        """Have a status report decided; like `submit`, and `stale` is a result too."""
        headers = {**FOLLOWED, "answer": "true", "request_id": request_id}
        output = Output(self._topics.reports, report.cluster_id.encode(), encode(report), headers)
        return await self._submitter.submit(
            self._reports, output, command_id=report_id, entity_id=report.cluster_id
        )
